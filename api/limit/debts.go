package limit

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"muniment.dev/muniment/api/edge"
)

const (
	// failuresPerSecond are the failed calls of an owner that cost it nothing.
	failuresPerSecond = 50
	// failureBurst are those that it may have at once after a pause.
	failureBurst = 200
	// maxDebt bounds how long past failures slow an owner down.
	maxDebt = 5 * time.Second
	// releaseEvery is the interval at which the waiting calls of one owner
	// continue. If all of them continued at once, they would occupy every
	// processor for a while.
	releaseEvery = 2 * time.Millisecond
	// maxDebtors bounds the table of owners. Above it, those without debts are
	// removed, and those in a network with debts of its own.
	maxDebtors = 4096
	// widerShare is how many times as much as an IPv6 address the network
	// around it may fail, and as that the network around that.
	widerShare = 4
)

// Debts counts the failed calls of each owner. A failed call costs the server
// about as much as a good one, but records nothing and counts against no limit
// of entries or bytes. So each owner has a bucket of failures, and while it is
// empty, the owner's calls wait before anything of them is read. The networks
// around an IPv6 address have buckets, too, or else a provider's 2³² networks
// would fill the table, and real debtors be forgotten. The zero value has no
// debts. Its methods may be called from many goroutines.
type Debts struct {
	mu     sync.Mutex // guards the rest
	owners map[string]*debtor
	full   time.Time // until then the table is not searched for rows to remove
}

// A debtor is an owner with failed calls, or a network of owners.
type debtor struct {
	failures *rate.Limiter
	networks []string  // around it
	next     time.Time // when the next of its waiting calls may continue
}

// owes reports whether the debtor's bucket is at most half full.
func (o *debtor) owes(now time.Time) bool {
	return o.failures.TokensAt(now) < float64(o.failures.Burst())/2
}

// debtorsOf returns the owner and the networks around it, the narrowest first.
func debtorsOf(owner string) []string {
	names := []string{owner}
	if address, ok := strings.CutPrefix(owner, addressOwner); ok {
		for _, network := range edge.Wider(address) {
			names = append(names, addressOwner+network)
		}
	}
	return names
}

// Charge counts a failed call as so many failures: more than one where much was
// received before it was refused.
func (d *Debts) Charge(owner string, now time.Time, units int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owners == nil {
		d.owners = map[string]*debtor{}
	}
	names, share := debtorsOf(owner), 1
	for range names[1:] {
		share *= widerShare
	}
	for _, name := range slices.Backward(names) { // the widest first
		o := d.owners[name]
		if o == nil && len(d.owners) >= maxDebtors {
			d.forget(now)
		}
		if o == nil && len(d.owners) < maxDebtors {
			o = &debtor{networks: debtorsOf(name)[1:], failures: rate.NewLimiter(rate.Limit(failuresPerSecond*share), failureBurst*share)}
			d.owners[name] = o
		}
		if o != nil && o.debt(now) < maxDebt {
			o.failures.ReserveN(now, min(units, failureBurst))
		}
		share /= widerShare
	}
}

// forget removes those that owe nothing to speak of, and those whose network
// owes for them. A search of a table of real debtors is not repeated for each
// newcomer.
func (d *Debts) forget(now time.Time) {
	if now.Before(d.full) {
		return
	}
	var covered []string
	for name, o := range d.owners {
		if !o.owes(now) {
			delete(d.owners, name)
			continue
		}
		for _, network := range o.networks {
			if n := d.owners[network]; n != nil && n.debt(now) > 0 {
				covered = append(covered, name)
				break
			}
		}
	}
	for _, name := range covered {
		delete(d.owners, name)
	}
	if len(d.owners) >= maxDebtors {
		d.full = now.Add(releaseEvery * 50)
	}
}

// reserve returns how long a call of the owner has to wait: the debt, at most
// for the given time, and then until it is the call's turn among those of the
// owner that wait. Turns are not given back by calls that stop waiting, so they
// delay a call by maxDebt at most.
func (d *Debts) reserve(owner string, now time.Time, most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.owners) == 0 {
		return 0
	}
	var o *debtor // that owes most
	for _, name := range debtorsOf(owner) {
		if x := d.owners[name]; x != nil && (o == nil || x.debt(now) > o.debt(now)) {
			o = x
		}
	}
	if o == nil {
		return 0
	}
	owed := min(o.debt(now), most)
	if owed <= 0 {
		return 0
	}
	at := now.Add(owed)
	if o.next.After(at) {
		at = o.next
	}
	if latest := now.Add(owed + maxDebt); at.After(latest) {
		return latest.Sub(now)
	}
	o.next = at.Add(releaseEvery)
	return at.Sub(now)
}

// Pay waits as long as the owner owes, at most for the given time, and for the
// owner's calls that began to wait before, and reports whether it had to. It
// ends early with the context, or when stop is closed.
func (d *Debts) Pay(ctx context.Context, owner string, now time.Time, most time.Duration, stop <-chan struct{}) bool {
	wait := d.reserve(owner, now, most)
	if wait <= 0 {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-stop:
	case <-ctx.Done():
	}
	return true
}

func (o *debtor) debt(now time.Time) time.Duration {
	return max(0, time.Duration(-o.failures.TokensAt(now)*float64(time.Second)/float64(o.failures.Limit())))
}

package limit

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"muniment.dev/muniment/internal/edge"
)

const (
	// failuresPerSecond is the rate of failed calls that costs an owner
	// nothing.
	failuresPerSecond = 50
	// failureBurst is the number of failed calls that cost nothing after a
	// pause.
	failureBurst = 200
	// maxDebt limits how long past failures delay an owner.
	maxDebt = 5 * time.Second
	// releaseEvery is the interval at which the waiting calls of one owner
	// continue. If all continued at once, they would occupy every processor for
	// a while.
	releaseEvery = 2 * time.Millisecond
	// maxDebtors limits the table of owners. Above it, owners without debts are
	// removed, and so are owners in a network that itself has debts.
	maxDebtors = 4096
	// widerShare is how many times more failures each wider IPv6 network is
	// allowed than the address or network inside it.
	widerShare = 4
)

// Debts counts the failed calls of each owner. A failed call costs the server
// about as much as a successful one, but records nothing and counts against no
// limit of entries or bytes. Each owner therefore has a bucket of failures.
// While it is empty, the owner's calls wait before they are read. The networks
// around an IPv6 address have buckets too. Otherwise a provider's 2³² networks
// would fill the table and push out real debtors. The zero value has no debts.
// Debts is safe for concurrent use.
type Debts struct {
	mu     sync.Mutex // guards the rest
	owners map[string]*debtor
	full   time.Time // until then, the table is not searched for rows to remove
}

// A debtor is an owner with failed calls, or a network of owners.
type debtor struct {
	failures *rate.Limiter
	networks []string  // around it
	next     time.Time // when its next waiting call may continue
}

// owes reports whether the debtor's bucket is at most half full.
func (o *debtor) owes(now time.Time) bool {
	return o.failures.TokensAt(now) < float64(o.failures.Burst())/2
}

// debtorsOf returns the owner and the networks around it, narrowest first.
func debtorsOf(owner string) []string {
	names := []string{owner}
	if address, ok := strings.CutPrefix(owner, addressOwner); ok {
		for _, network := range edge.Wider(address) {
			names = append(names, addressOwner+network)
		}
	}
	return names
}

// Charge counts a failed call as the given number of failures, which exceeds
// one if much was received before the call was refused.
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
	for _, name := range slices.Backward(names) { // widest first
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

// forget removes owners with no significant debt, and owners whose network has
// debts. A search of a table full of real debtors is not repeated for each
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

// reserve returns how long a call of the owner has to wait: for the debt, up to
// the given time, and then for its turn among the owner's waiting calls. Calls
// that stop waiting do not give their turn back, so they delay another call by
// at most maxDebt.
func (d *Debts) reserve(owner string, now time.Time, most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.owners) == 0 {
		return 0
	}
	var o *debtor // with the largest debt
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

// Pay waits while the owner has debts, up to the given time, and behind the
// owner's earlier waiting calls. It reports whether it had to wait. It returns
// early when the context ends or stop is closed.
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

package limit

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
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
	// removed.
	maxDebtors = 4096
)

// Debts counts the failed calls of each owner. A failed call costs the server
// about as much as a good one, but records nothing and counts against no limit
// of entries or bytes. So each owner has a bucket of failures, and while it is
// empty, the owner's calls wait before anything of them is read. The zero value
// has no debts. Its methods may be called from many goroutines.
type Debts struct {
	mu     sync.Mutex // guards the rest
	owners map[string]*debtor
}

// A debtor is an owner with failed calls.
type debtor struct {
	failures *rate.Limiter
	next     time.Time // when the next of its waiting calls may continue
}

// Charge counts a failed call as so many failures: more than one where much was
// received before it was refused.
func (d *Debts) Charge(owner string, now time.Time, units int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owners == nil {
		d.owners = map[string]*debtor{}
	}
	o := d.owners[owner]
	if o == nil {
		if len(d.owners) >= maxDebtors {
			for name, o := range d.owners {
				if o.failures.TokensAt(now) >= failureBurst/2 {
					delete(d.owners, name)
				}
			}
			if len(d.owners) >= maxDebtors {
				return
			}
		}
		o = &debtor{failures: rate.NewLimiter(failuresPerSecond, failureBurst)}
		d.owners[owner] = o
	}
	if o.debt(now) < maxDebt {
		o.failures.ReserveN(now, min(units, failureBurst))
	}
}

// reserve returns how long a call of the owner has to wait: the debt, at most
// for the given time, and then until it is the call's turn among those of the
// owner that wait. Turns are not given back by calls that stop waiting, so they
// delay a call by maxDebt at most.
func (d *Debts) reserve(owner string, now time.Time, most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.owners[owner]
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
	return max(0, time.Duration(-o.failures.TokensAt(now)*float64(time.Second)/failuresPerSecond))
}

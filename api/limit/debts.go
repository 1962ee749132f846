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
	owners map[string]*rate.Limiter
}

// Charge counts a failed call as so many failures: more than one where much was
// received before it was refused.
func (d *Debts) Charge(owner string, now time.Time, units int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owners == nil {
		d.owners = map[string]*rate.Limiter{}
	}
	l := d.owners[owner]
	if l == nil {
		if len(d.owners) >= maxDebtors {
			for o, l := range d.owners {
				if l.TokensAt(now) >= failureBurst/2 {
					delete(d.owners, o)
				}
			}
			if len(d.owners) >= maxDebtors {
				return
			}
		}
		l = rate.NewLimiter(failuresPerSecond, failureBurst)
		d.owners[owner] = l
	}
	if debt(l, now) < maxDebt {
		l.ReserveN(now, min(units, failureBurst))
	}
}

// Owed returns how long the owner's next call has to wait.
func (d *Debts) Owed(owner string, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.owners[owner]; l != nil {
		return debt(l, now)
	}
	return 0
}

// Pay waits as long as the owner owes, at most for the given time, and reports
// whether it had to. It ends early with the context, or when stop is closed.
func (d *Debts) Pay(ctx context.Context, owner string, most time.Duration, stop <-chan struct{}) bool {
	wait := min(d.Owed(owner, time.Now()), most)
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

func debt(l *rate.Limiter, now time.Time) time.Duration {
	return max(0, time.Duration(-l.TokensAt(now)*float64(time.Second)/failuresPerSecond))
}

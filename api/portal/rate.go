package portal

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// attemptsPerSecond and attemptBurst limit the sign-ins of one address that
	// begin or fail. All users of a proxy share its address.
	attemptsPerSecond = 1
	attemptBurst      = 60
	// maxAddresses limits the table. Further addresses share one row.
	maxAddresses = 4096
)

// rates limits how often each address tries to sign in.
type rates struct {
	mu   sync.Mutex // guards the rest
	of   map[string]*rate.Limiter
	rest *rate.Limiter
}

func newRates() *rates {
	return &rates{of: map[string]*rate.Limiter{}, rest: rate.NewLimiter(attemptsPerSecond, attemptBurst)}
}

// allow counts an attempt and reports whether the address may make it.
func (rs *rates) allow(address string, now time.Time) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	l := rs.of[address]
	if l == nil {
		if len(rs.of) >= maxAddresses {
			for a, other := range rs.of {
				if other.TokensAt(now) >= attemptBurst {
					delete(rs.of, a)
				}
			}
		}
		if l = rs.rest; len(rs.of) < maxAddresses {
			l = rate.NewLimiter(attemptsPerSecond, attemptBurst)
			rs.of[address] = l
		}
	}
	return l.AllowN(now, 1)
}

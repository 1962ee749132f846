package portal

import (
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"muniment.dev/muniment/internal/edge"
)

const (
	// attemptsPerSecond and attemptBurst limit the sign-ins of one address that
	// begin or fail. Each wider IPv6 network has a multiple.
	attemptsPerSecond = 1
	attemptBurst      = 60
	widerFactor       = 4
	// maxAddresses limits the table. Further addresses share shared rows.
	maxAddresses = 4096
	shared       = 256
)

// rates limits how often each address tries to sign in.
type rates struct {
	seed maphash.Seed

	mu    sync.Mutex // guards the rest
	of    map[string]*rate.Limiter
	swept time.Time             // when rows without attempts were dropped
	rest  [shared]*rate.Limiter // of addresses that the table has no room for
}

func newRates() *rates {
	rs := &rates{seed: maphash.MakeSeed(), of: map[string]*rate.Limiter{}}
	for i := range rs.rest {
		rs.rest[i] = rate.NewLimiter(attemptsPerSecond, attemptBurst)
	}
	return rs
}

// allow counts an attempt and reports whether the address may make it. One
// customer of a provider has many IPv6 networks, which are also counted
// together.
func (rs *rates) allow(address string, now time.Time) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var limiters []*rate.Limiter
	factor := 1
	for _, network := range append([]string{address}, edge.Wider(address)...) {
		l := rs.limiter(network, factor, now)
		if l.TokensAt(now) < 1 {
			return false
		}
		limiters = append(limiters, l)
		factor *= widerFactor
	}
	for _, l := range limiters {
		l.AllowN(now, 1)
	}
	return true
}

// limiter returns the limiter of a network. The caller holds rs.mu.
func (rs *rates) limiter(network string, factor int, now time.Time) *rate.Limiter {
	if l := rs.of[network]; l != nil {
		return l
	}
	if len(rs.of) >= maxAddresses && now.Sub(rs.swept).Abs() >= time.Second {
		rs.swept = now
		for other, l := range rs.of {
			if l.TokensAt(now) >= float64(l.Burst()) {
				delete(rs.of, other)
			}
		}
	}
	if len(rs.of) >= maxAddresses {
		return rs.rest[maphash.String(rs.seed, network)%shared]
	}
	l := rate.NewLimiter(rate.Limit(factor*attemptsPerSecond), factor*attemptBurst)
	rs.of[network] = l
	return l
}

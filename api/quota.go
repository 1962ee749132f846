package api

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
)

// Limits are what a tenant may do; what is zero is not limited. A rate is for a second; its burst is what may come at once after a pause. What is larger
// than the burst passes when the whole burst is free, and must then be waited off.
type Limits struct {
	Requests     float64
	RequestBurst int
	Entries      float64
	EntryBurst   int
	Bytes        float64
	ByteBurst    int
	Concurrent   int   // calls that are worked on at once; more wait. 0: 64
	DailyEntries int64 // new ones, in a day of UTC
	DailyBytes   int64 // of their payloads
}

// defaultConcurrent keeps what one tenant has under way from holding up the others by more than a few milliseconds, and is enough to fill a commit.
const defaultConcurrent = 64

// maxRefusalDelay is how long a refusal is held back, within the time that it asks the client to wait. Clients that ask again at once then cost little.
const maxRefusalDelay = time.Second / 2

// burst returns a burst, ten seconds of the rate where none is given.
func burst(given int, perSecond float64) int {
	if given > 0 {
		return given
	}
	return max(1, int(min(math.Ceil(perSecond*10), math.MaxInt32)))
}

// A quota is what a tenant has left.
type quota struct {
	limits                   Limits
	requests, entries, bytes *rate.Limiter
	atWork                   *semaphore.Weighted // calls that are worked on, streams excepted

	mu                   sync.Mutex // guards the rest
	day                  time.Time
	dayEntries, dayBytes int64
}

func newQuota(l Limits) *quota {
	limiter := func(perSecond float64, b int) *rate.Limiter {
		if perSecond == 0 {
			return rate.NewLimiter(rate.Inf, 0)
		}
		return rate.NewLimiter(rate.Limit(perSecond), burst(b, perSecond))
	}
	atWork := int64(l.Concurrent)
	if atWork == 0 {
		atWork = defaultConcurrent
	}
	return &quota{limits: l, atWork: semaphore.NewWeighted(atWork), requests: limiter(l.Requests, l.RequestBurst), entries: limiter(l.Entries, l.EntryBurst), bytes: limiter(l.Bytes, l.ByteBurst)}
}

// An overLimit is a refusal because of a limit.
type overLimit struct {
	limit string // for metrics
	what  string
	after time.Duration
}

func (e *overLimit) Error() string {
	return "the tenant's limit of " + e.what + " is reached; retry later"
}

// take takes n from a limiter, or returns how long to wait. What is larger than the burst goes into debt.
func take(l *rate.Limiter, now time.Time, n int64) time.Duration {
	if l.Limit() == rate.Inf || n == 0 {
		return 0
	}
	b := int64(l.Burst())
	r := l.ReserveN(now, int(min(n, b)))
	if d := r.DelayFrom(now); d > 0 {
		r.CancelAt(now)
		return d
	}
	for n -= b; n > 0; n -= b {
		l.ReserveN(now, int(min(n, b)))
	}
	return 0
}

// request takes one request.
func (q *quota) request(now time.Time) *overLimit {
	if d := take(q.requests, now, 1); d > 0 {
		return &overLimit{"requests", fmt.Sprintf("%g requests a second", q.limits.Requests), d}
	}
	return nil
}

// append takes entries and bytes. What does not become a new entry is given back to the day with giveBack.
func (q *quota) append(now time.Time, entries, bytes int64) *overLimit {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.startDay(now)
	left := q.day.AddDate(0, 0, 1).Sub(now)
	if l := q.limits.DailyEntries; l > 0 && q.dayEntries+entries > l {
		return &overLimit{"daily_entries", fmt.Sprintf("%d entries a day", l), left}
	}
	if l := q.limits.DailyBytes; l > 0 && q.dayBytes+bytes > l {
		return &overLimit{"daily_bytes", fmt.Sprintf("%d bytes a day", l), left}
	}
	if d := take(q.entries, now, entries); d > 0 {
		return &overLimit{"entries", fmt.Sprintf("%g entries a second", q.limits.Entries), d}
	}
	if d := take(q.bytes, now, bytes); d > 0 {
		return &overLimit{"bytes", fmt.Sprintf("%g bytes a second", q.limits.Bytes), d}
	}
	q.dayEntries += entries
	q.dayBytes += bytes
	return nil
}

// pace takes bytes that come in a stream, and waits where they come faster than the tenant may send.
func (q *quota) pace(ctx context.Context, now func() time.Time, bytes int64) *overLimit {
	for {
		over := q.append(now(), 0, bytes)
		if over == nil || over.limit != "bytes" {
			return over
		}
		t := time.NewTimer(over.after)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return over
		}
	}
}

func (q *quota) giveBack(now time.Time, entries, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.startDay(now)
	q.dayEntries = max(0, q.dayEntries-entries)
	q.dayBytes = max(0, q.dayBytes-bytes)
}

func (q *quota) startDay(now time.Time) {
	if day := now.UTC().Truncate(24 * time.Hour); !day.Equal(q.day) {
		q.day, q.dayEntries, q.dayBytes = day, 0, 0
	}
}

// loadQuotas counts what the tenants that have daily limits appended today.
func (s *Server) loadQuotas(ctx context.Context) error {
	s.quotas = make(map[string]*quota, len(s.cfg.Tenants))
	now := s.now()
	for i := range s.cfg.Tenants {
		t := &s.cfg.Tenants[i]
		q := newQuota(t.Limits)
		q.startDay(now)
		s.quotas[t.Name] = q
		if t.Limits.DailyEntries == 0 && t.Limits.DailyBytes == 0 {
			continue
		}
		for query := (ledger.Query{Filter: ledger.Filter{From: q.day}, OldestFirst: true, Limit: 1000}); ; {
			page, err := s.ledger.List(ctx, t.Stream, query)
			if err != nil {
				return fmt.Errorf("count what tenant %s appended today: %w", t.Name, err)
			}
			for i := range page.Entries {
				q.dayEntries++
				if h := page.Entries[i].Header; h != nil { // else it was erased
					if header, err := receipt.ParseHeader(h.Content); err == nil {
						q.dayBytes += int64(header.Payload.Size)
					}
				}
			}
			if query.Token = page.Next; query.Token == "" {
				break
			}
		}
	}
	return nil
}

// overLimit counts a refusal, holds it back and words it. What a large request has in memory is not held.
func (s *Server) overLimit(ctx context.Context, e *overLimit, size int64) *connect.Error {
	s.cfg.Metrics.limited.WithLabelValues(e.limit).Inc()
	if delay := min(e.after, s.cfg.RefusalDelay); delay > 0 && size < largeRequest {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
			e.after -= delay
		case <-ctx.Done():
		case <-s.drain:
		}
	}
	return retryAs(connect.CodeResourceExhausted, e, max(e.after, time.Millisecond))
}

package api

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// Limits are what a tenant may do; what is zero is not limited. A rate is for a
// second; its burst is what may come at once after a pause. What is larger than
// the burst passes when the whole burst is free, and must then be waited off.
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

// defaultConcurrent keeps what one tenant has under way from holding up the
// others by more than a few milliseconds, and is enough to fill a commit.
const defaultConcurrent = 64

// maxLimitWait is how long a call waits for its turn where a tenant's limit is
// reached. One that would wait longer is refused after that time: clients that
// ask again at once then cost little.
const maxLimitWait = time.Second / 2

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
	watching                 *semaphore.Weighted // watchers that look for entries

	mu                     sync.Mutex // guards the rest
	day                    time.Time
	dayEntries, dayBytes   int64 // recorded
	heldEntries, heldBytes int64 // of calls that may record them yet
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
	return &quota{limits: l, atWork: semaphore.NewWeighted(atWork), watching: semaphore.NewWeighted(1), requests: limiter(l.Requests, l.RequestBurst), entries: limiter(l.Entries, l.EntryBurst), bytes: limiter(l.Bytes, l.ByteBurst)}
}

// limitLabels are the limits that a call can be refused for, in metrics.
var limitLabels = []string{"requests", "entries", "bytes", "daily_entries", "daily_bytes"}

// An overLimit is a refusal because of a limit.
type overLimit struct {
	limit string // for metrics
	what  string
	after time.Duration
}

func (e *overLimit) Error() string {
	return "the tenant's limit of " + e.what + " is reached; retry later"
}

// An ask is for n of what a limiter has.
type ask struct {
	limiter *rate.Limiter
	n       int64
	refusal overLimit
}

// take takes what is asked for, all or nothing, and returns how long to wait
// until it is there; or a refusal, where that is longer than maxWait. What is
// larger than a burst goes into debt.
func take(now time.Time, maxWait time.Duration, asks ...ask) (time.Duration, *overLimit) {
	wait := time.Duration(0)
	var held []*rate.Reservation
	asks = slices.DeleteFunc(asks, func(a ask) bool { return a.limiter.Limit() == rate.Inf || a.n == 0 })
	for _, a := range asks {
		r := a.limiter.ReserveN(now, int(min(a.n, int64(a.limiter.Burst()))))
		held = append(held, r)
		d := r.DelayFrom(now)
		if d > maxWait {
			for _, r := range held {
				r.CancelAt(now)
			}
			a.refusal.after = d
			return 0, &a.refusal
		}
		wait = max(wait, d)
	}
	for _, a := range asks {
		b := int64(a.limiter.Burst())
		for n := a.n - b; n > 0; n -= b {
			a.limiter.ReserveN(now, int(min(n, b)))
		}
	}
	return wait, nil
}

// request takes one request.
func (q *quota) request(now time.Time, maxWait time.Duration) (time.Duration, *overLimit) {
	return take(now, maxWait, ask{q.requests, 1, overLimit{limit: "requests", what: fmt.Sprintf("%g requests a second", q.limits.Requests)}})
}

// append takes entries and bytes for a call, until release. Those that are
// recorded count with recorded, when they are.
func (q *quota) append(now time.Time, maxWait time.Duration, entries, bytes int64) (time.Duration, *overLimit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.startDay(now)
	left := q.day.AddDate(0, 0, 1).Sub(now)
	if l := q.limits.DailyEntries; l > 0 && q.dayEntries+q.heldEntries+entries > l {
		return 0, &overLimit{"daily_entries", fmt.Sprintf("%d entries a day", l), left}
	}
	if l := q.limits.DailyBytes; l > 0 && q.dayBytes+q.heldBytes+bytes > l {
		return 0, &overLimit{"daily_bytes", fmt.Sprintf("%d bytes a day", l), left}
	}
	wait, over := take(now, maxWait,
		ask{q.entries, entries, overLimit{limit: "entries", what: fmt.Sprintf("%g entries a second", q.limits.Entries)}},
		ask{q.bytes, bytes, overLimit{limit: "bytes", what: fmt.Sprintf("%g bytes a second", q.limits.Bytes)}})
	if over == nil {
		q.heldEntries += entries
		q.heldBytes += bytes
	}
	return wait, over
}

// release gives back what a call that has ended took.
func (q *quota) release(entries, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.heldEntries -= entries
	q.heldBytes -= bytes
}

// recorded counts what was recorded in the tenant's stream, by whichever call,
// and by the log itself.
func (q *quota) recorded(now time.Time, entries, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.startDay(now)
	q.dayEntries += entries
	q.dayBytes += bytes
}

func (q *quota) startDay(now time.Time) {
	if day := now.UTC().Truncate(24 * time.Hour); !day.Equal(q.day) {
		q.day, q.dayEntries, q.dayBytes = day, 0, 0
	}
}

// loadQuota returns the quota of a tenant. Where the tenant has daily limits,
// it counts what was appended today.
func (s *Server) loadQuota(ctx context.Context, t *Tenant) (*quota, error) {
	q := newQuota(t.Limits)
	q.startDay(s.now())
	if t.Limits.DailyEntries == 0 && t.Limits.DailyBytes == 0 {
		return q, nil
	}
	for query := (ledger.Query{Filter: ledger.Filter{From: q.day}, OldestFirst: true, Limit: 1000}); ; {
		page, err := s.ledger.List(ctx, t.Stream, query)
		if err != nil {
			return nil, fmt.Errorf("count what tenant %s appended today: %w", t.Name, err)
		}
		for i := range page.Entries {
			q.dayEntries++
			if h := page.Entries[i].Header; h != nil { // else it was erased
				q.dayBytes += int64(h.Payload.Size)
			}
		}
		if query.Token = page.Next; query.Token == "" {
			return q, nil
		}
	}
}

// countRecorded makes what the ledger records count against the tenants' days.
func (s *Server) countRecorded() {
	count := func(stream entry.Hash, entries int, bytes int64) {
		if q := s.dir.Load().byStream[stream]; q != nil {
			q.recorded(s.now(), int64(entries), bytes)
		}
	}
	s.cfg.Metrics.recorded.Store(&count)
}

// takeRecord takes what the entry needs that the log itself writes for the
// call, if it writes one. What is taken is given back with the function.
func (s *Server) takeRecord(ctx context.Context, procedure string, q *quota, bytes int) (func(), error) {
	if !shapeOfCall(procedure).records {
		return func() {}, nil
	}
	if err := s.takeEntries(ctx, q, 1, int64(bytes)); err != nil {
		return nil, err
	}
	return func() { q.release(1, int64(bytes)) }, nil
}

// takeRequest takes a request from what the tenant has left, and waits for it.
func (s *Server) takeRequest(ctx context.Context, q *quota) error {
	wait, over := q.request(s.now(), max(0, s.cfg.LimitWait))
	return s.settle(ctx, wait, over)
}

// takeEntries takes entries and bytes from what the tenant has left, and waits
// for them.
func (s *Server) takeEntries(ctx context.Context, q *quota, entries, bytes int64) error {
	wait, over := q.append(s.now(), max(0, s.cfg.LimitWait), entries, bytes)
	return s.settle(ctx, wait, over)
}

// takeStreamed takes bytes that come in a stream, and slows it down where they
// come faster than the tenant may send.
func (s *Server) takeStreamed(ctx context.Context, q *quota, bytes int64) error {
	wait, over := q.append(s.now(), time.Hour, 0, bytes)
	return s.settle(ctx, wait, over)
}

// settle waits for the turn of a call. A refusal is counted, and returned after
// the longest time that a call waits.
func (s *Server) settle(ctx context.Context, wait time.Duration, over *overLimit) error {
	if over != nil {
		s.cfg.Metrics.limited.WithLabelValues(over.limit).Inc()
		wait = max(0, min(over.after, s.cfg.LimitWait))
	}
	if wait > 0 {
		s.cfg.Metrics.waiting.Inc()
		defer s.cfg.Metrics.waiting.Dec()
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.drain:
		case <-ctx.Done():
			if over == nil {
				return s.public(ctx.Err())
			}
		}
	}
	if over == nil {
		return nil
	}
	return retryAs(connect.CodeResourceExhausted, over, max(over.after-wait, time.Millisecond))
}

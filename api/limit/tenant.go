package limit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// TenantLimits limit the calls of one tenant. Zero means no limit. Rates are
// per second. A burst is the amount that a tenant can send at once after a
// pause. A request larger than the burst passes when the whole burst is
// available, and later requests wait longer for it.
type TenantLimits struct {
	Requests     float64
	RequestBurst int
	Entries      float64
	EntryBurst   int
	Bytes        float64
	ByteBurst    int
	Concurrent   int // calls in progress; further calls wait. 0: 64
	// Beside is the rate of calls while other tenants are active. It applies to
	// a tenant with more than two calls in progress, not counting streams.
	// Calls above the rate wait. 0: 500.
	Beside       float64
	DailyEntries int64 // new entries per UTC day
	DailyBytes   int64 // bytes of their payloads
}

// defaultConcurrent is enough to fill a commit, and low enough that one tenant
// delays the others by no more than a few milliseconds.
const defaultConcurrent = 64

// MaxWait is the default of Config.Wait. A call that would have to wait longer
// is refused only after this time, so that clients that retry immediately cost
// little.
const MaxWait = time.Second / 2

// burst returns the given burst, or ten seconds of the rate.
func burst(given int, perSecond float64) int {
	if given > 0 {
		return given
	}
	return max(1, int(min(math.Ceil(perSecond*10), math.MaxInt32)))
}

// A Usage tracks a tenant's use of its limits.
type Usage struct {
	limits                   TenantLimits
	requests, entries, bytes *rate.Limiter
	beside                   *rate.Limiter       // applies while other tenants are active
	working                  *semaphore.Weighted // calls in progress, except for streams
	watching                 *semaphore.Weighted // watchers that are looking for entries

	mu                     sync.Mutex // guards the rest
	day                    time.Time
	dayEntries, dayBytes   int64 // recorded
	heldEntries, heldBytes int64 // of calls that may still record them
}

func newUsage(l TenantLimits) *Usage {
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
	beside := rate.NewLimiter(rate.Limit(cmp.Or(l.Beside, defaultBeside)), besideBurst)
	return &Usage{limits: l, beside: beside, working: semaphore.NewWeighted(atWork), watching: semaphore.NewWeighted(1), requests: limiter(l.Requests, l.RequestBurst), entries: limiter(l.Entries, l.EntryBurst), bytes: limiter(l.Bytes, l.ByteBurst)}
}

// Labels lists the limits that can refuse a call, for metrics.
var Labels = []string{"requests", "entries", "bytes", "daily_entries", "daily_bytes"}

// An Exceeded reports that a limit is reached.
type Exceeded struct {
	limit string // for metrics
	what  string
	after time.Duration
}

func (e *Exceeded) Error() string {
	return "the tenant's limit of " + e.what + " is reached; retry later"
}

// An ask is a request for n from a limiter.
type ask struct {
	limiter *rate.Limiter
	n       int64
	refusal Exceeded
}

// take takes all of the asks or none. It returns the time until they are
// available, or a refusal if that exceeds maxWait. An ask larger than the burst
// goes into debt.
func take(now time.Time, maxWait time.Duration, asks ...ask) (time.Duration, *Exceeded) {
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
func (q *Usage) request(now time.Time, maxWait time.Duration) (time.Duration, *Exceeded) {
	if q.requests.Limit() == rate.Inf {
		return 0, nil
	}
	return take(now, maxWait, ask{q.requests, 1, Exceeded{limit: "requests", what: fmt.Sprintf("%g requests a second", q.limits.Requests)}})
}

// append takes entries and bytes for a call until Release. recorded counts what
// is actually recorded.
func (q *Usage) append(now time.Time, maxWait time.Duration, entries, bytes int64) (time.Duration, *Exceeded) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.startDay(now)
	left := q.day.AddDate(0, 0, 1).Sub(now)
	if l := q.limits.DailyEntries; l > 0 && q.dayEntries+q.heldEntries+entries > l {
		return 0, &Exceeded{"daily_entries", fmt.Sprintf("%d entries a day", l), left}
	}
	if l := q.limits.DailyBytes; l > 0 && q.dayBytes+q.heldBytes+bytes > l {
		return 0, &Exceeded{"daily_bytes", fmt.Sprintf("%d bytes a day", l), left}
	}
	if q.entries.Limit() == rate.Inf && q.bytes.Limit() == rate.Inf {
		q.heldEntries += entries
		q.heldBytes += bytes
		return 0, nil
	}
	wait, over := take(now, maxWait,
		ask{q.entries, entries, Exceeded{limit: "entries", what: fmt.Sprintf("%g entries a second", q.limits.Entries)}},
		ask{q.bytes, bytes, Exceeded{limit: "bytes", what: fmt.Sprintf("%g bytes a second", q.limits.Bytes)}})
	if over == nil {
		q.heldEntries += entries
		q.heldBytes += bytes
	}
	return wait, over
}

// Release returns what a call took once it has ended.
func (q *Usage) Release(entries, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.heldEntries -= entries
	q.heldBytes -= bytes
}

// recorded counts what calls and the log itself have recorded in the tenant's
// stream.
func (q *Usage) recorded(now time.Time, entries, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.startDay(now)
	q.dayEntries += entries
	q.dayBytes += bytes
}

func (q *Usage) startDay(now time.Time) {
	if day := now.UTC().Truncate(24 * time.Hour); !day.Equal(q.day) {
		q.day, q.dayEntries, q.dayBytes = day, 0, 0
	}
}

// Watching returns the semaphore for the tenant's watchers that are looking for
// entries.
func (q *Usage) Watching() *semaphore.Weighted { return q.watching }

// An Account is a tenant with its stream and its limits.
type Account struct {
	Name   string
	Stream *ledger.Stream
	Limits TenantLimits
}

// Usages are the usages of all tenants.
type Usages struct {
	byName   map[string]*Usage // including removed tenants
	byStream map[entry.Hash]*Usage
}

// Load returns the usages of the accounts. An existing usage continues if its
// limits are unchanged, so that a reload does not reset the day's totals.
func (l *Limiter) Load(ctx context.Context, log *ledger.Ledger, accounts []Account) (*Usages, error) {
	return l.loadUsages(ctx, log, accounts, func(u *Usage, a *Account) bool { return u.limits == a.Limits })
}

// Recount is Load, but counts anew what accounts with daily limits have
// appended today.
func (l *Limiter) Recount(ctx context.Context, log *ledger.Ledger, accounts []Account) (*Usages, error) {
	return l.loadUsages(ctx, log, accounts, func(_ *Usage, a *Account) bool { return a.Limits.DailyEntries == 0 && a.Limits.DailyBytes == 0 })
}

// loadUsages returns the usages of the accounts. Existing ones that are to be
// kept continue.
func (l *Limiter) loadUsages(ctx context.Context, log *ledger.Ledger, accounts []Account, keep func(*Usage, *Account) bool) (*Usages, error) {
	us := &Usages{byName: maps.Clone(l.usages.Load().byName), byStream: map[entry.Hash]*Usage{}}
	if us.byName == nil {
		us.byName = map[string]*Usage{}
	}
	for i := range accounts {
		a := &accounts[i]
		u := us.byName[a.Name]
		if u == nil || !keep(u, a) {
			var err error
			if u, err = a.load(ctx, log, l.cfg.Now()); err != nil {
				return nil, err
			}
		}
		us.byName[a.Name], us.byStream[a.Stream.ID] = u, u
	}
	return us, nil
}

// SetUsages puts usages returned by Load into force.
func (l *Limiter) SetUsages(us *Usages) { l.usages.Store(us) }

// Usage returns a tenant's usage.
func (l *Limiter) Usage(tenant string) *Usage { return l.usages.Load().byName[tenant] }

// load returns the account's usage. If there are daily limits, it counts what
// was appended today.
func (a *Account) load(ctx context.Context, log *ledger.Ledger, now time.Time) (*Usage, error) {
	u := newUsage(a.Limits)
	u.startDay(now)
	if a.Limits.DailyEntries == 0 && a.Limits.DailyBytes == 0 {
		return u, nil
	}
	for query := (ledger.Query{Filter: ledger.Filter{From: u.day}, OldestFirst: true, Limit: 1000}); ; {
		page, err := log.List(ctx, a.Stream, query)
		if err != nil {
			return nil, fmt.Errorf("count what tenant %s appended today: %w", a.Name, err)
		}
		for i := range page.Entries {
			u.dayEntries++
			if h := page.Entries[i].Header; h != nil { // nil if erased
				u.dayBytes += int64(h.Payload.Size)
			}
		}
		if query.Token = page.Next; query.Token == "" {
			return u, nil
		}
	}
}

// Recorded counts what the ledger has recorded in a tenant's stream.
func (l *Limiter) Recorded(stream entry.Hash, entries int, bytes int64) {
	if u := l.usages.Load().byStream[stream]; u != nil {
		u.recorded(l.cfg.Now(), int64(entries), bytes)
	}
}

// TakeRecord takes what the log's own entry for the call requires, if it writes
// one. The returned function releases it.
func (l *Limiter) TakeRecord(ctx context.Context, procedure string, q *Usage, m any) (func(), error) {
	if !ShapeOf(procedure).records {
		return func() {}, nil
	}
	bytes := SizeOf(m)
	if err := l.TakeEntries(ctx, q, 1, int64(bytes)); err != nil {
		return nil, err
	}
	return func() { q.Release(1, int64(bytes)) }, nil
}

// takeRequest takes a request from the tenant's limits, waiting if necessary.
func (l *Limiter) takeRequest(ctx context.Context, q *Usage) *connect.Error {
	wait, over := q.request(l.cfg.Now(), max(0, l.cfg.Wait))
	return l.settle(ctx, wait, over)
}

// TakeEntries takes entries and bytes from the tenant's limits, waiting if
// necessary.
func (l *Limiter) TakeEntries(ctx context.Context, q *Usage, entries, bytes int64) error {
	wait, over := q.append(l.cfg.Now(), max(0, l.cfg.Wait), entries, bytes)
	return asError(l.settle(ctx, wait, over))
}

// TakeStreamed takes the bytes of a stream, which slows the stream down to its
// tenant's rate.
func (l *Limiter) TakeStreamed(ctx context.Context, q *Usage, bytes int64) error {
	wait, over := q.append(l.cfg.Now(), time.Hour, 0, bytes)
	return asError(l.settle(ctx, wait, over))
}

// settle waits for a call's turn. It counts a refusal, and returns it after the
// maximum waiting time.
func (l *Limiter) settle(ctx context.Context, wait time.Duration, over *Exceeded) *connect.Error {
	if over != nil {
		l.cfg.Observer.Limited(over.limit)
		wait = max(0, min(over.after, l.cfg.Wait))
	}
	if wait > 0 {
		l.cfg.Observer.Waiting(1)
		defer l.cfg.Observer.Waiting(-1)
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-l.cfg.Drain:
		case <-ctx.Done():
			if over == nil {
				return ended(ctx.Err())
			}
		}
	}
	if over == nil {
		return nil
	}
	return rpcerr.Retry(connect.CodeResourceExhausted, over, max(over.after-wait, time.Millisecond))
}

// asError converts a nil *connect.Error to a nil error.
func asError(err *connect.Error) error {
	if err == nil {
		return nil
	}
	return err
}

// ended returns the error for a call whose context has ended.
func ended(err error) *connect.Error {
	code := connect.CodeCanceled
	if errors.Is(err, context.DeadlineExceeded) {
		code = connect.CodeDeadlineExceeded
	}
	return connect.NewError(code, err)
}

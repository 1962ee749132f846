package limit

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/rpcerr"
)

// Sizes are the limits that apply to all callers.
type Sizes struct {
	MaxPayload int64 // bytes of the payload of one submission, at most LargestPayload
	MaxStream  int64 // bytes of one streamed payload; 0 means 1 GiB
	// Held limits what callers hold at once. Zero values select the default.
	Held HeldLimits
}

const (
	// LargestPayload is the maximum of MaxPayload.
	LargestPayload = 1 << 30
	// defaultMaxStream replaces a MaxStream of 0.
	defaultMaxStream = 1 << 30
)

// largest contains the largest configurable limits.
var largest = &Sizes{MaxPayload: LargestPayload}

// Config configures a Limiter.
type Config struct {
	// RequestTimeout limits the time for a request to arrive, and for a
	// response or one message of a stream to be sent.
	RequestTimeout time.Duration
	// Wait is the time that a call waits when a limit of its tenant is reached.
	Wait time.Duration
	Now  func() time.Time
	// Drain is closed when the server shuts down, which ends all waiting.
	Drain <-chan struct{}
	// Refuse answers a request with an error.
	Refuse   func(http.ResponseWriter, *http.Request, *connect.Error)
	Observer Observer
}

// An Observer counts a Limiter's actions. No function may be nil.
type Observer struct {
	Limited func(label string) // a call was refused because of the limit
	Waiting func(change int)   // calls that wait because of a limit
	Delayed func()             // a call was delayed because of its owner's failed calls
}

// A Limiter applies all limits of a server: how much callers hold, how fast
// they call, and how large and how slow a request can be.
type Limiter struct {
	cfg    Config
	book   *Book // of what callers hold
	debts  Debts // of callers whose calls fail
	active activeTenants
	sizes  atomic.Pointer[Sizes]
	usages atomic.Pointer[Usages]
}

// New returns a Limiter that limits no tenant until SetUsages is called.
func New(cfg Config, sizes Sizes) *Limiter {
	l := &Limiter{cfg: cfg, book: NewBook(HeldLimits{})}
	l.SetSizes(sizes)
	l.usages.Store(&Usages{})
	return l
}

// SetSizes replaces the limits of all callers.
func (l *Limiter) SetSizes(s Sizes) {
	if s.MaxStream == 0 {
		s.MaxStream = defaultMaxStream
	}
	l.sizes.Store(&s)
	l.book.SetLimits(s.holds())
}

// Sizes returns the limits of all callers, with defaults filled in.
func (l *Limiter) Sizes() *Sizes { return l.sizes.Load() }

// Book returns the book that counts what callers hold.
func (l *Limiter) Book() *Book { return l.book }

// Debts returns the debts of callers whose calls fail.
func (l *Limiter) Debts() *Debts { return &l.debts }

// DefaultHeld returns the default limits of what callers hold. They keep the
// process below 1 GiB.
func DefaultHeld() HeldLimits {
	return HeldLimits{
		Bytes:       {Total: 512 << 20, Owner: 256 << 20},
		Calls:       {Total: 8192, Owner: 1024},
		Uploads:     {Total: 128, Owner: 32},
		Answers:     {Total: 256, Owner: 32},
		Watchers:    {Total: 2048, Owner: 128},
		Public:      {Total: 1024, Owner: 128},
		PublicBytes: {Total: 64 << 20, Owner: 20 << 20},
		Refusals:    {Total: 4096, Owner: 2048},
	}
}

// holds returns the limits of what callers hold, with defaults filled in. They
// always admit the largest request.
func (c *Sizes) holds() HeldLimits {
	l := c.Held
	for r, d := range DefaultHeld() {
		if l[r].Total == 0 {
			l[r].Total = d.Total
		}
		if l[r].Owner == 0 {
			l[r].Owner = min(d.Owner, max(1, l[r].Total/2))
		}
	}
	need := decodeFactor*c.maxBatch() + callBytes
	b := &l[Bytes]
	b.Total, b.Owner = max(b.Total, need), max(b.Owner, need)
	return l
}

// ownerOf returns the owner that the request is charged to.
func ownerOf(r *http.Request) string {
	c := callOf(r.Context())
	if c == nil {
		c = &Call{}
	}
	return c.owner(r)
}

// Busy returns the error for a call that is refused because too much is in use,
// and counts the refusal. All such refusals go through it.
func (l *Limiter) Busy(err error) *connect.Error {
	var full *Full
	if errors.As(err, &full) {
		l.cfg.Observer.Limited(full.Resource.HeldLabel())
		err = full
	}
	return rpcerr.Retry(connect.CodeResourceExhausted, err, time.Second)
}

// Place gives the request a place for its duration, or refuses it.
func (l *Limiter) Place(place Resource, next http.Handler) http.Handler {
	return l.placed(func(*Call, *http.Request) Resource { return place }, next)
}

// PlaceCall gives the request the place specified in the table of shapes.
func (l *Limiter) PlaceCall(next http.Handler) http.Handler {
	return l.placed(func(c *Call, r *http.Request) Resource { return c.shapeFor(r).place }, next)
}

func (l *Limiter) placed(place func(*Call, *http.Request) Resource, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, r := begun(r)
		c.hold.open(l.book, c.owner(r))
		defer c.hold.Release()
		if err := c.hold.Take(place(c, r), 1); err != nil {
			l.ChargeRefusal(r)
			l.cfg.Refuse(w, r, l.Busy(err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Take adds bytes to the call's hold.
func (l *Limiter) Take(ctx context.Context, n int64) error {
	h := HeldBy(ctx)
	if h == nil {
		return errors.New("a call holds bytes but has no account")
	}
	return h.Take(Bytes, n)
}

// Turn waits until the request's tenant may make a call.
func (l *Limiter) Turn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, r := begun(r)
		tenant, sh := c.tenant, c.shapeFor(r)
		u := l.Usage(tenant)
		if err := l.takeRequest(r.Context(), u); err != nil {
			l.cfg.Refuse(w, r, err)
			return
		}
		if sh.place == Calls {
			// While it waits, the received part of its request occupies the
			// connection's buffers.
			if err := c.hold.Take(Bytes, callBytes); err != nil {
				l.cfg.Refuse(w, r, l.Busy(err))
				return
			}
			if now := l.cfg.Now(); l.active.join(tenant, now) && l.book.Held(tenant, Calls) > besideFree {
				if l.settle(r.Context(), u.beside.ReserveN(now, 1).DelayFrom(now), nil) != nil {
					return // the client is gone
				}
			}
			if u.working.Acquire(r.Context(), 1) != nil {
				return // the client is gone
			}
			defer u.working.Release(1)
		}
		next.ServeHTTP(w, r)
	})
}

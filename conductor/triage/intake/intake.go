package intake

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/route"
	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
)

const (
	// maxHeld bounds the bodies of all messages that are read and applied.
	maxHeld = 64 << 20
	// maxPerSender bounds those of one sender.
	maxPerSender = 32 << 20
	// deliverTime bounds the wait for a message to be applied.
	deliverTime = 20 * time.Second
	// maxListed is the number of refusals that an answer lists.
	maxListed = 16
)

// A Router applies signals.
type Router interface {
	// Deliver returns the effects of signals once they are durable.
	Deliver(ctx context.Context, signals []signal.Signal) (map[correlate.Effect]int, error)
}

// Options are the surroundings of an intake.
type Options struct {
	Router  Router
	Senders *Senders
	Metrics *route.Metrics
	Now     func() time.Time
	Log     *slog.Logger
}

// An Intake serves the inputs of a router.
type Intake struct {
	Options
	senders atomic.Pointer[Senders]
	held    *semaphore.Weighted

	mu  sync.Mutex // guards the rest
	own map[string]*semaphore.Weighted
}

// New returns an intake.
func New(o Options) *Intake {
	i := &Intake{Options: o, held: semaphore.NewWeighted(maxHeld), own: map[string]*semaphore.Weighted{}}
	i.senders.Store(o.Senders)
	return i
}

// SetSenders replaces the senders.
func (i *Intake) SetSenders(s *Senders) { i.senders.Store(s) }

// Handler serves the inputs.
func (i *Intake) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /alertmanager", i.input(signal.Alertmanager, signal.ParseAlertmanager))
	return mux
}

// Allowed reports whether a caller is on this machine, or a sender.
func (i *Intake) Allowed(r *http.Request) bool {
	if _, ok := i.senders.Load().Of(r.Header); ok {
		return true
	}
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && address.Addr().Unmap().IsLoopback() && !edge.Forwarded(r)
}

// A parser reads the body of a message.
type parser = func(body []byte, received time.Time) (*signal.Message, error)

// A failure is why a message is not accepted.
type failure struct {
	status int
	result string // of the metrics
	reason string
}

func (f *failure) Error() string { return f.reason }

// input serves one input.
func (i *Intake) input(name string, parse parser) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sender, ok := i.senders.Load().Of(r.Header)
		if !ok {
			i.Metrics.Message(name, route.Unknown, route.Unauthorized, 0)
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "no valid token: send the header Authorization with Bearer and the token of a sender", http.StatusUnauthorized)
			return
		}
		answer, size, err := i.receive(w, r, name, sender, parse)
		var f *failure
		if !errors.As(err, &f) {
			i.Metrics.Message(name, sender, route.Accepted, size)
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer) // the sender has gone
			return
		}
		i.Metrics.Message(name, sender, f.result, size)
		if f.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		i.Log.Warn("message refused", "input", name, "sender", sender, "status", f.status, "reason", f.reason)
		http.Error(w, f.reason, f.status)
	})
}

// An Answer is the answer to an accepted message.
type Answer struct {
	Accepted int              `json:"accepted"` // signals
	Refused  []signal.Refusal `json:"refused,omitempty"`
	More     int              `json:"moreRefused,omitempty"`
}

// receive reads, parses and applies a message.
func (i *Intake) receive(w http.ResponseWriter, r *http.Request, input, sender string, parse parser) (*Answer, int, error) {
	size := int64(signal.MaxMessage)
	if r.ContentLength > size {
		return nil, 0, &failure{http.StatusRequestEntityTooLarge, route.TooLarge, "the message has " + strconv.FormatInt(r.ContentLength, 10) + " bytes, above the limit of " + strconv.FormatInt(size, 10)}
	}
	if r.ContentLength >= 0 {
		size = r.ContentLength
	}
	release, ok := i.hold(sender, size)
	if !ok {
		return nil, 0, busy(route.ErrBusy)
	}
	defer release()
	body, err := bounded.ReadAll(edge.MaxBytes(w, r.Body, size), size)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large) || errors.Is(err, bounded.ErrTooLarge):
		return nil, len(body), &failure{http.StatusRequestEntityTooLarge, route.TooLarge, "the message is above the limit of " + strconv.Itoa(signal.MaxMessage) + " bytes"}
	case err != nil:
		return nil, len(body), &failure{http.StatusBadRequest, route.Invalid, "the message did not arrive"}
	}
	m, err := parse(body, i.Now())
	if err != nil {
		return nil, len(body), &failure{http.StatusBadRequest, route.Invalid, err.Error()}
	}
	answer, err := i.deliver(r.Context(), input, sender, m)
	return answer, len(body), err
}

func busy(err error) *failure {
	return &failure{http.StatusServiceUnavailable, route.Busy, err.Error()}
}

// hold reserves memory for a body. A sender cannot take all of it.
func (i *Intake) hold(sender string, size int64) (release func(), ok bool) {
	i.mu.Lock()
	own := i.own[sender]
	if own == nil {
		own = semaphore.NewWeighted(maxPerSender)
		i.own[sender] = own
	}
	i.mu.Unlock()
	if !own.TryAcquire(size) {
		return nil, false
	}
	if !i.held.TryAcquire(size) {
		own.Release(size)
		return nil, false
	}
	return func() { own.Release(size); i.held.Release(size) }, true
}

// deliver applies the signals of a message.
func (i *Intake) deliver(ctx context.Context, input, sender string, m *signal.Message) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, deliverTime)
	defer cancel()
	effects, err := i.Router.Deliver(ctx, m.Signals)
	if err != nil {
		return nil, busy(err)
	}
	skewed := 0
	for n := range m.Signals {
		if m.Signals[n].Skewed {
			skewed++
		}
	}
	i.Metrics.Signals(input, effects, len(m.Refused), skewed)
	if len(m.Refused) > 0 || m.Truncated > 0 {
		i.Log.Warn("alerts refused", "input", input, "sender", sender, "refused", len(m.Refused), "left_out", m.Truncated)
	}
	a := &Answer{Accepted: len(m.Signals), Refused: m.Refused[:min(len(m.Refused), maxListed)]}
	a.More = len(m.Refused) - len(a.Refused)
	return a, nil
}

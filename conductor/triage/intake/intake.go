package intake

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/inputs"
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
	Inputs  *inputs.Inputs // nil: Alertmanager only
	Metrics *route.Metrics
	Now     func() time.Time
	Log     *slog.Logger
}

// An Intake serves the inputs of a router.
type Intake struct {
	Options
	senders atomic.Pointer[Senders]
	inputs  atomic.Pointer[inputs.Inputs]
	held    *semaphore.Weighted

	mu  sync.Mutex // guards the rest
	own map[string]*share
}

// A share is what one sender may use.
type share struct {
	held  *semaphore.Weighted // bytes of bodies
	rate  *rate.Limiter       // messages
	noted rate.Sometimes      // that the rate is exceeded
}

// New returns an intake.
func New(o Options) *Intake {
	i := &Intake{Options: o, held: semaphore.NewWeighted(maxHeld), own: map[string]*share{}}
	i.Set(o.Senders, o.Inputs)
	return i
}

// Set replaces the senders and the inputs.
func (i *Intake) Set(s *Senders, in *inputs.Inputs) {
	if in == nil {
		in = &inputs.Inputs{}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for name, perSecond := range s.rates {
		own := i.own[name]
		if own == nil {
			own = &share{held: semaphore.NewWeighted(maxPerSender), rate: rate.NewLimiter(rate.Limit(perSecond), perSecond), noted: rate.Sometimes{Interval: time.Second}}
			i.own[name] = own
		}
		own.rate.SetLimit(rate.Limit(perSecond))
		own.rate.SetBurst(perSecond)
	}
	i.senders.Store(s)
	i.inputs.Store(in)
}

// of returns the share of a sender.
func (i *Intake) of(sender string) *share {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.own[sender]
}

// Handler serves the inputs.
func (i *Intake) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /alertmanager", &input{Intake: i, name: signal.Alertmanager, answer: plainAnswer, refuse: plainRefusal,
		parse: func(_ *http.Request, body []byte) (*signal.Message, error) {
			return signal.ParseAlertmanager(body, i.Now())
		}})
	mux.Handle("POST /json/{name}", &input{Intake: i, name: "json", answer: plainAnswer, refuse: plainRefusal,
		parse: func(r *http.Request, body []byte) (*signal.Message, error) {
			m := i.inputs.Load().JSON[r.PathValue("name")]
			if m == nil {
				return nil, none
			}
			return m.Parse(body, i.Now())
		}})
	for _, e := range i.exporters() {
		mux.Handle("POST "+e.path, i.overHTTP(e))
		mux.Handle("POST "+e.procedure, i.overGRPC(e))
	}
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

// A failure is why a message is not accepted.
type failure struct {
	status int
	result string // of the metrics
	reason string
	after  time.Duration // after which to repeat the message; 0: a second
}

func (f *failure) Error() string { return f.reason }

// retryAfter returns the value of the header Retry-After.
func (f *failure) retryAfter() string {
	return strconv.Itoa(max(1, int((f.after+time.Second-1)/time.Second)))
}

var unauthorized = &failure{status: http.StatusUnauthorized, result: route.Unauthorized, reason: "no valid token: send the header Authorization with Bearer and the token of a sender"}

func busy(err error) *failure {
	return &failure{status: http.StatusServiceUnavailable, result: route.Busy, reason: err.Error()}
}

// limited returns a failure with this status if a sender has sent too many
// messages.
func (i *Intake) limited(sender string, status int) error {
	limiter, now := i.of(sender).rate, i.Now()
	r := limiter.ReserveN(now, 1)
	after := r.DelayFrom(now)
	if after == 0 {
		return nil
	}
	r.CancelAt(now)
	return &failure{status: status, result: route.Limited, after: after,
		reason: fmt.Sprintf("more than %d messages in a second: repeat the message later", limiter.Burst())}
}

func invalid(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{status: http.StatusBadRequest, result: route.Invalid, reason: err.Error()}
}

func tooLarge() *failure {
	return &failure{status: http.StatusRequestEntityTooLarge, result: route.TooLarge, reason: "the message is above the limit of " + strconv.Itoa(signal.MaxMessage) + " bytes: send smaller ones"}
}

// An input serves the messages of one kind over HTTP.
type input struct {
	*Intake
	name   string
	parse  func(r *http.Request, body []byte) (*signal.Message, error)
	answer func(w http.ResponseWriter, r *http.Request, a *Answer)
	refuse func(w http.ResponseWriter, r *http.Request, f *failure)
}

// An Answer is the answer to an accepted message.
type Answer struct {
	Accepted int              `json:"accepted"` // signals
	Refused  []signal.Refusal `json:"refused,omitempty"`
	More     int              `json:"moreRefused,omitempty"`
}

func plainAnswer(w http.ResponseWriter, _ *http.Request, a *Answer) {
	w.Header().Set("Content-Type", typeJSON)
	_ = json.NewEncoder(w).Encode(a) // the sender has gone
}

func plainRefusal(w http.ResponseWriter, _ *http.Request, f *failure) {
	http.Error(w, f.reason, f.status)
}

// ServeHTTP implements http.Handler.
func (in *input) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sender, ok := in.senders.Load().Of(r.Header)
	var answer *Answer
	var size int
	var err error = unauthorized
	if ok {
		answer, size, err = in.receive(w, r, sender)
	}
	in.account(in.name, sender, size, err)
	var f *failure
	if !errors.As(err, &f) {
		in.answer(w, r, answer)
		return
	}
	switch f.status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", f.retryAfter())
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	in.refuse(w, r, f)
}

// account counts a message, and logs why it was refused.
func (i *Intake) account(input, sender string, size int, err error) {
	var f *failure
	if !errors.As(err, &f) {
		i.Metrics.Message(input, sender, route.Accepted, size)
		return
	}
	i.Metrics.Message(input, sender, f.result, size)
	note := func() {
		i.Log.Warn("message refused", "input", input, "sender", sender, "status", f.status, "reason", f.reason)
	}
	switch f.result {
	case route.Unauthorized:
	case route.Limited:
		i.of(sender).noted.Do(note)
	default:
		note()
	}
}

// receive reads, parses and applies a message.
func (in *input) receive(w http.ResponseWriter, r *http.Request, sender string) (*Answer, int, error) {
	status := http.StatusTooManyRequests
	if in.name == signal.Alertmanager {
		status = http.StatusServiceUnavailable // it repeats messages after 5xx only
	}
	if err := in.limited(sender, status); err != nil {
		return nil, 0, err
	}
	if r.ContentLength > signal.MaxMessage {
		return nil, 0, tooLarge()
	}
	size := int64(signal.MaxMessage)
	encoding := r.Header.Get("Content-Encoding")
	if r.ContentLength >= 0 && encoding == "" {
		size = r.ContentLength
	}
	release, ok := in.hold(sender, size)
	if !ok {
		return nil, 0, busy(route.ErrBusy)
	}
	defer release()
	body, err := in.read(w, r, encoding, size)
	if err != nil {
		return nil, len(body), err
	}
	m, err := in.parse(r, body)
	if err != nil {
		return nil, len(body), invalid(err)
	}
	answer, err := in.deliver(r.Context(), in.name, sender, m)
	return answer, len(body), err
}

// read reads a body, which has at most size bytes after decompression.
func (in *input) read(w http.ResponseWriter, r *http.Request, encoding string, size int64) ([]byte, error) {
	var from io.Reader = edge.MaxBytes(w, r.Body, size)
	switch encoding {
	case "", "identity":
	case "gzip":
		unzip, err := gzip.NewReader(from)
		if err != nil {
			return nil, &failure{status: http.StatusBadRequest, result: route.Invalid, reason: "the body is not gzip"}
		}
		from = unzip
	default:
		return nil, &failure{status: http.StatusUnsupportedMediaType, result: route.Invalid, reason: "the content encoding must be gzip or absent"}
	}
	body, err := bounded.ReadAll(from, size)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large) || errors.Is(err, bounded.ErrTooLarge):
		return nil, tooLarge()
	case err != nil:
		return nil, &failure{status: http.StatusBadRequest, result: route.Invalid, reason: "the message did not arrive whole"}
	}
	return body, nil
}

// hold reserves memory for a body. A sender cannot take all of it.
func (i *Intake) hold(sender string, size int64) (release func(), ok bool) {
	own := i.of(sender).held
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
	if len(i.senders.Load().Names()) > 1 {
		for n := range m.Signals {
			m.Signals[n].Sender = sender
		}
	}
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

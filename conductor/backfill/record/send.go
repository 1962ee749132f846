package record

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/ledger/receipt"
)

// Options configure a Sender. Ledger, Outbox and Job are required.
type Options struct {
	// Ledger configures the client. Its Policy, the trust policy of the job, is
	// required. Its Reconnect is not used.
	Ledger muniment.Options
	Outbox Outbox
	Job    Job
	// Timeout bounds one attempt; 0: 30 seconds.
	Timeout time.Duration
	// MaxWait bounds the time between two attempts; 0: 30 seconds.
	MaxWait time.Duration
	// Observe, if not nil, is called after each attempt, one at a time.
	Observe func(Attempt)
	// Traces, if not nil, makes a span for each call of the ledger.
	Traces trace.TracerProvider
}

// An Attempt is the result of sending an item.
type Attempt struct {
	Item     Item
	Index    uint64        // of the entry
	Duration time.Duration // until the receipt was stored
	Err      error         // a *SendError, or nil
}

// A Sender sends the entries of one run to the ledger. It is safe for
// concurrent use.
type Sender struct {
	o       Options
	client  *muniment.Client
	sending chan struct{} // has a token while no goroutine sends

	mu   sync.Mutex // guards last
	last error      // of the last attempt
}

// New returns a sender. It does not connect until the first call.
func New(o Options) (*Sender, error) {
	if o.Ledger.Policy == nil {
		return nil, errors.New("record: no trust policy of the ledger: receipts could not be verified")
	}
	if err := o.Job.check(); err != nil {
		return nil, err
	}
	o.Ledger.Reconnect = 0 // the sender repeats calls
	if o.Traces != nil {
		i, err := otelconnect.NewInterceptor(otelconnect.WithTracerProvider(o.Traces), otelconnect.WithPropagator(propagation.TraceContext{}), otelconnect.WithoutMetrics())
		if err != nil {
			return nil, fmt.Errorf("record: traces: %w", err)
		}
		o.Ledger.Interceptors = append(o.Ledger.Interceptors, i)
	}
	client, err := muniment.New(o.Ledger)
	if err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxWait == 0 {
		o.MaxWait = 30 * time.Second
	}
	s := &Sender{o: o, client: client, sending: make(chan struct{}, 1)}
	s.sending <- struct{}{}
	return s, nil
}

// Observe replaces Options.Observe. It must be called before anything is sent.
func (s *Sender) Observe(f func(Attempt)) { s.o.Observe = f }

// A Fault is what keeps an entry from being recorded.
type Fault string

// The faults.
const (
	// Unreachable: the ledger did not answer, or asked to repeat the call
	// later. Sending is repeated.
	Unreachable Fault = "unreachable"
	// Refused: the ledger did not accept the entry. A person must act, such as
	// by issuing a token. Sending is repeated, at the longest interval.
	Refused Fault = "refused"
	// NotVerified: the receipt does not verify under the trust policy, or is
	// that of another entry. Sending ends.
	NotVerified Fault = "not-verified"
	// Stale: the ledger has another entry with the key. Sending ends, because
	// the outbox is older than the ledger.
	Stale Fault = "stale"
)

// Ends reports whether an error of Err ends all sending.
func Ends(err error) bool {
	fault := faultOf(err)
	return fault == NotVerified || fault == Stale
}

// Faults lists all faults.
var Faults = []Fault{Unreachable, Refused, NotVerified, Stale}

// A SendError is the reason for which an item was not recorded.
type SendError struct {
	Fault Fault
	Seq   uint64
	Kind  string
	Err   error
}

func (e *SendError) Error() string {
	remedy := ""
	switch e.Fault {
	case Unreachable:
		remedy = ": the entry is kept and sent again"
	case Refused:
		remedy = ": the entry is kept and sent again; check the token, its role appender, and the admission policy"
	case Stale:
		remedy = ": the state in the database is older than the ledger, as after a failover to a standby that lagged, or after a restore: roll back with --without-ledger, and plan a job with another name"
	case NotVerified:
		remedy = ": nothing is sent any more; compare the job's trust policy with the ledger's before you go on"
	}
	return fmt.Sprintf("send entry %d (%s) to the ledger: %s: %v%s", e.Seq, e.Kind, e.Fault, e.Err, remedy)
}

func (e *SendError) Unwrap() error { return e.Err }

// Flush sends the items of the outbox in order until it is empty, and returns
// the number of those it has sent. It ends at the first item that is not
// recorded, with a *SendError.
func (s *Sender) Flush(ctx context.Context) (int, error) {
	select {
	case <-s.sending:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { s.sending <- struct{}{} }()
	for n := 0; ; n++ {
		item, ok, err := s.o.Outbox.Next(ctx)
		if err != nil {
			return n, fmt.Errorf("read the outbox: %w", err)
		}
		if !ok {
			s.note(nil)
			return n, nil
		}
		if err := s.send(ctx, item); err != nil {
			s.note(err)
			return n, err
		}
	}
}

// Err returns the error of the last attempt, or nil if it succeeded.
func (s *Sender) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *Sender) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = err
}

// firstWait is the time before the second attempt. It doubles with each
// further one.
const firstWait = 100 * time.Millisecond

// Await sends the items of the outbox until it is empty. It repeats sending
// while the ledger is unreachable, and returns the last error if the context
// ends before. Other errors end it at once.
func (s *Sender) Await(ctx context.Context) error {
	for wait := firstWait; ; wait = min(2*wait, s.o.MaxWait) {
		n, err := s.Flush(ctx)
		if err == nil {
			return nil
		}
		if faultOf(err) != Unreachable {
			return err
		}
		if n > 0 {
			wait = firstWait
		}
		if !pause(ctx, wait) {
			return err
		}
	}
}

// Run sends the items of the outbox as they come, until the context ends. A
// value from wake starts it at once. It returns an error only if another
// process has taken over the outbox, a receipt is not verified, or the outbox
// is stale. Other failures of the outbox are repeated, because its database can
// fail over.
func (s *Sender) Run(ctx context.Context, wake <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := firstWait; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-timer.C:
		}
		n, err := s.Flush(ctx)
		fault := faultOf(err)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			timer.Stop() // until the next value from wake
			wait = firstWait
			continue
		case fault == Refused:
			wait = s.o.MaxWait
		case Ends(err) || errors.Is(err, ErrTakenOver):
			return err
		case n > 0:
			wait = firstWait
		}
		timer.Reset(jittered(wait))
		wait = min(2*wait, s.o.MaxWait)
	}
}

func faultOf(err error) Fault {
	if e, ok := errors.AsType[*SendError](err); ok {
		return e.Fault
	}
	return ""
}

// pause waits, and reports whether the context has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(jittered(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jittered returns between half of a duration and the whole, so that the
// runners of several jobs do not call together.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// send sends one item, and stores its receipt.
func (s *Sender) send(ctx context.Context, item Item) error {
	start := time.Now()
	r, err := s.record(ctx, item)
	if err == nil {
		if err = s.o.Outbox.Acknowledge(ctx, item.Seq, r); err != nil {
			return fmt.Errorf("store the receipt of entry %d: %w", item.Seq, err)
		}
	}
	if s.o.Observe != nil {
		s.o.Observe(Attempt{Item: item, Index: r.Index, Duration: time.Since(start), Err: err})
	}
	return err
}

func (s *Sender) record(ctx context.Context, item Item) (Receipt, error) {
	payload := item.Sealed
	if payload == nil {
		var err error
		if payload, err = s.payload(ctx, item); err != nil {
			return Receipt{}, err
		}
		if err = s.o.Outbox.Seal(ctx, item.Seq, payload); err != nil {
			return Receipt{}, fmt.Errorf("store the payload of entry %d before it is sent: %w", item.Seq, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	key := s.o.Job.Key(item.Seq)
	res, err := s.client.Append(ctx, muniment.Submission{Kind: item.Kind, Payload: payload, IdempotencyKey: key})
	if err != nil {
		return Receipt{}, &SendError{fault(err), item.Seq, item.Kind, err}
	}
	proven, err := verify(res.Receipt, payload, s.o.Ledger.Policy, s.client.Tenant, item.Kind)
	if err == nil && proven.Header.IdempotencyKey != key {
		err = fmt.Errorf("the receipt is for an entry with the key %q, not %q", proven.Header.IdempotencyKey, key)
	}
	if err != nil {
		return Receipt{}, &SendError{NotVerified, item.Seq, item.Kind, err}
	}
	return Receipt{Index: proven.Index, LeafHash: hex.EncodeToString(proven.LeafHash[:]), Payload: payload, Receipt: res.Receipt}, nil
}

// verify verifies a receipt with its payload offline.
func verify(text, payload []byte, policy *receipt.TrustPolicy, tenant, kind string) (*receipt.Statement, error) {
	proven, err := receipt.Verify(text, []*receipt.TrustPolicy{policy}, receipt.Options{Payload: payload, Tenant: &tenant, Kind: &kind})
	if err == nil && proven.Header == nil {
		err = errors.New("the receipt has no header, because the entry was erased")
	}
	return proven, err
}

// payload returns the payload of an item with its references, which it splices
// in, so that it decodes nothing.
func (s *Sender) payload(ctx context.Context, item Item) ([]byte, error) {
	payload := []byte(item.Payload)
	for _, ref := range []struct {
		name string
		seq  uint64
	}{{"intent", item.Intent}, {"checkpointEntry", item.Checkpoint}} {
		if ref.seq == 0 {
			continue
		}
		r, err := s.o.Outbox.Receipt(ctx, ref.seq)
		if err != nil {
			return nil, fmt.Errorf("read the receipt of entry %d, to which entry %d refers: %w", ref.seq, item.Seq, err)
		}
		if len(payload) < 3 || payload[len(payload)-1] != '}' {
			return nil, fmt.Errorf("the payload of entry %d in the outbox is not a JSON object", item.Seq)
		}
		payload = fmt.Appendf(payload[:len(payload)-1:len(payload)-1], `,"%s":{"index":"%d","leafHash":"%s"}}`, ref.name, r.Index, r.LeafHash)
	}
	return payload, nil
}

// fault classifies the error of an append.
func fault(err error) Fault {
	if errors.Is(err, receipt.ErrNotVerified) {
		return NotVerified
	}
	code := connect.CodeOf(err)
	// Other causes of this code, such as a replica, can pass.
	if code == connect.CodeFailedPrecondition && strings.Contains(err.Error(), "idempotency key was used") {
		return Stale
	}
	switch code {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeInvalidArgument, connect.CodeAlreadyExists,
		connect.CodeFailedPrecondition, connect.CodeNotFound, connect.CodeOutOfRange, connect.CodeUnimplemented:
		return Refused
	}
	return Unreachable
}

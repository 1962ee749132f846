// Package witness collects cosignatures of a log's published checkpoints: from
// the witnesses of its policies over C2SP tlog-witness
// (https://c2sp.org/tlog-witness), and by the log's own cosigner keys
// (https://c2sp.org/tlog-cosignature).
//
// It sees the log only through the interface Log, and thus never beyond the
// published state. Package ledger/witness/cosigner implements a witness.
package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A Log is the log whose checkpoints are cosigned.
type Log interface {
	// State returns the latest published state.
	State() State
	// Cosign stores and serves a published checkpoint whose verified
	// cosignatures meet the policies.
	Cosign(ctx context.Context, signed []byte) error
}

// A State is a published state of the log.
type State struct {
	Size       uint64
	Checkpoint []byte          // signed by the log
	Superseded <-chan struct{} // closed when a larger state is published
	// Prove returns the consistency proof from a tree of the same size or a
	// smaller one.
	Prove func(ctx context.Context, from uint64) ([]entry.Hash, error)
}

// A Config configures a Collector.
type Config struct {
	Log      Log
	Policies []*receipt.TrustPolicy // list the witnesses; all must be met
	Signers  []note.Signer          // the log's own cosigner keys
	Logger   *slog.Logger
	// Idle reports that another server asks the witnesses: once it is
	// confirmed, this one begins no more rounds until Idle returns false. Nil:
	// this server always asks.
	Idle func() bool

	// Known reports whether the store of a log that several servers share has
	// that many entries. A witness that has seen more than this server
	// submitted then contradicts nothing: another server was faster. Nil: no
	// other server commits.
	Known func(ctx context.Context, size uint64) bool

	// RequestTime limits the time for one response of a witness. 0 means 10
	// s.
	RequestTime time.Duration
	// RoundTime limits the time that a checkpoint waits for a quorum if there
	// is a newer one. 0 means 10 s.
	RoundTime time.Duration
	// MinBackoff is the first delay after a failure. 0 means 500 ms.
	MinBackoff time.Duration
	// MaxBackoff is the longest delay after a failure. 0 means a minute.
	MaxBackoff time.Duration
}

// Quorum returns a function that returns an error if a signed checkpoint does
// not meet all policies. It returns nil if the signature by the log's Ed25519
// key is sufficient.
func Quorum(policies []*receipt.TrustPolicy) func(signed []byte) error {
	asks := false
	for _, p := range policies {
		asks = asks || p.RequiresWitness() || p.PostQuantum()
	}
	if !asks {
		return nil
	}
	return func(signed []byte) error { return met(policies, signed) }
}

func met(policies []*receipt.TrustPolicy, signed []byte) error {
	for _, p := range policies {
		if _, _, err := p.VerifyCheckpoint(signed); err != nil {
			return fmt.Errorf("policy %s: %w", p.Name, err)
		}
	}
	return nil
}

// A Collector collects cosignatures in rounds. In a round all witnesses are
// asked to cosign the same checkpoint, the newest at the start of the round, so
// that a quorum for one checkpoint is possible while the log grows. A round
// ends when the policies are met, or all witnesses have been tried.
type Collector struct {
	cfg       Config
	endpoints []*endpoint
	asks      bool // a policy requires a witness
	stop      context.CancelFunc
	done      sync.WaitGroup

	confirmed   chan struct{}
	answered    chan struct{}
	contradicts chan error

	mu      sync.Mutex // guards the fields below
	current *round
	renewed chan struct{} // closed when current changes
}

// A round collects the cosignatures of one checkpoint.
type round struct {
	State
	submitted []byte        // the checkpoint for the witnesses, signed by the log's keys
	first     bool          // the checkpoint is the one that the log was opened with
	over      chan struct{} // closed when the policies are met, or all witnesses have been tried

	// mu guards the fields below. It is held while the log stores the
	// checkpoint, so that the log receives cosignatures in order.
	mu     sync.Mutex
	signed []byte // the checkpoint with the cosignatures so far
	lines  map[string]bool
	tried  map[*endpoint]bool
	agreed map[*endpoint]bool // cosigned it, or another state of a log with several servers
	met    bool
}

// New returns a Collector. It returns an error if the quorum requires a witness
// that has no URL.
func New(cfg Config) (*Collector, error) {
	if cfg.RequestTime == 0 {
		cfg.RequestTime = 10 * time.Second
	}
	if cfg.RoundTime == 0 {
		cfg.RoundTime = 10 * time.Second
	}
	if cfg.MinBackoff == 0 {
		cfg.MinBackoff = 500 * time.Millisecond
	}
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = time.Minute
	}
	c := &Collector{cfg: cfg, confirmed: make(chan struct{}), answered: make(chan struct{}), contradicts: make(chan error, 1), renewed: make(chan struct{})}
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: 5 * time.Minute, MaxResponseHeaderBytes: 16 << 10},
	}
	names, urls := map[string]*endpoint{}, map[string]*endpoint{}
	for _, p := range cfg.Policies {
		c.asks = c.asks || p.RequiresWitness()
		for _, w := range p.Witnesses() {
			if w.URL == "" {
				continue
			}
			url, err := submissionURL(w.URL)
			if err != nil {
				return nil, fmt.Errorf("policy %s: witness %s: %w", p.Name, w.Name, err)
			}
			e := urls[url]
			if other := names[w.Name]; other != nil && other != e {
				return nil, fmt.Errorf("policy %s: witness %s: another policy uses this name for a witness with another URL", p.Name, w.Name)
			}
			if e == nil {
				e = &endpoint{name: w.Name, url: url, client: client, timeout: cfg.RequestTime}
				names[w.Name], urls[url] = e, e
				c.endpoints = append(c.endpoints, e)
			}
			e.keys = append(e.keys, w.Key)
		}
	}
	for _, p := range cfg.Policies {
		if err := attainable(p); err != nil {
			return nil, err
		}
	}
	if err := receipt.CheckLimits(cfg.Policies); err != nil {
		return nil, err
	}
	return c, nil
}

// attainable returns an error if the witnesses that have a URL cannot meet the
// policy's quorum.
func attainable(p *receipt.TrustPolicy) error {
	sigs := []note.Signature{{Name: p.LogKey().Name(), Hash: p.LogKey().KeyHash()}}
	var missing []string
	for _, w := range p.Witnesses() {
		if w.URL == "" {
			missing = append(missing, w.Name)
			continue
		}
		sigs = append(sigs, note.Signature{Name: w.Key.Name(), Hash: w.Key.KeyHash()})
	}
	if err := p.Torchwood().Check(p.Origin(), sigs); err != nil {
		return fmt.Errorf("policy %s: the quorum cannot be met: add the URLs of these witnesses: %s", p.Name, strings.Join(missing, ", "))
	}
	return nil
}

func submissionURL(prefix string) (string, error) {
	if !strings.HasPrefix(prefix, "https://") && !strings.HasPrefix(prefix, "http://") {
		return "", fmt.Errorf("%q is not an http or https URL", prefix)
	}
	return strings.TrimSuffix(prefix, "/") + "/add-checkpoint", nil
}

// Witnesses returns the number of witnesses that are asked.
func (c *Collector) Witnesses() int { return len(c.endpoints) }

// Start starts the goroutines that collect. Close stops them.
func (c *Collector) Start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Go(func() {
		defer crash.Report()
		c.run(ctx)
	})
	for _, e := range c.endpoints {
		c.done.Go(func() {
			defer crash.Report()
			c.serve(ctx, e)
		})
	}
}

// Close stops the goroutines of Start and waits for them.
func (c *Collector) Close() {
	c.stop()
	c.done.Wait()
}

// Confirmed is closed when the policies' quorum, or one witness if they ask for
// none, has cosigned the state that the log was opened with.
func (c *Collector) Confirmed() <-chan struct{} { return c.confirmed }

// Contradiction receives the first response of a witness that shows that the
// log was opened in a state that is not its latest, or is a fork. The error
// wraps ErrAhead or ErrInconsistent.
func (c *Collector) Contradiction() <-chan error { return c.contradicts }

// AllAnswered is closed when each witness has been tried with the state that
// the log was opened with.
func (c *Collector) AllAnswered() <-chan struct{} { return c.answered }

// run starts one round after another.
func (c *Collector) run(ctx context.Context) {
	for first := true; ; first = c.cfg.Known != nil && !c.isConfirmed() {
		r, err := c.begin(ctx, first)
		if err != nil {
			c.cfg.Logger.Error("the log's own cosignature", "err", err)
			return
		}
		timeout := time.NewTimer(c.cfg.RoundTime)
		select {
		case <-r.over:
		case <-timeout.C:
		case <-ctx.Done():
			return
		}
		timeout.Stop()
		select {
		case <-r.Superseded:
		case <-ctx.Done():
			return
		}
		if !c.wait(ctx) {
			return
		}
	}
}

func (c *Collector) isConfirmed() bool {
	select {
	case <-c.confirmed:
		return true
	default:
		return false
	}
}

// errFaster is the error of a witness that has cosigned a later state, which
// another server of the log has submitted.
var errFaster = errors.New("another server was faster")

// wait waits while the collector is idle. It returns false if the context ends.
func (c *Collector) wait(ctx context.Context) bool {
	for c.cfg.Idle != nil && c.isConfirmed() && c.cfg.Idle() {
		select {
		case <-time.After(c.cfg.MinBackoff):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// begin starts a round with the newest state.
func (c *Collector) begin(ctx context.Context, first bool) (*round, error) {
	r := &round{State: c.cfg.Log.State(), first: first, over: make(chan struct{}), lines: map[string]bool{}, tried: map[*endpoint]bool{}, agreed: map[*endpoint]bool{}}
	r.submitted = r.Checkpoint
	text, _, _ := strings.Cut(string(r.Checkpoint), "\n\n")
	for _, s := range c.cfg.Signers {
		signed, err := note.Sign(&note.Note{Text: text + "\n"}, s)
		if err != nil {
			return nil, fmt.Errorf("by %s: %w", s.Name(), err)
		}
		_, line, _ := strings.Cut(string(signed), "\n\n")
		r.submitted = append(r.submitted[:len(r.submitted):len(r.submitted)], line...)
	}
	r.signed = r.submitted
	c.add(ctx, r, nil, "", nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = r
	close(c.renewed)
	c.renewed = make(chan struct{})
	return r, nil
}

// next waits for a round other than last and returns it. It returns nil when
// the context has ended.
func (c *Collector) next(ctx context.Context, last *round) *round {
	for {
		c.mu.Lock()
		r, renewed := c.current, c.renewed
		c.mu.Unlock()
		if r != last && ctx.Err() == nil {
			return r
		}
		select {
		case <-renewed:
		case <-ctx.Done():
			return nil
		}
	}
}

// serve asks one witness, round after round.
func (c *Collector) serve(ctx context.Context, e *endpoint) {
	log := c.cfg.Logger.With("witness", e.name)
	var last *round
	backoff := c.cfg.MinBackoff
	for {
		r := c.next(ctx, last)
		if r == nil {
			return
		}
		lines, err := e.cosign(ctx, r.State, r.submitted)
		if ctx.Err() != nil {
			return
		}
		if ahead := (*aheadError)(nil); errors.As(err, &ahead) && c.cfg.Known != nil && c.cfg.Known(ctx, ahead.known) {
			err = fmt.Errorf("%w: the witness has seen %d entries", errFaster, ahead.known)
		}
		// The status comes first, so that it is never older than the witnessed
		// checkpoint.
		e.status.record(r.Size, err)
		if c.add(ctx, r, e, lines, err); err == nil {
			last, backoff = r, c.cfg.MinBackoff
			continue
		}
		// Jitter spreads the retries of logs that failed together.
		delay := backoff/2 + rand.N(backoff/2)
		backoff = min(2*backoff, c.cfg.MaxBackoff)
		level := slog.LevelWarn
		if errors.Is(err, ErrAhead) || errors.Is(err, ErrInconsistent) {
			level = slog.LevelError
		}
		log.Log(ctx, level, "the witness did not cosign", "size", r.Size, "reason", err, "retry", delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return
		}
	}
}

// add adds a witness's response to the round. A nil endpoint stands for the
// log's own keys.
func (c *Collector) add(ctx context.Context, r *round, e *endpoint, lines string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first && (errors.Is(err, ErrAhead) || errors.Is(err, ErrInconsistent)) {
		select {
		case c.contradicts <- fmt.Errorf("witness %s: %w", e.name, err):
		default:
		}
	}
	fresh := e == nil && len(c.cfg.Signers) > 0
	for _, line := range strings.SplitAfter(lines, "\n") {
		if key := keyOf(line); key != "" && !r.lines[key] {
			r.lines[key], fresh = true, true
			r.signed = append(r.signed[:len(r.signed):len(r.signed)], line...)
		}
	}
	// Above the limits of a checkpoint, cosignatures that no policy needs are
	// left out. An error means that the policies are not met yet.
	if signed, err := receipt.Trim(r.signed, c.cfg.Policies); fresh && err == nil && met(c.cfg.Policies, signed) == nil {
		if err := c.cfg.Log.Cosign(ctx, signed); err != nil {
			c.cfg.Logger.Error("keep the cosigned checkpoint", "size", r.Size, "err", err)
		} else {
			r.met = true
		}
	}
	if e != nil {
		r.tried[e] = true
		r.agreed[e] = r.agreed[e] || err == nil || errors.Is(err, errFaster)
	}
	all := len(r.tried) == len(c.endpoints)
	if r.met || all {
		closeOnce(r.over)
	}
	agreed := e != nil && !slices.Contains(slices.Collect(maps.Values(r.agreed)), false)
	if r.first && (r.met && (c.asks || len(r.lines) > 0) || c.cfg.Known != nil && all && agreed) {
		closeOnce(c.confirmed)
	}
	if r.first && all {
		closeOnce(c.answered)
	}
}

// closeOnce closes the channel if it is open. The caller holds the round's
// mutex.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// keyOf returns the name and key hash of a signature line.
func keyOf(line string) string {
	name, sig, ok := strings.Cut(strings.TrimPrefix(line, "— "), " ")
	if !ok || len(sig) < 6 {
		return ""
	}
	return name + " " + sig[:6] // 4.5 bytes, of which 4 are the key hash
}

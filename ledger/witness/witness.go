// Package witness gets a log's published checkpoints cosigned: by the witnesses
// of its policies, over C2SP tlog-witness (https://c2sp.org/tlog-witness), and
// by cosigner keys of the log's own (https://c2sp.org/tlog-cosignature).
//
// It is not a witness: that is package ledger/witness/cosigner. What it knows
// of the log comes through Log, and so never goes past the published state.
package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A Log is what is cosigned.
type Log interface {
	// State returns the latest published state.
	State() State
	// Cosign takes a published checkpoint with all its verified cosignatures,
	// once they meet the policies. It keeps and serves it.
	Cosign(ctx context.Context, signed []byte) error
}

// A State is a published state of the log.
type State struct {
	Size       uint64
	Checkpoint []byte          // signed by the log
	Superseded <-chan struct{} // closed when a larger state is published
	// Prove returns the consistency proof from a smaller tree, or that of the
	// same size.
	Prove func(ctx context.Context, from uint64) ([]entry.Hash, error)
}

// A Config says who cosigns what.
type Config struct {
	Log      Log
	Policies []*receipt.TrustPolicy // all of which must be met; they name the witnesses
	Signers  []note.Signer          // cosigner keys of the log's own
	Logger   *slog.Logger

	RequestTime time.Duration // how long a witness may take for an answer; 0: 10 s
	// how long a checkpoint may wait for a quorum while there is a newer one;
	// 0: 10 s
	RoundTime  time.Duration
	MinBackoff time.Duration // first delay after a failure; 0: 500 ms
	MaxBackoff time.Duration // longest; 0: a minute
}

// Quorum returns a function that says whether a signed checkpoint meets all
// policies, or nil if the log's own signature by its Ed25519 key does.
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

// A Collector gets checkpoints cosigned, in rounds: all witnesses are asked to
// cosign the same checkpoint, the newest when the round began, so that their
// cosignatures come together even while the log grows. A round ends when the
// policies are met, or nothing more is to be expected.
type Collector struct {
	cfg       Config
	endpoints []*endpoint
	asks      bool // a policy asks for a witness
	stop      context.CancelFunc
	done      sync.WaitGroup

	confirmed   chan struct{}
	answered    chan struct{}
	contradicts chan error

	mu      sync.Mutex // guards what follows
	current *round
	renewed chan struct{} // closed when current changes
}

// A round is about one checkpoint.
type round struct {
	State
	submitted []byte        // the checkpoint that goes to witnesses: signed by the log's keys
	first     bool          // it is the state that the log was opened with
	over      chan struct{} // closed when it is met, or all have been tried

	// guards what follows; held while the log keeps the checkpoint, so that it
	// gets cosignatures in order
	mu     sync.Mutex
	signed []byte // with the cosignatures so far
	lines  map[string]bool
	tried  map[*endpoint]bool
	met    bool
}

// New checks the configuration. A witness without URL can't be asked; that is
// an error if the quorum can't do without it.
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
				return nil, fmt.Errorf("policy %s: witness %s: another policy has this name for a witness at another URL", p.Name, w.Name)
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

// attainable returns an error if not even all witnesses with a URL make the
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
		return fmt.Errorf("policy %s: its quorum can't be met, since these witnesses have no URL to ask them at: %s", p.Name, strings.Join(missing, ", "))
	}
	return nil
}

func submissionURL(prefix string) (string, error) {
	if !strings.HasPrefix(prefix, "https://") && !strings.HasPrefix(prefix, "http://") {
		return "", fmt.Errorf("%q is not an http or https URL", prefix)
	}
	return strings.TrimSuffix(prefix, "/") + "/add-checkpoint", nil
}

// Witnesses returns how many witnesses are asked.
func (c *Collector) Witnesses() int { return len(c.endpoints) }

// Start begins to collect. Close ends it.
func (c *Collector) Start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Go(func() { c.run(ctx) })
	for _, e := range c.endpoints {
		c.done.Go(func() { c.serve(ctx, e) })
	}
}

// Close ends all that Start began, and waits for it.
func (c *Collector) Close() {
	c.stop()
	c.done.Wait()
}

// Confirmed is closed when the policies' quorum, or one witness if they ask for
// none, has cosigned the state that the log was opened with.
func (c *Collector) Confirmed() <-chan struct{} { return c.confirmed }

// Contradiction gets the first answer by which a witness says that the state
// that the log was opened with is not its latest, or a fork. It wraps ErrAhead
// or ErrInconsistent.
func (c *Collector) Contradiction() <-chan error { return c.contradicts }

// AllAnswered is closed when each witness has been asked about the state that
// the log was opened with, and has answered or failed to.
func (c *Collector) AllAnswered() <-chan struct{} { return c.answered }

// run makes the rounds.
func (c *Collector) run(ctx context.Context) {
	for first := true; ; first = false {
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
	}
}

// begin starts a round with the newest state.
func (c *Collector) begin(ctx context.Context, first bool) (*round, error) {
	r := &round{State: c.cfg.Log.State(), first: first, over: make(chan struct{}), lines: map[string]bool{}, tried: map[*endpoint]bool{}}
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

// next returns the current round, as soon as it is another than last, or nil
// when the context has ended.
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
		c.add(ctx, r, e, lines, err)
		if e.status.record(r.Size, err); err == nil {
			last, backoff = r, c.cfg.MinBackoff
			continue
		}
		// so that logs that failed together don't come back together
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

// add takes what a witness has said about the round's checkpoint, or, without
// one, what the log's own keys have.
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
	}
	all := len(r.tried) == len(c.endpoints)
	if r.met || all {
		closeOnce(r.over)
	}
	if r.first && r.met && (c.asks || len(r.lines) > 0) {
		closeOnce(c.confirmed)
	}
	if r.first && all {
		closeOnce(c.answered)
	}
}

// closeOnce closes the channel if it is open. Its callers hold the round's
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
	return name + " " + sig[:6] // 4 bytes and a half
}

package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Names of the documents that admission goes by, in entries of kind config. See
// docs/spec/policy.md.
const (
	PolicyConfig        = "admission-policy"         // the tenant's own
	DefaultPolicyConfig = "admission-policy/default" // the operator's, for tenants that have none
	RootConfigPrefix    = "trusted-root/"            // and the root's name
)

// A RootFile is a trusted root that the operator has put in force.
type RootFile struct {
	Name     string
	Trusted  *sigstore.TrustedRoot
	Document []byte
	// when the operator has last said that it is current; an older entry of the
	// same document is renewed
	Confirmed   time.Time
	WarnAfter   time.Duration // age from which on the log warns; 0: never
	RefuseAfter time.Duration // age from which on nothing is verified with it; 0: never
	Tenants     []string      // empty: all
}

// An AdmissionConfig says what is in force where tenants say nothing. All but
// Default is required.
type AdmissionConfig struct {
	Ledger  *ledger.Ledger
	Roots   []*RootFile
	Default *policy.AdmissionPolicy // nil: policy.Default
	Logger  *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// An Admission knows which policy and trusted roots are in force in each
// stream, and decides by them. Both are entries of the stream: the newest
// published one of each name is in force. What a stream lacks of them is
// recorded before its next entry.
//
// # Order
//
// Each entry names the policy that it was admitted under, and that is the
// newest one before it in its stream. So entries are appended under a lock for
// reading that a change of the rules takes for writing: an entry under the old
// rules is in the ledger's queue, which keeps order, before the new rules are,
// and none under the new rules before these. Who changes the rules waits for
// their entry, whatever becomes of the caller.
type Admission struct {
	ledger *ledger.Ledger
	log    *slog.Logger
	now    func() time.Time
	given  atomic.Pointer[given]

	mu      sync.Mutex
	streams map[entry.Hash]*regime
	warned  map[string]time.Time // when it was last said that a root is old
}

// NewAdmission returns the admission of a ledger.
func NewAdmission(cfg AdmissionConfig) (*Admission, error) {
	a := &Admission{ledger: cfg.Ledger, log: cfg.Logger, now: cfg.Now, streams: map[entry.Hash]*regime{}, warned: map[string]time.Time{}}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	return a, a.Set(cfg.Roots, cfg.Default)
}

// ParseAdmissionPolicy parses an admission policy. The error is a
// *policy.Error.
func ParseAdmissionPolicy(text []byte) (*policy.AdmissionPolicy, error) {
	return policy.Parse(text, clientKinds())
}

// given is what the operator has put in force.
type given struct {
	roots    []*RootFile
	fallback *policy.AdmissionPolicy // of tenants without a policy of their own
}

// Set replaces the trusted roots and the default policy; nil is the built-in
// one. They are in force in a stream from its next entry on.
func (a *Admission) Set(roots []*RootFile, fallback *policy.AdmissionPolicy) error {
	if fallback == nil {
		var err error
		if fallback, err = ParseAdmissionPolicy([]byte(policy.Default)); err != nil {
			return fmt.Errorf("parse the built-in policy: %w", err)
		}
	}
	a.given.Store(&given{slices.Clone(roots), fallback})
	return nil
}

// SetRoots replaces the trusted roots and leaves the default policy.
func (a *Admission) SetRoots(roots []*RootFile) {
	a.given.Store(&given{slices.Clone(roots), a.given.Load().fallback})
}

// A regime is what is in force in one stream.
type regime struct {
	mu    sync.RWMutex // see Order
	rules atomic.Pointer[rules]
}

// rules are what is in force at one time. They are only read.
type rules struct {
	policy *policy.AdmissionPolicy
	own    bool   // the tenant's own policy, not the default
	index  uint64 // of the policy's entry
	given  *given
	roots  []root
}

// A root is a trusted root in force, with the time of its entry.
type root struct {
	*RootFile
	since time.Time
}

func (a *Admission) regime(s *ledger.Stream) *regime {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.streams[s.ID]
	if g == nil {
		g = &regime{}
		a.streams[s.ID] = g
	}
	return g
}

// append makes drafts under the rules in force, and appends them under the same
// rules. It calls draft again if the rules have changed meanwhile.
func (a *Admission) append(ctx context.Context, who Submitter, draft func(*rules) error, do func() error) error {
	g := a.regime(who.Stream)
	for {
		r, err := a.current(ctx, who, g)
		if err != nil {
			return err
		}
		if err := draft(r); err != nil {
			return err
		}
		g.mu.RLock()
		if g.rules.Load() == r {
			defer g.mu.RUnlock()
			return do()
		}
		g.mu.RUnlock()
	}
}

// current returns the rules in force in the stream, after it has recorded what
// the stream lacks of them.
func (a *Admission) current(ctx context.Context, who Submitter, g *regime) (*rules, error) {
	if r := g.rules.Load(); r != nil && r.given == a.given.Load() {
		return r, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return a.refresh(ctx, who, g)
}

// refresh is current for who holds the lock.
func (a *Admission) refresh(ctx context.Context, who Submitter, g *regime) (*rules, error) {
	now := a.given.Load()
	old := g.rules.Load()
	if old != nil && old.given == now {
		return old, nil
	}
	r := &rules{given: now}
	if old != nil && (old.own || old.policy.Digest() == now.fallback.Digest()) {
		r.policy, r.index, r.own = old.policy, old.index, old.own
	} else if err := a.loadPolicy(ctx, who, r); err != nil {
		return nil, err
	}
	for _, f := range now.roots {
		if len(f.Tenants) > 0 && !slices.Contains(f.Tenants, who.Tenant) {
			continue
		}
		since, err := a.putRoot(ctx, who, r, f)
		if err != nil {
			return nil, fmt.Errorf("put the trusted root %s in force: %w", f.Name, err)
		}
		r.roots = append(r.roots, root{f, since})
	}
	g.rules.Store(r)
	return r, nil
}

// loadPolicy finds the policy in force in the stream; if that is the default
// one, it records it.
func (a *Admission) loadPolicy(ctx context.Context, who Submitter, r *rules) error {
	c, err := NewestConfig(ctx, a.ledger, who.Stream, PolicyConfig)
	if err != nil {
		return fmt.Errorf("read the admission policy: %w", err)
	}
	if c != nil {
		if r.policy, err = ParseAdmissionPolicy(c.Document); err != nil {
			return fmt.Errorf("this version cannot read the admission policy in force (entry %d): %w", c.Index, err)
		}
		r.index, r.own = c.Index, true
		return nil
	}
	r.policy = r.given.fallback
	c, err = NewestConfig(ctx, a.ledger, who.Stream, DefaultPolicyConfig)
	if err != nil {
		return fmt.Errorf("read the admission policy: %w", err)
	}
	if c != nil && c.Digest == r.policy.Digest() {
		r.index = c.Index
		return nil
	}
	res, err := a.record(ctx, who, DefaultPolicyConfig, r.policy.Text(), "the default of this server", r.policy.Digest())
	if err != nil {
		return fmt.Errorf("put the default policy in force: %w", err)
	}
	r.index = res.Index
	return nil
}

// putRoot makes sure that the root is recorded, and returns when it was.
func (a *Admission) putRoot(ctx context.Context, who Submitter, r *rules, f *RootFile) (time.Time, error) {
	name := RootConfigPrefix + f.Name
	c, err := NewestConfig(ctx, a.ledger, who.Stream, name)
	if err != nil {
		return time.Time{}, err
	}
	reason := "put in force"
	if c != nil && c.Digest == f.Trusted.Digest() {
		if since := time.UnixMilli(int64(c.Time)); !f.Confirmed.After(since) {
			return since, nil
		}
		reason = "confirmed"
	}
	res, err := a.record(ctx, who, name, f.Document, reason, r.policy.Digest())
	if err != nil {
		return time.Time{}, err
	}
	e, err := a.ledger.Entry(ctx, who.Stream, res.Index)
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(e.Skeleton.Time)), nil
}

// ServerIdentity is the submitter of what the server records by itself.
const ServerIdentity = "server"

func (a *Admission) record(ctx context.Context, who Submitter, name string, document []byte, reason, policyDigest string) (ledger.Result, error) {
	who.Identity = ServerIdentity
	return recordConfig(context.WithoutCancel(ctx), a.ledger, who, name, document, reason, policyDigest)
}

// SetPolicy puts a policy in force in the submitter's stream, as an entry of
// kind config. The error is a *policy.Error if the policy is wrong, and the old
// one stays in force.
func (a *Admission) SetPolicy(ctx context.Context, who Submitter, text []byte, reason string) (ledger.Result, error) {
	p, err := ParseAdmissionPolicy(text)
	if err != nil {
		return ledger.Result{}, err
	}
	g := a.regime(who.Stream)
	g.mu.Lock()
	defer g.mu.Unlock()
	old, err := a.refresh(ctx, who, g)
	if err != nil {
		return ledger.Result{}, err
	}
	if err := p.CheckRoots(old.names()); err != nil {
		return ledger.Result{}, err
	}
	res, err := recordConfig(context.WithoutCancel(ctx), a.ledger, who, PolicyConfig, text, reason, p.Digest())
	if err != nil {
		return ledger.Result{}, err
	}
	g.rules.Store(&rules{policy: p, own: true, index: res.Index, given: old.given, roots: old.roots})
	return res, nil
}

// Policy returns the policy in force in the submitter's stream, and the index
// of its entry.
func (a *Admission) Policy(ctx context.Context, who Submitter) (*policy.AdmissionPolicy, uint64, error) {
	r, err := a.current(ctx, who, a.regime(who.Stream))
	if err != nil {
		return nil, 0, err
	}
	return r.policy, r.index, nil
}

func (r *rules) names() []string {
	names := make([]string, len(r.roots))
	for i, f := range r.roots {
		names[i] = f.Name
	}
	return names
}

// inForce returns the roots as of now: those that are too old can't be used,
// and the log says so.
func (a *Admission) inForce(r *rules) policy.Roots {
	now := a.now()
	roots := make(policy.Roots, len(r.roots))
	for _, f := range r.roots {
		in := &policy.Root{Name: f.Name, Trusted: f.Trusted}
		age := now.Sub(f.since)
		switch {
		case f.RefuseAfter > 0 && age > f.RefuseAfter:
			in.Expired = fmt.Errorf("trusted root %s was last confirmed on %s and expired %s later: confirm or replace it with 'muniment trusted-root update'", f.Name, f.since.UTC().Format(time.DateOnly), f.RefuseAfter)
			a.warn(f.Name, now, "trusted root expired, nothing is verified with it", f.since)
		case f.WarnAfter > 0 && age > f.WarnAfter:
			a.warn(f.Name, now, "trusted root expires soon", f.since)
		}
		roots[f.Name] = in
	}
	return roots
}

// warn says it once an hour.
func (a *Admission) warn(name string, now time.Time, what string, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.warned[name]; ok && now.Sub(last) < time.Hour {
		return
	}
	a.warned[name] = now
	a.log.Warn(what, "root", name, "confirmed", since.UTC().Format(time.RFC3339), "remedy", "muniment trusted-root update")
}

// A Refusal says that the policy in force keeps a submission out. Nothing is
// recorded.
type Refusal struct {
	Policy   string // digest
	Decision *policy.Decision
}

func (r *Refusal) Error() string {
	if r.Decision.Rule != "" {
		return fmt.Sprintf("the admission policy refuses it by rule %q: %s", r.Decision.Rule, r.Decision.Reason)
	}
	return "the admission policy refuses it: " + r.Decision.Reason
}

// decide applies a policy to what was read, and fills in what the header says
// of that. The error is a *Refusal.
func decide(ctx context.Context, h *entry.Header, c *contents, p *policy.AdmissionPolicy, roots policy.Roots) error {
	d := p.Decide(ctx, evidenceOf(h, c), roots)
	if d.Result == policy.Refused {
		return &Refusal{p.Digest(), d}
	}
	h.AdmissionPolicy, h.Verification = p.Digest(), d.Verification
	h.Admission = &entry.Admission{Result: d.Result, Rule: d.Rule, Reason: d.Reason}
	if d.Verification.Result == entry.Verified {
		h.Signers = d.Signers
	}
	return nil
}

func evidenceOf(h *entry.Header, c *contents) *policy.Evidence {
	ev := &policy.Evidence{
		Tenant: h.Tenant, Submitter: h.Submitter, Kind: h.Kind, MediaType: h.MediaType, PredicateType: h.PredicateType, Size: int(h.Payload.Size),
		Subjects: c.subjects, Materials: h.Materials, Controls: h.Controls, Attributes: h.Attributes, Document: c.document, Unread: c.unread, Signed: c.signed,
		Deviations: c.deviations(), Opaque: c.opaque, Incomplete: c.opaque != nil,
	}
	if c.statement != nil {
		ev.Predicate, ev.Conforms = c.statement.Predicate, c.statement.Conforms()
		ev.Incomplete = c.statement.Incomplete
	}
	return ev
}

// Try says what a policy would decide about a submission, without a log. The
// error is a *FieldError if the submission would be refused whatever the policy
// says.
func Try(ctx context.Context, p *policy.AdmissionPolicy, roots policy.Roots, who Submitter, s *Submission, now time.Time) (*policy.Decision, error) {
	in := &Ingester{MaxPayload: int64(len(s.Payload)), Now: func() time.Time { return now }}
	if WrittenByLog(s.Kind) {
		return nil, errWrittenByLog(s.Kind)
	}
	c, err := in.read(s)
	if err != nil {
		return nil, asFieldError(err)
	}
	return p.Decide(ctx, evidenceOf(c.header(who, s), &c), roots), nil
}

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
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Names of the config entries that contain admission documents. See
// docs/spec/policy.md.
const (
	PolicyConfig = "admission-policy" // the tenant's own policy
	// the operator's policy, for tenants without their own
	DefaultPolicyConfig = "admission-policy/default"
	RootConfigPrefix    = "trusted-root/" // followed by the root's name
)

// Types of the config entries that record how somebody was admitted. They do
// not change the rules of their stream.
const (
	ExchangeType = "exchange" // of an identity token
	SessionType  = "session"  // of a person in a browser
)

// Governs reports whether an entry with the header changes the rules of its
// stream. It is passed to the ledger in ledger.Config.
func Governs(h *entry.Header) bool {
	if ordered[h.Kind] {
		return true
	}
	t := h.Attributes["type"]
	return h.Kind == kindname.Config && t != ExchangeType && t != SessionType
}

// A RootFile is a trusted root configured by the operator.
type RootFile struct {
	Name     string
	Trusted  *sigstore.TrustedRoot
	Document []byte
	// Confirmed is when the operator last confirmed that the root is current.
	// If the root's entry is older, the server records the document again.
	Confirmed   time.Time
	WarnAfter   time.Duration // age at which a warning is logged; 0: never
	RefuseAfter time.Duration // age at which the root is no longer used; 0: never
	Tenants     []string      // empty: all
}

// An AdmissionConfig configures an Admission. Ledger is required.
type AdmissionConfig struct {
	Ledger  *ledger.Ledger
	Roots   []*RootFile
	Default *policy.AdmissionPolicy // for tenants without their own; nil: policy.Default
	Logger  *slog.Logger            // nil: discard
	Now     func() time.Time        // nil: time.Now
}

// An Admission admits submissions by the policy and the trusted roots in force
// in each stream. Policies and roots are entries of the stream. The newest
// published entry of each name is in force. Missing ones are recorded before
// the stream's next entry.
//
// # Order
//
// Each entry names the policy that admitted it, which must be the newest policy
// before it in the stream. Each draft therefore carries the version of the
// rules it was decided under. If the rules change before the sequencer places
// the draft, nothing is recorded and the draft is decided again. This also
// covers changes made by other servers.
type Admission struct {
	ledger *ledger.Ledger
	log    *slog.Logger
	now    func() time.Time
	given  atomic.Pointer[given]

	mu      sync.Mutex
	streams map[entry.Hash]*atomic.Pointer[rules] // most recently read
	warned  map[string]time.Time                  // last warning about each root's age
}

// NewAdmission returns an Admission for a ledger.
func NewAdmission(cfg AdmissionConfig) (*Admission, error) {
	a := &Admission{ledger: cfg.Ledger, log: cfg.Logger, now: cfg.Now, streams: map[entry.Hash]*atomic.Pointer[rules]{}, warned: map[string]time.Time{}}
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

// given is the operator's configuration.
type given struct {
	roots    []*RootFile
	fallback *policy.AdmissionPolicy // for tenants without a policy of their own
}

// Set replaces the trusted roots and the default policy. A nil policy selects
// the built-in one. The change takes effect in each stream with its next entry.
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

// SetRoots replaces the trusted roots and keeps the default policy.
func (a *Admission) SetRoots(roots []*RootFile) {
	a.given.Store(&given{slices.Clone(roots), a.given.Load().fallback})
}

// rules are a policy and its trusted roots, as in force at one version. They
// are immutable.
type rules struct {
	version ledger.Rules
	policy  *policy.AdmissionPolicy
	own     bool   // the policy is the tenant's own, not the default
	index   uint64 // of the policy's entry
	given   *given
	roots   []root
}

// A root is a trusted root in force, with the time of its entry.
type root struct {
	*RootFile
	since time.Time
}

func (a *Admission) latest(s *ledger.Stream) *atomic.Pointer[rules] {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.streams[s.ID]
	if r == nil {
		r = &atomic.Pointer[rules]{}
		a.streams[s.ID] = r
	}
	return r
}

// current returns the rules in force in the stream. It first records missing
// ones and counts them by name. The error is errRecorded or ledger.ErrOvertaken
// if the rules must be read again.
func (a *Admission) current(ctx context.Context, who Submitter, recorded map[string]int) (*rules, error) {
	latest, version, given := a.latest(who.Stream), a.ledger.Rules(who.Stream), a.given.Load()
	old := latest.Load()
	if old != nil && old.version == version && old.given == given {
		return old, nil
	}
	r := &rules{version: version, given: given}
	if err := a.load(ctx, who, r, old, recorded); err != nil {
		return nil, err
	}
	latest.Store(r)
	return r, nil
}

// load reads the rules in force. If the default policy or a trusted root is
// missing, it records that one and returns errRecorded.
func (a *Admission) load(ctx context.Context, who Submitter, r, old *rules, recorded map[string]int) error {
	if err := a.loadPolicy(ctx, who, r, old, recorded); err != nil {
		return err
	}
	for _, f := range r.given.roots {
		if len(f.Tenants) > 0 && !slices.Contains(f.Tenants, who.Tenant) {
			continue
		}
		since, err := a.putRoot(ctx, who, r, f, recorded)
		if err != nil {
			return fmt.Errorf("put the trusted root %s in force: %w", f.Name, err)
		}
		r.roots = append(r.roots, root{f, since})
	}
	return nil
}

// loadPolicy sets r's policy to the one in force in the stream. If that is the
// default policy, loadPolicy records it unless it is already recorded.
func (a *Admission) loadPolicy(ctx context.Context, who Submitter, r, old *rules, recorded map[string]int) error {
	c, err := NewestConfig(ctx, a.ledger, who.Stream, PolicyConfig)
	if err != nil {
		return fmt.Errorf("read the admission policy: %w", err)
	}
	if c != nil {
		r.index, r.own = c.Index, true
		if old != nil && old.own && old.index == c.Index {
			r.policy = old.policy
		} else if r.policy, err = ParseAdmissionPolicy(c.Document); err != nil {
			return fmt.Errorf("this version cannot read the admission policy in force (entry %d): %w", c.Index, err)
		}
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
	if err := a.record(ctx, who, r, DefaultPolicyConfig, r.policy.Text(), "the default of this server", recorded); err != nil {
		return fmt.Errorf("put the default policy in force: %w", err)
	}
	return nil
}

// putRoot returns the time of the root's entry. If the entry is missing or
// older than the operator's confirmation, putRoot records a new one and returns
// errRecorded. An entry recorded for this call is new, whatever the clocks
// show.
func (a *Admission) putRoot(ctx context.Context, who Submitter, r *rules, f *RootFile, recorded map[string]int) (time.Time, error) {
	name := RootConfigPrefix + f.Name
	c, err := NewestConfig(ctx, a.ledger, who.Stream, name)
	if err != nil {
		return time.Time{}, err
	}
	reason := "put in force"
	if c != nil && c.Digest == f.Trusted.Digest() {
		if since := time.UnixMilli(int64(c.Time)); recorded[name] > 0 || !f.Confirmed.After(since) {
			return since, nil
		}
		reason = "confirmed"
	}
	return time.Time{}, a.record(ctx, who, r, name, f.Document, reason, recorded)
}

// ServerIdentity is the submitter of entries that the server records on its own
// behalf.
const ServerIdentity = "server"

// record records a rule of the server, which is then to be read. It returns
// errRecorded, or ErrContended if the rule was recorded too often.
func (a *Admission) record(ctx context.Context, who Submitter, r *rules, name string, document []byte, reason string, recorded map[string]int) error {
	if recorded[name] == maxRecorded {
		return fmt.Errorf("recorded %d times, and replaced by another server: %w", maxRecorded, ErrContended)
	}
	who.Identity = ServerIdentity
	if _, err := recordConfig(context.WithoutCancel(ctx), a.ledger, who, name, document, reason, r.basis()); err != nil {
		return err
	}
	recorded[name]++
	return errRecorded
}

// SetPolicy puts a policy in force in the submitter's stream and records it as
// an entry of kind config. If the policy is invalid, the error is a
// *policy.Error and the current policy stays in force.
func (a *Admission) SetPolicy(ctx context.Context, who Submitter, text []byte, reason string) (ledger.Result, error) {
	p, err := ParseAdmissionPolicy(text)
	if err != nil {
		return ledger.Result{}, err
	}
	var res ledger.Result
	err = a.decideUnder(ctx, who, func(r *rules) error {
		if err := p.CheckRoots(r.names()); err != nil {
			return err
		}
		// The entry names the policy that it contains.
		res, err = recordConfig(context.WithoutCancel(ctx), a.ledger, who, PolicyConfig, text, reason, Basis{r.version, p.Digest()})
		return err
	})
	return res, err
}

// Policy returns the policy in force in the submitter's stream, and the index
// of its entry.
func (a *Admission) Policy(ctx context.Context, who Submitter) (*policy.AdmissionPolicy, uint64, error) {
	var p *policy.AdmissionPolicy
	var index uint64
	who.Introduce = nil // reading is not recorded
	err := a.decideUnder(ctx, who, func(r *rules) error {
		p, index = r.policy, r.index
		return nil
	})
	return p, index, err
}

func (r *rules) names() []string {
	names := make([]string, len(r.roots))
	for i, f := range r.roots {
		names[i] = f.Name
	}
	return names
}

// inForce returns the trusted roots. It marks outdated roots as expired and
// logs a warning about aging ones.
func (a *Admission) inForce(r *rules) policy.Roots {
	now := a.now()
	roots := make(policy.Roots, len(r.roots))
	for _, f := range r.roots {
		in := &evidence.Root{Name: f.Name, Trusted: f.Trusted}
		age := now.Sub(f.since)
		switch {
		case f.RefuseAfter > 0 && age > f.RefuseAfter:
			in.Expired = fmt.Errorf("trusted root %s was last confirmed on %s and expired on %s: confirm or replace it with 'muniment trusted-root update'",
				f.Name, f.since.UTC().Format(time.DateOnly), f.since.Add(f.RefuseAfter).UTC().Format(time.DateOnly))
			a.warn(f.Name, now, "trusted root expired, no longer used for verification", f.since)
		case f.WarnAfter > 0 && age > f.WarnAfter:
			a.warn(f.Name, now, "trusted root expires soon", f.since)
		}
		roots[f.Name] = in
	}
	return roots
}

// warn logs a message about a root at most once an hour.
func (a *Admission) warn(name string, now time.Time, what string, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.warned[name]; ok && now.Sub(last) < time.Hour {
		return
	}
	a.warned[name] = now
	a.log.Warn(what, "root", name, "confirmed", since.UTC().Format(time.RFC3339), "remedy", "muniment trusted-root update")
}

// A Refusal reports that the policy in force refuses a submission. Nothing is
// recorded.
type Refusal struct {
	Policy   string // digest
	Decision *policy.Decision
}

func (r *Refusal) Error() string {
	if r.Decision.Rule != "" {
		return fmt.Sprintf("refused by the admission policy, rule %q: %s", r.Decision.Rule, r.Decision.Reason)
	}
	return "refused by the admission policy: " + r.Decision.Reason
}

// decide applies a policy and adds the result to the header. The error is a
// *Refusal.
func decide(ctx context.Context, h *entry.Header, c *contents, p *policy.AdmissionPolicy, roots policy.Roots) (*policy.Decision, error) {
	d := p.Decide(ctx, evidenceOf(h, c), roots)
	if d.Result == policy.Refused {
		return d, &Refusal{p.Digest(), d}
	}
	h.AdmissionPolicy, h.Verification = p.Digest(), d.Verification
	h.Admission = &entry.Admission{Result: d.Result, Rule: d.Rule, Reason: d.Reason}
	if d.Verification.Result == entry.Verified {
		h.Signers = d.Signers
	}
	return d, nil
}

func evidenceOf(h *entry.Header, c *contents) *policy.Evidence {
	ev := &policy.Evidence{
		Tenant: h.Tenant, Submitter: h.Submitter, Kind: h.Kind, MediaType: h.MediaType, PredicateType: h.PredicateType, Size: int(h.Payload.Size),
		Subjects: c.subjects, Materials: h.Materials, Controls: h.Controls, Attributes: h.Attributes, Document: c.document, Unread: c.unread, Signed: c.signed,
		Deviations: c.deviations(), Opaque: c.opaque, Incomplete: c.opaque != nil, MaterialsIncomplete: c.opaque != nil,
	}
	if c.statement != nil {
		ev.Predicate, ev.Conforms = c.statement.Predicate, c.statement.Conforms()
		ev.Incomplete, ev.MaterialsIncomplete = c.statement.Incomplete, c.statement.PartialClaims || c.statement.MaterialCount > len(c.statement.Materials)
	}
	return ev
}

// Preview returns the header of the entry that a submission would become,
// without a log and its salts. Without a policy no signature is verified.
// Errors are those about single submissions, as in Ingester.Append.
func Preview(ctx context.Context, p *policy.AdmissionPolicy, roots policy.Roots, who Submitter, s *Submission, now time.Time) (*entry.Header, error) {
	in := &Ingester{MaxPayload: int64(len(s.Payload)), Now: func() time.Time { return now }}
	c, err := in.accept(s)
	if err != nil {
		return nil, err
	}
	h := c.header(who, s)
	if p != nil {
		_, err = decide(ctx, h, &c, p, roots)
	}
	return h, err
}

// Try returns a policy's decision about a submission, without a log. The error
// is a *FieldError if the submission is invalid under any policy.
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

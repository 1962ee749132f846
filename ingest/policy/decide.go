package policy

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/ledger/entry"
)

// Refused is the result of a decision to refuse the evidence. It never appears
// in a header.
const Refused = "refused"

// Results of a rule.
const (
	Applies         = "applies"          // the rule decided
	NotApplicable   = "not-applicable"   // the rule does not match the evidence
	NotMet          = "not-met"          // the evidence lacks what the rule requires
	NotReached      = "not-reached"      // an earlier rule decided
	SignatureFailed = "signature-failed" // the rule would admit, but the signatures are invalid
)

// A Step is the result of one rule.
type Step struct {
	Rule   string `json:"rule"`
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
}

// A Decision is a policy's decision about evidence.
type Decision struct {
	Result       string // entry.Admitted, entry.Recorded or Refused
	Rule         string // the deciding rule; "" if none applies
	Reason       string
	Signers      []entry.Signer // verified signers; nil if none
	Verification entry.Verification
	Steps        []Step // the result of each rule, in order

	interrupted bool
}

// Decide decides whether the policy admits the evidence. The first rule that
// applies decides. The work is bounded, and stops when ctx ends. Evidence is
// admitted only after a complete evaluation.
func (p *AdmissionPolicy) Decide(ctx context.Context, ev *Evidence, roots Roots) *Decision {
	return p.decide(condition.NewMeter(ctx, condition.DecisionCost), ev, roots)
}

func (p *AdmissionPolicy) decide(m *condition.Meter, ev *Evidence, roots Roots) *Decision {
	release, err := p.hold(m.Context(), ev)
	if err != nil {
		return &Decision{Result: Refused, interrupted: true, Reason: condition.Shorten(fmt.Sprintf("the decision was interrupted: %s", err)), Verification: entry.Verification{Result: entry.Unverified}}
	}
	defer release()
	m.TakeTurns(ev.Tenant)
	defer m.End()
	c := newCourt(m, p, ev, roots)
	d := &Decision{Result: Refused}
	var by *proof
	for i, r := range p.Rules {
		step := Step{Rule: r.Name, Result: NotApplicable}
		why := c.isFor(r)
		if why == nil {
			step.Result = NotMet
			by, why = c.meets(r)
		}
		if why == nil && !r.Deny && (by == nil || by.Result != entry.Verified) {
			step.Result, why = c.suspect(step.Result)
		}
		if why != nil {
			step.Why = condition.Shorten(why.Error())
			d.Steps = append(d.Steps, step)
			continue
		}
		step.Result = Applies
		d.Rule = r.Name
		if r.Deny {
			d.Reason, step.Why = "the rule denies it", "denies the evidence"
		} else {
			d.Result = entry.Admitted
			if by != nil {
				step.Why = "signed by " + describe(by)
			}
		}
		d.Steps = append(d.Steps, step)
		for _, rest := range p.Rules[i+1:] {
			d.Steps = append(d.Steps, Step{Rule: rest.Name, Result: NotReached})
		}
		break
	}
	if d.Rule == "" {
		d.Reason, d.interrupted = c.because(d.Steps), m.Context().Err() != nil
	}
	if d.Result == Refused && p.Mode == Record && m.Context().Err() == nil {
		d.Result = entry.Recorded
	}
	if by == nil {
		by = c.judgement()
	}
	d.Verification, d.Signers = by.Verification, by.signers
	return d
}

// suspect returns an error if the signatures are invalid or unverified.
func (c *court) suspect(result string) (string, error) {
	switch j := c.judgement(); {
	case j.Result == entry.Failed:
		return SignatureFailed, fmt.Errorf("invalid signatures: %s", j.Reason)
	case j.undecided:
		return SignatureFailed, errors.New(j.Reason)
	}
	return result, nil
}

func describe(by *proof) string {
	var names []string
	for _, s := range by.signers {
		names = append(names, strings.TrimSpace(s.Name()+" "+s.Issuer))
	}
	who := strings.Join(names, " and ")
	if by.signer != nil {
		who = by.signer.Name + " (" + who + ")"
	}
	return who
}

// because explains why no rule admits the evidence, with the reasons given by
// the rules that match it.
func (c *court) because(steps []Step) string {
	var near []string
	for _, s := range steps {
		if s.Result == NotMet || s.Result == SignatureFailed {
			near = append(near, fmt.Sprintf("rule %s: %s", s.Rule, s.Why))
		}
	}
	switch {
	case len(near) > 0:
		return condition.Shorten("no rule admits it; " + strings.Join(near, "; "))
	case c.judgement().Result == entry.Failed:
		return condition.Shorten("invalid signatures: " + c.judgement().Reason)
	case len(steps) == 1:
		return condition.Shorten(fmt.Sprintf("no rule matches it; rule %s: %s", steps[0].Rule, steps[0].Why))
	default:
		return "no rule matches it"
	}
}

// A court is the state of one decision.
type court struct {
	meter  *condition.Meter
	policy *AdmissionPolicy
	ev     *Evidence
	roots  Roots
	proofs map[*Signer]*verdict
	judged *proof

	values map[string]ref.Val // variables computed so far
}

func newCourt(m *condition.Meter, p *AdmissionPolicy, ev *Evidence, roots Roots) *court {
	return &court{meter: m, policy: p, ev: ev, roots: roots, proofs: map[*Signer]*verdict{}, values: map[string]ref.Val{}}
}

type verdict struct {
	proof *proof
	err   error
}

// judgement returns the result of verifying the signatures independently of any
// rule.
func (c *court) judgement() *proof {
	switch {
	case c.judged != nil:
	case c.ev.Signed == nil:
		c.judged = &proof{Verification: entry.Verification{Result: entry.Unverified}}
	default:
		c.judged = c.judge()
	}
	return c.judged
}

// isFor returns nil if the rule matches the evidence, and the reason otherwise.
// A deny rule also matches if the comparison exceeds the budget.
func (c *court) isFor(r *Rule) error {
	err := c.compare(r)
	if c.meter.Err() != nil && !r.Deny {
		return c.meter.Err()
	}
	if c.meter.Err() != nil {
		return nil
	}
	return err
}

func (c *court) compare(r *Rule) error {
	ev := c.ev
	base, _, err := mime.ParseMediaType(ev.MediaType)
	if err != nil {
		base = ev.MediaType
	}
	switch {
	case len(r.Kinds) > 0 && !slices.Contains(r.Kinds, ev.Kind):
		return fmt.Errorf("kind %s is not one of its kinds", ev.Kind)
	case len(r.MediaTypes) > 0 && !c.anyMatch(r.MediaTypes, base):
		return fmt.Errorf("media type %s matches none of its media types", base)
	case len(r.Submitters) > 0 && !c.anyMatch(r.Submitters, ev.Submitter):
		return fmt.Errorf("submitter %s matches none of its submitters", ev.Submitter)
	case r.Deny && ev.Incomplete:
		return nil // deny in doubt: the subjects or the predicate type are unknown
	case len(r.PredicateTypes) > 0 && ev.PredicateType == "":
		return errors.New("the evidence has no predicate type")
	case len(r.PredicateTypes) > 0 && !c.anyMatch(r.PredicateTypes, ev.PredicateType):
		return fmt.Errorf("predicate type %s matches none of its predicate types", condition.Shorten(ev.PredicateType))
	}
	return c.areFor(r)
}

// anyMatch reports whether any glob matches. It also returns true when the
// budget is exhausted, so the caller must check that.
func (c *court) anyMatch(globs []string, s string) bool {
	for _, g := range globs {
		if c.meter.Charge(condition.Glob(g, s)) != nil {
			return true
		}
		if glob.Match(g, s) {
			return true
		}
	}
	return false
}

// areFor is isFor for the subjects. An admitting rule must match every subject,
// a deny rule only one.
func (c *court) areFor(r *Rule) error {
	if len(r.SubjectNames) == 0 && len(r.DigestTypes) == 0 {
		return nil
	}
	if len(c.ev.Subjects) == 0 {
		return errors.New("the evidence has no subjects")
	}
	var first error
	for _, s := range c.ev.Subjects {
		err := c.isAbout(r, s)
		switch {
		case c.meter.Err() != nil:
			return c.meter.Err()
		case r.Deny && err == nil:
			return nil
		case !r.Deny && err != nil:
			return err
		case first == nil:
			first = err
		}
	}
	return first
}

func (c *court) isAbout(r *Rule, s entry.Subject) error {
	if err := c.isNamed(r, s.Name); err != nil {
		return err
	}
	if len(r.DigestTypes) > 0 && !slices.ContainsFunc(r.DigestTypes, func(alg string) bool { return hasDigest(s, alg) }) {
		return fmt.Errorf("a subject has no %s digest", strings.Join(r.DigestTypes, " or "))
	}
	return nil
}

// hasDigest reports whether the subject has a digest of the algorithm, ignoring
// case.
func hasDigest(s entry.Subject, alg string) bool {
	for name, v := range s.Digest {
		if v != "" && strings.EqualFold(name, alg) {
			return true
		}
	}
	return false
}

// isNamed compares a subject's name with the rule's globs. An admitting rule
// requires an unambiguous name, which other programs read the same way. A deny
// rule also matches the names that other programs could read this one as.
func (c *court) isNamed(r *Rule, name string) error {
	switch {
	case len(r.SubjectNames) == 0:
		return nil
	case name == "":
		return errors.New("a subject has no name")
	}
	if err := c.meter.Charge(4 * condition.Text(len(name))); err != nil {
		return err
	}
	switch {
	case r.Deny && c.anyMatch(r.SubjectNames, name):
		return nil
	case r.Deny:
		if slices.ContainsFunc(readings(name), func(read string) bool { return c.anyMatch(r.foldedNames, read) }) {
			return nil
		}
	case !isPlain(name):
		return fmt.Errorf("ambiguous subject name: %s", condition.Shorten(strconv.QuoteToASCII(name)))
	case c.anyMatch(r.SubjectNames, name):
		return nil
	}
	return fmt.Errorf("subject %s matches none of its subjects", condition.Shorten(name))
}

// meets returns the proof for the rule's signer, if the rule requires one. It
// returns an error if the evidence does not meet the rule's requirements.
func (c *court) meets(r *Rule) (*proof, error) {
	by, err := c.signedBy(r)
	if err != nil {
		return nil, err
	}
	if r.Conforming && !c.ev.Conforms {
		return nil, c.ev.deviates()
	}
	if r.Condition == nil {
		return by, nil
	}
	seen := by
	if seen == nil {
		seen = c.judgement()
	}
	err = r.Condition.Holds(c.meter, view{c, seen})
	if err != nil && r.Deny && !errors.Is(err, condition.ErrFalse) {
		return by, nil // deny in doubt
	}
	return by, err
}

// deviates returns an error that explains why the evidence does not count as
// conforming.
func (ev *Evidence) deviates() error {
	if len(ev.Deviations) == 0 {
		return errors.New("conformance is required, but this type of evidence has no definition")
	}
	return fmt.Errorf("conformance is required, but the evidence deviates: %s", strings.Join(ev.Deviations, "; "))
}

func (c *court) signedBy(r *Rule) (*proof, error) {
	if len(r.Signers) == 0 {
		return nil, nil
	}
	if c.ev.Signed == nil {
		return nil, errors.New("the evidence has no signature that can be verified")
	}
	var whys []string
	for _, s := range r.Signers {
		v := c.proofs[s]
		if v == nil {
			v = &verdict{}
			v.proof, v.err = c.verify(s)
			c.proofs[s] = v
		}
		if v.err == nil {
			return v.proof, nil
		}
		if c.meter.Err() != nil {
			return nil, c.meter.Err()
		}
		whys = append(whys, fmt.Sprintf("not signed by %s: %s", s.Name, v.err))
	}
	return nil, errors.New(strings.Join(whys, "; "))
}

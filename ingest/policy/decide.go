package policy

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/ingest/glob"
	"muniment.dev/muniment/ledger/receipt"
)

// Refused is the result of a decision that keeps the evidence out. It is in no header.
const Refused = "refused"

// What became of a rule.
const (
	Applies    = "applies"        // it decided
	NotFor     = "not-for-this"   // it is for other evidence
	NotMet     = "not-met"        // it is for such evidence, which does not have what it asks for
	NotReached = "not-looked-at"  // a rule before it decided
	Wrong      = "signature-fail" // it would admit, but the signatures are wrong
)

// A Step is what became of one rule.
type Step struct {
	Rule   string `json:"rule"`
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
}

// A Decision is what a policy says about evidence.
type Decision struct {
	Result       string // receipt.Admitted, receipt.Recorded or Refused
	Rule         string // that decided; "" if none applies
	Reason       string
	Signers      []receipt.Signer // who really signed; nil unless verified
	Verification receipt.Verification
	Steps        []Step // one for each rule, in order
}

// Decide says whether the policy admits the evidence. The first rule that it meets decides.
func (p *Policy) Decide(ctx context.Context, ev *Evidence, roots Roots) *Decision {
	defer p.hold(ev)()
	ctx, cancel := context.WithTimeout(ctx, decisionTime)
	defer cancel()
	c := &court{policy: p, ev: ev, roots: roots, proofs: map[*Signer]*verdict{}, predicate: lazily("predicate", ev.Predicate, ev.Unread), document: lazily("document", ev.Document, ev.Unread)}
	if ev.Opaque != nil {
		c.predicate = func() ref.Val { return types.NewErr("the predicate can't be read: %v", ev.Opaque) }
	}
	d := &Decision{Result: Refused}
	var by *proof
	for i, r := range p.Rules {
		step := Step{Rule: r.Name, Result: NotFor}
		why := r.isFor(ev)
		if why == nil {
			step.Result = NotMet
			by, why = c.meets(ctx, r)
		}
		if why == nil && !r.Deny && c.judgement().Result == receipt.Failed && (by == nil || by.Result != receipt.Verified) {
			step.Result, why = Wrong, fmt.Errorf("the signatures are wrong: %s", c.judgement().Reason)
		}
		if why != nil {
			step.Why = shorten(why.Error())
			d.Steps = append(d.Steps, step)
			continue
		}
		step.Result = Applies
		d.Rule = r.Name
		if r.Deny {
			d.Reason, step.Why = "the rule denies it", "it denies"
		} else {
			d.Result = receipt.Admitted
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
		d.Reason = c.because(d.Steps)
	}
	if d.Result == Refused && p.Mode == Record {
		d.Result = receipt.Recorded
	}
	if by == nil {
		by = c.judgement()
	}
	d.Verification, d.Signers = by.Verification, by.signers
	return d
}

func describe(by *proof) string {
	var names []string
	for _, s := range by.signers {
		names = append(names, strings.TrimSpace(s.Identity+s.KeyID+" "+s.Issuer))
	}
	who := strings.Join(names, " and ")
	if by.signer != nil {
		who = by.signer.Name + " (" + who + ")"
	}
	return who
}

// because says why no rule admits the evidence: by the rules that are for it, if there are such.
func (c *court) because(steps []Step) string {
	var near []string
	for _, s := range steps {
		if s.Result == NotMet || s.Result == Wrong {
			near = append(near, fmt.Sprintf("rule %s: %s", s.Rule, s.Why))
		}
	}
	switch {
	case len(near) > 0:
		return shorten("no rule admits it; " + strings.Join(near, "; "))
	case c.judgement().Result == receipt.Failed:
		return shorten("the signatures are wrong: " + c.judgement().Reason)
	case len(steps) == 1:
		return shorten(fmt.Sprintf("no rule is for it; rule %s: %s", steps[0].Rule, steps[0].Why))
	default:
		return "no rule is for it"
	}
}

// A court is one decision under way.
type court struct {
	policy *Policy
	ev     *Evidence
	roots  Roots
	proofs map[*Signer]*verdict
	judged *proof

	predicate, document func() ref.Val
}

type verdict struct {
	proof *proof
	err   error
}

// judgement says what the signatures are worth without any rule.
func (c *court) judgement() *proof {
	switch {
	case c.judged != nil:
	case c.ev.Signed == nil:
		c.judged = &proof{Verification: receipt.Verification{Result: receipt.Unverified}}
	default:
		c.judged = c.ev.Signed.judge(c.policy, c.roots)
	}
	return c.judged
}

// isFor returns nil if the rule is for such evidence, and else why not.
func (r *Rule) isFor(ev *Evidence) error {
	base, _, err := mime.ParseMediaType(ev.MediaType)
	if err != nil {
		base = ev.MediaType
	}
	switch {
	case len(r.Kinds) > 0 && !slices.Contains(r.Kinds, ev.Kind):
		return fmt.Errorf("it is for other kinds than %s", ev.Kind)
	case len(r.MediaTypes) > 0 && !anyMatch(r.MediaTypes, base):
		return fmt.Errorf("it is for other media types than %s", base)
	case len(r.Submitters) > 0 && !anyMatch(r.Submitters, ev.Submitter):
		return fmt.Errorf("it is for other submitters than %s", ev.Submitter)
	case r.Deny && ev.Incomplete:
		return nil // in doubt, it denies: the subjects and the type of the predicate are unknown
	case len(r.PredicateTypes) > 0 && ev.PredicateType == "":
		return errors.New("it is for statements, with a predicate type")
	case len(r.PredicateTypes) > 0 && !anyMatch(r.PredicateTypes, ev.PredicateType):
		return fmt.Errorf("it is for other predicate types than %s", ev.PredicateType)
	}
	return r.areFor(ev.Subjects)
}

func anyMatch(globs []string, s string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return glob.Match(g, s) })
}

// areFor is isFor of the subjects: a rule that admits must be for all of them, one that denies for any.
func (r *Rule) areFor(subjects []receipt.Subject) error {
	if len(r.SubjectNames) == 0 && len(r.DigestTypes) == 0 {
		return nil
	}
	if len(subjects) == 0 {
		return errors.New("it is for evidence about certain subjects, and this names none")
	}
	var first error
	for _, s := range subjects {
		err := r.isAbout(s)
		switch {
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

func (r *Rule) isAbout(s receipt.Subject) error {
	if len(r.SubjectNames) > 0 && !anyMatch(r.SubjectNames, s.Name) {
		if s.Name == "" {
			return errors.New("it is for certain subjects by name, and a subject has no name")
		}
		return fmt.Errorf("it is for other subjects than %s", s.Name)
	}
	if len(r.DigestTypes) > 0 && !slices.ContainsFunc(r.DigestTypes, func(alg string) bool { return s.Digest[alg] != "" }) {
		return fmt.Errorf("a subject has no digest of %s", strings.Join(r.DigestTypes, " or "))
	}
	return nil
}

// meets returns who has signed, if the rule asks for that, or an error if the evidence does not have what the rule asks for.
func (c *court) meets(ctx context.Context, r *Rule) (*proof, error) {
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
	err = r.Condition.holds(ctx, c.variables(seen))
	if err != nil && r.Deny && !errors.Is(err, errFalse) {
		return by, nil // in doubt, it denies
	}
	return by, err
}

// deviates returns why the evidence is not known to conform.
func (ev *Evidence) deviates() error {
	if len(ev.Deviations) == 0 {
		return errors.New("conformance is required, and the type of this evidence has no definition here")
	}
	return fmt.Errorf("conformance is required, and it deviates: %s", strings.Join(ev.Deviations, "; "))
}

func (c *court) signedBy(r *Rule) (*proof, error) {
	if len(r.Signers) == 0 {
		return nil, nil
	}
	if c.ev.Signed == nil {
		return nil, errors.New("it has no signature that could be verified")
	}
	var whys []string
	for _, s := range r.Signers {
		v := c.proofs[s]
		if v == nil {
			v = &verdict{}
			v.proof, v.err = c.ev.Signed.verify(s, c.roots)
			c.proofs[s] = v
		}
		if v.err == nil {
			return v.proof, nil
		}
		whys = append(whys, fmt.Sprintf("not signed by %s: %s", s.Name, v.err))
	}
	return nil, errors.New(strings.Join(whys, "; "))
}

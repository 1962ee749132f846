package evaluate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger/entry"
)

// Results of a control.
const (
	Satisfied     = "satisfied"
	NotSatisfied  = "not-satisfied"
	Excepted      = "excepted"
	Unclear       = "undecided"
	NotApplicable = "not-applicable"
)

// Codes of reasons for a result.
const (
	MissingEvidence  = "missing-evidence"
	TooFewSigners    = "too-few-signers"
	ConditionFalse   = "condition-false"
	ConditionError   = "condition-error"
	IncludedControl  = "included-control"
	TooMuchEvidence  = "too-much-evidence"
	FactsUnavailable = "facts-unavailable"
)

// A Result is the result of one control.
type Result struct {
	Control    string          `json:"control"`
	Mode       Mode            `json:"mode"`
	Result     string          `json:"result"`
	Reason     string          `json:"reason"` // a code, or a code, a colon and a text
	Missing    []string        `json:"missing,omitempty"`
	Entries    []uint64        `json:"entries,omitempty"`
	Exceptions []UsedException `json:"exceptions,omitempty"`

	// Requirements has the outcome of each of the control's own requirements,
	// in their order, to explain the result. It is empty if the control does
	// not apply, or its evidence was not selected completely.
	Requirements []RequirementOutcome `json:"-"`
	// Signed reports that a requirement with signers, of the control or of one
	// that it includes, has selected evidence for the subject, or for each of
	// its parts.
	Signed bool `json:"-"`
}

// A RequirementOutcome is the evidence that one requirement selects. Of a
// subject with parts it is the evidence of all parts.
type RequirementOutcome struct {
	Name    string
	Met     bool     // by every part; optional requirements always are
	Entries []uint64 // the newest that are selected, increasing
}

// Holds reports whether the result lets an artifact pass a control that is
// enforced.
func (r *Result) Holds() bool {
	return r.Result == Satisfied || r.Result == Excepted || r.Result == NotApplicable
}

// Code returns the code of the result's reason.
func (r *Result) Code() string {
	code, _, _ := strings.Cut(r.Reason, reasonSeparator)
	return code
}

// A UsedException is an exception that a result rests on.
type UsedException struct {
	ID      string    `json:"id"`
	Index   uint64    `json:"index"` // of the request
	Expires time.Time `json:"expires"`
}

// A verdict is the result of a control's check.
type verdict struct {
	result, reason string
	missing        []string
}

func (v *verdict) because(result, code, text string) *verdict {
	if v.result, v.reason = result, code; text != "" {
		v.reason += reasonSeparator + condition.Shorten(text)
	}
	return v
}

// An exemption is a set of exceptions whose findings are left out.
type exemption struct {
	exceptions []*exception.Exception
	used       map[*exception.Exception]bool
	checks     map[*Control]*verdict
}

// exempts reports whether a vulnerability or finding with these identifiers is
// left out, and notes the exceptions that name it.
func (x *exemption) exempts(ids []string) (exempted bool) {
	if x == nil {
		return false
	}
	for _, e := range x.exceptions {
		if e.Exempts(ids...) {
			x.used[e], exempted = true, true
		}
	}
	return exempted
}

// result evaluates a control.
func (h *hearing) result(c *Control, mode Mode) Result {
	r := Result{Control: c.ID, Mode: mode}
	if !c.appliesTo(&h.Subject) {
		r.Result, r.Reason = NotApplicable, NotApplicable
		return r
	}
	v := h.check(c, nil)
	if v.result != Satisfied {
		if used := h.except(c); len(used) > 0 {
			var ids []string
			for _, u := range used {
				ids = append(ids, fmt.Sprintf("%s until %s", u.ID, u.Expires.Format(time.RFC3339)))
				h.until(u.Expires)
			}
			r.Exceptions = used
			v = (&verdict{missing: v.missing}).because(Excepted, Excepted, strings.Join(ids, ", "))
		}
	}
	s := h.selection(c)
	r.Result, r.Reason, r.Entries = v.result, v.reason, s.indexes()
	if !h.tooMany && s.err == nil {
		r.Requirements = s.outcomes()
	}
	r.Signed = h.signed(c)
	for _, m := range v.missing {
		if len(h.part.Digest) > 0 {
			m = h.part.Name + ": " + m
		}
		r.Missing = append(r.Missing, m)
	}
	return r
}

// signed reports whether a requirement with signers, of the control or of one
// that it includes, has selected evidence.
func (h *hearing) signed(c *Control) (signed bool) {
	if h.tooMany {
		return false
	}
	c.visit(func(c *Control) {
		s := h.selection(c)
		for _, r := range s.requirements {
			signed = signed || s.err == nil && len(r.Signers) > 0 && len(r.entries) > 0
		}
	})
	return signed
}

// badness orders results, the best first.
var badness = map[string]int{NotApplicable: 0, Satisfied: 1, Excepted: 2, Unclear: 3, NotSatisfied: 4}

// merge adds the result for another part.
func (r *Result) merge(o *Result) {
	if badness[o.Result] > badness[r.Result] {
		r.Result, r.Reason = o.Result, o.Reason
	}
	r.Signed = r.Signed && o.Signed
	r.Missing = append(r.Missing, o.Missing[:min(len(o.Missing), max(0, maxMissingLines-len(r.Missing)))]...)
	r.Entries = newestEntries(append(r.Entries, o.Entries...))
	if len(o.Requirements) != len(r.Requirements) {
		r.Requirements = nil // one of the parts has no outcomes
	}
	for i := range r.Requirements {
		q, p := &r.Requirements[i], &o.Requirements[i]
		q.Met = q.Met && p.Met
		q.Entries = newestEntries(append(q.Entries, p.Entries...))
	}
	for _, used := range o.Exceptions {
		if !slices.ContainsFunc(r.Exceptions, func(u UsedException) bool { return u.Index == used.Index }) {
			r.Exceptions = append(r.Exceptions, used)
		}
	}
}

// maxMissingLines is the largest number of lines that a result collects from
// the parts of a subject.
const maxMissingLines = 64

// newestEntries returns the newest of the indexes, increasing. It sorts all.
func newestEntries(all []uint64) []uint64 {
	slices.Sort(all)
	all = slices.Compact(all)
	return all[max(0, len(all)-maxEntries):]
}

// except returns the exceptions that make up for a check that is not satisfied,
// or none.
func (h *hearing) except(c *Control) []UsedException {
	var general *UsedException
	x := &exemption{used: map[*exception.Exception]bool{}, checks: map[*Control]*verdict{}}
	expires := map[*exception.Exception]time.Time{}
	for _, e := range h.Exceptions {
		if e.Control != c.ID || e.Index >= h.Size {
			continue
		}
		if h.meter.Charge(1+len(e.Decisions)+len(e.KeyEvents)) != nil {
			return nil
		}
		status := e.Below(h.Size).At(h.Time, c.Exceptions)
		if !status.InForce() || e.Wildcard() && (!c.Exceptions.Wildcard || c.Severity == "critical") {
			continue
		}
		if h.meter.Charge(len(e.Subjects)+steps(e.Globs, h.Subject.Name)+steps(e.Environments, h.Environment)) != nil {
			return nil
		}
		whole := entry.Subject{Name: h.Subject.Name, Digest: h.Subject.Digest}
		if !e.Covers(whole, h.Environment) && !e.Covers(entry.Subject{Digest: h.part.Digest}, h.Environment) {
			continue
		}
		used := UsedException{ID: e.ID, Index: e.Index, Expires: status.Expires}
		if len(e.Findings) == 0 && (general == nil || used.Expires.After(general.Expires)) {
			general = &used
		} else if len(e.Findings) > 0 {
			x.exceptions, expires[e] = append(x.exceptions, e), status.Expires
		}
	}
	if len(x.exceptions) > 0 && h.check(c, x).result == Satisfied {
		var all []UsedException
		for _, e := range x.exceptions {
			if x.used[e] {
				all = append(all, UsedException{ID: e.ID, Index: e.Index, Expires: expires[e]})
			}
		}
		return all
	}
	if general != nil {
		return []UsedException{*general}
	}
	return nil
}

// check evaluates a control's requirements and condition, and the controls that
// it includes. Each is evaluated once.
func (h *hearing) check(c *Control, x *exemption) *verdict {
	memo := h.checks
	if x != nil {
		memo = x.checks
	}
	v := memo[c]
	if v == nil {
		v = h.checkOne(c, x)
		if v.result == Satisfied {
			v = h.checkIncluded(c, x, v)
		}
		memo[c] = v
	}
	return v
}

// checkIncluded returns the verdict with regard to the included controls.
func (h *hearing) checkIncluded(c *Control, x *exemption, v *verdict) *verdict {
	for _, result := range []string{NotSatisfied, Unclear} {
		for _, in := range c.Includes {
			if w := h.check(in, x); w.result == result {
				return (&verdict{missing: w.missing}).because(result, IncludedControl, in.ID+": "+w.reason)
			}
		}
	}
	return v
}

// checkOne evaluates a control's requirements and condition.
func (h *hearing) checkOne(c *Control, x *exemption) *verdict {
	v := &verdict{}
	if err := h.meter.Charge(8 + len(c.Require)); err != nil {
		return v.because(Unclear, TooMuchEvidence, err.Error())
	}
	if h.tooMany {
		return v.because(Unclear, TooMuchEvidence, fmt.Sprintf("more than %d entries mention the artifact, or their subjects are too many", MaxEvidence))
	}
	s := h.selection(c)
	if s.err != nil {
		return v.because(Unclear, TooMuchEvidence, s.err.Error())
	}
	for _, r := range s.requirements {
		if code := r.unmet(); code != "" {
			v.missing = append(v.missing, r.needs(h.Time))
			if v.result == "" {
				v.because(NotSatisfied, code, r.Name)
			}
		}
	}
	h.untilAged(c, s)
	if v.result != "" {
		return v
	}
	if c.Condition == nil {
		return v.because(Satisfied, Satisfied, "")
	}
	if c.Condition.Reads("now") {
		h.until(h.Time.Add(time.Hour))
	}
	cs := newCase(h, c, s, x)
	err := c.Condition.Holds(h.meter, cs)
	cs.untilDue()
	switch {
	case err == nil:
		return v.because(Satisfied, Satisfied, "")
	case errors.Is(err, condition.ErrFalse):
		return v.because(NotSatisfied, ConditionFalse, "")
	case errors.Is(err, errFacts):
		return v.because(Unclear, FactsUnavailable, err.Error())
	}
	return v.because(Unclear, ConditionError, err.Error())
}

// untilAged limits the validity of the decision to the time at which evidence
// becomes too old to be selected, if that matters.
func (h *hearing) untilAged(c *Control, s *selection) {
	for _, r := range s.requirements {
		if r.MaxAge == 0 || len(r.entries) == 0 {
			continue
		}
		if c.Condition != nil { // it can read every entry
			h.until(r.entries[0].Time.Add(r.MaxAge))
			continue
		}
		if r.unmet() != "" || r.Optional {
			continue
		}
		// The requirement is met until only MinSigners−1 parties have evidence.
		ends := make([]time.Time, 0, len(r.parties))
		for _, newest := range r.parties {
			ends = append(ends, newest.Add(r.MaxAge))
		}
		slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) })
		h.until(ends[max(1, r.MinSigners)-1])
	}
}

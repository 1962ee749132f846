package evaluate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/identity"
)

// A selection is the evidence that a control's requirements select.
type selection struct {
	requirements []*selected
	err          error // of the meter: the selection is incomplete
}

// selected is the evidence that one requirement selects, oldest first.
type selected struct {
	*Requirement
	entries []selectedEntry
	// aged has the entries that only MaxAge excludes.
	aged []*counted
	// parties has the time of the newest entry of each party.
	parties map[string]time.Time
}

// A selectedEntry is an entry with its parties that match.
type selectedEntry struct {
	*counted
	by []match
}

// A match is a party with the name of the signer that it matches.
type match struct {
	*Party
	name string
}

// key returns the text by which parties are compared.
func (p *Party) key() string {
	switch {
	case p.Submitter != "":
		return "submitter\x00" + identity.Fold(p.Submitter)
	case p.Identity != "":
		return "identity\x00" + p.Identity + "\x00" + p.Issuer
	}
	return "key\x00" + p.KeyID
}

// selection returns the evidence that the control selects.
func (h *hearing) selection(c *Control) *selection {
	s := h.selections[c]
	if s == nil {
		s = &selection{}
		h.selections[c] = s
		for _, r := range c.Require {
			one := &selected{Requirement: r, parties: map[string]time.Time{}}
			s.requirements = append(s.requirements, one)
			for _, e := range h.counted {
				if s.err = h.consider(one, e); s.err != nil {
					return s
				}
			}
		}
	}
	return s
}

// consider selects an entry if the requirement fits.
func (h *hearing) consider(r *selected, e *counted) error {
	if err := h.meter.Charge(1); err != nil {
		return err
	}
	if !slices.Contains(r.Kinds, e.Header.Kind) {
		return nil
	}
	if len(r.PredicateTypes) > 0 {
		fits, err := h.anyMatch(r.PredicateTypes, e.Header.PredicateType)
		if err != nil || !fits || e.Header.PredicateType == "" {
			return err
		}
	}
	if len(r.Submitters) > 0 {
		if fits, err := h.anyMatch(r.Submitters, e.Header.Submitter); err != nil || !fits {
			return err
		}
	}
	by, err := h.matches(r.Requirement, e)
	if err != nil || len(by) == 0 {
		return err
	}
	if r.MaxAge > 0 && h.Time.Sub(e.Time) > r.MaxAge {
		r.aged = append(r.aged, e)
		return nil
	}
	r.entries = append(r.entries, selectedEntry{e, by})
	for _, m := range by {
		r.parties[m.key()] = e.Time // in the order of time
	}
	return nil
}

// matches returns the entry's parties that count for the requirement.
func (h *hearing) matches(r *Requirement, e *counted) (all []match, err error) {
	if len(r.Signers) == 0 {
		return []match{{Party: &e.submitter}}, nil
	}
	for _, s := range r.Signers {
		for i := range e.signers {
			p := &e.signers[i]
			if err := h.meter.Charge(1 + s.cost(p)); err != nil {
				return nil, err
			}
			if s.matches(p) {
				all = append(all, match{p, s.Name})
			}
		}
		if err := h.meter.Charge(1 + s.cost(&e.submitter)); err != nil {
			return nil, err
		}
		if s.matches(&e.submitter) {
			all = append(all, match{&e.submitter, s.Name})
		}
	}
	return all, nil
}

// cost returns the cost of matching the party.
func (s *Signer) cost(p *Party) (units int) {
	if p.Submitter != "" {
		return steps(s.Submitters, p.Submitter)
	}
	for _, t := range []struct {
		t    *Text
		text string
	}{{&s.Identity, p.Identity}, {&s.Issuer, p.Issuer}} {
		if t.t.Pattern != nil {
			units += len(t.text)/8 + len(t.t.Pattern.String())*len(t.text)/1024
		}
	}
	return units + len(s.Keys)/16
}

func steps(globs []string, s string) (units int) {
	for _, g := range globs {
		units += condition.Glob(g, s)
	}
	return units
}

func (h *hearing) anyMatch(globs []string, s string) (bool, error) {
	if err := h.meter.Charge(steps(globs, s)); err != nil {
		return false, err
	}
	return anyMatch(globs, s), nil
}

// unmet returns the code of the reason if the requirement is not met, and
// otherwise "".
func (r *selected) unmet() string {
	switch {
	case r.Optional:
		return ""
	case len(r.entries) == 0:
		return MissingEvidence
	case len(r.parties) < r.MinSigners:
		return TooFewSigners
	}
	return ""
}

// needs returns one line about what an unmet requirement needs.
func (r *selected) needs(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: needs %s", r.Name, strings.Join(r.Kinds, " or "))
	if len(r.PredicateTypes) > 0 {
		fmt.Fprintf(&b, " of type %s", strings.Join(r.PredicateTypes, " or "))
	}
	if len(r.Signers) > 0 {
		var names []string
		for _, s := range r.Signers {
			names = append(names, s.Name)
		}
		fmt.Fprintf(&b, " from %s", strings.Join(names, " or "))
	}
	if r.MinSigners > 1 {
		fmt.Fprintf(&b, ", by %d different signers", r.MinSigners)
	}
	if r.MaxAge > 0 {
		fmt.Fprintf(&b, ", at most %s old", r.MaxAge)
	}
	switch {
	case len(r.entries) > 0:
		fmt.Fprintf(&b, "; found %d", len(r.parties))
	case len(r.aged) > 0:
		last := r.aged[len(r.aged)-1]
		fmt.Fprintf(&b, "; entry %d is %s old", last.Index, now.Sub(last.Time).Round(time.Second))
	default:
		b.WriteString("; found none")
	}
	if s := b.String(); len(s) <= maxMissing {
		return s
	}
	return strings.ToValidUTF8(b.String()[:maxMissing], "") + "…"
}

// maxMissing is the size limit of a line about what is missing.
const maxMissing = 1000

// indexes returns the indexes of the newest selected entries, increasing.
func (s *selection) indexes() []uint64 {
	var all []uint64
	for _, r := range s.requirements {
		all = append(all, r.indexes()...)
	}
	return newestEntries(all)
}

func (r *selected) indexes() []uint64 {
	var all []uint64
	for _, e := range r.entries {
		all = append(all, e.Index)
	}
	return newestEntries(all)
}

// outcomes returns the outcome of each requirement.
func (s *selection) outcomes() []RequirementOutcome {
	var all []RequirementOutcome
	for _, r := range s.requirements {
		all = append(all, RequirementOutcome{Name: r.Name, Met: r.unmet() == "", Entries: r.indexes()})
	}
	return all
}

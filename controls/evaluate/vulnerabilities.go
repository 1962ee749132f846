package evaluate

import (
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/verifiers/facts"
)

// joined is the result of joining scans with VEX statements.
type joined struct {
	found []facts.Finding
	err   error
}

// A vulnerability is one that no VEX statement removes.
type vulnerability struct {
	facts.Finding
	of        *Case
	firstSeen time.Time // zero until it is computed
}

// idsOf returns the identifiers of a vulnerability.
func idsOf(f *facts.Finding) []string { return append([]string{f.ID}, f.Aliases...) }

// vulnerabilities returns the unresolved vulnerabilities of the subject.
func (c *Case) vulnerabilities() ref.Val {
	j := c.join()
	if j.err != nil {
		return types.WrapErr(j.err)
	}
	all := make([]ref.Val, 0, len(j.found))
	for i := range j.found {
		f := j.found[i]
		if c.exemption.exempts(idsOf(&f)) {
			continue
		}
		v := &vulnerability{Finding: f, of: c}
		c.unsolved = append(c.unsolved, v)
		all = append(all, v.value())
	}
	return list(all)
}

// join joins the scans and VEX documents among the selected entries. Controls
// that select the same ones share the result.
func (c *Case) join() *joined {
	var key strings.Builder
	var about []*facts.Evidence
	scans, work, seen := 0, 0, map[uint64]bool{}
	for _, r := range c.selection.requirements {
		for _, e := range r.entries {
			switch {
			case seen[e.Index] || !facts.Joins(e.Header):
				continue
			case e.Unavailable:
				return &joined{err: fmt.Errorf("%w: the payload of entry %d was erased", errFacts, e.Index)}
			case e.Facts == nil:
				continue
			}
			seen[e.Index] = true
			if s := e.Facts.Scan; s != nil {
				scans++
				work += len(s.Vulnerabilities)
			}
			if x := e.Facts.VEX; x != nil {
				work += len(x.Statements)
			}
			about = append(about, e.joinable())
			fmt.Fprintf(&key, "%d ", e.Index)
		}
	}
	if scans == 0 {
		return &joined{err: fmt.Errorf("%w: no selected entry has a scan", errFacts)}
	}
	j := c.joins[key.String()]
	if j == nil {
		j = &joined{}
		if j.err = c.meter.Charge(work/4 + 1); j.err != nil {
			return j
		}
		j.found, j.err = facts.Unresolved(facts.Subject{Digests: c.digest}, about, about)
		if j.err != nil {
			j.err = fmt.Errorf("%w: %w", errFacts, j.err)
		}
		c.joins[key.String()] = j
	}
	return j
}

func (e *Evidence) joinable() *facts.Evidence {
	return &facts.Evidence{Index: e.Index, Time: uint64(e.Time.UnixMilli()), Subjects: e.Header.Subjects, Facts: e.Facts}
}

// value returns an element of vulnerabilities.
func (v *vulnerability) value() ref.Val {
	return object{
		{"id", func() ref.Val { return types.String(v.ID) }},
		{"aliases", func() ref.Val { return condition.Value(append([]string{}, v.Aliases...)) }},
		{"severity", func() ref.Val { return types.String(v.Severity.String()) }},
		{"score", func() ref.Val { return types.Double(v.Score.Float()) }},
		{"package", func() ref.Val {
			return condition.Value(map[string]string{"purl": v.Package.PURL, "name": v.Package.Name, "version": v.Package.Version})
		}},
		{"fixed_version", func() ref.Val { return types.String(v.Fixed) }},
		{"first_seen", func() ref.Val { return v.when(v.seen) }},
		{"due", func() ref.Val { return v.when(v.due) }},
		{"overdue", func() ref.Val {
			due := v.due()
			if err := v.of.meter.Err(); err != nil {
				return types.WrapErr(err)
			}
			return types.Bool(!due.After(v.of.Time))
		}},
	}
}

// when returns a time, or an error if the meter has ended.
func (v *vulnerability) when(t func() time.Time) ref.Val {
	at := t()
	if err := v.of.meter.Err(); err != nil {
		return types.WrapErr(err)
	}
	return types.Timestamp{Time: at}
}

func (v *vulnerability) due() time.Time { return v.of.dueOf(v.Severity.String(), v.seen()) }

// seen returns when the vulnerability was first seen.
func (v *vulnerability) seen() time.Time {
	if v.firstSeen.IsZero() {
		v.of.findFirstSeen()
	}
	return v.firstSeen
}

// findFirstSeen sets when each of the unresolved vulnerabilities was first
// seen, from the scans of any age and the findings about the subject.
func (c *Case) findFirstSeen() {
	first := map[string]time.Time{} // by ID or alias in upper case
	for _, v := range c.unsolved {
		for _, id := range idsOf(&v.Finding) {
			first[strings.ToUpper(id)] = c.Time
		}
	}
	note := func(at time.Time, ids ...string) {
		for _, id := range ids {
			id = strings.ToUpper(id)
			if seen, ok := first[id]; ok && at.Before(seen) {
				first[id] = at
			}
		}
	}
	scanned := func(e *Evidence) {
		if e.Facts == nil || e.Facts.Scan == nil || c.meter.Charge(1+len(e.Facts.Scan.Vulnerabilities)) != nil {
			return
		}
		for i := range e.Facts.Scan.Vulnerabilities {
			f := &e.Facts.Scan.Vulnerabilities[i]
			note(e.Time, f.ID)
			note(e.Time, f.Aliases...)
		}
	}
	for _, r := range c.selection.requirements {
		for _, e := range r.aged {
			scanned(e.Evidence)
		}
		for _, e := range r.entries {
			scanned(e.Evidence)
		}
	}
	for _, f := range c.findings {
		if len(f.Header.Subjects) > 0 && !f.detected.IsZero() {
			note(f.detected, f.ids()...)
		}
	}
	for _, v := range c.unsolved {
		v.firstSeen = c.Time
		for _, id := range idsOf(&v.Finding) {
			if at := first[strings.ToUpper(id)]; at.Before(v.firstSeen) {
				v.firstSeen = at
			}
		}
	}
}

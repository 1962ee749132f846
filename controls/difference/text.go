package difference

import (
	"fmt"
	"io"
	"strings"
)

// Summary returns a sentence about each of what was compared.
func (p *Pair) Summary() (lines []string) {
	if p.Same {
		return []string{"The digests are equal."}
	}
	if c := p.Components; c != nil {
		lines = append(lines, c.summary())
	}
	if q := p.Provenance; q != nil {
		lines = append(lines, q.summary())
	}
	return lines
}

func (c *Components) summary() string {
	if c.Incomparable != "" {
		return "Components are not compared: " + c.Incomparable + "."
	}
	s := fmt.Sprintf("Components: %d added, %d removed, %d with other versions, %d with other licences.", c.Added.Total, c.Removed.Total, c.Versions.Total, c.Licenses.Total)
	if c.Partial {
		s += " Malformed components are left out."
	}
	return s
}

func (p *Provenance) summary() string {
	if p.Incomparable != "" {
		return "Provenance is not compared: " + p.Incomparable + "."
	}
	if len(p.Attributes)+p.Parameters.Total+p.Materials.Total == 0 {
		return "Provenance: the builder, the source, the parameters and the materials are the same."
	}
	var what []string
	for _, a := range p.Attributes {
		what = append(what, a.Name)
	}
	if n := p.Parameters.Total; n > 0 {
		what = append(what, fmt.Sprintf("%d parameters", n))
	}
	if n := p.Materials.Total; n > 0 {
		what = append(what, fmt.Sprintf("%d materials", n))
	}
	return "Provenance: other " + strings.Join(what, ", ") + "."
}

// WriteText writes the differences for people. Their text is untrusted.
func (r *Release) WriteText(w io.Writer) error {
	p := &printer{w: w}
	for i := range r.Pairs {
		p.pair(&r.Pairs[i])
	}
	for _, a := range r.Added {
		p.printf("+ %s %s\n", a.Type, a.Name)
	}
	for _, a := range r.Removed {
		p.printf("- %s %s\n", a.Type, a.Name)
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) pair(one *Pair) {
	name := one.After.Name
	if one.Before.Name != name {
		name = one.Before.Name + " → " + name
	}
	mark := "~"
	if one.Same {
		mark = "="
	}
	p.printf("%s %s %s\n", mark, one.After.Type, name)
	if one.Same {
		return
	}
	for _, line := range one.Summary() {
		p.printf("    %s\n", line)
	}
	if c := one.Components; c != nil {
		for _, a := range c.Added.All {
			p.printf("    + %s %s\n", a.Name, strings.Join(a.Versions, ", "))
		}
		for _, a := range c.Removed.All {
			p.printf("    - %s %s\n", a.Name, strings.Join(a.Versions, ", "))
		}
		p.changes("", c.Versions.All)
		p.changes("licence of ", c.Licenses.All)
	}
	if q := one.Provenance; q != nil {
		p.changes("", q.Attributes)
		p.changes("parameter ", q.Parameters.All)
		p.changes("material ", q.Materials.All)
	}
}

func (p *printer) changes(prefix string, all []Change) {
	for _, c := range all {
		p.printf("    ~ %s%s: %s → %s\n", prefix, c.Name, orNone(c.From), orNone(c.To))
	}
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

package difference

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/internal/safetext"
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

// WriteText writes the differences for people, in lines that cannot control a
// terminal.
func (r *Release) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.printf("Changes since %s\n", cmp.Or(r.Previous, "the previous release"))
	for i := range r.Pairs {
		p.pair(&r.Pairs[i])
	}
	for _, a := range r.Added {
		p.printf("+ %s %s\n", a.Type, nameOrDigest(&a))
	}
	for _, a := range r.Removed {
		p.printf("- %s %s\n", a.Type, nameOrDigest(&a))
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	for i, a := range args {
		args[i] = safetext.Quoted(fmt.Sprint(a))
	}
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) pair(one *Pair) {
	name := nameOrDigest(&one.After)
	if before := nameOrDigest(&one.Before); before != name {
		name = before + " → " + name
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
		p.components(c)
	}
	if q := one.Provenance; q != nil {
		p.changes("", q.Attributes, len(q.Attributes))
		p.changes("parameter ", q.Parameters.All, q.Parameters.Total)
		p.changes("material ", q.Materials.All, q.Materials.Total)
	}
}

func nameOrDigest(a *decide.Artifact) string {
	if a.Name != "" {
		return a.Name
	}
	for alg, value := range a.Digest {
		if alg == "sha256" || len(a.Digest) == 1 {
			return alg + ":" + value
		}
	}
	return "an artifact without a name"
}

func (p *printer) components(c *Components) {
	for _, a := range c.Added.All {
		p.printf("    + %s %s\n", a.Name, strings.Join(a.Versions, ", "))
	}
	p.more(c.Added.Total, len(c.Added.All))
	for _, a := range c.Removed.All {
		p.printf("    - %s %s\n", a.Name, strings.Join(a.Versions, ", "))
	}
	p.more(c.Removed.Total, len(c.Removed.All))
	p.changes("", c.Versions.All, c.Versions.Total)
	p.changes("licence of ", c.Licenses.All, c.Licenses.Total)
}

// more notes how many differences are not listed.
func (p *printer) more(total, listed int) {
	if total > listed {
		p.printf("    … %s more\n", fmt.Sprint(total-listed))
	}
}

func (p *printer) changes(prefix string, all []Change, total int) {
	for _, c := range all {
		p.printf("    ~ %s%s: %s → %s\n", prefix, c.Name, orNone(c.From), orNone(c.To))
	}
	p.more(total, len(all))
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

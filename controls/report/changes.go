package report

import (
	"cmp"
	"fmt"
	"strings"

	"muniment.dev/muniment/controls/difference"
)

type differencesView struct {
	Previous, Sentence string
	Pairs              []*pairView
}

type pairView struct {
	Name   string
	Lines  []string
	Tables []table
}

type table struct {
	Title   string
	Columns []string
	Rows    []row
	More    string
}

type row struct {
	Class   string
	Cells   []string
	Receipt receipt
}

// addDifferences adds what differs from the previous release.
func (v *viewer) addDifferences() {
	d := v.Release.Differences
	if d == nil {
		return
	}
	same := 0
	for i := range d.Pairs {
		if d.Pairs[i].Same {
			same++
		}
	}
	out := &differencesView{Previous: cmp.Or(d.Previous, "the previous release"), Sentence: fmt.Sprintf("Of %s: %s unchanged, %s changed, %s added, %s removed.",
		count(len(d.Pairs)+len(d.Added), "artifact"), number(same), number(len(d.Pairs)-same), number(len(d.Added)), number(len(d.Removed)))}
	for i := range d.Pairs {
		if p := &d.Pairs[i]; !p.Same && len(out.Pairs) < maxDetailed {
			out.Pairs = append(out.Pairs, newPairView(p))
		}
	}
	v.view.Differences = out
}

func newPairView(p *difference.Pair) *pairView {
	out := &pairView{Name: cmp.Or(p.After.Name, short(digestOf(p.After.Digest)))}
	if p.Before.Name != p.After.Name {
		out.Name = p.Before.Name + " → " + out.Name
	}
	out.Lines = p.Summary()
	if c := p.Components; c != nil {
		out.Tables = append(out.Tables, componentsTable(c)...)
	}
	if q := p.Provenance; q != nil {
		out.Tables = append(out.Tables, provenanceTable(q)...)
	}
	return out
}

// maxChanges is the number of rows of one table about a pair.
const maxChanges = 100

func componentsTable(c *difference.Components) []table {
	t := table{Title: "Components", Columns: []string{"Component", "Change", "Before", "After"}}
	total := c.Added.Total + c.Removed.Total + c.Versions.Total + c.Licenses.Total
	add := func(class, change, name string, from, to []string) {
		if len(t.Rows) < maxChanges {
			t.Rows = append(t.Rows, row{Class: class, Cells: []string{name, change, strings.Join(from, ", "), strings.Join(to, ", ")}})
		}
	}
	for _, l := range c.Licenses.All {
		add("unclear", "licence", l.Name, l.From, l.To)
	}
	for _, a := range c.Added.All {
		add("good", "added", a.Name, nil, withLicenses(&a))
	}
	for _, a := range c.Removed.All {
		add("bad", "removed", a.Name, withLicenses(&a), nil)
	}
	for _, x := range c.Versions.All {
		add("idle", "version", x.Name, x.From, x.To)
	}
	return t.whole(total)
}

func withLicenses(c *difference.Component) []string {
	text := strings.Join(c.Versions, ", ")
	if len(c.Licenses) > 0 {
		text = strings.TrimSpace(text + " (" + strings.Join(c.Licenses, ", ") + ")")
	}
	return []string{text}
}

// whole returns the table, without any rows none.
func (t *table) whole(total int) []table {
	if len(t.Rows) == 0 {
		return nil
	}
	if total > len(t.Rows) {
		t.More = count(total-len(t.Rows), "further change") + "."
	}
	return []table{*t}
}

func provenanceTable(p *difference.Provenance) []table {
	t := table{Title: "Provenance", Columns: []string{"What", "Before", "After"}}
	add := func(prefix string, all []difference.Change) {
		for _, c := range all {
			if len(t.Rows) < maxChanges {
				t.Rows = append(t.Rows, row{Class: "idle", Cells: []string{prefix + c.Name, strings.Join(c.From, ", "), strings.Join(c.To, ", ")}})
			}
		}
	}
	add("", p.Attributes)
	add("parameter ", p.Parameters.All)
	add("material ", p.Materials.All)
	return t.whole(len(p.Attributes) + p.Parameters.Total + p.Materials.Total)
}

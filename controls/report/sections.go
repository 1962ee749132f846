package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
)

type exceptionsView struct {
	Sentence string
	Timeline *timeline
	Rows     []exceptionRow
	More     string
}

type exceptionRow struct {
	Class, ID, State, Control string
	Entry                     uint64
	Receipt                   receipt
	Expires                   moment
	Left                      string
	Requester                 person
	Approvers                 []person
	Scope                     []string
	Reason                    string
}

// addExceptions adds the exceptions: those in force first, by their expiry.
func (v *viewer) addExceptions() {
	if len(v.Release.Exceptions) == 0 {
		return
	}
	all := slices.Clone(v.Release.Exceptions)
	slices.SortStableFunc(all, func(a, b Exception) int {
		inForce := compareBools(!a.InForce(), !b.InForce())
		if inForce != 0 || a.InForce() {
			return cmp.Or(inForce, a.Status.Expires.Compare(b.Status.Expires))
		}
		return b.Status.Expires.Compare(a.Status.Expires)
	})
	counts := map[exception.State]int{}
	for i := range all {
		counts[all[i].State]++
	}
	var parts []string
	for _, s := range exception.States {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", number(n), s))
		}
	}
	out := &exceptionsView{Sentence: fmt.Sprintf("%s: %s.", count(len(all), "exception"), strings.Join(parts, ", ")), Timeline: v.timeline(all)}
	for i := range all {
		if i == maxRows {
			out.More = fmt.Sprintf("%s in the OSCAL documents of the bundle.", count(len(all)-i, "further exception"))
			break
		}
		out.Rows = append(out.Rows, v.exceptionRow(&all[i]))
	}
	v.view.Exceptions = out
}

func (v *viewer) exceptionRow(x *Exception) exceptionRow {
	expires := x.Status.Expires
	if expires.IsZero() {
		expires = x.Request.Expires
	}
	row := exceptionRow{Class: classOfException(x), ID: x.ID, State: string(x.State), Control: x.Control, Entry: x.Index, Receipt: v.receipt(x.Index), Expires: at(expires), Left: distance(expires, v.Release.Time),
		Requester: personOf(cmp.Or(x.Requester, x.Submitter)), Approvers: personsOf(x.Approvers), Reason: x.Reason}
	if x.Unconfirmed {
		row.State += ", not confirmed"
	}
	for _, s := range x.Subjects {
		row.Scope = append(row.Scope, cmp.Or(s.Name, short(digestOf(s.Digest))))
	}
	row.Scope = append(row.Scope, x.Globs...)
	if len(x.Environments) > 0 {
		row.Scope = append(row.Scope, "in "+strings.Join(x.Environments, ", "))
	}
	if len(x.Findings) > 0 {
		row.Scope = append(row.Scope, "only "+strings.Join(x.Findings, ", "))
	}
	return row
}

func classOfException(x *Exception) string {
	switch {
	case x.Unconfirmed:
		return "bad"
	case x.InForce():
		return "excepted"
	}
	return "idle"
}

type findingsView struct {
	Sentence string
	Chart    *chart
	Rows     []findingRow
	More     string
}

type findingRow struct {
	Class, ID, Title, Severity, Status string
	Receipt                            receipt
	Due                                *moment
	Left                               string
	Owners, Controls                   []string
}

// addFindings adds the findings, which are sorted.
func (v *viewer) addFindings() {
	all := v.Release.Findings
	if len(all) == 0 {
		return
	}
	open, overdue, resolved := 0, 0, 0
	for i := range all {
		switch {
		case all[i].Resolved():
			resolved++
		default:
			open++
			if all[i].Overdue {
				overdue++
			}
		}
	}
	share := float64(resolved) / float64(len(all))
	out := &findingsView{Sentence: fmt.Sprintf("%s: %s not resolved, %s past the deadline, %s resolved with linked evidence (%.0f %%).", count(len(all), "finding"), number(open), number(overdue), number(resolved), 100*share),
		Chart: newChart(v.Burndown)}
	for i := range all {
		if i == maxRows {
			out.More = fmt.Sprintf("%s in the OSCAL documents of the bundle.", count(len(all)-i, "further finding"))
			break
		}
		out.Rows = append(out.Rows, v.findingRow(&all[i]))
	}
	v.view.Findings = out
}

func (v *viewer) findingRow(f *Finding) findingRow {
	row := findingRow{Class: "unclear", ID: f.ID, Title: f.Title, Severity: f.Severity, Status: string(f.Status), Receipt: v.receipt(f.Newest().Index), Owners: f.Owners, Controls: f.Newest().Controls}
	if !f.Due.IsZero() && !f.Resolved() {
		due := at(f.Due)
		due.Text = f.Due.Format("2 Jan 2006")
		row.Due, row.Left = &due, distance(f.Due, v.Release.Time)
	}
	switch {
	case f.Resolved():
		row.Class = "good"
	case f.Overdue:
		row.Class, row.Left = "bad", "overdue, "+row.Left
	}
	return row
}

type coverageView struct {
	Class, Title, Share, Sentence string
	Width                         string // of 100
	Gaps                          []Gap
	More                          string
}

func (v *viewer) addCoverage() {
	look := looks[string(evaluate.Undecided)]
	v.view.Stated = v.Release.Stated
	v.view.Unknown, v.NotKnown = v.Release.Unknown, verdict{Class: look.class, Mark: look.mark}
	for i := range v.Release.Coverage {
		c := &v.Release.Coverage[i]
		out := coverageView{Class: "bad", Title: sentence(c.Kind) + " in " + c.Environment, Share: "–", Width: "0", Sentence: "No inventory names any."}
		if c.Inventoried > 0 {
			// Only all of them are 100 %.
			tenths := c.Attested * 1000 / c.Inventoried
			out.Width = fmt.Sprintf("%d.%d", tenths/10, tenths%10)
			out.Share = out.Width + " %"
			out.Sentence = fmt.Sprintf("%s of %s attested for the stage %s.", number(c.Attested), number(c.Inventoried), c.Stage)
			if c.Attested >= c.Inventoried {
				out.Class, out.Share = "good", "100 %"
			}
		}
		if out.Gaps = c.Gaps; len(out.Gaps) > maxRows {
			out.Gaps = out.Gaps[:maxRows]
		}
		if more := len(c.Gaps) - len(out.Gaps) + c.MoreGaps; more > 0 {
			out.More = count(more, "further gap") + "."
		}
		v.view.Coverage = append(v.view.Coverage, out)
	}
}

// A framework has the requirements of a framework and the controls mapped to
// them.
type framework struct {
	Name, Sentence string
	Rows           []controlRow
}

type controlRow struct {
	Class, Mark, Requirement, ID, Title, Severity, Owner, Status, Counts string
}

// unmapped is the heading of controls that name no framework.
const unmapped = "Controls of no framework"

// addControls adds the controls by framework. A control of several frameworks
// is in each.
func (v *viewer) addControls() {
	v.SetSentence = "No control set is in force that can be read."
	if s := v.Release.ControlSet; s != nil {
		v.SetSentence = fmt.Sprintf("Control set %s, in force since entry %d, with %s.", s.Version, s.Entry, count(len(v.Release.Controls), "control"))
		v.SetDigest = s.Digest
	}
	byName := map[string]*framework{}
	for i := range v.Release.Controls {
		c := &v.Release.Controls[i]
		mapped := c.Frameworks
		if len(mapped) == 0 {
			mapped = []string{unmapped + ": –"}
		}
		for _, m := range mapped {
			name, requirement, _ := strings.Cut(m, ": ")
			f := byName[name]
			if f == nil {
				f = &framework{Name: name}
				byName[name] = f
			}
			f.Rows = append(f.Rows, controlRowOf(c, requirement))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		f := byName[name]
		slices.SortStableFunc(f.Rows, func(a, b controlRow) int { return compareNatural(a.Requirement, b.Requirement) })
		held := 0
		for i := range f.Rows {
			if f.Rows[i].Class == "good" || f.Rows[i].Class == "excepted" || f.Rows[i].Class == "idle" {
				held++
			}
		}
		f.Sentence = fmt.Sprintf("%s of %s hold", number(held), number(len(f.Rows)))
		v.Frameworks = append(v.Frameworks, f)
	}
	slices.SortStableFunc(v.Frameworks, func(a, b *framework) int { return compareBools(a.Name == unmapped, b.Name == unmapped) })
}

func controlRowOf(c *Control, requirement string) controlRow {
	look := looks[string(c.Status)]
	row := controlRow{Class: look.class, Mark: look.mark, Requirement: requirement, ID: c.Id, Title: c.Title, Severity: c.Severity, Owner: c.Owner, Status: look.word}
	if (c.Status == NotSatisfied || c.Status == Undecided) && !c.Enforced {
		row.Status += ", not enforced"
	}
	if c.Status == Undecided {
		row.Status = strings.ToLower(row.Status)
	}
	var parts []string
	for _, s := range Statuses {
		if n := c.Counts[s]; n > 0 && s != NotApplicable {
			parts = append(parts, number(n)+" "+strings.ToLower(looks[string(s)].word))
		}
	}
	switch {
	case len(parts) == 1:
		row.Counts = count(c.Counts[c.Status], "artifact")
	case len(parts) > 1:
		row.Counts = strings.Join(parts, ", ")
	}
	return row
}

// compareNatural compares texts so that numbers in them are in order.
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		x, y := leadingDigits(a), leadingDigits(b)
		if x > 0 && y > 0 {
			m, n := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
			if c := cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n)); c != 0 {
				return c
			}
			a, b = a[x:], b[y:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}

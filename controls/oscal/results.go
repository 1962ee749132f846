package oscal

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/controls/report"
)

// NewAssessmentResults returns a release as assessment results: an observation
// for each entry about the artifacts, a finding for each control that applies,
// and a risk for each control that does not hold, finding and exception.
func NewAssessmentResults(r *report.Release) *AssessmentResults {
	d := newDocument(r, "assessment-results", "Assessment results")
	out := &AssessmentResults{UUID: d.documentUUID(), BackMatter: d.backMatter()}
	out.ImportAP = Import{Href: "#" + out.BackMatter.Resources[0].UUID, Remarks: "The plan of the assessment is the control set."}
	set := d.risks(true)
	one := Result{
		UUID: d.documentUUID("result"), Title: Line(d.title()), Description: Lines(d.description()), Start: DateTime(r.Time), End: DateTime(r.Time),
		Props:            []Prop{prop("verdict", string(r.Verdict()))},
		LocalDefinitions: LocalDefinitions{Components: d.components(), Assets: d.assets()},
		Reviewed:         d.reviewed(),
		Observations:     d.observations(nil),
		Risks:            set.risks,
		Findings:         d.findings(set),
	}
	for i, p := range r.Places {
		one.Props = append(one.Props, prop("decision", fmt.Sprintf("%s: %s", p, r.Outcome(i))))
	}
	for _, l := range r.LeftOut {
		one.Remarks = Lines(strings.TrimSpace(fmt.Sprintf("%s\nAt most %d %s are considered.", one.Remarks, l.Limit, l.What)))
	}
	out.Results = []Result{one}
	out.Metadata = d.Metadata
	return out
}

func (d *document) description() string {
	return fmt.Sprintf("What the log %s proves about %d artifacts of the tenant %s, by its first %d entries and as of %s.", d.Log.Origin, len(d.Artifacts), d.Tenant, d.Log.Size, DateTime(d.Time))
}

// reviewed selects the controls that apply to an artifact.
func (d *document) reviewed() Reviewed {
	s := Selection{Description: "The controls that apply to an artifact."}
	for i := range d.Controls {
		if c := &d.Controls[i]; c.Status != report.NotApplicable {
			s.Include = append(s.Include, ControlID{Token(c.Id)})
		}
	}
	if len(s.Include) == 0 {
		s.Description, s.IncludeAll = "No control applies to an artifact.", &struct{}{}
	}
	return Reviewed{[]Selection{s}}
}

// findings returns the status of each control that applies to an artifact.
func (d *document) findings(set *riskSet) (all []Finding) {
	for i := range d.Controls {
		c := &d.Controls[i]
		if c.Status == report.NotApplicable {
			continue
		}
		f := Finding{
			UUID: d.uuid("finding", c.Id), Title: Line(c.Id + ": " + c.Title), Description: Lines(describeControl(c)),
			Props:        []Prop{prop("status", string(c.Status)), prop("enforced", fmt.Sprint(c.Enforced)), prop("severity", c.Severity), prop("control", c.Id)},
			Target:       Target{Type: "objective-id", ID: Token(c.Id), Title: Line(c.Title), Status: stateOf(c)},
			Observations: d.refs(citedBy(c)),
		}
		f.Props = addProp(f.Props, "owner", c.Owner)
		for _, m := range c.Frameworks {
			f.Props = append(f.Props, prop("framework", m))
		}
		for _, id := range set.ofControl[c.Id] {
			f.Risks = append(f.Risks, RiskRef{id})
		}
		all = append(all, f)
	}
	return all
}

// stateOf returns the status of a control in OSCAL's terms, which have only
// satisfied and not-satisfied.
func stateOf(c *report.Control) State {
	switch c.Status {
	case report.Satisfied:
		return State{State: "satisfied", Reason: "pass"}
	case report.Excepted:
		return State{State: "not-satisfied", Reason: "other", Remarks: "It is not satisfied, and exceptions are in force for each such artifact."}
	case report.Undecided:
		return State{State: "not-satisfied", Reason: "other", Remarks: "It could not be decided whether it is satisfied."}
	}
	return State{State: "not-satisfied", Reason: "fail"}
}

// maxReasons is the number of different reasons that a description lists.
const maxReasons = 20

// describeControl describes how a control is met.
func describeControl(c *report.Control) string {
	var parts []string
	for _, s := range report.Statuses {
		if n := c.Counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", s, n))
		}
	}
	lines := []string{c.Description, "Artifacts by status: " + strings.Join(parts, ", ") + "."}
	seen := map[string]bool{}
	for i := range c.Results {
		r := &c.Results[i]
		if r.Holds() || seen[r.Reason] {
			continue
		}
		if seen[r.Reason] = true; len(seen) > maxReasons {
			lines = append(lines, "There are further reasons.")
			break
		}
		lines = append(lines, "Reason: "+r.Reason+".")
		lines = append(lines, r.Missing...)
	}
	return strings.Join(lines, "\n")
}

// citedBy returns the entries that the results of a control rest on,
// increasing.
func citedBy(c *report.Control) []uint64 {
	all := map[uint64]bool{}
	for i := range c.Results {
		for _, e := range c.Results[i].Entries {
			all[e] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

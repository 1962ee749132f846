package oscal

import (
	"strconv"
	"strings"

	"muniment.dev/muniment/controls/report"
)

// NewPOAM returns a release as a plan of action and milestones: an item for
// each control that does not hold, each finding that is not resolved and each
// exception that is in force or requested. Those in force by approval are risks
// with the status deviation-approved.
func NewPOAM(r *report.Release) *POAM {
	d := newDocument(r, "poam", "Plan of action and milestones")
	set := d.risks(false)
	out := &POAM{UUID: d.documentUUID(), SystemID: SystemID{NS, String(r.Log.Origin + "/" + r.Tenant)}, LocalDefinitions: &LocalDefinitions{Components: d.components(), Assets: d.assets()}, Risks: set.risks, BackMatter: d.backMatter()}
	for _, f := range d.findings(set) {
		if f.Target.Status.State != "satisfied" {
			out.Findings = append(out.Findings, f)
		}
	}
	wanted := set.entries()
	for i := range r.Controls {
		if c := &r.Controls[i]; c.Status != report.Satisfied && c.Status != report.NotApplicable {
			for _, e := range citedBy(c) {
				wanted[e] = true
			}
		}
	}
	out.Observations = d.observations(wanted)
	for i := range set.sources {
		out.Items = append(out.Items, d.item(&set.sources[i], &set.risks[i]))
	}
	if len(out.Items) == 0 {
		text := "No control fails, no finding is open, and no exception is in force."
		out.Items = []Item{{UUID: d.documentUUID("item"), Title: "Nothing to do", Description: text}}
	}
	out.Metadata = d.Metadata
	return out
}

// item returns what is to be done about a risk.
func (d *document) item(s *source, r *Risk) Item {
	out := Item{UUID: uuid(r.UUID, "item"), Title: r.Title, Description: Lines(s.what()) + "\n\n" + r.Description, Origins: r.Origins, Observations: r.Observations, Risks: []RiskRef{{r.UUID}}}
	out.Props = []Prop{prop("owner", s.owner()), prop("status", r.Status)}
	out.Props = addProp(out.Props, "severity", s.severity)
	if !s.due.IsZero() {
		out.Props = append(out.Props, prop("due", DateTime(s.due)))
	}
	switch {
	case s.control != nil:
		out.Props = append(out.Props, prop("control", s.control.Id))
		out.Findings = []FindingRef{{d.uuid("finding", s.control.Id)}}
	case s.finding != nil:
		out.Props = append(out.Props, prop("finding", s.finding.ID), prop("entry", strconv.FormatUint(s.entry, 10)))
		out.Props = addProp(out.Props, "controls", strings.Join(s.finding.Newest().Controls, ", "))
	default:
		out.Props = append(out.Props, prop("exception", s.excepted.ID), prop("control", s.excepted.Control), prop("entry", strconv.FormatUint(s.entry, 10)))
	}
	return out
}

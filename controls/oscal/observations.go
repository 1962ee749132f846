package oscal

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/verifiers/intoto"
)

// observationUUID returns the UUID of the observation about an entry.
func (d *document) observationUUID(entry uint64) string {
	return d.uuid("observation", strconv.FormatUint(entry, 10))
}

// refs refers to the observations about entries.
func (d *document) refs(entries []uint64) (all []ObservationRef) {
	for _, e := range entries {
		if _, ok := d.known[e]; ok {
			all = append(all, ObservationRef{d.observationUUID(e)})
		}
	}
	return all
}

// observe returns the observations of the document, by their entries.
func (d *document) observe() map[uint64]Observation {
	known := map[uint64]Observation{}
	for i := range d.Evidence {
		e := &d.Evidence[i]
		known[e.Entry] = d.ofEvidence(e)
	}
	d.addDecisions(known)
	d.addReports(known)
	for i := range d.Exceptions {
		x := &d.Exceptions[i]
		known[x.Index] = Observation{Title: Line("Request for exception " + x.ID), Description: Lines("From control " + x.Control + "\n" + x.Reason), Methods: []string{"EXAMINE"}, Types: []string{"mitigation"},
			Props: []Prop{prop("kind", kindname.ExceptionRequest)}, Collected: DateTime(x.Request.Time)}
	}
	return known
}

// observations returns the observations about entries, in the order of their
// indexes. Those that are not wanted are left out; a nil map means all.
func (d *document) observations(wanted map[uint64]bool) (all []Observation) {
	for _, index := range slices.Sorted(maps.Keys(d.known)) {
		if wanted != nil && !wanted[index] {
			continue
		}
		o := d.known[index]
		o.UUID = d.observationUUID(index)
		o.Props = append([]Prop{prop("entry", strconv.FormatUint(index, 10))}, o.Props...)
		d.addFiles(&o, index)
		all = append(all, o)
	}
	return all
}

// addFiles adds what the bundle contains of an entry.
func (d *document) addFiles(o *Observation, entry uint64) {
	f := d.Files[entry]
	o.Links = d.links(entry)
	if f.Receipt != "" {
		o.Props = append(o.Props, prop("receipt", f.Receipt))
		o.Evidence = append(o.Evidence, Evidence{href(f.Receipt), fmt.Sprintf("The receipt that proves entry %d.", entry)})
	}
	if f.Payload != "" && !d.erased[entry] {
		o.Evidence = append(o.Evidence, Evidence{href(f.Payload), fmt.Sprintf("The document of entry %d.", entry)})
	}
}

func (d *document) subjects(artifacts []int) (all []Subject) {
	seen := map[string]bool{}
	for _, i := range artifacts {
		if id := d.artifactUUID(i); !seen[id] {
			seen[id] = true
			all = append(all, Subject{id, "component"})
		}
	}
	return all
}

// tests has the relations of evidence that a test has produced.
var tests = map[string]bool{string(intoto.TestedBy): true, string(intoto.ScannedBy): true}

func (d *document) ofEvidence(e *report.Evidence) Observation {
	h := e.Header
	o := Observation{Title: Line(e.Relation + " " + e.Summary()), Description: Lines(e.Summary()), Methods: []string{"EXAMINE"}, Types: []string{"control-objective"}, Subjects: d.subjects(e.Artifacts), Collected: DateTime(e.Time)}
	if tests[e.Relation] {
		o.Methods = []string{"TEST"}
	}
	o.Props = []Prop{prop("kind", h.Kind), prop("relation", e.Relation), prop("verification", h.Verification.Result), prop("submitter", h.Submitter)}
	o.Props = addProp(o.Props, "predicate-type", h.PredicateType)
	for _, s := range h.Signers {
		o.Props = addProp(o.Props, "signer", s.Name())
	}
	if h.NotAdmitted() {
		o.Props = append(o.Props, prop("admission", "recorded"))
	}
	if e.Erased {
		o.Props = append(o.Props, prop("erased", "true"))
	}
	return o
}

// addDecisions adds the decisions that gates have recorded.
func (d *document) addDecisions(known map[uint64]Observation) {
	for i := range d.Artifacts {
		for k := range d.Artifacts[i].Recorded {
			r := &d.Artifacts[i].Recorded[k]
			o, ok := known[r.Entry]
			if !ok || len(o.Types) == 0 || o.Types[0] != "historic" {
				text := fmt.Sprintf("A gate has decided: %s at stage %s", r.Decision, r.Place)
				o = Observation{Title: Line(text), Description: Line(text), Methods: []string{"TEST"}, Types: []string{"historic"}, Props: []Prop{prop("kind", kindname.GateDecision), prop("decision", string(r.Decision))}, Collected: DateTime(r.Time)}
			}
			o.Subjects = append(o.Subjects, d.subjects([]int{i})...)
			known[r.Entry] = o
		}
	}
}

// addReports adds the newest reports about findings.
func (d *document) addReports(known map[uint64]Observation) {
	for i := range d.Findings {
		f := &d.Findings[i]
		n := f.Newest()
		known[n.Index] = Observation{Title: Line("Report about finding " + f.ID), Description: Lines(f.Title + "\n" + f.Description), Methods: []string{"EXAMINE"}, Types: []string{"finding"},
			Props: []Prop{prop("kind", "finding"), prop("status", string(f.Status)), prop("submitter", n.By)}, Collected: DateTime(n.Time)}
	}
}

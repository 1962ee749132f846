package decide

import (
	"fmt"
	"testing"

	"muniment.dev/muniment/controls/evaluate"
)

// TestRequirementOutcomes checks which entries the results attribute to each
// requirement.
func TestRequirementOutcomes(t *testing.T) {
	// The name of one requirement begins with that of another.
	two := ctl("A", need("scan", scan, "scanner"), need("scans", testResult, "workflow"), need("vex", vex, "workflow", obj{"optional": true}))
	for _, c := range []testCase{
		{"entries of two requirements", func(w *world) {
			w.put(nil, two)
			w.attest(scan, scanOf(), app.Digest, byScanner)
			w.attest(testResult, obj{}, app.Digest, byWorkflow)
			w.attest(scan, scanOf(), app.Digest, byScanner)
			w.attest(scan, scanOf(), app.Digest, byMallory)
		}, nil, "[{scan true [2 4]} {scans true [3]} {vex true []}]"},
		{"one is not met", func(w *world) {
			w.put(nil, two)
			w.attest(scan, scanOf(), app.Digest, byScanner)
		}, nil, "[{scan true [2]} {scans false []} {vex true []}]"},
		{"too few signers", func(w *world) {
			w.put(nil, ctl("A", need("scan", scan, "scanner", obj{"minSigners": 2})))
			w.attest(scan, scanOf(), app.Digest, byScanner)
		}, nil, "[{scan false [2]}]"},
		{"an entry that two requirements select", func(w *world) {
			w.put(nil, ctl("A", need("one", scan, "scanner"), need("two", scan, "scanner")))
			w.attest(scan, scanOf(), app.Digest, byScanner)
		}, nil, "[{one true [2]} {two true [2]}]"},
		{"the requirements of an included control are not its own", func(w *world) {
			w.put(nil, obj{"id": "A", "includes": []string{"B"}}, with(two, obj{"id": "B"}))
		}, nil, "[]"},
		{"both platforms", func(w *world) {
			w.put(nil, two)
			w.attest(scan, scanOf(), sha("2"), byScanner)
			w.attest(scan, scanOf(), sha("3"), byScanner)
			w.attest(testResult, obj{}, sha("3"), byWorkflow)
		}, about(parts), "[{scan true [2 3]} {scans false [4]} {vex true []}]"},
		{"a control that does not apply", func(w *world) {
			w.put(nil, with(two, obj{"appliesTo": obj{"types": []string{"chart"}}}))
		}, nil, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{}
			c.build(w)
			q, a := c.question()
			if got := fmt.Sprint(w.ask(t, w.decider(), q, a).Results[0].Requirements); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestNoOutcomesOfPartialSelections checks that requirements whose evidence was
// not considered have no outcome.
func TestNoOutcomesOfPartialSelections(t *testing.T) {
	w := &world{}
	w.put(nil, needsProvenance)
	for range evaluate.MaxEvidence + 1 {
		w.attest(provenance, obj{}, app.Digest, byWorkflow)
	}
	r := w.ask(t, w.decider(), Question{Stage: "deploy"}, app).Results[0]
	if r.Code() != evaluate.TooMuchEvidence || r.Requirements != nil {
		t.Errorf("%s, with outcomes %v; want %s, without outcomes", r.Reason, r.Requirements, evaluate.TooMuchEvidence)
	}
}

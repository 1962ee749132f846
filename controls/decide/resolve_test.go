package decide

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

const resolutionsFile = "../../docs/spec/vectors/resolutions.json"

// A resolutionCase is a claim that entries resolve a finding. want has the
// controls that accept them, or the path of the refusal, written by hand from
// docs/spec/controls.md, section 5.
type resolutionCase struct {
	name  string
	build func(w *world, r *Resolution) // sets the evidence
	want  string
}

// aboutApp makes the finding one about the app.
func aboutApp(r *Resolution) { r.Subjects = []entry.Subject{{Name: "app", Digest: app.Digest}} }

// document appends a signed document without subjects.
func (w *world) document(predicateType string, by ...entry.Signer) uint64 {
	i := w.attest(predicateType, obj{}, app.Digest, by...)
	w.last().Subjects = nil
	return i
}

var resolutionCases = []resolutionCase{
	{"the control is satisfied for the artifact", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "A"},
	{"the control is not satisfied", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byMallory)}
	}, "refused: evidence"},
	{"satisfied, and another entry is linked", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
		r.Evidence = []uint64{w.attest(scan, scanOf(), app.Digest, byScanner)}
	}, "refused: evidence"},
	{"satisfied, and one linked entry of two is selected", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow), w.attest(scan, scanOf(), app.Digest, byScanner)}
	}, "refused: evidence"},
	{"the evidence is about another artifact", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), sha("b"), byWorkflow)}
	}, "refused: evidence"},
	{"one of two artifacts is not satisfied", func(w *world, r *Resolution) {
		r.Subjects = []entry.Subject{{Digest: app.Digest}, {Digest: sha("b")}}
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "refused: evidence"},
	{"one of two controls accepts", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = []string{"V", "A"}
		w.put(nil, needsProvenance, noneCritical)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "A"},
	{"both controls accept, in the order of the finding", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = []string{"B", "A"}
		w.put(nil, needsProvenance, with(needsProvenance, obj{"id": "B"}))
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "B A"},
	{"evidence of an included control", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, with(ctl("A", need("scan", scan, "scanner")), obj{"includes": []string{"P"}}), with(needsProvenance, obj{"id": "P"}))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "A"},
	{"the vulnerability is gone from the scan", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = []string{"V"}
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		vexed := w.attest(vex, vexOf("CVE-1/not_affected"), app.Digest, byWorkflow)
		r.Evidence = []uint64{vexed}
	}, "V"},
	{"the vulnerability is still in the scan", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = []string{"V"}
		w.put(nil, noneCritical)
		r.Evidence = []uint64{w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)}
	}, "refused: evidence"},
	{"an exception does not resolve", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, needsProvenance)
		x := w.request("E-1", "A", 10)
		w.decision("E-1", x, "approve", kim)
		r.Evidence = []uint64{x}
	}, "refused: evidence"},
	{"the mode and the types of the control do not matter", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"types": []string{"chart"}}, "condition": `subject.type == "chart" && subject.name == "app" && stage == "build" && environment == ""`, "modes": modes("build audit production", "deploy warn")}))
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "A"},
	{"several types are a file", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"types": []string{"chart", "image"}}, "condition": `subject.type == "file"`}))
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "A"},
	{"the condition does not see the finding itself", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, with(needsProvenance, obj{"condition": "size(findings) == 0"}))
		w.finding("aud-1", "high", "open", app.Digest, "A")
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "A"},
	{"the condition sees other findings", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, with(needsProvenance, obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "open", nil, "A")
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "refused: evidence"},
	{"the key was retired before", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = []string{"V"}
		w.put(nil, ctl("V", need("scan", scan, "scanner")))
		w.now = 2
		r.Evidence = []uint64{w.attest(scan, scanOf(), app.Digest, byScanner)}
		w.keyEvent("retired", byScanner, 1)
	}, "refused: evidence"},
	{"the evidence is too old", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, ctl("A", need("provenance", provenance, "workflow", obj{"maxAgeSeconds": "3600"})))
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
		w.now = 2
	}, "refused: evidence"},
	{"about a control, evidence about an artifact", func(w *world, r *Resolution) {
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), sha("c"), byWorkflow)}
	}, "A"},
	{"about a control, evidence about two artifacts, one of them satisfied", func(w *world, r *Resolution) {
		w.put(nil, ctl("A", need("provenance", provenance, "workflow"), need("scan", scan, "scanner")))
		w.attest(scan, scanOf(), sha("c"), byScanner)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), sha("b"), byWorkflow)}
		w.last().Subjects = []entry.Subject{{Digest: sha("b")}, {Digest: sha("c")}}
	}, "A"},
	{"about a control, evidence about an artifact that lacks other evidence", func(w *world, r *Resolution) {
		w.put(nil, ctl("A", need("provenance", provenance, "workflow"), need("scan", scan, "scanner")))
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), sha("b"), byWorkflow)}
	}, "refused: evidence"},
	{"about a control, evidence without subjects", func(w *world, r *Resolution) {
		w.put(nil, with(ctl("A", need("policy", "https://acme.example/policy", "person")), obj{"condition": "size(subject.digest) == 0 && size(evidence) == 1"}))
		w.document("https://acme.example/policy", entry.Signer{Identity: "dana@acme.example", Issuer: "https://idp.example"})
		r.Evidence = []uint64{w.document("https://acme.example/policy", entry.Signer{Identity: "dana@acme.example", Issuer: "https://idp.example"})}
	}, "A"},
	{"about a control, a document by someone else", func(w *world, r *Resolution) {
		w.put(nil, ctl("A", need("policy", "https://acme.example/policy", "person")))
		r.Evidence = []uint64{w.document("https://acme.example/policy", byMallory)}
	}, "refused: evidence"},
	{"about a control, a document and evidence about an artifact", func(w *world, r *Resolution) {
		w.put(nil, ctl("A", need("policy", "https://acme.example/policy", "person")))
		dana := entry.Signer{Identity: "dana@acme.example", Issuer: "https://idp.example"}
		r.Evidence = []uint64{w.document("https://acme.example/policy", dana), w.attest("https://acme.example/policy", obj{}, sha("b"), dana)}
	}, "A"},
	{"a document does not count for an artifact", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, ctl("A", need("policy", "https://acme.example/policy", "person")))
		r.Evidence = []uint64{w.document("https://acme.example/policy", entry.Signer{Identity: "dana@acme.example", Issuer: "https://idp.example"})}
	}, "refused: evidence"},
	{"no control set", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "refused: evidence"},
	{"the control is not in the set", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = []string{"Z"}
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
	}, "refused: evidence"},
	{"a control set that cannot be read", func(w *world, r *Resolution) {
		aboutApp(r)
		set := w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
		w.erase(set, false)
	}, "refused: evidence"},
	{"no controls, evidence about the artifact", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = nil
		r.Evidence = []uint64{w.attest("https://acme.example/fix", obj{}, app.Digest)}
	}, ""},
	{"no controls, evidence about another artifact", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = nil
		r.Evidence = []uint64{w.attest("https://acme.example/fix", obj{}, sha("b"))}
	}, "refused: evidence[0]"},
	{"no controls, evidence that was not admitted", func(w *world, r *Resolution) {
		aboutApp(r)
		r.Controls = nil
		r.Evidence = []uint64{w.attest("https://acme.example/fix", obj{}, app.Digest)}
		w.last().Admission = &entry.Admission{Result: entry.Recorded}
	}, "refused: evidence[0]"},
	{"an entry that does not exist", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow), 99}
	}, "refused: evidence[1]"},
	{"an erased entry", func(w *world, r *Resolution) {
		aboutApp(r)
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)}
		w.erase(r.Evidence[0], true)
	}, "refused: evidence[0]"},
	{"evidence about too many artifacts", func(w *world, r *Resolution) {
		w.put(nil, needsProvenance)
		r.Evidence = []uint64{w.attest(provenance, buildOf("b"), app.Digest, byMallory)}
		for i := range 70 {
			w.last().Subjects = append(w.last().Subjects, entry.Subject{Digest: map[string]string{"sha256": strings.Repeat("0", 62) + string("0123456789"[i/10]) + string("0123456789"[i%10])}})
		}
	}, "refused: evidence"},
}

// resolve examines a case.
func (c *resolutionCase) resolve(t *testing.T) (*world, *Resolution, string) {
	t.Helper()
	w, r := &world{}, &Resolution{Finding: "AUD-1", Controls: []string{"A"}}
	c.build(w, r)
	accepted, err := w.decider().Resolve(context.Background(), "acme", stream, r)
	refusal := &UnresolvedError{}
	switch {
	case errors.As(err, &refusal):
		return w, r, "refused: " + refusal.Path
	case err != nil:
		t.Fatal(err)
	}
	return w, r, strings.Join(accepted, " ")
}

func TestResolve(t *testing.T) {
	for i := range resolutionCases {
		c := &resolutionCases[i]
		t.Run(c.name, func(t *testing.T) {
			if _, _, got := c.resolve(t); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A resolutionVector is a case of the file.
type resolutionVector struct {
	Name    string        `json:"name"`
	Entries []vectorEntry `json:"entries"`
	Size    uint64        `json:"size"`
	Time    string        `json:"time"`
	Finding obj           `json:"finding"`
	// Accepted is whether the evidence is accepted.
	Accepted   bool     `json:"accepted"`
	AcceptedBy []string `json:"acceptedBy,omitempty"`
}

func resolutionVectorOf(t *testing.T, name string, w *world, r *Resolution, answer string) *resolutionVector {
	t.Helper()
	v := &resolutionVector{Name: name, Entries: []vectorEntry{}, Size: w.Published().Size, Time: written(w.decider().Now()),
		Finding: obj{"id": r.Finding, "evidence": r.Evidence}, Accepted: !strings.HasPrefix(answer, "refused"), AcceptedBy: strings.Fields(answer)}
	if !v.Accepted {
		v.AcceptedBy = nil
	}
	if len(r.Subjects) > 0 {
		v.Finding["subjects"] = r.Subjects
	}
	if len(r.Controls) > 0 {
		v.Finding["controls"] = r.Controls
	}
	for _, e := range w.entries {
		v.Entries = append(v.Entries, vectorEntryOf(t, w, e))
	}
	return v
}

// TestResolutionVectors checks that the file has the cases of TestResolve.
func TestResolutionVectors(t *testing.T) {
	var want bytes.Buffer
	out := json.NewEncoder(&want)
	out.SetEscapeHTML(false)
	separator := "{\"cases\":[\n"
	for i := range resolutionCases {
		w, r, got := resolutionCases[i].resolve(t)
		want.WriteString(separator)
		if err := out.Encode(resolutionVectorOf(t, resolutionCases[i].name, w, r, got)); err != nil {
			t.Fatal(err)
		}
		separator = ","
	}
	want.WriteString("]}\n")
	if *update {
		if err := os.WriteFile(resolutionsFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(resolutionsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("the file has other cases: run go test ./controls/decide -run TestResolutionVectors -update, and check the difference")
	}
}

// TestResolutionReasons checks that a refusal names what is missing.
func TestResolutionReasons(t *testing.T) {
	w := &world{}
	w.put(nil, needsProvenance)
	fix := w.attest("https://acme.example/fix", obj{}, app.Digest)
	_, err := w.decider().Resolve(context.Background(), "acme", stream, &Resolution{Finding: "AUD-1", Controls: []string{"A", "Z"}, Evidence: []uint64{fix}, Subjects: []entry.Subject{{Name: "app", Digest: app.Digest}}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"control A: provenance: needs attestation of type " + provenance + " from workflow; found none (app)", "control Z: it is not in the control set in force"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v\nlacks %s", err, part)
		}
	}
}

package decide

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/facts"
)

var update = flag.Bool("update", false, "write docs/spec/vectors/decisions.json")

const vectorsFile = "../../docs/spec/vectors/decisions.json"

// maxVectorEntries is the largest number of entries of a case in the file.
const maxVectorEntries = 100

// A vector is a case of the file. Times are in RFC 3339 with milliseconds.
type vector struct {
	Name        string         `json:"name"`
	Entries     []vectorEntry  `json:"entries"`
	Size        uint64         `json:"size"`
	Time        string         `json:"time"`
	Subject     vectorSubject  `json:"subject"`
	Parts       []vectorPart   `json:"parts,omitempty"`
	Stage       string         `json:"stage"`
	Environment string         `json:"environment,omitempty"`
	Decision    vectorDecision `json:"decision"`
}

type vectorSubject struct {
	Type   string            `json:"type"`
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

type vectorPart struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// A vectorEntry is an entry of the stream. An erased header is absent. The
// payload is present for control sets and controls, of which it is read.
type vectorEntry struct {
	Index   uint64          `json:"index"`
	Time    string          `json:"time"`
	Header  json.RawMessage `json:"header,omitempty"`
	Payload *string         `json:"payload,omitempty"`
	Erased  bool            `json:"payloadErased,omitempty"`
	Facts   *facts.Facts    `json:"facts,omitempty"`
}

type vectorDecision struct {
	Decision   string         `json:"decision"`
	Reason     string         `json:"reason,omitempty"`
	Results    []vectorResult `json:"results,omitempty"`
	TreeSize   uint64         `json:"treeSize"`
	Decided    string         `json:"decided"`
	ControlSet string         `json:"controlSet,omitempty"`
	Inputs     string         `json:"inputs"`
	ValidUntil string         `json:"validUntil"`
}

// A vectorResult has the code of the reason, and of each line of missing the
// names of the part and the requirement.
type vectorResult struct {
	Control    string            `json:"control"`
	Mode       string            `json:"mode"`
	Result     string            `json:"result"`
	Reason     string            `json:"reason"`
	Missing    []string          `json:"missing,omitempty"`
	Entries    []uint64          `json:"entries,omitempty"`
	Exceptions []vectorException `json:"exceptions,omitempty"`
}

type vectorException struct {
	ID      string `json:"id"`
	Index   uint64 `json:"index"`
	Expires string `json:"expires"`
}

func written(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// vectorOf returns the case of the file.
func vectorOf(t *testing.T, c *testCase) vector {
	t.Helper()
	w := &world{}
	c.build(w)
	q, a := c.question()
	d := w.ask(t, w.decider(), q, a)
	v := vector{Name: c.name, Entries: []vectorEntry{}, Size: d.Size, Time: written(d.Decided), Stage: q.Stage, Environment: q.Environment,
		Subject: vectorSubject{a.Type, a.Name, a.Digest}, Decision: vectorDecisionOf(d)}
	for _, p := range a.Parts {
		v.Parts = append(v.Parts, vectorPart(p))
	}
	for _, e := range w.entries {
		v.Entries = append(v.Entries, vectorEntryOf(t, w, e))
	}
	return v
}

func vectorEntryOf(t *testing.T, w *world, e *worldEntry) vectorEntry {
	t.Helper()
	v := vectorEntry{Index: e.Index, Time: written(timeOf(&e.Entry))}
	v.Erased = e.payload == nil
	if e.Header == nil {
		return v
	}
	if k := e.Header.Kind; e.payload != nil && (k == kindname.Control || k == kindname.ControlSet) {
		text := string(e.payload)
		v.Payload = &text
	}
	v.Header = headerOf(e.Header)
	f, err := payloadFacts{w}.FactsOf(context.Background(), stream, &e.Entry)
	if err != nil && !errors.Is(err, ledger.ErrErased) {
		t.Fatal(err)
	}
	v.Facts = f
	return v
}

// headerOf returns the members of a header that decisions depend on, by their
// names in entry.md.
func headerOf(h *entry.Header) json.RawMessage {
	m := obj{"kind": h.Kind, "submitter": h.Submitter, "verification": obj{"result": h.Verification.Result}}
	for name, v := range map[string]string{"predicateType": h.PredicateType} {
		if v != "" {
			m[name] = v
		}
	}
	if len(h.Subjects) > 0 {
		m["subjects"] = h.Subjects
	}
	if len(h.Signers) > 0 {
		m["signers"] = h.Signers
	}
	if len(h.Controls) > 0 {
		m["controls"] = h.Controls
	}
	if len(h.Attributes) > 0 {
		m["attributes"] = h.Attributes
	}
	if h.Admission != nil {
		m["admission"] = obj{"result": h.Admission.Result}
	}
	return json.RawMessage(text(m))
}

func vectorDecisionOf(d *evaluate.Decision) vectorDecision {
	v := vectorDecision{Decision: string(d.Decision), Reason: codeOf(d.Reason), TreeSize: d.Size, Decided: written(d.Decided), ControlSet: d.ControlSet, Inputs: d.Inputs, ValidUntil: written(d.ValidUntil)}
	for i := range d.Results {
		r := &d.Results[i]
		one := vectorResult{Control: r.Control, Mode: string(r.Mode), Result: r.Result, Reason: r.Code(), Missing: missing(r), Entries: r.Entries}
		for _, x := range r.Exceptions {
			one.Exceptions = append(one.Exceptions, vectorException{x.ID, x.Index, written(x.Expires)})
		}
		v.Results = append(v.Results, one)
	}
	return v
}

func codeOf(reason string) string {
	r := evaluate.Result{Reason: reason}
	return r.Code()
}

// TestVectors checks that the file has the cases of TestCases, with the
// decisions about them.
func TestVectors(t *testing.T) {
	soak.WithoutRace(t)
	var all []vector
	for i := range cases {
		w := &world{}
		if cases[i].build(w); len(w.entries) <= maxVectorEntries {
			all = append(all, vectorOf(t, &cases[i]))
		}
	}
	if len(all) < 100 {
		t.Errorf("%d cases, want at least 100", len(all))
	}
	var want bytes.Buffer
	out := json.NewEncoder(&want)
	out.SetEscapeHTML(false)
	separator := "{\"cases\":[\n"
	for i := range all { // a line each
		want.WriteString(separator)
		if err := out.Encode(&all[i]); err != nil {
			t.Fatal(err)
		}
		separator = ","
	}
	want.WriteString("]}\n")
	if *update {
		if err := os.WriteFile(vectorsFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		at := 0
		for at < min(len(got), want.Len()) && got[at] == want.Bytes()[at] {
			at++
		}
		t.Errorf("the file differs at byte %d: …%.300s\nwant …%.300s\nRun go test ./controls/decide -run TestVectors -update, and check the difference.", at, got[max(0, at-100):], want.Bytes()[max(0, at-100):])
	}
}

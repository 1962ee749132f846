package decide

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"testing"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// With these flags TestCompared decides the cases of another evaluator
// (.ci/decisions).
var (
	comparedCases    = flag.String("cases", "", "file with cases to decide, one a line")
	comparedOutcomes = flag.String("outcomes", "", "file to write their decisions to, one a line")
)

// comparedHeader has the members of headers that decisions depend on.
type comparedHeader struct {
	Kind          string            `json:"kind"`
	Submitter     string            `json:"submitter"`
	MediaType     string            `json:"mediaType"`
	PredicateType string            `json:"predicateType"`
	Subjects      []entry.Subject   `json:"subjects"`
	Signers       []entry.Signer    `json:"signers"`
	Controls      []string          `json:"controls"`
	Attributes    map[string]string `json:"attributes"`
	Verification  struct {
		Result string `json:"result"`
	} `json:"verification"`
	Admission *struct {
		Result string `json:"result"`
	} `json:"admission"`
}

func (h *comparedHeader) header() *entry.Header {
	if h.PredicateType != "" && h.MediaType == "" {
		h.MediaType = "application/vnd.in-toto+json"
	}
	e := &entry.Header{Kind: h.Kind, Submitter: h.Submitter, MediaType: h.MediaType, PredicateType: h.PredicateType, Subjects: h.Subjects, Signers: h.Signers, Controls: h.Controls, Attributes: h.Attributes}
	e.Verification.Result = h.Verification.Result
	if h.Admission != nil {
		e.Admission = &entry.Admission{Result: h.Admission.Result}
	}
	return e
}

// worldOf returns the stream of a case whose entries have their payloads.
func worldOf(v *vector) (*world, error) {
	w := &world{size: v.Size}
	for _, e := range v.Entries {
		at, err := time.Parse(time.RFC3339, e.Time)
		if err != nil {
			return nil, err
		}
		one := &worldEntry{Entry: ledger.Entry{Index: e.Index, Skeleton: entry.Skeleton{Time: uint64(at.UnixMilli())}}}
		if e.Header != nil {
			var h comparedHeader
			if err := json.Unmarshal(e.Header, &h); err != nil {
				return nil, err
			}
			one.Header = h.header()
		}
		if !e.Erased {
			one.payload = []byte("{}")
		}
		if e.Payload != nil {
			one.payload = []byte(*e.Payload)
		}
		w.entries = append(w.entries, one)
	}
	return w, nil
}

// decideVector returns the decision about a case. If entries follow its size,
// the past is decided.
func decideVector(t *testing.T, v *vector) vectorDecision {
	t.Helper()
	w, err := worldOf(v)
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	at, err := time.Parse(time.RFC3339, v.Time)
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	w.now = at.Sub(day0).Hours()
	q := Question{Stage: v.Stage, Environment: v.Environment}
	if n := len(w.entries); n > 0 && w.entries[n-1].Index >= v.Size {
		q.At.Size = v.Size
	}
	a := Artifact{Subject: evaluate.Subject(v.Subject)}
	for _, p := range v.Parts {
		a.Parts = append(a.Parts, evaluate.Part(p))
	}
	d := w.decider()
	d.Now = func() time.Time { return at }
	return vectorDecisionOf(w.ask(t, d, q, a))
}

// TestCompared checks that decisions about cases that were written as JSON are
// the same. With the flags, it decides the cases of a file.
func TestCompared(t *testing.T) {
	soak.WithoutRace(t)
	if *comparedCases != "" {
		decideFile(t)
		return
	}
	for i := range cases {
		c := &cases[i]
		w := &world{}
		if c.build(w); len(w.entries) > maxVectorEntries {
			continue
		}
		written := vectorOf(t, c)
		for j, e := range w.entries {
			if text := string(e.payload); e.payload != nil {
				written.Entries[j].Payload = &text
			}
			written.Entries[j].Facts = nil
		}
		var read vector
		if err := json.Unmarshal([]byte(text(written)), &read); err != nil {
			t.Fatal(err)
		}
		if got, want := text(decideVector(t, &read)), text(written.Decision); got != want {
			t.Errorf("%s: got  %s\nwant %s", c.name, got, want)
		}
	}
}

func decideFile(t *testing.T) {
	answerFile(t, func(v *vector) any { return decideVector(t, v) })
}

// answerFile writes the answers to the cases of a file.
func answerFile[Case any](t *testing.T, answer func(*Case) any) {
	in, err := os.Open(*comparedCases)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(*comparedOutcomes)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	lines, decoder := bufio.NewWriter(out), json.NewDecoder(bufio.NewReader(in))
	for {
		var v Case
		if err := decoder.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(text(answer(&v)) + "\n")
	}
	if err := lines.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A resolved is the answer to a claim, as resolutions.json has it.
type resolved struct {
	Accepted   bool     `json:"accepted"`
	AcceptedBy []string `json:"acceptedBy,omitempty"`
}

// resolveVector examines the claim of a case.
func resolveVector(t *testing.T, v *resolutionVector) resolved {
	t.Helper()
	w, err := worldOf(&vector{Entries: v.Entries, Size: v.Size})
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	at, err := time.Parse(time.RFC3339, v.Time)
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	var of struct {
		ID       string          `json:"id"`
		Subjects []entry.Subject `json:"subjects"`
		Controls []string        `json:"controls"`
		Evidence []uint64        `json:"evidence"`
	}
	if err := json.Unmarshal([]byte(text(v.Finding)), &of); err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	d := w.decider()
	d.Now = func() time.Time { return at }
	accepted, err := d.Resolve(t.Context(), "acme", stream, &Resolution{Finding: of.ID, Subjects: of.Subjects, Controls: of.Controls, Evidence: of.Evidence})
	if errors.As(err, new(*UnresolvedError)) {
		return resolved{}
	}
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	return resolved{true, accepted}
}

// TestResolutionsCompared is TestCompared for resolutions.
func TestResolutionsCompared(t *testing.T) {
	if *comparedCases != "" {
		answerFile(t, func(v *resolutionVector) any { return resolveVector(t, v) })
		return
	}
	for i := range resolutionCases {
		w, r, answer := resolutionCases[i].resolve(t)
		written := resolutionVectorOf(t, resolutionCases[i].name, w, r, answer)
		for j, e := range w.entries {
			if text := string(e.payload); e.payload != nil {
				written.Entries[j].Payload = &text
			}
			written.Entries[j].Facts = nil
		}
		var read resolutionVector
		if err := json.Unmarshal([]byte(text(written)), &read); err != nil {
			t.Fatal(err)
		}
		if got, want := text(resolveVector(t, &read)), text(resolved{written.Accepted, written.AcceptedBy}); got != want {
			t.Errorf("%s: got  %s\nwant %s", read.Name, got, want)
		}
	}
}

package facts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/intoto"
)

var update = flag.Bool("update", false, "write the expected values of the vectors")

const vectorsFile = "../../docs/spec/vectors/facts.json"

// vectors is the file of vectors.
type vectors struct {
	Facts      []*factsVector `json:"facts"`
	PURLs      []*purlVector  `json:"purls"`
	Unresolved []*joinVector  `json:"unresolved"`
}

// A vectorEntry is an entry: members of its header, and the document that its
// facts are read from.
type vectorEntry struct {
	Kind          string `json:"kind,omitempty"` // attestation if empty
	MediaType     string `json:"mediaType,omitempty"`
	PredicateType string `json:"predicateType,omitempty"`
	Document      string `json:"document"`
}

type factsVector struct {
	Name string `json:"name"`
	vectorEntry
	Facts json.RawMessage `json:"facts"` // null: the entry has no facts
}

type purlVector struct {
	PURL      string  `json:"purl"`
	Canonical *string `json:"canonical"` // null: not a package URL
}

type joinVector struct {
	Name    string `json:"name"`
	Subject struct {
		Digests map[string]string `json:"digests"`
		PURLs   []string          `json:"purls,omitempty"`
	} `json:"subject"`
	Scans []joinEntry `json:"scans"`
	VEX   []joinEntry `json:"vex"`
	// Unresolved is null if the result is undecided.
	Unresolved []unresolvedVector `json:"unresolved"`
}

type joinEntry struct {
	Index    uint64          `json:"index"`
	Time     string          `json:"time"`
	Subjects []entry.Subject `json:"subjects"`
	vectorEntry
}

type unresolvedVector struct {
	ID      string  `json:"id"`
	Package Package `json:"package"`
	Scan    uint64  `json:"scan"` // index of the entry
	// index of the entry with the statement that counts
	VEX       *uint64 `json:"vex,omitempty"`
	Statement *Status `json:"statement,omitempty"` // its status
}

// facts returns the facts of the entry.
func (e *vectorEntry) facts(t *testing.T) *Facts {
	t.Helper()
	h := &entry.Header{Kind: e.Kind, MediaType: e.MediaType, PredicateType: e.PredicateType, Payload: entry.PayloadRef{Size: uint64(len(e.Document))}}
	if h.Kind == "" {
		h.Kind = "attestation"
	}
	var s *intoto.Statement
	if h.PredicateType != "" {
		s = &intoto.Statement{PredicateType: h.PredicateType, Predicate: []byte(e.Document)}
	}
	step := func(ctx context.Context, _ int) error { return ctx.Err() }
	f, err := Extract(t.Context(), step, h, s, []byte(e.Document))
	if err != nil {
		t.Fatal(err)
	}
	if (f != nil) != Expected(h) {
		t.Errorf("Expected returned %t", Expected(h))
	}
	return f
}

func indent(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestVectors(t *testing.T) {
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for _, v := range all.Facts {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
	for _, v := range all.PURLs {
		got, ok := CanonicalPURL(v.PURL)
		if *update {
			if v.Canonical = nil; ok {
				v.Canonical = &got
			}
		} else if ok != (v.Canonical != nil) || ok && got != *v.Canonical {
			t.Errorf("%s: got %q, %t", v.PURL, got, ok)
		}
		if again, _ := CanonicalPURL(got); ok && again != got {
			t.Errorf("%s: %q becomes %q", v.PURL, got, again)
		}
	}
	for _, v := range all.Unresolved {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
	if *update {
		if err := os.WriteFile(vectorsFile, indent(t, all), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (v *factsVector) check(t *testing.T) {
	f := v.facts(t)
	got := indent(t, f)
	if *update {
		v.Facts = got
		return
	}
	var want bytes.Buffer
	if err := json.Indent(&want, v.Facts, "", "  "); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(got), want.Bytes()) {
		t.Errorf("got\n%s\nwant\n%s", got, want.Bytes())
	}
	if f == nil {
		return
	}
	again, err := Decode(f.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if decoded := indent(t, again); !bytes.Equal(decoded, got) {
		t.Errorf("decoded\n%s\nwant\n%s", decoded, got)
	}
}

func (e *joinEntry) evidence(t *testing.T) *Evidence {
	t.Helper()
	var time Time
	r := newReader(t.Context(), nil, indent(t, e.Time), "", &Facts{})
	if err := r.time(&time); err != nil {
		t.Fatal(err)
	}
	return &Evidence{Index: e.Index, Time: uint64(time), Subjects: e.Subjects, Facts: e.facts(t)}
}

func (v *joinVector) check(t *testing.T) {
	var scans, vex []*Evidence
	for i := range v.Scans {
		scans = append(scans, v.Scans[i].evidence(t))
	}
	for i := range v.VEX {
		vex = append(vex, v.VEX[i].evidence(t))
	}
	findings, err := Unresolved(Subject{Digests: v.Subject.Digests, PURLs: v.Subject.PURLs}, scans, vex)
	if err != nil && !errors.Is(err, ErrUndecided) {
		t.Fatal(err)
	}
	var got []unresolvedVector
	if err == nil {
		got = []unresolvedVector{}
	}
	for _, f := range findings {
		one := unresolvedVector{ID: f.ID, Package: f.Package, Scan: f.Scan.Index}
		if f.VEX != nil {
			one.VEX, one.Statement = &f.VEX.Index, &f.Statement.Status
		}
		got = append(got, one)
	}
	if *update {
		v.Unresolved = got
		return
	}
	if g, w := indent(t, got), indent(t, v.Unresolved); !bytes.Equal(g, w) {
		t.Errorf("got (error %v)\n%s\nwant\n%s", err, g, w)
	}
}

package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const provenance = "https://slsa.dev/provenance/v1"

// A fakeSource has entries in memory and filters them by subject and material.
type fakeSource struct {
	entries []*munimentv1.Entry
	err     error
}

func (s *fakeSource) Entries(_ context.Context, f *munimentv1.Filter, limit int) (out []*munimentv1.Entry, more bool, err error) {
	for _, e := range s.entries {
		if f.Subject != "" && !hasDigest(e.Subjects, f.Subject) || f.Material != "" && !hasDigest(e.Materials, f.Material) {
			continue
		}
		if len(out) == limit {
			return out, true, s.err
		}
		out = append(out, e)
	}
	return out, false, s.err
}

func hasDigest(all []*munimentv1.Subject, digest string) bool {
	for _, s := range all {
		for alg, v := range s.Digest {
			if alg+":"+v == digest {
				return true
			}
		}
	}
	return false
}

// add appends an entry about an artifact that was made from the materials.
func (s *fakeSource) add(kind, predicateType string, subject *munimentv1.Subject, materials ...*munimentv1.Subject) *munimentv1.Entry {
	e := &munimentv1.Entry{Index: uint64(len(s.entries)), Kind: kind, PredicateType: predicateType, MediaType: "application/json", Submitter: "token:acme",
		Time: timestamppb.New(time.UnixMilli(1_750_000_000_120)), Verification: entry.Unverified, Subjects: []*munimentv1.Subject{subject}, Materials: materials}
	s.entries = append(s.entries, e)
	return e
}

// subject returns an artifact whose SHA-256 consists of the number's digits.
func subject(name string, n int) *munimentv1.Subject {
	return &munimentv1.Subject{Name: name, Digest: map[string]string{"sha256": fmt.Sprintf("%064d", n)}}
}

func digestOf(t *testing.T, s *munimentv1.Subject) entry.Digest {
	t.Helper()
	d, err := entry.ParseDigest("sha256:" + s.Digest["sha256"])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// outline returns the shape of a tree: names, relations and children.
func outline(n *Artifact) string {
	parts := []string{strings.Join(n.Names, "+")}
	for i := range n.Evidence {
		parts = append(parts, fmt.Sprintf("%s:%d", n.Evidence[i].Relation, n.Evidence[i].Index))
	}
	for _, c := range n.PackagedIn {
		parts = append(parts, "in("+outline(c)+")")
	}
	for _, c := range n.MadeFrom {
		parts = append(parts, "from("+outline(c)+")")
	}
	if n.Repeated {
		parts = append(parts, "repeated")
	}
	return strings.Join(parts, " ")
}

// TestTrace follows an image up to the chart that contains it, and down to the
// source that it was built from.
func TestTrace(t *testing.T) {
	source, image, chart, release := subject("git", 1), subject("image", 2), subject("chart", 3), subject("release", 4)
	src := &fakeSource{}
	src.add(kindname.Finding, "", image)
	src.add(kindname.Attestation, provenance, image, source)
	src.add(kindname.Attestation, provenance, chart, subject("oci://image", 2))
	// not what it was made from
	src.add(kindname.Attestation, "https://spdx.dev/Document/v2.3", image, subject("openssl", 9))
	src.add(kindname.Attestation, provenance, release, chart)
	src.add(kindname.Attestation, "https://slsa.dev/provenance/v1", source, image) // a cycle
	for _, c := range []struct {
		root  *munimentv1.Subject
		depth int
		want  string
	}{
		{image, 0, "image built-by:1 described-by:3 found-by:0"},
		{image, 1, "image built-by:1 described-by:3 found-by:0 in(chart built-by:2) in(git built-by:5) from(git repeated)"},
		{image, 2, "image built-by:1 described-by:3 found-by:0 in(chart built-by:2 in(release built-by:4)) in(git built-by:5 in(image repeated)) from(git repeated)"},
		{release, 2, "release built-by:4 from(chart built-by:2 from(image+oci://image built-by:1 described-by:3 found-by:0))"},
		{subject("unknown", 7), 1, ""},
	} {
		tree, err := Trace(context.Background(), src, digestOf(t, c.root), c.depth)
		if err != nil {
			t.Fatal(err)
		}
		if got := outline(tree.Root); got != c.want {
			t.Errorf("%s, depth %d:\n got %s\nwant %s", c.root.Name, c.depth, got, c.want)
		}
		if tree.Truncated || tree.Found() != (c.want != "") {
			t.Errorf("%s, depth %d: truncated %v, found %v", c.root.Name, c.depth, tree.Truncated, tree.Found())
		}
	}
}

// TestTraceBounds checks the limits on entries, artifacts and depth.
func TestTraceBounds(t *testing.T) {
	root := subject("root", 0)
	many := &fakeSource{}
	for range MaxEntries + 1 {
		many.add(kindname.Finding, "", root)
	}
	tree, err := Trace(context.Background(), many, digestOf(t, root), 1)
	if err != nil || !tree.Truncated || len(tree.Root.Evidence) != MaxEntries {
		t.Errorf("many entries: %d, truncated %v, %v", len(tree.Root.Evidence), tree.Truncated, err)
	}
	wide := &fakeSource{}
	var materials []*munimentv1.Subject
	for i := range MaxArtifacts {
		materials = append(materials, subject("", i+1))
	}
	wide.add(kindname.Attestation, provenance, root, materials...)
	tree, err = Trace(context.Background(), wide, digestOf(t, root), 1)
	if err != nil || !tree.Truncated || len(tree.Root.MadeFrom) != MaxArtifacts {
		t.Errorf("many artifacts: %d, truncated %v, %v", len(tree.Root.MadeFrom), tree.Truncated, err)
	}
	for _, depth := range []int{-1, MaxDepth + 1} {
		if _, err := Trace(context.Background(), wide, digestOf(t, root), depth); err == nil {
			t.Errorf("depth %d is accepted", depth)
		}
	}
	failure := errors.New("unavailable")
	if _, err := Trace(context.Background(), &fakeSource{err: failure}, digestOf(t, root), 1); !errors.Is(err, failure) {
		t.Errorf("a failing source: %v", err)
	}
}

// TestEvidence checks the summary, expiry and JSON form of evidence.
func TestEvidence(t *testing.T) {
	src := &fakeSource{}
	e := src.add(kindname.ExceptionRequest, "", subject("image", 1))
	e.Controls = []string{"C-1"}
	e.Attributes = map[string]string{"exception": "E-1", "expires": "2026-06-01T00:00:00Z"}
	x := NewEvidence(e)
	if got, want := x.Summary(), "exception E-1 from C-1, requested until 2026-06-01"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
	end := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	if x.Expired(end.Add(-time.Second)) || !x.Expired(end) {
		t.Error("a request expires at another time than its expiry")
	}
	signed := src.add(kindname.Attestation, provenance, subject("image", 1))
	signed.Signers = []*munimentv1.Signer{{Identity: "a"}, {KeyId: "b"}}
	s := NewEvidence(signed)
	if got, want := s.Summary(), "a and b, "+provenance; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
	if s.Expired(end) {
		t.Error("an attestation has expired")
	}
	text, err := json.Marshal(s)
	if want := `{"category":"built-by","index":1,"time":"2025-06-15T15:06:40.120Z","kind":"attestation",`; err != nil || !strings.HasPrefix(string(text), want) {
		t.Errorf("%s, %v", text, err)
	}
}

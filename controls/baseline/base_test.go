package baseline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/oci"
)

func sha(c string) string { return prefix + strings.Repeat(c, 64) }

// imageOf returns an image with layers, each named by a character.
func imageOf(digest, layers string) *oci.Image {
	i := &oci.Image{Artifact: &oci.Artifact{Digest: sha(digest)}, Annotations: map[string]string{}, Labels: map[string]string{}}
	for _, l := range layers {
		i.DiffIDs = append(i.DiffIDs, sha(string(l)))
	}
	return i
}

func candidate(reference, digest, layers string) *Candidate {
	return &Candidate{Image: imageOf(digest, layers), Reference: reference}
}

// TestBase checks what is known from each combination of sources.
func TestBase(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	file := &File{Images: []*Image{
		{Reference: "r/a:1", Digest: sha("a")},
		{Reference: "r/b:1", Digest: sha("b")},
		{Reference: "r/old:1", Digest: sha("e"), Vetted: &Vetted{Expires: now}},
	}}
	a, b, old := candidate("r/a:1", "a", "1"), candidate("r/b:1", "b", "12"), candidate("r/old:1", "e", "9")
	indexed := candidate("r/a:1", "f", "1")
	indexed.Index = sha("a")
	annotate := func(i *oci.Image, digest string) *oci.Image {
		i.Annotations[AnnotationBaseDigest] = digest
		return i
	}
	label := func(i *oci.Image, digest string) *oci.Image {
		i.Labels[AnnotationBaseDigest] = digest
		return i
	}
	material := func(digests ...string) (all []Material) {
		for _, d := range digests {
			all = append(all, Material{URI: "pkg:docker/x@1", Digest: sha(d)})
		}
		return all
	}
	inherits := candidate("r/b:1", "b", "12")
	label(inherits.Image, sha("a"))
	for name, c := range map[string]struct {
		image      *oci.Image
		candidates []*Candidate
		materials  []Material
		result     string
		base       string
		allowed    string
		reason     string
	}{
		"longest prefix":                   {imageOf("c", "123"), []*Candidate{a, b}, nil, Known, "b", "yes", ""},
		"shorter prefix":                   {imageOf("c", "13"), []*Candidate{a, b}, nil, Known, "a", "yes", ""},
		"same layers":                      {imageOf("c", "12"), []*Candidate{a, b}, nil, Known, "b", "yes", ""},
		"the base itself":                  {imageOf("a", "1"), []*Candidate{a, b}, nil, Undecided, "", "?", ""},
		"no prefix":                        {imageOf("c", "23"), []*Candidate{a, b}, nil, Undecided, "", "?", "no base image that is known"},
		"squashed":                         {imageOf("c", "7"), []*Candidate{a, b}, nil, Undecided, "", "?", "squashed"},
		"no layers":                        {imageOf("c", ""), []*Candidate{a, candidate("r/b:1", "b", "")}, nil, Undecided, "", "?", ""},
		"annotation only":                  {annotate(imageOf("c", "7"), sha("a")), []*Candidate{a}, nil, Undecided, "", "?", "anybody can set"},
		"annotation agrees":                {annotate(imageOf("c", "123"), sha("b")), []*Candidate{a, b}, nil, Known, "b", "yes", ""},
		"annotation names the index":       {annotate(imageOf("c", "12"), sha("a")), []*Candidate{indexed}, nil, Known, "f", "yes", ""},
		"annotation contradicts":           {annotate(imageOf("c", "123"), sha("a")), []*Candidate{a, b}, nil, Conflict, "", "?", "the annotation names"},
		"malformed annotation":             {annotate(imageOf("c", "123"), "sha256:x"), []*Candidate{a, b}, nil, Known, "b", "yes", ""},
		"label contradicts":                {label(imageOf("c", "123"), sha("a")), []*Candidate{b}, nil, Conflict, "", "?", ""},
		"inherited label":                  {label(imageOf("c", "123"), sha("a")), []*Candidate{a, inherits}, nil, Known, "b", "yes", ""},
		"provenance agrees":                {imageOf("c", "12"), []*Candidate{b}, material("d", "b"), Known, "b", "yes", ""},
		"provenance contradicts layers":    {imageOf("c", "12"), []*Candidate{a}, material("d"), Conflict, "", "?", "the provenance names other images"},
		"provenance contradicts the label": {annotate(imageOf("c", "7"), sha("a")), nil, material("d"), Conflict, "", "?", ""},
		"provenance alone, listed":         {imageOf("c", "7"), []*Candidate{a}, material("a"), Known, "a", "yes", ""},
		"provenance alone, not listed":     {imageOf("c", "7"), []*Candidate{a}, material("d"), Known, "d", "no", ""},
		"provenance alone, twice":          {imageOf("c", "7"), nil, material("a", "a"), Known, "a", "yes", ""},
		"provenance names several":         {imageOf("c", "7"), []*Candidate{a}, material("a", "d"), Undecided, "", "?", "names several images"},
		"provenance names the index":       {imageOf("c", "12"), []*Candidate{indexed}, material("a"), Known, "f", "yes", ""},
		"vetting has ended":                {imageOf("c", "98"), []*Candidate{old}, nil, Known, "e", "no", "the vetting of r/old:1 has ended"},
		"a longer base is not listed":      {imageOf("c", "123"), []*Candidate{a, candidate("", "d", "12")}, material("d"), Known, "d", "no", ""},
		"same layers as one not allowed":   {imageOf("c", "12"), []*Candidate{a, candidate("r/old:1", "e", "1")}, nil, Known, "a", "no", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := (&Question{Image: c.image, Candidates: c.candidates, Materials: c.materials, File: file, Now: now}).Base()
			allowed := "?"
			if got.Allowed != nil {
				allowed = map[bool]string{true: "yes", false: "no"}[*got.Allowed]
			}
			base := ""
			if c.base != "" {
				base = sha(c.base)
			}
			if got.Result != c.result || got.Digest != base || allowed != c.allowed || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("%s %q allowed %s (%s), want %s %q allowed %s", got.Result, got.Digest, allowed, got.Reason, c.result, base, c.allowed)
			}
			for range 3 { // the answer does not depend on the order
				c.candidates = append(c.candidates[min(1, len(c.candidates)):], c.candidates[:min(1, len(c.candidates))]...)
				again := (&Question{Image: c.image, Candidates: c.candidates, Materials: c.materials, File: file, Now: now}).Base()
				if again.Result != got.Result || fmt.Sprint(again.Allowed == nil) != fmt.Sprint(got.Allowed == nil) || got.Allowed != nil && *got.Allowed != *again.Allowed {
					t.Errorf("another order: %+v", again)
				}
			}
		})
	}
}

func TestBaseOutcome(t *testing.T) {
	yes, no := true, false
	for name, c := range map[string]struct {
		all              []*Base
		allowed, decided bool
	}{
		"none":            {nil, false, false},
		"allowed":         {[]*Base{{Allowed: &yes}, {Allowed: &yes}}, true, true},
		"one not allowed": {[]*Base{{}, {Allowed: &no}, {Allowed: &yes}}, false, true},
		"one undecided":   {[]*Base{{Allowed: &yes}, {}}, false, false},
	} {
		if allowed, decided := BaseOutcome(c.all); allowed != c.allowed || decided != c.decided {
			t.Errorf("%s: %t %t", name, allowed, decided)
		}
	}
}

func TestMaterials(t *testing.T) {
	hex := strings.Repeat("A", 64)
	got := Materials(4, []entry.Subject{
		{Name: "git+https://x.example/y", Digest: map[string]string{"sha256": hex}},
		{Name: "pkg:docker/x@1"},
		{Name: "pkg:docker/x@1", Digest: map[string]string{"sha512": hex}},
		{Name: "pkg:docker/x@1?platform=linux%2Famd64", Digest: map[string]string{"sha256": hex}},
		{Name: "docker-image://docker.io/library/golang:1.26", Digest: map[string]string{"sha256": hex}},
	})
	if len(got) != 2 || got[0].Digest != sha("a") || got[0].Entry != 4 {
		t.Errorf("%+v", got)
	}
}

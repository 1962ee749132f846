package baseline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/oci"
)

// Annotations that name the base of an image
// (https://github.com/opencontainers/image-spec/blob/main/annotations.md).
const (
	AnnotationBaseDigest = "org.opencontainers.image.base.digest"
	AnnotationBaseName   = "org.opencontainers.image.base.name"
)

// ImageURIs are the beginnings of the URIs of materials that are images.
var ImageURIs = []string{"pkg:docker/", "pkg:oci/", "docker://", "docker-image://", "oci://"}

// A Material is an image that provenance names.
type Material struct {
	URI    string `json:"uri"`
	Digest string `json:"digest"` // sha256:…
	Entry  uint64 `json:"entry"`  // that contains the provenance
}

// Materials returns the images among the materials in the header of an entry.
func Materials(index uint64, materials []entry.Subject) (all []Material) {
	for _, m := range materials {
		isImage := slices.ContainsFunc(ImageURIs, func(p string) bool { return strings.HasPrefix(m.Name, p) })
		if digest := m.Digest["sha256"]; isImage && digest != "" {
			all = append(all, Material{URI: m.Name, Digest: prefix + strings.ToLower(digest), Entry: index})
		}
	}
	return all
}

// A Candidate is an image that can be the base of others.
type Candidate struct {
	*oci.Image
	// Reference of the baseline that lists it, directly or by its index, or "".
	Reference string
}

// is reports whether a digest is that of the candidate or of its index.
func (c *Candidate) is(digest string) bool {
	return digest != "" && (c.Digest == digest || c.Index == digest)
}

// Results about the base of an image.
const (
	Known    = "known"
	Conflict = "conflict"
	// Undecided: the sources do not name the base
)

// A Source names the base of an image.
type Source struct {
	Source string `json:"source"` // provenance, annotation or layers
	Digest string `json:"digest"`
	Name   string `json:"name,omitempty"`
	Text   string `json:"text"`
}

// The sources.
const (
	FromProvenance = "provenance"
	FromAnnotation = "annotation"
	FromLayers     = "layers"
)

// A Base is what an image is built on.
type Base struct {
	Image    string   `json:"image"` // digest
	Platform string   `json:"platform,omitempty"`
	Result   string   `json:"result"` // known, conflict or undecided
	Reason   string   `json:"reason"`
	Digest   string   `json:"base,omitempty"`    // of the manifest, or as the sources name it
	Allowed  *bool    `json:"allowed,omitempty"` // nil: not decided
	Listed   []string `json:"listed,omitempty"`  // references of the baseline
	Sources  []Source `json:"sources"`
}

// A Question asks what an image is built on.
type Question struct {
	Image      *oci.Image
	Materials  []Material
	Candidates []*Candidate
	File       *File
	Now        time.Time
}

// Base answers from the three sources.
func (q *Question) Base() *Base {
	b := &Base{Image: q.Image.Digest, Platform: q.Image.Platform, Result: Undecided, Sources: []Source{}}
	same := q.longest()
	for _, c := range same {
		b.Sources = append(b.Sources, Source{FromLayers, c.Digest, c.Reference, fmt.Sprintf("%d of %d layers are those of the base", len(c.DiffIDs), len(q.Image.DiffIDs))})
	}
	annotated, name := q.annotated(same)
	if annotated != "" {
		b.Sources = append(b.Sources, Source{FromAnnotation, annotated, name, "the annotation " + AnnotationBaseDigest})
	}
	for _, m := range q.Materials {
		b.Sources = append(b.Sources, Source{FromProvenance, m.Digest, m.URI, fmt.Sprintf("a material in entry %d", m.Entry)})
	}
	q.conclude(b, same, annotated)
	if b.Result == Known {
		q.judge(b, same)
	}
	return b
}

// longest returns the candidates with the longest prefix of the image's layers.
func (q *Question) longest() (same []*Candidate) {
	longest := 0
	for _, c := range q.Candidates {
		n := len(c.DiffIDs)
		switch {
		case n == 0 || n < longest || n > len(q.Image.DiffIDs) || c.Digest == q.Image.Digest || !slices.Equal(c.DiffIDs, q.Image.DiffIDs[:n]):
			continue
		case n > longest:
			longest, same = n, nil
		}
		if !slices.ContainsFunc(same, func(s *Candidate) bool { return s.Digest == c.Digest && s.Reference == c.Reference }) {
			same = append(same, c)
		}
	}
	return same
}

// annotated returns the digest and name in the image's annotations or labels.
// Images inherit the labels of their base.
func (q *Question) annotated(same []*Candidate) (digest, name string) {
	if digest, name = q.Image.Annotations[AnnotationBaseDigest], q.Image.Annotations[AnnotationBaseName]; digest == "" {
		digest, name = q.Image.Labels[AnnotationBaseDigest], q.Image.Labels[AnnotationBaseName]
		inherited := func(c *Candidate) bool {
			return c.Labels[AnnotationBaseDigest] == digest && c.Labels[AnnotationBaseName] == name
		}
		if slices.ContainsFunc(same, inherited) {
			return "", ""
		}
	}
	if !digestPattern.MatchString(digest) {
		return "", ""
	}
	return digest, name
}

// conclude compares the sources.
func (q *Question) conclude(b *Base, same []*Candidate, annotated string) {
	isOne := func(digest string) bool {
		return slices.ContainsFunc(same, func(c *Candidate) bool { return c.is(digest) })
	}
	named := func(m Material) bool { return isOne(m.Digest) || len(same) == 0 && q.sameImage(m.Digest, annotated) }
	switch {
	case len(same) > 0 && annotated != "" && !isOne(annotated):
		b.Result, b.Reason = Conflict, "the layers are those of "+same[0].Digest+", but the annotation names "+annotated
	case len(same)+len(annotated) > 0 && len(q.Materials) > 0 && !slices.ContainsFunc(q.Materials, named):
		b.Result, b.Reason = Conflict, "the provenance names other images than the layers or the annotation"
	case len(same) > 0:
		b.Result, b.Digest, b.Reason = Known, same[0].Digest, "the layers begin with those of the base"
	case len(q.Materials) > 0 && q.oneMaterial():
		b.Result, b.Digest, b.Reason = Known, q.Materials[0].Digest, "the provenance names one image"
	case len(q.Materials) > 0:
		b.Reason = "the provenance names several images, and no base image that is known has the layers"
	case annotated != "":
		b.Reason = "only an annotation names the base, which anybody can set"
	case len(q.Image.DiffIDs) == 1:
		b.Reason = "the image has one layer, which is not that of a known base: it may have been squashed"
	default:
		b.Reason = "no base image that is known has the first layers, and there is no provenance"
	}
}

// oneMaterial reports whether all materials are the same image.
func (q *Question) oneMaterial() bool {
	return !slices.ContainsFunc(q.Materials, func(m Material) bool { return !q.sameImage(m.Digest, q.Materials[0].Digest) })
}

// sameImage reports whether two digests are equal, or those of an index and of
// its manifest for the platform.
func (q *Question) sameImage(a, b string) bool {
	return a != "" && (a == b || slices.ContainsFunc(q.Candidates, func(c *Candidate) bool { return c.is(a) && c.is(b) }))
}

// judge decides whether the base is allowed.
func (q *Question) judge(b *Base, same []*Candidate) {
	allowed := true
	add := func(reference string) {
		i := slices.IndexFunc(q.File.Images, func(i *Image) bool { return i.Reference == reference })
		if i < 0 {
			allowed = false
			return
		}
		b.Listed = append(b.Listed, reference)
		if v := q.File.Images[i].Vetted; v != nil && !q.Now.Before(v.Expires) {
			allowed = false
			b.Reason += "; the vetting of " + reference + " has ended"
		}
	}
	if len(same) == 0 { // provenance alone
		for _, c := range q.Candidates {
			if c.Reference != "" && c.is(b.Digest) && !slices.Contains(b.Listed, c.Reference) {
				add(c.Reference)
			}
		}
		for _, i := range q.File.Images {
			if i.Digest == b.Digest && !slices.Contains(b.Listed, i.Reference) {
				add(i.Reference)
			}
		}
		allowed = allowed && len(b.Listed) > 0
	}
	for _, c := range same {
		add(c.Reference)
	}
	b.Allowed = &allowed
}

// BaseOutcome combines the results for the platforms of an image: it returns
// whether every base is allowed, and whether that could be decided.
func BaseOutcome(all []*Base) (allowed, decided bool) {
	allowed, decided = true, len(all) > 0
	for _, b := range all {
		switch {
		case b.Allowed == nil:
			decided = false
		case !*b.Allowed:
			return false, true
		}
	}
	return allowed && decided, decided
}

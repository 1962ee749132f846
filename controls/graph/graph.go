// Package graph follows the relations between artifacts and the evidence about
// them: what is recorded about an artifact, what contains it, and what it was
// made from.
package graph

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/intoto"
)

// Bounds of a trace.
const (
	MaxDepth     = 16
	MaxEntries   = 500 // about one artifact
	MaxArtifacts = 100
)

// A Source has the entries of one tenant's stream.
type Source interface {
	// Entries returns at most limit entries that match the filter, oldest
	// first. It reports whether there are more.
	Entries(ctx context.Context, f *munimentv1.Filter, limit int) (entries []*munimentv1.Entry, more bool, err error)
}

// A Tree is the result of a trace.
type Tree struct {
	Root      *Artifact
	Truncated bool // MaxEntries or MaxArtifacts was exceeded, so the tree is incomplete
}

// Found reports whether anything is recorded about the root.
func (t *Tree) Found() bool { return len(t.Root.Evidence)+len(t.Root.PackagedIn) > 0 }

// An Artifact is an artifact with the evidence about it and its relations to
// other artifacts.
type Artifact struct {
	Digest     string      `json:"artifact"` // algorithm:value
	Names      []string    `json:"names,omitempty"`
	Evidence   []Evidence  `json:"evidence,omitempty"`
	PackagedIn []*Artifact `json:"packagedIn,omitempty"` // artifacts that have it as a material
	MadeFrom   []*Artifact `json:"madeFrom,omitempty"`   // its materials
	Repeated   bool        `json:"repeated,omitempty"`   // described elsewhere in the tree
}

// Trace returns the evidence about an artifact. It follows the relations to
// other artifacts for depth levels, 0 to MaxDepth: up to the artifacts that
// contain it, and down to those it was made from.
func Trace(ctx context.Context, src Source, digest entry.Digest, depth int) (*Tree, error) {
	if depth < 0 || depth > MaxDepth {
		return nil, fmt.Errorf("depth %d: must be from 0 to %d", depth, MaxDepth)
	}
	t := &tracer{source: src, seen: map[string]bool{}}
	root, err := t.trace(ctx, digest.String(), depth, up|down)
	if err != nil {
		return nil, err
	}
	return &Tree{Root: root, Truncated: t.truncated}, nil
}

// A direction is the set of relations that a trace follows.
type direction int

const (
	up   direction = 1 << iota // to the artifacts that contain an artifact
	down                       // to the materials of an artifact
)

type tracer struct {
	source    Source
	seen      map[string]bool // digests
	full      bool            // there are more than MaxArtifacts
	truncated bool
}

func (t *tracer) trace(ctx context.Context, digest string, depth int, follow direction) (*Artifact, error) {
	node := &Artifact{Digest: digest}
	if t.seen[digest] {
		node.Repeated = true
		return node, nil
	}
	if len(t.seen) == MaxArtifacts {
		t.full, t.truncated = true, true
		return node, nil
	}
	t.seen[digest] = true
	materials, err := t.describe(ctx, node)
	if err != nil || depth == 0 {
		return node, err
	}
	if follow&up != 0 {
		containers, err := t.containers(ctx, digest)
		if err != nil {
			return nil, err
		}
		if node.PackagedIn, err = t.traceAll(ctx, containers, depth-1, up); err != nil {
			return nil, err
		}
	}
	if follow&down != 0 {
		if node.MadeFrom, err = t.traceAll(ctx, materials, depth-1, down); err != nil {
			return nil, err
		}
	}
	return node, nil
}

// describe adds the evidence about an artifact to its node, and returns the
// materials that the evidence names.
func (t *tracer) describe(ctx context.Context, node *Artifact) (*artifacts, error) {
	about, err := t.entries(ctx, &munimentv1.Filter{Subject: node.Digest})
	if err != nil {
		return nil, err
	}
	alg, value, _ := strings.Cut(node.Digest, ":")
	materials, names := newArtifacts(), map[string]bool{}
	for _, e := range about {
		node.Evidence = append(node.Evidence, NewEvidence(e))
		for _, s := range e.Subjects {
			if s.Name != "" && s.Digest[alg] == value {
				names[s.Name] = true
			}
		}
		if intoto.CategoryOf(e.PredicateType) == intoto.BuiltBy || e.Kind == kindname.ExportManifest {
			materials.add(e.Materials)
		}
	}
	node.Names = slices.Sorted(maps.Keys(names))
	SortByRelation(node.Evidence, func(e Evidence) string { return e.Relation })
	return materials, nil
}

// containers returns the artifacts that have an artifact as a material.
func (t *tracer) containers(ctx context.Context, digest string) (*artifacts, error) {
	within, err := t.entries(ctx, &munimentv1.Filter{Material: digest})
	if err != nil {
		return nil, err
	}
	all := newArtifacts()
	for _, e := range within {
		all.add(e.Subjects)
	}
	return all, nil
}

func (t *tracer) traceAll(ctx context.Context, all *artifacts, depth int, follow direction) ([]*Artifact, error) {
	var nodes []*Artifact
	for _, digest := range all.order {
		if t.full { // an entry can name thousands
			break
		}
		n, err := t.trace(ctx, digest, depth, follow)
		if err != nil {
			return nil, err
		}
		if name := all.names[digest]; name != "" && !slices.Contains(n.Names, name) {
			n.Names = append(n.Names, name)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func (t *tracer) entries(ctx context.Context, f *munimentv1.Filter) ([]*munimentv1.Entry, error) {
	entries, more, err := t.source.Entries(ctx, f, MaxEntries)
	t.truncated = t.truncated || more
	return entries, err
}

// artifacts is a set of artifacts, each by one of its digests.
type artifacts struct {
	order []string          // digests, in the order in which they were added
	names map[string]string // by digest; can be empty
}

func newArtifacts() *artifacts { return &artifacts{names: map[string]string{}} }

func (as *artifacts) add(subjects []*munimentv1.Subject) {
	for _, s := range subjects {
		digest := preferredDigest(s.Digest)
		if digest == "" {
			continue
		}
		if _, ok := as.names[digest]; !ok {
			as.order = append(as.order, digest)
		}
		as.names[digest] = s.Name
	}
}

// preferredDigest returns the SHA-256 of an artifact, or else its digest of the
// first algorithm by name, as algorithm:value.
func preferredDigest(digests map[string]string) string {
	algs := slices.Sorted(maps.Keys(digests))
	switch {
	case digests["sha256"] != "":
		return "sha256:" + digests["sha256"]
	case len(algs) > 0:
		return algs[0] + ":" + digests[algs[0]]
	}
	return ""
}

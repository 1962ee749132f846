// Package difference compares the bills of materials and the provenance of the
// artifacts of two releases.
//
// It compares facts, which are claims. Whose they are, and whether signatures
// verify, is in the entries that the facts were extracted from.
package difference

import (
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/verifiers/facts"
)

// MaxListed is the number of differences of one sort that are listed for an
// artifact.
const MaxListed = 1000

// An Artifact is an artifact with the facts that are compared.
type Artifact struct {
	decide.Artifact
	// SBOMs has bills of materials of the artifact and its parts. Of several
	// about the same of them it has the one that is compared.
	SBOMs []SBOM
	Build *Build // nil: there is no provenance
}

// An SBOM is a bill of materials with its entry.
type SBOM struct {
	Entry uint64
	*facts.SBOM
}

// A Build is provenance with its entry.
type Build struct {
	Entry uint64
	*facts.Build
}

// A Release is what differs between the artifacts of two releases.
type Release struct {
	Previous string // the name of the earlier release
	Pairs    []Pair // artifacts that both have, in the order of the later release
	Added    []decide.Artifact
	Removed  []decide.Artifact
}

// A Pair is an artifact of both releases.
type Pair struct {
	Before, After decide.Artifact
	Same          bool // the digests are equal
	Components    *Components
	Provenance    *Provenance
}

// Components is the difference of bills of materials.
type Components struct {
	Before, After []uint64 // entries
	// Incomparable is why they are not compared. The rest is then empty.
	Incomparable string
	Partial      bool // a bill of materials leaves out malformed components

	Added    List[Component]
	Removed  List[Component]
	Versions List[Change] // components of which other versions are listed
	Licenses List[Change] // components whose licences differ
}

// A List is a bounded list.
type List[T any] struct {
	Total int
	All   []T // the first MaxListed
}

// A Component is a component in all versions of it.
type Component struct {
	Name     string // or its package URL without the version
	Versions []string
	Licenses []string
}

// A Change is what has changed of a component, a parameter or a material.
type Change struct {
	Name     string
	From, To []string
}

// Provenance is the difference of provenance.
type Provenance struct {
	Before, After uint64 // entries
	// Incomparable is why it is not compared. The rest is then empty.
	Incomparable string
	// Attributes has the builder, the build type, and the source with its
	// commit, if they differ.
	Attributes []Change
	Parameters List[Change] // by path; one side is empty if it lacks it
	Materials  List[Change] // by name; the digests
}

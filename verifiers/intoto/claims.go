package intoto

import (
	"regexp"
	"strings"

	"muniment.dev/muniment/ledger/entry"
)

// MaxMaterials is how many materials of a statement are kept, and MaxFact how
// long a fact or a material's name may be, in bytes.
const (
	MaxMaterials = 256
	MaxFact      = 1024
)

// A Category is a statement's relation to its subject in two words, for
// display.
type Category string

// The categories. PackagedIn is no statement's own: it is what a subject is to
// those that list it among their materials.
const (
	BuiltBy     Category = "built-by"     // provenance, links
	ScannedBy   Category = "scanned-by"   // results of vulnerability scanners
	TestedBy    Category = "tested-by"    // results of tests
	DescribedBy Category = "described-by" // bills of materials
	VerifiedBy  Category = "verified-by"  // verification summaries
	AssessedBy  Category = "assessed-by"  // exploitability of vulnerabilities
	SignedBy    Category = "signed-by"    // signatures without more
	RecordedBy  Category = "recorded-by"  // documents of this project's kinds
	AttestedBy  Category = "attested-by"  // everything else
	PackagedIn  Category = "packaged-in"
)

// Claims are a predicate's claims about its subjects that this package reads.
type Claims struct {
	Category Category
	// the predicate was compared with the definition of its type; false: there
	// is none here
	Checked bool
	// what the subjects were made from or contain, the first MaxMaterials that
	// have a digest
	Materials     []entry.Subject
	MaterialCount int // how many there are in all
	// the few values that people ask for first, such as builder and result, by
	// their path in the predicate
	Facts map[string]string
}

// fact returns a check's continuation that keeps a value.
func fact(name string) func(*walker, string) {
	return func(w *walker, v string) {
		if v == "" || len(v) > MaxFact {
			return
		}
		if w.claims.Facts == nil {
			w.claims.Facts = map[string]string{}
		}
		w.claims.Facts[name] = v
	}
}

// A material is gathered while an object that describes it is read.
type material struct {
	name, uri string
	digest    map[string]string
}

// collected makes the object that c reads a material, if it has a digest.
func collected(c check) check {
	return func(w *walker) error {
		outer := w.material
		w.material = material{}
		err := c(w)
		if err == nil {
			w.claims.add(w.material)
		}
		w.material = outer
		return err
	}
}

func (c *Claims) add(m material) {
	if len(m.digest) == 0 {
		return
	}
	c.MaterialCount++
	if len(c.Materials) == MaxMaterials {
		return
	}
	name := m.uri
	if name == "" {
		name = m.name
	}
	if len(name) > MaxFact {
		name = ""
	}
	c.Materials = append(c.Materials, entry.Subject{Name: name, Digest: m.digest})
}

func materialName(w *walker, v string) { w.material.name = v }
func materialURI(w *walker, v string)  { w.material.uri = v }

func materialDigest(w *walker, d map[string]string) {
	for alg, v := range d {
		w.material.addDigest(alg, v)
	}
}

// addHash adds a digest as bills of materials have it: SHA256 in SPDX, SHA-256
// in CycloneDX. It leaves out what is not hexadecimal.
func (m *material) addHash(algorithm, value string) {
	if !hexadecimal.MatchString(value) {
		return
	}
	alg := strings.ToLower(algorithm)
	if bits, ok := strings.CutPrefix(alg, "sha3-"); ok {
		alg = "sha3_" + bits
	}
	m.addDigest(strings.ReplaceAll(alg, "-", ""), strings.ToLower(value))
}

var hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]{8,256}$`)

func (m *material) addDigest(alg, value string) {
	if alg == "" || len(m.digest) == MaxDigests || len(value) > MaxFact {
		return
	}
	if m.digest == nil {
		m.digest = map[string]string{}
	}
	m.digest[alg] = value
}

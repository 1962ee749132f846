package intoto

import (
	"regexp"
	"strings"

	"muniment.dev/muniment/ledger/entry"
)

// Limits of what is kept of a statement: the number of materials, and the bytes
// of a fact or of a material's name.
const (
	MaxMaterials = 256
	MaxFact      = 1024
)

// A Category is a two-word label for a statement's relation to its subject, for
// display.
type Category string

// The categories. No statement has the category PackagedIn. It labels the
// inverse relation: from a material to the subjects that list it.
const (
	BuiltBy     Category = "built-by"     // provenance, links
	ScannedBy   Category = "scanned-by"   // results of vulnerability scanners
	TestedBy    Category = "tested-by"    // results of tests
	DescribedBy Category = "described-by" // bills of materials
	VerifiedBy  Category = "verified-by"  // verification summaries
	AssessedBy  Category = "assessed-by"  // exploitability of vulnerabilities
	SignedBy    Category = "signed-by"    // signatures without a further claim
	RecordedBy  Category = "recorded-by"  // documents of this project's kinds
	AttestedBy  Category = "attested-by"  // everything else
	PackagedIn  Category = "packaged-in"
)

// Claims are the claims about the subjects that this package extracts from a
// predicate.
type Claims struct {
	Category Category
	// whether the predicate was checked against the definition of its type;
	// false if this package has no definition
	Checked bool
	// what the subjects were made from or contain: the first MaxMaterials that
	// have a digest
	Materials     []entry.Subject
	MaterialCount int // in total
	// a few values of general interest, such as the builder and the result, by
	// their path in the predicate
	Facts map[string]string
}

// fact returns a continuation that keeps a string as a fact.
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

// A material accumulates fields while the object that describes it is read.
type material struct {
	name, uri string
	digest    map[string]string
}

// collected adds the object that c reads to the materials, if it has a digest.
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

// addHash adds a digest in the notation of bills of materials: SHA256 in SPDX,
// SHA-256 in CycloneDX. It skips values that are not hexadecimal.
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

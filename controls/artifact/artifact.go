// Package artifact compares the artifacts that decisions are about.
package artifact

import (
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// The types of artifacts that decisions distinguish.
const (
	Image          = "image"
	Chart          = "chart"
	Delta          = "delta"
	ExportManifest = kindname.ExportManifest
	File           = "file"
)

// Types lists the types.
var Types = []string{Image, Chart, Delta, ExportManifest, File}

// strong has the algorithms whose equal digests prove that artifacts are the
// same (docs/spec/decision.md, section 4). The object names of Git are among
// them, because Git detects known collisions of SHA-1. An algorithm that is not
// listed proves nothing: its name can stand for a checksum.
var strong = map[string]bool{
	"sha224": true, "sha256": true, "sha384": true, "sha512": true, "sha512_224": true, "sha512_256": true,
	"sha3_224": true, "sha3_256": true, "sha3_384": true, "sha3_512": true, "sm3": true,
	"blake2b": true, "blake2s": true, "blake3": true,
	"gitCommit": true, "gitTree": true, "gitBlob": true, "gitTag": true,
}

// Same reports whether two digest sets identify the same artifact: they have an
// equal digest by a strong algorithm, and no different digests by any algorithm
// (docs/spec/decision.md, section 4).
func Same(a, b map[string]string) bool {
	same := false
	for alg, value := range a {
		d := entry.CanonicalDigest(alg, value)
		for alg, value := range b {
			other := entry.CanonicalDigest(alg, value)
			switch {
			case d.Algorithm() != other.Algorithm():
			case d != other:
				return false
			case strong[d.Algorithm()] && d.Value() != "":
				same = true
			}
		}
	}
	return same
}

// Digests returns the digests in the sets that can make artifacts the same.
// Entries about the artifact are found by them.
func Digests(sets ...map[string]string) map[entry.Digest]bool {
	all := map[entry.Digest]bool{}
	for _, set := range sets {
		for alg, value := range set {
			if d := entry.CanonicalDigest(alg, value); strong[d.Algorithm()] && d.Value() != "" {
				all[d] = true
			}
		}
	}
	return all
}

// Mentioned reports whether a subject has one of the digests.
func Mentioned(digests map[entry.Digest]bool, subjects []entry.Subject) bool {
	for i := range subjects {
		for alg, value := range subjects[i].Digest {
			if digests[entry.CanonicalDigest(alg, value)] {
				return true
			}
		}
	}
	return false
}

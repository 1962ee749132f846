package receipt

import (
	"errors"
	"fmt"
	"strings"
)

// A Digest is one digest of an artifact in its canonical form, so that == compares digests. Hexadecimal digits are lower case, whatever case they
// arrived in: PowerShell and certutil print upper case. The zero value is no digest.
type Digest struct{ algorithm, value string }

// digestSizes are the hash algorithms whose values are hexadecimal, with their length in bytes. The other algorithms of in-toto's digest sets
// (https://github.com/in-toto/attestation/blob/main/spec/v1/digest_set.md) have values of their own form or of several lengths.
var digestSizes = map[string]int{
	"md5": 16, "sha1": 20, "ripemd160": 20, "sm3": 32, "blake3": 32,
	"sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64, "sha512_224": 28, "sha512_256": 32,
	"sha3_224": 28, "sha3_256": 32, "sha3_384": 48, "sha3_512": 64,
}

// maxDigest bounds an algorithm's name and a value, in bytes.
const maxDigest = 1024

// ParseDigest reads a digest in the form algorithm:value, such as sha256: and 64 hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	algorithm, value, ok := strings.Cut(s, ":")
	if !ok {
		return Digest{}, fmt.Errorf("%.100q is not a digest: use ALGORITHM:VALUE, such as sha256:2cf24dba…", s)
	}
	d, err := NewDigest(algorithm, value)
	if err != nil {
		return Digest{}, fmt.Errorf("%.100q is not a digest: %w", s, err)
	}
	return d, nil
}

// NewDigest returns the digest of an algorithm and a value in any case. The value of a known hash algorithm must have its length.
func NewDigest(algorithm, value string) (Digest, error) {
	d := Digest{foldAlgorithm(algorithm), foldHex(value)}
	size, hashed := digestSizes[d.algorithm]
	switch {
	case d.algorithm == "":
		return Digest{}, errors.New("no algorithm")
	case d.value == "":
		return Digest{}, errors.New("no value")
	case len(d.algorithm) > maxDigest || len(d.value) > maxDigest:
		return Digest{}, fmt.Errorf("more than %d bytes", maxDigest)
	case hashed && (len(d.value) != 2*size || !isHex(d.value)):
		return Digest{}, fmt.Errorf("a %s digest has %d hexadecimal digits", d.algorithm, 2*size)
	}
	return d, nil
}

// String returns algorithm:value.
func (d Digest) String() string { return d.algorithm + ":" + d.value }

// Algorithm returns the algorithm's name as in in-toto's digest sets, such as sha256.
func (d Digest) Algorithm() string { return d.algorithm }

// Value returns the canonical value.
func (d Digest) Value() string { return d.value }

// IsZero reports whether d is the zero value.
func (d Digest) IsZero() bool { return d == Digest{} }

// Has reports whether d is one of the subject's digests.
func (s Subject) Has(d Digest) bool {
	if d.IsZero() {
		return false
	}
	if v, ok := s.Digest[d.algorithm]; ok {
		return foldHex(v) == d.value
	}
	for alg, v := range s.Digest {
		if foldAlgorithm(alg) == d.algorithm && foldHex(v) == d.value {
			return true
		}
	}
	return false
}

// FoldDigest returns an algorithm and a value in canonical form, without checking them.
func FoldDigest(algorithm, value string) (string, string) {
	return foldAlgorithm(algorithm), foldHex(value)
}

// foldAlgorithm brings the names of known hash algorithms into one spelling. Other names are case-sensitive, such as gitCommit.
func foldAlgorithm(s string) string {
	lower := strings.ToLower(s)
	if lower == s {
		return s
	}
	if _, known := digestSizes[lower]; known {
		return lower
	}
	return s
}

// foldHex brings a value of hexadecimal digits into lower case. Shorter values and other alphabets, such as base64, keep theirs.
func foldHex(s string) string {
	if len(s) < 32 || !isHex(s) {
		return s
	}
	return strings.ToLower(s)
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (s[i] < '0' || s[i] > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

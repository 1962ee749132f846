package entry

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// A Digest is a digest of an artifact in canonical form, so that == compares
// digests by the rules of docs/spec/receipt.md, section 4: without regard to
// the case of the algorithm and of hexadecimal digits. (PowerShell and certutil
// print upper case.) The zero value is no digest.
type Digest struct{ algorithm, value string }

// An algorithm is a known algorithm. Its values are hexadecimal.
type algorithm struct {
	name   string // as in in-toto's digest sets
	digits []int  // possible lengths of the value
}

// algorithms contains the known algorithms, by name in lower case. The values
// of other algorithms of in-toto's digest sets
// (https://github.com/in-toto/attestation/blob/main/spec/v1/digest_set.md) can
// have any form.
var algorithms = func() map[string]algorithm {
	all := map[string]algorithm{}
	for _, a := range []algorithm{
		{"md5", []int{32}}, {"sha1", []int{40}}, {"ripemd160", []int{40}},
		{"sha224", []int{56}}, {"sha512_224", []int{56}}, {"sha3_224", []int{56}},
		{"sha256", []int{64}}, {"sha512_256", []int{64}}, {"sha3_256", []int{64}}, {"sm3", []int{64}}, {"blake3", []int{64}},
		{"sha384", []int{96}}, {"sha3_384", []int{96}},
		{"sha512", []int{128}}, {"sha3_512", []int{128}},
		{"gitCommit", []int{40, 64}}, {"gitTree", []int{40, 64}}, {"gitBlob", []int{40, 64}}, {"gitTag", []int{40, 64}},
	} {
		all[lower(a.name)] = a
	}
	return all
}()

// ParseDigest reads a digest in the form algorithm:value, such as sha256: and
// 64 hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	alg, value, ok := strings.Cut(s, ":")
	if !ok {
		return Digest{}, fmt.Errorf("%.100q is not a digest: use ALGORITHM:VALUE, such as sha256:2cf24dba…", s)
	}
	d, err := NewDigest(alg, value)
	if err != nil {
		return Digest{}, fmt.Errorf("%.100q is not a digest: %w", s, err)
	}
	return d, nil
}

// SHA256 returns "sha256:" and the hexadecimal SHA-256 of content.
func SHA256(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// NewDigest returns the digest with the algorithm and value, both in either
// case. The value of a known algorithm must have the right length.
func NewDigest(alg, value string) (Digest, error) {
	switch {
	case !isAlgorithm(alg):
		return Digest{}, fmt.Errorf("the algorithm must be 1 to 64 letters, digits and . _ + / -")
	case !isDigestValue(value):
		return Digest{}, fmt.Errorf("the value must be 1 to 1024 printable characters")
	}
	if a, ok := algorithms[lower(alg)]; ok && (!isHex(value) || !slices.Contains(a.digits, len(value))) {
		return Digest{}, fmt.Errorf("a %s digest has %s hexadecimal digits", a.name, strings.Trim(strings.ReplaceAll(fmt.Sprint(a.digits), " ", " or "), "[]"))
	}
	return CanonicalDigest(alg, value), nil
}

// CanonicalDigest returns the digest with a recorded algorithm and value,
// without checking them.
func CanonicalDigest(alg, value string) Digest {
	folded, value := FoldDigest(alg, value)
	if folded == alg {
		if _, known := algorithms[lower(alg)]; !known {
			folded = lower(alg)
		}
	}
	return Digest{folded, value}
}

// String returns algorithm:value.
func (d Digest) String() string { return d.algorithm + ":" + d.value }

// Algorithm returns the algorithm's name as in in-toto's digest sets, such as
// sha256. The name of an unknown algorithm is in lower case.
func (d Digest) Algorithm() string { return d.algorithm }

// Value returns the value. Hexadecimal digits are in lower case.
func (d Digest) Value() string { return d.value }

// IsZero reports whether d is the zero value.
func (d Digest) IsZero() bool { return d == Digest{} }

// In reports whether d is in the digest set, which maps algorithms to values.
func (d Digest) In(set map[string]string) bool {
	if d.IsZero() {
		return false
	}
	for alg, value := range set {
		if CanonicalDigest(alg, value) == d {
			return true
		}
	}
	return false
}

// Has reports whether d is one of the subject's digests.
func (s Subject) Has(d Digest) bool { return d.In(s.Digest) }

// FoldDigest returns an algorithm and a value in the spelling in which the log
// records them: known algorithms under one name, and hexadecimal digits in
// lower case. It does not check them.
func FoldDigest(alg, value string) (string, string) {
	if a, known := algorithms[lower(alg)]; known {
		alg = a.name
	}
	if isHex(value) {
		value = lower(value)
	}
	return alg, value
}

func isAlgorithm(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._+/-", c)
	})
}

func isDigestValue(s string) bool {
	return len(s) >= 1 && len(s) <= 1024 && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (s[i] < '0' || s[i] > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// lower returns s with ASCII letters in lower case.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

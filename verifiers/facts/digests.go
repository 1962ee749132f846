package facts

import (
	"slices"
	"strings"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/intoto"
)

// addDigest adds a digest in its canonical form.
func (r *reader) addDigest(all *Digests, algorithm, value string) error {
	d := entry.CanonicalDigest(algorithm, value)
	algorithm, value = d.Algorithm(), d.Value()
	at, found := slices.BinarySearchFunc(*all, algorithm, func(d Digest, a string) int { return strings.Compare(d.Algorithm, a) })
	switch {
	case found:
		r.note(Duplicate)
		return errBad
	case len(*all) == intoto.MaxDigests:
		r.note(TooLong)
		return errBad
	}
	*all = slices.Insert(*all, at, Digest{r.keep([]byte(algorithm)), r.keep([]byte(value))})
	return nil
}

// hashes reads digests whose algorithms have names such as sha-256 (IANA).
func (r *reader) hashes(to *Digests) error {
	var all, folded Digests
	if err := r.digests(&all); err != nil {
		return err
	}
	for _, d := range all {
		if err := r.addDigest(&folded, hashName(d.Algorithm), d.Value); err != nil {
			return err
		}
	}
	*to = folded
	return nil
}

// hashName returns in-toto's name of a hash algorithm: sha256 of SHA-256.
func hashName(s string) string {
	s = strings.ToLower(s)
	if bits, ok := strings.CutPrefix(s, "sha3-"); ok {
		return "sha3_" + bits
	}
	return strings.ReplaceAll(s, "-", "")
}

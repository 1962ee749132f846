package aca

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// NewSeed draws a seed. The caller records it before the first window.
func NewSeed(random io.Reader) (string, error) {
	var b [seedDigits / 2]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("draw the seed of an analysis: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

const seedDigits = 32

// Order returns the windows of the analysis in the order in which the caller
// runs them, without times and samples.
func Order(seed string, pairs int) []Window {
	windows := make([]Window, 0, 2*pairs)
	for i := range pairs {
		first := copyFirst(seed, i)
		windows = append(windows, Window{Pair: i, Copy: first}, Window{Pair: i, Copy: !first})
	}
	return windows
}

// copyFirst reports whether the copy runs in the first window of the pair.
func copyFirst(seed string, pair int) bool {
	digest := sha256.Sum256(fmt.Appendf(nil, "muniment aca order\n%s\n%d", seed, pair))
	return digest[0]&1 == 1
}

// chosen returns the positions that draw k chooses, as the bits of a digest.
func chosen(seed, check string, k int) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "muniment aca draw\n%s\n%s\n%d", seed, check, k))
}

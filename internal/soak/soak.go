// Package soak sets the length of seeded test campaigns. make test runs and
// logs a sample of each; make soak SEED=… runs them in full.
package soak

import (
	"os"
	"strconv"
	"testing"
)

// Variable is the environment variable that enables full campaigns. Its value
// is the seed, a decimal number.
const Variable = "MUNIMENT_SOAK"

// Full reports whether campaigns run in full.
func Full() bool { return os.Getenv(Variable) != "" }

// Seed returns the seed of a campaign, or 0 for the sample.
func Seed(t testing.TB) uint64 {
	t.Helper()
	if !Full() {
		return 0
	}
	seed, err := strconv.ParseUint(os.Getenv(Variable), 10, 64)
	if err != nil {
		t.Fatalf("%s must be a decimal seed: %v", Variable, err)
	}
	return seed
}

// Length returns the length of a campaign, and logs it: sample in make test,
// full in make soak.
func Length(t testing.TB, what string, sample, full int) int {
	t.Helper()
	n := sample
	if Full() {
		n = full
	}
	t.Logf("%d %s of seed %d; in full: %d", n, what, Seed(t), full)
	return n
}

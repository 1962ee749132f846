// Package soak determines how tests run in each tier. make test runs a sample
// of each seeded campaign and logs its size. make soak SEED=… runs the
// campaigns in full. Tests without concurrency run without the race detector.
package soak

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
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

// Length returns the length of a campaign and logs it: sample in make test,
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

// A Sample selects the cases of a campaign to run: a random fraction in make
// test, and all of them in make soak.
type Sample struct {
	every, cases, taken int
	rng                 *rand.Rand
}

// NewSample returns a sample of one case in every, and of fewer in make check.
// At the end of the test, it logs the number of cases that ran.
func NewSample(t testing.TB, what string, every int) *Sample {
	t.Helper()
	seed := Seed(t)
	s := &Sample{every: every, rng: rand.New(rand.NewPCG(seed, uint64(every)))}
	if testing.Short() {
		s.every *= 15
	}
	if Full() {
		s.every = 1
	}
	t.Cleanup(func() {
		t.Helper()
		t.Logf("%d %s of seed %d; in full: %d", s.taken, what, seed, s.cases)
	})
	return s
}

// Take reports whether the next case runs.
func (s *Sample) Take() bool {
	s.cases++
	if s.rng.IntN(s.every) > 0 {
		return false
	}
	s.taken++
	return true
}

// Taken returns the number of cases that ran.
func (s *Sample) Taken() int { return s.taken }

// WithoutRace skips the test under the race detector, which slows it down
// tenfold. It is for tests whose code runs in one goroutine, or in processes
// built without the detector. .ci/gotest without-race runs the tests that call
// it.
func WithoutRace(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("runs without the race detector")
	}
}

// Patience is how long tests wait for what must happen, before they fail.
// It only ends tests that hang: no test is faster or stricter for less of it,
// and a loaded machine can need minutes for what usually takes milliseconds.
const Patience = 5 * time.Minute

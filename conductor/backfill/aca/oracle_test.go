package aca

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// oracle answers questions by testdata/oracle.py, one process for all.
func oracle[Q, A any](t *testing.T, questions []Q) []A {
	t.Helper()
	var in bytes.Buffer
	for _, q := range questions {
		if err := json.NewEncoder(&in).Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), peers.Path(t, "scipy"), "testdata/oracle.py")
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	var answers []A
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var a A
		if err := d.Decode(&a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

// agrees compares numbers that different algorithms computed.
func agrees(a, b float64) bool {
	return math.Abs(a-b) <= 1e-7*max(math.Abs(a), math.Abs(b))+1e-12
}

// TestStatisticsOracle compares p-values and intervals with those of scipy.
func TestStatisticsOracle(t *testing.T) {
	soak.WithoutRace(t)
	random := rand.New(rand.NewPCG(soak.Seed(t), 6278))
	var questions []statisticsVector
	for range soak.Length(t, "random series", 150, 3000) {
		x := randomTail(random, 1+random.IntN(17))
		for i := range x.D {
			x.D[i] = math.Round(x.D[i]*64) / 64 // their sums are exact
		}
		questions = append(questions, statisticsVector{Tail: x})
	}
	for range soak.Length(t, "random tables", 300, 10_000) {
		questions = append(questions, statisticsVector{Errors: randomErrors(random)})
	}
	for range 20 {
		s, err := NewSeed(bytes.NewReader([]byte{0: byte(random.IntN(256)), 15: byte(random.IntN(256))}))
		if err != nil {
			t.Fatal(err)
		}
		questions = append(questions, statisticsVector{Order: &orderVector{Seed: s, CopyFirst: make([]bool, 40)}})
	}
	for i := range questions {
		questions[i].compute()
	}
	type answer struct {
		P         float64     `json:"p"`
		Interval  *[2]float64 `json:"interval"`
		Test      Test        `json:"test"`
		Scipy     *float64    `json:"scipy"` // p-value of all sign flips
		Ends      []float64   `json:"ends"`  // p-values outside and inside of both ends
		CopyFirst []bool      `json:"copyFirst"`
	}
	fisher, intervals := 0, 0
	for i, a := range oracle[statisticsVector, answer](t, questions) {
		text, _ := json.Marshal(questions[i])
		switch q := questions[i]; {
		case q.Order != nil:
			for j, first := range q.Order.CopyFirst {
				if a.CopyFirst[j] != first {
					t.Errorf("pair %d of seed %s: the oracle differs", j, q.Order.Seed)
				}
			}
		case q.Errors != nil:
			if q.Errors.Test == Fisher {
				fisher++
			}
			if a.Test != q.Errors.Test || !agrees(a.P, q.Errors.P) || !agrees(a.Interval[0], q.Errors.Interval[0]) || !agrees(a.Interval[1], q.Errors.Interval[1]) {
				t.Errorf("%s: the oracle computes p = %g by %s, interval %g", text, a.P, a.Test, *a.Interval)
			}
		default:
			if !agrees(a.P, q.Tail.P) || a.Scipy != nil && !agrees(*a.Scipy, q.Tail.P) {
				t.Errorf("%s: the oracle computes p = %g", text, a.P)
			}
			if (a.Interval == nil) != (q.Tail.Interval == nil) || a.Interval != nil && !(agrees(a.Interval[0], q.Tail.Interval[0]) && agrees(a.Interval[1], q.Tail.Interval[1])) {
				t.Errorf("%s: the oracle computes the interval %v", text, a.Interval)
			}
			if level := q.Tail.Alpha/2 + tolerance; a.Ends != nil {
				intervals++
				if a.Ends[0] > level || a.Ends[1] <= level || a.Ends[2] > level || a.Ends[3] <= level {
					t.Errorf("%s: one-sided p-values outside and inside of the lower end, and of the upper, are %g: not on both sides of %g", text, a.Ends, level)
				}
			}
		}
	}
	t.Logf("%d tables by Fisher's test, %d intervals inverted", fisher, intervals)
	if fisher < 30 || intervals < 30 {
		t.Error("too few of a sort")
	}
}

// TestReportOracle computes the reports of the vectors and of random inputs a
// second time.
func TestReportOracle(t *testing.T) {
	soak.WithoutRace(t)
	_, inputs := vectorInputs(t)
	random := rand.New(rand.NewPCG(soak.Seed(t), 16))
	for range soak.Length(t, "random analyses", 100, 3000) {
		inputs = append(inputs, randomInput(random))
	}
	type question struct {
		Report *Report `json:"report"`
	}
	var questions []question
	outcomes := map[Outcome]int{}
	for _, in := range inputs {
		if r, err := Judge(in.Config, in.Windows, in.DataChecks); err == nil {
			questions = append(questions, question{r})
			for _, result := range r.Results {
				outcomes[result.Result]++
			}
		}
	}
	for i, a := range oracle[question, Report](t, questions) {
		if what := a.difference(questions[i].Report); what != "" {
			text, _ := json.Marshal(questions[i].Report)
			t.Errorf("%s: the oracle differs: %s", text, what)
		}
	}
	t.Logf("%d reports, outcomes %v", len(questions), outcomes)
	if min(outcomes[Pass], outcomes[Fail], outcomes[Inconclusive]) < 30 {
		t.Error("too few of an outcome")
	}
}

// randomInput returns an analysis of any configuration, with missing samples.
func randomInput(random *rand.Rand) vectorInput {
	pick := func(of ...float64) float64 { return of[random.IntN(len(of))] }
	c := NewConfig(seed, random.IntN(20))
	c.MinPairs, c.Draws, c.Alpha, c.Threshold = 1+random.IntN(8), minDraws, pick(0.05, 0.2, 0.01), pick(0.5, 0.75, 0.95, 1)
	c.DataChecks = []string{"rows", "checksum-down"}
	for i := range random.IntN(6) {
		name := "m" + string(rune('0'+i))
		k := []Check{NewCounter(name, ""), NewTail(name, "", 0.9), NewErrors(name)}[random.IntN(3)]
		k.Direction = []Direction{Increase, Decrease, Either}[random.IntN(3)]
		k.Relative, k.Absolute, k.Required, k.MinPer = pick(0, 0.1, 0.5), pick(0, 0.001, 0.1), random.IntN(2) == 0, pick(0, 1, 5)
		c.Checks = append(c.Checks, k)
	}
	missing := pick(0, 0, 0.02, 0.2)
	spread, shift := pick(0, 0.1, 3), pick(0, 0, 0.3, 2)
	of := func(shift float64) func(int) map[string]Sample {
		return func(int) map[string]Sample {
			samples := map[string]Sample{}
			for _, k := range c.Checks {
				s := Sample{1 + shift + spread*random.Float64(), 5 + float64(random.IntN(200))}
				if k.Kind == Errors {
					s.Value = math.Floor(s.Value)
				}
				if random.Float64() < missing {
					s = Sample{pick(math.NaN(), -1, math.Inf(1), 0), pick(0, 1, math.NaN(), 1e10)}
				}
				if random.Float64() >= missing/4 {
					samples[k.Name] = s
				}
			}
			return samples
		}
	}
	in := vectorInput{Config: c, Windows: measured(c, of(shift), of(0))}
	for _, name := range []string{"rows", "sample", "checksum-down"} {
		if random.IntN(4) > 0 {
			in.DataChecks = append(in.DataChecks, DataResult{Name: name, Result: []Outcome{Pass, Pass, Pass, Pass, Fail, Inconclusive}[random.IntN(6)]})
		}
	}
	return in
}

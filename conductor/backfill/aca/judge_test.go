package aca

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/soak"
)

const seed = "00112233445566778899aabbccddeeff"

var epoch = time.Date(2026, 4, 19, 12, 0, 0, 0, time.UTC)

// analyze returns an analysis with the windows of c, whose samples are those of
// the functions.
func analyze(t testing.TB, c Config, on, off func(pair int) map[string]Sample, data ...DataResult) *Report {
	t.Helper()
	r, err := Judge(c, measured(c, on, off), data)
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(text); err != nil {
		t.Errorf("report is refused: %v\n%s", err, text)
	}
	return r
}

func measured(c Config, on, off func(pair int) map[string]Sample) []Window {
	windows := Order(c.Seed, c.Pairs)
	for i := range windows {
		w := &windows[i]
		w.Start = epoch.Add(time.Duration(i) * time.Minute)
		w.End = w.Start.Add(50 * time.Second)
		w.Samples = off(w.Pair)
		if w.Copy {
			w.Samples = on(w.Pair)
		}
	}
	return windows
}

// series returns samples of one check from a series.
func series(name string, values []float64, per float64) func(int) map[string]Sample {
	return func(pair int) map[string]Sample { return map[string]Sample{name: {values[pair], per}} }
}

// always returns the same sample for every pair.
func always(name string, value, per float64) func(int) map[string]Sample {
	return func(int) map[string]Sample { return map[string]Sample{name: {value, per}} }
}

func only(t testing.TB, r *Report, name string) *Result {
	t.Helper()
	for i := range r.Results {
		if r.Results[i].Name == name {
			return &r.Results[i]
		}
	}
	t.Fatalf("no result %s", name)
	return nil
}

type issueSeries struct {
	Name       string    `json:"name"`
	Experiment []float64 `json:"experiment"`
	Control    []float64 `json:"control"`
}

func spinnaker(t testing.TB) []issueSeries {
	t.Helper()
	text, err := os.ReadFile("testdata/spinnaker-6278.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Series []issueSeries }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Series
}

// TestSpinnaker judges the series that a rank test passed. Each point of a
// series is a window.
func TestSpinnaker(t *testing.T) {
	soak.WithoutRace(t)
	all := spinnaker(t)
	if len(all) != 2 {
		t.Fatalf("%d series, want 2", len(all))
	}
	for _, s := range all {
		for _, direction := range []Direction{Increase, Either} {
			experiment, control := s.Experiment, s.Control
			if direction == Increase && s.Name == "increase-in-variability" {
				experiment, control = control, experiment // its mean decreases
			}
			for _, kind := range []Kind{Counter, Tail} {
				k := NewCounter("m", "")
				if kind == Tail {
					k = NewTail("m", "s", 0.99)
				}
				k.Direction, k.Relative, k.Required = direction, 0.05, true
				c := NewConfig(seed, len(control))
				c.Checks = []Check{k}
				r := analyze(t, c, series("m", experiment, 500), series("m", control, 500))
				if got := r.Results[0]; got.Result != Fail || r.Verdict != BelowThreshold {
					t.Errorf("%s as %s, %s: %s, %s: %s", s.Name, kind, direction, got.Result, r.Verdict, got.Reason)
				} else {
					t.Logf("%s as %s, %s: %s", s.Name, kind, direction, got.Reason)
				}
			}
		}
	}
}

func TestCounters(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, test := range []struct {
		name      string
		direction Direction
		relative  float64
		absolute  float64
		on, off   []float64 // of the first pairs; the others are 100
		want      Outcome
	}{
		{name: "equal", direction: Increase, want: Pass},
		{name: "more within the margin", direction: Increase, relative: 0.1, on: []float64{200}, want: Pass},
		{name: "exactly the margin", direction: Increase, relative: 0.1, on: []float64{110, 110, 110, 110, 110, 110, 110, 110, 110, 110}, want: Pass},
		{name: "more than the margin", direction: Increase, relative: 0.1, on: []float64{201}, want: Fail},
		{name: "more than the margin, which is absolute", direction: Increase, absolute: 0.1, on: []float64{211}, want: Fail},
		{name: "the greater margin counts", direction: Increase, relative: 0.1, absolute: 0.2, on: []float64{211}, want: Pass},
		{name: "less is good", direction: Increase, on: []float64{1, 1, 1}, want: Pass},
		{name: "less is bad", direction: Decrease, relative: 0.1, on: []float64{1, 1, 1}, want: Fail},
		{name: "more is good", direction: Decrease, on: []float64{1000}, want: Pass},
		{name: "less than either", direction: Either, relative: 0.1, on: []float64{1, 1, 1}, want: Fail},
		{name: "more than either", direction: Either, relative: 0.1, on: []float64{1000}, want: Fail},
		{name: "either within the margin", direction: Either, relative: 0.1, on: []float64{150}, want: Pass},
		{name: "two missing", direction: Increase, on: []float64{nan, inf}, want: Pass},
		{name: "negative is missing", direction: Increase, on: []float64{-1, -1}, want: Pass},
		{name: "too many missing", direction: Increase, on: []float64{nan, -1}, off: []float64{100, 100, inf}, want: Inconclusive},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := NewConfig(seed, 10)
			k := NewCounter("wal", "B per transaction")
			k.Direction, k.Relative, k.Absolute = test.direction, test.relative, test.absolute
			c.Checks = []Check{k}
			of := func(values []float64) func(int) map[string]Sample {
				all := make([]float64, c.Pairs)
				for i := range all {
					all[i] = 100
				}
				copy(all, values)
				return series("wal", all, 100)
			}
			if got := analyze(t, c, of(test.on), of(test.off)).Results[0]; got.Result != test.want {
				t.Errorf("%s, want %s: %s", got.Result, test.want, got.Reason)
			}
		})
	}
}

// TestZeroBaseline checks counters that are 0 without the copy: the relative
// margin cannot excuse them.
func TestZeroBaseline(t *testing.T) {
	c := NewConfig(seed, 8)
	k := NewCounter("lock-waits", "per transaction")
	k.Relative = 1000
	for _, test := range []struct {
		absolute, on float64
		want         Outcome
	}{{0, 0, Pass}, {0, 1, Fail}, {0.01, 1, Pass}, {0.01, 2, Fail}} {
		k.Absolute = test.absolute
		c.Checks = []Check{k}
		if got := analyze(t, c, always("lock-waits", test.on, 100), always("lock-waits", 0, 100)).Results[0]; got.Result != test.want {
			t.Errorf("%g of 100, accepted %g: %s, want %s: %s", test.on, test.absolute, got.Result, test.want, got.Reason)
		}
	}
	// Without transactions there is nothing to divide by.
	if got := analyze(t, c, always("lock-waits", 0, 0), always("lock-waits", 0, 100)).Results[0]; got.Result != Inconclusive || got.On != nil {
		t.Errorf("no transactions: %s: %s", got.Result, got.Reason)
	}
}

func TestTails(t *testing.T) {
	soak.WithoutRace(t)
	for _, test := range []struct {
		name      string
		direction Direction
		pairs     int
		on, off   func(i int) float64
		want      Outcome
		test      Test
	}{
		{"constant", Increase, 8, func(int) float64 { return 1 }, func(int) float64 { return 1 }, Pass, Permutation},
		{"all zero", Increase, 8, func(int) float64 { return 0 }, func(int) float64 { return 0 }, Pass, Permutation},
		{"constant and exactly the margin", Increase, 8, func(int) float64 { return 1.25 }, func(int) float64 { return 1 }, Pass, Permutation},
		{"certain but small", Increase, 30, func(int) float64 { return 1.01 }, func(int) float64 { return 1 }, Pass, PermutationDraws},
		{"certain", Increase, 8, func(int) float64 { return 2 }, func(int) float64 { return 1 }, Fail, Permutation},
		{"certain, drawn", Increase, 15, func(int) float64 { return 2 }, func(int) float64 { return 1 }, Fail, PermutationDraws},
		{"drift", Increase, 14, func(i int) float64 { return float64(1 + i) }, func(i int) float64 { return float64(1 + i) }, Pass, Permutation},
		{"drift and a change", Increase, 14, func(i int) float64 { return 10 + float64(1+i) }, func(i int) float64 { return float64(1 + i) }, Fail, Permutation},
		{"better", Increase, 8, func(int) float64 { return 1 }, func(int) float64 { return 2 }, Pass, Permutation},
		{"worse if less is bad", Decrease, 8, func(int) float64 { return 1 }, func(int) float64 { return 2 }, Fail, Permutation},
		{"better if less is bad", Decrease, 8, func(int) float64 { return 2 }, func(int) float64 { return 1 }, Pass, Permutation},
		{"less, either", Either, 8, func(int) float64 { return 1 }, func(int) float64 { return 2 }, Fail, Permutation},
		{"too wide", Increase, 8, func(i int) float64 { return float64(1 + 4*(i%2)) }, func(i int) float64 { return float64(1 + 4*(i/2%2)) }, Inconclusive, Permutation},
		{"flapping around the same mean", Increase, 8, func(i int) float64 { return float64(2 * (i % 2)) }, func(i int) float64 { return 1 }, Inconclusive, Permutation},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := NewConfig(seed, test.pairs)
			k := NewTail("p99", "s", 0.99)
			k.Direction, k.Required = test.direction, true
			c.Checks = []Check{k}
			got := analyze(t, c,
				func(i int) map[string]Sample { return map[string]Sample{"p99": {test.on(i), 500}} },
				func(i int) map[string]Sample { return map[string]Sample{"p99": {test.off(i), 500}} }).Results[0]
			if got.Result != test.want || got.Test != test.test {
				t.Errorf("%s by %s, want %s by %s: %s", got.Result, got.Test, test.want, test.test, got.Reason)
			}
		})
	}
}

// TestPairsForConfidence checks that few pairs allow no conclusion about tails,
// and that required checks share the accepted probability.
func TestPairsForConfidence(t *testing.T) {
	soak.WithoutRace(t)
	c := NewConfig(seed, 5)
	c.MinPairs = 1
	tails := func(n int) {
		c.Checks = nil
		for i := range n {
			k := NewTail("p"+string(rune('a'+i)), "s", 0.95)
			k.Required = true
			c.Checks = append(c.Checks, k)
		}
	}
	all := func(value float64) func(int) map[string]Sample {
		return func(int) map[string]Sample {
			samples := map[string]Sample{}
			for _, k := range c.Checks {
				samples[k.Name] = Sample{value, 1000}
			}
			return samples
		}
	}
	for _, test := range []struct {
		pairs, checks int
		want          Outcome
	}{{5, 1, Inconclusive}, {6, 1, Fail}, {6, 2, Inconclusive}, {7, 2, Fail}, {9, 8, Fail}, {8, 8, Inconclusive}} {
		c.Pairs = test.pairs
		tails(test.checks)
		if got := analyze(t, c, all(2), all(1)).Results[0]; got.Result != test.want {
			t.Errorf("%d pairs, %d checks: %s, want %s: %s", test.pairs, test.checks, got.Result, test.want, got.Reason)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name                     string
		direction                Direction
		on, onAll, off, offAll   float64 // in each window
		absolute, relativeMargin float64
		want                     Outcome
		test                     Test
	}{
		{"none", Increase, 0, 1000, 0, 1000, 0.002, 0, Pass, Fisher},
		{"none of few", Increase, 0, 10, 0, 10, 0.002, 0, Inconclusive, Fisher},
		{"many more", Increase, 50, 1000, 10, 1000, 0.002, 0, Fail, ChiSquared},
		{"all fail", Increase, 1000, 1000, 0, 1000, 0.002, 0, Fail, ChiSquared},
		{"all fail in both", Increase, 1000, 1000, 1000, 1000, 0.002, 0, Pass, Fisher},
		{"some of few", Increase, 1, 10, 0, 10, 0.002, 0, Fail, ChiSquared},
		{"fewer", Increase, 10, 1000, 50, 1000, 0.002, 0, Pass, ChiSquared},
		{"fewer, either", Either, 10, 1000, 50, 1000, 0.002, 0, Fail, ChiSquared},
		{"fewer, but fewer is bad", Decrease, 10, 1000, 50, 1000, 0.002, 0, Fail, ChiSquared},
		{"certain but small", Increase, 10_100_000, 100_000_000, 10_000_000, 100_000_000, 0.002, 0, Pass, ChiSquared},
		{"certain and relative", Increase, 10_100_000, 100_000_000, 10_000_000, 100_000_000, 0, 0.005, Fail, ChiSquared},
		{"more failures than requests", Increase, 2, 1, 0, 1, 0.002, 0, Inconclusive, ""},
		{"halves", Increase, 0.5, 1, 0, 1, 0.002, 0, Inconclusive, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := NewConfig(seed, 10)
			k := NewErrors("errors")
			k.Direction, k.Absolute, k.Relative = test.direction, test.absolute, test.relativeMargin
			c.Checks = []Check{k}
			got := analyze(t, c, always("errors", test.on, test.onAll), always("errors", test.off, test.offAll)).Results[0]
			if got.Result != test.want || got.Test != test.test {
				t.Errorf("%s by %q, want %s by %q: %s", got.Result, got.Test, test.want, test.test, got.Reason)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	passes := func(name string) DataResult { return DataResult{Name: name, Result: Pass} }
	for _, test := range []struct {
		name      string
		wal       float64
		data      []DataResult
		threshold float64
		score     float64
		verdict   Verdict
	}{
		{"all pass", 100, []DataResult{passes("checksum-up"), passes("rows")}, 1, 1, Passed},
		{"a metric fails", 200, []DataResult{passes("checksum-up"), passes("rows")}, 0.95, 2.0 / 3, BelowThreshold},
		{"a metric fails, as is accepted", 200, []DataResult{passes("checksum-up"), passes("rows")}, 2.0 / 3, 2.0 / 3, Passed},
		{"a data check did not run", 100, []DataResult{passes("checksum-up")}, 0.95, 2.0 / 3, BelowThreshold},
		{"a data check is inconclusive", 100, []DataResult{passes("checksum-up"), {Name: "rows", Result: Inconclusive}}, 0.95, 2.0 / 3, BelowThreshold},
		{"a data check fails", 100, []DataResult{passes("checksum-up"), {Name: "rows", Result: Fail, Detail: "3 rows differ"}}, 0.1, 2.0 / 3, Blocked},
		{"another data check fails", 100, []DataResult{passes("checksum-up"), passes("rows"), {Name: "mine", Result: Fail}}, 0.1, 0.75, Blocked},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := NewConfig(seed, 8)
			c.Threshold = test.threshold
			tail := NewTail("p99", "s", 0.99) // is only reported
			c.Checks = []Check{NewCounter("wal", "B per transaction"), tail}
			c.DataChecks = []string{"checksum-up", "rows"}
			of := func(wal, p99 float64) func(int) map[string]Sample {
				return func(int) map[string]Sample { return map[string]Sample{"wal": {wal, 10}, "p99": {p99, 500}} }
			}
			r := analyze(t, c, of(test.wal, 9), of(100, 1), test.data...)
			if r.Score != test.score || r.Verdict != test.verdict {
				t.Errorf("score %g, %s, want %g, %s: %s", r.Score, r.Verdict, test.score, test.verdict, r.Summary)
			}
			if got := only(t, r, "p99"); got.Result != Fail || got.Required {
				t.Errorf("p99: %s, required %t", got.Result, got.Required)
			}
			t.Log(r.Summary)
		})
	}
}

// TestNoisyTails simulates runs without any effect whose tails differ by a
// factor of five. Failures are rarer than alpha.
func TestNoisyTails(t *testing.T) {
	soak.WithoutRace(t)
	random := rand.New(rand.NewPCG(1, 2))
	noisy := func(int) map[string]Sample {
		return map[string]Sample{"p99": {math.Exp(random.Float64() * math.Log(5)), 500}}
	}
	c := NewConfig(seed, 10)
	k := NewTail("p99", "s", 0.99)
	k.Required, k.Relative = true, 0
	c.Checks = []Check{k}
	failed := 0
	const runs = 200
	for range runs {
		if analyze(t, c, noisy, noisy).Results[0].Result == Fail {
			failed++
		}
	}
	// Half of alpha is on the bad side: 5 of 200 on average.
	if failed > 15 {
		t.Errorf("%d of %d identical runs failed", failed, runs)
	}
	t.Logf("%d of %d identical runs failed", failed, runs)
}

func TestInvalid(t *testing.T) {
	base := func() (Config, []Window) {
		c := NewConfig(seed, 3)
		c.Checks = []Check{NewCounter("wal", "B")}
		return c, measured(c, always("wal", 1, 1), always("wal", 1, 1))
	}
	for _, test := range []struct {
		name   string
		change func(*Config, *[]Window, *[]DataResult)
		want   string
	}{
		{"unknown check", func(c *Config, w *[]Window, _ *[]DataResult) { (*w)[0].Samples["p50"] = Sample{} }, "unknown check"},
		{"window twice", func(c *Config, w *[]Window, _ *[]DataResult) { (*w)[1].Copy = (*w)[0].Copy }, "drawn order"},
		{"other order", func(c *Config, w *[]Window, _ *[]DataResult) { (*w)[0].Copy, (*w)[1].Copy = (*w)[1].Copy, (*w)[0].Copy }, "drawn order"},
		{"other seed", func(c *Config, w *[]Window, _ *[]DataResult) { c.Seed = strings.Repeat("0", 32) }, "drawn order"},
		{"overlap", func(c *Config, w *[]Window, _ *[]DataResult) { (*w)[0].End = (*w)[1].End }, "overlaps"},
		{"no span", func(c *Config, w *[]Window, _ *[]DataResult) { (*w)[0].End = (*w)[0].Start }, "end after its start"},
		{"pair not planned", func(c *Config, w *[]Window, _ *[]DataResult) { (*w)[5].Pair = 3 }, "planned pair"},
		{"too many windows", func(c *Config, w *[]Window, _ *[]DataResult) { *w = append(*w, (*w)[5]) }, "at most 2 for each"},
		{"data check twice", func(_ *Config, _ *[]Window, d *[]DataResult) {
			*d = []DataResult{{Name: "a", Result: Pass}, {Name: "a", Result: Pass}}
		}, "twice"},
		{"data check of a metric", func(_ *Config, _ *[]Window, d *[]DataResult) { *d = []DataResult{{Name: "wal", Result: Pass}} }, "twice"},
		{"data check without result", func(_ *Config, _ *[]Window, d *[]DataResult) { *d = []DataResult{{Name: "a"}} }, "result must be"},
		{"name of a data check", func(_ *Config, _ *[]Window, d *[]DataResult) { *d = []DataResult{{Name: "A", Result: Pass}} }, "name must be"},
		{"seed", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Seed = "1" }, "seed must be"},
		{"alpha", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Alpha = math.NaN() }, "alpha must be"},
		{"threshold", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Threshold = 0 }, "threshold must be"},
		{"draws", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Draws = 10 }, "draws must be"},
		{"pairs", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Pairs = 129 }, "pairs must be"},
		{"no required check", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Checks[0].Required = false }, "required check"},
		{"margin", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Checks[0].Relative = math.Inf(1) }, "relative must be"},
		{"quantile", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Checks[0].Quantile = 0.5 }, "quantile must be absent"},
		{"kind", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Checks[0].Kind = Data }, "kind must be"},
		{"check twice", func(c *Config, _ *[]Window, _ *[]DataResult) { c.Checks = append(c.Checks, c.Checks[0]) }, "occurs twice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, windows := base()
			var data []DataResult
			test.change(&c, &windows, &data)
			if _, err := Judge(c, windows, data); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestMissingWindows judges an analysis that was interrupted.
func TestMissingWindows(t *testing.T) {
	c := NewConfig(seed, 10)
	c.Checks = []Check{NewCounter("wal", "B")}
	windows := measured(c, always("wal", 1, 1), always("wal", 1, 1))
	for _, test := range []struct {
		left int
		want Outcome
	}{{20, Pass}, {17, Pass}, {15, Inconclusive}, {0, Inconclusive}} {
		r, err := Judge(c, windows[:test.left], nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Results[0].Result != test.want {
			t.Errorf("%d windows: %s, want %s: %s", test.left, r.Results[0].Result, test.want, r.Results[0].Reason)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	c := NewConfig(seed, 8)
	c.Checks = []Check{NewCounter("wal", "B")}
	good, err := analyze(t, c, always("wal", 3, 1), always("wal", 1, 1)).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"result":"fail"`, `"result":"pass"`},
		{`"score":0`, `"score":1`},
		{`"passed":0`, `"passed":1`},
		{`"verdict":"below-threshold"`, `"verdict":"pass"`},
		{`"effect":2`, `"effect":2.1`},
		{`"value":3`, `"value":1`},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		if text == string(good) {
			t.Fatalf("%s is not in the report", change[0])
		}
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrReport) {
			t.Errorf("%s: error %v", change[1], err)
		}
	}
	for _, text := range []string{"", "{}", "[]", strings.Replace(string(good), `"score"`, `"more":1,"score"`, 1), strings.Replace(string(good), `"score":0`, `"score":0,"score":0`, 1)} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%.40q is accepted", text)
		}
	}
}

// TestSize checks that the largest report is within its limit.
func TestSize(t *testing.T) {
	soak.WithoutRace(t)
	c := NewConfig(seed, MaxPairs)
	c.Draws = minDraws
	value := func(int) map[string]Sample {
		samples := map[string]Sample{}
		for _, k := range c.Checks {
			samples[k.Name] = Sample{1.2345678901234567e-7, 12345678901.234567}
		}
		return samples
	}
	var data []DataResult
	for i := range MaxChecks {
		name := string(rune('a'+i/10)) + string(rune('0'+i%10)) + strings.Repeat("x", 61)
		k := NewTail(name, strings.Repeat("u", maxUnit), 0.123456789)
		k.Required = true
		c.Checks = append(c.Checks, k)
		data = append(data, DataResult{Name: "z" + name, Result: Fail, Detail: strings.Repeat("💥", 2*MaxDetail)})
		c.DataChecks = append(c.DataChecks, "z"+name)
	}
	text, err := analyze(t, c, value, value, data...).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(text))
}

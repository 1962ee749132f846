package aca

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"muniment.dev/muniment/internal/soak"
)

var update = flag.Bool("update", false, "write docs/spec/vectors/aca.json and aca-statistics.json")

const vectorsFolder = "../../../docs/spec/vectors/"

// A vector is a case of docs/spec/vectors/aca.json: a report, or an input that
// is invalid.
type vector struct {
	Name    string          `json:"name"`
	Report  json.RawMessage `json:"report,omitempty"`
	Invalid *vectorInput    `json:"invalid,omitempty"`
}

type vectorInput struct {
	Config     Config       `json:"config"`
	Windows    []Window     `json:"windows,omitempty"`
	DataChecks []DataResult `json:"dataChecks,omitempty"`
}

// vectorInputs returns the cases of the file.
func vectorInputs(t *testing.T) (names []string, inputs []vectorInput) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 16))
	add := func(name string, in vectorInput) { names, inputs = append(names, name), append(inputs, in) }
	for _, s := range spinnaker(t) {
		c := NewConfig(seed, len(s.Control))
		tail, counter := NewTail("p99", "s", 0.99), NewCounter("work", "")
		tail.Relative, tail.Required, tail.Direction = 0.05, true, Either
		counter.Relative, counter.Direction = 0.05, Either
		c.Checks = []Check{tail, counter}
		of := func(values []float64) func(int) map[string]Sample {
			return func(i int) map[string]Sample {
				return map[string]Sample{"p99": {values[i], 500}, "work": {values[i], 1}}
			}
		}
		add("spinnaker-6278-"+s.Name, vectorInput{Config: c, Windows: measured(c, of(s.Experiment), of(s.Control))})
	}
	full := func(pairs int) Config {
		c := NewConfig(seed, pairs)
		c.Checks = []Check{NewCounter("wal", "B per transaction"), NewCounter("lock-waits", "per transaction"), NewTail("p95", "s", 0.95), NewTail("p99", "s", 0.99), NewErrors("errors")}
		c.Checks[1].Absolute = 0.01
		c.DataChecks = []string{"checksum-up", "checksum-down", "nulls", "constraints", "rows", "sample"}
		return c
	}
	noise := func(share float64) float64 { return 1 + share*random.Float64() }
	service := func(factor, errors float64) func(int) map[string]Sample {
		return func(int) map[string]Sample {
			work := 1000 + float64(random.IntN(100))
			return map[string]Sample{
				"wal": {math.Round(factor * 900 * work * noise(0.02)), work}, "lock-waits": {float64(random.IntN(5)), work},
				"p95": {factor * 0.01 * noise(0.3), work}, "p99": {factor * 0.03 * noise(1.5), work}, "errors": {math.Round(errors * work), work},
			}
		}
	}
	data := func(results ...Outcome) (all []DataResult) {
		for i, name := range []string{"checksum-up", "checksum-down", "nulls", "constraints", "rows", "sample"}[:len(results)] {
			all = append(all, DataResult{Name: name, Result: results[i]})
		}
		return all
	}
	c := full(10)
	add("pass", vectorInput{c, measured(c, service(1, 0.001), service(1, 0.001)), data(Pass, Pass, Pass, Pass, Pass, Pass)})
	add("a data check fails", vectorInput{c, measured(c, service(1, 0.001), service(1, 0.001)), data(Pass, Fail, Fail, Pass, Pass, Pass)})
	add("data checks are missing", vectorInput{c, measured(c, service(1, 0.001), service(1, 0.001)), data(Pass, Inconclusive, Pass)})
	add("slower", vectorInput{c, measured(c, service(2, 0.001), service(1, 0.001)), data(Pass, Pass, Pass, Pass, Pass, Pass)})
	add("more errors", vectorInput{c, measured(c, service(1, 0.02), service(1, 0.001)), data(Pass, Pass, Pass, Pass, Pass, Pass)})
	add("interrupted", vectorInput{c, measured(c, service(1, 0.001), service(1, 0.001))[:7], data(Pass, Pass, Pass, Pass, Pass, Pass)})
	c = full(20)
	for i := range c.Checks {
		c.Checks[i].Required = true
	}
	c.Draws = minDraws
	windows := measured(c, service(1.5, 0.01), service(1, 0.001))
	delete(windows[3].Samples, "p99")
	delete(windows[9].Samples, "errors")
	add("draws, with missing samples", vectorInput{c, windows, data(Pass, Pass, Pass, Pass, Pass, Pass)})
	c = full(12)
	for i := range c.Checks {
		c.Checks[i].Direction = []Direction{Decrease, Either}[i%2]
		c.Checks[i].Required = true
	}
	add("other directions", vectorInput{c, measured(c, service(0.5, 0.001), service(1, 0.02)), nil})
	c = NewConfig(seed, 0)
	c.DataChecks = []string{"checksum-up"}
	add("data checks only", vectorInput{Config: c, DataChecks: data(Pass)})

	c = full(3)
	good := func() []Window { return measured(c, service(1, 0), service(1, 0)) }
	for _, bad := range []struct {
		name   string
		change func([]Window) []Window
	}{
		{"a window twice", func(w []Window) []Window { return append(w[:5], w[4]) }},
		{"another order", func(w []Window) []Window { w[0].Copy, w[1].Copy = w[1].Copy, w[0].Copy; return w }},
		{"overlap", func(w []Window) []Window { w[2].End = w[3].End; return w }},
		{"a pair that is not planned", func(w []Window) []Window { w[5].Pair = 3; return w }},
		{"an unknown check", func(w []Window) []Window { w[1].Samples["p50"] = Sample{1, 1}; return w }},
	} {
		add("invalid: "+bad.name, vectorInput{Config: c, Windows: bad.change(good())})
	}
	return names, inputs
}

func TestVectors(t *testing.T) {
	soak.WithoutRace(t)
	names, inputs := vectorInputs(t)
	var all []vector
	for i, in := range inputs {
		v := vector{Name: names[i]}
		if r, err := Judge(in.Config, in.Windows, in.DataChecks); err != nil {
			v.Invalid = &inputs[i]
		} else if v.Report, err = r.Marshal(); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	var file struct{ Cases []vector }
	readVectors(t, "aca.json", all, &file)
	if len(file.Cases) != len(all) {
		t.Fatalf("%d cases, must be %d: run the test with -update", len(file.Cases), len(all))
	}
	for i, v := range file.Cases {
		if v.Name != names[i] || (v.Invalid == nil) != (all[i].Invalid == nil) {
			t.Fatalf("case %s, must be %s: run the test with -update", v.Name, names[i])
		}
		if v.Invalid != nil {
			if _, err := Judge(v.Invalid.Config, v.Invalid.Windows, v.Invalid.DataChecks); err == nil {
				t.Errorf("%s is accepted", v.Name)
			}
			continue
		}
		have, err := Parse(v.Report)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		want, err := Judge(inputs[i].Config, inputs[i].Windows, inputs[i].DataChecks)
		if err != nil {
			t.Fatal(err)
		}
		if what := have.difference(want); what != "" {
			t.Errorf("%s: %s: run the test with -update", v.Name, what)
		}
	}
}

// readVectors reads a file of vectors, which it writes first with -update.
func readVectors[T any](t *testing.T, name string, cases []T, into any) {
	t.Helper()
	if *update {
		var b bytes.Buffer
		separator := "{\"cases\":[\n"
		for _, c := range cases { // a line each
			line, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString(separator)
			b.Write(line)
			separator = ",\n"
		}
		b.WriteString("\n]}\n")
		if err := os.WriteFile(vectorsFolder+name, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(vectorsFolder + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// A statisticsVector is a case of docs/spec/vectors/aca-statistics.json. It has
// one of its members.
type statisticsVector struct {
	Order  *orderVector  `json:"order,omitempty"`
	Draw   *drawVector   `json:"draw,omitempty"`
	Tail   *tailVector   `json:"tail,omitempty"`
	Errors *errorsVector `json:"errors,omitempty"`
}

// An orderVector states for each pair whether the copy comes first.
type orderVector struct {
	Seed      string `json:"seed"`
	CopyFirst []bool `json:"copyFirst"`
}

// A drawVector has the positions below 128 that a draw chooses.
type drawVector struct {
	Seed   string `json:"seed"`
	Name   string `json:"name"`
	K      int    `json:"k"`
	Chosen []int  `json:"chosen"`
}

type tailVector struct {
	Seed      string      `json:"seed"`
	Name      string      `json:"name"`
	Draws     int         `json:"draws"`
	Direction Direction   `json:"direction"`
	Alpha     float64     `json:"alpha"`
	D         []float64   `json:"d"` // differences
	P         float64     `json:"p"`
	Interval  *[2]float64 `json:"interval,omitempty"`
}

type errorsVector struct {
	Direction Direction  `json:"direction"`
	Alpha     float64    `json:"alpha"`
	On        [2]float64 `json:"on"`  // failed and all requests with the copy
	Off       [2]float64 `json:"off"` // and without
	Test      Test       `json:"test"`
	P         float64    `json:"p"`
	Interval  [2]float64 `json:"interval"`
}

// compute sets the results of the case.
func (v *statisticsVector) compute() {
	if o := v.Order; o != nil {
		for i := range o.CopyFirst {
			o.CopyFirst[i] = copyFirst(o.Seed, i)
		}
	}
	if d := v.Draw; d != nil {
		bits := chosen(d.Seed, d.Name, d.K)
		d.Chosen = []int{}
		for j := range MaxPairs {
			if bits[j/8]>>(j%8)&1 == 1 {
				d.Chosen = append(d.Chosen, j)
			}
		}
	}
	if x := v.Tail; x != nil {
		p := permute(x.D, x.Direction, x.Seed, x.Name, x.Draws)
		x.P, x.Interval = p.value(), nil
		if ends, ok := p.interval(x.Alpha); ok {
			x.Interval = &ends
		}
	}
	if e := v.Errors; e != nil {
		table := table{e.On[0], e.On[1], e.Off[0], e.Off[1]}
		e.P, e.Test = table.p(e.Direction)
		e.Interval = table.interval(e.Alpha)
	}
}

// randomTail returns n differences, some of which are equal.
func randomTail(random *rand.Rand, n int) *tailVector {
	x := &tailVector{Seed: seed, Name: "p99", Draws: minDraws, Direction: []Direction{Increase, Decrease, Either}[random.IntN(3)], Alpha: []float64{0.05, 0.01, 0.2, 0.05 / 3}[random.IntN(4)]}
	shift := float64(random.IntN(5)-2) / 2
	for range n {
		d := random.NormFloat64() + shift
		if random.IntN(3) == 0 {
			d = math.Round(d)
		}
		x.D = append(x.D, d)
	}
	return x
}

// randomErrors returns a table of any size. Half of them have few failures.
func randomErrors(random *rand.Rand) *errorsVector {
	e := &errorsVector{Direction: []Direction{Increase, Decrease, Either}[random.IntN(3)], Alpha: []float64{0.05, 0.01, 0.2, 0.05 / 3}[random.IntN(4)]}
	size := math.Pow(10, 1+5*random.Float64())
	of := func() [2]float64 {
		all := 1 + math.Floor(size*random.Float64())
		failed := math.Floor(all * random.Float64())
		if random.IntN(2) == 0 {
			failed = min(all, float64(random.IntN(12)))
		}
		return [2]float64{failed, all}
	}
	e.On, e.Off = of(), of()
	return e
}

func TestStatisticsVectors(t *testing.T) {
	soak.WithoutRace(t)
	random := rand.New(rand.NewPCG(2, 16))
	var all []statisticsVector
	for _, s := range []string{seed, "ffffffffffffffffffffffffffffffff", "00000000000000000000000000000000"} {
		all = append(all, statisticsVector{Order: &orderVector{Seed: s, CopyFirst: make([]bool, 24)}})
	}
	for _, k := range []int{0, 1, 9998} {
		all = append(all, statisticsVector{Draw: &drawVector{Seed: seed, Name: "p99", K: k}})
	}
	for n := 1; n <= 18; n++ {
		for range 3 {
			all = append(all, statisticsVector{Tail: randomTail(random, n)})
		}
	}
	for range 60 {
		all = append(all, statisticsVector{Errors: randomErrors(random)})
	}
	for i := range all {
		all[i].compute()
	}
	var file struct{ Cases []statisticsVector }
	readVectors(t, "aca-statistics.json", all, &file)
	if len(file.Cases) != len(all) {
		t.Fatalf("%d cases, must be %d: run the test with -update", len(file.Cases), len(all))
	}
	for i, have := range file.Cases {
		if !nearJSON(t, have, all[i]) {
			t.Errorf("case %d differs: run the test with -update", i)
		}
	}
}

// nearJSON reports whether two values have equal JSON, but for rounding.
func nearJSON(t *testing.T, a, b any) bool {
	t.Helper()
	var trees [2]any
	for i, v := range []any{a, b} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &trees[i]); err != nil {
			t.Fatal(err)
		}
	}
	return nearTree(trees[0], trees[1])
}

func nearTree(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= tolerance*max(1, math.Abs(a))
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !nearTree(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name := range a {
			if !nearTree(a[name], b[name]) {
				return false
			}
		}
		return true
	}
	return a == b
}

package sim

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A Run is one replay of a pattern: the same faults, with the same seed, once
// with triage and once without. Times count from the first fault. A time that
// is 0 did not occur before the run ended.
type Run struct {
	Pattern string
	Seed    uint64
	Truth   Truth
	Length  time.Duration // from the first fault until the end

	Without Arm
	With    Arm
}

// An Arm is what happened in a run, with or without triage.
type Arm struct {
	Alerted    time.Duration // the pager of the person on call received an alert
	Classified string        // the first incident type, if any
	Acted      time.Duration // the first action was confirmed
	Actions    int           // all actions, without those that undo others
	Wrong      int           // those of another type than the truth
}

// A Verdict is the result of triage in a run.
type Verdict string

// Verdicts.
const (
	Right     Verdict = "right"     // the right action, or none where none is right
	Wrong     Verdict = "wrong"     // an action that is not right
	Abstained Verdict = "abstained" // no action, although one is right
)

// Verdict returns whether triage was right. Any wrong action makes it wrong.
func (r Run) Verdict() Verdict {
	switch a := r.With; {
	case a.Wrong > 0:
		return Wrong
	case r.Truth.Type == "":
		return Right
	case a.Acted > 0 && a.Classified == r.Truth.Type:
		return Right
	default:
		return Abstained
	}
}

// person returns when a person can begin to acknowledge. An alert that did not
// fire counts as if it had fired at the end.
func (r Run) person(a Arm) time.Duration { return cmp.Or(a.Alerted, r.Length) }

// A Human is a lognormal distribution of the time from an alert until a person
// acknowledges it. No such time is measured here: the results are published for
// many of them.
type Human struct {
	Median time.Duration
	Sigma  float64 // of the logarithm
}

// mean returns the expected value.
func (h Human) mean() float64 {
	return h.Median.Seconds() * math.Exp(h.Sigma*h.Sigma/2)
}

// atMost returns the expected value of min(c, X), both in seconds.
func (h Human) atMost(c float64) float64 {
	if c <= 0 {
		return 0
	}
	z := math.Log(c/h.Median.Seconds()) / h.Sigma
	return h.mean()*normal(z-h.Sigma) + c*(1-normal(z))
}

// normal is the distribution function of the standard normal distribution.
func normal(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// first returns the expected times to the first action in both arms, in
// seconds. In the arm without triage, a person acts. With triage it is the
// right action or the person, whichever is earlier. A wrong action does not
// count, and a right one does not after a wrong one.
func (r Run) first(h Human) (without, with float64) {
	without = r.person(r.Without).Seconds() + h.mean()
	alerted := r.person(r.With)
	if r.Truth.Type == "" || r.Verdict() != Right {
		return without, alerted.Seconds() + h.mean()
	}
	if r.With.Acted <= alerted {
		return without, r.With.Acted.Seconds()
	}
	return without, alerted.Seconds() + h.atMost((r.With.Acted - alerted).Seconds())
}

// An Estimate is a number with its 95 % confidence interval.
type Estimate struct{ Value, Low, High float64 }

// A Cell is the result for one distribution of acknowledgement times.
type Cell struct {
	Human         Human
	Without, With time.Duration // mean time to the first action
	Reduction     Estimate      // 1 - With/Without
}

// A BreakEven is the median acknowledgement time from which the goal holds, in
// seconds. It is +Inf if it does not hold up to 24 hours.
type BreakEven struct {
	Sigma  float64
	Median Estimate
}

// Options configure Compute.
type Options struct {
	Medians   []time.Duration
	Sigmas    []float64
	Goal      float64 // such as 0.3
	Resamples int
	Seed      uint64
}

// Grid returns the options that docs/triage.md uses.
func Grid(seed uint64) Options {
	return Options{
		Medians: []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute},
		Sigmas:  []float64{0.5, 1, 1.5}, Goal: 0.3, Resamples: 2000, Seed: seed,
	}
}

// A Result is what Compute returns.
type Result struct {
	Cells      []Cell
	BreakEvens []BreakEven
	False      Estimate // share of runs with a wrong action
	FalseBy    Estimate // share of patterns with a wrong action in any run
}

// Compute returns the mean time to the first action over the incidents among
// the runs, and the rate of false actions over all of them. Intervals of means
// are percentiles of a bootstrap in two stages, first of patterns and then of
// the runs of each, because runs of one pattern resemble each other. Those of
// shares are by Clopper and Pearson.
func Compute(runs []Run, o Options) Result {
	var res Result
	groups := incidents(runs)
	picks := resample(groups, o)
	for _, sigma := range o.Sigmas {
		for _, median := range o.Medians {
			h := Human{Median: median, Sigma: sigma}
			s := sums(groups, h)
			without, with := s.mean(nil)
			cell := Cell{Human: h, Without: seconds(without), With: seconds(with)}
			cell.Reduction = estimate(1-with/without, picks, func(p pick) float64 {
				without, with := s.mean(p)
				return 1 - with/without
			})
			res.Cells = append(res.Cells, cell)
		}
		res.BreakEvens = append(res.BreakEvens, breakEven(groups, picks, sigma, o.Goal))
	}
	res.False, res.FalseBy = falseActions(runs)
	return res
}

// incidents returns the runs of incidents by their patterns.
func incidents(runs []Run) [][]Run {
	by := map[string][]Run{}
	for _, r := range runs {
		if r.Truth.Incident() {
			by[r.Pattern] = append(by[r.Pattern], r)
		}
	}
	var groups [][]Run
	for _, name := range sortedNames(by) {
		groups = append(groups, by[name])
	}
	return groups
}

// A pick counts how often a resample has each run.
type pick [][]int

func resample(groups [][]Run, o Options) []pick {
	random := rand.New(rand.NewPCG(o.Seed, 18))
	picks := make([]pick, o.Resamples)
	for i := range picks {
		p := make(pick, len(groups))
		for g := range groups {
			p[g] = make([]int, len(groups[g]))
		}
		for range groups {
			g := random.IntN(len(groups))
			for range groups[g] {
				p[g][random.IntN(len(groups[g]))]++
			}
		}
		picks[i] = p
	}
	return picks
}

// totals has the expected times of each run, in seconds.
type totals [][][2]float64

func sums(groups [][]Run, h Human) totals {
	s := make(totals, len(groups))
	for g, runs := range groups {
		for _, r := range runs {
			without, with := r.first(h)
			s[g] = append(s[g], [2]float64{without, with})
		}
	}
	return s
}

// mean returns the mean times of a resample, or of all runs.
func (s totals) mean(p pick) (without, with float64) {
	n := 0.0
	for g := range s {
		for i, t := range s[g] {
			weight := 1.0
			if p != nil {
				weight = float64(p[g][i])
			}
			n += weight
			without += weight * t[0]
			with += weight * t[1]
		}
	}
	return without / n, with / n
}

// estimate returns a value with the percentiles of it in the resamples.
func estimate(value float64, picks []pick, of func(pick) float64) Estimate {
	all := make([]float64, len(picks))
	for i, p := range picks {
		all[i] = of(p)
	}
	slices.Sort(all)
	at := func(q float64) float64 { return all[int(q*float64(len(all)-1)+0.5)] }
	return Estimate{Value: value, Low: at(0.025), High: at(0.975)}
}

// breakEven searches medians from a second to a day, in steps of 2 %.
func breakEven(groups [][]Run, picks []pick, sigma, goal float64) BreakEven {
	const step = 1.02
	var medians []float64
	var tables []totals
	for m := 1.0; m <= 86400; m *= step {
		medians = append(medians, m)
		tables = append(tables, sums(groups, Human{Median: seconds(m), Sigma: sigma}))
	}
	from := func(p pick) float64 {
		// The reduction grows with the median.
		i, _ := slices.BinarySearchFunc(tables, goal, func(s totals, goal float64) int {
			without, with := s.mean(p)
			return cmp.Compare(1-with/without, goal)
		})
		if i == len(medians) {
			return math.Inf(1)
		}
		return medians[i]
	}
	return BreakEven{Sigma: sigma, Median: estimate(from(nil), picks, from)}
}

func falseActions(runs []Run) (of, by Estimate) {
	wrong, patterns := 0, map[string]bool{}
	for _, r := range runs {
		bad := r.Verdict() == Wrong
		if bad {
			wrong++
		}
		patterns[r.Pattern] = patterns[r.Pattern] || bad
	}
	bad := 0
	for _, is := range patterns {
		if is {
			bad++
		}
	}
	return share(wrong, len(runs)), share(bad, len(patterns))
}

// share returns k of n with its interval by Clopper and Pearson, whose ends are
// where k or more, and k or fewer, have the probability 2.5 %.
func share(k, n int) Estimate {
	e := Estimate{Value: float64(k) / float64(n), High: 1}
	if k > 0 {
		e.Low = bisect(func(p float64) bool { return 1-atMost(k-1, n, p) >= 0.025 })
	}
	if k < n {
		e.High = bisect(func(p float64) bool { return atMost(k, n, p) <= 0.025 })
	}
	return e
}

// bisect returns the least p in [0, 1] from which the condition is true.
func bisect(is func(float64) bool) float64 {
	low, high := 0.0, 1.0
	for range 60 {
		if mid := (low + high) / 2; is(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// atMost returns the probability of at most k successes in n trials.
func atMost(k, n int, p float64) float64 {
	if p <= 0 {
		return 1
	}
	if p >= 1 {
		return 0
	}
	sum := 0.0
	all, _ := math.Lgamma(float64(n + 1))
	for i := range k + 1 {
		hits, _ := math.Lgamma(float64(i + 1))
		misses, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(all - hits - misses + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return min(sum, 1)
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

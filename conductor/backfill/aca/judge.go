package aca

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// tolerance is the relative size of differences that rounding explains.
const tolerance = 1e-9

// harm returns a difference as a number that is positive if it is bad.
func harm(direction Direction, difference float64) float64 {
	if direction == Decrease {
		return -difference
	}
	return difference
}

// Judge returns the report on the windows and data checks. An error means that
// the input is invalid. Missing windows and samples are no error.
func Judge(c Config, windows []Window, data []DataResult) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	windows, err := c.normalize(windows)
	if err != nil {
		return nil, err
	}
	r := &Report{Format: Format, Config: c, Windows: windows}
	if err := r.addData(data); err != nil {
		return nil, err
	}
	for i := range c.Checks {
		r.Results = append(r.Results, c.judge(&c.Checks[i], windows))
	}
	r.conclude()
	return r, nil
}

// normalize returns a copy of the windows, in order, as the report has them.
func (c *Config) normalize(windows []Window) ([]Window, error) {
	if len(windows) > 2*c.Pairs {
		return nil, fmt.Errorf("canary analysis: %d windows for %d pairs: must be at most 2 for each", len(windows), c.Pairs)
	}
	known := map[string]bool{}
	for _, k := range c.Checks {
		known[k.Name] = true
	}
	windows = slices.Clone(windows)
	slices.SortStableFunc(windows, func(a, b Window) int { return a.Start.Compare(b.Start) })
	last, end := -1, time.Time{}
	for i := range windows {
		w := &windows[i]
		if w.Pair < 0 || w.Pair >= c.Pairs {
			return nil, fmt.Errorf("canary analysis: window of pair %d: must be a planned pair, 0 to %d", w.Pair, c.Pairs-1)
		}
		at := 2 * w.Pair // its place in the order
		if w.Copy != copyFirst(c.Seed, w.Pair) {
			at++
		}
		w.Start, w.End = w.Start.UTC(), w.End.UTC()
		switch {
		case at <= last:
			return nil, fmt.Errorf("canary analysis: window of pair %d with copy %t: does not follow the drawn order", w.Pair, w.Copy)
		case !w.End.After(w.Start):
			return nil, fmt.Errorf("canary analysis: window of pair %d with copy %t: must end after its start", w.Pair, w.Copy)
		case w.Start.Before(end):
			return nil, fmt.Errorf("canary analysis: window of pair %d with copy %t: overlaps the window before", w.Pair, w.Copy)
		}
		last, end = at, w.End
		samples := make(map[string]Sample, len(w.Samples))
		for name, s := range w.Samples {
			if !known[name] {
				return nil, fmt.Errorf("canary analysis: window of pair %d: sample of the unknown check %.64q", w.Pair, name)
			}
			if within(s.Value, maxNumber) && within(s.Per, maxNumber) {
				samples[name] = s
			}
		}
		w.Samples = samples
	}
	return windows, nil
}

// addData adds the results of the data checks: the required ones, then others.
func (r *Report) addData(data []DataResult) error {
	if len(data) > MaxChecks {
		return fmt.Errorf("canary analysis: %d results of data checks: must be at most %d", len(data), MaxChecks)
	}
	metrics, given := map[string]bool{}, map[string]DataResult{}
	for _, k := range r.Config.Checks {
		metrics[k.Name] = true
	}
	names := slices.Clone(r.Config.DataChecks)
	for _, d := range data {
		_, twice := given[d.Name]
		switch {
		case !namePattern.MatchString(d.Name):
			return fmt.Errorf("canary analysis: data check %.64q: name %s", d.Name, nameRule)
		case twice || metrics[d.Name]:
			return fmt.Errorf("canary analysis: data check %s: name occurs twice", d.Name)
		case d.Result != Pass && d.Result != Fail && d.Result != Inconclusive:
			return fmt.Errorf("canary analysis: data check %s: result must be pass, fail or inconclusive", d.Name)
		}
		d.Detail = shorten(d.Detail, MaxDetail)
		given[d.Name] = d
		r.DataChecks = append(r.DataChecks, d)
		if !slices.Contains(names, d.Name) {
			names = append(names, d.Name)
		}
	}
	for _, name := range names {
		result := Result{Name: name, Kind: Data, Required: true, Result: Inconclusive, Reason: "did not run"}
		if d, ok := given[name]; ok {
			result.Result, result.Reason = d.Result, d.Detail
		}
		if result.Reason == "" {
			result.Reason = map[Outcome]string{Pass: "no difference", Fail: "differs", Inconclusive: "did not run"}[result.Result]
		}
		r.Results = append(r.Results, result)
	}
	return nil
}

// kept returns the samples of the check in its kept pairs.
func (k *Check) kept(windows []Window, pairs int) (on, off []Sample) {
	type pair struct{ on, off *Sample }
	all := make([]pair, pairs)
	for _, w := range windows {
		s, ok := w.Samples[k.Name]
		switch {
		case !ok || !k.counts(s):
		case w.Copy:
			all[w.Pair].on = &s
		default:
			all[w.Pair].off = &s
		}
	}
	for _, p := range all {
		if p.on != nil && p.off != nil {
			on, off = append(on, *p.on), append(off, *p.off)
		}
	}
	return on, off
}

// counts reports whether a sample counts. Its numbers are within the limits of
// all samples.
func (k *Check) counts(s Sample) bool {
	if s.Per < max(minPer, k.MinPer) {
		return false
	}
	whole := func(x float64) bool { return within(x, maxCount) && x == math.Trunc(x) }
	return k.Kind != Errors || whole(s.Value) && whole(s.Per) && s.Value <= s.Per
}

// judge returns the result of a check of a metric.
func (c *Config) judge(k *Check, windows []Window) Result {
	on, off := k.kept(windows, c.Pairs)
	n, dropped := len(on), c.Pairs-len(on)
	r := Result{Name: k.Name, Kind: k.Kind, Required: k.Required, Result: Inconclusive, Pairs: &n, Dropped: &dropped}
	if n > 0 {
		r.compare(k, on, off)
	}
	switch {
	case n < c.MinPairs:
		r.Reason = fmt.Sprintf("%d of %d pairs of windows have both samples: at least %d are necessary", n, c.Pairs, c.MinPairs)
	case 5*dropped > c.Pairs:
		r.Reason = fmt.Sprintf("%d of %d pairs of windows lack a sample: at most a fifth may", dropped, c.Pairs)
	case k.Kind == Counter:
		r.judgeCounter(k)
	case k.Kind == Tail:
		r.judgeTail(k, c, on, off)
	default:
		r.judgeErrors(k, c, on, off)
	}
	return r
}

// compare sets the values with and without the copy, the effect and margin.
func (r *Result) compare(k *Check, on, off []Sample) {
	value := func(samples []Sample) float64 {
		sum, per := 0.0, 0.0
		for _, s := range samples {
			sum, per = sum+s.Value, per+s.Per
		}
		if k.Kind == Tail {
			return sum / float64(len(samples))
		}
		return sum / per
	}
	with, without := value(on), value(off)
	effect, margin := with-without, max(k.Absolute, k.Relative*without)
	r.On, r.Off, r.Effect, r.Margin = &with, &without, &effect, &margin
}

// exceeds reports whether a harm exceeds the margin, or for the direction
// either the opposite of other does.
func (r *Result) exceeds(k *Check, harm, other float64) bool {
	slack := tolerance * max(*r.On, *r.Off)
	return harm-*r.Margin > slack || k.Direction == Either && -other-*r.Margin > slack
}

// change describes the effect for people.
func (r *Result) change(k *Check) string {
	word := "more"
	if *r.Effect < 0 {
		word = "less"
	}
	return fmt.Sprintf("%s with the copy, %s without: %s %s, accepted are %s",
		k.inUnit(*r.On), k.inUnit(*r.Off), k.inUnit(math.Abs(*r.Effect)), word, k.inUnit(*r.Margin))
}

func (r *Result) judgeCounter(k *Check) {
	r.Result, r.Reason = Pass, r.change(k)
	if h := harm(k.Direction, *r.Effect); r.exceeds(k, h, h) {
		r.Result = Fail
	}
}

// ends returns the interval of the harm.
func (r *Result) ends(k *Check) (low, high float64) {
	if k.Direction == Decrease {
		return -r.Interval[1], -r.Interval[0]
	}
	return r.Interval[0], r.Interval[1]
}

func (r *Result) judgeTail(k *Check, c *Config, on, off []Sample) {
	d := make([]float64, len(on))
	for i := range on {
		d[i] = on[i].Value - off[i].Value
	}
	permuted := permute(d, k.Direction, c.Seed, k.Name, c.Draws)
	alpha, p := c.alpha(), permuted.value()
	r.Test, r.Alpha, r.P = PermutationDraws, &alpha, &p
	if permuted.exact {
		r.Test = Permutation
	}
	interval, ok := permuted.interval(alpha)
	if !ok {
		r.Reason = fmt.Sprintf("%d pairs of windows are too few for an interval at alpha = %.3g", len(on), alpha)
		return
	}
	r.Interval = &interval
	low, high := r.ends(k)
	switch {
	case r.exceeds(k, low, high):
		r.Result = Fail
	case !r.exceeds(k, high, low):
		r.Result = Pass
	}
	r.Reason = r.change(k) + r.span(k)
}

func (r *Result) judgeErrors(k *Check, c *Config, on, off []Sample) {
	var t table
	for i := range on {
		t.onFailed, t.on = t.onFailed+on[i].Value, t.on+on[i].Per
		t.offFailed, t.off = t.offFailed+off[i].Value, t.off+off[i].Per
	}
	p, test := t.p(k.Direction)
	alpha := c.alpha()
	interval := t.interval(alpha)
	r.P, r.Test, r.Alpha, r.Interval = &p, test, &alpha, &interval
	low, high := r.ends(k)
	h := harm(k.Direction, *r.Effect)
	switch {
	case r.exceeds(k, h, h) && p <= alpha*(1+tolerance):
		r.Result = Fail
	case !r.exceeds(k, high, low):
		r.Result = Pass
	}
	r.Reason = fmt.Sprintf("%s%s, p = %.3g", r.change(k), r.span(k), p)
}

// span describes the interval for people.
func (r *Result) span(k *Check) string {
	text := fmt.Sprintf(", interval %s to %s", k.inUnit(r.Interval[0]), k.inUnit(r.Interval[1]))
	if r.Result == Inconclusive {
		text += ", too wide"
	}
	return text
}

// conclude sets the score, the verdict and the summary.
func (r *Report) conclude() {
	blocked := false
	for _, result := range r.Results {
		if result.Required {
			r.Of++
			if result.Result == Pass {
				r.Passed++
			}
		}
		blocked = blocked || result.Kind == Data && result.Result == Fail
	}
	r.Score = float64(r.Passed) / float64(r.Of)
	switch {
	case blocked:
		r.Verdict = Blocked
	case r.Score >= r.Config.Threshold:
		r.Verdict = Passed
	default:
		r.Verdict = BelowThreshold
	}
	r.Summary = r.summarize()
}

// summarize returns one line for people.
func (r *Report) summarize() string {
	var others []string
	for _, result := range r.Results {
		if result.Required && result.Result != Pass {
			others = append(others, fmt.Sprintf("%s %s", result.Name, map[Outcome]string{Fail: "failed", Inconclusive: "is inconclusive"}[result.Result]))
		}
	}
	verdict := map[Verdict]string{
		Passed:         fmt.Sprintf("at least the threshold of %g", r.Config.Threshold),
		BelowThreshold: fmt.Sprintf("below the threshold of %g", r.Config.Threshold),
		Blocked:        "blocked by a data check",
	}[r.Verdict]
	text := fmt.Sprintf("ACA score %.4g, %s: %d of %d required checks passed", r.Score, verdict, r.Passed, r.Of)
	if len(others) > 0 {
		text += "; " + strings.Join(others, ", ")
	}
	return shorten(text, MaxDetail)
}

// shorten returns at most n characters of valid UTF-8.
func shorten(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

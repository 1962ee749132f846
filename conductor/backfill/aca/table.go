package aca

import "math"

// A table has the failed and other requests with and without the copy. All
// four are integers of at most 128 × 10⁹, so their sums are exact.
type table struct {
	onFailed, on   float64 // failed requests, all requests
	offFailed, off float64
}

// minExpected is the least expected count with which the χ² test applies.
const minExpected = 5

// expected returns the expected counts: failed and other requests with the
// copy, then those without.
func (t *table) expected() [4]float64 {
	failed, all := t.onFailed+t.offFailed, t.on+t.off
	share, rest := failed/all, (all-failed)/all
	return [4]float64{t.on * share, t.on * rest, t.off * share, t.off * rest}
}

// p returns the p-value, and the test that it is of.
func (t *table) p(direction Direction) (float64, Test) {
	expected := t.expected()
	if min(expected[0], expected[1], expected[2], expected[3]) < minExpected {
		return t.fisher(direction), Fisher
	}
	delta := max(0, math.Abs(t.onFailed-expected[0])-0.5)
	statistic := 0.0
	for _, e := range expected {
		statistic += delta * delta / e
	}
	q := math.Erfc(math.Sqrt(statistic / 2))
	if direction == Either {
		return q, ChiSquared
	}
	if harm(direction, t.onFailed/t.on-t.offFailed/t.off) > 0 {
		return q / 2, ChiSquared
	}
	return 1 - q/2, ChiSquared
}

// slightly compares probabilities that differ by rounding alone.
const slightly = 1 + 1e-7

// fisher returns the p-value of Fisher's exact test. It adds up probabilities
// relative to that of the most probable table, which needs no factorials. One
// expected count is below 5, so there are few tables.
func (t *table) fisher(direction Direction) float64 {
	failed, all := t.onFailed+t.offFailed, t.on+t.off
	least, most := max(0, failed-t.off), min(failed, t.on)
	// next returns the probability of x+1 failures with the copy, divided by
	// that of x.
	next := func(x float64) float64 {
		return (failed - x) / (x + 1) * ((t.on - x) / (t.off - failed + x + 1))
	}
	mode := min(most, max(least, math.Floor((t.on+1)*(failed+1)/(all+2))))
	observed := 1.0
	for x := mode; x < t.onFailed; x++ {
		observed *= next(x)
	}
	for x := mode; x > t.onFailed; x-- {
		observed /= next(x - 1)
	}
	sum, chosen := 0.0, 0.0
	add := func(x, weight float64) {
		sum += weight
		switch {
		case direction == Increase && x >= t.onFailed,
			direction == Decrease && x <= t.onFailed,
			direction == Either && weight <= observed*slightly:
			chosen += weight
		}
	}
	weight := 1.0
	for x := mode; x <= most; x++ {
		add(x, weight)
		weight *= next(x)
	}
	weight = 1.0
	for x := mode - 1; x >= least; x-- {
		weight /= next(x)
		add(x, weight)
	}
	return min(1, chosen/sum)
}

// interval returns Newcombe's interval of the difference of the shares, at the
// level 1 − alpha.
func (t *table) interval(alpha float64) [2]float64 {
	z := math.Sqrt2 * math.Erfinv(1-alpha)
	on, off := t.onFailed/t.on, t.offFailed/t.off
	onLow, onHigh := wilson(on, t.on, z)
	offLow, offHigh := wilson(off, t.off, z)
	effect := on - off
	return [2]float64{
		effect - math.Hypot(on-onLow, offHigh-off),
		effect + math.Hypot(onHigh-on, off-offLow),
	}
}

// wilson returns Wilson's interval of a share of n.
func wilson(share, n, z float64) (low, high float64) {
	z2 := z * z / n
	middle := (share + z2/2) / (1 + z2)
	half := z / (1 + z2) * math.Sqrt(share*(1-share)/n+z2/n/4)
	return max(0, middle-half), min(1, middle+half)
}

package aca

import (
	"math"
	"slices"
)

// maxExact is the largest number of pairs whose assignments are all visited.
const maxExact = 14

// A permutation holds the results of visiting assignments of pairs.
type permutation struct {
	means   []float64 // means of the chosen differences, ascending
	extreme int       // assignments at least as extreme as the observed one
	exact   bool
}

// permute visits the assignments of the differences: all of them, or as many
// draws as given.
func permute(d []float64, direction Direction, seed, check string, draws int) permutation {
	p := permutation{exact: len(d) <= maxExact}
	visit := p.visitor(d, direction)
	if p.exact {
		for mask := range 1 << len(d) {
			visit(func(j int) bool { return mask>>j&1 == 1 })
		}
	} else {
		for k := range draws {
			bits := chosen(seed, check, k)
			visit(func(j int) bool { return bits[j/8]>>(j%8)&1 == 1 })
		}
	}
	slices.Sort(p.means)
	return p
}

// visitor returns a function that adds one assignment to p.
func (p *permutation) visitor(d []float64, direction Direction) func(chosen func(int) bool) {
	observed, size := 0.0, 0.0
	for _, x := range d {
		observed += x
		size += math.Abs(x)
	}
	least := harm(direction, observed)
	if direction == Either {
		least = math.Abs(observed)
	}
	least -= tolerance * size
	return func(chosen func(int) bool) {
		sum, signed, n := 0.0, 0.0, 0
		for j, x := range d {
			if chosen(j) {
				sum, signed, n = sum+x, signed+x, n+1
			} else {
				signed -= x
			}
		}
		is := harm(direction, signed)
		if direction == Either {
			is = math.Abs(signed)
		}
		if is >= least {
			p.extreme++
		}
		switch {
		case n > 0:
			p.means = append(p.means, sum/float64(n))
		case !p.exact:
			p.means = append(p.means, observed/float64(len(d)))
		}
	}
}

// interval returns the interval of the difference at the level 1 − alpha, and
// false if the assignments are too few for it.
func (p *permutation) interval(alpha float64) ([2]float64, bool) {
	m := len(p.means)
	k := int(math.Floor(alpha/2*float64(m+1) + tolerance))
	if k == 0 {
		return [2]float64{}, false
	}
	return [2]float64{p.means[k-1], p.means[m-k]}, true
}

// value returns the p-value.
func (p *permutation) value() float64 {
	if p.exact {
		return float64(p.extreme) / float64(len(p.means)+1)
	}
	return float64(1+p.extreme) / float64(1+len(p.means))
}

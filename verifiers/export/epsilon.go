package export

import (
	"math/big"
)

// terms is the number of terms of the series of a logarithm.
const terms = 40

var (
	// scaleS is S of docs/spec/export-manifest.md, section 5.
	scaleS = new(big.Int).Exp(big.NewInt(10), big.NewInt(40), nil)
	// ln2 is S·ln 2, rounded up.
	ln2, _ = new(big.Int).SetString("6931471805599453094172321214581765680756", 10)
)

// ceilQuo returns a/b, rounded up, for a ≥ 0 and b > 0.
func ceilQuo(a, b *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(a, b, new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, one)
	}
	return q
}

// logOfInverse returns ℓ(D): an upper bound of S·ln(T/D), for 0 < D < T. It
// follows docs/spec/export-manifest.md, section 5.
func logOfInverse(d *big.Int) *big.Int {
	k, m := int64(0), new(big.Int).Set(d)
	for {
		double := new(big.Int).Lsh(m, 1)
		if double.Cmp(scaleT) > 0 {
			break
		}
		k, m = k+1, double
	}
	z := new(big.Int).Sub(scaleT, m)
	z = ceilQuo(z.Mul(z, scaleS), new(big.Int).Add(scaleT, m))
	y := ceilQuo(new(big.Int).Mul(z, z), scaleS)
	t, s := z, new(big.Int)
	for i := range int64(terms) {
		s.Add(s, ceilQuo(t, big.NewInt(2*i+1)))
		t = ceilQuo(new(big.Int).Mul(t, y), scaleS)
	}
	s.Add(s, t)
	s.Lsh(s, 1)
	return s.Add(s, new(big.Int).Mul(big.NewInt(k), ln2))
}

// Holds reports whether ρ-zCDP implies (ε, δ)-differential privacy by
// ε ≥ ρ + 2√(ρ·ln(1/δ)). δ must be greater than 0 and less than 1.
func Holds(epsilon, delta, rho Decimal) bool {
	rest := new(big.Int).Sub(epsilon.units, rho.units)
	if rest.Sign() < 0 {
		return false
	}
	left := rest.Mul(rest, rest)
	left.Mul(left, scaleS)
	right := new(big.Int).Mul(rho.units, scaleT)
	right.Lsh(right, 2)
	right.Mul(right, logOfInverse(delta.units))
	return left.Cmp(right) >= 0
}

// SmallestEpsilon returns the smallest ε of the given number of digits after
// the point for which Holds(ε, δ, ρ).
func SmallestEpsilon(delta, rho Decimal, digits int) Decimal {
	step := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(maxFraction-digits)), nil)
	holds := func(n *big.Int) bool { return Holds(Decimal{units: new(big.Int).Mul(n, step)}, delta, rho) }
	low, high := new(big.Int), new(big.Int).Set(one) // low does not hold, unless it is 0
	if holds(low) {
		return decimalOf(low)
	}
	for !holds(high) {
		low.Set(high)
		high.Lsh(high, 1)
	}
	for {
		middle := new(big.Int).Add(low, high)
		if middle.Rsh(middle, 1); middle.Cmp(low) == 0 {
			return decimalOf(high.Mul(high, step))
		}
		if holds(middle) {
			high = middle
		} else {
			low = middle
		}
	}
}

// Loss returns the privacy loss of the mechanisms: ε with PureDP, ρ with ZCDP.
// With PureDP all mechanisms must be Laplace. Scales must not be 0.
func Loss(flavor string, all []Mechanism) *big.Rat {
	sum := new(big.Rat)
	for i := range all {
		m := &all[i]
		ratio := new(big.Rat).SetFrac(new(big.Int).Mul(m.Sensitivity.num, m.Scale.den), new(big.Int).Mul(m.Sensitivity.den, m.Scale.num))
		if flavor == ZCDP {
			ratio.Mul(ratio, ratio)
			ratio.Quo(ratio, big.NewRat(2, 1))
		}
		sum.Add(sum, ratio.Mul(ratio, new(big.Rat).SetInt(new(big.Int).SetUint64(m.Count))))
	}
	return sum
}

// RoundUp returns the smallest decimal of the given number of digits after the
// point that is at least r.
func RoundUp(r *big.Rat, digits int) Decimal {
	n := new(big.Int).Mul(r.Num(), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil))
	units := ceilQuo(n, r.Denom())
	return decimalOf(units.Mul(units, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(maxFraction-digits)), nil)))
}

// atLeast reports whether d ≥ r.
func (d Decimal) atLeast(r *big.Rat) bool {
	return new(big.Int).Mul(d.units, r.Denom()).Cmp(new(big.Int).Mul(r.Num(), scaleT)) >= 0
}

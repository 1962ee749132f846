package export

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

type logarithmVector struct {
	Delta string `json:"delta"`
	Ell   string `json:"ell"`
}

type holdsVector struct {
	Epsilon string `json:"epsilon"`
	Delta   string `json:"delta"`
	Rho     string `json:"rho"`
	Holds   bool   `json:"holds"`
}

// smallestDelta is the smallest δ that can be written.
const smallestDelta = "0.000000000000000000000000000001"

// trueLog returns ln(1/δ), rounded to 250 bits.
func trueLog(t testing.TB, delta Decimal) *big.Float {
	t.Helper()
	const bits = 300
	// Newton's method for e^y = T/D, whose exponential is a plain series.
	x := new(big.Float).SetPrec(bits).Quo(new(big.Float).SetPrec(bits).SetInt(scaleT), new(big.Float).SetPrec(bits).SetInt(delta.units))
	f, _ := x.Float64()
	y := new(big.Float).SetPrec(bits).SetFloat64(math.Log(f))
	for range 6 {
		e := exponential(y, bits)
		num := new(big.Float).SetPrec(bits).Sub(x, e)
		den := new(big.Float).SetPrec(bits).Add(x, e)
		num.Quo(num, den)
		y.Add(y, num.Mul(num, big.NewFloat(2)))
	}
	return y
}

// exponential returns e^y by the series of e^(y/2^k).
func exponential(y *big.Float, bits uint) *big.Float {
	const halvings = 40
	small := new(big.Float).SetPrec(bits).SetMantExp(y, -halvings)
	sum, term := new(big.Float).SetPrec(bits).SetInt64(1), new(big.Float).SetPrec(bits).SetInt64(1)
	for i := int64(1); i < 60; i++ {
		term.Mul(term, small)
		term.Quo(term, new(big.Float).SetPrec(bits).SetInt64(i))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum
}

// deltas returns values of δ: special ones, and random ones.
func deltas(n int) []string {
	all := []string{smallestDelta, "0.000000000000000000000000000002", "0.000000000000000000000000000003", "0.999999999999999999999999999999", "0.5", "0.25", "0.500000000000000000000000000001", "0.499999999999999999999999999999", "0.1", "0.000001", "0.000000001", "0.367879441171442321595523770161", "0.333333333333333333333333333333"}
	random := rand.New(rand.NewPCG(3, 1))
	for len(all) < n {
		digits := strings.Repeat("0", random.IntN(maxFraction-1)) + strconv.Itoa(1+random.IntN(1_000_000_000))
		all = append(all, "0."+digits[:min(len(digits), maxFraction)])
	}
	return all
}

// TestLogarithm compares the bound with the logarithm: it is never below, and
// above by less than the text of the specification states.
func TestLogarithm(t *testing.T) {
	slack := new(big.Int)
	for _, s := range deltas(2000) {
		d, err := ParseDecimal(s)
		if err != nil || !d.IsDelta() {
			continue
		}
		ell := logOfInverse(d.units)
		exact, _ := new(big.Float).SetPrec(300).Mul(trueLog(t, d), new(big.Float).SetInt(scaleS)).Int(nil)
		over := new(big.Int).Sub(ell, exact)
		if over.Sign() <= 0 {
			t.Errorf("δ = %s: ℓ is %s, not above S·ln(1/δ) = %s", s, ell, exact)
		}
		if over.Cmp(slack) > 0 {
			slack = over
		}
	}
	if slack.Cmp(big.NewInt(10_000)) >= 0 {
		t.Errorf("ℓ exceeds S·ln(1/δ) by %s, which must be less than 10,000", slack)
	}
	t.Logf("greatest difference %s", slack)
}

func TestEpsilonVectors(t *testing.T) {
	var v struct {
		Logarithms []logarithmVector `json:"logarithms"`
		Holds      []holdsVector     `json:"holds"`
	}
	for _, s := range deltas(60) {
		if d, err := ParseDecimal(s); err == nil && d.IsDelta() {
			v.Logarithms = append(v.Logarithms, logarithmVector{s, logOfInverse(d.units).String()})
		}
	}
	add := func(epsilon, delta, rho Decimal) {
		v.Holds = append(v.Holds, holdsVector{epsilon.String(), delta.String(), rho.String(), Holds(epsilon, delta, rho)})
	}
	for i, s := range deltas(40) {
		delta, err := ParseDecimal(s)
		if err != nil || !delta.IsDelta() {
			continue
		}
		rho := decimal([]string{"0.005", "1", "0.000000000000000000000000000001", "12.5", "0.333333333333333333333333333333", "100000000000000000"}[i%6])
		smallest := SmallestEpsilon(delta, rho, 25)
		add(smallest, delta, rho)
		add(smallest.minus(1, 25), delta, rho)
		add(rho, delta, rho)
	}
	add(decimal("0"), decimal("0.5"), decimal("0"))
	add(decimal("0.9"), decimal("0.5"), decimal("1"))
	for _, h := range v.Holds[:2] {
		if want := h == v.Holds[0]; h.Holds != want {
			t.Errorf("%+v: want %v", h, want)
		}
	}
	compare(t, "export-epsilon.json", v)
}

// A budget is a random privacy budget.
type budget struct {
	flavor     string
	mechanisms []Mechanism
	delta      Decimal
	rho        Decimal // ZCDP
	epsilon    Decimal // ours
}

func randomBudget(random *rand.Rand) budget {
	b := budget{flavor: []string{ZCDP, ZCDP, ZCDP, PureDP}[random.IntN(4)]}
	for range 1 + random.IntN(3) {
		m := Mechanism{Gaussian, rational(fmt.Sprintf("%d/%d", 1+random.IntN(4), 1+random.IntN(4))), rational(fmt.Sprintf("%d/10", 5+random.IntN(300))), uint64(1 + random.IntN(8))}
		if b.flavor == PureDP || random.IntN(4) == 0 {
			m.Name = Laplace
		}
		b.mechanisms = append(b.mechanisms, m)
	}
	b.delta = decimal([]string{"0.01", "0.00001", "0.000001", "0.00000001", "0.0000000001"}[random.IntN(5)])
	loss := Loss(b.flavor, b.mechanisms)
	if b.flavor == PureDP {
		b.epsilon = RoundUp(loss, 12)
		return b
	}
	b.rho = RoundUp(loss, 12)
	b.epsilon = SmallestEpsilon(b.delta, b.rho, 12)
	return b
}

// TestAgainstOracles compares what the verifier accepts with two libraries: no
// ε that it accepts is below OpenDP's conversion from ρ, or below the ε of
// dp_accounting's privacy loss distribution.
func TestAgainstOracles(t *testing.T) {
	soak.WithoutRace(t)
	python := peers.Path(t, "dp-oracles")
	random := rand.New(rand.NewPCG(7, 1))
	all := make([]budget, soak.Length(t, "budgets", 30, 1000))
	var in bytes.Buffer
	for i := range all {
		all[i] = randomBudget(random)
		b := &all[i]
		fmt.Fprintf(&in, "%s %s %s", map[string]string{PureDP: "pure", ZCDP: "zcdp"}[b.flavor], b.delta, b.rho)
		for _, m := range b.mechanisms {
			fmt.Fprintf(&in, " %s:%s:%s:%d", m.Name, m.Sensitivity, m.Scale, m.Count)
		}
		in.WriteByte('\n')
	}
	cmd := exec.Command(python, "testdata/oracles.py")
	cmd.Stdin = &in
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("oracles.py: %v\n%s", err, &errs)
	}
	lines, n, close := bufio.NewScanner(bytes.NewReader(out)), 0, 0
	for ; lines.Scan(); n++ {
		var opendp, pld float64
		if _, err := fmt.Sscan(lines.Text(), &opendp, &pld); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		ours, _ := strconv.ParseFloat(all[n].epsilon.String(), 64)
		if !(opendp <= ours*(1+1e-12)) || !(pld <= ours*(1+1e-9)) || !(pld >= 0) {
			t.Errorf("budget %d, %+v: ε %s, OpenDP %v, dp_accounting %v", n, all[n], all[n].epsilon, opendp, pld)
		}
		if pld > ours/3 {
			close++
		}
	}
	if n != len(all) {
		t.Fatalf("%d results for %d budgets", n, len(all))
	}
	if close < n/2 {
		t.Errorf("only %d of %d results are within a factor of 3 of ours: the oracles were given something else", close, n)
	}
}

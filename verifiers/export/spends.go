package export

import (
	"cmp"
	"context"
	"math/big"
	"slices"

	"muniment.dev/muniment/verifiers/bundle"
)

// Spends are the recorded spends of a budget in a stream.
type Spends struct {
	Count int
	Sum   Decimal
}

// SpendsOf returns the spends of the manifest's budget in a verified evidence
// bundle, except for those of the export itself. The error is an *Error if they
// cannot be added.
func SpendsOf(ctx context.Context, b *bundle.Bundle, m *Manifest) (Spends, error) {
	s := &streamScan{sum: new(big.Int)}
	out := Spends{}
	p := m.Privacy
	err := b.EachRecord(ctx, func(r *bundle.Record) error {
		switch {
		case isHidden(r):
			return s.hidden(r)
		case !isSpend(r.Header, p.Budget) || r.Header.Attributes["name"] == m.ExportID && sameSpend(r.Header, p):
			return nil
		}
		out.Count++
		return s.add(p, r)
	})
	out.Sum = decimalOf(s.sum)
	return out, at(stepStream, err)
}

// A BudgetSpends is the sum of the recorded spends of a budget that have the
// same flavor, privacy unit and neighboring relation, and so can be added.
type BudgetSpends struct {
	Budget   string `json:"budget"`
	Flavor   string `json:"flavor"`
	Unit     string `json:"privacyUnit"`
	Relation string `json:"neighboringRelation"`
	Spends   int    `json:"spends"` // number
	Sum      string `json:"sum"`    // decimal: of ε with PureDP, of ρ with ZCDP
}

// A SpendSums adds the spends of all budgets of a stream, as
// docs/spec/verify.md, section 4, specifies. The zero value is ready to use.
type SpendSums struct {
	unreadable bool
	sums       map[BudgetSpends]*budgetSum // by budget, flavor, unit and relation
}

type budgetSum struct {
	count int
	sum   big.Int
}

// Add adds a record.
func (s *SpendSums) Add(r *bundle.Record) {
	if isHidden(r) {
		s.unreadable = true
		return
	}
	a := r.Header.Attributes
	budget, ok := a[AttributeBudget]
	if !ok || !isSpend(r.Header, budget) {
		return
	}
	at := BudgetSpends{Budget: budget, Flavor: a[AttributeFlavor], Unit: a[AttributeUnit], Relation: a[AttributeRelation]}
	amount, err := ParseDecimal(a[AmountAttribute(at.Flavor)])
	if err != nil || at.Flavor != PureDP && at.Flavor != ZCDP {
		s.unreadable = true
		return
	}
	if s.sums == nil {
		s.sums = map[BudgetSpends]*budgetSum{}
	}
	sum := s.sums[at]
	if sum == nil {
		sum = &budgetSum{}
		s.sums[at] = sum
	}
	sum.count++
	sum.sum.Add(&sum.sum, amount.units)
}

// All returns the sums, sorted by the bytes of budget, flavor, privacy unit and
// neighboring relation. It reports false if a record could be a spend that
// cannot be read.
func (s *SpendSums) All() (all []BudgetSpends, ok bool) {
	if s.unreadable {
		return nil, false
	}
	for at, sum := range s.sums {
		at.Spends, at.Sum = sum.count, decimalOf(&sum.sum).String()
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b BudgetSpends) int {
		return cmp.Or(cmp.Compare(a.Budget, b.Budget), cmp.Compare(a.Flavor, b.Flavor), cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Relation, b.Relation))
	})
	return all, true
}

// Zero returns the decimal 0.
func Zero() Decimal { return decimalOf(new(big.Int)) }

// Plus returns the sum of two decimals.
func (d Decimal) Plus(other Decimal) Decimal {
	return decimalOf(new(big.Int).Add(d.units, other.units))
}

// AtLeast reports whether d ≥ other.
func (d Decimal) AtLeast(other Decimal) bool { return d.units.Cmp(other.units) >= 0 }

// Understated returns the error of a manifest that states less than what is
// spent of its budget.
func Understated(total Decimal, p *Privacy) error {
	return at(stepStream, fail(SpentUnderstated, "%s is spent of budget %s by the recorded exports and this one, but the manifest states %s: create it again", total, p.Budget, p.Spent()))
}

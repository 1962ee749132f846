package export

import (
	"context"
	"math/big"

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

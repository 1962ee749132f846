package policy

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/internal/turns"
)

// Units of work. A unit is about what evaluating one node of an expression
// takes, some 100 ns. Work is charged before it is done, so a decision ends
// within its budget whatever it is about, and the same evidence gets the same
// decision on a fast and on a loaded machine.
const (
	decisionCost  = 8_000_000 // of one decision
	conditionCost = 1_000_000 // of one evaluation of a condition

	// bytesPerUnit is how many bytes of text one unit reads, copies or
	// compares.
	bytesPerUnit = 16
	// checkEvery is after how many units the context is looked at.
	checkEvery = 1024
	// cheap is how many units are spent before a decision needs a turn: those
	// of most decisions without signatures.
	cheap = 8 * checkEvery
	// bytesOfUnit is what a unit counts for in the size of a piece of work that
	// is done in one turn: a piece is then about 200 µs long.
	bytesOfUnit = turns.Free / (2 * checkEvery)
)

// errBudget is wrapped by the errors of work that was not done because of its
// cost.
var errBudget = errors.New("costs too much")

// A meter counts the work of one decision. Once its budget is spent, or its
// context ends, nothing more is done on it.
type meter struct {
	ctx       context.Context
	budget    int
	spent     int
	unchecked int // since the context was looked at
	err       error

	tenant string      // that takes turns; "": the decision needs none
	turn   *turns.Turn // nil until the decision costs more than cheap ones do
}

func newMeter(ctx context.Context, budget int) *meter { return &meter{ctx: ctx, budget: budget} }

// charge takes units from the budget, for work that is about to be done.
func (m *meter) charge(units int) error {
	if m.err != nil {
		return m.err
	}
	if units < 0 || units > m.budget-m.spent {
		m.spent = m.budget
		m.err = fmt.Errorf("the decision %w: it needs more than %d units of work", errBudget, m.budget)
		return m.err
	}
	m.spent += units
	if m.unchecked += units; m.unchecked >= checkEvery {
		units, m.unchecked = m.unchecked, 0
		if err := m.pass(units); err != nil {
			m.err = fmt.Errorf("the decision was interrupted: %w", err)
		}
	}
	return m.err
}

// pass lets others have their turns before more of the work is done.
func (m *meter) pass(units int) (err error) {
	switch {
	case m.spent <= cheap || m.tenant == "":
		return m.ctx.Err()
	case m.turn == nil:
		m.turn, err = turns.CPU.Begin(m.ctx, m.tenant)
		return err
	}
	return m.turn.Pass(m.ctx, product(units, bytesOfUnit))
}

// end gives the decision's turn back.
func (m *meter) end() { m.turn.End() }

// text returns the units of reading so many bytes.
func text(bytes int) int { return 1 + bytes/bytesPerUnit }

// product returns a times b, or a number that is beyond every budget, also when
// it is divided.
func product(a, b int) int {
	const huge = 1 << 52
	if a > 0 && b > huge/a {
		return huge
	}
	return a * b
}

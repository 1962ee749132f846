package policy

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/internal/turns"
)

// Units of work. A unit is roughly the work of evaluating one node of an
// expression, some 100 ns. Work is charged before it is done, so every decision
// stays within its budget. The budget does not depend on time, so the same
// evidence gets the same decision on a fast and on a loaded machine.
const (
	decisionCost  = 8_000_000 // budget of a decision
	conditionCost = 1_000_000 // budget of one evaluation of a condition

	// bytesPerUnit is the number of bytes of text that one unit pays to read,
	// copy or compare.
	bytesPerUnit = 16
	// checkEvery is the number of units between checks of the context.
	checkEvery = 1024
	// cheap is the number of units that a decision can spend without waiting
	// for a turn. Most decisions without signatures need no more.
	cheap = 8 * checkEvery
	// bytesOfUnit converts units to the bytes by which package turns measures
	// work, so that a turn lasts about 200 µs.
	bytesOfUnit = turns.Free / (2 * checkEvery)
)

// errBudget is wrapped by errors about work that exceeds a budget.
var errBudget = errors.New("costs too much")

// A meter counts the work of one decision. Once its budget is spent or its
// context ends, it refuses all further work.
type meter struct {
	ctx       context.Context
	budget    int
	spent     int
	unchecked int // units since the last check of the context
	err       error

	tenant string      // takes the turns; "": the decision needs none
	turn   *turns.Turn // nil until the decision has spent more than cheap
}

func newMeter(ctx context.Context, budget int) *meter { return &meter{ctx: ctx, budget: budget} }

// charge takes units from the budget for work that is about to be done.
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

// pass gives other tenants their turns before the work continues.
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

// end ends the decision's turn.
func (m *meter) end() { m.turn.End() }

// text returns the cost of reading the given number of bytes.
func text(bytes int) int { return 1 + bytes/bytesPerUnit }

// product returns a times b without overflow. A large product is replaced by a
// number that exceeds every budget even after a division by bytesPerUnit.
func product(a, b int) int {
	const huge = 1 << 52
	if a > 0 && b > huge/a {
		return huge
	}
	return a * b
}

package condition

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/turns"
)

// Units of work. A unit is roughly the work of evaluating one node of an
// expression, some 100 ns. Work is charged before it is done, so every decision
// stays within its budget. The budget does not depend on time, so the same
// evidence gets the same decision on a fast and on a loaded machine.
const (
	DecisionCost = 8_000_000 // budget of a decision
	Cost         = 1_000_000 // budget of one evaluation of a condition

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

// ErrBudget is wrapped by errors about work that exceeds a budget.
var ErrBudget = errors.New("costs too much")

// A Meter counts the work of one decision. Once its budget is spent or its
// context ends, it refuses all further work.
type Meter struct {
	ctx       context.Context
	budget    int
	spent     int
	unchecked int // units since the last check of the context
	err       error

	tenant string      // takes the turns; "": the decision needs none
	turn   *turns.Turn // nil until the decision has spent more than cheap
}

// NewMeter returns a meter with a budget in units.
func NewMeter(ctx context.Context, budget int) *Meter { return &Meter{ctx: ctx, budget: budget} }

// TakeTurns makes the decision wait for turns of the tenant once it has spent
// more than most decisions need. Call it before the first charge, and End after
// the last one.
func (m *Meter) TakeTurns(tenant string) { m.tenant = tenant }

// Spent returns the units charged so far.
func (m *Meter) Spent() int { return m.spent }

// Err returns the error that every further charge returns, or nil.
func (m *Meter) Err() error { return m.err }

// Context returns the context of the decision.
func (m *Meter) Context() context.Context { return m.ctx }

// Charge takes units from the budget for work that is about to be done.
func (m *Meter) Charge(units int) error {
	if m.err != nil {
		return m.err
	}
	if units < 0 || units > m.budget-m.spent {
		m.spent = m.budget
		m.err = fmt.Errorf("the decision %w: it needs more than %d units of work", ErrBudget, m.budget)
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
func (m *Meter) pass(units int) (err error) {
	switch {
	case m.spent <= cheap || m.tenant == "":
		return m.ctx.Err()
	case m.turn == nil:
		m.turn, err = turns.CPU.Begin(m.ctx, m.tenant)
		return err
	}
	return m.turn.Pass(m.ctx, Product(units, bytesOfUnit))
}

// End ends the decision's turn.
func (m *Meter) End() { m.turn.End() }

// Text returns the cost of reading the given number of bytes.
func Text(bytes int) int { return 1 + bytes/bytesPerUnit }

// stepsPerUnit is the number of steps of glob.Match that one unit pays.
const stepsPerUnit = 64

// Glob returns the cost of matching a text with a pattern.
func Glob(pattern, s string) int { return 1 + glob.Steps(pattern, s)/stepsPerUnit }

// Product returns a times b without overflow. A large product is replaced by a
// number that exceeds every budget even after a division by bytesPerUnit.
func Product(a, b int) int {
	const huge = 1 << 52
	if a > 0 && b > huge/a {
		return huge
	}
	return a * b
}

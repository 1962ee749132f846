package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/dependants"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
)

// A NotReadyError is a cutover whose evidence is missing.
type NotReadyError struct{ Missing, Remedy string }

func (e *NotReadyError) Error() string {
	return fmt.Sprintf("cutover is not permitted: %s: %s", e.Missing, e.Remedy)
}

// Cutover gives the public name to the new column. It requires a validation
// without differences, a receipt of its intent, and a pass of the ledger's
// gate. With force, it ends the sessions that block it by the job's policy.
func (r *Runner) Cutover(ctx context.Context, force bool) (done cutover.Outcome, err error) {
	ctx, span := r.trace(ctx, "cutover")
	defer func() { endSpan(span, err) }()
	if _, err := r.row.Phase.After(state.CutOver); err != nil {
		return cutover.Outcome{}, err
	}
	if err := r.ready(ctx); err != nil {
		return cutover.Outcome{}, err
	}
	if err := r.prepare(ctx); err != nil {
		return cutover.Outcome{}, err
	}
	intent, err := r.announce(ctx, record.Cutover, nil)
	if err != nil {
		return cutover.Outcome{}, err
	}
	var decision *record.Decision
	change, swap := r.swapChange(true)
	// What a decision rests on can be revoked while the table is waited for. A
	// transaction with the lock must not wait for the ledger.
	change.Permit = func(ctx context.Context) (err error) {
		decision, err = r.permitted(ctx, decision)
		return err
	}
	outcome, err := r.perform(ctx, change, swap, state.CutOver, force, func(tx *state.Tx, details map[string]any) error {
		if now := r.Now(); !now.Before(decision.ValidUntil) {
			return fmt.Errorf("the decision of the gate was valid until %s, and the table was not locked before: repeat the cutover", decision.ValidUntil.UTC().Format(time.RFC3339))
		}
		details["gate"] = decision
		_, err := r.outcome(ctx, tx, record.Outcome{Result: record.Succeeded, Intent: intent, Step: record.Step{Name: record.Cutover}}, details)
		return err
	})
	return outcome, r.failed(ctx, record.Cutover, intent, err)
}

// permitted asks the gate of the ledger for a new decision, which must be a
// pass. Before is the decision for the attempt before; nil for the first.
func (r *Runner) permitted(ctx context.Context, before *record.Decision) (*record.Decision, error) {
	decision, err := r.sender.Ask(ctx, r.Job.Cutover.Stage, r.Job.Cutover.Environment)
	if err == nil {
		err = decision.Err()
	}
	if err != nil {
		return nil, err
	}
	if before == nil || before.Entry != decision.Entry {
		r.Watch.Event("gate", decision)
	}
	return decision, nil
}

// ready checks what the database knows about the evidence of a cutover.
func (r *Runner) ready(ctx context.Context) error {
	all, err := state.Validations(ctx, r.conn, r.Job.Name)
	if err != nil {
		return err
	}
	taken, err := state.Checkpoints(ctx, r.conn, r.Job.Name)
	if err != nil {
		return err
	}
	return ready(ctx, r.conn, r.Job.Name, all, taken)
}

// ready returns a NotReadyError unless the validations and checkpoints of a job
// permit a cutover.
func ready(ctx context.Context, db state.Querier, job string, all []state.Validation, taken []state.Checkpoint) error {
	if len(all) == 0 || all[len(all)-1].Ended == nil {
		return &NotReadyError{"the rows were not validated since they were copied", "run conductor backfill validate"}
	}
	if at, err := state.Latest(ctx, db, job, string(state.Rollback)); err != nil {
		return err
	} else if at != nil && !all[len(all)-1].Began.After(at.At) {
		return &NotReadyError{"the rows were not validated since the rollback", "run conductor backfill validate"}
	}
	if n := all[len(all)-1].Differences; n > 0 {
		return &NotReadyError{fmt.Sprintf("the latest validation found %d differences", n), "run conductor backfill validate --repair"}
	}
	if len(taken) == 0 || taken[len(taken)-1].Percent < 100 {
		return &NotReadyError{"there is no checkpoint at 100%", "run conductor backfill run"}
	}
	return nil
}

// swapChange returns the change that gives the public name to the other column,
// with everything that depends on it: forth at cutover, and back at a rollback.
// Its statements follow from the catalogue as it is after the table was locked.
func (r *Runner) swapChange(forth bool) (cutover.Change, exchange) {
	c := cutover.Change{Table: r.plan.Table, Expect: r.expectation(forth)}
	return c, func(ctx context.Context, tx pgx.Tx) error {
		table, err := catalog.Read(ctx, tx, ref(r.plan.Pair))
		if err != nil {
			return err
		}
		statements, err := swapStatements(r.plan.Pair, forth, func(d dependants.Direction) ([]string, error) { return dependants.Swap(ctx, tx, table, r.target(), d) })
		if err != nil {
			return err
		}
		return execute(ctx, tx, statements)
	}
}

func execute(ctx context.Context, tx pgx.Tx, statements []string) error {
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", clip(s), err)
		}
	}
	return nil
}

// swapStatements returns the statements that give the public name to the other
// column. The plan shows those for the table as it will be, and the cutover
// executes those for the locked table.
func swapStatements(p dualwrite.Pair, forth bool, names func(dependants.Direction) ([]string, error)) ([]string, error) {
	direction, side := dependants.Cutover, p.After()
	if !forth {
		direction, side = dependants.Rollback, p.Before()
	}
	statements, err := names(direction)
	return append(statements, side.CreateFunction()), err
}

// An exchange makes the part of a change that depends on the locked table.
type exchange func(ctx context.Context, tx pgx.Tx) error

// expectation returns what the schema must be before a change.
func (r *Runner) expectation(before bool) cutover.Expectation {
	p := r.plan.Pair
	x := p.Expressions
	e := cutover.Expectation{OID: r.row.Table, Trigger: &cutover.Trigger{Name: p.Trigger(), Function: r.function}}
	if before {
		e.Columns = []cutover.Column{{Name: p.Column, Type: x.OldType}, {Name: p.Shadow, Type: x.NewType}, {Name: p.Retired}}
		e.Constraints = []string{p.Trigger()}
	} else {
		e.Columns = []cutover.Column{{Name: p.Column, Type: x.NewType}, {Name: p.Retired, Type: x.OldType}, {Name: p.Shadow}}
	}
	return e
}

// perform makes a change, and records it in its transaction.
func (r *Runner) perform(ctx context.Context, c cutover.Change, do exchange, action state.Action, force bool, recorded func(*state.Tx, map[string]any) error) (cutover.Outcome, error) {
	policy := r.policy()
	var attempts []cutover.Attempt
	policy.Progress = func(a cutover.Attempt) {
		attempts = append(attempts, a)
		r.Watch.Event("lock", a)
	}
	if force {
		f := r.Job.Cutover.Force
		if len(f.Users)+len(f.Applications) == 0 {
			return cutover.Outcome{}, errors.New("--force requires a policy: specify cutover.force in the job file")
		}
		policy.Force = &cutover.Force{Users: f.Users, Applications: f.Applications, MinAge: f.MinAge, TerminateAfter: f.TerminateAfter}
	}
	c.Record = func(ctx context.Context, pgtx pgx.Tx) error {
		tx, err := r.hold.WithFence(ctx, pgtx)
		if err != nil {
			return err
		}
		if do != nil {
			if err := do(ctx, pgtx); err != nil {
				return err
			}
		}
		if _, err := tx.Move(ctx, action); err != nil {
			return err
		}
		if err := r.describe(ctx, tx, action); err != nil {
			return err
		}
		details := map[string]any{"attempts": len(attempts) + 1, "blockers": withoutQueries(blockers(attempts))}
		if err := tx.Record(ctx, string(action), details); err != nil {
			return err
		}
		return recorded(tx, details)
	}
	outcome, err := cutover.Run(ctx, r.Connect, c, policy)
	var uncertain *cutover.UncertainError
	if errors.As(err, &uncertain) {
		// The state was written in the same transaction.
		before := r.row.Phase
		if reread := r.reload(ctx); reread != nil {
			return outcome, errors.Join(err, reread)
		}
		if after, _ := before.After(action); r.row.Phase == after {
			err = nil
		}
	}
	if err == nil {
		r.Watch.Event(string(action), outcome)
		err = r.reload(ctx)
	}
	return outcome, err
}

func blockers(attempts []cutover.Attempt) []cutover.Blocker {
	var all []cutover.Blocker
	for _, a := range attempts {
		all = append(all, a.Blockers...)
	}
	return all[:min(len(all), cutover.MaxBlockers)]
}

// describe records the columns of the table after a change.
func (r *Runner) describe(ctx context.Context, tx *state.Tx, action state.Action) error {
	p := r.plan.Pair
	names := []string{p.Column}
	switch action {
	case state.Expand, state.Rollback:
		names = []string{p.Column, p.Shadow, p.Mark}
	case state.CutOver:
		names = []string{p.Column, p.Retired, p.Mark}
	}
	if action == state.DropNew || action == state.Rollback && r.row.Phase != state.Cutover {
		names = []string{p.Column}
	}
	table, columns, err := state.Describe(ctx, tx, r.plan.Table, names...)
	if err != nil {
		return err
	}
	return tx.SetTable(ctx, table, columns)
}

// Rollback undoes what was done: after cutover it gives the name back to the
// old column, and before it, or with drop, it removes every trace of the job
// from the table. It does this in one transaction.
func (r *Runner) Rollback(ctx context.Context, reason string, drop bool) (err error) {
	ctx, span := r.trace(ctx, "rollback")
	defer func() { endSpan(span, err) }()
	if r.row.Phase == state.Planned {
		return r.abandon(ctx, reason)
	}
	if _, err := r.row.Phase.After(state.Rollback); err != nil {
		return err
	}
	details := map[string]any{"reason": reason, "phase": r.row.Phase}
	if drop {
		details["drop"] = true
	}
	intent, err := r.announceRollback(ctx, details)
	if err != nil {
		return err
	}
	change, do, action := cutover.Change{Table: r.plan.Table, Statements: r.plan.Pair.Collapse(), Expect: cutover.Expectation{OID: r.row.Table}}, exchange(nil), state.Rollback
	if r.row.Phase == state.Cutover {
		change, do = r.swapChange(false)
		if drop {
			do, action = r.thenCollapse(do), state.DropNew
		}
	}
	_, err = r.perform(ctx, change, do, action, false, r.rolledBack(ctx, intent, details))
	return r.failed(ctx, record.Rollback, intent, err)
}

// thenCollapse removes the objects of the job after an exchange, in the same
// transaction.
func (r *Runner) thenCollapse(do exchange) exchange {
	return func(ctx context.Context, tx pgx.Tx) error {
		if err := do(ctx, tx); err != nil {
			return err
		}
		return execute(ctx, tx, r.plan.Pair.Collapse())
	}
}

func (r *Runner) rolledBack(ctx context.Context, intent uint64, why map[string]any) func(*state.Tx, map[string]any) error {
	return func(tx *state.Tx, details map[string]any) error {
		for k, v := range why {
			details[k] = v
		}
		_, err := r.outcome(ctx, tx, record.Outcome{Result: record.Succeeded, Intent: intent, Step: record.Step{Name: record.Rollback}}, details)
		return err
	}
}

// announceRollback announces a rollback. A person may permit it without the
// ledger, because it restores what was there before.
func (r *Runner) announceRollback(ctx context.Context, details any) (uint64, error) {
	r.hinted.Store(r.WithoutLedger)
	defer r.hinted.Store(true)
	if r.sender.Err() != nil {
		r.hint()
	}
	intent, err := r.announce(ctx, record.Rollback, details)
	if err != nil && intent > 0 && r.WithoutLedger && ctx.Err() == nil {
		r.Watch.Event("without ledger", map[string]string{"error": err.Error()})
		err = nil
	}
	if err != nil && intent > 0 {
		err = fmt.Errorf("%w (a person can roll back without the ledger: --without-ledger)", err)
	}
	return intent, err
}

// abandon ends a job that has changed nothing.
func (r *Runner) abandon(ctx context.Context, reason string) error {
	err := r.within(ctx, func(tx *state.Tx) error {
		return r.move(ctx, tx, state.Abandon, record.Rollback, r.Actor, map[string]any{"reason": reason})
	})
	return errors.Join(err, r.reload(ctx))
}

// Finish drops the old column. It can't be undone.
func (r *Runner) Finish(ctx context.Context) (err error) {
	ctx, span := r.trace(ctx, "finish")
	defer func() { endSpan(span, err) }()
	if _, err := r.row.Phase.After(state.Finish); err != nil {
		return err
	}
	intent, err := r.announce(ctx, record.Finish, nil)
	if err != nil {
		return err
	}
	c := cutover.Change{Table: r.plan.Table, Statements: r.plan.Pair.Finish(), Expect: r.expectation(false)}
	_, err = r.perform(ctx, c, nil, state.Finish, false, func(tx *state.Tx, details map[string]any) error {
		_, err := r.outcome(ctx, tx, record.Outcome{Result: record.Succeeded, Intent: intent, Step: record.Step{Name: record.Finish}}, details)
		return err
	})
	return r.failed(ctx, record.Finish, intent, err)
}

package run

import (
	"context"
	"fmt"
	"path/filepath"

	"muniment.dev/muniment/conductor/backfill/checking"
	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/rehearse"
	"muniment.dev/muniment/conductor/backfill/state"
)

// Rehearse runs cutover, rollback and cutover on a clone under load, and
// records the result. DSN is the connection string of the target database, and
// cloneDSN that of a clone; empty for one that is made here.
func (r *Runner) Rehearse(ctx context.Context, dsn, cloneDSN string) (result rehearse.Result, err error) {
	ctx, span := r.trace(ctx, "rehearsal")
	defer func() { endSpan(span, err) }()
	if r.row.Phase != state.Copied {
		return result, &state.TransitionError{Phase: r.row.Phase, Action: "rehearsal"}
	}
	if err := r.prepare(ctx); err != nil {
		return result, err
	}
	intent, err := r.announce(ctx, record.Rehearsal, nil)
	if err != nil {
		return result, err
	}
	h := r.Job.Rehearsal
	script := h.Script
	if script != "" && !filepath.IsAbs(script) {
		script = filepath.Join(r.Dir, script)
	}
	result, err = rehearse.Run(ctx, rehearse.Config{
		DSN: dsn, CloneDSN: cloneDSN, Bin: h.Bin, User: h.User, Now: r.Now,
		Load: rehearse.Load{Script: script, Rate: h.Rate, For: h.For},
		Actions: rehearse.Actions{
			Check: r.checkClone,
			Cutover: func(ctx context.Context, c *rehearse.Clone) (rehearse.Change, error) {
				return r.swapClone(ctx, c, true)
			},
			Rollback: func(ctx context.Context, c *rehearse.Clone) (rehearse.Change, error) {
				return r.swapClone(ctx, c, false)
			},
			Differences: func(ctx context.Context, c *rehearse.Clone) (int64, error) {
				return r.compareClone(ctx, c)
			},
		},
	})
	if err != nil {
		return result, r.failed(ctx, record.Rehearsal, intent, err)
	}
	o := record.Outcome{Result: record.Failed, Intent: intent, Step: record.Step{Name: record.Rehearsal}}
	differences := uint64(result.Differences)
	o.Differences = &differences
	if result.Passed() {
		o.Result, o.Expires = record.Succeeded, r.Now().Add(h.MaxAge)
	}
	err = r.within(ctx, func(tx *state.Tx) error {
		if err := r.note(ctx, tx, "rehearsal", result); err != nil {
			return err
		}
		_, err := r.outcome(ctx, tx, o, redacted(result))
		return err
	})
	return result, err
}

// checkClone returns an error if the clone lacks the objects of the job.
func (r *Runner) checkClone(ctx context.Context, c *rehearse.Clone) error {
	conn, err := c.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	e := r.expectation(true)
	e.OID = 0 // another server can have another one
	return e.Check(ctx, conn, r.plan.Table)
}

func (r *Runner) swapClone(ctx context.Context, c *rehearse.Clone, forth bool) (rehearse.Change, error) {
	change, swap := r.swapChange(forth)
	change.Expect.OID = 0
	change.Record = swap
	outcome, err := cutover.Run(ctx, c.Connect, change, r.policy())
	return rehearse.Change{Attempts: outcome.Attempts, Waited: outcome.Last.Waited, Held: outcome.Last.Held}, err
}

func (r *Runner) compareClone(ctx context.Context, c *rehearse.Clone) (int64, error) {
	conn, err := c.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	v, err := r.plan.source(r.plan.Pair.After()).Validate(ctx, conn, checking.Range{}, checking.Pace{Now: r.Now}, nil)
	if err != nil {
		return 0, fmt.Errorf("compare the columns of the clone: %w", err)
	}
	return v.Differences, nil
}

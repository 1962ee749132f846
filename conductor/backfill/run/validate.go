package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/conductor/backfill/checking"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"

	"github.com/jackc/pgx/v5"
)

// Validate compares both columns of every row, and repairs rows that do not
// agree if repair is set.
func (r *Runner) Validate(ctx context.Context, repair bool) (result checking.Validation, err error) {
	ctx, span := r.trace(ctx, "validation")
	defer func() { endSpan(span, err) }()
	if r.row.Phase != state.Copied && r.row.Phase != state.Cutover {
		return result, fmt.Errorf("the job is %s: rows are validated when all of them are copied", r.row.Phase)
	}
	details := map[string]any{"repair": repair}
	var intent uint64
	var v state.Validation
	err = r.within(ctx, func(tx *state.Tx) (err error) {
		if intent, err = r.intent(ctx, tx, record.Validation, details); err != nil {
			return err
		}
		v, err = tx.AddValidation(ctx)
		return err
	})
	if err != nil {
		return result, err
	}
	result, why, err := r.compare(ctx, repair)
	if err != nil {
		err = r.failed(ctx, record.Validation, intent, err)
		if errors.Is(err, errRollBack) {
			if err = r.Rollback(ctx, why, false); err == nil {
				err = ErrRolledBack
			}
		}
		return result, err
	}
	err = r.within(ctx, func(tx *state.Tx) error {
		v.Rows, v.Differences, v.Repaired = result.Rows, result.Differences, result.Repaired
		for _, d := range result.Listed {
			if err := tx.AddDifference(ctx, v.Number, state.Difference{Key: d.Key}); err != nil {
				return err
			}
		}
		if err := tx.SaveValidation(ctx, v, true); err != nil {
			return err
		}
		if err := r.note(ctx, tx, "validation", result); err != nil {
			return err
		}
		if err := r.account.write(ctx, tx); err != nil {
			return err
		}
		differences := uint64(result.Differences)
		_, err := r.outcome(ctx, tx, record.Outcome{Result: record.Succeeded, Intent: intent, Differences: &differences, Step: record.Step{Name: record.Validation}},
			map[string]any{"rows": result.Rows, "differences": result.Differences, "repaired": result.Repaired, "repair": repair})
		return err
	})
	if err == nil {
		r.account.written()
		r.Metrics.Validated(result.Differences)
	}
	return result, err
}

// compare compares all rows under the throttle, and answers requests meanwhile.
// If one of them asks for a rollback, the error is errRollBack, and why its
// reason.
func (r *Runner) compare(ctx context.Context, repair bool) (result checking.Validation, why string, err error) {
	conn, err := r.Connect(ctx)
	if err != nil {
		return result, "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	c := &copier{Runner: r, gauge: &gauge{connect: r.Connect}, windows: &schedule{runner: r}}
	defer c.close()
	if c.requests, err = r.newRequests(ctx); err != nil {
		return result, "", err
	}
	if c.throttle, err = r.newThrottle(ctx, c.gauge); err != nil {
		return result, "", err
	}
	began := r.Now()
	shown := func(reason string) {
		p := Progress{Visited: c.visited, Estimate: max(c.visited, r.plan.Estimates.Rows), Share: share(c.visited, r.plan.Estimates.Rows), Reason: reason}
		if took := r.Now().Sub(began); took > 0 {
			p.Rate = float64(c.visited) / took.Seconds()
		}
		r.Watch.Copied(p)
	}
	pace := checking.Pace{Target: r.Job.Copy.Target, Now: r.Now,
		Admit: func(ctx context.Context) error { return c.pace(ctx, shown) },
		Done: func(_ context.Context, _ time.Duration, rows int64) error {
			c.visited += rows
			r.Metrics.Advanced(r.Now())
			shown("")
			return nil
		},
	}
	var fix *checking.Repair
	if repair {
		fix = &checking.Repair{Replica: r.plan.Replica, Fence: func(ctx context.Context, tx pgx.Tx) error {
			_, err := r.hold.WithFence(ctx, tx)
			return err
		}}
	}
	result, err = r.plan.source(r.plan.side(r.row.Phase)).Validate(ctx, conn, checking.Range{}, pace, fix)
	return result, c.why, err
}

func share(n, of int64) float64 {
	if of <= 0 || n >= of {
		return 1
	}
	return float64(n) / float64(of)
}

package run

import (
	"context"
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
	result, err = r.compare(ctx, repair)
	if err != nil {
		return result, r.failed(ctx, record.Validation, intent, err)
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

// compare compares all rows under the throttle.
func (r *Runner) compare(ctx context.Context, repair bool) (checking.Validation, error) {
	conn, err := r.Connect(ctx)
	if err != nil {
		return checking.Validation{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	g := &gauge{connect: r.Connect}
	defer g.close()
	t, err := r.newThrottle(ctx, g)
	if err != nil {
		return checking.Validation{}, err
	}
	var seen int64
	pace := checking.Pace{Target: r.Job.Copy.Target, Now: r.Now,
		Admit: func(ctx context.Context) error {
			_, err := t.Wait(ctx, nil)
			return err
		},
		Done: func(_ context.Context, _ time.Duration, rows int64) error {
			seen += rows
			r.Metrics.Advanced(r.Now())
			r.Watch.Copied(Progress{Visited: seen, Estimate: max(seen, r.plan.Estimates.Rows), Share: share(seen, r.plan.Estimates.Rows)})
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
	return r.plan.source(r.plan.side(r.row.Phase)).Validate(ctx, conn, checking.Range{}, pace, fix)
}

func share(n, of int64) float64 {
	if of <= 0 || n >= of {
		return 1
	}
	return float64(n) / float64(of)
}

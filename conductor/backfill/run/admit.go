package run

import (
	"context"
	"time"

	"muniment.dev/muniment/conductor/backfill/copying"
	"muniment.dev/muniment/conductor/backfill/metrics"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
)

// Admit implements copying.Hooks.
func (c *copier) Admit(ctx context.Context) (copying.Admission, error) {
	for {
		if err := c.handle(ctx); err != nil {
			return copying.Admission{}, err
		}
		if waiting, err := c.reported(ctx); err != nil {
			return copying.Admission{}, err
		} else if waiting {
			if err := c.sender.Err(); record.Ends(err) {
				return copying.Admission{}, err
			}
			c.account.hold(metrics.Ledger)
			c.show("checkpoints wait for the ledger")
			if err := c.requests.await(ctx, time.Second); err != nil {
				return copying.Admission{}, err
			}
			continue
		}
		if err := c.save(ctx); err != nil {
			return copying.Admission{}, err
		}
		if held, err := c.withoutCopy(ctx); err != nil {
			return copying.Admission{}, err
		} else if held {
			continue
		}
		d := c.throttle.Check(ctx)
		if ctx.Err() != nil {
			return copying.Admission{}, ctx.Err()
		}
		if d.Rate == 0 {
			c.show(d.Reason.String())
			if err := c.requests.await(ctx, time.Second); err != nil {
				return copying.Admission{}, err
			}
			continue
		}
		if c.reason = ""; d.Rate < 1 {
			c.reason = d.Reason.String()
		}
		if held, err := c.windows.next(ctx, c.visited, c.due()); err != nil {
			return copying.Admission{}, err
		} else if held {
			continue
		}
		return c.admission(d), nil
	}
}

// withoutCopy waits for a while if a window without the copy runs, so that
// requests are answered meanwhile. It reports whether there was one.
func (c *copier) withoutCopy(ctx context.Context) (bool, error) {
	left := c.windows.withoutCopy()
	if left <= 0 {
		return false, nil
	}
	c.account.hold(metrics.Analysis)
	c.copied(c.progress())
	if err := c.requests.await(ctx, min(left, time.Second)); err != nil {
		return true, err
	}
	_, err := c.windows.complete(ctx, c.visited)
	return true, err
}

// admission returns the rate at which the copy goes on.
func (c *copier) admission(d throttle.Decision) copying.Admission {
	a := copying.Admission{Factor: d.Rate * c.limit, Rate: c.rate()}
	limit := a.Rate
	if limit == 0 {
		limit = float64(c.Job.Copy.MaxRate)
	}
	c.Metrics.Limit(limit * a.Factor)
	return a
}

// spread is the share of the rows before a checkpoint that are copied in the
// windows of its analysis. The rest is copied without interruption.
const spread = 0.8

// rate returns the rate at which the windows end before the rows of their
// checkpoint; 0 if they have ended.
func (c *copier) rate() float64 {
	windows := c.windows.copying()
	if windows == 0 {
		return 0
	}
	rows := c.next/100*float64(c.estimate) - float64(c.visited)
	rate := max(1, spread*rows/(float64(windows)*c.Job.ACA.Window.Seconds()))
	if most := float64(c.Job.Copy.MaxRate); most > 0 {
		return min(rate, most)
	}
	return rate
}

// due returns the rows that are due in a window with the copy, if the rows of a
// checkpoint are spread over its windows.
func (c *copier) due() float64 {
	if c.Job.ACA.Pairs == 0 {
		return 0
	}
	rows := spread * c.Job.Checkpoint.Every / 100 * float64(c.estimate) / float64(c.Job.ACA.Pairs)
	if most := float64(c.Job.Copy.MaxRate); most > 0 {
		rows = min(rows, most*c.Job.ACA.Window.Seconds())
	}
	return rows * c.limit
}

// reported reports whether too many checkpoints are not in the ledger yet.
func (c *copier) reported(ctx context.Context) (waiting bool, err error) {
	all, checkpoints, err := state.CountUnacknowledged(ctx, c.requests.conn, c.Job.Name, record.KindCheckpoint)
	if err == nil {
		c.Metrics.Outbox(all, checkpoints)
	}
	return checkpoints > c.Job.Checkpoint.MaxUnreported, err
}

// pace waits until the throttle admits a chunk of a comparison, and shows the
// reason. It answers requests, because a comparison can last until the capacity
// windows open.
func (c *copier) pace(ctx context.Context, show func(reason string)) error {
	for {
		if err := c.handle(ctx); err != nil {
			return err
		}
		d := c.throttle.Check(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.Rate > 0 {
			c.Metrics.Advanced(c.Now())
			return nil
		}
		show(d.Reason.String())
		if err := c.requests.await(ctx, time.Second); err != nil {
			return err
		}
	}
}

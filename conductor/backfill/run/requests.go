package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/metrics"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
)

// The actions that other processes request of a runner.
const (
	AskPause    = "pause"
	AskResume   = "resume"
	AskThrottle = "throttle"
	AskRollback = "rollback"
)

// requests reads the requests of other processes while the copy runs.
type requests struct {
	conn *pgx.Conn
	job  string
}

func (r *Runner) newRequests(ctx context.Context) (*requests, error) {
	conn, err := r.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := state.Listen(ctx, conn); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return &requests{conn, r.Job.Name}, nil
}

// await waits until there may be a request, or the time has passed.
func (q *requests) await(ctx context.Context, atMost time.Duration) error {
	return state.Await(ctx, q.conn, q.job, atMost)
}

func (q *requests) close() { _ = q.conn.Close(context.Background()) }

// handle answers the requests of other processes. While the job is paused, it
// waits.
func (c *copier) handle(ctx context.Context) error {
	for {
		asked, err := state.Requests(ctx, c.requests.conn, c.Job.Name)
		if err != nil {
			return err
		}
		for _, q := range asked {
			if err := c.answer(ctx, q); err != nil {
				return err
			}
		}
		if c.row.Phase != state.Paused {
			return nil
		}
		if c.ExitPaused {
			return ErrPaused
		}
		c.account.hold(metrics.Paused)
		c.show(PausedReason)
		if err := c.requests.await(ctx, 2*time.Second); err != nil {
			return err
		}
	}
}

// answer carries out a request. One that fails, for example because the phase
// does not allow it, is answered with the reason.
func (c *copier) answer(ctx context.Context, q state.Request) error {
	do := func(tx *state.Tx) error {
		switch q.Action {
		case AskPause:
			return c.move(ctx, tx, state.Pause, record.Pause, q.By, nil)
		case AskResume:
			return c.move(ctx, tx, state.Resume, record.Resume, q.By, nil)
		case AskThrottle:
			return c.throttled(ctx, tx, q)
		case AskRollback:
			c.why = "requested by " + q.By
			return nil
		}
		return fmt.Errorf("unknown request %q", q.Action)
	}
	err := c.within(ctx, func(tx *state.Tx) error {
		if err := do(tx); err != nil {
			return err
		}
		return tx.Answer(ctx, q.ID, "")
	})
	if errors.Is(err, state.ErrFenced) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		return c.within(ctx, func(tx *state.Tx) error { return tx.Answer(ctx, q.ID, err.Error()) })
	}
	if q.Action == AskRollback {
		return errRollBack
	}
	if q.Action == AskThrottle {
		limits, err := c.limits(ctx, c.requests.conn)
		if err != nil {
			return err
		}
		c.throttle.SetLimits(limits)
	}
	return c.reload(ctx)
}

// move makes a transition that changes nothing but the state, and records it.
func (r *Runner) move(ctx context.Context, tx *state.Tx, action state.Action, name record.Name, by string, details map[string]any) error {
	if details == nil {
		details = map[string]any{}
	}
	details["by"] = by
	intent, err := r.intent(ctx, tx, name, details)
	if err != nil {
		return err
	}
	if _, err := tx.Move(ctx, action); err != nil {
		return err
	}
	if err := r.note(ctx, tx, string(name), details); err != nil {
		return err
	}
	_, err = r.outcome(ctx, tx, record.Outcome{Result: record.Succeeded, Intent: intent, Step: record.Step{Name: name}}, details)
	return err
}

// throttled records a change of the thresholds.
func (r *Runner) throttled(ctx context.Context, tx *state.Tx, q state.Request) error {
	var details map[string]any
	if err := json.Unmarshal(q.Details, &details); err != nil {
		return err
	}
	if details == nil { // null
		details = map[string]any{}
	}
	details["by"] = q.By
	intent, err := r.intent(ctx, tx, record.Throttle, details)
	if err != nil {
		return err
	}
	if err := r.note(ctx, tx, AskThrottle, details); err != nil {
		return err
	}
	_, err = r.outcome(ctx, tx, record.Outcome{Result: record.Succeeded, Intent: intent, Step: record.Step{Name: record.Throttle}}, details)
	return err
}

// Request asks the runner of a job for an action, or takes the action itself if
// there is no runner.
func Request(ctx context.Context, o Options, action string, thresholds map[throttle.Input]string) error {
	limits := Limits(o.Job)
	for input, value := range thresholds {
		if err := limits.Set(string(input), value); err != nil {
			return err
		}
	}
	o.Wait, o.ExitPaused = false, true
	r, err := Open(ctx, o)
	var held *state.HeldError
	switch {
	case errors.As(err, &held):
		return ask(ctx, o, action, thresholds)
	case err != nil:
		return err
	}
	defer r.Close()
	if action == AskRollback {
		return r.Rollback(ctx, "requested by "+o.Actor, false)
	}
	err = r.within(ctx, func(tx *state.Tx) error {
		if err := r.setThresholds(ctx, tx, thresholds); err != nil {
			return err
		}
		switch action {
		case AskPause:
			return r.move(ctx, tx, state.Pause, record.Pause, r.Actor, nil)
		case AskResume:
			return r.move(ctx, tx, state.Resume, record.Resume, r.Actor, nil)
		}
		details, err := json.Marshal(thresholds)
		if err != nil {
			return err
		}
		return r.throttled(ctx, tx, state.Request{By: r.Actor, Details: details})
	})
	if err != nil {
		return err
	}
	// The entries stay in the outbox if the ledger does not answer.
	_ = r.Acknowledged(ctx)
	return nil
}

func (o *Options) setThresholds(ctx context.Context, db state.Executor, thresholds map[throttle.Input]string) error {
	for input, value := range thresholds {
		if err := state.SetThreshold(ctx, db, o.Job.Name, state.Threshold{Input: string(input), Value: value, By: o.Actor}); err != nil {
			return err
		}
	}
	return nil
}

// answerTime is how long a request waits for the runner.
const answerTime = time.Minute

// ask leaves a request for the runner, and waits for its answer.
func ask(ctx context.Context, o Options, action string, thresholds map[throttle.Input]string) error {
	conn, err := o.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := state.Listen(ctx, conn); err != nil {
		return err
	}
	var id int64
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		// In one transaction, so that no limit is in force without its entry.
		if err := o.setThresholds(ctx, tx, thresholds); err != nil {
			return err
		}
		id, err = state.Ask(ctx, tx, o.Job.Name, action, o.Actor, thresholds)
		return err
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for {
		q, err := state.LoadRequest(ctx, conn, id)
		switch {
		case err != nil:
			return fmt.Errorf("the runner of job %s has not answered: %w", o.Job.Name, err)
		case q.Answer == nil:
		case *q.Answer == "":
			return nil
		default:
			return errors.New(*q.Answer)
		}
		if err := state.Await(ctx, conn, o.Job.Name, time.Second); err != nil {
			return fmt.Errorf("the runner of job %s has not answered: %w", o.Job.Name, err)
		}
	}
}

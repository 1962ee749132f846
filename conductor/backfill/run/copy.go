package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/copying"
	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
)

// Copy expands the table if that was not done yet, and copies until every row
// is copied. It returns ErrPaused or ErrRolledBack if it ended before.
func (r *Runner) Copy(ctx context.Context) (err error) {
	ctx, span := r.trace(ctx, "copy")
	defer func() { endSpan(span, err) }()
	switch r.row.Phase {
	case state.Planned:
		if err := r.expand(ctx); err != nil {
			return err
		}
	case state.Copying:
	case state.Paused:
		if r.ExitPaused {
			return ErrPaused
		}
	case state.Copied:
		if done, err := r.judged(ctx); done || err != nil {
			return err
		}
	case state.Cutover:
		return nil
	default:
		return &state.TransitionError{Phase: r.row.Phase, Action: state.Complete}
	}
	c, err := r.newCopier(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if r.row.Phase == state.Copied {
		return c.ended(ctx, c.last(ctx))
	}
	err = copying.Run(ctx, copying.Config{
		Pair: r.plan.Pair, Key: r.plan.Key, Table: r.row.Table, Replica: r.plan.Replica,
		Target: r.Job.Copy.Target, First: r.Job.Copy.Chunk, Most: r.Job.Copy.Most, Rate: float64(r.Job.Copy.MaxRate),
		LockTimeout: r.Job.Cutover.LockTimeout, Connect: r.Connect, Random: r.random,
	}, r.hold, c)
	if err == nil {
		if err = r.reload(ctx); err == nil {
			err = c.last(ctx)
		}
	}
	return c.ended(ctx, err)
}

// ended saves the account of a copy that has ended, and rolls back if that is
// its result.
func (c *copier) ended(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, ErrNotPassed) || errors.Is(err, ErrPaused) || errors.Is(err, errRollBack) {
		err = errors.Join(err, c.saveNow(ctx))
	}
	if !errors.Is(err, errRollBack) {
		return err
	}
	if err := c.Rollback(ctx, c.why, false); err != nil {
		return err
	}
	return ErrRolledBack
}

// judged reports whether the checkpoint at 100 % was taken. A process can end
// after the last row was copied, and before this checkpoint. The error is
// ErrNotPassed if it did not pass.
func (r *Runner) judged(ctx context.Context) (bool, error) {
	taken, err := state.Checkpoints(ctx, r.conn, r.Job.Name)
	if n := len(taken); err != nil || n == 0 || taken[n-1].Percent < 100 {
		return false, err
	} else if !taken[n-1].Passed {
		return true, ErrNotPassed
	}
	return true, nil
}

// expand creates the objects in the database.
func (r *Runner) expand(ctx context.Context) (err error) {
	ctx, span := r.trace(ctx, "expand")
	defer func() { endSpan(span, err) }()
	if err := r.recordPlan(ctx); err != nil {
		return err
	}
	intent, err := r.announce(ctx, record.Start, nil)
	if err != nil {
		return err
	}
	change := cutover.Change{
		Table: r.plan.Table, Statements: r.plan.Pair.Expand(),
		Expect: cutover.Expectation{OID: r.row.Table, Columns: []cutover.Column{{Name: r.Job.Column, Type: r.plan.Pair.Expressions.OldType}, {Name: r.Job.Names.Shadow}, {Name: r.Job.Names.Mark}}},
	}
	_, err = r.perform(ctx, change, nil, state.Expand, false, func(tx *state.Tx, details map[string]any) error {
		_, err := r.outcome(ctx, tx, record.Outcome{Result: record.Succeeded, Intent: intent, Step: record.Step{Name: record.Start}}, details)
		return err
	})
	return r.failed(ctx, record.Start, intent, err)
}

// recordPlan records the plan as the first entry of the job.
func (r *Runner) recordPlan(ctx context.Context) error {
	return r.within(ctx, func(tx *state.Tx) error {
		steps, err := state.Steps(ctx, tx, r.Job.Name, 0, 1)
		if err != nil || len(steps) > 0 {
			return err
		}
		details := struct {
			Table      string    `json:"table"`
			Column     string    `json:"column"`
			Type       string    `json:"type"`
			Up         string    `json:"up"`
			Down       string    `json:"down"`
			Estimates  Estimates `json:"estimates"`
			Statements any       `json:"statements"`
		}{r.plan.Table, r.Job.Column, r.plan.Pair.Expressions.NewType, r.plan.Pair.Expressions.Up, r.plan.Pair.Expressions.Down, r.plan.Estimates, r.plan.recorded()}
		intent, err := r.intent(ctx, tx, record.Plan, details)
		if err != nil {
			return err
		}
		_, err = r.outcome(ctx, tx, record.Outcome{Result: record.Succeeded, Intent: intent, Step: record.Step{Name: record.Plan}}, nil)
		return err
	})
}

func (r *Runner) policy() cutover.Policy {
	return cutover.Policy{LockTimeout: r.Job.Cutover.LockTimeout, Attempts: r.Job.Cutover.Attempts, Now: r.Now, Random: r.random}
}

// failed records that a step was not made, if there is an error, and returns
// the error.
func (r *Runner) failed(ctx context.Context, name record.Name, intent uint64, err error) error {
	if err == nil || errors.Is(err, state.ErrFenced) || ctx.Err() != nil {
		return err
	}
	result := record.Failed
	var blocked *cutover.BlockedError
	if errors.As(err, &blocked) {
		result = record.Aborted
	}
	return errors.Join(err, r.within(ctx, func(tx *state.Tx) error {
		_, err := r.outcome(ctx, tx, record.Outcome{Result: result, Intent: intent, Step: record.Step{Name: name}}, map[string]string{"error": reasonOf(err)})
		return err
	}))
}

// clip bounds a text in evidence.
func clip(s string) string {
	const most = 2000
	if len(s) > most {
		return s[:most]
	}
	return s
}

// errRollBack ends a copy that is rolled back.
var errRollBack = errors.New("roll back")

// A copier is the hooks of the copy: it admits chunks, answers requests, runs
// the windows of the canary analysis and takes checkpoints.
type copier struct {
	*Runner
	throttle *throttle.Throttle
	windows  *schedule
	requests *requests
	gauge    *gauge // of the throttle

	estimate int64
	visited  int64 // rows, in this pass
	written  int64 // rows

	// The statistics of the server lack uncounted rows that the copy has
	// written, because they were reset, and uncovered ones that can be late.
	uncounted, uncovered int64

	began    time.Time // of this run
	begun    int64     // visited, when this run began
	limit    float64   // share of the rate after a checkpoint below the threshold
	reason   string    // of the latest slowdown
	next     float64   // percent of the next checkpoint
	from     []string  // key of the latest checkpoint whose data checks have passed
	counted  int64     // rows since then
	position state.Position
	why      string // of a rollback
}

func (r *Runner) newCopier(ctx context.Context) (*copier, error) {
	c := &copier{Runner: r, estimate: r.plan.Estimates.Rows, limit: 1, began: r.Now(), next: r.Job.Checkpoint.Every}
	position, err := state.LoadPosition(ctx, r.conn, r.Job.Name)
	var corrupt *state.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		return nil, err
	}
	c.position, c.visited, c.begun, c.written = position, position.Visited, position.Visited, position.Written
	taken, err := state.Checkpoints(ctx, r.conn, r.Job.Name)
	if err != nil {
		return nil, err
	}
	if n := len(taken); n > 0 {
		c.next = c.after(taken[n-1].Percent)
	}
	if err := c.since(taken); err != nil {
		return nil, err
	}
	if c.requests, err = r.newRequests(ctx); err != nil {
		return nil, err
	}
	c.gauge = &gauge{connect: r.Connect}
	if c.throttle, err = r.newThrottle(ctx, c.gauge); err != nil {
		c.close()
		return nil, err
	}
	if c.windows, err = r.newSchedule(ctx, len(taken)+1); err != nil {
		c.close()
		return nil, err
	}
	r.Metrics.Advanced(r.Now())
	c.copied(c.progress())
	return c, nil
}

func (c *copier) close() {
	if c.windows != nil {
		c.windows.close()
	}
	if c.requests != nil {
		c.requests.close()
	}
	if c.gauge != nil {
		c.gauge.close()
	}
}

// since finds the range of the next checkpoint. It begins after the latest
// checkpoint whose data checks have passed, so that a range which failed is
// checked again.
func (c *copier) since(taken []state.Checkpoint) error {
	c.from, c.counted = nil, c.position.Visited
	for _, t := range slices.Backward(taken) {
		report, err := reportOf(t)
		if err != nil {
			return err
		}
		if proven(report) && len(t.To) > 0 {
			c.from, c.counted = t.To, max(0, c.position.Visited-t.Visited)
			break
		}
	}
	if c.position.Pass > 1 {
		// Rows behind earlier checkpoints were still marked at that time.
		c.from, c.counted = nil, 0
	}
	return nil
}

// reportOf decodes the report of a checkpoint in the state.
func reportOf(c state.Checkpoint) (*aca.Report, error) {
	report := &aca.Report{}
	if err := json.Unmarshal(c.Report, report); err != nil {
		return nil, fmt.Errorf("read checkpoint %d in the state: %w", c.Number, err)
	}
	return report, nil
}

// proven reports whether all data checks of a report have passed.
func proven(r *aca.Report) bool {
	return !slices.ContainsFunc(r.Results, func(x aca.Result) bool { return x.Kind == aca.Data && x.Result != aca.Pass })
}

// after returns the percentage of the checkpoint after one.
func (c *copier) after(percent float64) float64 {
	every := c.Job.Checkpoint.Every
	return math.Min(100, (math.Floor(percent/every+1e-9)+1)*every)
}

func (c *copier) show(reason string) {
	c.reason = reason
	c.copied(c.progress())
}

func (c *copier) progress() Progress {
	p := Progress{Visited: c.visited, Written: c.written, Estimate: max(c.estimate, c.visited), Reason: c.reason, Window: c.windows.name()}
	p.Share = c.share()
	if took := c.Now().Sub(c.began).Seconds(); took > 0 {
		p.Rate = float64(c.visited-c.begun) / took
	}
	if p.Rate > 0 {
		p.Left = time.Duration(float64(p.Estimate-c.visited) / p.Rate * float64(time.Second)).Round(time.Second)
	}
	return p
}

// share returns the share of the rows that were visited. It is below 1 until
// the copy has ended.
func (c *copier) share() float64 {
	if c.estimate <= 0 || c.position.Pass > 1 {
		return 0.99
	}
	return math.Min(0.99, float64(c.visited)/float64(c.estimate))
}

// Progress implements copying.Hooks.
func (c *copier) Progress(ctx context.Context, p copying.Progress) error {
	c.position, c.visited = p.Position, p.Position.Visited
	c.written = p.Position.Written
	c.counted += p.Visited
	c.account.counts[counterChunks]++
	c.Metrics.Chunk(p.Written, p.Took)
	c.Metrics.Advanced(c.Now())
	c.copied(c.progress())
	c.windows.worked(p.Took)
	done, err := c.windows.complete(ctx, c.visited)
	// The checkpoint at 100 % follows the last chunk, whose key is not known.
	if err != nil || !done || p.Position.Finished || c.position.Pass > 1 || c.share()*100 < c.next {
		return err
	}
	if c.position.Finished { // its key is that before the chunk: last checks the rows
		return nil
	}
	percent := c.after(c.share() * 100)
	if c.share()*100 < percent {
		percent -= c.Job.Checkpoint.Every
	}
	return c.checkpoint(ctx, percent, c.position.Key)
}

// Retry implements copying.Hooks.
func (c *copier) Retry(err error, wait time.Duration) {
	c.Metrics.Retry()
	c.Watch.Event("retry", map[string]string{"error": err.Error(), "wait": wait.String()})
}

// Complete implements copying.Hooks.
func (c *copier) Complete(ctx context.Context, tx *state.Tx) error {
	row, err := tx.Load(ctx)
	if err != nil || row.Phase == state.Copied {
		return err
	}
	if _, err = tx.Move(ctx, state.Complete); err != nil {
		return err
	}
	return c.note(ctx, tx, "copied", c.progress())
}

// last takes the checkpoint at 100 %.
func (c *copier) last(ctx context.Context) error {
	if _, err := c.windows.complete(ctx, c.visited); err != nil {
		return err
	}
	c.windows.abandon()
	if c.position.Pass > 1 {
		c.from, c.counted = nil, 0 // see since
	}
	if err := c.checkpoint(ctx, 100, nil); err != nil {
		return err
	}
	if _, err := c.reported(ctx); err != nil {
		return err
	}
	_, err := c.judged(ctx)
	return err
}

func percentText(p float64) string { return fmt.Sprintf("%g%%", math.Round(p*100)/100) }

// newThrottle returns the throttle of the job with the thresholds that were set
// since.
func (r *Runner) newThrottle(ctx context.Context, db throttle.DB) (*throttle.Throttle, error) {
	limits, err := r.limits(ctx, r.conn)
	if err != nil {
		return nil, err
	}
	meter := throttle.NewMeter(throttle.MeterConfig{DB: db, Table: r.row.Table, Probe: r.Job.Throttle.Probe.SQL, Query: r.Job.Throttle.Query.SQL, Now: r.Now})
	windows := make([]throttle.Window, len(r.Job.Windows))
	for i, w := range r.Job.Windows {
		windows[i] = throttle.Window{Days: w.Days, From: w.From, To: w.To, Zone: w.Zone}
	}
	return throttle.New(throttle.Config{Gauge: meter, Windows: windows, Limits: limits, Now: r.Now, Observe: r.account.decided}), nil
}

// limits returns the limits in force.
func (r *Runner) limits(ctx context.Context, db state.Querier) (throttle.Limits, error) {
	limits := Limits(r.Job)
	thresholds, err := state.Thresholds(ctx, db, r.Job.Name)
	if err != nil {
		return nil, err
	}
	for _, t := range thresholds {
		if err := limits.Set(t.Input, t.Value); err != nil {
			return nil, fmt.Errorf("threshold set by %s: %w", t.By, err)
		}
	}
	return limits, nil
}

// Limits returns the limits of a job file.
func Limits(j *job.Job) throttle.Limits {
	t := j.Throttle
	limits := throttle.Limits{}
	for input, v := range map[throttle.Input]float64{
		throttle.ReplicationLag: t.ReplicationLag.Seconds(), throttle.WALRate: float64(t.WALRate), throttle.DeadTuples: t.DeadTuples,
		throttle.BlockedSessions: float64(t.BlockedSessions), throttle.LockQueue: float64(t.LockQueue), throttle.OldestTransaction: t.OldestTransaction.Seconds(),
		throttle.Probe: t.Probe.Max.Seconds(), throttle.Query: t.Query.Max,
	} {
		if v > 0 {
			limits[input] = v
		}
	}
	if t.Vacuum {
		limits[throttle.Vacuum] = 0
	}
	return limits
}

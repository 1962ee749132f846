package run

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/checking"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
)

// source describes the two columns for comparisons.
func (p *Plan) source(side dualwrite.Side) *checking.Source {
	s := &checking.Source{
		Table: p.Table, Primary: side.Primary, Secondary: side.Secondary, Mark: pgx.Identifier{p.Pair.Mark}.Sanitize(),
		Forward: side.Forward(checking.Row), Backward: side.Backward(checking.Row), SearchPath: dualwrite.SearchPath,
	}
	for _, c := range p.Key.Columns {
		s.Key = append(s.Key, checking.Key{Column: pgx.Identifier{c.Name}.Sanitize(), Type: c.Type})
	}
	return s
}

// side returns the direction of the dual write in a phase.
func (p *Plan) side(phase state.Phase) dualwrite.Side {
	if phase == state.Cutover {
		return p.Pair.After()
	}
	return p.Pair.Before()
}

// checkpoint judges the rows since the previous checkpoint, records the result,
// and reacts to it. To is the key of the last of the rows; nil for the end.
func (c *copier) checkpoint(ctx context.Context, percent float64, to []string) (err error) {
	ctx, span := c.trace(ctx, "checkpoint", attribute.Float64("percent", percent))
	defer func() { endSpan(span, err) }()
	data, err := c.check(ctx, to)
	if err != nil {
		return err
	}
	report, err := c.judge(data)
	if err != nil {
		return err
	}
	span.SetAttributes(attribute.Float64("score", report.Score), attribute.String("verdict", string(report.Verdict)))
	passed := report.Verdict == aca.Passed
	reaction := c.reaction(report)
	text, err := report.Marshal()
	if err != nil {
		return err
	}
	err = c.within(ctx, func(tx *state.Tx) error {
		judged := record.Judged{Score: report.Score, Verdict: string(report.Verdict), Report: text}
		seq, err := c.recordCheckpoint(ctx, tx, percent, judged, data)
		if err != nil {
			return err
		}
		number := int64(seq)
		_, err = tx.AddCheckpoint(ctx, state.Checkpoint{Percent: percent, From: c.from, To: to, Visited: c.visited, Score: &report.Score, Passed: passed, Report: text, Seq: &number})
		if err != nil {
			return err
		}
		details := map[string]any{"checkpoint": percentText(percent), "score": report.Score, "verdict": report.Verdict, "summary": report.Summary}
		if err := c.note(ctx, tx, "checkpoint", details); err != nil {
			return err
		}
		if reaction == job.Pause && c.row.Phase == state.Copying {
			return c.move(ctx, tx, state.Pause, record.Pause, c.Actor, map[string]any{"reason": report.Summary, "checkpoint": percentText(percent)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.Metrics.Judged(report)
	c.next = c.after(percent)
	if proven(report) {
		c.from, c.counted = to, 0
	}
	if err := c.reload(ctx); err != nil {
		return err
	}
	switch {
	case reaction == job.Rollback:
		c.why = fmt.Sprintf("checkpoint %s: %s", percentText(percent), report.Summary)
		return errRollBack
	case reaction == job.Slow:
		c.limit /= 2
	}
	if percent == 100 {
		return nil
	}
	return c.windows.renew(ctx)
}

// reaction returns what follows from a report; "" if it passed.
func (c *copier) reaction(report *aca.Report) job.Action {
	switch {
	case report.Verdict == aca.Passed:
		return ""
	case report.Verdict == aca.Blocked && c.Job.ACA.Below == job.Slow:
		return job.Pause // failed data checks never continue
	}
	return c.Job.ACA.Below
}

// check runs the data checks.
func (c *copier) check(ctx context.Context, to []string) (checking.Report, error) {
	conn, err := c.Connect(ctx)
	if err != nil {
		return checking.Report{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// Without the trigger, writes are lost until a validation finds them.
	e := c.expectation(true)
	e.Constraints = nil
	if err := e.Check(ctx, conn, c.plan.Table); err != nil {
		return checking.Report{}, err
	}
	constraints, err := c.constraints(ctx, conn)
	if err != nil {
		return checking.Report{}, err
	}
	report, err := c.plan.source(c.plan.side(c.row.Phase)).Check(ctx, conn, checking.Plan{
		Range: checking.Range{After: c.from, Through: to}, Lossy: c.Job.Lossy, Sample: c.Job.Checkpoint.Sample,
		MaxNullRatio: c.Job.Checkpoint.MaxNullRatio, Counted: c.counted, Deleted: c.deletions(conn), Constraints: constraints,
	}, checking.Pace{Admit: func(ctx context.Context) error { return c.pace(ctx, c.show) }, Target: c.Job.Copy.Target, Now: c.Now})
	for _, one := range report.Results {
		if one.Name == checking.Rows && one.Outcome == checking.Inconclusive {
			c.uncounted += c.uncovered // once: the next range has complete statistics
		}
	}
	return report, err
}

// constraints returns those that the cutover recreates for the new column. They
// are read from the catalogue, so that later ones are included.
func (c *copier) constraints(ctx context.Context, conn *pgx.Conn) (list []checking.Constraint, err error) {
	plan, err := c.dependants(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, k := range plan.Checks {
		list = append(list, checking.Constraint{Name: k.Name, Holds: k.Condition(checking.Row)})
	}
	return list, nil
}

// deletions returns a function for the number of rows that others deleted or
// updated since the copy began: an update of the key moves a row out of the
// range.
func (c *copier) deletions(conn *pgx.Conn) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		if _, err := conn.Exec(ctx, "SELECT pg_stat_clear_snapshot()"); err != nil {
			return 0, err
		}
		var deleted, updated int64
		err := conn.QueryRow(ctx, `SELECT coalesce(sum(pg_stat_get_tuples_deleted(relid)), 0), coalesce(sum(pg_stat_get_tuples_updated(relid)), 0)
			FROM (SELECT $1::oid AS relid UNION SELECT relid FROM pg_partition_tree($1::oid::regclass)) AS tree`, c.row.Table).Scan(&deleted, &updated)
		if err != nil {
			return 0, err
		}
		// The updates of the copy itself are among those of the server.
		if others := updated - (c.written - c.uncounted); others >= 0 {
			c.uncovered = 0
			return deleted + others, nil
		}
		c.uncovered = c.written - c.uncounted - updated
		return deleted, checking.ErrReset
	}
}

// judge computes the report of the canary analysis.
func (c *copier) judge(data checking.Report) (*aca.Report, error) {
	config := c.windows.config
	results := make([]aca.DataResult, 0, len(data.Results))
	for _, r := range data.Results {
		if r.Required {
			config.DataChecks = append(config.DataChecks, r.Name)
		}
		detail := []rune(r.Detail)
		results = append(results, aca.DataResult{Name: r.Name, Result: aca.Outcome(r.Outcome), Detail: string(detail[:min(len(detail), aca.MaxDetail)])})
	}
	return aca.Judge(config, c.windows.measured, results)
}

// recordCheckpoint records the two entries of a checkpoint, and returns the
// number of the first.
func (r *Runner) recordCheckpoint(ctx context.Context, tx *state.Tx, percent float64, judged record.Judged, data checking.Report) (uint64, error) {
	j, err := r.evidence()
	if err != nil {
		return 0, err
	}
	intent, err := r.intentAt(ctx, tx, record.Checkpoint, percent, nil)
	if err != nil {
		return 0, err
	}
	d, err := j.Progress(percent, judged.Score, r.Now(), true)
	seq, err := r.enqueue(ctx, tx, d, err)
	if err != nil {
		return 0, err
	}
	judged.Checkpoint = seq
	details, err := json.Marshal(data)
	if err != nil {
		return 0, err
	}
	_, err = r.outcome(ctx, tx, record.Outcome{
		Step: record.Step{Name: record.Checkpoint, Percent: percent}, Result: record.Succeeded, Intent: intent,
		Judged: &judged,
	}, json.RawMessage(details))
	return seq, err
}

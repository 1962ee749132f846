package run

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/report"
	"muniment.dev/muniment/conductor/backfill/state"
)

// maxEvents bounds the timeline that a report reads.
const maxEvents = 100_000

// Report makes the report of a job from its state. It does not need the hold of
// the job, or the ledger.
func Report(ctx context.Context, o Options) (*report.Report, error) {
	o.defaults()
	conn, err := o.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := state.Check(ctx, conn); err != nil {
		return nil, err
	}
	row, err := state.Load(ctx, conn, o.Job.Name)
	if err != nil {
		return nil, err
	}
	plan, err := decodePlan(row.Plan)
	if err != nil {
		return nil, err
	}
	in := report.Input{Made: o.Now(), Tenant: o.Job.Ledger.Tenant, Policy: o.TrustPolicy, Job: report.Job{
		Name: row.Name, File: o.File, SHA256: row.Digest, Run: row.Run, Entity: o.Job.Entity, Table: plan.Table, Column: plan.Pair.Column,
		Type: plan.Pair.Expressions.NewType, Up: plan.Pair.Expressions.Up, Down: plan.Pair.Expressions.Down, Phase: string(row.Phase),
	}}
	if err := o.fill(ctx, conn, &in); err != nil {
		return nil, err
	}
	return report.Make(in)
}

func (o *Options) fill(ctx context.Context, conn *pgx.Conn, in *report.Input) error {
	steps, err := state.Steps(ctx, conn, o.Job.Name, 0, maxEvents)
	if err != nil {
		return err
	}
	for _, s := range steps {
		e := report.Entry{Seq: uint64(s.Seq), Kind: s.Kind, Payload: s.Payload, Receipt: s.Receipt}
		if s.Sent == nil {
			draft, err := decodeDraft(s.Payload)
			if err != nil {
				return err
			}
			e.Payload = draft
		}
		in.Entries = append(in.Entries, e)
	}
	s, err := ReadStatus(ctx, *o)
	if err != nil {
		return err
	}
	counters, err := state.Counters(ctx, conn, o.Job.Name)
	if err != nil {
		return err
	}
	in.Copy = report.Copy{Rows: s.Estimate, Visited: s.Visited, Written: s.Written, Chunks: counters[counterChunks], Percent: 100 * s.Share}
	in.Throttle = slowdowns(counters)
	events, err := state.Events(ctx, conn, o.Job.Name, 0, maxEvents)
	if err != nil {
		return err
	}
	for _, e := range events {
		var p Progress
		if e.What == eventRate && json.Unmarshal(e.Details, &p) == nil {
			in.Rate = append(in.Rate, report.Rate{Time: e.At, Rows: p.Rate})
		}
	}
	return nil
}

// slowdowns returns how long each input has slowed the copy down.
func slowdowns(counters map[string]int64) (all []report.Throttle) {
	for name, n := range counters {
		input, ok := strings.CutPrefix(name, counterSlowed)
		if !ok {
			continue
		}
		all = append(all, report.Throttle{
			Input: input, Slowed: time.Duration(n) * time.Millisecond, Waited: time.Duration(counters[counterWaited+input]) * time.Millisecond,
			Times: counters[counterTimes+input], Greatest: float64(counters[counterShare+input]) / 1000,
		})
	}
	slices.SortFunc(all, func(a, b report.Throttle) int { return strings.Compare(a.Input, b.Input) })
	return all
}

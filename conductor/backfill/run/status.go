package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
)

// A Status describes a job to people.
type Status struct {
	Job            string             `json:"job"`
	SHA256         string             `json:"sha256"`
	Edited         bool               `json:"edited,omitempty"` // the file has changed since
	Phase          state.Phase        `json:"phase"`
	Holder         *state.Holder      `json:"holder,omitempty"`
	Share          float64            `json:"share"` // 0 to 1
	Visited        int64              `json:"visited"`
	Written        int64              `json:"written"`
	Estimate       int64              `json:"estimate"`
	Unacknowledged int                `json:"unacknowledged"` // entries that are not in the ledger
	Checkpoints    []StatusCheckpoint `json:"checkpoints"`
	Validation     *StatusValidation  `json:"validation,omitempty"`
	Next           string             `json:"next,omitempty"` // the next step for a person
}

// A StatusCheckpoint is a checkpoint in a Status.
type StatusCheckpoint struct {
	Percent float64     `json:"percent"`
	Score   float64     `json:"score"`
	Verdict aca.Verdict `json:"verdict"`
	Summary string      `json:"summary"`
	Taken   time.Time   `json:"taken"`
}

// A StatusValidation is the newest validation in a Status.
type StatusValidation struct {
	At          time.Time `json:"at"`
	Rows        int64     `json:"rows"`
	Differences int64     `json:"differences"`
}

// ReadStatus reads the state of a job. It does not need the hold of the job.
func ReadStatus(ctx context.Context, o Options) (*Status, error) {
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
	position, err := state.LoadPosition(ctx, conn, o.Job.Name)
	var corrupt *state.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		return nil, err
	}
	open, _, err := state.CountUnacknowledged(ctx, conn, o.Job.Name, record.KindCheckpoint)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Checkpoints: []StatusCheckpoint{},
		Job:         row.Name, SHA256: row.Digest, Edited: row.Digest != o.Job.SHA256, Phase: row.Phase, Holder: row.Holder, Visited: position.Visited, Written: position.Written,
		Estimate: max(plan.Estimates.Rows, position.Visited), Unacknowledged: open, Next: next[row.Phase],
	}
	switch row.Phase {
	case state.Copied, state.Cutover, state.Finished:
		s.Share = 1
	default:
		if s.Visited > 0 {
			s.Share = min(0.99, share(s.Visited, s.Estimate))
		}
	}
	return s, s.read(ctx, conn, o.Job.Name)
}

func (s *Status) read(ctx context.Context, db state.Querier, job string) error {
	taken, err := state.Checkpoints(ctx, db, job)
	if err != nil {
		return err
	}
	for _, c := range taken {
		report, err := reportOf(c)
		if err != nil {
			return err
		}
		s.Checkpoints = append(s.Checkpoints, StatusCheckpoint{c.Percent, report.Score, report.Verdict, report.Summary, c.Taken})
	}
	all, err := state.Validations(ctx, db, job)
	if err != nil {
		return err
	}
	if n := len(all); n > 0 && all[n-1].Ended != nil {
		s.Validation = &StatusValidation{*all[n-1].Ended, all[n-1].Rows, all[n-1].Differences}
	}
	if s.Phase != state.Copied {
		return nil
	}
	var missing *NotReadyError
	if err := ready(ctx, db, job, all, taken); errors.As(err, &missing) {
		s.Next = strings.TrimPrefix(missing.Remedy, "run ")
	} else if err != nil {
		return err
	}
	return nil
}

// next is the usual next step in each phase, if no evidence is missing.
var next = map[state.Phase]string{
	state.Planned: "conductor backfill run",
	state.Copying: "wait for the copy, or conductor backfill run if no process runs it",
	state.Paused:  "conductor backfill resume, or rollback",
	state.Copied:  "conductor backfill rehearse, then cutover",
	state.Cutover: "conductor backfill finish, or rollback",
}

// LimitsInForce returns the limits of a job with the changes made since.
func LimitsInForce(ctx context.Context, o Options) (throttle.Limits, error) {
	conn, err := o.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := state.Check(ctx, conn); err != nil && !errors.Is(err, state.ErrNoSchema) {
		return nil, err
	} else if err != nil {
		return Limits(o.Job), nil
	}
	return (&Runner{Options: o}).limits(ctx, conn)
}

// Describe returns an event of the timeline for people; "" for events that are
// not worth a line.
func Describe(what string, details any) string {
	if what == "windows" || what == "validation" || what == "rehearsal" {
		return ""
	}
	switch d := details.(type) {
	case cutover.Attempt:
		if d.Error == "" {
			return ""
		}
		text := "attempt failed: " + d.Error
		for _, b := range d.Blockers {
			text += "\n" + b.String()
		}
		return text
	case *record.Decision:
		return fmt.Sprintf("gate: %s at stage %s", d.Decision, d.Stage)
	case throttle.Decision, cutover.Outcome:
		return ""
	case map[string]any:
		if summary, ok := d["summary"].(string); ok {
			return fmt.Sprintf("%s %v: %s", what, d["checkpoint"], summary)
		}
		if reason, ok := d["reason"].(string); ok {
			return what + ": " + reason
		}
	case map[string]string:
		if d["hint"] != "" {
			return d["hint"]
		}
		if d["error"] != "" {
			return what + ": " + d["error"]
		}
	}
	return what
}

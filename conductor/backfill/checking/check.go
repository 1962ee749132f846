package checking

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// An Outcome is the result of a check, as in docs/spec/aca.md.
type Outcome string

// The outcomes. An inconclusive check has not passed.
const (
	Pass         Outcome = "pass"
	Fail         Outcome = "fail"
	Inconclusive Outcome = "inconclusive"
)

// The names of the data checks (section 6).
const (
	ChecksumUp   = "checksum-up"
	ChecksumDown = "checksum-down"
	Sample       = "sample"
	Nulls        = "nulls"
	Constraints  = "constraints"
	Rows         = "rows"
)

// Names lists all data checks.
var Names = []string{ChecksumUp, ChecksumDown, Sample, Nulls, Constraints, Rows}

// A Result is the result of a data check.
type Result struct {
	Name     string  `json:"name"`
	Outcome  Outcome `json:"outcome"`
	Required bool    `json:"required"`
	Detail   string  `json:"detail"` // for people
}

// A Constraint is recreated at cutover.
type Constraint struct {
	Name  string
	Holds string // SQL over the alias Row that is false for rows which violate it
}

// A Plan specifies the data checks of a checkpoint.
type Plan struct {
	Range        Range
	Lossy        bool // checksum-down is not required
	Sample       int  // random keys to compare, at most MaxSample
	MaxNullRatio float64
	Constraints  []Constraint

	// Counted is the number of rows of the range that the copy visited. Deleted
	// returns how many rows of the table were deleted since, by the statistics
	// of the server. It is called only if rows are missing.
	Counted int64
	Deleted func(ctx context.Context) (int64, error)

	// Sleep waits for statistics to arrive. Nil waits with a timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// MaxSample is the greatest number of sampled keys.
const MaxSample = 10_000

// A Report is the result of the data checks of a checkpoint.
type Report struct {
	Results []Result `json:"results"`
	Rows    int64    `json:"rows"` // of the range

	// Marked rows are not copied yet, and left out of all checks.
	Marked int64 `json:"marked,omitzero"`

	// SecondaryOnly counts the rows that agree only because the primary is the
	// transformation of the secondary. They are left out of checksum-up.
	SecondaryOnly int64 `json:"secondaryOnly,omitzero"`

	Forward    Checksum `json:"forward"`    // of (key, forward(P))
	Secondary  Checksum `json:"secondary"`  // of (key, S), over the same rows
	Primary    Checksum `json:"primary"`    // of (key, P)
	Backward   Checksum `json:"backward"`   // of (key, backward(S))
	LostValues int64    `json:"lostValues"` // rows where S is NULL and P is not
	Sampled    int      `json:"sampled"`

	// Listed are the first sampled rows that do not agree.
	Listed []Difference `json:"listed,omitempty"`
}

// Passed reports whether all required checks have passed.
func (r Report) Passed() bool {
	for _, result := range r.Results {
		if result.Required && result.Outcome != Pass {
			return false
		}
	}
	return true
}

// Check runs the data checks of a checkpoint over a range of rows, chunk by
// chunk. An error means that they could not be run. An expression that cannot
// be evaluated for a row is a failed check.
func (s *Source) Check(ctx context.Context, db DB, plan Plan, pace Pace) (Report, error) {
	var report Report
	s, err := s.resolved(ctx, db)
	if err != nil {
		return report, fmt.Errorf("data checks: %w", err)
	}
	t := newTotals(plan)
	err = t.collect(ctx, s, db, pace)
	if isRow(err) {
		// No checksum exists, so nothing has passed.
		for _, name := range Names {
			report.add(name, name != ChecksumDown || !plan.Lossy, Inconclusive, "a checksum cannot be computed")
		}
		report.Results[0].Outcome, report.Results[0].Detail = Fail, message(err)
		return report, nil
	}
	if err != nil {
		return report, fmt.Errorf("data checks of %s: %w", s.Table, err)
	}
	t.fill(&report)
	report.checksum(ChecksumUp, true, report.Forward, report.Secondary)
	report.checksum(ChecksumDown, !plan.Lossy, report.Primary, report.Backward)
	if err := s.checkSample(ctx, db, t.sample.keys(), &report); err != nil {
		return report, fmt.Errorf("sample of %s: %w", s.Table, err)
	}
	report.nulls(plan)
	report.constraints(plan, t.violations)
	return report, report.rows(ctx, plan)
}

func (r *Report) add(name string, required bool, outcome Outcome, detail string) {
	r.Results = append(r.Results, Result{Name: name, Outcome: outcome, Required: required, Detail: detail})
}

func passIf(ok bool) Outcome {
	if ok {
		return Pass
	}
	return Fail
}

func (r *Report) checksum(name string, required bool, a, b Checksum) {
	detail := fmt.Sprintf("%d rows with checksum %016x", a.Rows, a.Sum)
	if a != b {
		detail = fmt.Sprintf("%d rows with checksum %016x, and %d with %016x", a.Rows, a.Sum, b.Rows, b.Sum)
	}
	r.add(name, required, passIf(a == b), detail)
}

func (r *Report) nulls(plan Plan) {
	compared := r.Rows - r.Marked
	ratio := float64(r.LostValues) / float64(max(compared, 1))
	r.add(Nulls, true, passIf(ratio <= plan.MaxNullRatio),
		fmt.Sprintf("%d of %d rows lost their value, %.4g %%; the limit is %.4g %%", r.LostValues, compared, 100*ratio, 100*plan.MaxNullRatio))
}

func (r *Report) constraints(plan Plan, violations []int64) {
	var violated []string
	for i, n := range violations {
		if n > 0 {
			violated = append(violated, fmt.Sprintf("%s by %d rows", plan.Constraints[i].Name, n))
		}
	}
	detail := fmt.Sprintf("%d constraints hold", len(violations))
	if violated != nil {
		detail = "violated: " + strings.Join(violated, ", ")
	}
	r.add(Constraints, true, passIf(violated == nil), detail)
}

// ErrReset is the error of Plan.Deleted if the statistics of the server do not
// cover the copy: they were reset, as after a crash or a failover, or are late.
var ErrReset = errors.New("the statistics of the server were reset")

// settled is how many seconds the statistics of the server may be late.
const settled = 12

// rows compares the number of rows with that of the copy. The deletions are
// those of the whole table, so the check is not exact. It detects rows that
// vanished without being deleted.
func (r *Report) rows(ctx context.Context, plan Plan) error {
	missing := plan.Counted - r.Rows
	detail := fmt.Sprintf("%d rows; the copy counted %d", r.Rows, plan.Counted)
	if missing <= 0 {
		r.add(Rows, true, Pass, detail)
		return nil
	}
	if plan.Deleted == nil {
		r.add(Rows, true, Inconclusive, detail+", and the number of deleted rows is unknown")
		return nil
	}
	sleep := plan.Sleep
	if sleep == nil {
		sleep = wait
	}
	for attempt := 0; ; attempt++ {
		deleted, err := plan.Deleted(ctx)
		if err == nil && deleted < 0 {
			err = ErrReset
		}
		switch {
		case err != nil && (!errors.Is(err, ErrReset) || attempt == settled && deleted < missing):
			r.add(Rows, true, Inconclusive, fmt.Sprintf("%s; the number of deleted rows is unknown: %v", detail, err))
			return nil
		case deleted >= missing || attempt == settled:
			r.add(Rows, true, passIf(deleted >= missing), fmt.Sprintf("%s, and others deleted or moved up to %d since", detail, deleted))
			return nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

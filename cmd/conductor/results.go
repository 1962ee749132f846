package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"muniment.dev/muniment/conductor/backfill/checking"
	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/rehearse"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
	"muniment.dev/muniment/internal/safetext"
	"muniment.dev/muniment/internal/term"
)

type planResult struct {
	*run.Plan
	job *job.Job
}

func (r planResult) Text() string {
	var b strings.Builder
	p := r.Plan
	fmt.Fprintf(&b, "Backfill %s of column %s in %s\n\nFindings:\n", p.Job, term.Quoted(p.Pair.Column), p.Table)
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "  %s\n", term.Indented(f.String()))
	}
	if len(p.Findings) == 0 {
		b.WriteString("  none\n")
	}
	if len(p.Statements) == 0 {
		return b.String()
	}
	e := p.Estimates
	fmt.Fprintf(&b, "\nExpressions, as they are executed:\n  up    %s\n  down  %s\n", term.Indented(p.Pair.Expressions.Up), term.Indented(p.Pair.Expressions.Down))
	fmt.Fprintf(&b, "\nSample of %d rows: %d do not survive down(up(v)), %d become NULL\n", p.Trial.Rows, p.Trial.Unequal, p.Trial.Nulls)
	if p.Trial.Unequal > 0 && !r.job.Lossy {
		b.WriteString("  values that do not survive fail each checkpoint: correct up and down, or set lossy: true\n")
	}
	if p.Trial.NullUnequal && !r.job.Lossy {
		fmt.Fprintf(&b, "  NULL, which %.3g %% of the rows have by the statistics, does not survive, and would fail checkpoints: correct up and down, set the column NOT NULL, or set lossy: true\n", 100*p.Trial.NullShare)
	}
	if limit := r.job.Checkpoint.MaxNullRatio; float64(p.Trial.Nulls) > limit*float64(p.Trial.Rows) {
		b.WriteString("  values that become NULL fail each checkpoint: correct up, or raise checkpoints.max_null_ratio\n")
	}
	b.WriteString("  the sample is random and can lack rare values: checkpoints look at every row\n")
	fmt.Fprintf(&b, "\nEstimates: %d rows, %s of WAL, up to %s of additional disk space until vacuum", e.Rows, safetext.Size(e.WAL), safetext.Size(e.Extra))
	if e.Shortest > 0 {
		fmt.Fprintf(&b, ", at least %s at the rate limit", e.Shortest)
	}
	b.WriteString("\n")
	for _, phase := range p.Statements {
		fmt.Fprintf(&b, "\nSQL of %s:\n", phase.Name)
		for _, s := range phase.Statements {
			fmt.Fprintf(&b, "  %s;\n", term.Indented(strings.TrimSuffix(strings.TrimSpace(s), ";")))
		}
	}
	return b.String()
}

type phaseResult struct {
	Job   string      `json:"job"`
	Phase state.Phase `json:"phase"`
	Done  string      `json:"result"`
}

func (r phaseResult) Text() string { return fmt.Sprintf("%s: %s (phase %s)\n", r.Job, r.Done, r.Phase) }

type doneResult struct {
	Job  string `json:"job"`
	Done string `json:"result"`
}

func (r doneResult) Text() string { return fmt.Sprintf("%s: %s\n", r.Job, r.Done) }

type limitsResult throttle.Limits

func (r limitsResult) Text() string {
	var b strings.Builder
	for _, input := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&b, "%-20s %s\n", input, throttle.Format(input, r[input]))
	}
	return b.String()
}

type validationResult struct{ checking.Validation }

func (r validationResult) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows compared, %d differ", r.Rows, r.Differences)
	if r.Repaired > 0 {
		fmt.Fprintf(&b, ", %d repaired", r.Repaired)
	}
	b.WriteString("\n")
	for _, d := range r.Listed {
		key := "a row"
		if len(d.Key) > 0 {
			key = "key (" + term.Quoted(strings.Join(d.Key, ", ")) + ")"
		}
		fmt.Fprintf(&b, "  %s%s\n", key, note(d.Error))
	}
	if n := r.Differences - int64(len(r.Listed)); n > 0 {
		fmt.Fprintf(&b, "  and %d more\n", n)
	}
	return b.String()
}

func note(s string) string {
	if s == "" {
		return ""
	}
	return ": " + term.Quoted(s)
}

type swapResult struct {
	Done string `json:"result"`
	cutover.Outcome
}

func (r swapResult) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s, with the table locked for %s", r.Done, term.Count(r.Attempts, "attempt"), r.Last.Held.Round(time.Millisecond))
	b.WriteString("\n")
	for _, s := range r.Ended() {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	return b.String()
}

type rehearsalResult struct{ rehearse.Result }

func (r rehearsalResult) Text() string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%-14s %s in %s, table locked for %s, %d transactions under load", s.Name, result(s.Error), term.Count(s.Change.Attempts, "attempt"), s.Change.Held.Round(time.Millisecond), s.Load.Transactions)
		b.WriteString(note(s.Error) + "\n")
	}
	fmt.Fprintf(&b, "%d rows differ\n", r.Differences)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "failed: %s\n", term.Indented(f))
	}
	return b.String()
}

func result(problem string) string {
	if problem != "" {
		return "failed"
	}
	return "done"
}

type reportResult struct {
	Folder   string   `json:"folder"`
	Verified int      `json:"verified"`
	Pending  int      `json:"pending"`
	Faults   []string `json:"faults,omitempty"`
}

func (r reportResult) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: report.html and report.json, %s verified", r.Folder, term.Count(r.Verified, "receipt"))
	if r.Pending > 0 {
		fmt.Fprintf(&b, ", %s not recorded yet", term.Count(r.Pending, "entry"))
	}
	b.WriteString("\n")
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "  %s\n", term.Indented(f))
	}
	return b.String()
}

type statusResult struct{ *run.Status }

func (r statusResult) Text() string {
	var b strings.Builder
	s := r.Status
	fmt.Fprintf(&b, "%s: %s, %.1f%% (%d of about %d rows)\n", s.Job, s.Phase, 100*s.Share, s.Visited, s.Estimate)
	if s.Holder != nil {
		fmt.Fprintf(&b, "run by %s\n", s.Holder)
	}
	if s.Edited {
		b.WriteString("the file was edited since the job was started: restore it before you run the job\n")
	}
	if s.Unacknowledged > 0 {
		fmt.Fprintf(&b, "not in the ledger yet: %s\n", term.Count(s.Unacknowledged, "entry"))
	}
	if len(s.Checkpoints) > 0 {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "\ncheckpoint\tscore\tresult\ttime\n")
		for _, c := range s.Checkpoints {
			fmt.Fprintf(w, "%g%%\t%.2f\t%s\t%s\n", c.Percent, c.Score, c.Summary, c.Taken.Format(time.RFC3339))
		}
		_ = w.Flush() // a Builder does not fail
	}
	if v := s.Validation; v != nil {
		fmt.Fprintf(&b, "\nvalidated %s: %d rows, %d differ\n", v.At.Format(time.RFC3339), v.Rows, v.Differences)
	}
	if s.Next != "" {
		fmt.Fprintf(&b, "\nnext: %s\n", s.Next)
	}
	return b.String()
}

// isGate reports whether an error is a decision of the gate.
func isGate(err error) bool { return errors.Is(err, record.ErrNotPassed) }

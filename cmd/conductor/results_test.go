package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/internal/term"
)

// TestPlanText checks that a plan warns of values for which no checkpoint would
// pass, unless the job permits them.
func TestPlanText(t *testing.T) {
	plan := &run.Plan{
		Job: "a", Pair: dualwrite.Pair{Column: "c"}, Findings: []catalog.Finding{}, Statements: []run.Phase{{Name: "expand"}},
		Trial: run.Trial{Rows: 1000, Unequal: 3, Nulls: 2, NullUnequal: true, NullShare: 0.002},
	}
	strict, permissive := &job.Job{}, &job.Job{Lossy: true}
	permissive.Checkpoint.MaxNullRatio = 0.01
	for _, c := range []struct {
		job  *job.Job
		want bool
	}{{strict, true}, {permissive, false}} {
		text := planResult{plan, c.job}.Text()
		for _, remedy := range []string{"correct up and down, or set lossy: true", "NULL, which 0.2 % of the rows have by the statistics, does not survive", "correct up, or raise checkpoints.max_null_ratio"} {
			if strings.Contains(text, remedy) != c.want {
				t.Errorf("lossy %v: want %q: %v\n%s", c.job.Lossy, remedy, c.want, text)
			}
		}
	}
}

func TestStatusText(t *testing.T) {
	text := statusResult{&run.Status{Job: "a", Phase: state.Copying, Edited: true, Unacknowledged: 1}}.Text()
	for _, want := range []string{"the file was edited", "not in the ledger yet: 1 entry\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q:\n%s", want, text)
		}
	}
}

// TestPausedText checks that the progress of a paused job has the remedy.
func TestPausedText(t *testing.T) {
	var messages bytes.Buffer
	w := newWatcher(&term.App{Ctx: t.Context(), Stderr: &messages, Stdout: term.NewOutput(os.Stdout, func() {})}, false)
	w.Copied(run.Progress{Visited: 1, Estimate: 2, Share: 0.5, Reason: run.PausedReason})
	w.finish()
	if text := messages.String(); !strings.Contains(text, "paused: run conductor backfill resume, or rollback") {
		t.Error(text)
	}
}

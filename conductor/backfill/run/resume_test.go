package run_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/conductor/backfill/state"
)

// TestEndBeforeLastCheckpoint ends a runner between the copy of the last row
// and the checkpoint at 100 %. The next one takes this checkpoint.
func TestEndBeforeLastCheckpoint(t *testing.T) {
	r := newRig(t, 1000, right)
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"5"]}}`)
	}))
	defer prometheus.Close()
	// Without the windows of the first runner, the checkpoint would not pass.
	text := strings.NewReplacer("aca: {pairs: 0}", `aca: {pairs: 2, min_pairs: 2, window: 100ms, prometheus: "`+prometheus.URL+`", checks: [{name: work, kind: counter, query: a, per: b}]}`,
		"every: 20", "every: 100").Replace(string(r.options.Job.Text))
	var err error
	if r.options.Job, err = job.Parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	var ended atomic.Bool
	connect := r.options.Connect
	r.options.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		if ended.Load() { // the checkpoint opens a connection
			return nil, context.Canceled
		}
		return connect(ctx)
	}
	r.options.Watch = &ending{what: "copied", end: func() { ended.Store(true) }}
	runner := r.open()
	if err := runner.Copy(t.Context()); !errors.Is(err, context.Canceled) || runner.Phase() != state.Copied {
		t.Fatalf("copy: phase %s, %v, want canceled", runner.Phase(), err)
	}
	if err := runner.Close(); err != nil {
		t.Fatal(err)
	}
	ended.Store(false)
	r.options.Watch = nil
	runner = r.open()
	if err := runner.Copy(t.Context()); err != nil || runner.Phase() != state.Copied {
		t.Fatalf("copy: phase %s, %v", runner.Phase(), err)
	}
	if all := r.reports(); len(all) == 0 || !strings.HasPrefix(all[len(all)-1], "100%") {
		t.Errorf("checkpoints %q, want one at 100%%", all)
	}
	n := len(r.reports())
	if err := runner.Copy(t.Context()); err != nil || len(r.reports()) != n {
		t.Errorf("copy again: %v, %d checkpoints, want %d", err, len(r.reports()), n)
	}
}

// An ending watcher calls a function at an event of a name.
type ending struct {
	what string
	end  func()
}

func (e *ending) Event(what string, _ any) {
	if what == e.what {
		e.end()
	}
}
func (*ending) Copied(run.Progress)  {}
func (*ending) Sent(record.Attempt)  {}
func (*ending) Waiting(state.Holder) {}

// An events watcher is called with the names of events.
type events func(what string)

func (e events) Event(what string, _ any) { e(what) }
func (events) Copied(run.Progress)        {}
func (events) Sent(record.Attempt)        {}
func (events) Waiting(state.Holder)       {}

// TestFailedRange checks that a range whose data checks have failed is checked
// again, until its rows are correct, although the job was resumed.
func TestFailedRange(t *testing.T) {
	r := newRig(t, 2000, transformation{"nullif(size_kb::bigint, 7) * 1024", "(size_kb / 1024)::integer"})
	r.exec("UPDATE asset SET size_kb = 1 WHERE id > 300 AND size_kb = 7")
	runner := r.open()
	paused := func(checkpoints int) {
		t.Helper()
		if err := runner.Copy(t.Context()); !errors.Is(err, run.ErrPaused) || len(r.reports()) != checkpoints {
			t.Fatalf("copy: %v, want paused after %d checkpoints: %q", err, checkpoints, r.reports())
		}
		if err := runner.Close(); err != nil {
			t.Fatal(err)
		}
		if err := run.Request(t.Context(), r.options, run.AskResume, nil); err != nil {
			t.Fatal(err)
		}
		runner = r.open()
	}
	paused(1)
	paused(2)
	r.exec("UPDATE asset SET size_kb = 1 WHERE size_kb = 7")
	if err := runner.Copy(t.Context()); err != nil || runner.Phase() != state.Copied {
		t.Errorf("copy: phase %s, %v: %q", runner.Phase(), err, r.reports())
	}
}

// TestCheckpointInLastChunk copies a table whose last chunk crosses the mark of
// a checkpoint. The rows of this chunk belong to the checkpoint at 100 %.
func TestCheckpointInLastChunk(t *testing.T) {
	r := newRig(t, 300, right)
	r.options.Job.Copy.Target = time.Minute
	runner := r.open()
	if err := runner.Copy(t.Context()); err != nil || runner.Phase() != state.Copied {
		t.Fatalf("copy: phase %s, %v: %q", runner.Phase(), err, r.reports())
	}
	if got := r.reports(); len(got) != 2 || !strings.HasPrefix(got[0], "60%: ") || !strings.HasPrefix(got[1], "100%: ") {
		t.Errorf("checkpoints: %q", got)
	}
}

// TestLateTrigger checks that the table is examined again before a cutover.
func TestLateTrigger(t *testing.T) {
	r := newRig(t, 100, right)
	r.permit()
	runner := r.open()
	if err := runner.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Validate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.exec(`CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.size_kb := 0; RETURN NEW; END';
		CREATE TRIGGER zzzz BEFORE UPDATE ON asset FOR EACH ROW EXECUTE FUNCTION late()`)
	var blocked *run.BlockedError
	if _, err := runner.Cutover(t.Context(), false); !errors.As(err, &blocked) || blocked.Findings[0].Code != "late-trigger" {
		t.Errorf("cutover with a later trigger: %v", err)
	}
	r.exec("DROP TRIGGER zzzz ON asset")
	if _, err := runner.Cutover(t.Context(), false); err != nil {
		t.Error(err)
	}
}

// TestDecisionEnds revokes the decision of the gate, or moves the clock behind
// its end, while the cutover waits for the table. The cutover is refused.
func TestDecisionEnds(t *testing.T) {
	r := newRig(t, 100, right)
	r.permit()
	var c clock
	r.options.Now = c.now
	var asked, locked func()
	r.options.Watch = events(func(what string) {
		switch {
		case what == "gate" && asked != nil:
			asked()
			asked = nil
		case what == "lock":
			locked()
		}
	})
	runner := r.open()
	if err := runner.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Validate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	runner.Job.Cutover.LockTimeout = 500 * time.Millisecond
	blocked := func(then func()) error {
		t.Helper()
		blocker, err := r.options.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer blocker.Close(context.Background())
		waited := false
		locked = func() { waited = true; then(); _ = blocker.Close(context.Background()) }
		// What the cutover prepares conflicts with a lock that is older.
		asked = func() {
			if _, err := blocker.Exec(t.Context(), "BEGIN; LOCK TABLE asset IN ACCESS SHARE MODE"); err != nil {
				t.Error(err)
			}
		}
		_, err = runner.Cutover(t.Context(), false)
		if !waited || runner.Phase() != state.Copied {
			t.Errorf("waited for the table: %t; the job is %s", waited, runner.Phase())
		}
		return err
	}
	if err := blocked(func() { r.require("false") }); !errors.Is(err, record.ErrNotPassed) {
		t.Errorf("cutover with a revoked decision: %v", err)
	}
	r.require("true")
	if err := blocked(func() { c.offset.Add(int64(48 * time.Hour)) }); err == nil || !strings.Contains(err.Error(), "the decision of the gate was valid until") {
		t.Errorf("cutover with an expired decision: %v", err)
	}
}

// TestRollbackHint checks that a rollback informs the person as soon as the
// ledger cannot be reached, and not after it has waited for it.
func TestRollbackHint(t *testing.T) {
	r := newRig(t, 100, right)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var hints atomic.Int32
	r.options.Watch = &ending{what: "hint", end: func() { hints.Add(1); cancel() }}
	runner := r.open()
	if err := runner.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.ledger.Close()
	if err := runner.Rollback(ctx, "test", false); !errors.Is(err, context.Canceled) || hints.Load() != 1 {
		t.Errorf("rollback: %v, with %d hints", err, hints.Load())
	}
	runner.WithoutLedger = true
	if err := runner.Rollback(t.Context(), "test", false); err != nil || hints.Load() != 1 {
		t.Errorf("rollback without the ledger: %v, with %d hints", err, hints.Load())
	}
}

// TestNoValuesInEvidence checks that entries do not contain the statements of
// the sessions that block a cutover.
func TestNoValuesInEvidence(t *testing.T) {
	r := newRig(t, 100, right)
	r.options.Job.Cutover.Attempts, r.options.Job.Cutover.LockTimeout = 1, 500*time.Millisecond
	runner := r.open()
	if err := runner.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Validate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	// The new column is prepared before the gate is asked.
	if _, err := runner.Cutover(t.Context(), false); !errors.Is(err, record.ErrNotPassed) {
		t.Fatal(err)
	}
	r.permit()
	blocker, err := r.options.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close(context.Background())
	// The trigger of another job may fire later, so it does not prevent this.
	if _, err := blocker.Exec(t.Context(), "CREATE TRIGGER zzz_muniment_z BEFORE UPDATE ON asset FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"); err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec(t.Context(), "BEGIN; SELECT 'alice@example.com' FROM asset LIMIT 1"); err != nil {
		t.Fatal(err)
	}
	var blocked *cutover.BlockedError
	if _, err := runner.Cutover(t.Context(), false); !errors.As(err, &blocked) || !strings.Contains(err.Error(), "alice") {
		t.Fatalf("cutover: %v, want blocked by the statement", err)
	}
	if n := r.number("SELECT count(*) FROM muniment_conductor.outbox WHERE convert_from(payload, 'UTF8') LIKE '%blocked by process%'"); n != 1 {
		t.Errorf("%d entries name the session, want 1", n)
	}
	if n := r.number("SELECT count(*) FROM muniment_conductor.outbox WHERE convert_from(payload, 'UTF8') LIKE '%alice%'"); n > 0 {
		t.Errorf("%d entries contain its statement", n)
	}
}

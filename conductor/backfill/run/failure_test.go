package run_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
	"muniment.dev/muniment/internal/peers/postgresrig"
)

// A watch calls functions for what a runner reports.
type watch struct {
	copied func(run.Progress)
	sent   func(record.Attempt)
}

func (w watch) Event(string, any) {}

func (w watch) Copied(p run.Progress) {
	if w.copied != nil {
		w.copied(p)
	}
}

func (w watch) Sent(a record.Attempt) {
	if w.sent != nil {
		w.sent(a)
	}
}

func (w watch) Waiting(state.Holder) {}

// at returns a watch that calls a function once a number of rows was visited.
func at(rows int64, do func()) watch {
	var once sync.Once
	return watch{copied: func(p run.Progress) {
		if p.Visited >= rows {
			once.Do(do)
		}
	}}
}

// leave ends all sessions of the database, and sends later ones to a copy of
// the server.
func (r *rig) leave(to *postgresrig.Rig) {
	from := r.db.URL(r.name)
	url := to.URL(r.name)
	r.options.Connect = func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, url) }
	conn, err := pgx.Connect(context.Background(), from)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
		r.t.Error(err)
	}
}

// TestFailover promotes a standby while a job runs on the primary, and sends
// the runner to it. The job is continued there, and no row is lost.
func TestFailover(t *testing.T) {
	r := newRig(t, 3000, right)
	standby, err := r.db.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	var address atomic.Value
	address.Store(r.db.URL(r.name))
	r.options.Connect = func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, address.Load().(string)) }
	// A deleted row would make the next checkpoint inconclusive, because the
	// statistics of the standby lack it.
	stop := r.loadOf(1, "UPDATE asset SET size_kb = %[2]d WHERE id %% 1000 = %[1]d", "INSERT INTO asset VALUES (%[3]d, 'new', %[2]d)")
	r.options.Watch = at(1000, func() {
		stop()
		if err := standby.Promote(context.Background()); err != nil {
			t.Error(err)
		}
		address.Store(standby.URL(r.name))
		if err := r.db.Exec(context.Background(), r.name, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
			t.Error(err)
		}
	})
	attempts := 1
	for err := attempt(t.Context(), r); err != nil; err = attempt(t.Context(), r) {
		if attempts++; attempts > 20 || errors.Is(err, run.ErrPaused) {
			t.Fatalf("not copied after %d attempts: %v: %s", attempts, err, r.reports())
		}
	}
	if address.Load() != standby.URL(r.name) {
		t.Fatal("the standby was not promoted")
	}
	if n := r.differing("size_kb", "size_kb__new"); n > 0 {
		t.Errorf("%d rows differ", n)
	}
	t.Logf("copied after %d attempts", attempts)
}

// TestStaleClone sends a job to a copy of the server that lacks entries which
// the ledger has recorded. The runner refuses to go on, with the reason.
func TestStaleClone(t *testing.T) {
	r := newRig(t, 2000, right)
	var clone *postgresrig.Rig
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	r.options.Watch = watch{copied: func(p run.Progress) {
		switch {
		case p.Visited >= 1700: // there were checkpoints since
			cancel()
		case p.Visited >= 200:
			once.Do(func() {
				var err error
				if clone, err = r.db.Clone(context.Background()); err != nil {
					t.Error(err)
					cancel()
				}
			})
		}
	}}
	if err := attempt(ctx, r); !errors.Is(err, context.Canceled) || clone == nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(clone.Stop)
	r.options.Watch = nil
	r.leave(clone)
	err := attempt(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "the state in the database is older than the ledger") {
		t.Errorf("%v", err)
	}
	runner := r.open()
	runner.WithoutLedger = true
	if err := runner.Rollback(t.Context(), "stale", false); err != nil || runner.Phase() != state.RolledBack {
		t.Errorf("the job is %s, %v", runner.Phase(), err)
	}
}

// TestDiskFull fills the tablespace of the table while a job runs. The runner
// ends, and continues after space was freed.
func TestDiskFull(t *testing.T) {
	r := newRig(t, 20, right)
	small, err := os.MkdirTemp("", "backfill-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(small) })
	if err := mount(small, "6m"); err != nil {
		t.Skipf("no file system of its own: %v", err)
	}
	t.Cleanup(func() {
		_ = r.db.Exec(context.Background(), postgresrig.User, "DROP DATABASE "+r.name+" WITH (FORCE)")
		_ = r.db.Exec(context.Background(), postgresrig.User, "DROP TABLESPACE small")
		unmount(small)
	})
	folder := filepath.Join(small, "space")
	if err := os.Mkdir(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := r.db.Own(folder); err != nil {
		t.Fatal(err)
	}
	r.exec("CREATE TABLESPACE small LOCATION '" + folder + "'")
	r.exec("ALTER TABLE asset SET TABLESPACE small")
	r.exec("INSERT INTO asset SELECT i, repeat('x', 200), i % 100 FROM generate_series(21, 4000) AS i; ANALYZE asset")
	r.exec("CREATE TABLE filler TABLESPACE small AS SELECT repeat('y', 1000) FROM generate_series(1, 4000)")
	err = attempt(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "SQLSTATE 53100") {
		t.Fatalf("%v, want no space left", err)
	}
	s, err := run.ReadStatus(t.Context(), r.options)
	if err != nil || s.Phase != state.Copying {
		t.Errorf("%+v, %v", s, err)
	}
	r.exec("DROP TABLE filler; CHECKPOINT")
	if err := attempt(t.Context(), r); err != nil {
		t.Error(err)
	}
	if n := r.differing("size_kb", "size_kb__new"); n > 0 {
		t.Errorf("%d rows differ", n)
	}
}

// TestTriggerDropped drops the trigger of the dual write during the copy. The
// next checkpoint refuses to go on.
func TestTriggerDropped(t *testing.T) {
	r := newRig(t, 2000, right)
	r.options.Watch = at(200, func() { r.exec("DROP TRIGGER zzz_muniment_size_kb ON asset") })
	var changed *cutover.SchemaError
	if err := attempt(t.Context(), r); !errors.As(err, &changed) || !strings.Contains(err.Error(), `the trigger "zzz_muniment_size_kb" does not exist`) {
		t.Errorf("%v", err)
	}
	if n := r.number("SELECT count(*) FROM muniment_conductor.checkpoint"); n > 0 {
		t.Errorf("%d checkpoints", n)
	}
}

// A clock is a wall clock that can be set.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Round(0).Add(time.Duration(c.offset.Load())) }

// TestClockSet sets the clock back and forth in the windows of the analysis.
// They begin again, and the reports that result are valid.
func TestClockSet(t *testing.T) {
	r := newRig(t, 2000, right)
	text := strings.Replace(string(r.options.Job.Text), "aca: {pairs: 0}", "aca: {pairs: 2, min_pairs: 1, window: 150ms, database: true, threshold: 0.5}", 1)
	text = strings.Replace(text, "every: 20", "every: 50", 1)
	r.exec("CREATE EXTENSION pg_stat_statements")
	var err error
	if r.options.Job, err = job.Parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	var c clock
	r.options.Now = c.now
	jumps := []time.Duration{-time.Hour, 3 * time.Hour}
	seen := ""
	r.options.Watch = watch{copied: func(p run.Progress) {
		if p.Window != seen && strings.Contains(p.Window, "with the copy") && len(jumps) > 0 {
			c.offset.Add(int64(jumps[0]))
			jumps = jumps[1:]
		}
		seen = p.Window
	}}
	if err := attempt(t.Context(), r); err != nil {
		t.Fatalf("%v: %s", err, r.reports())
	}
	if len(jumps) > 0 {
		t.Errorf("the clock was not set: %v", jumps)
	}
	conn, err := r.options.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	taken, err := state.Checkpoints(t.Context(), conn, r.options.Job.Name)
	if err != nil || len(taken) == 0 {
		t.Fatalf("%d checkpoints, %v", len(taken), err)
	}
	for _, one := range taken {
		if _, err := aca.Parse(one.Report); err != nil {
			t.Errorf("checkpoint at %g%%: %v", one.Percent, err)
		}
	}
	if n := r.number("SELECT count(*) FROM muniment_conductor.event WHERE details::text LIKE '%the clock was set%'"); n == 0 {
		t.Error("no window began again")
	}
	if n := r.differing("size_kb", "size_kb__new"); n > 0 {
		t.Errorf("%d rows differ", n)
	}
}

// closed gives the job capacity windows. It returns functions that leave and
// enter them.
func (r *rig) closed() (leave, enter func()) {
	r.t.Helper()
	text := string(r.options.Job.Text) + "windows: [{from: \"22:00\", to: \"05:00\", timezone: UTC}]\n"
	var err error
	if r.options.Job, err = job.Parse([]byte(text)); err != nil {
		r.t.Fatal(err)
	}
	var c clock
	to := func(hour int) {
		now := time.Now().UTC()
		c.offset.Store(int64(time.Date(now.Year(), now.Month(), now.Day(), hour, 30, 0, 0, time.UTC).Sub(now)))
	}
	to(23)
	r.options.Now = c.now
	return func() { to(12) }, func() { to(23) }
}

// TestRequestsOutsideWindows makes requests of a runner whose checkpoint or
// validation waits for the capacity windows. Each is answered.
func TestRequestsOutsideWindows(t *testing.T) {
	ask := func(r *rig, action string, limits map[throttle.Input]string) error {
		options := r.options
		options.Watch = nil
		return run.Request(t.Context(), options, action, limits)
	}
	begin := func(f func() error) <-chan error {
		ended := make(chan error, 1)
		go func() { ended <- f() }()
		return ended
	}
	t.Run("checkpoint", func(t *testing.T) {
		r := newRig(t, 500, right)
		leave, _ := r.closed()
		copied := make(chan bool)
		r.options.Watch = &ending{what: "copied", end: func() { leave(); close(copied) }}
		runner := r.open()
		ended := begin(func() error { return runner.Copy(t.Context()) })
		<-copied
		if err := ask(r, run.AskPause, nil); err == nil || !strings.Contains(err.Error(), "pause is not possible: the job is copied") {
			t.Errorf("pause: %v", err)
		}
		if err := ask(r, run.AskThrottle, map[throttle.Input]string{throttle.WALRate: "1MiB"}); err != nil {
			t.Errorf("throttle: %v", err)
		}
		if err := ask(r, run.AskRollback, nil); err != nil {
			t.Errorf("rollback: %v", err)
		}
		if err := <-ended; !errors.Is(err, run.ErrRolledBack) {
			t.Errorf("copy: %v", err)
		}
	})
	t.Run("validation", func(t *testing.T) {
		r := newRig(t, 500, right)
		leave, _ := r.closed()
		runner := r.open()
		if err := runner.Copy(t.Context()); err != nil {
			t.Fatal(err)
		}
		leave()
		ended := begin(func() error { _, err := runner.Validate(t.Context(), false); return err })
		if err := ask(r, run.AskRollback, nil); err != nil {
			t.Errorf("rollback: %v", err)
		}
		if err := <-ended; !errors.Is(err, run.ErrRolledBack) || runner.Phase() != state.RolledBack {
			t.Errorf("validation: %v; the job is %s", err, runner.Phase())
		}
	})
}

// TestIdleWindows holds the copy after one row in each window with it. Such a
// window does not show the effect of the copy, so its pair is left out.
func TestIdleWindows(t *testing.T) {
	r := newRig(t, 200, right)
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"5"]}}`)
	}))
	defer prometheus.Close()
	const window = time.Second
	text := strings.NewReplacer("aca: {pairs: 0}", fmt.Sprintf(`aca: {pairs: 1, min_pairs: 1, window: %s, prometheus: "%s", checks: [{name: work, kind: counter, query: a, per: b}]}`, window, prometheus.URL),
		"every: 20", "every: 100", "chunk: 200, max_chunk: 1000", "chunk: 1, max_chunk: 1").Replace(string(r.options.Job.Text))
	var err error
	if r.options.Job, err = job.Parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	var visited int64
	r.options.Watch = watch{copied: func(p run.Progress) {
		if strings.Contains(p.Window, "with the copy") && p.Visited > visited {
			visited = p.Visited
			<-time.After(window) // so the window ends before the next row
		}
	}}
	if err := attempt(t.Context(), r); !errors.Is(err, run.ErrNotPassed) {
		t.Errorf("%v: %q", err, r.reports())
	}
	if n := r.number("SELECT count(*) FROM muniment_conductor.event WHERE details::text LIKE '%the windows of pair 0 are left out%'"); n != 1 {
		t.Errorf("%d events about windows that were left out", n)
	}
}

// TestClockLeavesWindow sets the clock out of the capacity windows and back.
func TestClockLeavesWindow(t *testing.T) {
	r := newRig(t, 2000, right)
	leave, enter := r.closed()
	held, back := false, false
	r.options.Watch = watch{copied: func(p run.Progress) {
		switch {
		case p.Visited >= 600 && !held && p.Reason == "":
			leave()
		case strings.Contains(p.Reason, "outside of the capacity windows"):
			if held = true; p.Visited > 1800 {
				t.Errorf("%d rows were copied outside of the windows", p.Visited)
			}
			enter()
			back = true
		}
	}}
	if err := attempt(t.Context(), r); err != nil {
		t.Fatalf("%v: %s", err, r.reports())
	}
	if !held || !back {
		t.Error("the copy did not stop")
	}
	if n := r.differing("size_kb", "size_kb__new"); n > 0 {
		t.Errorf("%d rows differ", n)
	}
}

package state_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
)

// rig is a server that the tests share. Each test has its own database.
var rig *postgresrig.Rig

func TestMain(m *testing.M) {
	var err error
	if rig, err = postgresrig.Start(context.Background(), postgresrig.Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	rig.Stop()
	os.Exit(code)
}

// newDatabase returns the URL of a database with the table t.
func newDatabase(t *testing.T) string {
	t.Helper()
	name, err := rig.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.Exec(t.Context(), name, "CREATE TABLE t (id int PRIMARY KEY, v text)"); err != nil {
		t.Fatal(err)
	}
	return rig.URL(name)
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	must(t, err)
}

// planned creates the job "asset" on the table t.
func planned(t *testing.T, conn *pgx.Conn) state.Job {
	t.Helper()
	must(t, state.Install(t.Context(), conn))
	table, columns, err := state.Describe(t.Context(), conn, `"public"."t"`, "id", "v")
	must(t, err)
	j, err := state.Create(t.Context(), conn, state.Job{
		Name: "asset", Source: []byte("job: asset\n"), Run: "r1", Relation: `"public"."t"`, Table: table, Columns: columns,
		Plan: json.RawMessage(`{"b": 1, "a": "é"}`),
	})
	must(t, err)
	return j
}

func claim(j state.Job) state.Claim {
	return state.Claim{Job: j.Name, Digest: j.Digest, Holder: state.Holder{Host: "host", PID: 7, Started: time.Date(2026, 4, 19, 12, 0, 0, 5, time.UTC)}}
}

func acquire(t *testing.T, conn *pgx.Conn, j state.Job) *state.Hold {
	t.Helper()
	h, _, err := state.Acquire(t.Context(), conn, claim(j))
	must(t, err)
	return h
}

func TestInstall(t *testing.T) {
	ctx, url := t.Context(), newDatabase(t)
	conn := connect(t, url)
	if err := state.Check(ctx, conn); !errors.Is(err, state.ErrNoSchema) {
		t.Errorf("without a schema: %v", err)
	}
	const programs = 4
	results := make(chan error, programs)
	for range programs {
		other := connect(t, url)
		go func() { results <- state.Install(ctx, other) }()
	}
	for range programs {
		must(t, <-results)
	}
	must(t, state.Check(ctx, conn))
	exec(t, conn, "UPDATE muniment_conductor.format SET version = 7")
	var other *state.VersionError
	for _, err := range []error{state.Check(ctx, conn), state.Install(ctx, conn)} {
		if !errors.As(err, &other) || err.Error() != "the state in schema muniment_conductor has version 7, this program supports version 1: use a program of that version until its jobs have ended" {
			t.Error(err)
		}
	}
	exec(t, conn, "DELETE FROM muniment_conductor.format")
	if err := state.Install(ctx, conn); err == nil || !strings.Contains(err.Error(), "has no version") {
		t.Error(err)
	}
	exec(t, conn, "DROP SCHEMA muniment_conductor CASCADE; CREATE SCHEMA muniment_conductor")
	if err := state.Install(ctx, conn); err == nil {
		t.Error("the schema of another program was accepted")
	}
}

// TestTransitions checks each pair of a phase and an action.
func TestTransitions(t *testing.T) {
	conn := connect(t, newDatabase(t))
	job := planned(t, conn)
	hold := acquire(t, conn, job)
	phases := []state.Phase{state.Planned, state.Copying, state.Paused, state.Copied, state.Cutover, state.RolledBack, state.Finished}
	actions := []state.Action{state.Expand, state.Abandon, state.Pause, state.Resume, state.Complete, state.CutOver, state.Rollback, state.DropNew, state.Finish}
	allowed := 0
	for _, p := range phases {
		for _, a := range actions {
			to, err := p.After(a)
			var refused *state.TransitionError
			if err == nil {
				allowed++
			} else if !errors.As(err, &refused) || to != p {
				t.Errorf("%s from %s: %s, %v", a, p, to, err)
			}
		}
		if ended := p == state.RolledBack || p == state.Finished; p.Ended() != ended {
			t.Errorf("%s has ended: %v", p, !ended)
		}
	}
	if allowed != len(state.Transitions) {
		t.Errorf("%d transitions are possible, want %d", allowed, len(state.Transitions))
	}
	for _, step := range []struct {
		action state.Action
		want   state.Phase
		err    string
	}{
		{state.Pause, state.Planned, "pause is not possible: the job is planned, which allows expand, abandon"},
		{state.Expand, state.Copying, ""},
		{state.Pause, state.Paused, ""},
		{state.Resume, state.Copying, ""},
		{state.Complete, state.Copied, ""},
		{state.CutOver, state.Cutover, ""},
		{state.Rollback, state.Copied, ""},
		{state.CutOver, state.Cutover, ""},
		{state.Finish, state.Finished, ""},
		{state.Rollback, state.Finished, "rollback is not possible: the job is finished, which is its end"},
	} {
		err := hold.Within(t.Context(), conn, func(tx *state.Tx) error { _, err := tx.Move(t.Context(), step.action); return err })
		if (err == nil) != (step.err == "") || err != nil && err.Error() != step.err {
			t.Errorf("%s: %v, want %q", step.action, err, step.err)
		}
		loaded, err := state.Load(t.Context(), conn, job.Name)
		must(t, err)
		if loaded.Phase != step.want {
			t.Errorf("after %s the job is %s, want %s", step.action, loaded.Phase, step.want)
		}
	}
	if _, err := state.Create(t.Context(), conn, job); err == nil || err.Error() != "job asset has ended: it is finished: choose another name" {
		t.Error(err)
	}
}

func TestJob(t *testing.T) {
	ctx, url := t.Context(), newDatabase(t)
	conn := connect(t, url)
	job := planned(t, conn)
	loaded, err := state.Load(ctx, conn, "asset")
	must(t, err)
	if !reflect.DeepEqual(job, loaded) {
		t.Errorf("loaded %+v, want %+v", loaded, job)
	}
	if again := planned(t, conn); !reflect.DeepEqual(again, job) {
		t.Errorf("the second plan returned %+v, want %+v", again, job)
	}
	other := job
	other.Source = []byte("job: other\n")
	var digest *state.DigestError
	if _, err := state.Create(ctx, conn, other); !errors.As(err, &digest) || digest.Planned != job.Digest {
		t.Errorf("other bytes: %v", err)
	}
	c := claim(job)
	c.Digest = digest.Given
	if _, _, err := state.Acquire(ctx, conn, c); !errors.As(err, &digest) {
		t.Errorf("other bytes: %v", err)
	}
	c.Job = "nothing"
	if _, _, err := state.Acquire(ctx, conn, c); !errors.Is(err, state.ErrNoJob) {
		t.Errorf("unknown job: %v", err)
	}
	if names, err := state.List(ctx, conn); err != nil || !reflect.DeepEqual(names, []string{"asset"}) {
		t.Errorf("the jobs are %q, %v", names, err)
	}
	hold := acquire(t, connect(t, url), job) // the refusals have unlocked the job
	must(t, hold.Release(ctx))
	// Each column is covered by the checksum.
	for column, value := range map[string]string{
		"digest": "'x'", "source": "'x'", "run": "'x'", "phase": "'copied'", "fence": "9", "holder": `'{"host": "x"}'`, "relation": "'x'",
		"table_oid": "9", "columns": "'[]'", "plan": "'{}'", "created": "now()", "changed": "'2020-01-01Z'",
	} {
		exec(t, conn, "BEGIN; UPDATE muniment_conductor.job SET "+column+" = "+value)
		var corrupt *state.CorruptError
		if _, err := state.Load(ctx, conn, "asset"); !errors.As(err, &corrupt) || corrupt.Row != "row" {
			t.Errorf("changed %s: %v", column, err)
		}
		exec(t, conn, "ROLLBACK")
	}
}

// TestHeld checks that the job has one holder.
func TestHeld(t *testing.T) {
	ctx, url := t.Context(), newDatabase(t)
	first, second, third := connect(t, url), connect(t, url), connect(t, url)
	job := planned(t, first)
	old := acquire(t, first, job)
	var held *state.HeldError
	if _, _, err := state.Acquire(ctx, second, claim(job)); !errors.As(err, &held) ||
		err.Error() != "another runner holds job asset: process 7 on host, started 2026-04-19T12:00:00Z: use --wait to wait for it" {
		t.Error(err)
	}
	waiting := make(chan state.Holder, 1)
	acquired := make(chan error, 1)
	c := claim(job)
	c.Wait, c.Waiting, c.Holder.PID = true, func(h state.Holder) { waiting <- h }, 8
	var next *state.Hold
	go func() {
		var err error
		next, _, err = state.Acquire(ctx, second, c)
		acquired <- err
	}()
	if h := <-waiting; h.PID != 7 {
		t.Errorf("waits for %s", h)
	}
	must(t, old.Check(ctx))
	must(t, first.Close(ctx))
	must(t, <-acquired)
	// The first runner lost its connection, and does not know it.
	change := func(h *state.Hold) error {
		return h.Within(ctx, third, func(tx *state.Tx) error { return tx.Record(ctx, "change", nil) })
	}
	if err := change(old); !errors.Is(err, state.ErrFenced) {
		t.Errorf("a runner without the job: %v", err)
	}
	must(t, change(next))
	if events, err := state.Events(ctx, third, "asset", 0, 10); err != nil || len(events) != 1 {
		t.Errorf("%d events, %v", len(events), err)
	}
	limited, cancel := context.WithCancel(ctx)
	go func() { <-waiting; cancel() }()
	c.Waiting = func(h state.Holder) { waiting <- h }
	if _, _, err := state.Acquire(limited, third, c); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestFenceBlocks checks that a new runner waits for a transaction of the old
// one, and that later transactions of the old one fail.
func TestFenceBlocks(t *testing.T) {
	ctx, url := t.Context(), newDatabase(t)
	locks, works, next, watches := connect(t, url), connect(t, url), connect(t, url), connect(t, url)
	job := planned(t, locks)
	old := acquire(t, locks, job)
	tx, err := works.Begin(ctx)
	must(t, err)
	fenced, err := old.WithFence(ctx, tx)
	must(t, err)
	must(t, locks.Close(ctx))
	acquired := make(chan error, 1)
	c := claim(job)
	c.Wait = true
	go func() { _, _, err := state.Acquire(ctx, next, c); acquired <- err }()
	pid := next.PgConn().PID()
	await(t, "the new runner to wait", func() bool {
		var waits bool
		must(t, watches.QueryRow(ctx, "SELECT cardinality(pg_blocking_pids($1)) > 0", pid).Scan(&waits))
		return waits
	})
	must(t, fenced.Record(ctx, "last", nil))
	must(t, tx.Commit(ctx))
	must(t, <-acquired)
	if err := old.Within(ctx, works, func(*state.Tx) error { return nil }); !errors.Is(err, state.ErrFenced) {
		t.Errorf("after the takeover: %v", err)
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(soak.Patience)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", soak.Patience, what)
		case <-again.C:
		}
	}
}

func TestVerify(t *testing.T) {
	ctx := t.Context()
	conn := connect(t, newDatabase(t))
	job := planned(t, conn)
	for change, want := range map[string]string{
		"ALTER TABLE t ADD COLUMN w int":                             "",
		"ALTER TABLE t RENAME TO u":                                  `no table "public"."t"`,
		"ALTER TABLE t RENAME TO u; CREATE TABLE t (id int, v text)": `"public"."t" is another table: its OID was`,
		"ALTER TABLE t DROP COLUMN v":                                `table "public"."t" has no column "v"`,
		"ALTER TABLE t DROP COLUMN v, ADD COLUMN v text":             `column "v" is another one: its number was 2 and is 3`,
		"ALTER TABLE t ALTER v TYPE varchar(4)":                      `column "v" has another type`,
	} {
		exec(t, conn, "BEGIN; "+change)
		err := job.Verify(ctx, conn)
		var changed *state.ChangedError
		if want == "" && err != nil || want != "" && (!errors.As(err, &changed) || !strings.HasPrefix(err.Error(), "the table of job asset was changed by something else than this program: "+want)) {
			t.Errorf("%s: %v", change, err)
		}
		exec(t, conn, "ROLLBACK")
	}
}

func TestPosition(t *testing.T) {
	ctx := t.Context()
	conn := connect(t, newDatabase(t))
	job := planned(t, conn)
	hold := acquire(t, conn, job)
	if p, err := state.LoadPosition(ctx, conn, "asset"); err != nil || !reflect.DeepEqual(p, state.Position{}) {
		t.Errorf("before the copy: %+v, %v", p, err)
	}
	want := state.Position{Key: []string{"a\"b", `\`, "é,"}, Pass: 1, Visited: 5, Written: 4, Chunk: 100, Table: job.Table}
	for range 2 {
		must(t, hold.Within(ctx, conn, func(tx *state.Tx) error { return tx.SavePosition(ctx, want) }))
		want.Visited++
	}
	p, err := state.LoadPosition(ctx, conn, "asset")
	must(t, err)
	want.Visited, want.Saved = 6, p.Saved
	if !reflect.DeepEqual(p, want) {
		t.Errorf("loaded %+v, want %+v", p, want)
	}
	for column, value := range map[string]string{
		"key": "'{a}'", "pass": "9", "visited": "9", "written": "9", "chunk": "9", "finished": "true", "table_oid": "9", "saved": "'2020-01-01Z'",
	} {
		exec(t, conn, "BEGIN; UPDATE muniment_conductor.position SET "+column+" = "+value)
		var corrupt *state.CorruptError
		if _, err := state.LoadPosition(ctx, conn, "asset"); !errors.As(err, &corrupt) || corrupt.Row != "position" {
			t.Errorf("changed %s: %v", column, err)
		}
		exec(t, conn, "ROLLBACK")
	}
}

func TestOutbox(t *testing.T) {
	ctx := t.Context()
	conn := connect(t, newDatabase(t))
	job := planned(t, conn)
	hold := acquire(t, conn, job)
	within := func(f func(*state.Tx) error) error { return hold.Within(ctx, conn, f) }
	for i := range 3 {
		must(t, within(func(tx *state.Tx) error {
			s, err := tx.Enqueue(ctx, "backfill-step", []byte{byte(i), 0})
			if want := fmt.Sprintf("asset/r1/%d", i+1); s.Key != want || s.Seq != int64(i+1) {
				t.Errorf("step %d has the key %s, want %s", s.Seq, s.Key, want)
			}
			return err
		}))
	}
	rolledBack := errors.New("no")
	if err := within(func(tx *state.Tx) error { _, _ = tx.Enqueue(ctx, "x", nil); return rolledBack }); !errors.Is(err, rolledBack) {
		t.Error(err)
	}
	must(t, within(func(tx *state.Tx) error { return tx.Revise(ctx, 2, []byte("revised")) }))
	must(t, within(func(tx *state.Tx) error { return tx.MarkSent(ctx, 2) }))
	if err := within(func(tx *state.Tx) error { return tx.Revise(ctx, 2, []byte("again")) }); err == nil || err.Error() != "entry 2 of the outbox of job asset: cannot be revised: it was sent" {
		t.Error(err)
	}
	for range 2 { // an answer that was lost is repeated
		must(t, within(func(tx *state.Tx) error {
			return tx.Acknowledge(ctx, 1, state.Acknowledgement{Receipt: []byte("r"), Index: 40, LeafHash: []byte("h")})
		}))
	}
	if err := within(func(tx *state.Tx) error { return tx.Acknowledge(ctx, 1, state.Acknowledgement{Index: 41}) }); err == nil {
		t.Error("a second index was accepted")
	}
	if err := within(func(tx *state.Tx) error { return tx.MarkSent(ctx, 9) }); err == nil {
		t.Error("an entry that does not exist was sent")
	}
	open, err := state.Unacknowledged(ctx, conn, "asset", 10)
	must(t, err)
	if len(open) != 2 || open[0].Seq != 2 || string(open[0].Payload) != "revised" || open[0].Sent == nil || open[1].Sent != nil {
		t.Errorf("unacknowledged: %+v", open)
	}
	if all, of, err := state.CountUnacknowledged(ctx, conn, "asset", open[0].Kind); err != nil || all != 2 || of < 1 {
		t.Errorf("%d unacknowledged, %d of kind %s: %v", all, of, open[0].Kind, err)
	}
	all, err := state.Steps(ctx, conn, "asset", 0, 10)
	must(t, err)
	if len(all) != 3 || *all[0].Index != 40 || string(all[0].Receipt) != "r" || string(all[0].LeafHash) != "h" || all[0].Acknowledged == nil {
		t.Errorf("all: %+v", all)
	}
}

// TestOtherProcess checks what another process leaves for the runner.
func TestOtherProcess(t *testing.T) {
	ctx, url := t.Context(), newDatabase(t)
	runner, other, listens := connect(t, url), connect(t, url), connect(t, url)
	job := planned(t, runner)
	hold := acquire(t, runner, job)
	must(t, state.Listen(ctx, listens))
	notified := func() {
		t.Helper()
		began := time.Now()
		must(t, state.Await(ctx, listens, "asset", soak.Patience))
		if time.Since(began) >= soak.Patience {
			t.Error("no notification")
		}
	}
	must(t, state.SetThreshold(ctx, other, "asset", state.Threshold{Input: "dead_tuples", Value: "0.1", By: "ann"}))
	notified()
	must(t, state.SetThreshold(ctx, other, "asset", state.Threshold{Input: "dead_tuples", Value: "0.2", By: "bo"}))
	must(t, state.SetThreshold(ctx, other, "asset", state.Threshold{Input: "probe", Value: "1s", By: "bo"}))
	must(t, state.SetThreshold(ctx, other, "asset", state.Threshold{Input: "probe"}))
	for range 3 {
		notified()
	}
	limits, err := state.Thresholds(ctx, runner, "asset")
	must(t, err)
	if len(limits) != 1 || limits[0].Value != "0.2" || limits[0].By != "bo" {
		t.Errorf("the thresholds are %+v", limits)
	}
	id, err := state.Ask(ctx, other, "asset", "pause", "ann", map[string]string{"reason": "load"})
	must(t, err)
	notified()
	open, err := state.Requests(ctx, runner, "asset")
	must(t, err)
	if len(open) != 1 || open[0].ID != id || open[0].Action != "pause" || string(open[0].Details) != `{"reason":"load"}` {
		t.Fatalf("the requests are %+v", open)
	}
	must(t, hold.Within(ctx, runner, func(tx *state.Tx) error { return tx.Answer(ctx, id, "") }))
	notified()
	if r, err := state.LoadRequest(ctx, other, id); err != nil || r.Answer == nil || *r.Answer != "" {
		t.Errorf("the answer is %+v, %v", r, err)
	}
	if open, err := state.Requests(ctx, runner, "asset"); err != nil || len(open) != 0 {
		t.Errorf("the requests are %+v, %v", open, err)
	}
	must(t, state.Await(ctx, listens, "asset", time.Millisecond))
	exec(t, other, "SELECT 1") // the connection survives a wait that ended
}

func TestRecords(t *testing.T) {
	ctx := t.Context()
	conn := connect(t, newDatabase(t))
	job := planned(t, conn)
	hold := acquire(t, conn, job)
	score, text := 0.5, "x"
	must(t, hold.Within(ctx, conn, func(tx *state.Tx) error {
		for i := range 2 {
			c, err := tx.AddCheckpoint(ctx, state.Checkpoint{Percent: 5, From: nil, To: []string{"a"}, Visited: 7, Score: &score, Passed: true, Report: json.RawMessage(`{"a":1}`)})
			if err != nil || c.Number != i+1 || c.Taken.IsZero() {
				t.Errorf("checkpoint %+v, %v", c, err)
			}
			w, err := tx.AddWindow(ctx, state.Window{Checkpoint: 1, Copying: i == 0, Began: c.Taken, Ended: c.Taken})
			if err != nil || w.Number != int64(i+1) {
				t.Errorf("window %+v, %v", w, err)
			}
			if err := tx.Add(ctx, "slowed.probe", 4); err != nil {
				return err
			}
		}
		v, err := tx.AddValidation(ctx)
		if err != nil {
			return err
		}
		for range 2 {
			if err := tx.AddDifference(ctx, v.Number, state.Difference{Key: []string{"1", "b"}, Primary: &text, Repaired: true}); err != nil {
				return err
			}
		}
		v.Rows, v.Differences, v.Repaired = 9, 1, 1
		if err := tx.SaveValidation(ctx, v, true); err != nil {
			return err
		}
		return tx.Record(ctx, "validated", map[string]int{"rows": 9})
	}))
	checkpoints, err := state.Checkpoints(ctx, conn, "asset")
	must(t, err)
	if len(checkpoints) != 2 || *checkpoints[1].Score != 0.5 || string(checkpoints[1].Report) != `{"a":1}` || len(checkpoints[0].From) != 0 {
		t.Errorf("the checkpoints are %+v", checkpoints)
	}
	windows, err := state.Windows(ctx, conn, "asset", 1)
	must(t, err)
	if len(windows) != 2 || !windows[0].Copying || windows[1].Copying {
		t.Errorf("the windows are %+v", windows)
	}
	validations, err := state.Validations(ctx, conn, "asset")
	must(t, err)
	if len(validations) != 1 || validations[0].Ended == nil || validations[0].Rows != 9 {
		t.Errorf("the validations are %+v", validations)
	}
	differences, err := state.Differences(ctx, conn, "asset", 1, 10)
	must(t, err)
	if want := []state.Difference{{Key: []string{"1", "b"}, Primary: &text, Repaired: true}}; !reflect.DeepEqual(differences, want) {
		t.Errorf("the differences are %+v", differences)
	}
	counters, err := state.Counters(ctx, conn, "asset")
	must(t, err)
	if counters["slowed.probe"] != 8 || len(counters) != 1 {
		t.Errorf("the counters are %v", counters)
	}
	events, err := state.Events(ctx, conn, "asset", 0, 10)
	must(t, err)
	if len(events) != 1 || events[0].What != "validated" || string(events[0].Details) != `{"rows":9}` {
		t.Errorf("the events are %+v", events)
	}
}

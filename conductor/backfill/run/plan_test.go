package run_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/conductor/backfill/state"
)

// A recorder records the statements of each connection.
type recorder struct {
	mu         sync.Mutex // guards statements
	statements map[*pgx.Conn][]string
}

func (r *recorder) TraceQueryStart(ctx context.Context, conn *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statements[conn] = append(r.statements[conn], q.SQL)
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// executed reports whether a connection executed the statements one after
// another.
func (r *recorder) executed(list []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, all := range r.statements {
		for ; len(all) >= len(list); all = all[1:] {
			if slices.Equal(all[:len(list)], list) {
				return true
			}
		}
	}
	return false
}

// others are objects that depend on the column.
const others = `
	ALTER TABLE asset ALTER size_kb SET DEFAULT 5, ADD CONSTRAINT small CHECK (size_kb < 1000000);
	CREATE SEQUENCE sizes OWNED BY asset.size_kb; COMMENT ON COLUMN asset.size_kb IS 'size';
	CREATE STATISTICS both_sizes ON id, size_kb FROM asset;
	CREATE VIEW large AS SELECT id, size_kb FROM asset WHERE size_kb > 50; GRANT SELECT ON large TO PUBLIC;
	CREATE VIEW larger AS SELECT * FROM large WHERE size_kb > 90; COMMENT ON VIEW larger IS 'the largest';
	CREATE POLICY positive ON asset USING (size_kb >= 0);
	CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER aaa BEFORE UPDATE ON asset FOR EACH ROW WHEN (NEW.size_kb > 10) EXECUTE FUNCTION nothing();
	CREATE RULE fewer AS ON DELETE TO asset WHERE OLD.size_kb = 3 DO INSTEAD NOTHING;
	CREATE FUNCTION total() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT sum(size_kb) FROM asset; END;
	CREATE PUBLICATION sized FOR TABLE asset (id, size_kb) WHERE (size_kb > 1) WITH (publish = 'insert');
	CREATE UNIQUE INDEX first_size ON asset (id, size_kb) INCLUDE (name)`

// TestPlannedStatements checks that a plan, which is made before anything has
// changed, contains the statements that are executed until the job has
// finished.
func TestPlannedStatements(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, 100, right)
	r.exec(others)
	r.permit()
	plan, err := run.Prepare(ctx, r.options)
	if err != nil {
		t.Fatal(err)
	}
	recorded := &recorder{statements: map[*pgx.Conn][]string{}}
	connect := r.options.Connect
	r.options.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := connect(ctx)
		if err != nil {
			return nil, err
		}
		config := conn.Config()
		_ = conn.Close(ctx)
		config.Tracer = recorded
		return pgx.ConnectConfig(ctx, config)
	}
	runner := r.open()
	steps := []func() error{
		func() error { return runner.Copy(ctx) },
		func() error { _, err := runner.Validate(ctx, false); return err },
		func() error { _, err := runner.Cutover(ctx, false); return err },
		func() error { return runner.Rollback(ctx, "test", false) },
		func() error {
			var missing *run.NotReadyError
			if _, err := runner.Cutover(ctx, false); !errors.As(err, &missing) {
				return fmt.Errorf("cutover with the validation before the rollback: %v", err)
			}
			return nil
		},
		func() error { _, err := runner.Validate(ctx, false); return err },
		func() error { _, err := runner.Cutover(ctx, false); return err },
		func() error { return runner.Finish(ctx) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v: %s", i, err, r.reports())
		}
	}
	if runner.Phase() != state.Finished {
		t.Errorf("the job is %s", runner.Phase())
	}
	for _, phase := range plan.Statements {
		switch phase.Name {
		case "prove", "prepare": // each in a transaction of its own
			for _, s := range phase.Statements {
				if !recorded.executed([]string{s}) {
					t.Errorf("%s: not executed: %s", phase.Name, s)
				}
			}
		case "rollback": // the whole backfill, which this job does not
		default:
			if !recorded.executed(phase.Statements) {
				t.Errorf("%s: not executed:\n%s", phase.Name, strings.Join(phase.Statements, "\n"))
			}
		}
	}
	if n := r.number("SELECT total()"); n != 1024*(99*100/2) {
		t.Errorf("the total is %d", n)
	}
}

// TestNullTrial checks that a plan tries NULL, which a random sample can lack.
func TestNullTrial(t *testing.T) {
	for _, test := range []struct {
		how     transformation
		unequal bool
	}{
		{right, false},
		{transformation{"coalesce(size_kb, 0)::bigint * id", "(size_kb / id)::integer"}, true},
		// Fails for NULL.
		{transformation{"1000 / (size_kb IS NOT NULL)::int * size_kb::bigint", "(size_kb / 1000)::integer"}, true},
	} {
		r := newRig(t, 1000, test.how)
		r.exec("UPDATE asset SET size_kb = NULL WHERE id = 500; ANALYZE asset")
		r.options.Job.Checkpoint.Sample = 1
		conn, err := r.options.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		plan, err := run.MakePlan(t.Context(), conn, r.options.Job)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Trial.NullUnequal != test.unequal || plan.Trial.NullShare < 0.0009 || plan.Trial.NullShare > 0.0011 {
			t.Errorf("%s: %+v", test.how.up, plan.Trial)
		}
		r.exec("DELETE FROM asset WHERE id = 500; ALTER TABLE asset ALTER size_kb SET NOT NULL")
		if plan, err = run.MakePlan(t.Context(), conn, r.options.Job); err != nil || plan.Trial.NullUnequal || plan.Trial.NullShare > 0 {
			t.Errorf("%s, NOT NULL: %+v, %v", test.how.up, plan.Trial, err)
		}
	}
}

// TestRollbackDrop removes every trace of a job after its cutover, and keeps
// what was written since.
func TestRollbackDrop(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, 100, right)
	r.exec(others)
	r.permit()
	before, err := r.db.Schema(ctx, r.name)
	if err != nil {
		t.Fatal(err)
	}
	runner := r.open()
	for i, step := range []func() error{
		func() error { return runner.Copy(ctx) },
		func() error { _, err := runner.Validate(ctx, false); return err },
		func() error { _, err := runner.Cutover(ctx, false); return err },
		func() error { r.exec("UPDATE asset SET size_kb = 7168 WHERE id = 1"); return nil },
		func() error { return runner.Rollback(ctx, "test", true) },
	} {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v: %s", i, err, r.reports())
		}
	}
	if runner.Phase() != state.RolledBack {
		t.Errorf("the job is %s", runner.Phase())
	}
	if err := runner.Acknowledged(ctx); err != nil {
		t.Error(err)
	}
	if n := r.number("SELECT size_kb FROM asset WHERE id = 1"); n != 7 {
		t.Errorf("the value is %d", n)
	}
	if n := r.number("SELECT count(*) FROM muniment_conductor.outbox WHERE kind = 'backfill-step' AND convert_from(payload, 'UTF8') LIKE '%\"step\":\"rollback\"%'"); n != 2 {
		t.Errorf("%d entries of the rollback", n)
	}
	r.exec("DROP SCHEMA muniment_conductor CASCADE")
	if after, err := r.db.Schema(ctx, r.name); err != nil || after != before {
		t.Errorf("the definition after the rollback: %v\n%s\nwant:\n%s", err, after, before)
	}
}

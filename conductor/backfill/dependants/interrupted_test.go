package dependants_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dependants"
	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
)

const small = `CREATE TABLE r (v int PRIMARY KEY); INSERT INTO r SELECT generate_series(1, 100);
	CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL DEFAULT 1 UNIQUE REFERENCES r CHECK (v > 0));
	CREATE INDEX by_v ON t (v); CREATE STATISTICS s ON id, v FROM t; CREATE VIEW w AS SELECT v FROM t;
	INSERT INTO t SELECT n, n FROM generate_series(1, 100) n`

var smallRef = catalog.Ref{Schema: "public", Table: "t", Column: "v"}

// TestInterrupted ends the preparation after each step, marks the indexes as
// invalid, as an interrupted build leaves them, and repeats it.
func TestInterrupted(t *testing.T) {
	j := newJob(t, small, smallRef, dependants.Target{Type: "bigint", Up: "v::bigint"})
	start := j.dump()
	j.expand()
	steps := len(j.plan().Steps)
	want := ""
	rng := rand.New(rand.NewPCG(soak.Seed(t), 17))
	for _, n := range append([]int{steps}, rng.Perm(steps)[:soak.Length(t, "interruptions", 3, steps)]...) {
		t.Logf("interrupted after %d of %d steps", n, steps)
		if err := dependants.Run(t.Context(), j.conn, j.plan().Steps[:n], dependants.Patience{LockTimeout: time.Second, Attempts: 3}); err != nil {
			t.Fatal(err)
		}
		j.exec("UPDATE pg_index SET indisvalid = false WHERE indexrelid IN (SELECT c.oid FROM pg_class c LEFT JOIN pg_constraint k ON k.conindid = c.oid WHERE c.relname LIKE '%%\\_\\_new' AND k.oid IS NULL)")
		j.prepare()
		var invalid int
		if err := j.conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_index WHERE NOT indisvalid").Scan(&invalid); err != nil || invalid > 0 {
			t.Errorf("%d indexes are invalid: %v", invalid, err)
		}
		if want == "" {
			want = j.dump()
		}
		j.equal("the repeated preparation", j.dump(), want)
		j.contract()
		j.equal("after the rollback", j.dump(), start)
		j.expand()
	}
}

// TestKilled kills the server while it builds an index, and repeats the
// preparation. The build waits for other transactions without a lock timeout.
func TestKilled(t *testing.T) {
	ctx := t.Context()
	own := postgresrig.ForTest(t, postgresrig.Config{})
	shared := rig
	rig = own
	defer func() { rig = shared }()
	j := newJob(t, small, smallRef, dependants.Target{Type: "bigint", Up: "v::bigint"})
	j.expand()
	steps := j.plan().Steps
	build := slices.IndexFunc(steps, func(s dependants.Step) bool { return s.Concurrently })
	if err := dependants.Run(ctx, j.conn, steps[:build], dependants.Patience{LockTimeout: soak.Patience, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	writer, err := pgx.Connect(ctx, own.URL(j.database))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close(context.Background())
	// A transaction that has written to the table blocks the build.
	if _, err := writer.Exec(ctx, "BEGIN; UPDATE t SET v = v WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- dependants.Run(ctx, j.conn, steps[build:], dependants.Patience{LockTimeout: time.Millisecond, Attempts: 1})
	}()
	for building := false; !building; {
		select {
		case err := <-done:
			t.Fatalf("the build did not wait: %v", err)
		default:
		}
		if err := writer.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").Scan(&building); err != nil {
			t.Fatal(err)
		}
	}
	if err := own.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the preparation succeeded on a killed server")
	}
	if err := own.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if j.conn, err = pgx.Connect(ctx, own.URL(j.database)); err != nil {
		t.Fatal(err)
	}
	defer j.conn.Close(context.Background())
	j.prepare()
	j.swap(dependants.Cutover)
	var kind string
	if err := j.conn.QueryRow(ctx, "SELECT pg_typeof(v)::text FROM w LIMIT 1").Scan(&kind); err != nil || kind != "bigint" {
		t.Errorf("the view returns %q: %v", kind, err)
	}
}

// TestLocked checks that a step gives up its place in the queue of a lock, and
// fails after its attempts.
func TestLocked(t *testing.T) {
	ctx := t.Context()
	j := newJob(t, small, smallRef, dependants.Target{Type: "bigint", Up: "v::bigint"})
	j.expand()
	reader, err := pgx.Connect(ctx, rig.URL(j.database))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close(context.Background())
	if _, err := reader.Exec(ctx, "BEGIN; SELECT FROM t"); err != nil {
		t.Fatal(err)
	}
	steps := j.plan().Steps
	err = dependants.Run(ctx, j.conn, steps, dependants.Patience{LockTimeout: 10 * time.Millisecond, Attempts: 2})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "55P03" || !strings.HasPrefix(err.Error(), "ALTER TABLE") {
		t.Errorf("with a lock on the table: %v", err)
	}
	if _, err := reader.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	j.prepare()
}

// TestInForce checks that constraints, policies and defaults apply to the new
// column after cutover.
func TestInForce(t *testing.T) {
	j := newJob(t, small+"; CREATE POLICY p ON t USING (v > 50); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE ROLE in_force; GRANT SELECT (v), INSERT, UPDATE ON t TO in_force",
		smallRef, dependants.Target{Type: "bigint", Up: "v::bigint"})
	j.expand()
	j.prepare()
	j.swap(dependants.Cutover)
	j.exec("DROP SCHEMA muniment_conductor CASCADE; ALTER TABLE t DROP COLUMN v__old, DROP COLUMN v__todo")
	for _, test := range []struct{ sql, want string }{
		{"INSERT INTO t VALUES (101, NULL)", "23502"},
		{"INSERT INTO t VALUES (101, -1)", "23514"},
		{"INSERT INTO t VALUES (101, 1000)", "23503"},
		{"INSERT INTO t VALUES (101)", "23505"},
		{"SET ROLE in_force; SELECT id FROM t", "42501"},
		{"SET ROLE in_force; SELECT 1 / (count(*) - 50) FROM (SELECT v FROM t) x", "22012"},
	} {
		_, err := j.conn.Exec(t.Context(), "BEGIN; "+test.sql)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != test.want {
			t.Errorf("%s: got %v, want %s", test.sql, err, test.want)
		}
		j.exec("ROLLBACK")
	}
}

// TestMissing checks that a cutover is refused if an index was created after
// the preparation, and that a rollback leaves such an index alone.
func TestMissing(t *testing.T) {
	j := newJob(t, small, smallRef, dependants.Target{Type: "bigint", Up: "v::bigint"})
	j.expand()
	j.prepare()
	j.exec("CREATE INDEX late ON t (v, id)")
	j.within(func(ctx context.Context, tx pgx.Tx, table *catalog.Table) error {
		if _, err := dependants.Swap(ctx, tx, table, j.target, dependants.Cutover); err == nil || !strings.Contains(err.Error(), `no counterpart of index "late"`) {
			t.Errorf("with an index that was created later: %v", err)
		}
		return nil
	})
	j.prepare()
	j.swap(dependants.Cutover)
	j.exec("CREATE INDEX later ON t (v, id); CREATE VIEW later_view AS SELECT v FROM t")
	j.swap(dependants.Rollback)
	var column, kind string
	if err := j.conn.QueryRow(t.Context(), "SELECT pg_get_indexdef('later'::regclass, 1, false), (SELECT pg_typeof(v)::text FROM later_view LIMIT 1)").Scan(&column, &kind); err != nil || column != "v__new" || kind != "integer" {
		t.Errorf("the index is on %s, and the view returns %s: %v", column, kind, err)
	}
}

// parts are dependants of the column v of a table t, each independent of the
// others.
var parts = []string{
	"ALTER TABLE t ALTER v SET NOT NULL",
	"ALTER TABLE t ALTER v SET DEFAULT 5",
	"ALTER TABLE t ALTER v SET DEFAULT nextval('q'); ALTER SEQUENCE q OWNED BY t.v",
	"ALTER TABLE t ADD CONSTRAINT c1 CHECK (v > 0 AND w IS NOT NULL) NOT VALID",
	"ALTER TABLE t ADD CONSTRAINT c2 CHECK (v BETWEEN 0 AND 10000); COMMENT ON CONSTRAINT c2 ON t IS 'two'",
	"ALTER TABLE t ADD CONSTRAINT u1 UNIQUE (v, id)",
	"ALTER TABLE t ADD CONSTRAINT f1 FOREIGN KEY (v) REFERENCES r ON DELETE CASCADE NOT VALID",
	"ALTER TABLE t ADD CONSTRAINT f2 FOREIGN KEY (v) REFERENCES r ON DELETE SET DEFAULT (v) DEFERRABLE",
	"CREATE INDEX i1 ON t (v DESC, w)",
	"CREATE INDEX i2 ON t ((v * 2)) WHERE v > 3; ALTER INDEX i2 ALTER 1 SET STATISTICS 50",
	"CREATE UNIQUE INDEX i3 ON t (id) INCLUDE (v)",
	"CREATE INDEX i4 ON t USING brin (v) WITH (pages_per_range = 7); ALTER TABLE t CLUSTER ON by_w",
	"CREATE STATISTICS s1 (mcv) ON v, w FROM t",
	"CREATE STATISTICS s2 ON (v + 1), w FROM t",
	"CREATE VIEW v1 AS SELECT t.*, v + 1 AS more FROM t WHERE v > 1",
	"CREATE VIEW v2 (a, b) WITH (security_invoker = true) AS SELECT v, max(w) FROM t GROUP BY v",
	"CREATE RECURSIVE VIEW v3 (n) AS SELECT v FROM t WHERE id = 1 UNION ALL SELECT n + 1 FROM v3 WHERE n < 3",
	"CREATE VIEW v4 AS SELECT a.v FROM t a JOIN r USING (v) UNION SELECT b.v FROM t b NATURAL JOIN r x",
	"CREATE POLICY p1 ON t USING (v = 1)",
	"CREATE PUBLICATION p2 FOR TABLE t (id, v)",
	"CREATE PUBLICATION p3 FOR TABLE t WHERE (v > 5 AND w IS NOT NULL) WITH (publish = 'insert')",
	"CREATE TRIGGER t1 BEFORE UPDATE OF v, w ON t FOR EACH ROW EXECUTE FUNCTION tf('a', 'b''c')",
	"CREATE TRIGGER t2 AFTER UPDATE ON t REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION tf()",
	"CREATE RULE r1 AS ON INSERT TO t WHERE NEW.v > 99999 DO ALSO SELECT 1",
	"CREATE FUNCTION f1() RETURNS TABLE (n bigint) BEGIN ATOMIC SELECT count(v) FROM t; SELECT max(v) FROM t; END; GRANT EXECUTE ON FUNCTION f1 TO CURRENT_USER WITH GRANT OPTION",
	"GRANT SELECT (v) ON t TO PUBLIC",
	"COMMENT ON COLUMN t.v IS E'back\\\\slash''s'",
	"ALTER TABLE t ALTER v SET STATISTICS 0",
}

// TestRandom checks the round trip for random sets of dependants.
func TestRandom(t *testing.T) {
	soak.WithoutRace(t)
	rng := rand.New(rand.NewPCG(soak.Seed(t), 16))
	for range soak.Length(t, "sets of dependants", 4, 200) {
		statements := []string{`CREATE TABLE r (v int PRIMARY KEY); INSERT INTO r SELECT generate_series(0, 100); CREATE SEQUENCE q;
			CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TABLE t (id int PRIMARY KEY, v int, w text DEFAULT 'w', gone int); ALTER TABLE t DROP COLUMN gone; CREATE INDEX by_w ON t (w);
			INSERT INTO t SELECT n, n FROM generate_series(1, 50) n`}
		for _, part := range parts {
			if rng.IntN(2) == 0 {
				statements = append(statements, part)
			}
		}
		target := []dependants.Target{{Type: "bigint", Up: "v::bigint"}, {Type: "numeric", Up: "v * 1.0"}, {Type: "integer", Up: "v + 1"}}[rng.IntN(3)]
		t.Run(fmt.Sprint(target.Type, " ", len(statements)-1), func(t *testing.T) {
			j := newJob(t, strings.Join(statements, ";\n"), smallRef, target)
			defer func() {
				if t.Failed() {
					t.Log(strings.Join(statements, ";\n"))
				}
			}()
			start := j.dump()
			if findings := j.plan().Findings; len(findings) > 0 {
				for _, f := range findings {
					if target.Type != "numeric" || f.Code != "foreign-key" && f.Code != "function" && f.Object != "public.v3" {
						t.Errorf("refused: %v", f)
					}
				}
				j.equal("after planning", j.dump(), start)
				return
			}
			j.expand()
			j.prepare()
			prepared := j.dump()
			j.swap(dependants.Cutover)
			swapped := j.dump()
			j.swap(dependants.Rollback)
			j.equal("after the rollback", j.dump(), prepared)
			j.swap(dependants.Cutover)
			j.equal("after another cutover", j.dump(), swapped)
			j.swap(dependants.Rollback)
			j.contract()
			j.equal("after the rollback with all objects", j.dump(), start)
		})
	}
}

// TestTaken checks that names that other objects have are found by the plan,
// and that the objects of the backfill itself are not.
func TestTaken(t *testing.T) {
	j := newJob(t, `CREATE TABLE t (id int PRIMARY KEY, v int, CONSTRAINT c CHECK (v > 0), CONSTRAINT c__old CHECK (id > 0));
		CREATE INDEX i ON t (v); CREATE TABLE i__new (); CREATE STATISTICS s ON id, v FROM t; CREATE STATISTICS s__old (mcv) ON id, v FROM t`,
		smallRef, dependants.Target{Type: "bigint", Up: "v"})
	taken := func() string {
		var names []string
		for _, f := range j.plan().Findings {
			names = append(names, f.Code+" "+f.Object)
		}
		return strings.Join(names, ",")
	}
	if got := taken(); got != "name-taken c__old,name-taken s__old,name-taken i__new" {
		t.Errorf("taken: %s", got)
	}
	j.exec("DROP TABLE i__new; DROP STATISTICS s__old; ALTER TABLE t DROP CONSTRAINT c__old")
	j.expand()
	j.prepare()
	if got := taken(); got != "" {
		t.Errorf("taken by the backfill: %s", got)
	}
}

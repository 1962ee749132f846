package cutover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
)

var rig *postgresrig.Rig

func TestMain(m *testing.M) {
	var err error
	rig, err = postgresrig.Start(context.Background(), postgresrig.Config{Settings: map[string]string{"max_prepared_transactions": "2"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	rig.Stop()
	os.Exit(code)
}

// A database has a table t whose columns v and v__new are to be swapped.
type database struct {
	t    *testing.T
	name string
	*pgxpool.Pool
}

func newDatabase(t *testing.T) database {
	t.Helper()
	const name = "postgres"
	pool, err := pgxpool.New(t.Context(), rig.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	d := database{t, name, pool}
	d.exec("DROP TABLE IF EXISTS t, log CASCADE", "DROP FUNCTION IF EXISTS public.sync")
	d.exec("CREATE TABLE t (id int PRIMARY KEY, v text, v__new bigint, v__todo boolean, CONSTRAINT done CHECK (v__todo IS NULL))",
		"INSERT INTO t SELECT i, i, i FROM generate_series(1, 1000) AS i", "CREATE TABLE log (step text)",
		"CREATE FUNCTION public.sync() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v__new := NEW.v::bigint; RETURN NEW; END'",
		"CREATE TRIGGER zzz BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION public.sync()")
	return d
}

func (d database) exec(statements ...string) {
	d.t.Helper()
	for _, s := range statements {
		if _, err := d.Exec(d.t.Context(), s); err != nil {
			d.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (d database) text(query string) (text string) {
	d.t.Helper()
	if err := d.QueryRow(d.t.Context(), query).Scan(&text); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	return text
}

// schema returns everything that a change could leave behind.
func (d database) schema() string {
	d.t.Helper()
	out, err := rig.Run(d.t.Context(), "pg_dump", "--schema-only", "--restrict-key=x", "-d", d.name)
	if err != nil {
		d.t.Fatal(err)
	}
	return out + d.text("SELECT coalesce(string_agg(step, ','), 'nothing') FROM log")
}

// session opens a connection, executes statements, and leaves it open.
func (d database) session(application string, statements ...string) *pgx.Conn {
	d.t.Helper()
	conn, err := pgx.Connect(d.t.Context(), rig.URL(d.name)+"&application_name="+application)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close(context.Background()) })
	for _, s := range statements {
		if _, err := conn.Exec(d.t.Context(), s); err != nil {
			d.t.Fatalf("%s: %v", s, err)
		}
	}
	return conn
}

func (d database) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, rig.URL(d.name))
}

const (
	syncForward  = "BEGIN NEW.v__new := NEW.v::bigint; RETURN NEW; END"
	syncBackward = "BEGIN NEW.v__old := NEW.v::text; RETURN NEW; END"
)

// swap gives the name v to the new column.
func swap() Change {
	return Change{
		Table: `"public"."t"`,
		Expect: Expectation{
			Columns: []Column{{"v", "text"}, {"v__new", "bigint"}, {"v__old", ""}, {"v__todo", "boolean"}},
			Trigger: &Trigger{"zzz", "public.sync", syncForward}, Constraints: []string{"done"},
		},
		Statements: []string{
			"ALTER TABLE public.t RENAME COLUMN v TO v__old", "ALTER TABLE public.t RENAME COLUMN v__new TO v",
			"CREATE OR REPLACE FUNCTION public.sync() RETURNS trigger LANGUAGE plpgsql AS '" + syncBackward + "'",
		},
		Record: record("cutover"),
	}
}

// back undoes swap.
func back() Change {
	return Change{
		Table: `"public"."t"`,
		Expect: Expectation{
			Columns: []Column{{"v", "bigint"}, {"v__old", "text"}, {"v__new", ""}},
			Trigger: &Trigger{"zzz", "public.sync", syncBackward},
		},
		Statements: []string{
			"ALTER TABLE public.t RENAME COLUMN v TO v__new", "ALTER TABLE public.t RENAME COLUMN v__old TO v",
			"CREATE OR REPLACE FUNCTION public.sync() RETURNS trigger LANGUAGE plpgsql AS '" + syncForward + "'",
		},
		Record: record("rollback"),
	}
}

func record(step string) func(context.Context, pgx.Tx) error {
	return func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO public.log VALUES ($1)", step)
		return err
	}
}

// quick is a policy whose attempts fail soon.
var quick = Policy{LockTimeout: 60 * time.Millisecond, Hold: soak.Patience, Attempts: 3, Backoff: time.Millisecond}

// patient is a policy whose attempts succeed on a loaded machine.
var patient = Policy{LockTimeout: soak.Patience, Attempts: 3, Backoff: time.Millisecond}

func TestSwapAndBack(t *testing.T) {
	d := newDatabase(t)
	before := d.schema()
	for range 2 {
		if o, err := Run(t.Context(), d.connect, swap(), patient); err != nil || o.Attempts != 1 || o.Last.Held <= 0 {
			t.Fatalf("%+v, %v", o, err)
		}
		d.exec("UPDATE t SET v = v + 1000 WHERE id = 7")
		if old := d.text("SELECT v__old FROM t WHERE id = 7"); !strings.HasSuffix(old, "007") {
			t.Errorf("the old column has %s", old)
		}
		if _, err := Run(t.Context(), d.connect, back(), patient); err != nil {
			t.Fatal(err)
		}
	}
	if after := d.schema(); after != before[:len(before)-len("nothing")]+"cutover,rollback,cutover,rollback" {
		t.Errorf("after two swaps:\n%s", after)
	}
}

// TestUnexpectedSchema checks that a change by somebody else is found, and that
// nothing is changed.
func TestUnexpectedSchema(t *testing.T) {
	d := newDatabase(t)
	for statement, reason := range map[string]string{
		"ALTER TABLE t DISABLE TRIGGER zzz":       `the trigger "zzz" is not enabled (tgenabled is D)`,
		"ALTER TABLE t ENABLE ALWAYS TRIGGER zzz": `the trigger "zzz" is not enabled (tgenabled is A)`,
		"DROP TRIGGER zzz ON t":                   `the trigger "zzz" does not exist`,
		"ALTER FUNCTION sync() RENAME TO other":   `calls public.other, and not public.sync`,
		"ALTER TABLE t ALTER v TYPE varchar(9)":   `the column "v" has type character varying(9), and not text`,
		"ALTER TABLE t DROP COLUMN v__new":        `the column "v__new" does not exist`,
		"ALTER TABLE t ADD COLUMN v__old int":     `the column "v__old" exists`,
		"ALTER TABLE t RENAME TO elsewhere":       "does not exist",
		"ALTER TABLE t DROP CONSTRAINT done":      `the constraint "done" does not exist`,
		"CREATE OR REPLACE FUNCTION sync() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'":           "the function public.sync was replaced",
		"ALTER TABLE t DROP CONSTRAINT done; ALTER TABLE t ADD CONSTRAINT done CHECK (v__todo IS NULL) NOT VALID": `the constraint "done" is not validated`,
		"ALTER TABLE t RENAME TO gone; CREATE TABLE t (LIKE gone INCLUDING ALL)":                                  `the trigger "zzz" does not exist`,
	} {
		t.Run(statement, func(t *testing.T) {
			tx, err := d.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(t.Context()) }()
			if _, err := tx.Conn().PgConn().Exec(t.Context(), statement).ReadAll(); err != nil {
				t.Fatal(err)
			}
			c := swap()
			var unexpected *SchemaError
			if err := c.Expect.Check(t.Context(), tx, c.Table); !errors.As(err, &unexpected) || !strings.Contains(err.Error(), reason) {
				t.Errorf("%v", err)
			}
		})
	}
	c := swap()
	if err := c.Expect.Check(t.Context(), d, c.Table); err != nil {
		t.Error(err)
	}
	c.Expect.OID = 1
	before := d.schema()
	var unexpected *SchemaError
	if _, err := Run(t.Context(), d.connect, c, patient); !errors.As(err, &unexpected) || d.schema() != before {
		t.Errorf("another table: %v", err)
	}
}

// TestFailures checks that a failure at any step leaves everything as before.
func TestFailures(t *testing.T) {
	lost := errors.New("another runner has taken over")
	fail := func(context.Context, pgx.Tx) error { return lost }
	changes := map[string]func(*Change){
		"the fence":       func(c *Change) { c.Fence = fail },
		"the record":      func(c *Change) { c.Record = fail },
		"a statement":     func(c *Change) { c.Statements = append(c.Statements, "SELECT 1/0") },
		"a view":          func(c *Change) { c.Statements = append(c.Statements, "ALTER TABLE public.t DROP COLUMN id") },
		"a second commit": func(c *Change) { c.Statements = append(c.Statements, "ROLLBACK") },
	}
	d := newDatabase(t)
	d.exec("CREATE VIEW dependant AS SELECT id FROM t")
	before := d.schema()
	for name, change := range changes {
		c := swap()
		change(&c)
		if o, err := Run(t.Context(), d.connect, c, patient); err == nil || o.Attempts != 1 {
			t.Errorf("%s: %v, %d attempts", name, err, o.Attempts)
		}
		if d.schema() != before {
			t.Fatalf("%s: something has changed", name)
		}
	}
}

// TestLostConnection checks that a session that is terminated in the middle is
// repeated, and that one that is terminated in COMMIT is reported as uncertain.
func TestLostConnection(t *testing.T) {
	d := newDatabase(t)
	c := swap()
	attempts := 0
	c.Fence = func(ctx context.Context, tx pgx.Tx) error {
		if attempts++; attempts == 1 {
			d.exec(fmt.Sprintf("SELECT pg_terminate_backend(%d, 100000)", tx.Conn().PgConn().PID()))
		}
		return nil
	}
	if o, err := Run(t.Context(), d.connect, c, patient); err != nil || o.Attempts != 2 {
		t.Errorf("%d attempts, %v", o.Attempts, err)
	}

	c = back()
	c.Record = func(_ context.Context, tx pgx.Tx) error {
		d.exec(fmt.Sprintf("SELECT pg_terminate_backend(%d, 100000)", tx.Conn().PgConn().PID()))
		return nil
	}
	var uncertain *UncertainError
	if _, err := Run(t.Context(), d.connect, c, patient); !errors.As(err, &uncertain) {
		t.Errorf("lost in COMMIT: %v", err)
	}
}

// TestBlocked checks that a session that is idle in a transaction is named, and
// that the application goes on between the attempts.
func TestBlocked(t *testing.T) {
	d := newDatabase(t)
	before := d.schema()
	blocker := d.session("batch%0Ajob", "BEGIN", "SELECT count(*) FROM t /* "+strings.Repeat("long ", 100)+"\x1b */")
	policy := quick
	policy.Progress = func(a Attempt) {
		// The lock of the failed attempt is gone, although the blocker stays.
		d.exec("UPDATE t SET v = v WHERE id = 1")
	}
	o, err := Run(t.Context(), d.connect, swap(), policy)
	var blocked *BlockedError
	if !errors.As(err, &blocked) || blocked.Attempts != 3 || o.Attempts != 3 || code(err) != "55P03" {
		t.Fatalf("%+v, %v", o, err)
	}
	if len(o.Blockers) != 1 || o.Blockers[0].PID != int32(blocker.PgConn().PID()) || o.Blockers[0].State != "idle in transaction" || o.Blockers[0].Action != "" {
		t.Errorf("blockers: %+v", o.Blockers)
	}
	if text := err.Error(); strings.ContainsAny(text, "\n\x1b") || len(text) > 800 || !strings.Contains(text, "SELECT count(*) FROM t") || !strings.Contains(text, "--force") {
		t.Errorf("%q", text)
	}
	if d.schema() != before {
		t.Error("something has changed")
	}
}

func TestForce(t *testing.T) {
	for _, test := range []struct {
		name  string
		force Force
		ended string
	}{
		{"terminated", Force{Applications: []string{"batch-*"}, TerminateAfter: time.Millisecond}, "terminated"},
		{"by user", Force{Users: []string{"postgres"}, TerminateAfter: time.Millisecond}, "terminated"},
		{"only cancelled, while idle", Force{Applications: []string{"batch-*"}}, ""},
		{"another application", Force{Applications: []string{"web-*"}, TerminateAfter: time.Millisecond}, ""},
		{"another user", Force{Users: []string{"x*"}, Applications: []string{"batch-*"}, TerminateAfter: time.Millisecond}, ""},
		{"too young", Force{Applications: []string{"batch-*"}, MinAge: time.Hour, TerminateAfter: time.Millisecond}, ""},
		{"another state", Force{Applications: []string{"batch-*"}, States: []string{"active"}, TerminateAfter: time.Millisecond}, ""},
		{"not yet", Force{Applications: []string{"batch-*"}, TerminateAfter: time.Hour}, ""},
		{"an empty policy", Force{TerminateAfter: time.Millisecond}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDatabase(t)
			d.session("batch-1", "BEGIN", "SELECT count(*) FROM t")
			policy := quick
			if test.ended != "" {
				policy = patient
			}
			policy.Force = &test.force
			o, err := Run(t.Context(), d.connect, swap(), policy)
			if (err == nil) != (test.ended != "") {
				t.Fatalf("%+v, %v", o, err)
			}
			if test.ended != "" && (len(o.Ended()) != 1 || o.Ended()[0].Action != test.ended) {
				t.Errorf("ended: %+v", o.Ended())
			}
		})
	}
}

// TestForceCancels checks that a running query is cancelled, and that its
// session lives on.
func TestForceCancels(t *testing.T) {
	d := newDatabase(t)
	batch := d.session("batch")
	done := make(chan error, 1)
	go func() {
		_, err := batch.Exec(t.Context(), "SELECT count(pg_sleep(3600)) FROM t")
		done <- err
	}()
	for d.text("SELECT count(*)::text FROM pg_locks WHERE relation = 't'::regclass AND granted") == "0" {
	}
	policy := patient
	policy.Force = &Force{Applications: []string{"batch"}, TerminateAfter: soak.Patience}
	o, err := Run(t.Context(), d.connect, swap(), policy)
	if err != nil || len(o.Ended()) != 1 || o.Ended()[0].Action != "cancelled" {
		t.Errorf("%+v, %v", o, err)
	}
	if err := <-done; code(err) != "57014" {
		t.Error(err)
	}
	if _, err := batch.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("the session has ended: %v", err)
	}
}

// TestPreparedTransaction checks that a prepared transaction is named.
func TestPreparedTransaction(t *testing.T) {
	d := newDatabase(t)
	d.session("coordinator", "BEGIN", "UPDATE t SET v = '5' WHERE id = 5", "PREPARE TRANSACTION 'left'")
	_, err := Run(t.Context(), d.connect, swap(), quick)
	if err == nil || !strings.Contains(err.Error(), "a prepared transaction") {
		t.Error(err)
	}
	d.exec("ROLLBACK PREPARED 'left'")
}

// TestQueueOfLocks checks that a change which waits behind others that wait for
// a table lock gives up, names them, and blocks none of them.
func TestQueueOfLocks(t *testing.T) {
	d := newDatabase(t)
	before := d.schema()
	holder := d.session("holder", "BEGIN", "SELECT count(*) FROM t")
	const queue = 4
	done := make(chan error, queue)
	for i := range queue {
		// The first one waits for the holder, and the others for the first one.
		locker := d.session(fmt.Sprintf("locker-%d", i))
		go func() {
			_, err := locker.PgConn().Exec(t.Context(), "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; COMMIT").ReadAll()
			done <- err
		}()
	}
	for d.text("SELECT count(*)::text FROM pg_locks WHERE relation = 't'::regclass AND NOT granted") != fmt.Sprint(queue) {
	}
	o, err := Run(t.Context(), d.connect, swap(), quick)
	if err == nil || len(o.Blockers) != queue+1 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := holder.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	for range queue {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if d.schema() != before {
		t.Error("something has changed")
	}
}

// TestUnderLoad swaps the columns again and again under a constant rate of
// transactions, with a blocker part of the time. The load fails in no
// transaction, and goes on while the change waits.
func TestUnderLoad(t *testing.T) {
	d := newDatabase(t)
	script := t.TempDir() + "/load.sql"
	// The script works with both types of the column.
	if err := os.WriteFile(script, []byte("\\set id random(1, 1000)\nUPDATE t SET v = '7' WHERE id = :id;\nSELECT v FROM t WHERE id = :id;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := rig.Command(t.Context(), "pgbench", "-n", "-f", script, "-R", "200", "-c", "4", "-j", "1", "-T", "600", "-P", "1", d.name)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	failures := make(chan string, 1)
	go func() { failures <- drain(stderr) }()
	count := func() int64 {
		n := d.text("SELECT n_tup_upd::text FROM pg_stat_user_tables WHERE relname = 't'")
		var value int64
		if _, err := fmt.Sscan(n, &value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	progress := func() {
		for end := count() + 50; count() < end; {
			if t.Context().Err() != nil {
				return
			}
		}
	}
	progress()
	policy := Policy{LockTimeout: 300 * time.Millisecond, Hold: soak.Patience, Attempts: 1000, Backoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond}
	for i := range soak.Length(t, "swaps and rollbacks", 3, 50) {
		for _, change := range []Change{swap(), back()} {
			if _, err := Run(t.Context(), d.connect, change, policy); err != nil {
				t.Fatal(err)
			}
		}
		blocker := d.session(fmt.Sprintf("blocker-%d", i), "BEGIN", "SELECT count(*) FROM t")
		short := policy
		short.Attempts = 2
		if _, err := Run(t.Context(), d.connect, swap(), short); err == nil {
			t.Error("a change succeeded although a transaction had read the table")
		}
		progress() // while the blocker stays
		if err := blocker.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	output := <-failures
	_ = cmd.Wait() // it was interrupted
	if strings.Contains(output, "ERROR") || strings.Contains(output, "aborted") {
		t.Errorf("the load failed:\n%s", output)
	}
	if n := d.text("SELECT count(*)::text FROM t WHERE v__new IS DISTINCT FROM v::bigint"); n != "0" {
		t.Errorf("%s rows differ", n)
	}
}

// drain reads the output of a program up to its end.
func drain(r io.Reader) string {
	var all strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "progress:") {
			all.WriteString(lines.Text() + "\n")
		}
	}
	return all.String()
}

func TestPause(t *testing.T) {
	p := Policy{Random: func() float64 { return 1 }}.withDefaults()
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 60: 30 * time.Second, 100: 30 * time.Second} {
		if have := p.pause(n); have != want {
			t.Errorf("after %d attempts: %s", n, have)
		}
	}
}

// TestBlockedInStatement checks that a session which blocks a statement, after
// the table was locked, is named and ended too.
func TestBlockedInStatement(t *testing.T) {
	d := newDatabase(t)
	d.exec("CREATE TABLE other (id int)")
	defer d.exec("DROP TABLE other")
	d.session("batch", "BEGIN", "SELECT count(*) FROM other")
	c := swap()
	c.Statements = append(c.Statements, "ALTER TABLE public.other ADD COLUMN v int")
	if o, err := Run(t.Context(), d.connect, c, quick); err == nil || len(o.Blockers) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	policy := patient
	policy.Force = &Force{Applications: []string{"batch"}, TerminateAfter: time.Millisecond}
	if o, err := Run(t.Context(), d.connect, c, policy); err != nil || len(o.Ended()) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
}

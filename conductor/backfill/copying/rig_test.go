package copying_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/copying"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/conductor/backfill/rowkey"
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

// A bench is a database with an expanded job on the table public.t.
type bench struct {
	t      *testing.T
	url    string
	admin  *pgx.Conn
	config copying.Config
	job    state.Job

	killing sync.WaitGroup // terminations under way
}

const up, down = "nullif(v, '')::bigint * 3", "(v / 3)::text"

// newBench creates the table by SQL, and expands it for the column v.
func newBench(t *testing.T, table string) *bench { return newBenchOn(t, rig, table) }

func newBenchOn(t *testing.T, rig *postgresrig.Rig, table string) *bench {
	t.Helper()
	ctx := t.Context()
	name, err := rig.NewDatabase(ctx)
	must(t, err)
	b := &bench{t: t, url: rig.URL(name)}
	b.admin = b.connect()
	b.exec(table)
	p := dualwrite.Pair{Schema: "public", Table: "t", Column: "v", Shadow: "v__new", Retired: "v__old", Mark: "v__todo", Job: "job"}
	p.Expressions, err = dualwrite.Normalize(ctx, b.admin, p, "bigint", up, down)
	must(t, err)
	must(t, state.Install(ctx, b.admin))
	for _, s := range p.Expand() {
		b.exec(s)
	}
	oid, columns, err := state.Describe(ctx, b.admin, p.Relation(), "v", "v__new", "v__todo")
	must(t, err)
	b.job, err = state.Create(ctx, b.admin, state.Job{Name: "job", Source: []byte("x"), Run: "r", Relation: p.Relation(), Table: oid, Columns: columns})
	must(t, err)
	key, err := rowkey.Find(ctx, b.admin, oid)
	must(t, err)
	b.config = copying.Config{Pair: p, Key: key, Table: oid, Connect: b.open, Random: func() float64 { return 0 }}
	hold := b.acquire()
	must(t, hold.Within(ctx, b.admin, func(tx *state.Tx) error { _, err := tx.Move(ctx, state.Expand); return err }))
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) open(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, b.url) }

func (b *bench) connect() *pgx.Conn {
	b.t.Helper()
	conn, err := b.open(b.t.Context())
	must(b.t, err)
	b.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (b *bench) exec(sql string) {
	b.t.Helper()
	if _, err := b.admin.PgConn().Exec(b.t.Context(), sql).ReadAll(); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

func (b *bench) number(sql string) (n int64) {
	b.t.Helper()
	if err := b.admin.QueryRow(b.t.Context(), sql).Scan(&n); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// acquire returns a hold on a connection of its own.
func (b *bench) acquire() *state.Hold {
	b.t.Helper()
	hold, _, err := state.Acquire(b.t.Context(), b.admin, state.Claim{Job: "job", Digest: b.job.Digest})
	must(b.t, err)
	return hold
}

// pidOf returns the process ID of a connection's session.
func pidOf(conn *pgx.Conn) string { return fmt.Sprint(conn.PgConn().PID()) }

// plainRole makes the copy use a role without privileges besides those that it
// needs. Triggers fire for it.
func (b *bench) plainRole() {
	b.t.Helper()
	b.exec(`DO $$BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
		DO $$DECLARE part regclass; BEGIN FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 't'::regclass LOOP
			EXECUTE format('ALTER TABLE %s OWNER TO plain', part); END LOOP; END$$;
		ALTER TABLE t OWNER TO plain; GRANT USAGE ON SCHEMA muniment_conductor TO plain;
		GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA muniment_conductor TO plain`)
	b.url = strings.Replace(b.url, postgresrig.User+"@", "plain@", 1)
}

// judge fails the test if a row was lost. It uses nothing but the two
// expressions.
func (b *bench) judge() {
	b.t.Helper()
	const sql = `SELECT count(*) FROM (SELECT v__new, (` + up + `)::bigint AS up, v, (SELECT (` + down + `)::text FROM (SELECT t.v__new AS v) x) AS down FROM t) x
		WHERE up IS DISTINCT FROM v__new AND down IS DISTINCT FROM v`
	if n := b.number(sql); n > 0 {
		b.t.Errorf("%d rows differ", n)
	}
	if n := b.number("SELECT count(*) FROM t WHERE v__todo"); n > 0 {
		b.t.Errorf("%d rows are marked", n)
	}
	if n := b.number("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND conname = 'zzz_muniment_v' AND convalidated"); n != 1 {
		b.t.Errorf("%d constraints prove the copy", n)
	}
	job, err := state.Load(b.t.Context(), b.admin, "job")
	must(b.t, err)
	if job.Phase != state.Copied {
		b.t.Errorf("the job is %s", job.Phase)
	}
}

// hooks records what the copy does.
type hooks struct {
	admit    func() (copying.Admission, error) // nil always admits
	progress func(copying.Progress) error      // nil goes on
	retried  func(error)                       // nil does nothing

	mu      sync.Mutex
	chunks  []copying.Progress
	retries []error
}

func (h *hooks) Admit(context.Context) (copying.Admission, error) {
	if h.admit != nil {
		return h.admit()
	}
	return copying.Admission{Factor: 1}, nil
}

func (h *hooks) Progress(_ context.Context, p copying.Progress) error {
	h.mu.Lock()
	h.chunks = append(h.chunks, p)
	h.mu.Unlock()
	if h.progress != nil {
		return h.progress(p)
	}
	return nil
}

func (h *hooks) Retry(err error, _ time.Duration) {
	h.mu.Lock()
	h.retries = append(h.retries, err)
	h.mu.Unlock()
	if h.retried != nil {
		h.retried(err)
	}
}

func (h *hooks) Complete(ctx context.Context, tx *state.Tx) error {
	_, err := tx.Move(ctx, state.Complete)
	var done *state.TransitionError
	if errors.As(err, &done) && done.Phase == state.Copied {
		return nil
	}
	return err
}

// A load writes to the table until stop is called, which fails the test if a
// statement failed or a write was lost.
type load struct {
	stop func()
}

// startLoad starts writers, each with rows of its own.
func (b *bench) startLoad(seed uint64, writers, rows int) load {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	var wait sync.WaitGroup
	for w := range writers {
		conn := b.connect()
		wait.Go(func() { b.write(ctx, conn, rand.New(rand.NewPCG(seed, uint64(w))), w, writers, rows) })
	}
	return load{stop: func() { cancel(); wait.Wait() }}
}

// write changes the rows whose ID is w modulo the number of writers, and at the
// end compares them with what it wrote.
func (b *bench) write(ctx context.Context, conn *pgx.Conn, rng *rand.Rand, w, writers, rows int) {
	want := map[int]string{} // "" for a row of which only the key was changed
	last := (rows/writers+1)*writers + w
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for ctx.Err() == nil {
		id := rng.IntN(rows/writers)*writers + w
		value := fmt.Sprint(rng.IntN(1000))
		// A statement that was sent is completed.
		exec := func(sql string, args ...any) (changed bool) {
			tag, err := conn.Exec(context.WithoutCancel(ctx), sql, args...)
			if err != nil {
				b.t.Errorf("writer %d: %s: %v", w, sql, err)
				cancel()
			}
			return tag.RowsAffected() > 0
		}
		switch rng.IntN(8) {
		case 0:
			last += writers
			if exec("INSERT INTO t (id, v) VALUES ($1, $2)", last, value) {
				want[last] = value
			}
		case 1:
			if exec("DELETE FROM t WHERE id = $1", id) {
				want[id] = "deleted"
			}
		case 2:
			exec("UPDATE t SET other = $2 WHERE id = $1", id, value)
		case 3:
			if exec("UPDATE t SET v__new = 3 * $2::bigint WHERE id = $1", id, value) {
				want[id] = value
			}
		case 4: // move the key, often behind the position of the copy
			if id > 0 && exec("UPDATE t SET id = -id WHERE id = $1", id) {
				want[-id], want[id] = want[id], "deleted"
			}
		default:
			if exec("UPDATE t SET v = $2 WHERE id = $1", id, value) {
				want[id] = value
			}
		}
	}
	for id, value := range want {
		var got string
		err := conn.QueryRow(context.WithoutCancel(ctx), "SELECT coalesce(v, 'NULL') FROM t WHERE id = $1", id).Scan(&got)
		if errors.Is(err, pgx.ErrNoRows) {
			got = "deleted"
		}
		if got != value && value != "" {
			b.t.Errorf("row %d has the value %s, want %s", id, got, value)
		}
	}
}

// await polls a condition until it holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(soak.Patience)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", soak.Patience, what)
		case <-again.C:
		}
	}
}

// plain is a table with a number of rows, some without a value.
func plain(rows int) string {
	return strings.ReplaceAll(`CREATE TABLE t (id int PRIMARY KEY, v text, other text);
		INSERT INTO t SELECT i, CASE WHEN i % 10 > 0 THEN i::text END FROM generate_series(0, ROWS - 1) i`, "ROWS", fmt.Sprint(rows))
}

package copying_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/copying"
	"muniment.dev/muniment/conductor/backfill/state"
)

func TestCopy(t *testing.T) {
	tests := map[string]struct {
		table string
		rows  int64
	}{
		"plain": {plain(1000), 1000},
		"empty": {plain(0), 0},
		"composite key": {`CREATE TABLE t (id int, k text COLLATE "C", at timestamptz, v text, PRIMARY KEY (k, at, id));
			INSERT INTO t SELECT i, i % 7, '2026-01-01'::timestamptz + i % 11 * interval '1 microsecond', i FROM generate_series(1, 500) i`, 500},
		"partitions": {`CREATE TABLE t (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY HASH (part);
			CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
			INSERT INTO t SELECT i, i, i FROM generate_series(1, 500) i`, 500},
		"unique index": {`CREATE TABLE t (id int, "k ""1" uuid NOT NULL, v text); INSERT INTO t SELECT i, gen_random_uuid(), i FROM generate_series(1, 500) i;
			CREATE UNIQUE INDEX ON t ("k ""1" DESC)`, 500},
	}
	for name, test := range tests {
		for _, replica := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				b := newBench(t, test.table)
				b.exec(`CREATE SEQUENCE fired; GRANT ALL ON SEQUENCE fired TO PUBLIC;
					CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.fired''); RETURN NEW; END';
					CREATE TRIGGER aaa BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION count_rows()`)
				want := int64(0)
				if !replica {
					b.plainRole()
					want = test.rows
				}
				b.config.First, b.config.Most = 64, 64
				h := &hooks{}
				must(t, copying.Run(t.Context(), b.config, b.acquire(), h))
				b.judge()
				if n := b.number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM fired"); n != want {
					t.Errorf("a trigger fired for %d rows, want %d", n, want)
				}
				p, err := state.LoadPosition(t.Context(), b.admin, "job")
				must(t, err)
				if p.Visited != test.rows || p.Written != test.rows || p.Pass != 1 || !p.Finished {
					t.Errorf("the position is %+v", p)
				}
				var visited, written int64
				for _, c := range h.chunks {
					visited, written = visited+c.Visited, written+c.Written
				}
				if visited != test.rows || written != test.rows {
					t.Errorf("visited %d and wrote %d of %d rows", visited, written, test.rows)
				}
			})
		}
	}
}

// TestSize checks how the size of chunks follows their duration.
func TestSize(t *testing.T) {
	b := newBench(t, plain(3000))
	b.config.First, b.config.Target, b.config.Most = 10, time.Hour, 200
	h := &hooks{}
	must(t, copying.Run(t.Context(), b.config, b.acquire(), h))
	var sizes []int64
	for _, c := range h.chunks {
		sizes = append(sizes, c.Visited)
	}
	for i, want := range []int64{10, 15, 23, 35, 53, 80, 120, 180, 200, 200} {
		if len(sizes) <= i || sizes[i] != want {
			t.Fatalf("the sizes are %v, want %d at %d", sizes, want, i)
		}
	}
	b.judge()

	b = newBench(t, plain(40))
	b.config.First, b.config.Target = 30, time.Nanosecond
	h = &hooks{}
	must(t, copying.Run(t.Context(), b.config, b.acquire(), h))
	if len(h.chunks) < 3 || h.chunks[0].Visited != 30 || h.chunks[1].Visited != 1 {
		t.Errorf("a slow chunk is followed by %+v", h.chunks[1])
	}
}

// TestRate checks that the rows of each chunk pay for the time until the next.
func TestRate(t *testing.T) {
	for name, test := range map[string]struct {
		limit     float64
		admission copying.Admission
	}{
		"limit":  {2000, copying.Admission{Factor: 1}},
		"factor": {8000, copying.Admission{Factor: 0.25}},
		"other":  {1, copying.Admission{Factor: 1, Rate: 2000}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, plain(500))
			b.config.Rate, b.config.Target = test.limit, 50*time.Millisecond
			h := &hooks{admit: func() (copying.Admission, error) { return test.admission, nil }}
			began := time.Now()
			must(t, copying.Run(t.Context(), b.config, b.acquire(), h))
			// The first chunk is free, and the last one is not paid for.
			for _, c := range h.chunks {
				if c.Visited > 100 {
					t.Errorf("a chunk of %d rows", c.Visited)
				}
			}
			if took := time.Since(began); took < 150*time.Millisecond {
				t.Errorf("500 rows took %s at 2,000 rows per second", took)
			}
			b.judge()
		})
	}
}

// TestStop checks that hooks end the copy, which continues later where it was.
func TestStop(t *testing.T) {
	b := newBench(t, plain(300))
	b.config.First, b.config.Most = 50, 50
	stop := errors.New("paused")
	h := &hooks{}
	h.progress = func(p copying.Progress) error {
		if p.Position.Visited == 100 {
			return stop
		}
		return nil
	}
	hold := b.acquire()
	if err := copying.Run(t.Context(), b.config, hold, h); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if n := b.number("SELECT count(*) FROM t WHERE v__todo"); n != 200 {
		t.Errorf("%d rows are marked", n)
	}
	refuse := &hooks{admit: func() (copying.Admission, error) { return copying.Admission{}, stop }}
	if err := copying.Run(t.Context(), b.config, hold, refuse); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	wait := &hooks{admit: func() (copying.Admission, error) { cancel(); return copying.Admission{}, nil }}
	if err := copying.Run(ctx, b.config, hold, wait); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	must(t, copying.Run(t.Context(), b.config, hold, &hooks{}))
	b.judge()
}

// TestPositions checks positions that must not be resumed from.
func TestPositions(t *testing.T) {
	b := newBench(t, plain(100))
	hold := b.acquire()
	save := func(p state.Position) {
		t.Helper()
		must(t, hold.Within(t.Context(), b.admin, func(tx *state.Tx) error { return tx.SavePosition(t.Context(), p) }))
	}
	save(state.Position{Key: []string{"50"}, Pass: 1, Table: 1})
	var changed *state.ChangedError
	if err := copying.Run(t.Context(), b.config, hold, &hooks{}); !errors.As(err, &changed) {
		t.Errorf("the position of another table: %v", err)
	}
	// A wrong position costs time, and no row.
	save(state.Position{Key: []string{"50"}, Pass: 1, Table: b.config.Table})
	h := &hooks{}
	must(t, copying.Run(t.Context(), b.config, hold, h))
	b.judge()
	if last := h.chunks[len(h.chunks)-1]; last.Position.Pass != 2 || last.Position.Written != 100 {
		t.Errorf("the last chunk is %+v", last)
	}

	b = newBench(t, plain(100))
	hold = b.acquire()
	save(state.Position{Key: []string{"50"}, Pass: 1, Table: b.config.Table})
	b.exec("UPDATE muniment_conductor.position SET key = '{90}'")
	h = &hooks{}
	must(t, copying.Run(t.Context(), b.config, hold, h))
	b.judge()
	if last := h.chunks[len(h.chunks)-1]; last.Position.Pass != 1 {
		t.Errorf("the last chunk is %+v", last)
	}
}

// TestPermanent checks errors that are not repeated.
func TestPermanent(t *testing.T) {
	b := newBench(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, '1'), (2, 'x')`)
	h := &hooks{}
	err := copying.Run(t.Context(), b.config, b.acquire(), h)
	if err == nil || !strings.HasPrefix(err.Error(), `copy column "v": ERROR: invalid input syntax for type bigint: "x"`) || len(h.retries) > 0 {
		t.Errorf("%v after %v", err, h.retries)
	}
	old := b.acquire()
	b.acquire()
	if err := copying.Run(t.Context(), b.config, old, h); !errors.Is(err, state.ErrFenced) || len(h.retries) > 0 {
		t.Errorf("%v after %v", err, h.retries)
	}
	b.plainRole()
	b.config.Replica = true
	if err := copying.Run(t.Context(), b.config, b.acquire(), h); err == nil || !strings.Contains(err.Error(), "permission denied") || len(h.retries) > 0 {
		t.Errorf("%v after %v", err, h.retries)
	}
	b.config.Attempts, b.config.Connect = 2, func(context.Context) (*pgx.Conn, error) { return nil, errors.New("no route") }
	if err := copying.Run(t.Context(), b.config, old, h); err == nil || err.Error() != `copy column "v": 2 attempts failed: no route` {
		t.Error(err)
	}
}

// TestLocked checks that the copy passes rows that others lock, and gives way
// before a statement of an application fails with a deadlock.
func TestLocked(t *testing.T) {
	b := newBench(t, plain(200))
	b.config.First, b.config.Most, b.config.LockTimeout = 50, 50, 50*time.Millisecond
	app := b.connect()
	tx, err := app.Begin(t.Context())
	must(t, err)
	exec := func(sql string) {
		t.Helper()
		_, err := tx.Exec(t.Context(), sql)
		must(t, err)
	}
	exec("SELECT FROM t WHERE id = 30 FOR UPDATE")
	exec("UPDATE t SET v = '7' WHERE id = 70")
	passed := make(chan struct{})
	h := &hooks{progress: func(p copying.Progress) error {
		if p.Position.Finished && p.Position.Pass == 1 {
			close(passed)
		}
		return nil
	}}
	done := make(chan error, 1)
	hold := b.acquire()
	go func() { done <- copying.Run(t.Context(), b.config, hold, h) }()
	<-passed
	exec("UPDATE t SET v = '5' WHERE id = 1")
	must(t, tx.Commit(t.Context()))
	must(t, <-done)
	b.judge()
	if len(h.retries) == 0 {
		t.Error("no chunk waited for a row")
	}
}

func TestDeadlock(t *testing.T) {
	b := newBench(t, plain(100))
	app, watches := b.connect(), b.connect()
	tx, err := app.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "UPDATE t SET v = '7' WHERE id = 90")
	must(t, err)
	h := &hooks{}
	done := make(chan error, 1)
	hold := b.acquire()
	pid := make(chan uint32, 1)
	b.config.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := b.open(ctx)
		if err == nil {
			select {
			case pid <- conn.PgConn().PID():
			default:
			}
		}
		return conn, err
	}
	go func() { done <- copying.Run(t.Context(), b.config, hold, h) }()
	copies := <-pid
	await(t, "the copy to wait for the row", func() bool {
		var waits bool
		must(t, watches.QueryRow(t.Context(), "SELECT cardinality(pg_blocking_pids($1)) > 0", copies).Scan(&waits))
		return waits
	})
	if _, err := tx.Exec(t.Context(), "UPDATE t SET v = '8' WHERE id = 1"); err != nil {
		t.Errorf("the application failed: %v", err)
	}
	must(t, tx.Commit(t.Context()))
	must(t, <-done)
	b.judge()
}

// TestLockStorm runs the copy while a session locks the whole table, again and
// again, each time until a transaction of the copy has failed.
func TestLockStorm(t *testing.T) {
	b := newBench(t, plain(200))
	b.config.First, b.config.Most, b.config.LockTimeout = 20, 20, 20*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	app := b.connect()
	failed, passed := make(chan struct{}, 1), make(chan struct{}, 1)
	signal := func(to chan struct{}) {
		select {
		case to <- struct{}{}:
		default:
		}
	}
	h := &hooks{retried: func(error) { signal(failed) }, progress: func(copying.Progress) error { signal(passed); return nil }}
	ended := make(chan int)
	go func() {
		storms := 0
		defer func() { ended <- storms }()
		for ctx.Err() == nil {
			tx, err := app.Begin(t.Context())
			if err == nil {
				_, err = tx.Exec(t.Context(), "LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
			}
			select {
			case <-failed:
				storms++
			case <-ctx.Done():
			}
			if err = errors.Join(err, tx.Commit(t.Context())); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-passed:
			case <-ctx.Done():
			}
		}
	}()
	err := copying.Run(t.Context(), b.config, b.acquire(), h)
	cancel()
	storms := <-ended
	must(t, err)
	b.judge()
	if storms == 0 {
		t.Error("no transaction of the copy failed")
	}
}

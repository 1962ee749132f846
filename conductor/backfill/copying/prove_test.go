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

// A hook calls a function before the first statement that contains a text.
type hook struct {
	text string
	call func(*pgx.Conn) // nil after it was called
}

func (h *hook) TraceQueryStart(ctx context.Context, conn *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if call := h.call; call != nil && strings.Contains(q.SQL, h.text) {
		h.call = nil
		call(conn)
	}
	return ctx
}

func (h *hook) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// before calls a function before the copy executes a statement.
func (b *bench) before(text string, call func(*pgx.Conn)) {
	h := &hook{text, call}
	b.config.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		config, err := pgx.ParseConfig(b.url)
		if err != nil {
			return nil, err
		}
		config.Tracer = h
		return pgx.ConnectConfig(ctx, config)
	}
}

// TestValidateUnlocked checks that the job's row is not locked during the scan
// that validates the constraint, so that evidence is acknowledged.
func TestValidateUnlocked(t *testing.T) {
	b := newBench(t, plain(100))
	b.exec("DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''10min''', current_database()); END$$")
	b.config.LockTimeout = time.Minute
	app := b.connect()
	tx, err := app.Begin(t.Context())
	must(t, err)
	ended := make(chan struct{})
	b.before("VALIDATE CONSTRAINT", func(conn *pgx.Conn) {
		_, err := tx.Exec(t.Context(), "LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE")
		go func() {
			defer close(ended)
			if err != nil {
				t.Error(err)
			}
			b.awaitBlocked(conn)
			if _, err := b.admin.Exec(t.Context(), "SELECT FROM muniment_conductor.job FOR NO KEY UPDATE NOWAIT"); err != nil {
				t.Errorf("the row of the job: %v", err)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	})
	must(t, copying.Run(t.Context(), b.config, b.acquire(), &hooks{}))
	<-ended
	b.judge()
}

// awaitBlocked waits until the session of a connection waits for a lock.
func (b *bench) awaitBlocked(conn *pgx.Conn) {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for blocked := false; !blocked; <-again.C {
		if err := b.admin.QueryRow(b.t.Context(), "SELECT cardinality(pg_blocking_pids("+pidOf(conn)+")) > 0").Scan(&blocked); err != nil {
			b.t.Error(err)
			return
		}
	}
}

// TestProveFenced checks that the copy does not end if another runner takes
// over, or the constraint is removed, while it is proved complete.
func TestProveFenced(t *testing.T) {
	const validate, drop = "VALIDATE CONSTRAINT", "ALTER TABLE t DROP CONSTRAINT zzz_muniment_v"
	fenced := func(err error) bool { return errors.Is(err, state.ErrFenced) }
	changed := func(err error) bool {
		var e *state.ChangedError
		return errors.As(err, &e)
	}
	for _, test := range []struct {
		before, change string
		taken          bool // by another runner
		want           func(error) bool
	}{
		{validate, "", true, fenced},
		{validate, drop, true, fenced},
		{"SELECT convalidated", drop, false, changed},
	} {
		b := newBench(t, plain(50))
		hold := b.acquire()
		b.before(test.before, func(*pgx.Conn) {
			b.exec(test.change)
			if test.taken {
				b.acquire()
			}
		})
		if err := copying.Run(t.Context(), b.config, hold, &hooks{}); !test.want(err) {
			t.Errorf("%s: %s: %v", test.before, test.change, err)
		}
		job, err := state.Load(t.Context(), b.admin, "job")
		must(t, err)
		if job.Phase != state.Copying {
			t.Errorf("%s: %s: the job is %s", test.before, test.change, job.Phase)
		}
	}
}

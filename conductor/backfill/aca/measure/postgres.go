package measure

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/aca"
)

// The names of the checks of Postgres.
const (
	WAL       = "wal"
	Blocks    = "blocks"
	LockWaits = "lock-waits"
)

// DatabaseChecks returns the checks of Postgres with their defaults.
func DatabaseChecks() []aca.Check {
	locks := aca.NewCounter(LockWaits, "per statement")
	locks.Absolute = 0.001
	return []aca.Check{
		aca.NewCounter(WAL, "B per statement"),
		aca.NewCounter(Blocks, "blocks per statement"),
		locks,
	}
}

// A Querier is a *pgxpool.Pool, or a connection that nothing else uses.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Postgres takes the WAL bytes, blocks (read or hit) and lock waits of the
// service in the current database, per statement of the service. Statements of
// the role with which it is connected are the conductor's own and do not count,
// so that role must not be one of the service's.
//
// The source is pg_stat_statements, which counts a statement when it ends, and
// includes the work of its triggers.
type Postgres struct {
	db    Querier
	every time.Duration // between two looks at the locks
	sql   string
}

// NewPostgres returns the source. It fails if the extension pg_stat_statements
// is missing.
func NewPostgres(ctx context.Context, db Querier) (*Postgres, error) {
	var schema string
	err := db.QueryRow(ctx, `SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
		WHERE e.extname = 'pg_stat_statements'`).Scan(&schema)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errors.New("counters of the database: the extension pg_stat_statements is missing: add it to shared_preload_libraries, restart, and run CREATE EXTENSION pg_stat_statements")
	}
	if err != nil {
		return nil, fmt.Errorf("counters of the database: %w", err)
	}
	p := &Postgres{db: db, every: 100 * time.Millisecond, sql: fmt.Sprintf(`
		SELECT coalesce(sum(calls), 0)::float8, coalesce(sum(wal_bytes), 0)::float8,
			coalesce(sum(shared_blks_hit + shared_blks_read), 0)::float8,
			(SELECT stats_reset::text || ', ' || dealloc || ' evictions' FROM %s)
		FROM %s
		WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND userid <> (SELECT oid FROM pg_roles WHERE rolname = session_user)`,
		pgx.Identifier{schema, "pg_stat_statements_info"}.Sanitize(), pgx.Identifier{schema, "pg_stat_statements"}.Sanitize())}
	_, err = p.read(ctx)
	return p, err
}

// queryTimeout bounds a query, which takes milliseconds.
const queryTimeout = 30 * time.Second

// toTheEnd returns a context for a query that an interruption of the window
// does not cancel, because that would close the connection.
func toTheEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
}

// counters are cumulative. The epoch changes if they were reset, or if the
// extension evicted statements and their counters.
type counters struct {
	statements, wal, blocks float64
	epoch                   string
}

func (p *Postgres) read(ctx context.Context) (c counters, err error) {
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	if err := p.db.QueryRow(ctx, p.sql).Scan(&c.statements, &c.wal, &c.blocks, &c.epoch); err != nil {
		return c, fmt.Errorf("counters of the database: %w", err)
	}
	return c, nil
}

// Begin reads the counters, and begins to look for waiting locks.
func (p *Postgres) Begin(ctx context.Context) (End, error) {
	before, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	watch := p.watch(ctx)
	return func(ctx context.Context, _, _ time.Time) (map[string]aca.Sample, error) {
		waits, failed := watch.stop()
		after, err := p.read(ctx)
		if err != nil {
			return nil, err
		}
		if after.epoch != before.epoch {
			return nil, fmt.Errorf("counters of the database were reset within the window (%s, then %s): raise pg_stat_statements.max if statements were evicted", before.epoch, after.epoch)
		}
		statements := after.statements - before.statements
		samples := map[string]aca.Sample{
			WAL:    {Value: after.wal - before.wal, Per: statements},
			Blocks: {Value: after.blocks - before.blocks, Per: statements},
		}
		if failed == nil {
			samples[LockWaits] = aca.Sample{Value: float64(waits), Per: statements}
		}
		return samples, failed
	}, nil
}

// maxWaits is the largest number of lock waits in a window.
const maxWaits = 100_000

// A watch counts the waits for locks that it sees.
type watch struct {
	end  chan struct{} // closed to end the goroutine
	done chan struct{} // closed when it has ended

	mu   sync.Mutex
	seen map[wait]bool
	err  error // that ended the watch early
}

// A wait is identified by its process and start. PostgreSQL keeps no count of
// waits.
type wait struct {
	pid   int32
	start float64 // seconds
}

// watch looks for waits until it is stopped. It sees each wait that lasts
// longer than the time between two looks.
func (p *Postgres) watch(ctx context.Context) *watch {
	w := &watch{end: make(chan struct{}), done: make(chan struct{}), seen: map[wait]bool{}}
	go func() {
		defer close(w.done)
		again := time.NewTicker(p.every)
		defer again.Stop()
		for {
			if err := w.look(ctx, p.db); err != nil {
				w.mu.Lock()
				w.err = err
				w.mu.Unlock()
				return
			}
			select {
			case <-w.end:
				return
			case <-ctx.Done():
				return
			case <-again.C:
			}
		}
	}()
	return w
}

func (w *watch) look(ctx context.Context, db Querier) error {
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	rows, err := db.Query(ctx, `SELECT l.pid, extract(epoch FROM l.waitstart)::float8
		FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE NOT l.granted AND l.waitstart IS NOT NULL AND a.datname = current_database()
			AND a.usesysid <> (SELECT oid FROM pg_roles WHERE rolname = session_user)`)
	if err != nil {
		return fmt.Errorf("lock waits of the database: %w", err)
	}
	defer rows.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for rows.Next() {
		var one wait
		if err := rows.Scan(&one.pid, &one.start); err != nil {
			return fmt.Errorf("lock waits of the database: %w", err)
		}
		if w.seen[one] = true; len(w.seen) > maxWaits {
			return fmt.Errorf("lock waits of the database: more than %d in a window", maxWaits)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("lock waits of the database: %w", err)
	}
	return nil
}

// count returns the number of waits until now.
func (w *watch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// stop ends the watch after the look that is under way, and returns the number
// of waits.
func (w *watch) stop() (int, error) {
	close(w.end)
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen), w.err
}

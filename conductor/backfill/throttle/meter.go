package throttle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A DB begins transactions. *pgx.Conn and *pgxpool.Pool are DBs. After a
// measurement that the server did not end in time, a *pgx.Conn is closed, and
// every later measurement fails. A pool replaces it.
type DB interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// A Meter measures the database of a table. It is a Gauge, and must be used by
// one goroutine at a time.
type Meter struct {
	db    DB
	table uint32 // OID
	probe string // SQL; empty for none
	query string // SQL; empty for none
	now   func() time.Time

	limit   time.Duration // of each query
	fewDead int64         // dead rows that do not count
	wal     history
}

// MeterConfig contains what a Meter needs.
type MeterConfig struct {
	DB    DB
	Table uint32 // OID of the table
	Probe string // query of the job whose duration is measured; empty for none
	Query string // query of the job that returns a number; empty for none

	Now func() time.Time // the clock

	// Timeout is the longest duration of a query. The default is a second. The
	// probe may take twice its limit if that is longer.
	Timeout time.Duration
}

// NewMeter returns a meter.
func NewMeter(c MeterConfig) *Meter {
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	return &Meter{db: c.DB, table: c.Table, probe: c.Probe, query: c.Query, now: c.Now, limit: c.Timeout, fewDead: fewDead}
}

// Measure implements Gauge. Each input is measured in a transaction of its own,
// which reads only, under a statement_timeout.
func (m *Meter) Measure(ctx context.Context, limits Limits) (readings []Reading) {
	walErr := errors.New("not measured")
	_, lag := limits[ReplicationLag]
	_, rate := limits[WALRate]
	if lag || rate {
		walErr = m.observeWAL(ctx)
	}
	for _, input := range Inputs() {
		limit, ok := limits[input]
		if !ok {
			continue
		}
		r := Reading{Input: input}
		switch input {
		case ReplicationLag:
			if r.Err = walErr; r.Err == nil {
				r.Value, r.Err = m.replicationLag(ctx)
			}
		case WALRate:
			r.Value, r.Err = m.wal.rate(), walErr
		case Probe:
			r.Value, r.Err = m.runProbe(ctx, limit)
		case Query:
			r.Value, r.Err = m.runQuery(ctx)
		case DeadTuples:
			r.Value, r.Err = m.number(ctx, deadTuples, m.table, m.fewDead)
		default:
			r.Value, r.Err = m.number(ctx, queries[input], m.table)
		}
		readings = append(readings, r)
	}
	return readings
}

// fewDead is a number of dead rows that is not worth a wait. Like the threshold
// of autovacuum, it is independent of the size of the table. Without it, a
// small table would wait for a vacuum that does not come.
const fewDead = 50_000

// deadTuples counts the partitions of a table with it.
const deadTuples = family + `
	SELECT coalesce(greatest(sum(pg_stat_get_dead_tuples(oid)) - $2::int8, 0)::float8
		/ nullif(sum(pg_stat_get_live_tuples(oid) + pg_stat_get_dead_tuples(oid)), 0)::float8, 0), NULL
	FROM family`

// queries are those whose only result is the value. Their argument is the OID
// of the table.
var queries = map[Input]string{
	// The activity of an autovacuum worker is visible to members of
	// pg_read_all_stats only.
	Vacuum: family + `
		SELECT count(*) FILTER (WHERE v.relid IN (SELECT oid FROM family) AND a.query LIKE '%(to prevent wraparound)')::float8,
			CASE WHEN bool_or(v.relid IS NULL AND v.datname = current_database()) THEN '` + hidden + `' END
		FROM pg_stat_progress_vacuum v JOIN pg_stat_activity a USING (pid)`,
	BlockedSessions: `SELECT count(DISTINCT pid)::float8, NULL FROM pg_locks WHERE NOT granted AND $1::oid IS NOT NULL`,
	LockQueue: family + `
		SELECT count(DISTINCT pid)::float8, NULL FROM pg_locks
		WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND relation IN (SELECT oid FROM family)`,
	// Transactions of other databases do not hold back the horizon of the
	// table. A prepared transaction does until it is committed.
	OldestTransaction: `
		SELECT coalesce(extract(epoch FROM max(age)), 0)::float8, max(hidden) FROM (
			SELECT clock_timestamp() - xact_start AS age,
				CASE WHEN query = '<insufficient privilege>' THEN '` + hidden + `' END AS hidden
			FROM pg_stat_activity
			WHERE (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) AND pid <> pg_backend_pid()
				AND datname = current_database()
			UNION ALL
			SELECT clock_timestamp() - prepared, NULL FROM pg_prepared_xacts WHERE database = current_database()
		) AS x WHERE $1::oid IS NOT NULL`,
}

// family selects the table, its partitions and its TOAST tables.
const family = `
	WITH tree AS (SELECT $1::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::oid)),
	family AS (SELECT oid FROM tree UNION
		SELECT reltoastrelid FROM pg_class WHERE oid IN (SELECT oid FROM tree) AND reltoastrelid <> 0)`

const hidden = "other sessions are not visible: grant pg_read_all_stats to the role of the job"

// transaction calls f in a transaction that reads only, and in which each
// statement takes at most limit.
func (m *Meter) transaction(ctx context.Context, limit time.Duration, f func(ctx context.Context, tx pgx.Tx) error) error {
	// The server ends statements. The time limit of the client is for servers
	// that do not answer.
	ctx, cancel := context.WithTimeoutCause(ctx, 2*limit+time.Second, errors.New("no answer from the server"))
	defer cancel()
	tx, err := m.db.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return plain(ctx, err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // an error leaves a closed connection
	timeout := fmt.Sprintf("%dms", max(limit.Milliseconds(), 1))
	if _, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true)`, timeout); err != nil {
		return plain(ctx, err)
	}
	return plain(ctx, f(ctx, tx))
}

// plain adds the reason for the end of a context to an error.
func plain(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pg) && pg.Code == "57014":
		return errors.New("the query exceeded its time limit")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// number runs a query that returns a number, and a reason for which it is
// incomplete or NULL.
func (m *Meter) number(ctx context.Context, sql string, args ...any) (value float64, err error) {
	err = m.transaction(ctx, m.limit, func(ctx context.Context, tx pgx.Tx) error {
		var incomplete *string
		if err := tx.QueryRow(ctx, sql, args...).Scan(&value, &incomplete); err != nil {
			return err
		}
		if incomplete != nil {
			return errors.New(*incomplete)
		}
		return nil
	})
	return value, err
}

// runProbe returns the duration of the probe in seconds.
func (m *Meter) runProbe(ctx context.Context, limit float64) (value float64, err error) {
	if m.probe == "" {
		return 0, errors.New("the job has no probe")
	}
	timeout := m.limit
	if double := 2 * limit * float64(time.Second); double > float64(timeout) {
		timeout = time.Duration(min(double, float64(time.Hour)))
	}
	err = m.transaction(ctx, timeout, func(ctx context.Context, tx pgx.Tx) error {
		start := m.now()
		if err := m.discard(ctx, tx); err != nil {
			return err
		}
		value = m.now().Sub(start).Seconds()
		return nil
	})
	return value, err
}

// discard runs the probe and reads at most its first 1,000 rows.
func (m *Meter) discard(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, m.probe)
	if err != nil {
		return err
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n == 1000 {
			return errors.New("the probe returns more than 1,000 rows: limit it")
		}
	}
	return rows.Err()
}

// runQuery returns the number that the query of the job returns.
func (m *Meter) runQuery(ctx context.Context) (value float64, err error) {
	if m.query == "" {
		return 0, errors.New("the job has no query")
	}
	err = m.transaction(ctx, m.limit, func(ctx context.Context, tx pgx.Tx) error {
		var number *float64
		if err := tx.QueryRow(ctx, "SELECT ("+strings.TrimRight(m.query, "; \t\r\n")+"\n)::float8").Scan(&number); err != nil {
			return err
		}
		if number == nil {
			return errors.New("the query returned no number")
		}
		value = *number
		return nil
	})
	if err == nil && math.IsNaN(value) {
		err = errors.New("the query returned NaN")
	}
	return value, err
}

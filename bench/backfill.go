package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/copying"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/conductor/backfill/rowkey"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/internal/peers/postgresrig"
)

// The sizes and goals of the measurements of a backfill.
const (
	assets      = 200_000 // rows
	assetsChunk = 5_000   // rows of a small chunk, of both loops
	assetWrites = 5_000   // single updates by key

	chunkTarget = 200 * time.Millisecond // the default of a job

	goalCopy      = 0.8 // of the rate of the bare loop
	goalDualWrite = 2.2 // times the blocks and the WAL of a plain update
)

// backfill measures the copy and the dual write of a backfill against plain
// statements on the same PostgreSQL, and the memory of the runner.
func (b *bench) backfill() {
	ctx := context.Background()
	db, err := postgresrig.Start(ctx, postgresrig.Config{Durable: true, Settings: map[string]string{
		"autovacuum": "off", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "shared_buffers": "512MB",
	}})
	check(err)
	defer db.Stop()
	copyRate(ctx, db, fmt.Sprintf("chunks of %d", assetsChunk), func(*copying.Config) {})
	disk := copyRate(ctx, db, fmt.Sprintf("chunks of %s", chunkTarget), func(c *copying.Config) {
		c.First, c.Most, c.Target = 500, 50_000, chunkTarget
	})
	row("backfill: peak extra disk without vacuum", mebibytes(disk.extra), fmt.Sprintf("%.2f × the table; and %s of WAL until it is recycled",
		float64(disk.extra)/float64(disk.table), mebibytes(disk.wal)))
	dualWriteCost(ctx, db)
	b.runnerMemory(ctx, db)
}

// A backfillTable is a table of assets in a database of its own.
type backfillTable struct {
	url  string
	conn *pgx.Conn
	pair dualwrite.Pair
}

// newBackfillTable creates a table of wide rows that is not in a job yet.
func newBackfillTable(ctx context.Context, db *postgresrig.Rig, rows int) *backfillTable {
	name, err := db.NewDatabase(ctx)
	check(err)
	t := &backfillTable{url: db.URL(name)}
	t.conn, err = pgx.Connect(ctx, t.url)
	check(err)
	t.exec(ctx, "CREATE EXTENSION pg_stat_statements",
		"CREATE TABLE asset (id bigint PRIMARY KEY, name text NOT NULL, size_kb integer, changed timestamptz NOT NULL DEFAULT now())",
		fmt.Sprintf("INSERT INTO asset SELECT i, repeat(md5(i::text), 3), i %% 100000, now() FROM generate_series(1, %d) AS i", rows),
		"VACUUM ANALYZE asset", "CHECKPOINT")
	p := dualwrite.Pair{Schema: "public", Table: "asset", Column: "size_kb", Shadow: "size_kb__new", Retired: "size_kb__old", Mark: "size_kb__todo", Job: "job"}
	p.Expressions, err = dualwrite.Normalize(ctx, t.conn, p, "bigint", "size_kb::bigint * 1024", "(size_kb / 1024)::integer")
	check(err)
	t.pair = p
	return t
}

func (t *backfillTable) exec(ctx context.Context, statements ...string) {
	for _, s := range statements {
		_, err := t.conn.Exec(ctx, s)
		check(err)
	}
}

func (t *backfillTable) number(ctx context.Context, sql string) (n int64) {
	check(t.conn.QueryRow(ctx, sql).Scan(&n))
	return n
}

func (t *backfillTable) close(ctx context.Context) { check(t.conn.Close(ctx)) }

// expand begins a job on the table, and returns what its copy needs.
func (t *backfillTable) expand(ctx context.Context) (copying.Config, *state.Hold) {
	check(state.Install(ctx, t.conn))
	for _, s := range t.pair.Expand() {
		t.exec(ctx, s)
	}
	oid, columns, err := state.Describe(ctx, t.conn, t.pair.Relation(), t.pair.Column, t.pair.Shadow, t.pair.Mark)
	check(err)
	job, err := state.Create(ctx, t.conn, state.Job{Name: t.pair.Job, Source: []byte("x"), Run: "r", Relation: t.pair.Relation(), Table: oid, Columns: columns})
	check(err)
	key, err := rowkey.Find(ctx, t.conn, oid)
	check(err)
	hold, _, err := state.Acquire(ctx, t.conn, state.Claim{Job: t.pair.Job, Digest: job.Digest})
	check(err)
	check(hold.Within(ctx, t.conn, func(tx *state.Tx) error { _, err := tx.Move(ctx, state.Expand); return err }))
	return copying.Config{
		Pair: t.pair, Key: key, Table: oid, First: assetsChunk, Most: assetsChunk, Target: time.Hour,
		Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, t.url) },
	}, hold
}

// unhindered are the hooks of a copy that nothing slows down. After is called
// between chunks; it may be nil.
type unhindered struct{ after func(copying.Progress) }

func (unhindered) Admit(context.Context) (copying.Admission, error) {
	return copying.Admission{Factor: 1}, nil
}

func (u unhindered) Progress(_ context.Context, p copying.Progress) error {
	if u.after != nil {
		u.after(p)
	}
	return nil
}

func (unhindered) Retry(err error, _ time.Duration) { check(err) }

func (unhindered) Complete(ctx context.Context, tx *state.Tx) error {
	_, err := tx.Move(ctx, state.Complete)
	return err
}

// A diskUse is the disk that a copy uses, in bytes.
type diskUse struct{ table, extra, wal int64 }

// copyRate compares the copy with a bare loop of updates of the same chunks.
// Their chunks alternate, so that other load of the machine affects both.
func copyRate(ctx context.Context, db *postgresrig.Rig, chunks string, configure func(*copying.Config)) (disk diskUse) {
	bare, t := newBackfillTable(ctx, db, assets), newBackfillTable(ctx, db, assets)
	defer bare.close(ctx)
	defer t.close(ctx)
	bare.exec(ctx, "ALTER TABLE asset ADD COLUMN size_kb__new bigint")
	config, hold := t.expand(ctx)
	configure(&config)
	disk.table = t.size(ctx)
	t.exec(ctx, "SELECT pg_stat_statements_reset()")
	var loop, copied time.Duration
	var from int64
	start := time.Now()
	check(copying.Run(ctx, config, hold, unhindered{func(p copying.Progress) {
		began := time.Now()
		_, err := bare.conn.Exec(ctx, "UPDATE asset SET size_kb__new = size_kb::bigint * 1024 WHERE id > $1 AND id <= $2", from, from+p.Visited)
		check(err)
		from += p.Visited
		loop += time.Since(began)
		copied += p.Took
	}}))
	took := time.Since(start) - loop
	if from < assets {
		check(fmt.Errorf("the bare loop ended at row %d", from))
	}
	disk.wal = t.number(ctx, "SELECT sum(wal_bytes)::int8 FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())")
	disk.extra = t.size(ctx) - disk.table
	row("backfill: bare UPDATE loop", rate(assets/loop.Seconds()), fmt.Sprintf("%d rows, %s", assets, chunks))
	row("backfill: copy of these chunks", rate(assets/copied.Seconds()), fmt.Sprintf("%.2f × the loop, goal %.1f", loop.Seconds()/copied.Seconds(), goalCopy))
	row("backfill: copy, with its connection and proof", rate(assets/took.Seconds()), fmt.Sprintf("%.2f × the loop", loop.Seconds()/took.Seconds()))
	return disk
}

// size returns the size of the table and of the state.
func (t *backfillTable) size(ctx context.Context) int64 {
	return t.number(ctx, `SELECT pg_total_relation_size('asset') + sum(pg_total_relation_size(oid))::int8 FROM pg_class
		WHERE relnamespace = 'muniment_conductor'::regnamespace AND relkind = 'r'`)
}

// dualWriteCost compares an update of the column, by its key, with the same
// update under dual write. The counters are those of the server.
func dualWriteCost(ctx context.Context, db *postgresrig.Rig) {
	plain := newBackfillTable(ctx, db, assets)
	dual := newBackfillTable(ctx, db, assets)
	config, hold := dual.expand(ctx)
	check(copying.Run(ctx, config, hold, unhindered{}))
	dual.exec(ctx, "VACUUM ANALYZE asset", "CHECKPOINT")
	before, beforeTook := updates(ctx, plain)
	after, afterTook := updates(ctx, dual)
	worst := 0.0
	for i, what := range []string{"blocks", "WAL bytes"} {
		ratio := float64(after[i]) / float64(before[i])
		worst = max(worst, ratio)
		row("backfill: "+what+" of an update under dual write", fmt.Sprintf("%.1f", float64(after[i])/assetWrites),
			fmt.Sprintf("%.2f × %.1f of a plain update, goal %.1f", ratio, float64(before[i])/assetWrites, goalDualWrite))
	}
	row("backfill: time of an update under dual write", round(afterTook/assetWrites).String(),
		fmt.Sprintf("%.2f × %s of a plain one", afterTook.Seconds()/beforeTook.Seconds(), round(beforeTook/assetWrites)))
	plain.close(ctx)
	dual.close(ctx)
}

// updates changes rows one by one, and returns the blocks and the WAL of these
// statements with their triggers. The first round is not counted: it writes the
// images of whole pages, which would hide the difference.
func updates(ctx context.Context, t *backfillTable) (counters [2]int64, took time.Duration) {
	for range 2 {
		t.exec(ctx, "SELECT pg_stat_statements_reset()")
		start := time.Now()
		for i := range assetWrites {
			_, err := t.conn.Exec(ctx, "UPDATE asset SET size_kb = size_kb + 1 WHERE id = $1", 1+i*7919%assets)
			check(err)
		}
		took = time.Since(start)
	}
	check(t.conn.QueryRow(ctx, `SELECT sum(shared_blks_hit + shared_blks_read), sum(wal_bytes)::int8 FROM pg_stat_statements
		WHERE toplevel AND query LIKE 'UPDATE asset SET size_kb = size_kb%' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`).
		Scan(&counters[0], &counters[1]))
	return counters, took
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

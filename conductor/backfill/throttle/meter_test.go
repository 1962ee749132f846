package throttle

import (
	"context"
	"fmt"
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
	rig, err = postgresrig.Start(context.Background(), postgresrig.Config{Settings: map[string]string{
		"wal_level": "logical", "max_prepared_transactions": "2", "autovacuum": "off",
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	rig.Stop()
	os.Exit(code)
}

// A database is a new database with a table t of 100 rows.
type database struct {
	t    *testing.T
	name string
	pool *pgxpool.Pool
}

func newDatabase(t *testing.T) database {
	t.Helper()
	name, err := rig.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := database{t: t, name: name, pool: openPool(t, rig.URL(name))}
	d.exec("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, i FROM generate_series(1, 100) AS i")
	return d
}

func openPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func (d database) exec(statements ...string) {
	d.t.Helper()
	for _, s := range statements {
		if _, err := d.pool.Exec(d.t.Context(), s); err != nil {
			d.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (d database) oid() (oid uint32) {
	d.t.Helper()
	if err := d.pool.QueryRow(d.t.Context(), "SELECT 't'::regclass::oid").Scan(&oid); err != nil {
		d.t.Fatal(err)
	}
	return oid
}

// session opens a connection, executes statements, and leaves it open.
func (d database) session(statements ...string) *pgx.Conn {
	d.t.Helper()
	conn, err := pgx.Connect(d.t.Context(), rig.URL(d.name))
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

func (d database) meter(c MeterConfig) *Meter {
	c.DB, c.Table, c.Now = d.pool, d.oid(), time.Now
	return NewMeter(c)
}

// read measures one input.
func read(t *testing.T, m *Meter, input Input, limit float64) Reading {
	t.Helper()
	readings := m.Measure(t.Context(), Limits{input: limit})
	if len(readings) != 1 || readings[0].Input != input {
		t.Fatalf("%s: readings %v", input, readings)
	}
	return readings[0]
}

// eventually measures an input until its value satisfies a condition.
func eventually(t *testing.T, m *Meter, input Input, accept func(float64) bool) {
	t.Helper()
	deadline := time.Now().Add(soak.Patience)
	for {
		r := read(t, m, input, 1)
		if r.Err == nil && accept(r.Value) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %v, %v", input, r.Value, r.Err)
		}
	}
}

func atLeast(n float64) func(float64) bool { return func(v float64) bool { return v >= n } }

func TestIdle(t *testing.T) {
	d := newDatabase(t)
	m := d.meter(MeterConfig{Probe: "SELECT 1", Query: "SELECT 7;"})
	limits := DefaultLimits()
	limits[Probe], limits[Query], limits[WALRate] = 1000, 10, 1e12
	delete(limits, DeadTuples) // other tests measure it
	readings := m.Measure(t.Context(), limits)
	if len(readings) != len(limits) {
		t.Errorf("%d readings", len(readings))
	}
	for _, r := range readings {
		if r.Err != nil {
			t.Errorf("%s: %v", r.Input, r.Err)
		}
	}
	if decision := Decide(limits, readings); decision.Reason.Input != Query {
		t.Errorf("decision: %v", decision)
	}
}

func TestLocks(t *testing.T) {
	d := newDatabase(t)
	m := d.meter(MeterConfig{})
	d.session("BEGIN", "LOCK TABLE t IN SHARE MODE")
	waiting := d.session()
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		_, _ = waiting.Exec(ctx, "INSERT INTO t VALUES (1000)") // waits until it is cancelled
	}()
	eventually(t, m, LockQueue, atLeast(1))
	eventually(t, m, BlockedSessions, atLeast(1))
	cancel()
	<-done
	eventually(t, m, LockQueue, func(v float64) bool { return v == 0 })
}

func TestOldestTransaction(t *testing.T) {
	d := newDatabase(t)
	m := d.meter(MeterConfig{})
	s := d.session("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
	var before time.Duration
	eventually(t, m, OldestTransaction, func(v float64) bool {
		first := before == 0
		before = max(before, time.Duration(v*float64(time.Second)))
		return !first && v > 0
	})
	if _, err := s.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	eventually(t, m, OldestTransaction, func(v float64) bool { return v == 0 })
	d.session("BEGIN", "INSERT INTO t VALUES (2000)", "PREPARE TRANSACTION 'forgotten'")
	eventually(t, m, OldestTransaction, func(v float64) bool { return v > 0 })
	d.exec("ROLLBACK PREPARED 'forgotten'")
}

func TestDeadTuples(t *testing.T) {
	d := newDatabase(t)
	d.exec("CREATE TABLE parts (id int) PARTITION BY RANGE (id)", "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (1000)",
		"INSERT INTO parts SELECT generate_series(0, 99)")
	m := d.meter(MeterConfig{})
	whole := d.meter(MeterConfig{})
	if err := d.pool.QueryRow(t.Context(), "SELECT 'parts'::regclass::oid").Scan(&whole.table); err != nil {
		t.Fatal(err)
	}
	d.exec("UPDATE t SET v = ''", "UPDATE parts SET id = id + 100 WHERE id < 100")
	for _, m := range []*Meter{m, whole} {
		m.fewDead = 0
		eventually(t, m, DeadTuples, func(v float64) bool { return v > 0.49 && v < 0.51 })
		m.fewDead = 80
		eventually(t, m, DeadTuples, func(v float64) bool { return v > 0.09 && v < 0.11 })
		m.fewDead = fewDead // a small table does not wait
		eventually(t, m, DeadTuples, func(v float64) bool { return v == 0 })
	}
}

func TestProbeAndQuery(t *testing.T) {
	d := newDatabase(t)
	for _, test := range []struct {
		name, probe, query string
		input              Input
		reason             string
	}{
		{"a slow probe", "SELECT pg_sleep(3600)", "", Probe, "exceeded its time limit"},
		{"a probe with many rows", "SELECT generate_series(1, 2000)", "", Probe, "more than 1,000 rows"},
		{"a probe that writes", "DELETE FROM t", "", Probe, "read-only"},
		{"no probe", "", "", Probe, "the job has no probe"},
		{"a slow query", "", "SELECT 1 FROM pg_sleep(3600)", Query, "exceeded its time limit"},
		{"a query without rows", "", "SELECT 1 WHERE false", Query, "no number"},
		{"a query for a text", "", "SELECT 'x'", Query, "invalid input syntax"},
		{"a query for NaN", "", "SELECT 'NaN'::float8", Query, "NaN"},
		{"a query with a comment", "", "SELECT 1/0 -- why", Query, "division by zero"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := d.meter(MeterConfig{Probe: test.probe, Query: test.query, Timeout: 50 * time.Millisecond})
			if r := read(t, m, test.input, 0.01); r.Err == nil || !strings.Contains(r.Err.Error(), test.reason) {
				t.Errorf("%v, %v", r.Value, r.Err)
			}
		})
	}
	m := d.meter(MeterConfig{Probe: "SELECT pg_sleep(0.02)", Query: "SELECT count(*) FROM t WHERE id > 90", Timeout: soak.Patience})
	if r := read(t, m, Probe, 1); r.Err != nil || r.Value < 0.02 {
		t.Errorf("the probe took %v, %v", r.Value, r.Err)
	}
	if r := read(t, m, Query, 1); r.Err != nil || r.Value != 10 {
		t.Errorf("the query returned %v, %v", r.Value, r.Err)
	}
}

func TestReplication(t *testing.T) {
	d := newDatabase(t)
	m := d.meter(MeterConfig{})
	now := time.Now()
	m.now = func() time.Time { now = now.Add(10 * time.Second); return now }
	standby, err := rig.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Stop()
	eventually(t, m, ReplicationLag, func(v float64) bool { return v < 10 })
	if err := standby.Exec(t.Context(), "postgres", "SELECT pg_wal_replay_pause()"); err != nil {
		t.Fatal(err)
	}
	// The age of the WAL that is not replayed follows from the positions.
	read(t, m, ReplicationLag, 1)
	d.exec("UPDATE t SET v = 'y'")
	eventually(t, m, ReplicationLag, atLeast(60))
	if err := standby.Exec(t.Context(), "postgres", "SELECT pg_wal_replay_resume()"); err != nil {
		t.Fatal(err)
	}
	eventually(t, m, ReplicationLag, func(v float64) bool { return v < 10 })
	standby.Stop()

	d.exec("SELECT pg_create_logical_replication_slot('abandoned', 'pgoutput')")
	d.exec("UPDATE t SET v = 'z'")
	eventually(t, m, ReplicationLag, atLeast(60))
	d.exec("SELECT pg_drop_replication_slot('abandoned')")
	read(t, m, WALRate, 1)
	d.exec("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1001, 2000) AS i")
	if r := read(t, m, WALRate, 1); r.Err != nil || r.Value < 100_000 || r.Value > 10_000_000 {
		t.Errorf("WAL rate %v, %v", r.Value, r.Err)
	}
}

// TestWithoutPrivileges checks that a role that does not see other sessions
// gets an error instead of a value that is too small.
func TestWithoutPrivileges(t *testing.T) {
	d := newDatabase(t)
	d.exec("CREATE ROLE limited LOGIN")
	m := d.meter(MeterConfig{})
	m.db = openPool(t, rig.URLAs("limited", d.name))
	d.session("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
	if r := read(t, m, OldestTransaction, 1); r.Err == nil || !strings.Contains(r.Err.Error(), "grant pg_read_all_stats") {
		t.Errorf("%v, %v", r.Value, r.Err)
	}
	for _, input := range []Input{DeadTuples, Vacuum, BlockedSessions, LockQueue, ReplicationLag} {
		if r := read(t, m, input, 1); r.Err != nil {
			t.Errorf("%s: %v", input, r.Err)
		}
	}
}

// TestLostServer checks that nothing is admitted without a server, and that the
// measurements resume with it.
func TestLostServer(t *testing.T) {
	server := postgresrig.ForTest(t, postgresrig.Config{})
	if err := server.Exec(t.Context(), "postgres", "CREATE TABLE t (id int)"); err != nil {
		t.Fatal(err)
	}
	m := NewMeter(MeterConfig{DB: openPool(t, server.URL("postgres")), Now: time.Now})
	if r := read(t, m, BlockedSessions, 1); r.Err != nil {
		t.Fatal(r.Err)
	}
	server.Shutdown()
	limits := Limits{BlockedSessions: 5}
	if decision := Decide(limits, m.Measure(t.Context(), limits)); decision.Rate != 0 || decision.Reason.Error == "" {
		t.Errorf("without the server: %v", decision)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, m, BlockedSessions, func(v float64) bool { return v == 0 })
}

// TestVacuum checks the measurement of vacuums. An autovacuum for wraparound
// has this end of its query.
func TestVacuum(t *testing.T) {
	d := newDatabase(t)
	d.exec("INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1001, 20000) AS i")
	m := d.meter(MeterConfig{})
	if r := read(t, m, Vacuum, 0); r.Err != nil || r.Value != 0 {
		t.Errorf("before: %v, %v", r.Value, r.Err)
	}
	vacuum := d.session("SET vacuum_cost_delay = 100", "SET vacuum_cost_limit = 1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = vacuum.Exec(ctx, "VACUUM (FREEZE) t -- (to prevent wraparound)")
	}()
	eventually(t, m, Vacuum, atLeast(1))
	cancel()
	<-done
	eventually(t, m, Vacuum, func(v float64) bool { return v == 0 })
}

package checking

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
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
	if rig, err = postgresrig.Start(context.Background(), postgresrig.Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	rig.Stop()
	os.Exit(code)
}

// A shape is a table whose column v is backfilled into v__new.
type shape struct {
	name     string
	table    string // columns
	key      []Key
	up, down string // over the alias r, with {P} and {S} for the columns
	new      string // type of the new column
	rows     string // SELECT of the rows, without the new column
	wrong    string // a wrong new value
	lossy    bool
}

var shapes = []shape{
	{
		name: "text to numeric", table: "id bigint PRIMARY KEY, v text", key: []Key{{`"id"`, "bigint"}},
		up: "({P})::numeric", down: "({S})::text", new: "numeric",
		rows: "SELECT i, CASE WHEN i % 7 > 0 THEN (i / 4.0)::numeric(9,2)::text END FROM generate_series(1, 700) AS i", wrong: "0.5",
	},
	{
		name: "composite key", table: `"a B" text, c timestamptz, d numeric, v int, PRIMARY KEY ("a B", c, d)`,
		key: []Key{{`"a B"`, "text"}, {`"c"`, "timestamp with time zone"}, {`"d"`, "numeric"}},
		up:  "({P})::bigint + 1", down: "({S} - 1)::int", new: "bigint",
		rows: `SELECT '"' || repeat(',', i % 3) || chr(9 + i % 5), '2026-10-25 02:30+01'::timestamptz + i / 50 * interval '1s', i / 10.0, i FROM generate_series(1, 700) AS i`, wrong: "0",
	},
	{
		name: "json, which has no equality", table: "id int PRIMARY KEY, v text", key: []Key{{`"id"`, "integer"}},
		up: "json_build_object('v', {P})", down: "({S} ->> 'v')", new: "json",
		rows: "SELECT i, CASE WHEN i % 9 > 0 THEN 'x' || i END FROM generate_series(1, 700) AS i", wrong: `'{"v":1}'`,
	},
	{
		name: "point, which has no btree", table: "id int PRIMARY KEY, v float8", key: []Key{{`"id"`, "integer"}},
		up: "point({P}, 1)", down: "({S})[0]", new: "point",
		rows: "SELECT i, i / 8.0 FROM generate_series(1, 700) AS i", wrong: "'(1,2)'",
	},
	{
		name: "lossy", table: "id int PRIMARY KEY, v text, o text", key: []Key{{`"id"`, "integer"}},
		up: "lower({P} || r.o)", down: "({S})", new: "text", lossy: true,
		rows: "SELECT i, 'X' || i, 'Y' FROM generate_series(1, 700) AS i", wrong: "'?'",
	},
	{
		name: "citext, whose operators are elsewhere", table: "id citext PRIMARY KEY, v text", key: []Key{{`"id"`, "public.citext"}},
		up: "({P})::int", down: "({S})::text", new: "int",
		rows: "SELECT CASE WHEN i % 2 = 0 THEN 'a' ELSE 'B' END || to_char(i / 2, 'FM0000'), i FROM generate_series(1, 700) AS i", wrong: "0",
	},
	{
		name: "wide rows", table: "id uuid PRIMARY KEY, v bytea", key: []Key{{`"id"`, "uuid"}},
		up: "encode({P}, 'hex')", down: "decode({S}, 'hex')", new: "text",
		rows: "SELECT md5(i::text)::uuid, decode(repeat(md5(i::text), 2000), 'hex') FROM generate_series(1, 60) AS i", wrong: "'00'",
	},
}

func (s shape) expression(text string) string {
	return strings.NewReplacer("{P}", "r.v", "{S}", "r.v__new").Replace(text)
}

func (s shape) source() *Source {
	alias := func(text string) string {
		return strings.NewReplacer("{P}", Row+".v", "{S}", Row+".v__new", "r.", Row+".").Replace(text)
	}
	return &Source{
		Table: `"public"."t"`, Key: s.key, Primary: "v", Secondary: "v__new", Mark: "v__todo",
		Forward:  fmt.Sprintf("(SELECT (%s)::%s)", alias(s.up), s.new),
		Backward: "(SELECT " + alias(s.down) + ")", SearchPath: "pg_catalog, pg_temp",
	}
}

// create makes the table, with its new column filled.
func (s shape) create(t *testing.T) database {
	t.Helper()
	d := newDatabase(t)
	d.exec("CREATE TABLE t ("+s.table+")", "INSERT INTO t "+s.rows,
		"ALTER TABLE t ADD COLUMN v__new "+s.new+", ADD COLUMN v__todo boolean",
		"UPDATE t AS r SET v__new = "+s.expression(s.up))
	return d
}

type database struct {
	t *testing.T
	*pgxpool.Pool
}

// newDatabase returns a pool of connections to the database, without a table.
func newDatabase(t *testing.T) database {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), rig.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	d := database{t, pool}
	d.exec("DROP TABLE IF EXISTS t", "CREATE EXTENSION IF NOT EXISTS citext")
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

func (d database) number(query string) (n int64) {
	d.t.Helper()
	if err := d.QueryRow(d.t.Context(), query).Scan(&n); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// judge returns the number of rows that differ. It shares nothing with the
// package: it compares texts by EXCEPT in both directions, and has only the two
// expressions.
func (s shape) judge(d database) int64 {
	d.t.Helper()
	var keys []string
	for _, k := range s.key {
		keys = append(keys, "r."+k.Column)
	}
	key := strings.Join(keys, ", ")
	different := func(a, b string) string {
		have := fmt.Sprintf("SELECT %s, (%s)::text FROM t AS r", key, a)
		want := fmt.Sprintf("SELECT %s, (%s)::text FROM t AS r", key, b)
		return fmt.Sprintf("((%s EXCEPT ALL %s) UNION ALL (%s EXCEPT ALL %s))", have, want, want, have)
	}
	list := strings.ReplaceAll(key, "r.", "")
	up := fmt.Sprintf("SELECT DISTINCT %s FROM %s AS x", list, different("r.v__new", "("+s.expression(s.up)+")::"+s.new))
	down := fmt.Sprintf("SELECT DISTINCT %s FROM %s AS x", list, different("r.v", s.expression(s.down)))
	return d.number(fmt.Sprintf("SELECT count(*) FROM ((%s) INTERSECT (%s)) AS x", up, down))
}

func forShapes(t *testing.T, f func(t *testing.T, s shape, d database)) {
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) { f(t, s, s.create(t)) })
	}
}

func outcomes(r Report) string {
	var list []string
	for _, result := range r.Results {
		if result.Outcome != Pass {
			list = append(list, fmt.Sprintf("%s %s (%s)", result.Name, result.Outcome, result.Detail))
		}
	}
	return strings.Join(list, "; ")
}

func TestEqualColumns(t *testing.T) {
	forShapes(t, func(t *testing.T, s shape, d database) {
		rows := d.number("SELECT count(*) FROM t")
		report, err := s.source().Check(t.Context(), d, Plan{Lossy: s.lossy, Sample: 20, Counted: rows}, Pace{Rows: 7, Most: 90})
		if err != nil {
			t.Fatal(err)
		}
		if !report.Passed() || outcomes(report) != "" || len(report.Results) != 6 || report.Rows != rows || report.Sampled != 20 {
			t.Errorf("%d of %d rows, %d sampled: %s", report.Rows, rows, report.Sampled, outcomes(report))
		}
		v, err := s.source().Validate(t.Context(), d, Range{}, Pace{Rows: 7, Most: 90}, nil)
		if err != nil || v.Rows != rows || v.Differences != 0 {
			t.Errorf("validation: %+v, %v", v, err)
		}
	})
}

// TestDifferences damages random rows, and compares what is found with the
// judge, before and after the repair.
func TestDifferences(t *testing.T) {
	rng := rand.New(rand.NewPCG(soak.Seed(t), 1))
	forShapes(t, func(t *testing.T, s shape, d database) {
		key := s.key[len(s.key)-1].Column
		for range soak.Length(t, "damages", 1, 20) {
			salt := rng.IntN(1000)
			d.exec(fmt.Sprintf("UPDATE t SET v__new = CASE WHEN hashtext(%s::text || %d) %% 2 = 0 THEN (%s)::%s END WHERE hashtext(%[1]s::text || %[2]d || 'y') %% 40 = 0", key, salt, s.wrong, s.new))
			want := s.judge(d)
			v, err := s.source().Validate(t.Context(), d, Range{}, Pace{Most: 50}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if v.Differences != want || len(v.Listed) != int(want) || v.Rows != d.number("SELECT count(*) FROM t") {
				t.Errorf("found %d and listed %d of %d differences", v.Differences, len(v.Listed), want)
			}
			report, err := s.source().Check(t.Context(), d, Plan{Lossy: s.lossy, Sample: MaxSample, Counted: v.Rows}, Pace{Most: 50})
			if err != nil {
				t.Fatal(err)
			}
			failed := outcomes(report)
			if want > 0 && (report.Passed() || !strings.Contains(failed, ChecksumUp) || !strings.Contains(failed, Sample) || len(report.Listed) != int(want)) {
				t.Errorf("checks for %d differences: %s", want, failed)
			}
			v, err = s.source().Validate(t.Context(), d, Range{}, Pace{Most: 50}, &Repair{Replica: true})
			if err != nil || v.Differences != 0 || v.Repaired != want || s.judge(d) != 0 {
				t.Errorf("after the repair: %+v, %v; the judge found %d", v, err, s.judge(d))
			}
		}
	})
}

func TestNullRatio(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	d.exec("UPDATE t SET v__new = NULL WHERE id <= 10")
	lost := d.number("SELECT count(*) FROM t WHERE v__new IS NULL AND v IS NOT NULL")
	for ratio, want := range map[float64]bool{0: false, 0.01: false, 0.02: true} {
		report, err := s.source().Check(t.Context(), d, Plan{MaxNullRatio: ratio}, Pace{})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(report.Results, func(r Result) bool { return r.Name == Nulls })
		if (report.Results[i].Outcome == Pass) != want || report.LostValues != lost {
			t.Errorf("limit %v: %+v, %d lost", ratio, report.Results[i], report.LostValues)
		}
	}
}

// TestWrongTransformation checks that the round trip finds a transformation
// that is valid SQL and loses digits.
func TestWrongTransformation(t *testing.T) {
	s := shapes[0]
	s.up = "floor(({P})::numeric)"
	d := s.create(t)
	report, err := s.source().Check(t.Context(), d, Plan{}, Pace{})
	if err != nil || report.Passed() || !strings.HasPrefix(outcomes(report), ChecksumDown) {
		t.Errorf("%s, %v", outcomes(report), err)
	}
	if report, err = s.source().Check(t.Context(), d, Plan{Lossy: true}, Pace{}); err != nil || !report.Passed() {
		t.Errorf("of a lossy job: %s, %v", outcomes(report), err)
	}
}

// TestSecondaryWrites checks that a value which was written to the secondary
// column itself is no difference, although forward does not return it.
func TestSecondaryWrites(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	d.exec("UPDATE t SET v__new = 1.50, v = '1.50' WHERE id = 1", "UPDATE t SET v__new = 7.0, v = '7.0' WHERE id = 2")
	s.up = "trim_scale(({P})::numeric)"
	d.exec("UPDATE t AS r SET v__new = " + s.expression(s.up) + " WHERE id > 2")
	report, err := s.source().Check(t.Context(), d, Plan{Lossy: true, Sample: MaxSample}, Pace{})
	if err != nil || !report.Passed() || report.SecondaryOnly != 2 {
		t.Errorf("%d rows: %s, %v", report.SecondaryOnly, outcomes(report), err)
	}
	if v, err := s.source().Validate(t.Context(), d, Range{}, Pace{}, nil); err != nil || v.Differences != 0 || s.judge(d) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestConstraintsAndRows(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	d.exec("DELETE FROM t WHERE id > 690")
	rows := []struct {
		deleted []int64
		err     error
		want    Outcome
	}{{[]int64{10}, nil, Pass}, {[]int64{0, 5, 10}, nil, Pass}, {[]int64{9}, nil, Fail}, {nil, errors.New("no answer"), Inconclusive}, {nil, ErrReset, Inconclusive}, {[]int64{-4}, nil, Inconclusive}}
	for _, test := range rows {
		calls := 0
		report, err := s.source().Check(t.Context(), d, Plan{
			Counted: 700,
			Deleted: func(context.Context) (int64, error) {
				calls++
				if test.err != nil {
					return 0, test.err
				}
				return test.deleted[min(calls, len(test.deleted))-1], nil
			},
			Sleep:       func(context.Context, time.Duration) error { return nil },
			Constraints: []Constraint{{"positive", Row + ".v__new > 0"}, {"small", Row + ".v__new < 170"}},
		}, Pace{})
		if err != nil {
			t.Fatal(err)
		}
		constraints, last := report.Results[4], report.Results[5]
		if constraints.Outcome != Fail || !strings.Contains(constraints.Detail, "small by 10 rows") || strings.Contains(constraints.Detail, "positive") {
			t.Errorf("constraints: %+v", constraints)
		}
		if last.Name != Rows || last.Outcome != test.want {
			t.Errorf("deleted %v: %+v", test.deleted, last)
		}
	}
}

// TestRange checks the bounds of ranges, and that marked rows are left out.
func TestRange(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	d.exec("UPDATE t SET v__new = 0 WHERE id IN (100, 201)", "UPDATE t SET v__new = 0, v__todo = true WHERE id = 150")
	check := func(r Range) Report {
		report, err := s.source().Check(t.Context(), d, Plan{Range: r, Sample: MaxSample}, Pace{Rows: 3, Most: 40})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if r := check(Range{After: []string{"100"}, Through: []string{"200"}}); !r.Passed() || r.Rows != 100 || r.Marked != 1 {
		t.Errorf("%d rows, %d marked: %s", r.Rows, r.Marked, outcomes(r))
	}
	for _, r := range []Range{{After: []string{"99"}, Through: []string{"200"}}, {After: []string{"100"}, Through: []string{"201"}}, {After: []string{"200"}}, {Through: []string{"100"}}} {
		if check(r).Passed() {
			t.Errorf("%v passed", r)
		}
	}
	if r := check(Range{After: []string{"5000"}}); !r.Passed() || r.Rows != 0 {
		t.Errorf("an empty range: %s", outcomes(r))
	}
}

// TestUnevaluable checks that rows for which an expression fails are found and
// listed, and that no value of the table is in the message.
func TestUnevaluable(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	d.exec("UPDATE t SET v = 'secret' WHERE id IN (5, 300, 301, 700)")
	v, err := s.source().Validate(t.Context(), d, Range{}, Pace{Most: 64}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v.Rows != 700 || v.Differences != 4 || fmt.Sprint(v.Listed[2].Key) != "[301]" {
		t.Errorf("%+v", v)
	}
	for _, l := range v.Listed {
		if l.Error != "invalid input syntax for type numeric (SQLSTATE 22P02)" {
			t.Error(l.Error)
		}
	}
	report, err := s.source().Check(t.Context(), d, Plan{}, Pace{})
	if err != nil || report.Passed() || report.Results[0].Outcome != Fail || strings.Contains(outcomes(report), "secret") {
		t.Errorf("%s, %v", outcomes(report), err)
	}
}

// TestTooLarge checks that a row which is too large for PostgreSQL is found and
// listed, as one whose expression fails.
func TestTooLarge(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	source := s.source()
	source.Forward = fmt.Sprintf("(SELECT repeat(%s.v, CASE WHEN %[1]s.id = 300 THEN 1100000000 ELSE 1 END)::numeric)", Row)
	v, err := source.Validate(t.Context(), d, Range{}, Pace{Most: 64}, nil)
	if err != nil || v.Differences != 1 || fmt.Sprint(v.Listed[0].Key) != "[300]" || !strings.Contains(v.Listed[0].Error, "too large") {
		t.Errorf("%+v, %v", v, err)
	}
	report, err := source.Check(t.Context(), d, Plan{}, Pace{})
	if err != nil || report.Passed() || report.Results[0].Outcome != Fail || !strings.Contains(report.Results[0].Detail, "a row is too large for PostgreSQL") {
		t.Errorf("%s, %v", outcomes(report), err)
	}
}

// TestWrittenMeanwhile moves the key of a row that differs behind the running
// validation, and writes other rows that it has visited.
func TestWrittenMeanwhile(t *testing.T) {
	s := shapes[0]
	for _, test := range []struct {
		writes []string
		want   string // keys of the differences
		repair bool
	}{
		{[]string{"UPDATE t SET id = 0 WHERE id = 600"}, "[650] [0]", false},
		{[]string{"UPDATE t SET id = 0 WHERE id = 600"}, "", true},
		{[]string{"UPDATE t SET v = v WHERE id = 650", "UPDATE t SET v__new = 1 WHERE id = 5"}, "[600] [650] [5]", false},
		{[]string{"UPDATE t SET v = 'secret' WHERE id = 5"}, "[600] [650] []", false},
	} {
		d := s.create(t)
		d.exec("UPDATE t SET v__new = 1 WHERE id IN (600, 650)")
		visited := false
		pace := Pace{Rows: 10, Most: 100, Done: func(context.Context, time.Duration, int64) error {
			if !visited {
				visited = true
				d.exec(test.writes...)
			}
			return nil
		}}
		var repair *Repair
		if test.repair {
			repair = &Repair{Replica: true}
		}
		v, err := s.source().Validate(t.Context(), d, Range{}, pace, repair)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, l := range v.Listed {
			keys = append(keys, fmt.Sprint(l.Key))
		}
		if have := strings.Join(keys, " "); have != test.want || int(v.Differences) != len(keys) {
			t.Errorf("%q: %d differences %s, want %s", test.writes, v.Differences, have, test.want)
		}
	}
}

// TestHiddenRows checks that rows which a policy hides are not taken for rows
// that do not exist.
func TestHiddenRows(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	d.exec("DROP ROLE IF EXISTS filtered", "CREATE ROLE filtered LOGIN", "CREATE POLICY few ON t USING (id < 10)",
		"ALTER TABLE t OWNER TO filtered, ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
	t.Cleanup(func() { _ = rig.Exec(context.Background(), "postgres", "DROP TABLE t; DROP ROLE filtered") })
	conn, err := pgx.Connect(t.Context(), rig.URLAs("filtered", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if v, err := s.source().Validate(t.Context(), conn, Range{}, Pace{}, nil); err == nil {
		t.Errorf("%d of 700 rows were compared without an error", v.Rows)
	}
}

// TestListIsBounded checks that many differences are counted, and the first
// ones listed.
func TestListIsBounded(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	d.exec("INSERT INTO t (id, v) SELECT i, 'x' FROM generate_series(1000, 3999) AS i", "UPDATE t SET v = '1', v__new = 2")
	v, err := s.source().Validate(t.Context(), d, Range{}, Pace{}, nil)
	if err != nil || v.Differences != 3700 || len(v.Listed) != MaxListed || v.Listed[999].Key[0] != "1299" {
		t.Errorf("%d differences, %d listed, %v", v.Differences, len(v.Listed), err)
	}
}

// TestRepairByTrigger checks that a repair through the mark lets the trigger
// compute the value, and that a fence that fails changes nothing.
func TestRepairByTrigger(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	d.exec("UPDATE t SET v__new = 1 WHERE id < 50", `CREATE OR REPLACE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN NEW.v__new := NEW.v::numeric; NEW.v__todo := NULL; RETURN NEW; END'`,
		"CREATE TRIGGER fill BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fill()")
	lost := errors.New("another runner has taken over")
	fence := lost
	repair := &Repair{Fence: func(context.Context, pgx.Tx) error { return fence }}
	before := s.judge(d)
	if _, err := s.source().Validate(t.Context(), d, Range{}, Pace{}, repair); !errors.Is(err, lost) || s.judge(d) != before {
		t.Errorf("without the fence: %v", err)
	}
	fence = nil
	v, err := s.source().Validate(t.Context(), d, Range{}, Pace{}, repair)
	if err != nil || v.Differences != 0 || v.Repaired != before || s.judge(d) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestPace checks that chunks wait for admission, that locks of others are
// waited for, and that an end of the admission ends the validation.
func TestPace(t *testing.T) {
	s := shapes[0]
	d := s.create(t)
	stop := errors.New("no more")
	admitted := 0
	pace := Pace{Rows: 10, Most: 10, Admit: func(context.Context) error {
		if admitted++; admitted > 5 {
			return stop
		}
		return nil
	}}
	v, err := s.source().Validate(t.Context(), d, Range{}, pace, nil)
	if !errors.Is(err, stop) || v.Rows != 50 {
		t.Errorf("%d rows, %v", v.Rows, err)
	}

	d.exec("UPDATE t SET v__new = 1 WHERE id = 30")
	blocker, err := d.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec(t.Context(), "UPDATE t SET v = v WHERE id = 30"); err != nil {
		t.Fatal(err)
	}
	admitted = 0
	pace = Pace{Admit: func(ctx context.Context) error {
		if admitted++; admitted == 3 {
			return blocker.Rollback(ctx)
		}
		return nil
	}}
	v, err = s.source().Validate(t.Context(), d, Range{}, pace, &Repair{Replica: true, LockTimeout: "20ms"})
	if err != nil || v.Differences != 0 || v.Repaired != 1 {
		t.Errorf("with a locked row: %+v, %v", v, err)
	}
}

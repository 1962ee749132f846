package dualwrite_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/internal/peers/postgresrig"
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

// A database is a new database with one connection.
type database struct {
	*pgx.Conn
	t    *testing.T
	name string
}

func newDatabase(t *testing.T, statements ...string) database {
	t.Helper()
	name, err := rig.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := connect(t, rig.URL(name))
	d.name = name
	d.exec(append([]string{"CREATE SCHEMA muniment_conductor"}, statements...)...)
	return d
}

func connect(t *testing.T, url string) database {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return database{Conn: conn, t: t}
}

// exec executes statements, each with the simple protocol.
func (d database) exec(statements ...string) {
	d.t.Helper()
	for _, s := range statements {
		if _, err := d.PgConn().Exec(d.t.Context(), s).ReadAll(); err != nil {
			d.t.Fatalf("%s: %v", s, err)
		}
	}
}

// fails executes a statement and returns its error, which the test requires.
func (d database) fails(statement string) string {
	d.t.Helper()
	_, err := d.PgConn().Exec(d.t.Context(), statement).ReadAll()
	if err == nil {
		d.t.Fatalf("%s succeeded", statement)
	}
	return err.Error()
}

// text returns the fields of a query's rows, separated by "|", and its rows by
// line breaks. NULL is "-".
func (d database) text(query string) string {
	d.t.Helper()
	results, err := d.PgConn().Exec(d.t.Context(), query).ReadAll()
	if err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	var lines []string
	for _, row := range results[len(results)-1].Rows {
		var fields []string
		for _, f := range row {
			if f == nil {
				f = []byte("-")
			}
			fields = append(fields, string(f))
		}
		lines = append(lines, strings.Join(fields, "|"))
	}
	return strings.Join(lines, "\n")
}

func (d database) want(query, want string) {
	d.t.Helper()
	if got := d.text(query); got != want {
		d.t.Errorf("%s:\ngot  %q\nwant %q", query, got, want)
	}
}

// swap returns the statements that give the public name to the new column of a
// table on which nothing else depends.
func swap(p dualwrite.Pair) []string {
	return []string{rename(p, p.Column, p.Retired), rename(p, p.Shadow, p.Column), p.After().CreateFunction()}
}

// swapBack returns the statements that undo swap.
func swapBack(p dualwrite.Pair) []string {
	return []string{rename(p, p.Column, p.Shadow), rename(p, p.Retired, p.Column), p.Before().CreateFunction()}
}

func rename(p dualwrite.Pair, from, to string) string {
	return fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", p.Relation(), pgx.Identifier{from}.Sanitize(), pgx.Identifier{to}.Sanitize())
}

// transaction executes statements in one transaction.
func (d database) transaction(statements []string) {
	d.t.Helper()
	d.exec("BEGIN")
	d.exec(statements...)
	d.exec("COMMIT")
}

// pair returns a pair for the column v of the table public.t.
func pair() dualwrite.Pair {
	return dualwrite.Pair{Schema: "public", Table: "t", Column: "v", Shadow: "v__new", Retired: "v__old", Mark: "v__todo", Job: "job"}
}

// normalized returns the pair with normalized expressions.
func (d database) normalized(p dualwrite.Pair, typ, up, down string) dualwrite.Pair {
	d.t.Helper()
	var err error
	if p.Expressions, err = dualwrite.Normalize(d.t.Context(), d, p, typ, up, down); err != nil {
		d.t.Fatal(err)
	}
	if err := p.Check(); err != nil {
		d.t.Fatal(err)
	}
	return p
}

// copyAll does what the copy does.
func (d database) copyAll(p dualwrite.Pair) {
	d.t.Helper()
	side, mark := p.Before(), pgx.Identifier{p.Mark}.Sanitize()
	d.exec(fmt.Sprintf("UPDATE %s SET %s = %s, %s = NULL WHERE %[4]s", p.Relation(), side.Secondary, side.ForwardInline(), mark))
}

// agree fails the test if the columns of a row do not agree.
func (d database) agree(p dualwrite.Pair, side dualwrite.Side) {
	d.t.Helper()
	d.want(fmt.Sprintf("SELECT count(*) FROM %s AS r WHERE NOT %s", p.Relation(), side.Agrees("r")), "0")
}

// TestUpdate checks each row of the table in section 3, before and after
// cutover.
func TestUpdate(t *testing.T) {
	const rows = "SELECT id, v, %s, v__todo, other FROM t ORDER BY id"
	tests := []struct {
		name, statement, before, after string
	}{
		{"insert", "INSERT INTO t (id, v) VALUES (9, ' 90')", "9| 90|90|-|-", "9|90| 90|-|-"},
		{"insert both", "INSERT INTO t (id, v, {S}, v__todo) VALUES (9, '90', '7', true)", "9|90|90|-|-", "9|90| 90|-|-"},
		{"insert the secondary", "INSERT INTO t (id, {S}) VALUES (9, '7')", "9| 7|7|-|-", "9|7|7|-|-"},
		{"primary", "UPDATE t SET v = '5' WHERE id = 2", "2|5|5|-|-", "2|5| 5|-|-"},
		{"primary to NULL", "UPDATE t SET v = NULL WHERE id = 2", "2|-|-|-|-", "2|-|-|-|-"},
		{"both", "UPDATE t SET v = '5', {S} = '7' WHERE id = 2", "2|5|5|-|-", "2|5| 5|-|-"},
		{"secondary", "UPDATE t SET {S} = '7' WHERE id = 2", "2| 7|7|-|-", "2|7|7|-|-"},
		{"secondary and another column", "UPDATE t SET {S} = '7', other = 'x' WHERE id = 2", "2| 7|7|-|x", "2|7|7|-|x"},
		{"secondary to NULL", "UPDATE t SET {S} = NULL WHERE id = 2", "2|-|-|f|-", "2|-|-|f|-"},
		{"another column", "UPDATE t SET other = 'x' WHERE id = 2", "2|20|20|-|x", "2|20|20|-|x"},
		{"nothing", "UPDATE t SET v = v WHERE id = 2", "2|20|20|-|-", "2|20|20|-|-"},
		{"mark false", "UPDATE t SET v__todo = false WHERE id = 2", "2|20|20|-|-", "2|20|20|-|-"},
		{"mark", "UPDATE t SET v__todo = true WHERE id = 2", "2|20|20|-|-", "2|20| 20|-|-"},
		{"all columns as they were before the copy", "UPDATE t SET v = v, {S} = NULL, v__todo = true, other = 'x' WHERE id = 2", "2|20|20|-|x", "2|20| 20|-|x"},
		{"marked, primary", "UPDATE t SET v = '5' WHERE id = 1", "1|5|5|-|-", ""},
		{"marked, primary and mark", "UPDATE t SET v = '5', v__todo = NULL WHERE id = 1", "1|5|5|-|-", ""},
		{"marked, copy", "UPDATE t SET {S} = 10, v__todo = NULL WHERE id = 1", "1|10|10|-|-", ""},
		{"marked, all columns of a new object", "UPDATE t SET v = '10', {S} = NULL, v__todo = NULL, other = 'x' WHERE id = 1", "1|10|10|-|x", ""},
		{"marked, secondary", "UPDATE t SET {S} = 7 WHERE id = 1", "1| 7|7|-|-", ""},
		{"marked, another column", "UPDATE t SET other = 'x' WHERE id = 1", "1|10|10|-|x", ""},
		{"marked, nothing", "UPDATE t SET other = other WHERE id = 1", "1|10|10|-|-", ""},
	}
	d := newDatabase(t, "CREATE TABLE t (id int PRIMARY KEY, v text, other text)", "INSERT INTO t VALUES (1, '10'), (2, '20')")
	p := d.normalized(pair(), "bigint", "v::bigint", "' ' || v")
	d.transaction(p.Expand())
	d.want(fmt.Sprintf(rows, "v__new"), "1|10|-|t|-\n2|20|-|t|-")
	d.exec("UPDATE t SET v__new = v::bigint, v__todo = NULL WHERE id = 2")
	check := func(phase, secondary string, side dualwrite.Side, statement, want string) {
		t.Run(phase, func(t *testing.T) {
			d := database{Conn: d.Conn, t: t}
			d.exec("BEGIN")
			defer d.exec("ROLLBACK")
			d.exec(strings.ReplaceAll(statement, "{S}", secondary))
			id, _, _ := strings.Cut(want, "|")
			d.want("SELECT * FROM ("+fmt.Sprintf(rows, secondary)+") x WHERE id = "+id, want)
			d.want(fmt.Sprintf("SELECT count(*) FROM t AS r WHERE id = %s AND NOT %s", id, side.Agrees("r")), "0")
		})
	}
	for _, test := range tests {
		check(test.name+" before cutover", "v__new", p.Before(), test.statement, test.before)
	}
	d.copyAll(p)
	d.transaction(swap(p))
	d.exec("UPDATE t SET v__old = v__old WHERE id = 2")
	d.want(fmt.Sprintf(rows, "v__old"), "1|10|10|-|-\n2|20|20|-|-")
	for _, test := range tests {
		if test.after != "" {
			check(test.name+" after cutover", "v__old", p.After(), test.statement, test.after)
		}
	}
}

// TestReadColumn checks that a change of a column that an expression reads
// computes the secondary column again.
func TestReadColumn(t *testing.T) {
	d := newDatabase(t, `CREATE TABLE t (id int PRIMARY KEY, v int, "new" int, factor int)`, "INSERT INTO t VALUES (1, 2, 3, 10)")
	p := d.normalized(pair(), "bigint", `v * factor + "new"`, "v::int / factor")
	if got := fmt.Sprint(p.Expressions.Inputs); got != "[factor new]" {
		t.Errorf("the inputs are %s", got)
	}
	d.transaction(p.Expand())
	d.copyAll(p)
	d.want("SELECT v__new FROM t", "23")
	d.exec("UPDATE t SET factor = 100")
	d.want("SELECT v, v__new FROM t", "2|203")
	d.exec("UPDATE t SET v__new = 500, factor = 5")
	d.want("SELECT v, v__new FROM t", "100|500")
	d.agree(p, p.Before())
	d.exec(`UPDATE t SET "new" = 4`)
	d.want("SELECT v, v__new FROM t", "100|504")
	d.transaction(swap(p))
	d.exec("UPDATE t SET v = 1000")
	d.want("SELECT v__old, v FROM t", "200|1000")
	// Columns that no expression reads may change while the job runs.
	d.exec("ALTER TABLE t ADD COLUMN more int", "UPDATE t SET more = 1, v = 10")
	d.exec("ALTER TABLE t DROP COLUMN more", "UPDATE t SET v = 15")
	d.want("SELECT v__old, v FROM t", "3|15")
}

// TestDump checks that nothing of the dual write remains after a rollback, and
// only the new column after its end.
func TestDump(t *testing.T) {
	d := newDatabase(t, `CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL, CHECK (length(v) < 9))`, "INSERT INTO t SELECT i, i FROM generate_series(1, 50) i")
	dump := func() string {
		out, err := rig.Run(t.Context(), "pg_dump", "--restrict-key=x", "-d", d.name)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := dump()
	p := d.normalized(pair(), "int", "v::int", "v::text")
	d.transaction(p.Expand())
	d.transaction(p.Collapse())
	if after := dump(); after != before {
		t.Errorf("the dump after a rollback differs:\n%s", after)
	}
	d.transaction(p.Expand())
	d.copyAll(p)
	d.exec(p.Prove(), p.Validate())
	expanded := dump()
	d.transaction(swap(p))
	d.transaction(swapBack(p))
	if after := dump(); after != expanded {
		t.Errorf("the dump after a swap and its reversal differs:\n%s\nwant:\n%s", after, expanded)
	}
	d.transaction(p.Collapse())
	if after := dump(); after != before {
		t.Errorf("the dump after a full rollback differs:\n%s", after)
	}
	d.transaction(p.Expand())
	d.copyAll(p)
	d.transaction(swap(p))
	d.transaction(p.Finish())
	d.want(`SELECT string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped`, "id integer, v integer")
	d.want("SELECT count(*) FROM pg_trigger UNION ALL SELECT count(*) FROM pg_proc WHERE pronamespace = 'muniment_conductor'::regnamespace", "0\n0")
}

// TestCollapseFailsWithDependants checks that nothing of others is dropped.
func TestCollapseFailsWithDependants(t *testing.T) {
	d := newDatabase(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	p := d.normalized(pair(), "int", "v::int", "v::text")
	d.transaction(p.Expand())
	d.exec("CREATE VIEW mine AS SELECT v__new FROM t", "BEGIN")
	statements := p.Collapse()
	d.exec(statements[:2]...)
	if err := d.fails(statements[2]); !strings.Contains(err, "2BP01") {
		t.Error(err)
	}
	d.exec("ROLLBACK", "SELECT v__new FROM mine")
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("é", 32)
	for name, change := range map[string]func(*dualwrite.Pair){
		`name of the shadow column too long: "` + long + `" has 64 bytes, the maximum is 63`:             func(p *dualwrite.Pair) { p.Shadow = long },
		`name of the trigger too long: "zzz_muniment_` + long[:62] + `" has 75 bytes, the maximum is 63`: func(p *dualwrite.Pair) { p.Column = long[:62] },
		`the column and the shadow column are both named "v": choose another name in the job`:            func(p *dualwrite.Pair) { p.Shadow = "v" },
		`the retired column and the mark column are both named "v__old": choose another name in the job`: func(p *dualwrite.Pair) { p.Mark = "v__old" },
		`the trigger function has no name`:                      func(p *dualwrite.Pair) { p.Job = "" },
		`name of the mark column contains a zero byte: "a\x00"`: func(p *dualwrite.Pair) { p.Mark = "a\x00" },
	} {
		p := pair()
		change(&p)
		if err := p.Check(); err == nil || err.Error() != name {
			t.Errorf("got  %v\nwant %s", err, name)
		}
	}
}

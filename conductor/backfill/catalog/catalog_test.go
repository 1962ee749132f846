package catalog_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/internal/peers/postgresrig"
)

// rig is the server of all tests of this package.
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

// read reads a column in a database of its own, after some statements.
func read(t *testing.T, statements string, ref catalog.Ref) (*catalog.Table, error) {
	t.Helper()
	ctx := t.Context()
	database, err := rig.NewDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.Exec(ctx, database, statements); err != nil {
		t.Fatal(err)
	}
	return readAs(t, "postgres", database, ref)
}

func readAs(t *testing.T, role, database string, ref catalog.Ref) (*catalog.Table, error) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, rig.URLAs(role, database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if ref.Shadow == "" {
		ref.Shadow, ref.Retired, ref.Mark = ref.Column+"__new", ref.Column+"__old", ref.Column+"__todo"
	}
	return catalog.Read(ctx, tx, ref)
}

// codes returns the levels and codes of findings, without the informative ones.
func codes(list []catalog.Finding) (list2 []string) {
	for _, f := range list {
		if f.Level != catalog.Info {
			list2 = append(list2, string(f.Level)+" "+f.Code)
		}
	}
	return list2
}

// TestZoo checks that everything that depends on a column with a hostile name
// is found and handled.
func TestZoo(t *testing.T) {
	zoo, err := os.ReadFile("testdata/zoo.sql")
	if err != nil {
		t.Fatal(err)
	}
	roles, err := os.ReadFile("testdata/roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	table, err := read(t, string(roles)+string(zoo), catalog.Ref{Schema: `sch.e"ma`, Table: `ta.b"le`, Column: `va.l"ue`})
	if err != nil {
		t.Fatal(err)
	}
	found := table.Findings()
	for _, f := range found {
		t.Log(f)
	}
	if blocked := catalog.Blocked(found); len(blocked) > 0 {
		t.Errorf("blocked: %v", blocked)
	}
	want := []string{
		"row-security", "not-null", "default", "comment", "column-privileges", "column-statistics", "sequence",
		"index", "index", "index", "index", "index", "check", "check", "foreign-key", "trigger", "trigger", "trigger", "triggers",
		"view", "view", "view", "view", "rule", "function", "policy", "policy", "statistics", "publication",
	}
	for i := range want {
		want[i] = "handled " + want[i]
	}
	got := codes(found)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if key := table.Key; key.Index != "p.k" || len(key.Columns) != 2 || key.Columns[0].Name != "or der" {
		t.Errorf("the key is %v", table.Key)
	}
	if len(table.Mentions) != 1 || !strings.Contains(table.Mentions[0], "by te.xt") {
		t.Errorf("mentions: %v", table.Mentions)
	}
}

// TestBlocks checks each reason for a refusal, and that nothing else blocks.
func TestBlocks(t *testing.T) {
	const base = "CREATE TABLE t (id int PRIMARY KEY, v int, w int);"
	database, err := rig.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct{ statements, want string }{
		{base, ""},
		{"CREATE TABLE t (id int, v int)", "no-key"},
		{"CREATE TABLE t (id int UNIQUE, v int)", "no-key"},
		{"CREATE TABLE t (id int NOT NULL, v int); CREATE UNIQUE INDEX ON t (id) WHERE id > 1; CREATE UNIQUE INDEX ON t ((id + 1))", "no-key"},
		{"CREATE TABLE t (id int NOT NULL UNIQUE, v int)", ""},
		{"CREATE TABLE t (id int, v int, PRIMARY KEY (id, v))", "key-column,primary-key"},
		{"CREATE TABLE t (v int NOT NULL UNIQUE)", "key-column"},
		{"CREATE TABLE t (id int PRIMARY KEY, v int GENERATED ALWAYS AS IDENTITY)", "identity"},
		{"CREATE TABLE t (id int PRIMARY KEY, v int GENERATED ALWAYS AS (id + 1) STORED)", "generated"},
		{"CREATE TABLE t (id int PRIMARY KEY, v int, w int GENERATED ALWAYS AS (v + 1) STORED)", "dependant"},
		{"CREATE VIEW t AS SELECT 1 AS v", "kind,no-key"},
		{"CREATE MATERIALIZED VIEW t AS SELECT 1 AS v; CREATE UNIQUE INDEX ON t (v)", "kind,no-key"},
		{"CREATE EXTENSION file_fdw; CREATE SERVER s FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE t (v int) SERVER s OPTIONS (filename '/dev/null')", "kind,no-key"},
		{"CREATE TYPE y AS (id int, v int); CREATE TABLE t OF y (PRIMARY KEY (id))", "typed-table"},
		{base + "CREATE TABLE child () INHERITS (t)", "inheritance"},
		{"CREATE TABLE parent (v int); CREATE TABLE t (id int PRIMARY KEY) INHERITS (parent)", "inherited-column"},
		{"CREATE TABLE p (id int, v int, PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE TABLE t PARTITION OF p DEFAULT", "inherited-column,partition"},
		{"CREATE TABLE t (id int, v int, PRIMARY KEY (id, v)) PARTITION BY RANGE (v); CREATE TABLE p PARTITION OF t DEFAULT", "key-column,partition-key,primary-key"},
		{"CREATE TABLE t (id int NOT NULL, v int) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT PARTITION BY LIST (v)", "no-key,partition-key"},
		{"CREATE TABLE t (id int NOT NULL, v int) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT PARTITION BY LIST ((v + 1))", "no-key,partition-key"},
		{"CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT", ""},
		{base + "CREATE TABLE other (t t[])", "row-type"},
		{base + "ALTER TABLE t ADD EXCLUDE USING gist (int4range(v, w) WITH &&)", "exclusion"},
		{base + "ALTER TABLE t ADD UNIQUE (v); CREATE TABLE r (v int REFERENCES t (v))", "referenced"},
		{base + "CREATE MATERIALIZED VIEW m AS SELECT v FROM t", "materialized-view"},
		{base + "CREATE VIEW m AS SELECT v FROM t; CREATE FUNCTION f(m) RETURNS int LANGUAGE sql AS 'SELECT 1'", "dependant"},
		{base + "CREATE VIEW m AS SELECT v FROM t; CREATE TABLE holder (m m)", "dependant"},
		{base + "CREATE RULE r AS ON UPDATE TO t DO ALSO SELECT 1", "update-rule"},
		{base + trigger("zzz_muniment_w", "BEFORE UPDATE"), "late-trigger"},
		{base + trigger("zzz_muniment_u", "BEFORE UPDATE"), ""},
		{base + trigger("zzzz", "AFTER UPDATE"), ""},
		{base + trigger("a", "AFTER UPDATE") + "; ALTER TABLE t ENABLE ALWAYS TRIGGER a", "replica-trigger"},
		{base + trigger("a", "AFTER INSERT") + "; ALTER TABLE t ENABLE REPLICA TRIGGER a", ""},
		{base + "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false); INSERT INTO pg_subscription_rel VALUES ((SELECT oid FROM pg_subscription), 't'::regclass, 'r', NULL)", "subscription"},
		{base + columns("t", 1597) + "; ALTER TABLE t DROP c1597, DROP c1596", "columns"},
		{"CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE p (id int NOT NULL, v int);" + columns("p", 1597) +
			"; DO $$BEGIN EXECUTE (SELECT 'ALTER TABLE p ' || string_agg('DROP c' || i, ',') FROM generate_series(3, 1597) AS i); END$$; ALTER TABLE t ATTACH PARTITION p DEFAULT", "columns"},
		{base + columns("t", 1596) + "; ALTER TABLE t ADD v__new int, ADD v__todo boolean", ""},
		{"CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v int); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", ""},
	} {
		schema := fmt.Sprintf("case_%d", i)
		if err := rig.Exec(t.Context(), database, "CREATE SCHEMA "+schema+"; SET search_path = "+schema+";"+test.statements); err != nil {
			t.Fatal(err)
		}
		table, err := readAs(t, "postgres", database, catalog.Ref{Schema: schema, Table: "t", Column: "v"})
		if err != nil {
			t.Errorf("%s: %v", test.statements, err)
			continue
		}
		var got []string
		for _, f := range catalog.Blocked(table.Findings()) {
			got = append(got, f.Code)
			if f.Remedy == "" || f.Text == "" || f.Object == "" {
				t.Errorf("an incomplete finding: %#v", f)
			}
		}
		if text := strings.Join(slices.Compact(slices.Sorted(slices.Values(got))), ","); text != test.want {
			t.Errorf("%s\ngot %q, want %q", test.statements, text, test.want)
		}
	}
}

// columns returns a statement that adds columns to a table until it has a
// number of them. Their names are c and their number.
func columns(table string, until int) string {
	return fmt.Sprintf(`DO $$BEGIN EXECUTE (SELECT 'ALTER TABLE %[1]s ' || string_agg('ADD c' || i || ' boolean', ',')
		FROM generate_series((SELECT relnatts + 1 FROM pg_class WHERE oid = '%[1]s'::regclass), %[2]d) AS i); END$$`, table, until)
}

func trigger(name, when string) string {
	return "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER " + name + " " + when + " ON t FOR EACH ROW EXECUTE FUNCTION f()"
}

// TestRole checks what a role without privileges cannot backfill.
func TestRole(t *testing.T) {
	ctx := t.Context()
	database, err := rig.NewDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.Exec(ctx, database, `CREATE ROLE "own.er" LOGIN; CREATE ROLE stranger LOGIN; GRANT CREATE ON DATABASE `+database+` TO "own.er";
		CREATE TABLE t (id int PRIMARY KEY, v int); ALTER TABLE t OWNER TO "own.er"; ALTER TABLE t ENABLE ROW LEVEL SECURITY; `+trigger("a", "AFTER UPDATE")); err != nil {
		t.Fatal(err)
	}
	ref := catalog.Ref{Schema: "public", Table: "t", Column: "v"}
	check := func(role, want string) {
		t.Helper()
		table, err := readAs(t, role, database, ref)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range catalog.Blocked(table.Findings()) {
			got = append(got, f.Code)
		}
		if text := strings.Join(got, ","); text != want {
			t.Errorf("%s: got %q, want %q", role, text, want)
		}
	}
	check("stranger", "owner,schema-privilege,row-security,triggers")
	check("own.er", "triggers")
	if err := rig.Exec(ctx, database, `GRANT SET ON PARAMETER session_replication_role TO "own.er"; ALTER TABLE t FORCE ROW LEVEL SECURITY`); err != nil {
		t.Fatal(err)
	}
	check("own.er", "row-security")
}

// TestNames checks names that are taken or too long, and columns that do not
// exist.
func TestNames(t *testing.T) {
	long := strings.Repeat("ü", 31) // 62 bytes
	table, err := read(t, `CREATE TABLE t (id int PRIMARY KEY, "`+long+`" int, "`+long+`x" int);`+strings.Replace(trigger("zzz_muniment_id", "BEFORE UPDATE"), "f()", "f()", 1), catalog.Ref{Schema: "public", Table: "t", Column: long, Shadow: long + "x", Retired: long + "xy", Mark: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(codes(table.NameFindings()), ","); got != "blocks long-name,blocks long-name,blocks column-exists" {
		t.Error(got)
	}
	for _, test := range []struct{ table, column, want string }{
		{"t", "idd", `column "idd" of "public"."t" does not exist: did you mean id?`},
		{"u", "id", `table "public"."u" does not exist: check the names`},
	} {
		if _, err := read(t, `CREATE TABLE t (id int PRIMARY KEY)`, catalog.Ref{Schema: "public", Table: test.table, Column: test.column}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

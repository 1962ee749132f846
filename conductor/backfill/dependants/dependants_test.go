package dependants_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dependants"
	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
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

// A job is a backfill in a database of its own, whose dual write is a plain
// trigger.
type job struct {
	t        *testing.T
	database string
	conn     *pgx.Conn
	ref      catalog.Ref
	target   dependants.Target
}

func newJob(t *testing.T, statements string, ref catalog.Ref, target dependants.Target) *job {
	t.Helper()
	database, err := rig.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.Exec(t.Context(), database, statements); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), rig.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	ref.Shadow, ref.Retired, ref.Mark = ref.Column+"__new", ref.Column+"__old", ref.Column+"__todo"
	return &job{t, database, conn, ref, target}
}

func (j *job) exec(format string, args ...any) {
	j.t.Helper()
	sql := fmt.Sprintf(format, args...)
	if _, err := j.conn.Exec(j.t.Context(), sql); err != nil {
		j.t.Fatalf("%s\n%v", sql, err)
	}
}

// dump returns the schema.
func (j *job) dump() string {
	j.t.Helper()
	out, err := rig.Schema(j.t.Context(), j.database)
	if err != nil {
		j.t.Fatal(err)
	}
	return out
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// expand adds the columns and the trigger, and copies all rows.
func (j *job) expand() {
	j.t.Helper()
	table, shadow := j.ref.Relation(), quote(j.ref.Shadow)
	j.exec("ALTER TABLE %s ADD COLUMN %s %s DEFAULT NULL, ADD COLUMN %s boolean", table, shadow, j.target.Type, quote(j.ref.Mark))
	j.exec("CREATE SCHEMA muniment_conductor; CREATE FUNCTION muniment_conductor.job() RETURNS trigger LANGUAGE plpgsql AS $x$BEGIN NEW.%s := (SELECT (%s) FROM (SELECT NEW.*) x); RETURN NEW; END$x$",
		shadow, j.target.Up)
	j.exec("CREATE TRIGGER %s BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION muniment_conductor.job()", quote(j.ref.Trigger()), table)
	j.exec("SET session_replication_role = replica; UPDATE %s SET %s = %s; RESET session_replication_role", table, shadow, j.target.Up)
}

// contract drops what expand has created.
func (j *job) contract() {
	j.t.Helper()
	j.exec("DROP SCHEMA muniment_conductor CASCADE")
	j.exec("ALTER TABLE %s DROP COLUMN %s, DROP COLUMN %s", j.ref.Relation(), quote(j.ref.Shadow), quote(j.ref.Mark))
}

// within calls a function with the table, in a transaction that it commits.
func (j *job) within(f func(context.Context, pgx.Tx, *catalog.Table) error) {
	j.t.Helper()
	ctx := j.t.Context()
	tx, err := j.conn.Begin(ctx)
	if err != nil {
		j.t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	table, err := catalog.Read(ctx, tx, j.ref)
	if err != nil {
		j.t.Fatal(err)
	}
	if err := f(ctx, tx, table); err != nil {
		j.t.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		j.t.Fatal(err)
	}
}

// plan returns the steps before a cutover.
func (j *job) plan() (plan *dependants.Plan) {
	j.t.Helper()
	j.within(func(ctx context.Context, tx pgx.Tx, table *catalog.Table) (err error) {
		plan, err = dependants.Prepare(ctx, tx, table, j.target)
		return err
	})
	return plan
}

func (j *job) prepare() {
	j.t.Helper()
	plan := j.plan()
	if len(plan.Findings) > 0 {
		j.t.Fatal(plan.Findings)
	}
	if err := dependants.Run(j.t.Context(), j.conn, plan.Steps, dependants.Patience{LockTimeout: time.Second, Attempts: 3}); err != nil {
		j.t.Fatal(err)
	}
}

func (j *job) swap(d dependants.Direction) {
	j.t.Helper()
	j.within(func(ctx context.Context, tx pgx.Tx, table *catalog.Table) error {
		statements, err := dependants.Swap(ctx, tx, table, j.target, d)
		if err != nil {
			return err
		}
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

// equal compares two dumps.
func (j *job) equal(what, got, want string) {
	j.t.Helper()
	if got != want {
		j.t.Errorf("%s:\n%s", what, difference(got, want))
	}
}

// difference lists the lines that only one of two texts has.
func difference(got, want string) string {
	var out strings.Builder
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, line := range a {
		if !slices.Contains(b, line) {
			fmt.Fprintf(&out, "+ %s\n", line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			fmt.Fprintf(&out, "- %s\n", line)
		}
	}
	return out.String()
}

func zoo(t *testing.T) string {
	text, err := os.ReadFile("../catalog/testdata/zoo.sql")
	if err != nil {
		t.Fatal(err)
	}
	roles, err := os.ReadFile("../catalog/testdata/roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(roles) + string(text)
}

// TestRoundTrip swaps the names of a column with every dependant, back and
// again, and compares the schema each time. At the end nothing differs from the
// start.
func TestRoundTrip(t *testing.T) {
	soak.WithoutRace(t)
	value := catalog.Ref{Schema: `sch.e"ma`, Table: `ta.b"le`, Column: `va.l"ue`}
	j := newJob(t, zoo(t), value, dependants.Target{Type: "bigint", Up: `("va.l""ue")::bigint`})
	start := j.dump()
	j.expand()
	j.prepare()
	prepared := j.dump()
	j.prepare()
	j.equal("preparing again changed the schema", j.dump(), prepared)
	j.swap(dependants.Cutover)
	swapped := j.dump()
	for range 2 {
		j.swap(dependants.Rollback)
		j.equal("after the rollback", j.dump(), prepared)
		j.swap(dependants.Cutover)
		j.equal("after another cutover", j.dump(), swapped)
	}
	j.swap(dependants.Rollback)
	j.contract()
	j.equal("after the rollback with all objects", j.dump(), start)
}

// TestFinished checks that a finished backfill leaves the schema that the table
// would have if its column had been created with the new type.
func TestFinished(t *testing.T) {
	value := catalog.Ref{Schema: `sch.e"ma`, Table: `ta.b"le`, Column: `va.l"ue`}
	j := newJob(t, zoo(t), value, dependants.Target{Type: "bigint", Up: `("va.l""ue")::bigint`})
	want := j.dump()
	notNull := `NOT NULL`
	if version := j.conn.PgConn().ParameterStatus("server_version"); strings.HasPrefix(version, "18") {
		// There, the constraint has a name, which is that of the shadow column.
		notNull = `CONSTRAINT "ta.b""le_va.l""ue__new_not_null" NOT NULL`
	}
	for old, replacement := range map[string]string{
		`"va.l""ue" integer NOT NULL`: `"va.l""ue" bigint ` + notNull,
		`"va.l""ue" % 10`:             `"va.l""ue" % (10)::bigint`,
	} {
		want = strings.ReplaceAll(want, old, replacement)
	}
	j.expand()
	j.prepare()
	j.swap(dependants.Cutover)
	j.exec("DROP SCHEMA muniment_conductor CASCADE; ALTER TABLE %s DROP COLUMN %s, DROP COLUMN %s", j.ref.Relation(), quote(j.ref.Retired), quote(j.ref.Mark))
	j.equal("the lines of the schema", sorted(j.dump()), sorted(want))
}

// sorted sorts the lines of a dump: the new column is the last one.
func sorted(dump string) string {
	lines := strings.Split(dump, "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], ",")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestPartitions does the same for a partitioned table, whose indexes are built
// on each partition.
func TestPartitions(t *testing.T) {
	j := newJob(t, `CREATE TABLE t (id int, v text NOT NULL, w int, PRIMARY KEY (id), CONSTRAINT two UNIQUE (v, id), CONSTRAINT short CHECK (length(v) < 100)) PARTITION BY RANGE (id);
		CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (100);
		CREATE TABLE high PARTITION OF t FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
		CREATE TABLE "high.1" PARTITION OF high FOR VALUES FROM (100) TO (150);
		CREATE TABLE "high.2" PARTITION OF high DEFAULT;
		CREATE INDEX by_v ON t (v) WHERE w > 0;
		CREATE INDEX extra ON low (upper(v));
		ALTER TABLE low ADD CONSTRAINT own CHECK (v <> 'own');
		CREATE VIEW of_low AS SELECT v FROM low;
		CREATE VIEW of_t AS SELECT o.v, t.w FROM t JOIN of_low o USING (v);
		INSERT INTO t SELECT n, n::text, n FROM generate_series(0, 199) n`,
		catalog.Ref{Schema: "public", Table: "t", Column: "v"}, dependants.Target{Type: "character varying(50)", Up: "(v || '.')"})
	start := j.dump()
	j.expand()
	j.prepare()
	prepared := j.dump()
	j.prepare()
	j.equal("preparing again changed the schema", j.dump(), prepared)
	j.swap(dependants.Cutover)
	var got string
	if err := j.conn.QueryRow(t.Context(), "SELECT max(v) FROM of_t").Scan(&got); err != nil || got != "99." {
		t.Errorf("the view returns %q after cutover: %v", got, err)
	}
	var invalid int
	if err := j.conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_index WHERE NOT indisvalid").Scan(&invalid); err != nil || invalid > 0 {
		t.Errorf("%d indexes are invalid: %v", invalid, err)
	}
	j.swap(dependants.Rollback)
	j.equal("after the rollback", j.dump(), prepared)
	j.contract()
	j.equal("after the rollback with all objects", j.dump(), start)
}

// TestRefused checks that what does not work with the new type is found before
// anything is changed.
func TestRefused(t *testing.T) {
	j := newJob(t, `CREATE TABLE r (v int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, v int DEFAULT 7 CHECK (v % 2 = 1) REFERENCES r, w int);
		CREATE INDEX ON t ((v + w)); CREATE STATISTICS s ON (v + w), w FROM t`,
		catalog.Ref{Schema: "public", Table: "t", Column: "v"}, dependants.Target{Type: "jsonb", Up: "to_jsonb(v + w)"})
	var got []string
	for _, f := range j.plan().Findings {
		got = append(got, f.Code)
		if f.Level != catalog.Blocks || f.Remedy == "" {
			t.Errorf("an incomplete finding: %v", f)
		}
	}
	slices.Sort(got)
	if text := strings.Join(got, ","); text != "check,default,foreign-key,index,statistics" {
		t.Errorf("refused: %s", text)
	}
}

// TestDomainWithoutNull checks that a column is refused if its domain, or one
// that this is based on, does not accept NULL.
func TestDomainWithoutNull(t *testing.T) {
	for domain, want := range map[string]string{
		"CREATE DOMAIN d AS text NOT NULL":                                         "domain",
		"CREATE DOMAIN d AS text CHECK (VALUE IS NOT NULL)":                        "domain",
		"CREATE DOMAIN base AS text NOT NULL; CREATE DOMAIN d AS base":             "domain",
		"CREATE DOMAIN d AS text CHECK (VALUE <> '')":                              "",
		"CREATE DOMAIN d AS text DEFAULT 'x' CHECK (VALUE IS NULL OR VALUE > 'a')": "",
	} {
		j := newJob(t, domain+"; CREATE TABLE t (id int PRIMARY KEY, v d)", catalog.Ref{Schema: "public", Table: "t", Column: "v"}, dependants.Target{Type: "text", Up: "v"})
		var got []string
		for _, f := range catalog.Blocked(j.plan().Findings) {
			got = append(got, f.Code)
			if !strings.Contains(f.Text, "does not accept NULL") || f.Remedy == "" {
				t.Errorf("%s: %s", domain, f)
			}
		}
		if text := strings.Join(got, ","); text != want {
			t.Errorf("%s: refused by %q, want %q", domain, text, want)
		}
	}
}

// TestDefaults checks the defaults of new columns.
func TestDefaults(t *testing.T) {
	for _, test := range []struct{ column, up, kind, want string }{
		{"v int DEFAULT 7", "v * 100", "bigint", "700"},
		{"v text DEFAULT 'it''s v'", "upper(v) || 'v' || E'\\'v'", "text", `IT'S Vv'v`},
		{`"V.v" text DEFAULT 'a'`, `("V.v" || 'V.v')`, "text", "aV.v"},
		{"v text", "upper(v)", "text", "<nil>"},
		{"v date DEFAULT '2026-01-31'", "v - '2026-01-01'::date", "int", "30"},
	} {
		column := strings.Trim(strings.Fields(test.column)[0], `"`)
		j := newJob(t, "CREATE TABLE t (id int PRIMARY KEY, "+test.column+", n timestamptz DEFAULT now())", catalog.Ref{Schema: "public", Table: "t", Column: column}, dependants.Target{Type: test.kind, Up: test.up})
		j.expand()
		j.prepare()
		j.swap(dependants.Cutover)
		j.exec("DROP SCHEMA muniment_conductor CASCADE; INSERT INTO t (id) VALUES (1)")
		var got *string
		if err := j.conn.QueryRow(t.Context(), "SELECT "+quote(column)+"::text FROM t").Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got == nil && test.want != "<nil>" || got != nil && *got != test.want {
			t.Errorf("%s with %s: the default is %v, want %s", test.column, test.up, got, test.want)
		}
	}
}

// TestConditions counts the rows of a shadow column that violate constraints:
// one of the table, one of a partition, and NOT NULL. One that is not validated
// permits existing rows.
func TestConditions(t *testing.T) {
	j := newJob(t, `CREATE TABLE "T" (id int NOT NULL, v int NOT NULL, "row" int) PARTITION BY LIST (id);
		CREATE TABLE low PARTITION OF "T" FOR VALUES IN (1, 2); CREATE TABLE high PARTITION OF "T" FOR VALUES IN (3, 4);
		INSERT INTO "T" SELECT i, i, i FROM generate_series(1, 4) i;
		ALTER TABLE "T" ADD CONSTRAINT small CHECK (v < 100 AND "row" > 0);
		ALTER TABLE high ADD CONSTRAINT partial CHECK (v > 2 AND v <> 6)`,
		catalog.Ref{Schema: "public", Table: "T", Column: "v"}, dependants.Target{Type: "bigint", Up: "v"})
	j.expand()
	j.exec(`SET session_replication_role = replica;
		UPDATE "T" SET v__new = CASE id WHEN 1 THEN 100 WHEN 2 THEN 6 WHEN 3 THEN 6 END; RESET session_replication_role;
		ALTER TABLE "T" ADD CONSTRAINT late CHECK (v < 0) NOT VALID`)
	got := map[string]int{}
	for _, c := range j.plan().Checks {
		var n int
		sql := fmt.Sprintf(`SELECT count(*) FROM public."T" AS r CROSS JOIN (SELECT 1 AS v__new) AS other WHERE (%s) IS FALSE`, c.Condition("r"))
		if err := j.conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		got[c.Name] = n
	}
	if want := map[string]int{"small": 1, "partial": 1, "NOT NULL": 1}; !maps.Equal(got, want) {
		t.Errorf("violations %v, want %v", got, want)
	}
}

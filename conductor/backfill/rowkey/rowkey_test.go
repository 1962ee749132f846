package rowkey_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/rowkey"
	"muniment.dev/muniment/internal/peers/postgresrig"
)

// rig is a server that the tests share.
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

func connect(t *testing.T) *pgx.Conn {
	t.Helper()
	name, err := rig.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), rig.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func texts(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// find returns the key of a table, as it is after a round trip through JSON.
func find(t *testing.T, conn *pgx.Conn, table string) (key rowkey.Key, err error) {
	t.Helper()
	var oid int64
	if err := conn.QueryRow(t.Context(), "SELECT $1::text::regclass::oid::bigint", table).Scan(&oid); err != nil {
		t.Fatal(err)
	}
	found, err := rowkey.Find(t.Context(), conn, uint32(oid))
	text, failed := json.Marshal(found)
	if err := errors.Join(failed, json.Unmarshal(text, &key)); err != nil {
		t.Fatal(err)
	}
	return key, err
}

func TestFind(t *testing.T) {
	conn := connect(t)
	exec(t, conn, `CREATE SCHEMA s; SET search_path = s, public; CREATE DOMAIN email AS text`)
	for columns, want := range map[string]string{
		"a int PRIMARY KEY, b int NOT NULL UNIQUE":                             "a",
		"a int, b int NOT NULL, c email NOT NULL, UNIQUE (b, c)":               "b, c",
		"a int NOT NULL, b int NOT NULL, c int NOT NULL UNIQUE, UNIQUE (a, b)": "c",
		"a int, b int NOT NULL, PRIMARY KEY (b) INCLUDE (a)":                   "b",
		"a int UNIQUE": "",
		"a int NOT NULL, EXCLUDE USING btree (a WITH =)":                            "",
		"a int NOT NULL; CREATE UNIQUE INDEX ON t (a) WHERE a > 0":                  "",
		"a int NOT NULL; CREATE UNIQUE INDEX ON t (abs(a))":                         "",
		"a int NOT NULL; CREATE UNIQUE INDEX ON t (a DESC)":                         "a",
		"a int NOT NULL, b int NOT NULL; CREATE UNIQUE INDEX ON t (a DESC, b)":      "",
		"a int NOT NULL, b int NOT NULL; CREATE UNIQUE INDEX ON t (a DESC, b DESC)": "a, b",
		"a text NOT NULL; CREATE UNIQUE INDEX ON t (a text_pattern_ops)":            "",
		`a text NOT NULL; CREATE UNIQUE INDEX ON t (a COLLATE "POSIX")`:             "",
		`a text COLLATE "POSIX" NOT NULL; CREATE UNIQUE INDEX ON t (a)`:             "a",
		"a int, p int, PRIMARY KEY (p, a)) PARTITION BY LIST (p":                    "p, a",
	} {
		create, rest, _ := strings.Cut(columns, ";")
		exec(t, conn, "DROP TABLE IF EXISTS t; CREATE TABLE t ("+create+");"+rest)
		key, err := find(t, conn, "t")
		if want == "" {
			if !errors.Is(err, rowkey.ErrNoKey) {
				t.Errorf("%s: %+v, %v", columns, key, err)
			}
			continue
		}
		var names []string
		for _, c := range key.Columns {
			names = append(names, c.Name)
			if c.Name == "c" && want == "b, c" && c.Type != "s.email" {
				t.Errorf("%s: the type is %s", columns, c.Type)
			}
		}
		if err != nil || strings.Join(names, ", ") != want {
			t.Errorf("%s: %q, %v, want %q", columns, names, err, want)
		}
	}
	if got := texts(t, conn, "SHOW search_path"); got[0] != "s, public" {
		t.Errorf("the search path is %s", got[0])
	}
}

// TestOrder walks over tables by positions, in chunks of every size, and
// compares the rows with those of a plain query.
func TestOrder(t *testing.T) {
	conn := connect(t)
	exec(t, conn, `CREATE DOMAIN plain AS text COLLATE "C"; CREATE TYPE mood AS ENUM ('z', 'a', 'm');
		CREATE COLLATION german (provider = icu, locale = 'de');
		CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE SCHEMA other; CREATE EXTENSION citext SCHEMA other`)
	tests := []struct {
		types []string
		rows  []string
	}{
		{[]string{"int"}, []string{"3", "-1", "2147483647", "0", "-2147483648"}},
		{[]string{"text"}, []string{"'b'", "'B'", "'ä'", "''", `'a"b'`, `'\'`, "'a,b'", "'{}'", "'NULL'", "E'\\n'"}},
		{[]string{`text COLLATE german`}, []string{"'b'", "'B'", "'ä'", "'z'", "'a'"}},
		{[]string{`text COLLATE blind`}, []string{"'b'", "'a'", "'C'"}},
		{[]string{"plain"}, []string{"'b'", "'B'", "'ä'"}},
		{[]string{"plain COLLATE german"}, []string{"'b'", "'B'", "'ä'"}},
		{[]string{"other.citext"}, []string{"'b'", "'A'", "'C'", "'_'"}},
		{[]string{"other.citext", "int"}, []string{"'b', 1", "'B', 2", "'A', 7", "'C', 1", "'C', 0", "'_', 1"}},
		{[]string{"int", "other.citext", "text"}, []string{"1, 'b', 'x'", "1, 'B', 'y'", "1, '_', 'x'", "2, 'A', 'x'", "0, 'z', 'z'"}},
		{[]string{"uuid"}, []string{"'f0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"}},
		{[]string{"timestamptz"}, []string{"'infinity'", "'-infinity'", "'2026-04-19 12:00:00.000001+02'", "'2026-04-19 12:00:00+02'", "'0001-01-01 BC'"}},
		{[]string{"numeric(12,3)"}, []string{"1.5", "-7", "'NaN'", "100000.125"}},
		{[]string{"float8"}, []string{"0.1", "0.30000000000000004", "'-Infinity'", "'NaN'", "1e300"}},
		{[]string{"interval"}, []string{"'1 day'", "'25 hours'", "'-1 mon'"}},
		{[]string{"bytea"}, []string{`'\x00'`, `'\x'`, `'\xff5c'`}},
		{[]string{"mood"}, []string{"'z'", "'a'", "'m'"}},
		{[]string{"char(4)"}, []string{"'b'", "'a   '", "'abcd'"}},
		{[]string{"bpchar"}, []string{"'b'", "'abcdefg'", "'abc'"}},
		{[]string{`"char"`}, []string{"'b'", "'a'"}},
		{[]string{"bit(3)"}, []string{"B'101'", "B'001'"}},
		{[]string{"boolean", "date"}, []string{"true, '2026-01-01'", "false, '2027-01-01'", "true, '2025-12-31'"}},
		{[]string{"int[]"}, []string{"'{1,2}'", "'{}'", "'{1}'", "'{-1,NULL}'"}},
		{[]string{"inet"}, []string{"'10.0.0.1/8'", "'10.0.0.1'", "'::1'"}},
		{[]string{"int", "text", "date"}, []string{"1, 'a', '2026-01-01'", "1, 'a', '2025-01-01'", "1, '', '2026-01-01'", "0, 'z', '2027-01-01'"}},
	}
	for i, test := range tests {
		t.Run(strings.Join(test.types, ","), func(t *testing.T) {
			table := fmt.Sprintf(`"t.%d"`, i)
			var columns, names []string
			for n, typ := range test.types {
				names = append(names, fmt.Sprintf(`"k ""%d"`, n))
				columns = append(columns, names[n]+" "+typ)
			}
			exec(t, conn, fmt.Sprintf("CREATE TABLE %s (%s, PRIMARY KEY (%s)); INSERT INTO %s VALUES (%s)",
				table, strings.Join(columns, ", "), strings.Join(names, ", "), table, strings.Join(test.rows, "), (")))
			key, err := find(t, conn, table)
			if err != nil {
				t.Fatal(err)
			}
			exec(t, conn, "BEGIN; SET LOCAL DateStyle = 'German'; "+rowkey.Settings)
			defer exec(t, conn, "ROLLBACK")
			all := texts(t, conn, fmt.Sprintf("SELECT r::text FROM public.%s AS r ORDER BY %s", table, key.Order("r")))
			if len(all) != len(test.rows) {
				t.Fatalf("%d rows, want %d", len(all), len(test.rows))
			}
			for size := 1; size <= len(all); size++ {
				walk(t, conn, "public."+table, key, size, all)
			}
		})
	}
}

// walk visits all rows in chunks.
func walk(t *testing.T, conn *pgx.Conn, table string, key rowkey.Key, size int, want []string) {
	t.Helper()
	var got, position []string
	for {
		after := "true"
		args := []any{size - 1}
		if position != nil {
			after, args = key.After("r", "$2"), append(args, position)
		}
		var bound []string
		err := conn.QueryRow(t.Context(), key.Skip(table, "r", after, "$1"), args...).Scan(&bound)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		args[0] = bound
		upTo := "$1::text[] IS NULL"
		if bound != nil {
			upTo = key.UpTo("r", "$1")
			if at := texts(t, conn, fmt.Sprintf("SELECT r::text FROM %s AS r WHERE %s", table, key.At("r", "$1")), bound); len(at) != 1 {
				t.Errorf("%d rows at the position %q", len(at), bound)
			}
		}
		got = append(got, texts(t, conn, fmt.Sprintf("SELECT r::text FROM %s AS r WHERE %s AND %s ORDER BY %s", table, after, upTo, key.Order("r")), args...)...)
		if bound == nil {
			break
		}
		position = bound
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("in chunks of %d: %q, want %q", size, got, want)
	}
}

// TestIndexUsed checks that the planner reads a chunk by the index.
func TestIndexUsed(t *testing.T) {
	conn := connect(t)
	exec(t, conn, `CREATE EXTENSION citext; CREATE TABLE t (a int, b text, c citext, PRIMARY KEY (a, b)); CREATE TABLE u (a int, c citext, PRIMARY KEY (a, c));
		INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i; INSERT INTO u SELECT i, i FROM generate_series(1, 20000) i; ANALYZE t; ANALYZE u`)
	for _, table := range []string{"t", "u"} {
		key, err := find(t, conn, table)
		if err != nil {
			t.Fatal(err)
		}
		plan := strings.Join(texts(t, conn, fmt.Sprintf("EXPLAIN SELECT FROM %s AS r WHERE %s AND %s ORDER BY %s OFFSET 100 LIMIT 1", table,
			key.After("r", "ARRAY['100', 'a']"), key.UpTo("r", "ARRAY['200', 'b']"), key.Order("r"))), "\n")
		if !strings.Contains(plan, "Index Cond: ") {
			t.Error(plan)
		}
	}
}

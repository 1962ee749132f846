package dualwrite_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestTypes copies, writes and swaps columns of many types, and compares each
// secondary value with the expression, evaluated by a plain query.
func TestTypes(t *testing.T) {
	d := newDatabase(t, `
		CREATE TYPE mood AS ENUM ('good', 'bad');
		CREATE TYPE pair AS (a int, b text);
		CREATE DOMAIN name_like AS text DEFAULT 'x' CHECK (VALUE <> '');
		CREATE DOMAIN free AS text DEFAULT 'x';
		CREATE FUNCTION to_mood(text) RETURNS mood IMMUTABLE LANGUAGE sql AS $$SELECT CASE $1 WHEN 'good' THEN 'good'::public.mood ELSE 'bad' END$$`)
	const toMood, fromMood = "CASE v WHEN 'good' THEN 'good'::mood WHEN 'bad' THEN 'bad'::mood END", "CASE v WHEN 'good' THEN 'good' WHEN 'bad' THEN 'bad' END"
	tests := []struct {
		name, old, new, up, down string
		values, news             []string // literals of the old and the new type
	}{
		{"text to numeric", "text", "numeric", "v::numeric", "v::text", []string{"1.0", "1.00", "-0", "NaN"}, []string{"7.50", "7.5"}},
		{"numeric scale", "numeric(10,2)", "numeric(12,4)", "v", "v", []string{"1.5", "1.50"}, []string{"2.5", "2.12345"}},
		{"int to bigint", "int", "bigint", "v", "v::int", []string{"1", "-2147483648"}, []string{"5"}},
		{"text to jsonb", "text", "jsonb", "v::jsonb", "v::text", []string{`{"a": 1}`, `[1,2]`, `"x"`}, []string{`{"b":2,"a":1}`}},
		{"json to jsonb", "json", "jsonb", "v::jsonb", "v::json", []string{`{"a": 1}`, `{"a":1}`, `{"a":1,"a":2}`}, []string{`{"b":2}`}},
		{"jsonb to json", "jsonb", "json", "v::json", "v::jsonb", []string{`{"a": 1}`}, []string{`{"a":  1}`, `{"a":1}`}},
		{"xml", "text", "xml", "xmlcomment(v)", "NULL::text", []string{"a"}, []string{"<b/>"}},
		{"array", "text", "text[]", "string_to_array(v, ',')", "CASE WHEN v IS NOT NULL THEN v[1] || coalesce(',' || v[2], '') END", []string{"a,b", "a", ""}, []string{"{x,y}", "{x,NULL}"}},
		{"array of domains", "text", "name_like[]", "ARRAY[v::name_like]", "v[1]::text", []string{"a"}, []string{"{x}"}},
		{"enum", "text", "mood", toMood, fromMood, []string{"good", "bad"}, []string{"bad", "good"}},
		{"enum by a function", "text", "mood", "to_mood(v)", fromMood, []string{"good", "worse"}, []string{"bad"}},
		{"bytea", "text", "bytea", "decode(v, 'hex')", "encode(v, 'hex')", []string{"c3A9", ""}, []string{`\x6162`}},
		{"timestamptz", "timestamp", "timestamptz", "v AT TIME ZONE 'UTC'", "v AT TIME ZONE 'UTC'", []string{"2026-04-19 12:00:00.000001", "infinity"}, []string{"2026-04-19 12:00:00+02"}},
		{"unix time", "bigint", "timestamptz", "to_timestamp(v)", "extract(epoch FROM v AT TIME ZONE 'UTC')::bigint", []string{"0", "1771000000"}, []string{"2026-04-19 12:00:00.5+02"}},
		{"domain", "name_like", "free", "lower(v)", "v", []string{"Ab"}, []string{"cd"}},
		{"composite", "text", "pair", "ROW(length(v), v)::pair", "(v).b", []string{"abc", ""}, []string{"(1,x)", "(,)"}},
		{"float", "float8", "real", "v::real", "v", []string{"0", "-0", "1e-30", "NaN"}, []string{"0.1"}},
		{"char", "char(5)", "text", "v::text", "v", []string{"a", "a    "}, []string{"b "}},
		{"uuid", "text", "uuid", "v::uuid", "v::text", []string{"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}, []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"}},
		{"bits", "bit(4)", "int", "v::int", "v::bit(4)", []string{"1010"}, []string{"3", "-1"}},
		{"range", "int", "int4range", "int4range(v, v, '[]')", "lower(v)", []string{"4"}, []string{"[1,9]", "empty"}},
		{"lossy", "text", "text", "upper(v)", "lower(v)", []string{"aB"}, []string{"xY"}},
		{"constant", "text", "boolean", "v IS NOT NULL", "CASE WHEN v THEN 'yes' END", []string{"a"}, []string{"t", "f"}},
		{"IS DISTINCT FROM", "int", "boolean", "v IS DISTINCT FROM 1", "CASE WHEN v THEN 0 ELSE 1 END", []string{"1", "2"}, []string{"t"}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := database{Conn: d.Conn, t: t, name: d.name}
			p := pair()
			p.Schema, p.Table, p.Job = fmt.Sprintf("we.ird \"%d\"", i), `ta"ble`, fmt.Sprintf("job-%d", i)
			d.exec(fmt.Sprintf(`CREATE SCHEMA "we.ird ""%d"""`, i), fmt.Sprintf("CREATE TABLE %s (id int PRIMARY KEY, v %s, other text)", p.Relation(), test.old))
			id := 0
			insert := func(column string, values []string) {
				for _, v := range append([]string{"NULL"}, values...) {
					id++
					if v != "NULL" {
						v = "'" + strings.ReplaceAll(v, "'", "''") + "'"
					}
					d.exec(fmt.Sprintf("INSERT INTO %s (id, %s) VALUES (%d, %s)", p.Relation(), column, id, v))
				}
			}
			insert("v", test.values)
			file := d.text(fmt.Sprintf("SELECT pg_relation_filenode('%s'::regclass)", strings.ReplaceAll(p.Relation(), "'", "''")))
			p = d.normalized(p, test.new, test.up, test.down)
			d.transaction(p.Expand())
			d.want(fmt.Sprintf("SELECT count(*) FROM %s WHERE v__new IS NOT NULL OR v__todo IS NOT TRUE", p.Relation()), "0")
			existing := id
			insert("v", test.values)
			d.want(fmt.Sprintf("SELECT count(*) FROM %s WHERE (v__todo IS NULL) <> (id > %d)", p.Relation(), existing), "0")
			d.exec(fmt.Sprintf("UPDATE %s SET other = 'x' WHERE id %% 2 = 0", p.Relation()))
			d.copyAll(p)
			d.exec(p.Prove(), p.Validate())
			equal := func(secondary, expression, typ, where string) {
				t.Helper()
				d.want(fmt.Sprintf("SELECT count(*) FROM (SELECT *, (%s)::%s AS result FROM %s) x WHERE record_image_ne(ROW(%s), ROW(result)) AND %s",
					expression, typ, p.Relation(), secondary, where), "0")
			}
			equal("v__new", test.up, test.new, "true")
			for i, v := range append([]string{"NULL"}, test.news...) {
				if v != "NULL" {
					v = "'" + v + "'"
				}
				d.exec(fmt.Sprintf("UPDATE %s SET v__new = %s, other = 'y' WHERE id = %d", p.Relation(), v, i%existing+1))
				d.agree(p, p.Before())
			}
			d.transaction(swap(p))
			id += 100
			insert("v", test.news)
			equal("v__old", test.down, test.old, "id > 100")
			d.agree(p, p.After())
			d.exec(fmt.Sprintf("UPDATE %s SET other = 'z'", p.Relation()))
			d.transaction(swapBack(p))
			d.agree(p, p.Before())
			d.want(fmt.Sprintf("SELECT pg_relation_filenode('%s'::regclass)", strings.ReplaceAll(p.Relation(), "'", "''")), file)
			d.transaction(p.Collapse())
		})
	}
}

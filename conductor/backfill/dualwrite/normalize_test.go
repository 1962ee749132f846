package dualwrite_test

import (
	"errors"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/backfill/dualwrite"
)

const objects = `
	CREATE SCHEMA app;
	CREATE TYPE app.mood AS ENUM ('good', 'bad');
	CREATE DOMAIN app.free AS text DEFAULT 'x';
	CREATE DOMAIN app.short AS varchar(5) CHECK (VALUE <> '');
	CREATE DOMAIN app.shorter AS app.short;
	CREATE COLLATION app.german (provider = icu, locale = 'de');
	CREATE FUNCTION app.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
	CREATE FUNCTION app.volatile(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + random()::int';
	CREATE TABLE t (id int PRIMARY KEY, v varchar(7) NOT NULL, n int, a text COLLATE app.german,
		double int GENERATED ALWAYS AS (n * 2) STORED);
	SET search_path = app, public`

func TestNormalize(t *testing.T) {
	d := newDatabase(t, objects)
	tests := []struct {
		name, typ, up, down string

		old, new, collation, normalUp, normalDown, inputs string
	}{
		{
			"plain", "int", "v::int", "v::text",
			"character varying(7)", "integer", "", "(v)::integer", "((v)::text)::character varying(7)", "",
		},
		{
			"schemas", "mood", "case when twice(n) > 1 then 'good'::mood end", "case v when 'good' then 'x' else a end",
			"character varying(7)", "app.mood", "",
			"CASE\n    WHEN (app.twice(n) > 1) THEN 'good'::app.mood\n    ELSE NULL::app.mood\nEND", "(\nCASE v\n    WHEN 'good'::app.mood THEN 'x'::text\n    ELSE a\nEND)::character varying(7)", "a n",
		},
		{
			"comment, collation", `text COLLATE "german"`, "upper(v) -- it's upper", "v /* lower */",
			"character varying(7)", "text", "COLLATE app.german", "upper((v)::text)", "(v)::character varying(7)", "",
		},
		{
			"constant", "free", "'a'", "NULL",
			"character varying(7)", "app.free", "", "('a'::text)::app.free", "NULL::character varying(7)", "",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := dualwrite.Normalize(t.Context(), d, pair(), test.typ, test.up, test.down)
			if err != nil {
				t.Fatal(err)
			}
			for what, values := range map[string][2]string{
				"old type": {got.OldType, test.old}, "new type": {got.NewType, test.new}, "collation": {got.NewCollation, test.collation},
				"up": {got.Up, test.normalUp}, "down": {got.Down, test.normalDown}, "inputs": {strings.Join(got.Inputs, " "), test.inputs},
			} {
				if values[0] != values[1] {
					t.Errorf("%s is %q, want %q", what, values[0], values[1])
				}
			}
		})
	}
	d.want("SELECT count(*) FROM pg_class WHERE relname = 'muniment_normalize'", "0")
	d.want("SHOW search_path", "app, public")
}

func TestNormalizeRefuses(t *testing.T) {
	d := newDatabase(t, objects, "ALTER TABLE t ADD v__todo boolean")
	const good = "v"
	tests := []struct{ typ, up, down, want string }{
		{"text", "volatile(n)::text", good, "up: expression is not immutable: it must not depend on the time, on settings or on other tables, and casts"},
		{"text", "now()::text", good, "up: expression is not immutable"},
		{"timestamptz", "v::timestamptz", good, "up: expression is not immutable"},
		{"text", good, "(SELECT v)", "down: expression contains a subquery"},
		{"text", "max(v)", good, "up: expression contains an aggregate function"},
		{"text", "rank() OVER ()::text", good, "up: expression contains a window function"},
		{"text", "generate_series(1, 2)::text", good, "up: expression contains a subquery, a set-returning function"},
		{"text", "w", good, `up: column "w" does not exist`},
		{"text", "double::text", good, `up: column "double" is generated after triggers run: use its generation expression instead`},
		{"text", "v__todo::text", good, `up: column "v__todo" belongs to the job itself: the name of the column stands for the value`},
		{"int", "point(1, 2)", good, "up: the result of the expression has another type, without a cast (cannot cast type point to integer)"},
		{"text", "v +", good, "up: not a valid expression or type (syntax error at or near"},
		{"text", "v) STORED, ADD COLUMN more int DEFAULT (1", good, "up: not a"},
		{"text", "v)::text)) STORED, ADD COLUMN more text GENERATED ALWAYS AS (((v", good, "up: not a single expression or type"},
		{"text, ADD COLUMN more int", good, good, "type: not a single expression or type"},
		{"text; DROP TABLE t", good, good, "type: not a valid expression or type (cannot insert multiple commands"},
		{"text", "v)::text; DROP TABLE t; SELECT (1", good, "up: not a valid expression or type"},
		{"text", "nothing(v)", good, "up: unknown function or operator (function nothing(character varying) does not exist)"},
		{"text", "t.v", good, "up: "},
		{"text", "t::text", good, "up: "},
		{"text", "tableoid::text", good, `up: column "tableoid" does not exist`},
		{"nothing", good, good, `type: unknown type (type "nothing" does not exist)`},
		{"short", good, good, "type: domain app.short has constraints, so PostgreSQL would rewrite the table: use the type character varying(5), and add"},
		{"shorter", good, good, "type: domain app.short has constraints"},
		{"text", " ", good, "up: no expression specified"},
		{"text", good, "a\x00", "down: contains a zero byte"},
	}
	for _, test := range tests {
		_, err := dualwrite.Normalize(t.Context(), d, pair(), test.typ, test.up, test.down)
		var refused *dualwrite.ExpressionError
		if !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%q, %q, %q:\ngot  %v\nwant %s", test.typ, test.up, test.down, err, test.want)
		}
	}
	for column, want := range map[string]string{
		"double":  `normalize the expressions of column "double": column "double" is generated: change its generation expression instead`,
		"nothing": `normalize the expressions of column "nothing": table "public"."t" has no column "nothing"`,
	} {
		p := pair()
		p.Column = column
		if _, err := dualwrite.Normalize(t.Context(), d, p, "text", "v", "v"); err == nil || err.Error() != want {
			t.Errorf("column %s: %v", column, err)
		}
	}
	// A refusal inside a transaction leaves it usable.
	tx, err := d.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dualwrite.Normalize(t.Context(), tx, pair(), "text", "w", "v"); err == nil {
		t.Error("an unknown column was accepted")
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	d.want("SELECT count(*) FROM t", "0")
}

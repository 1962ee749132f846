package condition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// variables are those of the tests. Their values are in a map.
func variables() (all []Variable[map[string]any]) {
	artifacts := cel.ListType(cel.MapType(cel.StringType, cel.DynType))
	for name, t := range map[string]*cel.Type{
		"tenant": cel.StringType, "kind": cel.StringType, "size": cel.IntType, "subjects": artifacts,
		"controls": cel.ListType(cel.StringType), "attributes": cel.MapType(cel.StringType, cel.StringType),
		"predicate": cel.DynType, "document": cel.DynType,
	} {
		all = append(all, Variable[map[string]any]{Name: name, Type: t, Value: func(vars map[string]any) ref.Val {
			if v, ok := vars[name]; ok {
				return Value(v)
			}
			return nil
		}})
	}
	return all
}

func environment(t testing.TB) *Environment[map[string]any] {
	t.Helper()
	env, err := New(variables()...)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// TestFunctionTable checks that the table has every function and overload of
// the environment, with its cost or the reason why conditions cannot call it.
func TestFunctionTable(t *testing.T) {
	env := environment(t).env
	spec, err := os.ReadFile("../../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	_, spec, _ = bytes.Cut(spec, []byte("\n## Functions\n"))
	for name, f := range env.Functions() {
		row, ok := functions[name]
		if !ok {
			t.Errorf("%s is enabled and has no row in functions", name)
			continue
		}
		var ids []string
		for _, o := range f.OverloadDecls() {
			ids = append(ids, o.ID())
		}
		slices.Sort(ids)
		rows := slices.Sorted(slices.Values(row.overloads))
		if !slices.Equal(ids, rows) {
			t.Errorf("%s: overloads %q, and the table has %q", name, ids, rows)
		}
	}
	for name, row := range functions {
		n := 0
		for _, set := range []bool{row.cost != nil, row.own != nil, row.builtin, row.refused != ""} {
			if set {
				n++
			}
		}
		if n != 1 || (row.rule == "") != (row.refused != "") {
			t.Errorf("%s: %d ways to evaluate it, rule %q", name, n, row.rule)
		}
		if row.refused != "" || strings.HasPrefix(name, "@not") {
			continue
		}
		line := regexp.MustCompile("(?m)^\\|.*`" + regexp.QuoteMeta(written(name)) + "`.* \\| (.*) \\|$").FindStringSubmatch(string(spec))
		if line == nil || line[1] != row.rule {
			t.Errorf("docs/conditions.md has %q for %s, and the table has %q", line, written(name), row.rule)
		}
	}
}

// written returns the name of a function as the specification lists it.
func written(name string) string {
	switch name {
	case "_?_:_":
		return "?:"
	case "_[_]":
		return "[]"
	}
	return strings.ReplaceAll(plainName(name), "|", `\|`)
}

func jsonValue(t testing.TB, text string) ref.Val {
	t.Helper()
	v, err := parseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestAgreesWithCEL checks that the evaluator agrees with cel-go. It differs
// only in comparing numbers exactly, and in refusing has() on a string,
// duplicate keys of a map and the order of NaN.
func TestAgreesWithCEL(t *testing.T) {
	vars := map[string]any{
		"kind": "finding", "size": 12, "tenant": "acme", "controls": []string{"A", "B"}, "attributes": map[string]string{"a": "1"},
		"subjects":  []map[string]any{{"name": "n", "digest": map[string]string{"sha256": "aa"}}},
		"predicate": jsonValue(t, `{"s":"héllo","n":3,"f":1.5,"l":[1,2,3],"m":{"k":"v","x":[{"y":null}]},"t":true,"z":null,"big":"2026-01-02T03:04:05Z"}`),
	}
	env := environment(t)
	for _, source := range []string{
		"true", "!true", "kind == 'finding' && size > 3", "kind == 'x' || size < 3", "predicate.n == 3", "predicate.n != 3.0", "predicate.f > 1", "predicate.n < 3.5",
		"predicate.l == [1, 2, 3]", "predicate.l == [1.0, 2u, 3]", "predicate.m == {'k': 'v', 'x': [{'y': null}]}", "predicate.m != {}",
		"predicate.nothing == 1", "has(predicate.nothing)", "has(predicate.m.k)", "predicate.nothing == 1 || true", "predicate.nothing == 1 && false", "predicate.nothing == 1 && true",
		"predicate.l.all(x, x > 0)", "predicate.l.exists(x, x == 2)", "predicate.l.exists_one(x, x == 2)", "predicate.l.map(x, x * 2) == [2, 4, 6]", "predicate.l.filter(x, x > 1).size() == 2",
		"predicate.l.map(x, x > 1, x + 1) == [3, 4]", "predicate.m.exists(k, k == 'x')", "predicate.l.all(x, predicate.l.exists(y, y == x))", "[[1], [2]].map(x, x.map(y, y + 1)) == [[2], [3]]",
		"predicate.l.exists(x, x.nothing == 1)", "predicate.l.all(x, x.nothing == 1 || x > 0)", "2 in predicate.l", "2.0 in predicate.l", "'2' in predicate.l", "'k' in predicate.m", "size in [12, 13]", "'x' in []",
		"sets.contains(predicate.l, [1, 2.0])", "sets.equivalent([1, 2], [2, 1, 1])", "sets.intersects(controls, ['B', 'C'])", "sets.contains([1], [2])", "sets.intersects([], [])",
		"predicate.s.contains('ll')", "predicate.s.startsWith('h')", "predicate.s.endsWith('o')", "predicate.s.matches('^h.l+o$')", "matches(predicate.s, 'z')", "predicate.s.size() == 5", "size(predicate.l) == 3",
		"predicate.s.charAt(1) == 'é'", "predicate.s.indexOf('l') == 2", "predicate.s.lastIndexOf('l') == 3", "predicate.s.indexOf('l', 9) == 1", "'AbC'.lowerAscii() == 'abc'", "'abc'.upperAscii() == 'ABC'",
		"'a,b'.split(',') == ['a', 'b']", "'a,b,c'.split(',', 2) == ['a', 'b,c']", "'abc'.substring(1) == 'bc'", "'abc'.substring(0, 2) == 'ab'", "' a '.trim() == 'a'", "'abc'.reverse() == 'cba'", "strings.quote('a') == '\"a\"'",
		"'a' + 'b' == 'ab'", "[1] + [2] == [1, 2]", "1 + 2 == 3", "1.5 + 1.5 == 3.0", "1u + 2u == 3u", "5 / 2 == 2", "5 % 2 == 1", "5 / 0 == 1", "-predicate.n == -3", "9223372036854775807 + 1 == 0", "predicate.n + predicate.f == 4.5",
		"int('12') == 12", "int('x') == 1", "double(3) == 3.0", "string(3) == '3'", "string(predicate.f) == '1.5'", "uint(3) == 3u", "bool('true')", "bytes('a') == b'a'", "string(b'a') == 'a'", "dyn(1) == 1", "type(predicate.n) == int",
		"type(predicate.s) == string", "type(predicate.l) == list", "type(1) == type(2)", "timestamp(predicate.big) > timestamp('2025-01-01T00:00:00Z')", "timestamp(predicate.big).getFullYear() == 2026", "timestamp(predicate.big).getHours('+02:00') == 5",
		"timestamp(predicate.big).getDayOfWeek() == 5", "duration('3600s').getHours() == 1", "timestamp(predicate.big) - timestamp('2026-01-02T03:04:04Z') == duration('1s')", "duration('1h') < duration('2h')",
		"predicate.t ? kind == 'finding' : false", "predicate.n ? true : false", "(predicate.t ? predicate : {}).n == 3", "(predicate.t ? predicate.m : predicate).k == 'v'", "predicate['n'] == 3", "predicate.l[0] == 1", "predicate.l[9] == 1", "predicate.l[1.0] == 2",
		"predicate.m['k'] == 'v'", "predicate[predicate.s] == 1", "predicate.m.x[0].y == null", "{'a': 1}.a == 1", "attributes.a == '1'", "subjects[0].digest.sha256 == 'aa'", "subjects.all(s, 'sha256' in s.digest)",
		"predicate.s < 'i'", "predicate.s < 1", "true > false", "b'a' < b'b'", "predicate.z == null", "predicate.z == 0", "predicate.s == 1", "null in [1, null]", "0.0 / 0.0 == 0.0 / 0.0", "predicate", "predicate.n", "!predicate.n", "predicate.t && predicate.n",
		"predicate.l.exists(kind, kind == 3) && kind == 'finding'", "[1, 2].map(x, [x].map(x, x + 1)[0]) == [2, 3]", "[{'a': 1}].exists(m, m.a == 1)",
	} {
		checked, issues := env.env.Compile(source)
		if issues.Err() != nil {
			t.Errorf("%s: %v", source, issues.Err())
			continue
		}
		program, err := env.env.Program(checked)
		if err != nil {
			t.Fatal(err)
		}
		want, _, wantErr := program.Eval(vars)
		c, err := env.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		m := NewMeter(context.Background(), DecisionCost)
		err = c.Holds(m, vars)
		var got string
		switch {
		case err == nil:
			got = "true"
		case errors.Is(err, ErrFalse):
			got = "false"
		default:
			got = "error"
		}
		expected := "error"
		if b, ok := want.(types.Bool); ok && wantErr == nil {
			expected = fmt.Sprint(b)
		}
		if got != expected {
			t.Errorf("%s: %s (%v); cel-go has %s (%v)", source, got, err, expected, wantErr)
		}
	}
}

// TestExactDoubles checks that a conversion to a double, and a double in a
// condition, are exact or refused.
func TestExactDoubles(t *testing.T) {
	env := environment(t)
	for source, want := range map[string]string{
		"double(9007199254740992) == 9007199254740992.0":        "",
		"double(9007199254740993) == 9007199254740992.0":        "without an exact double",
		"double(-9007199254740993) < 0.0":                       "without an exact double",
		"double(18446744073709551615u) > 0.0":                   "without an exact double",
		"double('9007199254740993') == 9007199254740992.0":      "without an exact double",
		"double('9007199254740992') == 9007199254740992.0":      "",
		"double('0.1') == 0.1 && double('1e22') == 1e22":        "",
		"1e22-1.0e22 == 0.0 && -1e22 < 0.0 && 9.0e15+1.0 > 0.0": "",
		"1.7976931348623157e308 > 1e22":                         "has no exact double",
	} {
		c, err := env.Compile(source)
		if err == nil {
			err = c.Holds(NewMeter(context.Background(), DecisionCost), map[string]any{})
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want an error with %q", source, err, want)
		}
	}
}

// TestRefusedConditions checks that conditions which call refused functions, or
// are not boolean, do not compile.
func TestRefusedConditions(t *testing.T) {
	env := environment(t)
	for source, wantErr := range map[string]string{
		"document.n == 9007199254740993.0":                    "9007199254740993.0 has no exact double",
		"document.n == -9007199254740993.0":                   "9007199254740993.0 has no exact double",
		"document.n > 0 && document.n < 1e23+1.0":             "1e23 has no exact double",
		"'é' == '' || document.l.exists(x, x == 1e23)":        "1e23 has no exact double",
		"document.s.matches(document.p)":                      "the pattern of matches must be a literal",
		"'x'.matches('a' + 'b')":                              "the pattern of matches must be a literal",
		"['a'].exists(p, document.s.matches(p))":              "the pattern of matches must be a literal",
		"document.s.matches('(')":                             "missing closing",
		"document.s.matches('(abcdefgh){90}(abcdefgh){900}')": "too large",
		"document.l.join('') == ''":                           "join is not allowed",
		"document.s.replace('a', 'b') == ''":                  "replace is not allowed",
		"'%s'.format([document]) == ''":                       "format is not allowed",
		"google.protobuf.Struct{} == {}":                      "message construction is not supported",
		"1":                                                   "must be true or false",
	} {
		if _, err := env.Compile(source); err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: %v", source, err)
		}
	}
}

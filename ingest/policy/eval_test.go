package policy

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"muniment.dev/muniment/internal/condition"
)

// TestNumbersAndStrings checks that integers are compared exactly, even with
// doubles, and that values without an exact counterpart cannot be compared.
func TestNumbersAndStrings(t *testing.T) {
	for _, c := range []struct{ document, source, want string }{
		{`9007199254740993`, "document == 9007199254740993", "true"},
		{`9007199254740993`, "document == 9007199254740992", "false"},
		{`9007199254740993`, "document > 9007199254740992", "true"},
		{`9007199254740993`, "document == 9007199254740992.0", "false"},
		{`9007199254740993`, "document > 9007199254740992.0", "true"},
		{`9007199254740993`, "document in [9007199254740992.0]", "false"},
		{`9223372036854775807`, "document < 9223372036854775808.0", "true"},
		{`18446744073709551615`, "document == 18446744073709551615u", "true"},
		{`18446744073709551615`, "document > 9223372036854775807", "true"},
		{`18446744073709551616`, "document > 0", "error"},
		{`1e400`, "document > 0", "error"},
		{`1e-400`, "document == 0", "error"},
		{`0e-400`, "document == 0", "true"},
		{`9007199254740993.0`, "document == 9007199254740992", "error"},
		{`9007199254740992.0`, "document == 9007199254740992", "true"},
		{`1e3`, "document == 1000", "true"},
		{`-0`, "document == 0", "true"},
		{`1.5`, "document > 1", "true"},
		{`{"a":1e999}`, "has(document.a)", "true"},
		{`{"a":1e999}`, "document.a > 0 || true", "true"},
		{`{"a":1e999}`, "document.a > 0 || false", "error"},
		{`{"a":1e999}`, "!(document.a > 0)", "error"},
		{`[1e999,2]`, "2 in document", "true"},
		{`[1e999,2]`, "3 in document", "error"},
		{`[1e999,2]`, "sets.intersects(document, [3])", "error"},
		{`[1e999,2]`, "sets.contains(document, [3])", "error"},
		{`[1e999,2]`, "document.exists(x, x == 3)", "error"},
		{`[1e999,2]`, "document.all(x, x != 3)", "error"},
		{`[1e999,2]`, "document.filter(x, x == 3).size() > 0", "error"},
		{`[1e999,2]`, "document == [3, 2]", "error"},
		{`[1e999,2]`, "document.map(x, x).size() == 2", "error"},

		{`"\udce9"`, "document == 'x'", "error"},
		{`"\udce9"`, "document != 'x'", "error"},
		{`"\udce9"`, `document == '\ufffd'`, "error"},
		{`"\ufffd"`, `document == '\ufffd'`, "true"},
		{`"\ud83d\ude00"`, "document == '😀'", "true"},
		{`"\udce9"`, "type(document) == string", "error"},
		{`["\udce9","bad"]`, "'bad' in document", "true"},
		{`["\udce9","good"]`, "'bad' in document", "error"},
		{`{"\udce9":1,"a":2}`, "document.a == 2", "error"},
		{`{"x":{"\udce9":1},"a":2}`, "document.a == 2", "true"},
		{`{"x":{"\udce9":1},"a":2}`, "document.x.exists(k, k == 'a')", "error"},
		{`{"a":1,"a":2}`, "document.a == 2", "error"},
		{`{"a":1,"\u0061":2}`, "document.a == 2", "error"},
		{`{"\udce9":1,"\udcea":2}`, "has(document.a)", "error"},
		{`{"a":1}{"a":2}`, "document.a == 1", "error"},
	} {
		p := mustParse(t, fmt.Sprintf("version: 1\nmode: enforce\nrules:\n  - name: d\n    deny: true\n    condition: |-\n      %s\n  - {name: r, unsigned: true}\n", c.source))
		court := newCourt(condition.NewMeter(context.Background(), condition.DecisionCost), p, &Evidence{Document: []byte(c.document)}, nil)
		err := p.Rules[0].Condition.Holds(court.meter, view{court, nil})
		got := "error"
		if err == nil || errors.Is(err, condition.ErrFalse) {
			got = fmt.Sprint(err == nil)
		}
		if got != c.want {
			t.Errorf("%s: %s is %s (%v), want %s", c.document, c.source, got, err, c.want)
		}
		// In a rule that denies, a condition that cannot be evaluated counts as
		// met.
		want := Refused
		if c.want == "false" {
			want = "admitted"
		}
		if d := p.Decide(context.Background(), &Evidence{Document: []byte(c.document)}, nil); d.Result != want {
			t.Errorf("%s: denied if %s: %s", c.document, c.source, d.Result)
		}
	}
}

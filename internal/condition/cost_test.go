package condition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// ended is a context that ends after a number of calls of Err.
type ended struct {
	context.Context
	after, looks int
}

func (c *ended) Err() error {
	if c.looks++; c.looks > c.after {
		return context.Canceled
	}
	return nil
}

func list(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%s%d",`, strings.Repeat("x", 20), i)
	}
	return "[" + strings.TrimSuffix(b.String(), ",") + "]"
}

// TestConditionAttacks checks that costly conditions on large evidence stop
// within their budget and when their context ends.
func TestConditionAttacks(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	documents := map[string]string{
		"lists": `{"a":` + list(20_000) + `,"b":` + list(20_000) + `}`,
		"text":  `{"a":"` + long + `","b":"` + strings.Repeat("a", 1<<19) + `b","l":[` + strings.Repeat("1,", 1000) + `1]}`,
		"deep":  `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"l":[` + strings.Repeat("1,", 2000) + `1]}`,
		"map":   `{"m":{"k":1},"k":"` + long + `","l":[` + strings.Repeat("1,", 60_000) + `1]}`,
	}
	env := environment(t)
	for _, c := range []struct{ document, source string }{
		{"lists", "sets.contains(document.a, document.b + ['y'])"},
		{"lists", "sets.equivalent(document.a, document.b + ['y'])"},
		{"lists", "sets.intersects(document.a, document.b.map(x, x + 'y'))"},
		{"lists", "document.a.all(x, x in document.b)"},
		{"lists", "document.a.all(x, document.b.exists(y, x == y))"},
		{"lists", "document.a.all(x, document.a == document.b)"},
		{"lists", "document.a.map(x, document.b).map(x, x + x).size() > 0"},
		{"lists", "document.a.map(x, document.a + document.b).size() > 0"},
		{"lists", "document.a.all(x, {'a': document.a} == {'a': document.b})"},
		{"text", "document.a.indexOf(document.b) < 0"},
		{"text", "document.a.lastIndexOf(document.b) < 0"},
		{"text", "document.l.all(x, !document.a.contains(document.b))"},
		{"text", "document.l.all(x, !document.a.startsWith(document.b))"},
		{"text", "document.l.map(x, document.a + document.a).size() > 0"},
		{"text", "document.l.map(x, document.a.upperAscii()).size() > 0"},
		{"text", "document.l.map(x, document.a.reverse()).size() > 0"},
		{"text", "document.l.map(x, document.a.substring(1)).size() > 0"},
		{"text", "document.l.all(x, document.a.charAt(0) == 'a')"},
		{"text", "document.l.all(x, document.a.size() > 0)"},
		{"text", "document.l.map(x, strings.quote(document.a)).size() > 0"},
		{"text", "document.l.map(x, bytes(document.a)).size() > 0"},
		{"text", "document.l.all(x, document.a == document.a)"},
		{"text", "document.l.all(x, document.a <= document.a)"},
		{"text", "document.l.exists(x, int(document.a) == 1)"},
		{"text", "document.l.exists(x, timestamp(document.a) > timestamp(0))"},
		{"text", "document.a.split('').size() > 0"},
		{"text", "document.a.matches('(a|aa)*(a|b){50}c')"},
		{"text", "document.l.all(x, !document.a.matches('a*b*c*d'))"},
		{"text", "document.l.all(x, document.l.all(y, timestamp(0).getHours('Europe/Berlin') > 0))"},
		{"deep", "document.l.all(x, document.a == document.a)"},
		{"map", "document.l.exists(x, document.m[document.k] == 1 || false)"},
		{"map", "document.l.map(x, {document.k: 1}).size() > 0"},
		{"map", "document.l.exists(x, document.k in document.m)"},
	} {
		t.Run(c.source, func(t *testing.T) {
			cond, err := env.Compile(c.source)
			if err != nil {
				t.Fatal(err)
			}
			vars := map[string]any{"document": jsonValue(t, documents[c.document])}
			m := NewMeter(context.Background(), DecisionCost)
			if err := cond.Holds(m, vars); !errors.Is(err, ErrBudget) {
				t.Errorf("%v, after %d units", err, m.Spent())
			}
			if m.Spent() > Cost {
				t.Errorf("%d units", m.Spent())
			}
			ctx := &ended{Context: context.Background(), after: 3}
			m = NewMeter(ctx, DecisionCost)
			if err := cond.Holds(m, vars); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrBudget) {
				t.Errorf("interrupted: %v", err)
			}
			if m.Err() != nil && errors.Is(m.Err(), context.Canceled) && ctx.looks > 5 {
				t.Errorf("the context was checked %d times after its end", ctx.looks-4)
			}
		})
	}
}

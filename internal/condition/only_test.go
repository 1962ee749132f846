package condition

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
)

// TestOnly compares the texts with evaluations: for any other text, the
// condition is false.
func TestOnly(t *testing.T) {
	env, err := New(
		Variable[string]{Name: "name", Type: cel.StringType, Value: func(s string) ref.Val { return Value(s) }},
		Variable[string]{Name: "labels", Type: cel.MapType(cel.StringType, cel.StringType), Value: func(string) ref.Val { return Value(map[string]string{"a": "A"}) }},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source string
		want   []string // nil: another form
	}{
		{`name == "A"`, []string{"A"}},
		{`"A" == name`, []string{"A"}},
		{`name in ["A", "B"]`, []string{"A", "B"}},
		{`name in []`, []string{}},
		{`labels.none == "x" && name == "A"`, []string{"A"}},
		{`name == "A" && (labels.a == "A" || name == "B")`, []string{"A"}},
		{`name == "A" || name in ["B"] && labels.none == "x"`, []string{"A", "B"}},
		{`name == "A" || labels.a == "A"`, nil},
		{`!(name == "A")`, nil},
		{`name != "A"`, nil},
		{`name.startsWith("A")`, nil},
		{`name == labels.a`, nil},
		{`labels.a == "A"`, nil},
		{`"A" in labels`, nil},
		{`["A"].exists(name, name == "A")`, nil},
		{`name in ["A", labels.a]`, nil},
		{`true`, nil},
	} {
		condition, err := env.Compile(c.source)
		if err != nil {
			t.Fatalf("%s: %v", c.source, err)
		}
		texts, ok := condition.Only("name")
		if ok != (c.want != nil) || ok && fmt.Sprint(texts) != fmt.Sprint(c.want) {
			t.Errorf("%s: %q, %v, want %q", c.source, texts, ok, c.want)
		}
		for _, name := range []string{"A", "B", "C", ""} {
			err := condition.Holds(NewMeter(t.Context(), 10_000), name)
			if ok && !slices.Contains(texts, name) && !errors.Is(err, ErrFalse) {
				t.Errorf("%s: for %q: %v, want false", c.source, name, err)
			}
		}
	}
}

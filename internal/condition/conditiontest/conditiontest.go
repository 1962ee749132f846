// Package conditiontest checks the variables that packages declare for
// conditions.
package conditiontest

import (
	"fmt"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/condition"
)

// CheckDocumented checks that docs/conditions.md, at the path, has the table of
// the declared variables.
func CheckDocumented[T any](t *testing.T, path string, declared []condition.Variable[T]) {
	t.Helper()
	doc, err := bounded.ReadFile(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| variable | type | first use |\n|---|---|---|\n")
	for _, v := range declared {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", v.Name, v.Type, v.Cost)
	}
	if !strings.Contains(string(doc), strings.ReplaceAll(want.String(), "|  |", "| |")+"\n") {
		t.Errorf("docs/conditions.md must contain this table:\n%s", want.String())
	}
}

package evaluate

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestVariablesAreDocumented checks that the table of variables in
// docs/conditions.md is the declared one.
func TestVariablesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| variable | type | first use |\n|---|---|---|\n")
	for _, v := range variables {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", v.Name, v.Type, v.Cost)
	}
	if !strings.Contains(string(doc), strings.ReplaceAll(want.String(), "|  |", "| |")+"\n") {
		t.Errorf("docs/conditions.md must contain this table:\n%s", want.String())
	}
}

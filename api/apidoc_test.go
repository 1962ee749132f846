package api

import (
	"os"
	"strings"
	"testing"
)

// TestAPIPageIsComplete requires docs/api.md to list every RPC, and every code
// with which one can fail.
func TestAPIPageIsComplete(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for route := range apiRoutes {
		if service, method, ok := strings.Cut(strings.TrimPrefix(route, "/muniment.v1."), "/"); ok && strings.HasPrefix(route, "/muniment.v1.") {
			want = append(want, service, method)
		}
	}
	for _, row := range codes {
		if row.code.String() != "canceled" { // the caller has gone
			want = append(want, row.code.String())
		}
	}
	for _, name := range want {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/api.md lacks `%s`", name)
		}
	}
	if len(want) < 40 {
		t.Errorf("only %d names", len(want))
	}
}

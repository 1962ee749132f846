package catalogue

import (
	"strings"
	"testing"

	"muniment.dev/muniment/internal/condition/conditiontest"
)

func TestVariables(t *testing.T) {
	conditiontest.CheckDocumented(t, "../../../docs/conditions.md", variables)
}

// TestCosts checks that a costly condition is an error, and no long work.
func TestCosts(t *testing.T) {
	c, err := Parse([]byte(`{version: 1, types: {T: {severity: P1, correlate: [s], signals: [{name: a,
		when: 'labels.all(a, labels.all(b, labels.all(c, a + b + c != name)))'}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for i := range 64 {
		labels[strings.Repeat("x", 200+i)] = "y"
	}
	if ok, err := c.Types[0].Signals[0].When.Holds(&Alert{Name: "A", Labels: labels}); ok || err == nil || !strings.Contains(err.Error(), "costs too much") {
		t.Errorf("%v, %v", ok, err)
	}
}

package evaluate

import (
	"testing"

	"muniment.dev/muniment/internal/condition/conditiontest"
)

// TestVariablesAreDocumented checks that the table of variables in
// docs/conditions.md is the declared one.
func TestVariablesAreDocumented(t *testing.T) {
	conditiontest.CheckDocumented(t, "../../docs/conditions.md", variables)
}

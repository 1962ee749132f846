package decide

import (
	"slices"
	"testing"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestLiterals checks that the environments of a control set are known, and
// that its patterns are not taken for environments.
func TestLiterals(t *testing.T) {
	set := &munimentv1.GetControlSetResponse{
		Set: &munimentv1.ControlSet{Environments: []string{"staging", "production/**"}},
		Controls: []*munimentv1.Control{{Modes: []*munimentv1.ControlMode{
			{Stage: "deploy", Environments: []string{"production/eu", "test-*"}},
			{Stage: "build", Environments: []string{"lab"}},
		}}},
	}
	if got, want := literals(set, "deploy"), []string{"staging", "production/eu"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

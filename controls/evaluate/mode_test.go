package evaluate

import (
	"testing"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestModeOf follows docs/spec/decision.md, section 3, step 1.
func TestModeOf(t *testing.T) {
	c := &munimentv1.Control{Modes: []*munimentv1.ControlMode{
		{Stage: "deploy", Environments: []string{"test/**"}, Mode: "audit"},
		{Stage: "deploy", Environments: []string{"production/**"}, Mode: "enforce"},
		{Stage: "deploy", Mode: "warn"},
	}}
	for place, want := range map[[2]string]Mode{
		{"deploy", "test/eu"}:       Audit,
		{"deploy", "production/eu"}: Enforce,
		{"deploy", "elsewhere"}:     Warn,
		{"deploy", ""}:              Enforce, // the strictest, and not the first
		{"build", "production/eu"}:  "",
	} {
		if got := ModeOf(c, place[0], place[1]); got != want {
			t.Errorf("at %s in %q: %q, want %q", place[0], place[1], got, want)
		}
	}
}

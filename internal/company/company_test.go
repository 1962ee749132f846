package company

import (
	"testing"
	"time"
)

func TestTracker(t *testing.T) {
	var c Tracker[string]
	start := time.Unix(1_800_000_000, 0)
	for i, step := range []struct {
		owner string
		after time.Duration
		want  bool
	}{
		{"acme", 0, false},
		{"acme", 0, false},
		{"globex", 0, true},
		{"acme", 0, true},
		{"acme", ActiveFor - 1, true},
		{"acme", ActiveFor, false},
		{"globex", ActiveFor, true},
		{"globex", 3 * ActiveFor, false},
	} {
		now := start.Add(step.after)
		c.Arrived(step.owner, now)
		if got := c.Until(step.owner).After(now); got != step.want {
			t.Errorf("step %d: %s after %v: in company %t, want %t", i, step.owner, step.after, got, step.want)
		}
	}
	if c.Until("initech").Before(start.Add(3 * ActiveFor)) {
		t.Error("an owner that has not called is taken to be alone")
	}
}

package correlate

import (
	"testing"
	"time"
)

// TestQuiet checks that an alert whose source reports no resolution ends when
// no later signal arrives, and that a signal that is sent again has no effect.
func TestQuiet(t *testing.T) {
	tab, _ := table(t)
	observe := func(starts, received int, want Effect) *Alert {
		t.Helper()
		s := firing(starts, received)
		s.Quiet = time.Minute
		a, effect, err := tab.Observe(&s)
		if err != nil || effect != want {
			t.Errorf("start %d: %s, %v, want %s", starts, effect, err, want)
		}
		return a
	}
	a := observe(0, 1, Opened)
	for n := range 100 {
		observe(n, n+1, Continued)
	}
	observe(50, 130, Continued) // sent again
	if len(a.starts) != 1 || !a.Started().Equal(at(0)) {
		t.Errorf("starts: %v", a.starts)
	}
	if tab.Expire(at(159)); !a.Fires() {
		t.Error("it ended early")
	}
	tab.Changes()
	if tab.Expire(at(160)); a.Fires() || tab.Settled(a.Identity(), at(159)) || !tab.Settled(a.Identity(), at(160)) {
		t.Error("it does not end a minute after the latest signal")
	}
	if changed, _ := tab.Changes(); len(changed) != 1 {
		t.Errorf("%d alerts changed", len(changed))
	}
	observe(99, 161, Stale)
	observe(161, 162, Opened)

	restored, _ := table(t)
	restored.Restore(a.Record())
	if restored.Expire(at(222)); restored.alerts[a.Identity()].Fires() {
		t.Error("it fires forever after a restart")
	}
	s := resolved(170, 171)
	if _, effect, err := tab.Observe(&s); err != nil || effect != Ended {
		t.Errorf("a resolution: %s, %v", effect, err)
	}
	if tab.Expire(at(1000)); len(tab.quiet) != 0 {
		t.Error("an alert that ended is still watched")
	}
}

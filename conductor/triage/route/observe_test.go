package route

import (
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/signal"
)

// TestMisfire checks that more alerts after the action than before are a
// misfire, also if the router was restarted between.
func TestMisfire(t *testing.T) {
	w := newWorld(t)
	errors := func(instance string) signal.Signal {
		s := w.alert("Errors", signal.Firing, "x", noon)
		s.Labels["instance"] = instance
		return s
	}
	w.deliver(errors("a"))
	w.pass(15 * time.Second)
	w.want("T-1 x:settling", "on off")
	w.pass(time.Minute)
	w.deliver(errors("b"), errors("c"))
	w.crash()
	w.pass(8 * time.Minute)
	w.want("T-1 x:settling", "on off")
	w.pass(time.Minute)
	w.want("T-1 x:closed", "off off")
	all, err := w.Executor.Store.Quarantines()
	if want := "3 alerts count at the end of decay, and 1 did before the first action"; err != nil || len(all) != 1 || all["T"].Reason != want {
		t.Errorf("quarantines %+v, %v", all, err)
	}
}

// TestNoMisfire checks that alerts which go on as before are none: people have
// to act.
func TestNoMisfire(t *testing.T) {
	w := newWorld(t)
	w.deliver(w.alert("Errors", signal.Firing, "x", noon))
	w.pass(15 * time.Second)
	w.pass(10 * time.Minute)
	w.want("T-1 x:escalated", "on off")
	if all, err := w.Executor.Store.Quarantines(); err != nil || len(all) > 0 {
		t.Errorf("quarantines %+v, %v", all, err)
	}
}

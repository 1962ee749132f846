package route

import (
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/signal"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Latest implements execute.Numbers.
func (l ledger) Latest(prefix string) (latest execute.Latest, err error) {
	for key, payload := range l.entries {
		rest, ok := strings.CutPrefix(key, "triage/"+prefix)
		number, of, _ := strings.Cut(rest, "/")
		n, _ := strconv.ParseUint(number, 10, 64)
		if !ok || n < latest.Number {
			continue
		}
		if n > latest.Number {
			latest = execute.Latest{Number: n}
		}
		var m munimentv1.TriageAction
		if err := protojson.Unmarshal([]byte(payload), &m); err != nil {
			return latest, err
		}
		if at := m.Started.AsTime(); at.After(latest.Time) {
			latest.Time = at
		}
		latest.Closed = latest.Closed || of == execute.ActionClose
	}
	return latest, nil
}

// Trails implements execute.Trails. No test here takes over.
func (l ledger) Trails() ([]execute.Trail, time.Time, error) {
	return nil, time.Time{}, execute.ErrWait
}

// unread is a ledger that was not read yet.
type unread struct{}

func (unread) Latest(string) (execute.Latest, error) { return execute.Latest{}, execute.ErrWait }

// reading makes a world one that reads the ledger, with a state.
func (w *world) reading(fs *vfs.MemFS) {
	w.t.Helper()
	w.close()
	w.fs, w.numbers, w.trails = fs, w.ledger, w.ledger
	w.open()
}

// newTwins returns two routers with one ledger and the same targets.
func newTwins(t *testing.T) (one, two *world) {
	one, two = newWorld(t), newWorld(t)
	two.ledger, two.flags, two.name = one.ledger, one.flags, "other"
	one.reading(one.fs)
	two.reading(two.fs)
	return one, two
}

// episode sends an alert to some executors, and resolves it.
func episode(all ...*world) {
	starts := all[0].now
	for _, w := range all {
		w.deliver(w.alert("Errors", signal.Firing, "x", starts))
		w.pass(15 * time.Second)
	}
	for _, w := range all {
		w.deliver(w.alert("Errors", signal.Resolved, "x", starts))
		w.pass(time.Minute)
	}
}

// TestNumbersOfTwo checks that two executors give an incident the same number,
// whatever only one of them has seen before, and that one of them acts.
func TestNumbersOfTwo(t *testing.T) {
	one, two := newTwins(t)
	episode(one) // a drill
	one.want("T-1 x:closed", "off off")
	one.now = noon.Add(time.Hour)
	two.now = one.now

	// The first one is gone.
	two.deliver(two.alert("Errors", signal.Firing, "x", two.now))
	two.pass(15 * time.Second)
	two.want("T-2 x:settling", "on off")
	// It comes back, and receives the alert as well.
	one.now = two.now
	one.deliver(one.alert("Errors", signal.Firing, "x", noon.Add(time.Hour)))
	one.pass(15 * time.Second)
	one.want("T-1 x:closed T-2 x:following", "on off")
	two.deliver(two.alert("Errors", signal.Resolved, "x", noon.Add(time.Hour)))
	two.pass(time.Minute)
	two.want("T-2 x:closed", "off off")
}

// TestSameEpisode checks that no executor acts again on an episode on which the
// other one has acted.
func TestSameEpisode(t *testing.T) {
	one, two := newTwins(t)
	one.edits = []string{"undo: restore", "undo: restore\n    undo_after: 2m"}
	one.reading(one.fs)
	starts := one.now
	one.deliver(one.alert("Errors", signal.Firing, "x", starts))
	one.pass(15 * time.Second)
	one.pass(2 * time.Minute) // the time of the action is over
	one.want("T-1 x:closed", "off off")
	two.now = one.now
	two.deliver(two.alert("Errors", signal.Firing, "x", starts))
	two.pass(15 * time.Second)
	two.want("T-1 x:following", "off off")
}

// TestLostState checks that an executor without its state acts, because it
// reads the numbers in the ledger.
func TestLostState(t *testing.T) {
	w := newWorld(t)
	w.reading(w.fs)
	episode(w)
	w.now = w.now.Add(time.Hour)
	episode(w)
	w.reading(vfs.NewCrashableMem())
	w.now = w.now.Add(time.Hour)
	w.deliver(w.alert("Errors", signal.Firing, "x", w.now))
	w.pass(15 * time.Second)
	w.want("T-3 x:settling", "on off")
}

// TestLostStateUnread checks that people are asked if the ledger, which is not
// read, has the number.
func TestLostStateUnread(t *testing.T) {
	w := newWorld(t)
	episode(w)
	w.close()
	w.fs = vfs.NewCrashableMem()
	w.open()
	w.now = w.now.Add(time.Hour)
	starts := w.now
	w.deliver(w.alert("Errors", signal.Firing, "x", starts))
	w.pass(15 * time.Second)
	w.want("T-1 x:escalated", "off off")
	w.deliver(w.alert("Errors", signal.Resolved, "x", starts))
	w.pass(time.Minute)
	w.want("T-1 x:closed", "off off")
}

// TestDryNumbers checks that incidents without entries use no numbers: those of
// a dry run, and those that are refused.
func TestDryNumbers(t *testing.T) {
	one, two := newTwins(t)
	restart := func(dry bool) {
		two.close()
		two.dry = dry
		two.open()
	}
	restart(true)
	for range 3 {
		episode(two)
		two.now = two.now.Add(time.Hour)
	}
	two.want("T-1 x:closed", "off off")
	restart(false)
	one.now = two.now
	starts := one.now
	for _, w := range []*world{two, one} {
		w.deliver(w.alert("Errors", signal.Firing, "x", starts))
		w.pass(15 * time.Second)
	}
	two.want("T-1 x:settling", "on off")
	one.want("T-1 x:following", "on off")
	intents := 0
	for key := range maps.Keys(one.ledger.entries) {
		if strings.HasSuffix(key, "/intent") {
			intents++
		}
	}
	if intents != 1 {
		t.Errorf("%d intents, want 1", intents)
	}
}

// TestRefusedNumber checks that an incident that was refused uses no number,
// even after it was dropped.
func TestRefusedNumber(t *testing.T) {
	for _, age := range []time.Duration{time.Hour, keep + time.Hour} {
		w := newWorld(t)
		for _, service := range []string{"y", "z"} { // the budget of an hour
			w.deliver(w.alert("Errors", signal.Firing, service, noon))
			w.pass(15 * time.Second)
		}
		episode(w)
		for _, service := range []string{"y", "z"} {
			w.deliver(w.alert("Errors", signal.Resolved, service, noon))
		}
		w.pass(time.Minute)
		w.want("T-1 x:closed T-1 y:closed T-1 z:closed", "off off")
		w.pass(age)
		starts := w.now
		w.deliver(w.alert("Errors", signal.Firing, "x", starts))
		w.pass(15 * time.Second)
		for id, i := range w.incidents {
			if i.Key.Values()[0] == "x" && (i.Number != 1 || i.State != execute.Settling) {
				t.Errorf("after %s: %s is %s", age, id, i.State)
			}
		}
	}
}

// TestUnreadNumbers checks that an incident waits for the ledger only for some
// time after the start.
func TestUnreadNumbers(t *testing.T) {
	w := newWorld(t)
	w.deliver(w.alert("Errors", signal.Firing, "x", noon))
	w.close()
	w.now, w.numbers = noon.Add(15*time.Second), unread{}
	w.fs = w.fs.CrashClone(vfs.CrashCloneCfg{})
	w.open()
	w.pass(9 * time.Second)
	w.want("", "off off")
	w.pass(time.Second)
	w.want("T-1 x:settling", "on off")
}

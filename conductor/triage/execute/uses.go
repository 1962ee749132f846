package execute

import (
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	// longest is the longest budget.
	longest = 24 * time.Hour
	// maxUses is the number of intents that a Watcher keeps for budgets.
	maxUses = 10_000
)

// A Use is an intent in the ledger that counts for budgets: one of any executor
// that is not an undo.
type Use struct {
	Incident string
	Target   string
	Decided  time.Time // by the executor
	Recorded time.Time // by the ledger
}

// Uses are those of the ledger.
type Uses interface {
	// Uses returns what was recorded since a time, as far as it was read.
	Uses(since time.Time) []Use
}

// Uses implements Uses.
func (w *Watcher) Uses(since time.Time) (all []Use) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.uses {
		if u.Recorded.After(since) {
			all = append(all, u)
		}
	}
	return all
}

// use notes an entry of an executor if it counts for budgets. The caller holds
// the lock.
func (w *Watcher) use(r *Recorded) {
	var m munimentv1.TriageAction
	if protojson.Unmarshal(r.Payload, &m) != nil {
		return
	}
	if u, ok := useOf(&m, r.Time); ok && w.now().Sub(r.Time) < longest {
		w.uses = append(w.uses, u)
		w.uses = w.uses[max(0, len(w.uses)-maxUses):]
	}
}

// useOf returns what an entry of an executor uses of budgets.
func useOf(m *munimentv1.TriageAction, recorded time.Time) (Use, bool) {
	d := stated.FindStringSubmatch(m.Detail)
	if m.Phase != "intent" || m.Undoes != nil || d == nil {
		return Use{}, false
	}
	return Use{Incident: m.Incident, Target: d[1], Decided: m.Started.AsTime(), Recorded: recorded}, true
}

// used returns the number of actions on a target since a time, or on all
// targets if it is empty: those of this executor and, as the ledger has them,
// those of others and of a state that was lost. Those of others against the
// same incident do not count: the intent decides which executor acts.
func (e *Executor) used(i *Incident, target string, since time.Time) (int, error) {
	own, err := e.Store.times(rowUsed+target, time.Time{})
	if err != nil {
		return 0, err
	}
	n, known := 0, map[int64]bool{}
	for _, at := range own {
		known[at.UnixNano()] = true
		if at.After(since) {
			n++
		}
	}
	if e.Uses == nil {
		return n, nil
	}
	for _, u := range e.Uses.Uses(since) {
		if u.Incident != i.ID && (target == "" || u.Target == target) && !known[u.Decided.UnixNano()] {
			n++
		}
	}
	return n, nil
}

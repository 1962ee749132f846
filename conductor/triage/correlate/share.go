package correlate

import "muniment.dev/muniment/conductor/triage/signal"

// ObserveAll applies signals, and counts their effects. Those that the table
// cannot take do not keep the later ones from being applied, because these can
// be resolutions that make room. The error is the first one.
func (t *Table) ObserveAll(signals []signal.Signal, effects map[Effect]int) (first error) {
	for i := range signals {
		_, effect, err := t.Observe(&signals[i])
		if err == nil {
			effects[effect]++
		} else if first == nil {
			first = err
		}
	}
	return first
}

// room reports whether an alert of a sender may begin to fire: as long as the
// alerts of the sender that fire are fewer than those that still can. So one
// sender can take half of the table, and leaves the other half to the others.
func (t *Table) room(sender string) bool {
	return sender == "" || t.firing[sender] < t.max-t.fires
}

// count notes that an alert has begun or ceased to fire.
func (t *Table) count(a *Alert, fired bool) {
	switch {
	case a.Fires() == fired:
	case fired:
		t.fires--
		if t.firing[a.sender]--; t.firing[a.sender] == 0 {
			delete(t.firing, a.sender)
		}
	default:
		t.fires++
		t.firing[a.sender]++
	}
}

// Package company tracks whether an owner is the only one making calls, so that
// owners are slowed down only while others are active.
package company

import "time"

// ActiveFor is how long an owner counts as active after a call.
const ActiveFor = time.Second

// A Tracker records the latest calls. The caller must synchronize access. The
// zero value has no calls.
type Tracker[K comparable] struct {
	// last is the latest call, and other the latest call of any other owner.
	last, other call[K]
}

type call[K comparable] struct {
	owner K
	at    time.Time
}

// Arrived records a call.
func (t *Tracker[K]) Arrived(owner K, now time.Time) {
	if t.last.owner != owner {
		t.other = t.last
	}
	t.last = call[K]{owner, now}
}

// Until returns the time from which the owner is alone if no other owner calls.
func (t *Tracker[K]) Until(owner K) time.Time {
	c := t.last
	if c.owner == owner {
		c = t.other
	}
	return c.at.Add(ActiveFor)
}

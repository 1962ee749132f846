package correlate

import (
	"slices"
	"time"

	"muniment.dev/muniment/conductor/triage/catalogue"
)

// A Record is the lasting form of an alert. Times are nanoseconds since 1970,
// and 0 if there is none.
type Record struct {
	Source  string            `json:"s"`
	Name    string            `json:"n"`
	Labels  map[string]string `json:"l,omitempty"`
	End     int64             `json:"e,omitempty"`
	Starts  [][2]int64        `json:"b,omitempty"` // at, received
	Changes []int64           `json:"c,omitempty"`
	Traces  []string          `json:"t,omitempty"`
	Claims  []string          `json:"i,omitempty"`
	Quiet   time.Duration     `json:"q,omitempty"`
	Last    int64             `json:"a,omitempty"`
	Seen    int64             `json:"r,omitempty"`
	Heard   int64             `json:"h,omitempty"` // to the minute at least
	Sender  string            `json:"w,omitempty"`
}

// Identity returns what alerts have in common that are the same.
func (a *Alert) Identity() string { return a.identity }

// Record returns the lasting form of an alert.
func (a *Alert) Record() *Record {
	r := &Record{Source: a.Source, Name: a.Name, Labels: a.Labels, End: nanos(a.end), Traces: a.traces, Claims: a.claims,
		Quiet: a.quiet, Last: nanos(a.last), Seen: nanos(a.seen), Heard: nanos(a.heard), Sender: a.sender}
	for _, s := range a.starts {
		r.Starts = append(r.Starts, [2]int64{nanos(s.at), nanos(s.received)})
	}
	for _, at := range a.changes {
		r.Changes = append(r.Changes, nanos(at))
	}
	return r
}

// Restore adds an alert to a table that does not have it.
func (t *Table) Restore(r *Record) {
	a := &Alert{Alert: catalogue.Alert{Source: r.Source, Name: r.Name, Labels: r.Labels}, end: moment(r.End), traces: r.Traces, claims: r.Claims,
		quiet: r.Quiet, last: moment(r.Last), seen: moment(r.Seen), heard: moment(r.Heard), sender: r.Sender}
	for _, s := range r.Starts {
		a.starts = append(a.starts, start{moment(s[0]), moment(s[1])})
		a.hear(moment(s[1])) // records of earlier versions lack it
	}
	for _, at := range r.Changes {
		a.changes = append(a.changes, moment(at))
	}
	a.identity = identity(a.Source, a.Name, a.Labels)
	t.add(a)
	t.count(a, false)
	if a.quiet > 0 && a.Fires() {
		t.quiet[a] = true
	}
}

// Expire ends the episodes of alerts that have been quiet for long enough.
func (t *Table) Expire(now time.Time) {
	for a := range t.quiet {
		if a.Fires() && now.Sub(a.seen) < a.quiet {
			continue
		}
		delete(t.quiet, a)
		if a.Fires() {
			if a.end = a.last; a.Started().After(a.end) {
				a.end = a.Started()
			}
			a.starts = nil
			t.count(a, true)
			a.note(now)
			t.touch(a)
		}
	}
}

// Changes returns the alerts that were added or changed since the latest call,
// and the identities of those that were dropped. An alert can be both.
func (t *Table) Changes() (changed []*Alert, dropped []string) {
	changed, dropped = t.changed, t.dropped
	t.changed, t.dropped = nil, nil
	for _, a := range changed {
		a.unsaved = false
	}
	return changed, dropped
}

// Horizon returns the latest end of the alerts that were dropped. A signal
// about an alert that the table does not have is stale if it started before.
func (t *Table) Horizon() time.Time { return t.horizon }

// SetHorizon restores the horizon.
func (t *Table) SetHorizon(at time.Time) { t.horizon = at }

// Use replaces the catalogue.
func (t *Table) Use(c *catalogue.Catalogue) {
	t.catalogue, t.concerned = c, map[*catalogue.Type]map[*Alert]int{}
	for _, a := range t.alerts {
		t.add(a)
	}
}

// Count returns the number of alerts that fire, and that of all.
func (t *Table) Count() (firing, all int) {
	for _, a := range t.alerts {
		if a.Fires() {
			firing++
		}
	}
	return firing, len(t.alerts)
}

// Unmatched returns the number of alerts that fire and match no condition of
// any type, and the names of some of them.
func (t *Table) Unmatched(most int) (n int, names []string) {
	for _, a := range t.alerts {
		if !a.Fires() || len(a.matches) > 0 {
			continue
		}
		n++
		if len(names) < most && !slices.Contains(names, a.Name) {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return n, names
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

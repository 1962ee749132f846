// Package correlate keeps what signals have reported, and finds the alerts that
// belong together. See docs/spec/triage.md, section 3.
package correlate

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/signal"
)

const (
	// MaxAlerts is the number of alerts that a table keeps.
	MaxAlerts = 100_000
	// maxStarts is the number of starts that are kept for an alert.
	maxStarts = 16
	// unheard is how long after the latest signal of an episode another start
	// is that of the next one: a minute for clocks that differ, and one for
	// twins that evaluate their rules at other times.
	unheard = 2 * time.Minute
)

// ErrFull reports that a table cannot take another alert, because it is full of
// alerts that fire. The sender should repeat the message later.
var ErrFull = errors.New("too many alerts fire: repeat the message later")

// An Effect is what a signal has changed.
type Effect string

// The effects of a signal.
const (
	Opened    Effect = "opened"
	Continued Effect = "continued"
	Stale     Effect = "stale"
	Ended     Effect = "ended"
	Recorded  Effect = "recorded"
)

// A Standing is whether an alert counts, and why it does not.
type Standing string

// The standings of an alert.
const (
	Counts   Standing = "counts"
	Resolved Standing = "resolved"
	Flapping Standing = "flapping"
	Chronic  Standing = "chronic"
	// Claimed means that the episode belongs to an incident.
	Claimed Standing = "claimed"
)

// A Table has the alerts that signals have reported. It is not safe for
// concurrent use.
type Table struct {
	catalogue *catalogue.Catalogue
	alerts    map[string]*Alert                  // by identity
	concerned map[*catalogue.Type]map[*Alert]int // and the index of the match
	max       int
	horizon   time.Time       // the latest end of an alert that was dropped
	quiet     map[*Alert]bool // those that fire until they are quiet
	visited   int             // alerts
	fires     int             // alerts that fire
	firing    map[string]int  // those of each sender

	changed []*Alert // since the latest call of Changes, each once
	dropped []string // their identities
}

// New returns an empty table for the incident types of a catalogue.
func New(c *catalogue.Catalogue) *Table {
	return &Table{catalogue: c, alerts: map[string]*Alert{}, concerned: map[*catalogue.Type]map[*Alert]int{}, quiet: map[*Alert]bool{}, firing: map[string]int{}, max: MaxAlerts}
}

// An Alert is what signals with the same identity report on.
type Alert struct {
	catalogue.Alert
	identity string
	matches  []Match // with the types of the catalogue that it concerns

	end     time.Time   // the latest of resolved signals, or zero
	starts  []start     // later than end, sorted. Empty: the alert does not fire
	changes []time.Time // when episodes opened and ended, the latest last
	traces  []string    // of the episode, sorted
	heard   time.Time   // the latest reception of a signal of the episode
	sender  string      // who has opened the episode, or ""

	// Those of signals with Quiet: its value, the latest start, and the time of
	// its reception.
	quiet      time.Duration
	last, seen time.Time

	claims []string // the incidents to which the episode belongs

	unsaved bool // it is in Table.changed
}

// A start is that of an episode, as a signal reports it.
type start struct{ at, received time.Time }

// A Match is how an alert relates to an incident type.
type Match struct {
	Type  *catalogue.Type
	Key   catalogue.Key
	Keyed bool // the alert has all labels of the key

	Signals uint32 // bit i: signal i of the type
	Abstain uint32 // bit i: reason i
	// Undecided is the first error of a condition of the signals, and Unclear
	// that of the reasons to abstain.
	Undecided, Unclear error
}

// Observe applies a signal.
func (t *Table) Observe(s *signal.Signal) (*Alert, Effect, error) {
	labels := maps.Clone(s.Labels)
	for _, twin := range t.catalogue.Twins {
		delete(labels, twin)
	}
	id := identity(s.Source, s.Name, labels)
	a := t.alerts[id]
	fired := a != nil && a.Fires()
	if !fired && s.State == signal.Firing && (a == nil || s.Starts.After(a.end)) && !t.room(s.Sender) {
		return nil, "", ErrFull
	}
	if a == nil {
		if len(t.alerts) >= t.max && !t.forget() {
			return nil, "", ErrFull
		}
		a = &Alert{Alert: catalogue.Alert{Source: s.Source, Name: s.Name, Labels: labels}, identity: id}
		// The end of an episode that was dropped is not known any more.
		if !s.Starts.After(t.horizon) {
			a.end = t.horizon
		}
		t.add(a)
		t.touch(a)
	}
	effect, changed := a.apply(s)
	if changed {
		t.touch(a)
	}
	if !fired {
		a.sender = s.Sender
	}
	t.count(a, fired)
	if a.quiet > 0 && a.Fires() {
		t.quiet[a] = true
	}
	return a, effect, nil
}

// add adds an alert, or matches it with another catalogue.
func (t *Table) add(a *Alert) {
	t.alerts[a.identity] = a
	a.matches = match(t.catalogue, &a.Alert)
	for i := range a.matches {
		of := a.matches[i].Type
		if t.concerned[of] == nil {
			t.concerned[of] = map[*Alert]int{}
		}
		t.concerned[of][a] = i
	}
}

// drop drops an alert that has ended.
func (t *Table) drop(a *Alert) {
	delete(t.alerts, a.identity)
	for i := range a.matches {
		delete(t.concerned[a.matches[i].Type], a)
	}
	t.dropped = append(t.dropped, a.identity)
	if a.end.After(t.horizon) {
		t.horizon = a.end
	}
}

// touch notes that an alert has changed.
func (t *Table) touch(a *Alert) {
	if !a.unsaved {
		a.unsaved = true
		t.changed = append(t.changed, a)
	}
}

// identity returns a text that is the same for equal arguments only.
func identity(source, name string, labels map[string]string) string {
	var b strings.Builder
	add := func(s string) { b.WriteString(strconv.Itoa(len(s)) + ":" + s) }
	add(source)
	add(name)
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		add(label)
		add(labels[label])
	}
	return b.String()
}

// forget drops the alerts that ended first, a sixteenth of the table. It
// reports whether there was one.
func (t *Table) forget() bool {
	if t.fires == len(t.alerts) {
		return false
	}
	var ended []*Alert
	for _, a := range t.alerts {
		if len(a.starts) == 0 {
			ended = append(ended, a)
		}
	}
	slices.SortFunc(ended, func(a, b *Alert) int {
		return cmp.Or(a.end.Compare(b.end), strings.Compare(a.identity, b.identity))
	})
	ended = ended[:min(len(ended), t.max/16+1)]
	for _, a := range ended {
		t.drop(a)
	}
	return len(ended) > 0
}

// match evaluates the conditions, which read nothing that changes.
func match(c *catalogue.Catalogue, a *catalogue.Alert) (all []Match) {
	places := c.Conditions(a.Name)
	for len(places) > 0 {
		of := places[0].T
		m := Match{Type: c.Types[of]}
		for ; len(places) > 0 && places[0].T == of; places = places[1:] {
			p := places[0]
			ok, err := c.Condition(p).Holds(a)
			bits, problem := &m.Signals, &m.Undecided
			if p.Reason {
				bits, problem = &m.Abstain, &m.Unclear
			}
			*problem = cmp.Or(*problem, err)
			if ok {
				*bits |= 1 << p.N
			}
		}
		if m.Signals|m.Abstain != 0 || m.Undecided != nil || m.Unclear != nil {
			m.Key, m.Keyed = m.Type.Key(a.Labels)
			all = append(all, m)
		}
	}
	return all
}

// apply applies a signal, and reports whether it has changed the alert.
func (a *Alert) apply(s *signal.Signal) (Effect, bool) {
	if s.State == signal.Resolved {
		return a.resolve(s)
	}
	if !a.end.IsZero() && !s.Starts.After(a.end) {
		return Stale, false
	}
	if s.Quiet == 0 && a.quiet == 0 && a.Fires() && s.Starts.After(a.heard.Add(unheard)) {
		a.end, a.starts = a.heard, nil // without a resolution, as under a silence
		a.note(s.Received)
	}
	opens := len(a.starts) == 0
	if opens {
		a.traces, a.claims, a.heard = nil, nil, s.Received
	}
	changed := a.hear(s.Received)
	if s.Quiet > 0 && s.Starts.After(a.last) {
		a.quiet, a.last, a.seen, changed = s.Quiet, s.Starts, s.Received, true
	}
	if opens || s.Quiet == 0 || s.Starts.Before(a.Started()) {
		changed = a.addStart(start{s.Starts, s.Received}) || changed
	}
	if a.addTraces(s.Traces) {
		changed = true
	}
	if !opens {
		return Continued, changed
	}
	a.note(s.Received)
	return Opened, true
}

// hear notes a reception. It reports a change once a minute only, because most
// signals repeat what is known.
func (a *Alert) hear(at time.Time) (changed bool) {
	if !at.After(a.heard) {
		return false
	}
	changed = at.Truncate(time.Minute).After(a.heard)
	a.heard = at
	return changed
}

func (a *Alert) resolve(s *signal.Signal) (Effect, bool) {
	changed := s.Ends.After(a.end)
	if changed {
		a.end = s.Ends
	}
	fired := len(a.starts) > 0
	a.starts = slices.DeleteFunc(a.starts, func(b start) bool { return !b.at.After(a.end) })
	if !fired || len(a.starts) > 0 {
		return Recorded, changed
	}
	a.note(s.Received)
	return Ended, true
}

func (a *Alert) addStart(s start) (changed bool) {
	i, found := slices.BinarySearchFunc(a.starts, s, func(x, y start) int { return x.at.Compare(y.at) })
	switch {
	case !found:
		a.starts = slices.Insert(a.starts, i, s)
	case s.received.Before(a.starts[i].received):
		a.starts[i].received = s.received
	default:
		return false
	}
	if len(a.starts) > maxStarts {
		a.starts = slices.Delete(a.starts, 1, 2)
	}
	return true
}

func (a *Alert) addTraces(traces []string) (changed bool) {
	for _, id := range traces {
		if i, found := slices.BinarySearch(a.traces, id); !found && len(a.traces) < signal.MaxTraces {
			a.traces = slices.Insert(a.traces, i, id)
			changed = true
		}
	}
	return changed
}

// note keeps the time when an episode opened or ended.
func (a *Alert) note(at time.Time) {
	a.changes = append(a.changes, at)
	if n := len(a.changes) - catalogue.MaxChanges; n > 0 {
		a.changes = slices.Delete(a.changes, 0, n)
	}
}

// Fires reports whether the alert fires.
func (a *Alert) Fires() bool { return len(a.starts) > 0 }

// Traces returns the trace IDs of the alert's episode.
func (a *Alert) Traces() []string { return a.traces }

// Started returns the start of the episode, by the clock of the sender.
func (a *Alert) Started() time.Time {
	if len(a.starts) == 0 {
		return time.Time{}
	}
	return a.starts[0].at
}

// Opened returns the time when the episode was first reported, by our own
// clock.
func (a *Alert) Opened() (at time.Time) {
	for _, s := range a.starts {
		if at.IsZero() || s.received.Before(at) {
			at = s.received
		}
	}
	return at
}

// Standing returns whether the alert counts for a type at a time.
func (t *Table) Standing(a *Alert, of *catalogue.Type, now time.Time) Standing {
	if !a.Fires() {
		return Resolved
	}
	recent := 0
	for _, at := range a.changes {
		if now.Sub(at) < t.catalogue.Flapping.Within {
			recent++
		}
	}
	switch {
	case recent >= t.catalogue.Flapping.Changes:
		return Flapping
	case now.Sub(a.Started()) > of.Window || now.Sub(a.Opened()) > of.Window:
		return Chronic
	}
	return Counts
}

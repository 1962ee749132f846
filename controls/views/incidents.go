package views

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of what is kept of the incidents of a stream.
const (
	maxIncidents       = 2_000
	maxIncidentEntries = 20_000
	maxIncidentSteps   = 256 // of one incident
	maxIncidentNotes   = 64  // of one incident
	maxQuarantined     = 256
	maxQuarantines     = 100 // in an answer
)

// The actions of entries that are about no step: notices of the executor and
// requests of persons. See docs/spec/triage.md, section 9.
const (
	requestApproval, escalate, quarantine, closeNotice = "request-approval", "escalate", "quarantine", "close"
	takeover, replaced                                 = "takeover", "replaced"

	approve, reject, undo, misfire, release, kill, unkill = "approve", "reject", "undo", "misfire", "release", "kill", "unkill"

	// restoreAction is the action of an undo.
	restoreAction = "restore"
	// anyIncident is the incident of kill and unkill.
	anyIncident = "*"
)

var (
	notices  = []string{requestApproval, escalate, quarantine, closeNotice, takeover, replaced}
	requests = []string{approve, reject, undo, misfire, release, kill, unkill}
)

// ErrNoIncident reports that no entry is about an incident.
var ErrNoIncident = errors.New("no such incident")

// incidents follows the incidents of a stream by the headers of its triage
// actions.
type incidents struct {
	projection
	all         map[string]*incident // by identifier
	entries     int                  // steps and notes of all incidents
	quarantined map[string]*incidentNote
	killed      *incidentNote // nil: the kill switch is off
	truncated   bool          // older incidents were dropped
}

// An incident has what the headers of its entries contain.
type incident struct {
	id, playbook  string
	opened        time.Time
	acted         time.Time // zero: no action has an outcome
	newest        uint64    // entry
	newestTime    time.Time
	steps         []*incidentStep // in the order of their first entries
	notes         []*incidentNote // the oldest first
	withoutLedger bool
	truncated     bool // it has more steps or notes
}

// An incidentStep is an action or the undo of one, or an entry about a whole
// action, whose number is 0.
type incidentStep struct {
	number          uint32
	action, undo    string // undo is empty if the effect lapses
	result          string
	withoutLedger   bool
	intent, outcome *incidentEntry // nil: none
}

// An incidentEntry is the place of an entry.
type incidentEntry struct {
	index uint64
	time  time.Time
}

// An incidentNote is an entry that is about no step.
type incidentNote struct {
	incidentEntry
	incident, playbook, action string
	byPerson                   bool
}

func newIncidents() *incidents { return &incidents{projection: newProjection()} }

// refresh reads new entries. It returns how many indexes of the log are left.
func (x *incidents) refresh(ctx context.Context, log Log, s *ledger.Stream) (behind uint64, err error) {
	p := log.Published()
	if x.started {
		indexes, all, err := x.erased(ctx, log, p, s)
		if err != nil {
			return 0, err
		}
		for index := range indexes {
			all = all || index < x.next && x.entries > 0
		}
		x.started = !all
	}
	if !x.started {
		x.start(p, 0)
		x.all, x.quarantined, x.killed, x.entries, x.truncated = map[string]*incident{}, map[string]*incidentNote{}, nil, 0, false
	}
	for e, err := range some(ctx, log, p, s, ledger.Filter{Kind: kindname.TriageAction}, &x.next) {
		if err != nil {
			return 0, err
		}
		if e.Header != nil && !e.Header.NotAdmitted() {
			x.add(e)
		}
	}
	return x.behind(p), nil
}

// add adds an entry.
func (x *incidents) add(e *ledger.Entry) {
	a := e.Header.Attributes
	at := incidentEntry{e.Index, timeOf(e)}
	switch note := noteOf(e.Header, at); {
	case note == nil:
		x.of(a, at).step(x, a, at)
	case note.incident == anyIncident:
		x.govern(note)
	default:
		x.govern(note)
		x.of(a, at).note(x, note)
	}
	if len(x.all) > maxIncidents || x.entries > maxIncidentEntries {
		x.trim()
	}
}

// of returns the incident of an entry.
func (x *incidents) of(a map[string]string, at incidentEntry) *incident {
	one := x.all[a["incident"]]
	if one == nil {
		id := strings.Clone(a["incident"]) // not the header that it is a part of
		one = &incident{id: id, playbook: strings.Clone(a["playbook"]), opened: startOf(a, at)}
		x.all[id] = one
	}
	one.newest, one.newestTime = at.index, at.time
	return one
}

// startOf returns when an entry's action has started.
func startOf(a map[string]string, at incidentEntry) time.Time {
	if t, err := time.Parse(time.RFC3339Nano, a["started"]); err == nil {
		return t
	}
	return at.time
}

// step adds an entry about a step to the incident.
func (one *incident) step(x *incidents, a map[string]string, at incidentEntry) {
	number := uint32(0)
	if n, err := strconv.ParseUint(a["step"], 10, 32); err == nil {
		number = uint32(n)
	}
	var s *incidentStep
	if number > 0 {
		if i := slices.IndexFunc(one.steps, func(s *incidentStep) bool { return s.number == number }); i >= 0 {
			s = one.steps[i]
		}
	}
	if s == nil {
		if len(one.steps) >= maxIncidentSteps {
			one.truncated = true
			return
		}
		s = &incidentStep{number: number, action: strings.Clone(a["action"]), undo: strings.Clone(a["undo"])}
		one.steps = append(one.steps, s)
		x.entries++
	}
	s.withoutLedger = s.withoutLedger || a["withoutLedger"] == "true"
	one.withoutLedger = one.withoutLedger || s.withoutLedger
	if a["phase"] == "intent" {
		if s.intent == nil {
			s.intent = &at
		}
		return
	}
	s.outcome, s.result = &at, strings.Clone(a["result"])
	if one.acted.IsZero() && !s.isUndo() && s.result != "skipped" {
		one.acted = at.time
		if t, err := time.Parse(time.RFC3339Nano, a["finished"]); err == nil {
			one.acted = t
		}
	}
}

// isUndo reports whether a step undoes another one.
func (s *incidentStep) isUndo() bool { return s.action == restoreAction && s.undo != restoreAction }

// noteOf returns what an entry contains that is about no step, or nil.
func noteOf(h *entry.Header, at incidentEntry) *incidentNote {
	a := h.Attributes
	if a["phase"] != "" || !slices.Contains(notices, a["action"]) && !slices.Contains(requests, a["action"]) {
		return nil
	}
	return &incidentNote{at, strings.Clone(a["incident"]), strings.Clone(a["playbook"]), strings.Clone(a["action"]), exception.IsPerson(h.Submitter)}
}

// void reports whether a note is a request that no person has made.
func (n *incidentNote) void() bool { return slices.Contains(requests, n.action) && !n.byPerson }

// govern follows the quarantines and the kill switch.
func (x *incidents) govern(n *incidentNote) {
	if n.void() {
		return
	}
	switch n.action {
	case quarantine:
		if len(x.quarantined) < maxQuarantined || x.quarantined[n.playbook] != nil {
			x.quarantined[n.playbook] = n
		}
	case release:
		if q := x.quarantined[n.playbook]; q != nil && q.incident == n.incident {
			delete(x.quarantined, n.playbook)
		}
	case kill:
		x.killed = n
	case unkill:
		x.killed = nil
	}
}

// note adds an entry that is about no step to the incident.
func (one *incident) note(x *incidents, n *incidentNote) {
	if len(one.notes) >= maxIncidentNotes {
		one.truncated = true
		return
	}
	one.notes = append(one.notes, n)
	x.entries++
}

// trim drops the incidents with the oldest newest entries: a quarter of them.
func (x *incidents) trim() {
	all := x.newestFirst()
	for _, one := range all[len(all)*3/4:] {
		x.entries -= len(one.steps) + len(one.notes)
		delete(x.all, one.id)
	}
	x.truncated = true
}

// newestFirst returns the incidents, the one with the newest entry first.
func (x *incidents) newestFirst() []*incident {
	return slices.SortedFunc(maps.Values(x.all), func(a, b *incident) int { return cmp.Compare(b.newest, a.newest) })
}

// useIncidents calls f with the incidents of the viewer's stream, and returns
// how many indexes of the log are left.
func (r *Reader) useIncidents(ctx context.Context, v *Viewer, f func(*incidents) error) (behind uint64, err error) {
	x := r.tallies.of(v.Stream, r.Now()).incidents
	if err := x.lock.Acquire(ctx, 1); err != nil {
		return 0, err
	}
	defer x.lock.Release(1)
	if behind, err = x.refresh(ctx, r.Log, v.Stream); err != nil {
		return 0, err
	}
	return behind, f(x)
}

// ListIncidents returns a page of the incidents that match the request, the one
// with the newest entry first. Errors: ErrPageToken.
func (r *Reader) ListIncidents(ctx context.Context, v *Viewer, req *munimentv1.ListIncidentsRequest) (*munimentv1.ListIncidentsResponse, error) {
	res := &munimentv1.ListIncidentsResponse{}
	behind, err := r.useIncidents(ctx, v, func(x *incidents) error {
		var match []*assessment
		for _, one := range x.newestFirst() {
			if a := x.assess(one, nil); a.matches(req) {
				match = append(match, a)
			}
		}
		res.Total, res.Truncated = uint64(len(match)), x.truncated
		p, next, err := pageOf(v.Stream, req, req.PageSize, req.PageToken, len(match))
		if err != nil {
			return err
		}
		res.NextPageToken = next
		for _, a := range match[p.from:p.to] {
			res.Incidents = append(res.Incidents, a.message())
		}
		return r.guards(ctx, v, x, res)
	})
	if err != nil {
		return nil, err
	}
	res.Behind = behind
	return res, r.detect(ctx, v, res.Incidents)
}

// guards adds the quarantines and the kill switch to an answer.
func (r *Reader) guards(ctx context.Context, v *Viewer, x *incidents, res *munimentv1.ListIncidentsResponse) (err error) {
	all := slices.SortedFunc(maps.Values(x.quarantined), func(a, b *incidentNote) int { return cmp.Compare(b.index, a.index) })
	for _, n := range first(all, maxQuarantines) {
		m, err := r.note(ctx, v, n)
		if err != nil {
			return err
		}
		res.Quarantined = append(res.Quarantined, m)
	}
	if x.killed != nil {
		res.KillSwitch, err = r.note(ctx, v, x.killed)
	}
	return err
}

// detect adds the times of detection of findings with the incidents' IDs, and
// the times to the first action.
func (r *Reader) detect(ctx context.Context, v *Viewer, all []*munimentv1.IncidentRecord) error {
	byID := map[string]*munimentv1.IncidentRecord{}
	for _, m := range all {
		byID[strings.ToUpper(m.Id)] = m
	}
	err := r.Findings.Use(ctx, v.Stream, func(found []*finding.Finding, _ uint64) {
		for _, f := range found {
			for _, id := range append([]string{f.ID}, f.Aliases...) {
				m := byID[strings.ToUpper(id)]
				if m != nil && (m.Detected == nil || f.Detected.Before(m.Detected.AsTime())) {
					m.Detected = timestamp(f.Detected)
				}
			}
		}
	})
	for _, m := range all {
		from := cmp.Or(m.Detected, m.Opened)
		if m.Acted == nil || from == nil {
			continue
		}
		if d := m.Acted.AsTime().Sub(from.AsTime()).Seconds(); d >= 0 {
			m.FirstActionSeconds = &d
		}
	}
	return err
}

// keyOf returns the hash of the key and the number in an identifier, if it has
// the form of docs/spec/triage.md, section 7.
func keyOf(id, playbook string) (key string, number uint64) {
	rest, ok := strings.CutPrefix(id, playbook+"/")
	key, text, found := strings.Cut(rest, "-")
	n, err := strconv.ParseUint(text, 10, 64)
	if !ok || !found || err != nil || len(key) != 12 || strings.Trim(key, "0123456789abcdef") != "" {
		return "", 0
	}
	return key, n
}

// incidentOf returns the incident with an identifier. Errors: ErrNoIncident.
func (x *incidents) incidentOf(id string) (*incident, error) {
	one := x.all[id]
	if one == nil {
		return nil, fmt.Errorf("%q: %w", id, ErrNoIncident)
	}
	return one, nil
}

package views

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// maxCorrelated limits the alerts and the traces of an incident in an answer.
const maxCorrelated = 64

// An assessment is what the entries of an incident show together.
type assessment struct {
	*incident
	state       string
	quarantined bool
	misfired    bool
	waiting     *incidentNote
	states      []string // of the steps
	undoes      []int    // the positions of the undone steps, or -1
	undoneBy    []int    // the positions of the newest undo steps, or -1
}

// assess determines the state of an incident. Intents has the intents of the
// steps that steps undo, by the positions of the latter. Without it, an undo
// belongs to the latest step with its action whose effect exists.
func (x *incidents) assess(one *incident, intents map[int]uint64) *assessment {
	a := &assessment{incident: one, quarantined: x.quarantined[one.playbook] != nil}
	for i, s := range one.steps {
		a.states = append(a.states, s.state())
		a.undoes, a.undoneBy = append(a.undoes, -1), append(a.undoneBy, -1)
		if s.isUndo() {
			a.pair(i, intents)
		}
	}
	a.follow()
	return a
}

// state returns the state of a step without regard to its undo.
func (s *incidentStep) state() string {
	switch {
	case s.outcome == nil:
		return "intended"
	case s.result == "succeeded":
		return "confirmed"
	case s.result == "skipped" && s.isUndo():
		return "kept"
	case s.result == "skipped":
		return "skipped"
	}
	return "failed"
}

// pair finds the step that the i-th one undoes, and sets the state of it.
func (a *assessment) pair(i int, intents map[int]uint64) {
	undo, target := a.steps[i], -1
	if intent, ok := intents[i]; ok {
		target = slices.IndexFunc(a.steps, func(s *incidentStep) bool { return s.intent != nil && s.intent.index == intent })
	} else {
		for j, s := range slices.Backward(a.steps[:i]) {
			if s.action == undo.undo && !s.isUndo() && s.result == "succeeded" && a.states[j] != "undone" {
				target = j
				break
			}
		}
	}
	if target < 0 || target == i {
		return
	}
	a.undoes[i], a.undoneBy[target] = target, i
	switch a.states[i] {
	case "intended":
		a.states[target] = "undoing"
	case "confirmed":
		a.states[target] = "undone"
	case "kept":
		a.states[target] = "kept"
	case "failed":
		a.states[target] = "confirmed" // it is tried again
	}
}

// follow determines the state of the incident from its notes and steps.
func (a *assessment) follow() {
	closed, ending := false, false
	var escalated *incidentNote
	for _, n := range a.notes {
		if n.void() {
			continue
		}
		switch n.action {
		case requestApproval:
			a.waiting = n
		case escalate:
			a.waiting, escalated = nil, n
		case closeNotice:
			a.waiting, closed = nil, !a.actsAfter(n.index)
		case undo, misfire:
			ending = true
			a.misfired = a.misfired || n.action == misfire
		case quarantine:
			a.misfired = true
		}
	}
	if a.waiting != nil && a.actsAfter(a.waiting.index) {
		a.waiting = nil
	}
	open, undoing, effects := false, false, false
	for i, s := range a.steps {
		open = open || s.outcome == nil
		undoing = undoing || s.outcome == nil && s.isUndo()
		ending = ending || s.isUndo()
		effects = effects || a.states[i] == "confirmed" && !s.isUndo() && !s.lapses() && s.number > 0
	}
	switch {
	case closed:
		a.state = "closed"
	case a.waiting != nil:
		a.state = "waiting"
	case undoing:
		a.state = "undoing"
	case open:
		a.state = "acting"
	case escalated != nil && !a.actsAfter(escalated.index):
		a.state = "escalated"
	case effects && ending:
		a.state = "undoing"
	case effects:
		a.state = "settling"
	default:
		a.state = "closed"
	}
}

// actsAfter reports whether a step was begun after an entry.
func (a *assessment) actsAfter(index uint64) bool {
	return slices.ContainsFunc(a.steps, func(s *incidentStep) bool { return s.intent != nil && s.intent.index > index })
}

func (s *incidentStep) lapses() bool { return s.undo == "" }

// matches reports whether the incident is one that the request asks for.
func (a *assessment) matches(req *munimentv1.ListIncidentsRequest) bool {
	return (len(req.States) == 0 || slices.Contains(req.States, a.state)) && (req.Playbook == "" || req.Playbook == a.playbook) && (!req.Misfired || a.misfired)
}

// message returns the incident without its steps and notes.
func (a *assessment) message() *munimentv1.IncidentRecord {
	m := &munimentv1.IncidentRecord{
		Id: a.id, Playbook: a.playbook, State: a.state, Opened: timestamp(a.opened), Acted: timestamp(a.acted), WithoutLedger: a.withoutLedger,
		Misfired: a.misfired, Quarantined: a.quarantined, Newest: a.newest, NewestTime: timestamp(a.newestTime), Truncated: a.truncated,
	}
	m.Key, m.Number = keyOf(a.id, a.playbook)
	for i, s := range a.steps {
		if s.isUndo() {
			continue
		}
		m.StepCount++
		switch s.result {
		case "succeeded", "rolled-back":
			m.Succeeded++
		case "failed":
			m.Failed++
		case "skipped":
			m.Skipped++
		}
		switch {
		case a.states[i] == "undone":
			m.Undone++
		case a.states[i] == "kept":
			m.Kept++
		case s.result == "succeeded" && s.lapses():
			m.Lapsing++
		}
	}
	if a.waiting != nil {
		m.Waiting = &munimentv1.IncidentNote{Index: a.waiting.index, Time: timestamp(a.waiting.time), Incident: a.id, Playbook: a.playbook, Action: a.waiting.action}
	}
	return m
}

// GetIncident returns an incident with its steps and notes. Errors:
// ErrNoIncident.
func (r *Reader) GetIncident(ctx context.Context, v *Viewer, id string) (*munimentv1.GetIncidentResponse, error) {
	res := &munimentv1.GetIncidentResponse{}
	_, err := r.useIncidents(ctx, v, func(x *incidents) error {
		one, err := x.incidentOf(id)
		if err != nil {
			return err
		}
		steps, intents, err := r.incidentSteps(ctx, v, one)
		if err != nil {
			return err
		}
		a := x.assess(one, intents)
		m := a.message()
		for i, s := range steps {
			s.State = a.states[i]
			if j := a.undoes[i]; j >= 0 {
				s.Undoes = a.steps[j].number
			}
			if j := a.undoneBy[i]; j >= 0 {
				s.UndoneBy = a.steps[j].number
			}
		}
		slices.SortStableFunc(steps, func(a, b *munimentv1.IncidentStep) int { return cmp.Compare(a.Number, b.Number) })
		m.Steps = steps
		for _, n := range one.notes {
			note, err := r.noteInFull(ctx, v, n)
			if err != nil {
				return err
			}
			if n == a.waiting {
				m.Waiting = note
			}
			m.Notes = append(m.Notes, note)
		}
		if err := r.correlate(ctx, v, one, m); err != nil {
			return err
		}
		m.Actions = v.incidentActions(a, x.quarantined[one.playbook], x.killed != nil, m.Notes)
		res.Incident = m
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, r.detect(ctx, v, []*munimentv1.IncidentRecord{res.Incident})
}

// incidentSteps returns the steps of an incident with the contents of their
// entries, and the intents that they undo by their positions.
func (r *Reader) incidentSteps(ctx context.Context, v *Viewer, one *incident) (steps []*munimentv1.IncidentStep, undone map[int]uint64, err error) {
	undone = map[int]uint64{}
	for i, s := range one.steps {
		m := &munimentv1.IncidentStep{Number: s.number, Action: s.action, Lapses: s.lapses(), WithoutLedger: s.withoutLedger, Result: s.result}
		for _, e := range []*incidentEntry{s.outcome, s.intent} { // the intent has when it began
			if e == nil {
				continue
			}
			entry, err := r.entry(ctx, v.Stream, e.index)
			if err != nil {
				return nil, nil, err
			}
			stepTimes(m, entry, e == s.intent)
		}
		doc, err := r.triageAction(ctx, v, cmp.Or(s.outcome, s.intent).index)
		if err != nil {
			return nil, nil, err
		}
		if doc != nil {
			m.Detail, m.Target = doc.Detail, targetOf(doc)
			if doc.Undoes != nil {
				undone[i] = doc.Undoes.GetIndex()
			}
		}
		steps = append(steps, m)
	}
	return steps, undone, nil
}

// stepTimes adds what the header of an entry of a step contains.
func stepTimes(m *munimentv1.IncidentStep, e *ledger.Entry, isIntent bool) {
	at := timestamp(timeOf(e))
	if isIntent {
		m.Intent, m.IntentTime = &e.Index, at
	} else {
		m.Outcome, m.OutcomeTime = &e.Index, at
	}
	if e.Header == nil {
		return
	}
	a := e.Header.Attributes
	m.Actor = cmp.Or(a["actor"], m.Actor)
	if t, err := time.Parse(time.RFC3339Nano, a["started"]); err == nil {
		m.Started = timestamp(t)
	}
	if t, err := time.Parse(time.RFC3339Nano, a["finished"]); err == nil {
		m.Finished = timestamp(t)
	}
}

// triageAction returns the payload of an entry. Nil: it was erased.
func (r *Reader) triageAction(ctx context.Context, v *Viewer, index uint64) (*munimentv1.TriageAction, error) {
	m := &munimentv1.TriageAction{}
	ok, err := r.document(ctx, v, index, func(b []byte) error { return protojson.Unmarshal(b, m) })
	if errors.Is(err, ledger.ErrErased) {
		return nil, nil
	}
	if err != nil || !ok {
		return nil, err
	}
	return m, nil
}

// targetOf returns what a step changes, or "".
func targetOf(m *munimentv1.TriageAction) string {
	if target := textIn(m.Parameters, "target"); target != "" && m.Action == restoreAction {
		return target
	}
	if target := textIn(m.Undo.GetParameters(), "target"); target != "" {
		return target
	}
	// An action that lapses has no undo with the target.
	rest, ok := strings.CutPrefix(m.Detail, "target ")
	target, _, found := strings.Cut(rest, ", from ")
	if !ok || !found {
		return ""
	}
	return target
}

func textIn(s *structpb.Struct, name string) string { return s.GetFields()[name].GetStringValue() }

// note returns a note with its submitter.
func (r *Reader) note(ctx context.Context, v *Viewer, n *incidentNote) (*munimentv1.IncidentNote, error) {
	e, err := r.entry(ctx, v.Stream, n.index)
	if err != nil {
		return nil, err
	}
	m := &munimentv1.IncidentNote{Index: n.index, Time: timestamp(n.time), Incident: n.incident, Playbook: n.playbook, Action: n.action, Void: n.void()}
	if e.Header != nil {
		m.Actor, m.By = e.Header.Attributes["actor"], v.person(e.Header.Submitter)
	}
	return m, nil
}

// noteInFull returns a note with the contents of its payload.
func (r *Reader) noteInFull(ctx context.Context, v *Viewer, n *incidentNote) (*munimentv1.IncidentNote, error) {
	m, err := r.note(ctx, v, n)
	if err != nil {
		return nil, err
	}
	doc, err := r.triageAction(ctx, v, n.index)
	if doc == nil {
		return m, err
	}
	m.Detail = doc.Detail
	if n.action == requestApproval {
		m.StepAction, m.Target = textIn(doc.Parameters, "action"), textIn(doc.Parameters, "target")
		m.Place = placeIn(doc.Parameters)
		if t, err := time.Parse(time.RFC3339Nano, textIn(doc.Parameters, "until")); err == nil {
			m.Until = timestamp(t)
		}
	}
	return m, nil
}

// placeIn returns the place of a step, which is a number or its digits.
func placeIn(s *structpb.Struct) uint32 {
	n := s.GetFields()["place"].GetNumberValue()
	if text := textIn(s, "place"); text != "" {
		n, _ = strconv.ParseFloat(text, 64)
	}
	if n < 1 || n > 1024 {
		return 0
	}
	return uint32(n)
}

// correlate adds the alerts and traces of the incident's oldest entry.
func (r *Reader) correlate(ctx context.Context, v *Viewer, one *incident, m *munimentv1.IncidentRecord) error {
	oldest := one.newest
	for _, s := range one.steps {
		oldest = min(oldest, cmp.Or(s.intent, s.outcome).index)
	}
	for _, n := range one.notes {
		oldest = min(oldest, n.index)
	}
	e, err := r.entry(ctx, v.Stream, oldest)
	if err != nil || e.Header == nil {
		return err
	}
	for i := 1; i <= maxCorrelated; i++ {
		if alert := e.Header.Attributes["alert."+strconv.Itoa(i)]; alert != "" {
			m.Alerts = append(m.Alerts, alert)
		}
		if trace := e.Header.Attributes["trace."+strconv.Itoa(i)]; trace != "" {
			m.Traces = append(m.Traces, trace)
		}
	}
	return nil
}

// incidentActions returns what the viewer can request. The kill switch is about
// all incidents.
func (v *Viewer) incidentActions(a *assessment, quarantined *incidentNote, killed bool, notes []*munimentv1.IncidentNote) (all []*munimentv1.IncidentAction) {
	add := func(action, refusal string) {
		switch {
		case v.person(v.Identity).GetIsPerson() && v.MayDecide:
		case !v.MayDecide:
			refusal = "requests about incidents require the role approver or admin"
		default:
			refusal = "requests about incidents must be made by a person: sign in with your own account"
		}
		all = append(all, &munimentv1.IncidentAction{Action: action, Refusal: refusal})
	}
	if a.waiting != nil {
		refusal := ""
		for _, n := range notes {
			if n.Index > a.waiting.index && n.By.GetId() == v.Identity && (n.Action == approve || n.Action == reject) {
				refusal = "you have answered already, and the executor has not recorded anything since"
			}
		}
		add(approve, refusal)
		add(reject, refusal)
	}
	if a.state != "closed" && len(a.steps) > 0 {
		add(undo, "")
	}
	if len(a.steps) > 0 && a.steps[0].number > 0 && !a.misfired {
		add(misfire, "")
	}
	if quarantined != nil && quarantined.incident == a.id {
		add(release, "")
	}
	if killed {
		add(unkill, "")
	} else {
		add(kill, "")
	}
	return all
}

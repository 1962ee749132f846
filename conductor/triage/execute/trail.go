package execute

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/internal/identity"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Trail is what the ledger contains about an incident: the entries of the
// executors and the requests of persons to undo it, in their order.
type Trail struct {
	Incident string
	Entries  []Recorded // none if it is closed
	Closed   bool       // an executor has recorded its end
	Fault    string     // the reason why an entry cannot be read, such as an erasure
	Seen     time.Time  // when the latest entry was read, by the clock of the reader
	Latest   time.Time  // the latest entry of an executor, by the ledger
}

// Trails are those of the ledger.
type Trails interface {
	// Trails returns them, and the time at which they were complete. The error
	// wraps ErrWait before the first time.
	Trails() ([]Trail, time.Time, error)
}

// A course is the incident of a trail, as its executor has left it.
type course struct {
	*Incident
	actor  string    // of the latest entry of an executor
	latest time.Time // entry of an executor, by the ledger
	until  time.Time // of the latest request for approval
	ending bool      // its steps were to be undone
	stuck  bool      // people have to undo a step
	asked  time.Time // when a person has requested the undo; zero: it was not
	by     string    // that person, with the entry
	marked bool      // as a misfire
}

// by reports whether an executor has recorded an entry of a trail.
func (r *Recorded) by(self, incident string) bool {
	return r.Submitter == self && strings.HasPrefix(r.Key, "triage/"+incident+"/")
}

// begun reports whether a trail has an entry of an executor.
func (t *Trail) begun(self string) bool {
	return t.Closed || t.Fault != "" || slices.ContainsFunc(t.Entries, func(r Recorded) bool { return r.by(self, t.Incident) })
}

// ended reports whether the incident of a trail has ended. Its end counts if it
// was recorded by the executor with the lease, which is the one with the latest
// entry of a step, or if nothing is left to do.
func (t *Trail) ended(self string) bool {
	holder, closer := "", ""
	open, effects := map[uint32]bool{}, map[uint64]bool{}
	for n := range t.Entries {
		r := &t.Entries[n]
		var m munimentv1.TriageAction
		if !r.by(self, t.Incident) || protojson.Unmarshal(r.Payload, &m) != nil {
			continue
		}
		switch {
		case m.Phase == "intent":
			open[m.Step] = true
		case m.Phase == "outcome":
			delete(open, m.Step)
			switch {
			case m.Undoes != nil && final(&m):
				delete(effects, m.Undoes.GetIndex())
			case m.Undoes == nil && m.Result == results[Confirmed] && !m.Irreversible:
				effects[m.Intent.GetIndex()] = true
			}
		case m.Action == ActionClose:
			closer = m.Actor
		}
		if (m.Phase != "" || m.Action == ActionTakeover) && identity.Person(m.Actor) == "" {
			holder = m.Actor
		}
	}
	return closer != "" && (holder == "" || holder == closer || len(open)+len(effects) == 0)
}

// final reports whether the outcome of an undo states that nothing is left to
// undo.
func final(m *munimentv1.TriageAction) bool {
	d := stated.FindStringSubmatch(m.Detail)
	return d != nil && d[5] != string(Skipped) && d[5] != string(Failed)
}

// acted reports whether a trail has an intent.
func (t *Trail) acted(self string) bool {
	return slices.ContainsFunc(t.Entries, func(r Recorded) bool { return r.by(self, t.Incident) && strings.HasSuffix(r.Key, "/intent") })
}

// errTrail is wrapped by the reasons why an incident cannot be taken over.
var errTrail = errors.New("incident cannot be taken over")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errTrail, fmt.Sprintf(format, args...))
}

// course reads a trail. Self is the submitter of the executors.
func (e *Executor) course(t *Trail, self string) (*course, error) {
	if t.Fault != "" {
		return nil, broken("%s", t.Fault)
	}
	c := &course{Incident: &Incident{ID: t.Incident, Decay: defaultDecay}}
	for n := range t.Entries {
		r := &t.Entries[n]
		var m munimentv1.TriageAction
		if err := protojson.Unmarshal(r.Payload, &m); err != nil {
			return nil, broken("entry %d: %v", r.Index, err)
		}
		if !r.by(self, t.Incident) {
			if identity.Person(r.Submitter) != identity.Person(self) {
				c.request(e, r, &m)
			}
			continue
		}
		if err := c.add(e, r, &m); err != nil {
			return nil, fmt.Errorf("%w (entry %d)", err, r.Index)
		}
	}
	if c.actor == "" {
		return nil, broken("no entry of an executor")
	}
	return c, nil
}

// request adds the request of a person.
func (c *course) request(e *Executor, r *Recorded, m *munimentv1.TriageAction) {
	if identity.Person(r.Submitter) == "" || !e.Actions.MayRequest(r.Submitter) || wellFormed(m) != nil || m.Playbook != c.Type {
		return
	}
	if m.Action == ActionUndo || m.Action == ActionMisfire {
		c.asked, c.by, c.stuck, c.marked = r.Time, byPerson(r.Submitter, r.Index), false, c.marked || m.Action == ActionMisfire
		c.By = r.Submitter
	}
}

// add adds an entry of an executor.
func (c *course) add(e *Executor, r *Recorded, m *munimentv1.TriageAction) error {
	if c.actor == "" {
		c.Type, c.Opened, c.Alerts, c.Traces = m.Playbook, m.Started.AsTime(), m.GetCorrelation().GetAlerts(), m.GetCorrelation().GetTraces()
	}
	if m.Incident != c.ID || m.Playbook != c.Type {
		return broken("it is about %s", m.Playbook)
	}
	key := "triage/" + c.ID + "/"
	if m.Phase != "" {
		key += strconv.Itoa(int(m.Step)) + "/" + m.Phase
	}
	c.latest = r.Time
	var err error
	switch m.Phase {
	case "intent":
		err = c.intent(e, r, m, key)
	case "outcome":
		err = c.outcome(r, m)
	default:
		return c.notice(r, m)
	}
	if err == nil && r.Key != key {
		err = broken("its key is not %s", key)
	}
	if identity.Person(m.Actor) == "" {
		c.actor = m.Actor
	}
	return err
}

// stated matches the detail of an entry: target, images, approval and state.
var stated = regexp.MustCompile(`(?s)^target (.*), from sha256:([0-9a-f]{64}) to sha256:([0-9a-f]{64})(?:, approved by entry (\d+))?(?:: ([a-z]+))?`)

// intent adds a step, which can have been taken.
func (c *course) intent(e *Executor, r *Recorded, m *munimentv1.TriageAction, key string) error {
	d := stated.FindStringSubmatch(m.Detail)
	if int(m.Step) != len(c.Steps)+1 || c.current() != nil || d == nil {
		return broken("step %d does not follow on step %d", m.Step, len(c.Steps))
	}
	s := &Step{Number: int(m.Step), State: Acted, Decided: m.Started.AsTime(), Called: m.Started.AsTime(), Intent: Entry{Recorded: &r.Reference}}
	s.Planned = Planned{Action: m.Action, Target: d[1], Parameters: texts(m.Parameters), Lapses: m.Irreversible, Timeout: ledgerTimeout, UndoAfter: defaultUndo}
	if m.Undoes != nil {
		if err := c.undo(s, m); err != nil {
			return err
		}
	} else {
		if a := e.Actions.Actions[m.Action]; a != nil {
			s.Timeout, s.UndoAfter = a.Timeout, a.UndoAfter
		}
		s.Connector = e.connectorOf(&s.Planned)
		if index, err := strconv.ParseUint(d[4], 10, 64); err == nil {
			s.Approved, s.Approval = &Reference{Index: index}, true
		}
		sealed, _ := m.GetUndo().GetParameters().AsMap()["sealed"].(string)
		if of, err := e.Seal.open(key, s.Target, sealed); err == nil {
			s.Before, s.After = of.Before, of.After
		}
	}
	if s.Connector == "" || s.Before == nil || sum(s.Before) != d[2] || sum(s.After) != d[3] {
		s.Before, s.After, s.Sums = nil, nil, []string{d[2], d[3]}
	}
	c.Steps, c.stuck, c.ending = append(c.Steps, s), false, c.ending || s.Undoes > 0
	return nil
}

// connectorOf returns the name of the connector of another executor's step, or
// "" if this executor has none that can undo it.
func (e *Executor) connectorOf(p *Planned) string {
	a := e.Actions.Actions[p.Action]
	if a == nil {
		return ""
	}
	if c := e.Connectors[a.Connector]; c == nil || (c.Undo() == action.Lapse) != p.Lapses {
		return ""
	}
	return a.Connector
}

// undo completes the step that undoes another.
func (c *course) undo(s *Step, m *munimentv1.TriageAction) error {
	for _, undone := range c.Steps {
		if at := undone.Intent.Recorded; at.Index == m.Undoes.GetIndex() && at.LeafHash == m.Undoes.GetLeafHash() && undone.Undoes == 0 {
			s.Planned, s.Undoes, s.Before, s.After = undone.undo(), undone.Number, undone.After, undone.Before
			if identity.Person(m.Actor) != "" {
				s.Actor = m.Actor
			}
			return nil
		}
	}
	return broken("it undoes no step")
}

// outcome ends the latest step.
func (c *course) outcome(r *Recorded, m *munimentv1.TriageAction) error {
	s := c.current()
	d := stated.FindStringSubmatch(m.Detail)
	if s == nil || s.Number != int(m.Step) || d == nil || results[StepState(d[5])] != m.Result {
		return broken("no outcome of step %d", m.Step)
	}
	s.State, s.Finished, s.Spooled, s.Outcome = StepState(d[5]), m.Finished.AsTime(), m.WithoutLedger, Entry{Recorded: &r.Reference}
	s.settle(c.Incident)
	c.ending = c.ending || s.Undoes == 0 && s.State != Confirmed && s.State != Kept
	return nil
}

// notice adds an entry about the incident as a whole. Others are no part of it.
func (c *course) notice(r *Recorded, m *munimentv1.TriageAction) error {
	n := &Notice{Action: m.Action, After: len(c.Steps), Reason: m.Detail, Decided: m.Started.AsTime(), Entry: Entry{Recorded: &r.Reference}}
	switch m.Action {
	case ActionRequestApproval:
		place, _ := m.Parameters.AsMap()["place"].(float64)
		until, _ := m.Parameters.AsMap()["until"].(string)
		n.Number = int(place)
		c.until, _ = time.Parse(time.RFC3339Nano, until)
	case ActionEscalate:
		if m.Actor == c.actor { // that of an executor without the lease does not count
			c.stuck, c.asked = c.ending, time.Time{}
		}
	case ActionQuarantine:
		c.ending, c.Misfire.Misfired = true, true
	case ActionTakeover, ActionReplaced, ActionClose:
	default:
		return nil
	}
	if m.Action == ActionEscalate || m.Action == ActionTakeover || m.Action == ActionReplaced {
		n.Number = c.noticed(m.Action) + 1
	}
	if c.actor == "" || m.Action == ActionTakeover {
		c.actor = m.Actor
	}
	c.Notices = append(c.Notices, n)
	return nil
}

// texts returns the parameters of a step, which are strings.
func texts(of *structpb.Struct) map[string]string {
	all := map[string]string{}
	for name, v := range of.AsMap() {
		if text, ok := v.(string); ok {
			all[name] = text
		}
	}
	return all
}

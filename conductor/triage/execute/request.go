package execute

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/internal/safetext"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// The actions of requests.
const (
	ActionApprove = "approve"
	ActionReject  = "reject"
	ActionUndo    = "undo"
	ActionMisfire = "misfire"
	ActionRelease = "release"
	ActionKill    = "kill"
	ActionUnkill  = "unkill"
)

// All is the incident and the playbook of requests that are about none.
const All = "*"

// A Request is an entry without a phase that the executor follows: that of a
// person, or a notice about a quarantine. Its receipt has been verified.
type Request struct {
	Reference
	Submitter string // from the header
	Payload   []byte
	Fault     string // the reason why it cannot be read, such as an erasure
}

// A Cursor is a place in the ledger.
type Cursor struct {
	Next uint64    `json:"next"`          // the first index that was not read
	Time time.Time `json:"time,omitzero"` // of the last entry that was read
}

// A Page contains requests in their order.
type Page struct {
	Requests []Request
	Next     Cursor
	More     bool
}

// A Feed reads the requests that the ledger has.
type Feed interface {
	// Self returns the submitter of the executor's own entries.
	Self(ctx context.Context) (string, error)
	// Requests returns those from a place on.
	Requests(ctx context.Context, from Cursor) (Page, error)
}

// errIgnored is wrapped by the reasons not to apply a request.
var errIgnored = errors.New("request ignored")

func ignored(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errIgnored, fmt.Sprintf(format, args...))
}

// Follow applies the requests that the ledger has received since the last call.
// Each is applied once, also across crashes. The caller calls Advance
// afterwards.
func (e *Executor) Follow(ctx context.Context) error {
	e.Asked = nil
	if e.Feed == nil {
		return nil
	}
	self, err := e.Feed.Self(ctx)
	if err != nil {
		return fmt.Errorf("identity of the executor: %w", err)
	}
	var at Cursor
	if _, err := e.Store.rows.Get(rowCursor, &at); err != nil {
		return err
	}
	for more := true; more; {
		page, err := e.Feed.Requests(ctx, at)
		if err != nil {
			return fmt.Errorf("read the requests of persons: %w", err)
		}
		for n, r := range page.Requests {
			rows, err := e.apply(&r, self)
			if errors.Is(err, errIgnored) {
				e.warn("request ignored", "entry", r.Index, "submitter", safetext.Escape(r.Submitter), "reason", err)
				e.Ignored++
			} else if err != nil {
				return err
			}
			e.asked(rows)
			if rows == nil {
				rows = map[string]any{}
			}
			at.Next = r.Index + 1
			if n == len(page.Requests)-1 {
				at = page.Next
			}
			rows[rowCursor] = at
			if err := e.Store.write(rows); err != nil {
				return err
			}
		}
		if len(page.Requests) == 0 && page.Next != at {
			at = page.Next
			if err := e.Store.write(map[string]any{rowCursor: at}); err != nil {
				return err
			}
		}
		more = page.More
	}
	return nil
}

// asked notes the incidents that a request changes.
func (e *Executor) asked(rows map[string]any) {
	for row := range rows {
		id, ok := strings.CutPrefix(row, rowIncident)
		if !ok {
			id = All
		}
		e.Asked = append(e.Asked, id)
	}
}

// apply returns the rows by which a request has its effect.
func (e *Executor) apply(r *Request, self string) (map[string]any, error) {
	if r.Fault != "" {
		return nil, ignored("%s", r.Fault)
	}
	var m munimentv1.TriageAction
	if err := protojson.Unmarshal(r.Payload, &m); err != nil {
		return nil, ignored("the payload is invalid: %v", err)
	}
	own := r.Submitter == self
	switch {
	case m.Action == ActionQuarantine && own:
		return e.quarantined(&m)
	case m.Action == ActionQuarantine || own && identity.Person(r.Submitter) == "":
		return nil, ignored("%s by the submitter of programs", m.Action)
	case identity.Person(r.Submitter) == "":
		return nil, ignored("the submitter is not a person")
	case own || identity.Person(r.Submitter) == identity.Person(self):
		return nil, ignored("the submitter is the executor itself")
	case !e.Actions.MayRequest(r.Submitter):
		return nil, ignored("the submitter is not in approvers of the actions")
	}
	if err := wellFormed(&m); err != nil {
		return nil, err
	}
	by := byPerson(r.Submitter, r.Index)
	switch m.Action {
	case ActionKill:
		return map[string]any{rowKill: true}, nil
	case ActionUnkill:
		return map[string]any{rowKill: nil}, nil
	case ActionRelease:
		q, err := e.Store.quarantine(m.Playbook)
		if err != nil {
			return nil, err
		}
		if q == nil || q.Incident != m.Incident {
			return nil, ignored("no quarantine of %s that began with this incident", safetext.Escape(m.Playbook))
		}
		return map[string]any{rowQuarantine + m.Playbook: nil}, nil
	}
	i, err := e.Store.Incident(m.Incident)
	if err != nil {
		return nil, err
	}
	if i != nil && i.Type == m.Playbook && i.Taken && m.Action == ActionMisfire {
		// The other executor undoes the steps, if it can. The type is not tried
		// again by either.
		return map[string]any{rowQuarantine + i.Type: &Quarantine{Incident: i.ID, Reason: "marked by " + by, Since: e.Now()}}, nil
	}
	if i == nil || i.Type != m.Playbook || i.Taken {
		return nil, ignored("this executor has no such incident: %s", safetext.Escape(m.Incident))
	}
	return e.applyTo(i, &m, r, by)
}

// byPerson names a person in reasons.
func byPerson(submitter string, entry uint64) string {
	return fmt.Sprintf("%s (entry %d)", safetext.Escape(submitter), entry)
}

// applyTo applies a request that is about an incident.
func (e *Executor) applyTo(i *Incident, m *munimentv1.TriageAction, r *Request, by string) (map[string]any, error) {
	rows := map[string]any{rowIncident + i.ID: i}
	switch m.Action {
	case ActionUndo:
		if i.State == Closed {
			return nil, ignored("incident %s is closed", i.ID)
		}
		for _, s := range i.Steps {
			if s.Undone == Failed {
				s.Undone, s.Attempts = "", 0
			}
		}
		i.Retry, i.Request, i.By = time.Time{}, nil, r.Submitter
		i.State, i.Reason = Undoing, "undo requested by "+by
	case ActionMisfire:
		e.misfire(i, "marked by "+by, rows)
	default: // ActionApprove, ActionReject
		if err := i.answers(m, e.Now()); err != nil {
			return nil, err
		}
		if m.Action == ActionReject {
			e.escalate(i, "rejected by "+by)
			break
		}
		i.Planned[i.Request.Place-1].Approved = &r.Reference
		i.Request, i.State, i.Reason = nil, Acting, ""
		if len(i.Steps) == 0 {
			i.State = Open
		}
	}
	return rows, nil
}

// answers returns nil if a request answers the one for approval that the
// incident waits for.
func (i *Incident) answers(m *munimentv1.TriageAction, now time.Time) error {
	if i.State != Waiting || i.Request == nil || !now.Before(i.Request.Until) {
		return ignored("incident %s does not wait for an approval", i.ID)
	}
	asked := i.Notices[i.Request.Notice].Entry.Recorded
	given := m.Parameters.AsMap()
	if asked == nil || given["request"] != asked.LeafHash || given["place"] != float64(i.Request.Place) {
		return ignored("incident %s waits for another approval", i.ID)
	}
	return nil
}

var leafHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// wellFormed returns an error unless a request has the members that section 9
// specifies, and no others.
func wellFormed(m *munimentv1.TriageAction) error {
	if m.Result != "succeeded" || !m.Irreversible || m.Phase != "" || m.Step != 0 || m.Correlation != nil || m.Finished != nil || len(m.Subjects) > 0 {
		return ignored("not the members of a request")
	}
	given := m.Parameters.AsMap()
	all := false
	switch m.Action {
	case ActionApprove, ActionReject:
		request, _ := given["request"].(string)
		place, _ := given["place"].(float64)
		if len(given) != 2 || !leafHash.MatchString(request) || place < 1 {
			return ignored("parameters must be request and place")
		}
		given = nil
	case ActionUndo, ActionMisfire, ActionRelease:
	case ActionKill, ActionUnkill:
		all = true
	default:
		return ignored("unknown action %s", safetext.Escape(m.Action))
	}
	switch {
	case len(given) > 0:
		return ignored("%s has no parameters", m.Action)
	case all != (m.Incident == All) || all != (m.Playbook == All):
		return ignored("%s with the incident %s", m.Action, safetext.Escape(m.Incident))
	}
	return nil
}

// quarantined applies the notice of this executor or its twin.
func (e *Executor) quarantined(m *munimentv1.TriageAction) (map[string]any, error) {
	q, err := e.Store.quarantine(m.Playbook)
	if err != nil || q != nil {
		return nil, err
	}
	return map[string]any{rowQuarantine + m.Playbook: &Quarantine{Incident: m.Incident, Reason: m.Detail, Since: m.Started.AsTime()}}, nil
}

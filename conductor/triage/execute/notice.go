package execute

import (
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// The actions of notices.
const (
	ActionRequestApproval = "request-approval"
	ActionEscalate        = "escalate"
	ActionQuarantine      = "quarantine"
	ActionClose           = "close"
	ActionTakeover        = "takeover"
	ActionReplaced        = "replaced"
)

// A Notice is an entry about an incident as a whole.
type Notice struct {
	Action  string    `json:"action"`
	Number  int       `json:"number,omitempty"` // in the key; 0: the key has none
	Of      string    `json:"of,omitempty"`     // the executor, in the key; empty: the key has none
	After   int       `json:"after"`            // the number of steps before it
	Reason  string    `json:"reason"`
	Decided time.Time `json:"decided"`
	// Asked is the step of a request for approval.
	Asked *Planned  `json:"asked,omitempty"`
	Until time.Time `json:"until,omitzero"`
	Entry Entry     `json:"entry,omitzero"`
	Lost  bool      `json:"lost,omitempty"` // the other executor has recorded its own
}

// key returns the idempotency key of a notice.
func (n *Notice) key(incident string) string {
	key := "triage/" + incident + "/" + n.Action
	if n.Of != "" {
		key += "/" + n.Of
	}
	if n.Number > 0 {
		key += "/" + strconv.Itoa(n.Number)
	}
	return key
}

// due reports whether an executor records a notice. Without the lease, it
// records only what it did besides.
func (n *Notice) due(i *Incident) bool { return !i.Taken || n.Action == ActionReplaced }

// note adds a notice, unless this executor records nothing of the incident.
func (e *Executor) note(i *Incident, n Notice) {
	if i.DryRun || i.Taken {
		return
	}
	n.After, n.Decided = len(i.Steps), e.Now()
	i.Notices = append(i.Notices, &n)
}

// escalate passes an incident to people.
func (e *Executor) escalate(i *Incident, reason string) {
	i.State, i.Reason, i.Request = Escalated, reason, nil
	e.note(i, Notice{Action: ActionEscalate, Number: i.noticed(ActionEscalate) + 1, Reason: reason})
}

// ended closes an incident, or follows it if another executor has the lease.
func (e *Executor) ended(i *Incident) {
	if i.Taken {
		e.confess(i)
	}
	if i.Taken && i.State != Escalated {
		e.leave(i)
		return
	}
	i.State, i.Ended = Closed, e.Now()
	if len(i.Steps)+len(i.Notices) > 0 {
		e.note(i, Notice{Action: ActionClose, Reason: i.Reason})
	}
}

// noticePayload returns the entry of a notice.
func (e *Executor) noticePayload(i *Incident, n *Notice) ([]byte, error) {
	m := &munimentv1.TriageAction{
		Incident: i.ID, Playbook: i.Type, Action: n.Action, Actor: e.Actor, Started: timestamppb.New(n.Decided), Result: "succeeded", Irreversible: true,
		Detail: n.Reason, Correlation: i.correlation(),
	}
	if n.Asked != nil {
		given := map[string]any{}
		for name, v := range n.Asked.Parameters {
			given[name] = v
		}
		var err error
		m.Parameters, err = structpb.NewStruct(map[string]any{
			"place": n.Number, "action": n.Asked.Action, "target": n.Asked.Target, "parameters": given, "until": n.Until.UTC().Format(time.RFC3339Nano),
		})
		if err != nil {
			return nil, fmt.Errorf("notice %s of %s: %w", n.Action, i.ID, err)
		}
	}
	return protojson.Marshal(m)
}

func (i *Incident) correlation() *munimentv1.Correlation {
	return &munimentv1.Correlation{Traces: i.Traces, Alerts: i.Alerts}
}

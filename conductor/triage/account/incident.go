package account

import (
	"slices"
	"strconv"
	"time"

	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/internal/identity"
)

// The states of an incident, as its entries show them.
const (
	Acting    = "acting" // or settling: all steps have outcomes
	Waiting   = "waiting"
	Undoing   = "undoing"
	Escalated = "escalated"
	Closed    = "closed"
)

// An Incident is what verified entries state about one. The entries of kill and
// unkill are those of the incident "*".
type Incident struct {
	ID       string   `json:"incident"`
	Type     string   `json:"type"`
	State    string   `json:"state"`
	Opened   string   `json:"opened,omitempty"` // RFC 3339: the start of the first action
	Alerts   []string `json:"alerts,omitempty"`
	Waits    *Wait    `json:"waits,omitempty"` // for an approval
	Steps    []*Step  `json:"steps,omitempty"`
	Notes    []Note   `json:"notes,omitempty"`
	Verified int      `json:"verified"` // entries
	Faults   []string `json:"faults,omitempty"`

	last uint64 // entry
}

// A Wait is a request for the approval of a step.
type Wait struct {
	Place   int    `json:"place"`
	Action  string `json:"action"`
	Target  string `json:"target"`
	Until   string `json:"until"`
	Request string `json:"request"` // leaf hash
}

// A Step is an action or an undo.
type Step struct {
	Number    uint32   `json:"step"`
	Action    string   `json:"action"`
	Undoes    string   `json:"undoes,omitempty"` // leaf hash of an intent
	Lapses    bool     `json:"lapses,omitempty"` // its effect ends by itself
	Result    string   `json:"result,omitempty"` // empty: no outcome yet
	Detail    string   `json:"detail"`
	Actor     string   `json:"actor"`
	Submitter string   `json:"submitter"`
	Started   string   `json:"started"`
	Entries   []uint64 `json:"entries"`
}

// A Note is a notice of the executor or a request of a person.
type Note struct {
	Action    string `json:"action"`
	Detail    string `json:"detail,omitempty"`
	Submitter string `json:"submitter"`
	Person    bool   `json:"person"`
	Time      string `json:"time"` // of the ledger
	Entry     uint64 `json:"entry"`
	LeafHash  string `json:"leafHash"`
}

// add adds an entry. The entries come in the order of the ledger.
func (i *Incident) add(e *entry) {
	i.Verified++
	i.last = e.Index
	a := e.action
	if i.Opened == "" {
		i.Opened = a.Started.AsTime().Format(time.RFC3339)
	}
	for _, name := range a.GetCorrelation().GetAlerts() {
		if !slices.Contains(i.Alerts, name) {
			i.Alerts = append(i.Alerts, name)
		}
	}
	if a.Phase == "" {
		i.note(e)
		return
	}
	var s *Step
	if at := slices.IndexFunc(i.Steps, func(s *Step) bool { return s.Number == a.Step }); at >= 0 {
		s = i.Steps[at]
	} else {
		s = &Step{Number: a.Step, Action: a.Action, Actor: a.Actor, Submitter: e.Submitter, Undoes: a.GetUndoes().GetLeafHash(), Lapses: a.Irreversible, Started: a.Started.AsTime().Format(time.RFC3339)}
		i.Steps = append(i.Steps, s)
	}
	s.Entries, s.Detail = append(s.Entries, e.Index), a.Detail
	if a.Phase == "outcome" {
		s.Result = a.Result
	}
	switch {
	case i.State == Closed:
	case s.Undoes != "":
		i.State = Undoing
	default:
		i.State, i.Waits = Acting, nil
	}
}

// note adds an entry without a phase. Those of other submitters than the
// persons and the executor have no effect on the state.
func (i *Incident) note(e *entry) {
	a := e.action
	person := identity.Person(e.Submitter) != ""
	i.Notes = append(i.Notes, Note{a.Action, a.Detail, e.Submitter, person, e.Time.Format(time.RFC3339), e.Index, e.LeafHash})
	switch a.Action {
	case execute.ActionRequestApproval:
		given := a.Parameters.AsMap()
		place, _ := given["place"].(float64)
		w := &Wait{Place: int(place), Request: e.LeafHash}
		w.Action, _ = given["action"].(string)
		w.Target, _ = given["target"].(string)
		w.Until, _ = given["until"].(string)
		i.State, i.Waits = Waiting, w
	case execute.ActionEscalate:
		i.State, i.Waits = Escalated, nil
	case execute.ActionQuarantine, execute.ActionUndo, execute.ActionMisfire:
		if i.State != Closed && (person || a.Action == execute.ActionQuarantine) {
			i.State, i.Waits = Undoing, nil
		}
	case execute.ActionClose:
		i.State, i.Waits = Closed, nil
	}
}

// Entry returns the name of an entry, as "entry 3".
func (s *Step) Entry() string {
	text := "entry "
	if len(s.Entries) > 1 {
		text = "entries "
	}
	for n, index := range s.Entries {
		if n > 0 {
			text += ", "
		}
		text += strconv.FormatUint(index, 10)
	}
	return text
}

package execute

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
)

// ErrNeeded is wrapped by the refusals of a configuration that lacks what open
// incidents need.
var ErrNeeded = errors.New("the configuration lacks what open incidents need")

// maxNeeds is the number of needs that an error lists.
const maxNeeds = 16

// Needed returns an error that wraps ErrNeeded and lists what is missing, or
// nil if nothing is.
func Needed(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	listed := missing[:min(len(missing), maxNeeds)]
	text := "\n  " + strings.Join(listed, "\n  ")
	if more := len(missing) - len(listed); more > 0 {
		text += fmt.Sprintf("\n  and %d more", more)
	}
	return fmt.Errorf("%w:%s\nkeep these until the incidents are closed: 'conductor triage undo INCIDENT' closes one", ErrNeeded, text)
}

// Check returns an error that wraps ErrNeeded unless a configuration has the
// connectors that open incidents need to undo or take their steps, and the
// actions of the steps that they have not begun.
func (e *Executor) Check(actions *action.Catalogue, connectors map[string]connector.Connector) error {
	var missing []string
	err := e.Store.rows.Each(rowIncident, func(_ string, value []byte) error {
		var i Incident
		if err := json.Unmarshal(value, &i); err != nil {
			return err
		}
		missing = append(missing, e.missing(&i, actions, connectors)...)
		return nil
	})
	if err != nil {
		return err
	}
	return Needed(missing)
}

// missing returns what a configuration lacks for an incident.
func (e *Executor) missing(i *Incident, actions *action.Catalogue, connectors map[string]connector.Connector) (all []string) {
	if i.State == Closed {
		return nil
	}
	name := fmt.Sprintf("%s (%s): ", i.ID, i.State)
	need := func(p *Planned, what string) {
		if problem := e.unusable(p, connectors); problem != "" {
			all = append(all, name+problem+", "+what+" on "+p.Target)
		}
	}
	for _, s := range i.Steps {
		switch {
		case s.Connector == "": // taken over, with an action that was unknown then
		case !s.final():
			need(&s.Planned, fmt.Sprintf("for step %d", s.Number))
		case s.Undoes == 0 && s.State == Confirmed && !s.Lapses && (s.Undone == "" || s.Undone == Failed):
			need(&s.Planned, fmt.Sprintf("to undo step %d", s.Number))
		}
	}
	if i.State != Open && i.State != Waiting && i.State != Acting {
		return all
	}
	for n := i.Next; n < len(i.Planned); n++ {
		p := &i.Planned[n]
		if actions.Actions[p.Action] == nil {
			all = append(all, fmt.Sprintf("%saction %s, the step %d of the playbook", name, p.Action, n+1))
		}
		need(p, fmt.Sprintf("for the step %d of the playbook", n+1))
	}
	return all
}

// unusable returns why connectors cannot take or undo a step, or "".
func (e *Executor) unusable(p *Planned, connectors map[string]connector.Connector) string {
	c, now := connectors[p.Connector], e.Connectors[p.Connector]
	switch {
	case c == nil:
		return "connector " + p.Connector
	case (c.Undo() == action.Lapse) != p.Lapses || now != nil && reflect.TypeOf(c) != reflect.TypeOf(now):
		return "connector " + p.Connector + " of its previous type"
	}
	return ""
}

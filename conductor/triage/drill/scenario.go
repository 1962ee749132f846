// Package drill runs game days: it sends the alerts of a scenario to a running
// triage, and follows in the ledger what triage does. See docs/spec/triage.md,
// section 9.
package drill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/explain"
	"muniment.dev/muniment/conductor/triage/signal"
)

// Label is the label that marks the alerts of drills. Its value names the
// drill, so its alerts are never those of a real incident.
const Label = "drill"

// A Scenario is what a drill sends.
type Scenario struct {
	Type     string // the incident type that the alerts are evidence of
	Severity string
	// Prefix is the beginning of the incident's identifier, up to its number.
	Prefix string
	Steps  []explain.Step // of the playbook

	fires, resolves []byte // bodies of webhooks
}

// An alert is one of a webhook, with the members that a drill changes.
type alert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	StartsAt    string            `json:"startsAt"`
	EndsAt      string            `json:"endsAt,omitempty"`
}

// Read reads the recorded alerts of a scenario, as triage explain does. Those
// that fire are sent as if they began at start, marked with the name of the
// drill. They must be evidence of one incident.
func Read(c *triage.Config, file []byte, name string, start time.Time) (*Scenario, error) {
	if len(file) > explain.MaxBytes {
		return nil, fmt.Errorf("%d bytes, above the limit of %d", len(file), explain.MaxBytes)
	}
	var all []alert
	for dec := json.NewDecoder(bytes.NewReader(file)); dec.More(); {
		var message struct{ Alerts []alert }
		if err := dec.Decode(&message); err != nil {
			return nil, fmt.Errorf("it does not consist of messages of a webhook of Alertmanager: %w", err)
		}
		for _, a := range message.Alerts {
			if a.Status == signal.Firing && len(a.Labels) > 0 {
				all = append(all, a)
			}
		}
	}
	if len(all) == 0 || len(all) > signal.MaxAlerts {
		return nil, fmt.Errorf("it has %d alerts that fire: it must have 1 to %d", len(all), signal.MaxAlerts)
	}
	for i := range all {
		all[i].Labels[Label], all[i].StartsAt, all[i].EndsAt = name, start.UTC().Format(time.RFC3339Nano), ""
	}
	s := &Scenario{}
	var err error
	if s.fires, err = webhook(signal.Firing, all); err != nil {
		return nil, err
	}
	if err := s.classify(c); err != nil {
		return nil, err
	}
	return s, s.resolve(all, start)
}

// resolve writes the message with which the alerts end.
func (s *Scenario) resolve(all []alert, start time.Time) (err error) {
	ended := slices.Clone(all)
	for i := range ended {
		ended[i].Status, ended[i].EndsAt = signal.Resolved, start.Add(time.Millisecond).UTC().Format(time.RFC3339Nano)
	}
	s.resolves, err = webhook(signal.Resolved, ended)
	return err
}

func webhook(status string, alerts []alert) ([]byte, error) {
	body, err := json.Marshal(map[string]any{"version": "4", "receiver": Label, "status": status, "alerts": alerts})
	if err == nil && len(body) > signal.MaxMessage {
		err = fmt.Errorf("the alerts have %d bytes, above the limit of %d", len(body), signal.MaxMessage)
	}
	return body, err
}

// classify finds the incident that the alerts are evidence of, as soon as they
// have fired for as long as its type requires.
func (s *Scenario) classify(c *triage.Config) error {
	after := []time.Duration{0}
	for _, t := range c.Catalogue.Types {
		for _, r := range t.Signals {
			after = append(after, r.For)
		}
	}
	slices.Sort(after)
	for _, d := range slices.Compact(after) {
		e, err := explain.Explain(c, s.fires, d)
		if err != nil {
			return err
		}
		var found []*classify.Result
		for _, r := range e.Results {
			if r.Verdict == classify.Classified {
				found = append(found, r)
			}
		}
		switch {
		case len(found) > 1:
			return fmt.Errorf("its alerts are evidence of %d incidents, of the types %s and %s: a drill has one", len(found), found[0].Type, found[1].Type)
		case len(found) == 1:
			r := found[0]
			s.Type, s.Severity, s.Steps = r.Type, r.Severity, e.Steps[r.Type]
			s.Prefix = strings.TrimSuffix(execute.ID(r.Candidate().Type, r.Candidate().Key, 0), "0")
			return nil
		}
	}
	return errors.New("its alerts are no evidence of an incident: conductor triage explain prints why")
}

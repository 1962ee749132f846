// Package explain computes what triage makes of recorded messages, without
// acting. See docs/spec/triage.md, sections 2 to 6.
package explain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/playbook"
	"muniment.dev/muniment/conductor/triage/signal"
)

// MaxBytes is the size limit of a file of messages.
const MaxBytes = 64 << 20

// An Explanation is the result for one file of messages.
type Explanation struct {
	At       time.Time          `json:"at"` // the time of the results
	Messages int                `json:"messages"`
	Effects  map[string]int     `json:"effects"` // signals by effect
	Skewed   int                `json:"skewed,omitempty"`
	Left     int64              `json:"leftOut,omitempty"` // alerts that the sender has left out
	Refused  []Refusal          `json:"refused,omitempty"`
	More     int                `json:"moreRefused,omitempty"`
	Results  []*classify.Result `json:"results"`
	Steps    map[string][]Step  `json:"steps,omitempty"` // by the types that are classified
}

// A Refusal is the reason why an alert is not a signal.
type Refusal struct {
	Message int `json:"message"` // from 1
	signal.Refusal
}

// maxRefused is the number of refusals that are listed.
const maxRefused = 100

// A Step is one of a playbook.
type Step struct {
	Action     string            `json:"action"`
	Target     string            `json:"target"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Undo       string            `json:"undo"`
	Approval   bool              `json:"approval,omitempty"` // by a person
}

// Explain applies the messages of a file in their order, and returns the
// results some time after the last one. The file consists of JSON objects, each
// the body of a webhook. Its member received, which webhooks don't have, is the
// time of reception. Without it, a message was received at the latest of its
// times, and not before the previous message.
func Explain(c *triage.Config, file []byte, after time.Duration) (*Explanation, error) {
	if len(file) > MaxBytes {
		return nil, fmt.Errorf("%d bytes, above the limit of %d", len(file), MaxBytes)
	}
	e := &Explanation{Effects: map[string]int{}, Steps: map[string][]Step{}}
	table := correlate.New(c.Catalogue)
	dec := jsontext.NewDecoder(bytes.NewReader(file), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		body, err := dec.ReadValue()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("message %d: not JSON, at byte %d", e.Messages+1, dec.InputOffset())
		}
		e.Messages++
		if err := e.apply(table, body); err != nil {
			return nil, fmt.Errorf("message %d: %w", e.Messages, err)
		}
	}
	if e.Messages == 0 {
		return nil, errors.New("the file is empty: it must contain the messages of a webhook of Alertmanager")
	}
	e.At = e.At.Add(after)
	e.Results = classify.All(c.Catalogue, table, e.At)
	for _, r := range e.Results {
		if r.Verdict == classify.Classified {
			e.Steps[r.Type] = steps(c.Playbooks[r.Type])
		}
	}
	return e, nil
}

// apply applies one message.
func (e *Explanation) apply(table *correlate.Table, body []byte) error {
	received, err := e.received(body)
	if err != nil {
		return err
	}
	m, err := signal.ParseAlertmanager(body, received)
	if err != nil {
		return err
	}
	e.At, e.Left = received, e.Left+m.Truncated
	for _, r := range m.Refused {
		if len(e.Refused) == maxRefused {
			e.More++
			continue
		}
		e.Refused = append(e.Refused, Refusal{e.Messages, r})
	}
	for i := range m.Signals {
		_, effect, err := table.Observe(&m.Signals[i])
		if err != nil {
			return err
		}
		e.Effects[string(effect)]++
		if m.Signals[i].Skewed {
			e.Skewed++
		}
	}
	return nil
}

// received returns the time of reception of a message.
func (e *Explanation) received(body []byte) (time.Time, error) {
	at, found, err := signal.Received(body)
	switch {
	case err != nil:
		return at, err
	case found && at.Before(e.At):
		return at, fmt.Errorf("it was received at %s, before the previous message", at.Format(time.RFC3339Nano))
	case found:
		return at, nil
	}
	// Far in the future, no time is replaced.
	m, err := signal.ParseAlertmanager(body, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
	if err != nil {
		return at, err
	}
	at = e.At
	for _, s := range m.Signals {
		for _, t := range []time.Time{s.Starts, s.Ends} {
			if t.After(at) {
				at = t
			}
		}
	}
	return at, nil
}

func steps(of []playbook.Step) (all []Step) {
	for _, s := range of {
		one := Step{Action: s.Action.Name, Target: s.Target, Parameters: map[string]string{}, Undo: s.Action.Undo, Approval: s.Action.Approval}
		for _, name := range slices.Sorted(maps.Keys(s.Parameters)) {
			one.Parameters[name] = s.Parameters[name].Text
		}
		all = append(all, one)
	}
	return all
}

// Classified reports whether an incident was classified.
func (e *Explanation) Classified() bool {
	return slices.ContainsFunc(e.Results, func(r *classify.Result) bool { return r.Verdict == classify.Classified })
}

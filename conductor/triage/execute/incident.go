// Package execute takes the steps of playbooks: it records each before it acts,
// and undoes it. See docs/spec/triage.md, sections 7 to 10.
package execute

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/playbook"
)

// A State is that of an incident.
type State string

// The states of an incident.
const (
	Acting    State = "acting"
	Settling  State = "settling"
	Undoing   State = "undoing"
	Escalated State = "escalated" // people have to act
	Closed    State = "closed"
)

// An Incident is one that the executor takes steps against.
type Incident struct {
	ID      string    `json:"id"`
	Type    string    `json:"type"`
	State   State     `json:"state"`
	Reason  string    `json:"reason,omitempty"` // of the state
	Opened  time.Time `json:"opened"`
	Alerts  []string  `json:"alerts,omitempty"`
	Traces  []string  `json:"traces,omitempty"`
	Planned []Planned `json:"planned"`
	Next    int       `json:"next"` // index in Planned
	Steps   []*Step   `json:"steps,omitempty"`
	Cleared bool      `json:"cleared,omitempty"` // the condition has cleared
	Retry   time.Time `json:"retry,omitzero"`    // when undo is tried again
	Taken   bool      `json:"taken,omitempty"`   // by another executor
}

// ID returns the identifier of the n-th incident with a type and key.
func ID(of *catalogue.Type, key catalogue.Key, n uint64) string {
	sum := sha256.Sum256([]byte(string(catalogue.MakeKey([]string{of.Name})) + string(key)))
	return fmt.Sprintf("%s/%s-%d", of.Name, hex.EncodeToString(sum[:6]), n)
}

// Planned is a step of the playbook, as it was when the incident was opened.
type Planned struct {
	Action        string            `json:"action"`
	Connector     string            `json:"connector"`
	Target        string            `json:"target"`
	Parameters    map[string]string `json:"parameters,omitempty"`
	Lapses        bool              `json:"lapses,omitempty"`
	UndoAfter     time.Duration     `json:"undoAfter"`
	Timeout       time.Duration     `json:"timeout"`
	WithoutLedger bool              `json:"withoutLedger,omitempty"` // the action is allowed to
}

func planned(of []playbook.Step) (all []Planned) {
	for _, s := range of {
		p := Planned{
			Action: s.Action.Name, Connector: s.Action.Connector, Target: s.Target, Parameters: map[string]string{}, Lapses: s.Action.Undo == action.Lapse,
			UndoAfter: s.Action.UndoAfter, Timeout: s.Action.Timeout, WithoutLedger: s.Action.ActWithoutLedger,
		}
		for name, v := range s.Parameters {
			p.Parameters[name] = v.Text
		}
		all = append(all, p)
	}
	return all
}

// A StepState is that of a step.
type StepState string

// The states of a step. Those from Confirmed on are final.
const (
	Read      StepState = "read"
	Intended  StepState = "intended"
	Acted     StepState = "acted"
	Confirmed StepState = "confirmed"
	Failed    StepState = "failed"
	Foreign   StepState = "foreign"
	Skipped   StepState = "skipped"
	Kept      StepState = "kept"
)

// results maps the final states to results of entries.
var results = map[StepState]string{Confirmed: "succeeded", Failed: "failed", Foreign: "failed", Skipped: "skipped", Kept: "skipped"}

// A Step is an action that the executor has decided to take, or the undo of
// one.
type Step struct {
	Planned
	Number int       `json:"number"` // from 1
	Undoes int       `json:"undoes,omitempty"`
	State  StepState `json:"state"`
	Reason string    `json:"reason,omitempty"`
	Before []byte    `json:"before"`
	After  []byte    `json:"after"`
	// Undone is the final state of the undo, or Kept if there is nothing to
	// undo. Empty: the step is not undone.
	Undone StepState `json:"undone,omitempty"`

	Decided  time.Time `json:"decided"`
	Called   time.Time `json:"called,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Spooled  bool      `json:"spooled,omitempty"` // the intent was not in the ledger before

	Intent  Entry `json:"intent,omitzero"`
	Outcome Entry `json:"outcome,omitzero"`

	// returned is set in the process that made the call, once it has returned.
	returned bool
}

// An Entry is one of the two entries of a step.
type Entry struct {
	Payload  []byte     `json:"payload,omitempty"` // stored before the first attempt
	Recorded *Reference `json:"recorded,omitempty"`
}

// A Reference is the place of an entry in the ledger.
type Reference struct {
	Index    uint64 `json:"index"`
	LeafHash string `json:"leafHash"` // hexadecimal
}

func (s *Step) final() bool { return results[s.State] != "" }

// current returns the step that is not final, or nil.
func (i *Incident) current() *Step {
	if n := len(i.Steps); n > 0 && !i.Steps[n-1].final() {
		return i.Steps[n-1]
	}
	return nil
}

// undoable returns the latest step whose effect still exists, or nil.
func (i *Incident) undoable() *Step {
	for _, s := range slices.Backward(i.Steps) {
		if s.Undoes == 0 && s.State == Confirmed && s.Undone == "" {
			return s
		}
	}
	return nil
}

// undoDue returns the time at which the first effect ends, or zero.
func (i *Incident) undoDue() (due time.Time) {
	for _, s := range i.Steps {
		if s.Undoes != 0 || s.State != Confirmed || s.Undone != "" {
			continue
		}
		if at := s.Finished.Add(s.UndoAfter); due.IsZero() || at.Before(due) {
			due = at
		}
	}
	return due
}

// attempts returns how often the undo of a step has failed.
func (i *Incident) attempts(of *Step) (n int) {
	for _, s := range i.Steps {
		if s.Undoes == of.Number && (s.State == Failed || s.State == Skipped) {
			n++
		}
	}
	return n
}

// recorded reports whether the ledger has all entries.
func (i *Incident) recorded() bool {
	return i.Taken || !slices.ContainsFunc(i.Steps, func(s *Step) bool { return s.Intent.Recorded == nil || s.Outcome.Recorded == nil })
}

// undo returns the planned undo of a step.
func (s *Step) undo() Planned {
	p := s.Planned
	p.Action, p.Parameters, p.WithoutLedger = "restore", map[string]string{"target": s.Target}, true
	p.Parameters = maps.Clone(p.Parameters)
	return p
}

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
	Open      State = "open"    // no step has an intent
	Waiting   State = "waiting" // the next step needs a person
	Acting    State = "acting"
	Settling  State = "settling"
	Undoing   State = "undoing"
	Escalated State = "escalated" // people have to act
	Following State = "following" // another executor has the lease
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
	Adopted string    `json:"adopted,omitempty"` // the executor that it was taken over from
	Retry   time.Time `json:"retry,omitzero"`    // when undo is tried again
	Taken   bool      `json:"taken,omitempty"`   // by another executor
	Began   time.Time `json:"began,omitzero"`    // the latest episode of an anchor at its opening
	DryRun  bool      `json:"dryRun,omitempty"`  // no target changes, and nothing is recorded
	Dry     []string  `json:"dry,omitempty"`     // what would be done in a dry run

	Decay     time.Duration `json:"decay"`
	Settled   time.Time     `json:"settled,omitzero"` // when all steps had outcomes
	ClearedAt time.Time     `json:"clearedAt,omitzero"`
	Ended     time.Time     `json:"ended,omitzero"`    // when it was closed
	Request   *Approval     `json:"request,omitempty"` // that a step waits for
	By        string        `json:"by,omitempty"`      // who has requested the undo
	Misfire   Misfire       `json:"misfire,omitzero"`
	Notices   []*Notice     `json:"notices,omitempty"`
}

// An Approval is a request for the approval of the next step.
type Approval struct {
	Place  int       `json:"place"` // of the step in the playbook, from 1
	Until  time.Time `json:"until"`
	Notice int       `json:"notice"` // index in Notices
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
	Approval      bool              `json:"approval,omitempty"`      // by a person is required
	Approved      *Reference        `json:"approved,omitempty"`      // the approval
}

func planned(of []playbook.Step) (all []Planned) {
	for _, s := range of {
		p := Planned{
			Action: s.Action.Name, Connector: s.Action.Connector, Target: s.Target, Parameters: map[string]string{}, Lapses: s.Action.Undo == action.Lapse,
			UndoAfter: s.Action.UndoAfter, Timeout: s.Action.Timeout, WithoutLedger: s.Action.ActWithoutLedger, Approval: s.Action.Approval,
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
	// Sums are the SHA-256 of both images, if they are not known themselves.
	Sums     []string `json:"sums,omitempty"`
	Attempts int      `json:"attempts,omitempty"` // of the undo that have failed

	Actor     string    `json:"actor,omitempty"` // empty: the executor
	Decided   time.Time `json:"decided"`
	Called    time.Time `json:"called,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`
	Spooled   bool      `json:"spooled,omitempty"`   // the intent was not in the ledger before
	Confessed bool      `json:"confessed,omitempty"` // a notice has it

	Intent  Entry `json:"intent,omitzero"`
	Outcome Entry `json:"outcome,omitzero"`

	// Unreadable is set once people were asked because the state of the target
	// cannot be read.
	Unreadable bool `json:"unreadable,omitempty"`
	// returned is set in the process that made the call, once it has returned.
	returned bool
}

// An Entry is one of the two entries of a step, or that of a notice. It is in
// the spool until it is recorded.
type Entry struct {
	Payload   []byte     `json:"payload,omitempty"`   // stored before the first attempt
	Signature []byte     `json:"signature,omitempty"` // see Sign
	Recorded  *Reference `json:"recorded,omitempty"`
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

// recorded reports whether the ledger has all entries.
func (i *Incident) recorded() bool {
	return (i.Taken || !slices.ContainsFunc(i.Steps, func(s *Step) bool { return s.Intent.Recorded == nil || s.Outcome.Recorded == nil })) &&
		!slices.ContainsFunc(i.Notices, func(n *Notice) bool { return n.Entry.Recorded == nil && !n.Lost && n.due(i) })
}

// acted returns the time of the first action, or zero.
func (i *Incident) acted() (first time.Time) {
	for _, s := range i.Steps {
		if s.Undoes == 0 && !s.Called.IsZero() {
			return s.Called
		}
	}
	return time.Time{}
}

// stuck returns a step whose undo has failed too often, or nil.
func (i *Incident) stuck() *Step {
	for _, s := range i.Steps {
		if s.Undone == Failed {
			return s
		}
	}
	return nil
}

// undo returns the planned undo of a step.
func (s *Step) undo() Planned {
	p := s.Planned
	p.Action, p.Parameters, p.WithoutLedger = "restore", map[string]string{"target": s.Target}, true
	p.Parameters = maps.Clone(p.Parameters)
	return p
}

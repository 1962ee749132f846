package state

import (
	"fmt"
	"strings"
)

// A Phase is the phase of a job.
type Phase string

// The phases of a job (section 5).
const (
	Planned    Phase = "planned"
	Copying    Phase = "copying"
	Paused     Phase = "paused"
	Copied     Phase = "copied"
	Cutover    Phase = "cutover"
	RolledBack Phase = "rolled-back"
	Finished   Phase = "finished"
)

// Phases lists all phases.
var Phases = []Phase{Planned, Copying, Paused, Copied, Cutover, RolledBack, Finished}

// An Action moves a job from one phase to another.
type Action string

// The actions. DropNew is a rollback that also removes the objects.
const (
	Expand   Action = "expand"
	Abandon  Action = "abandon"
	Pause    Action = "pause"
	Resume   Action = "resume"
	Complete Action = "complete"
	CutOver  Action = "cutover"
	Rollback Action = "rollback"
	DropNew  Action = "rollback --drop"
	Finish   Action = "finish"
)

// A Transition is a way out of a phase.
type Transition struct {
	From   Phase
	Action Action
	To     Phase
}

// Transitions is the table of all transitions. A phase without a row has ended.
var Transitions = []Transition{
	{Planned, Expand, Copying},
	{Planned, Abandon, RolledBack},
	{Copying, Pause, Paused},
	{Copying, Complete, Copied},
	{Copying, Rollback, RolledBack},
	{Paused, Resume, Copying},
	{Paused, Rollback, RolledBack},
	{Copied, CutOver, Cutover},
	{Copied, Rollback, RolledBack},
	{Cutover, Rollback, Copied},
	{Cutover, DropNew, RolledBack},
	{Cutover, Finish, Finished},
}

// A TransitionError is an action that the phase of a job does not allow.
type TransitionError struct {
	Phase  Phase
	Action Action
}

func (e *TransitionError) Error() string {
	var allowed []string
	for _, t := range Transitions {
		if t.From == e.Phase {
			allowed = append(allowed, string(t.Action))
		}
	}
	if allowed == nil {
		return fmt.Sprintf("%s is not possible: the job is %s, which is its end", e.Action, e.Phase)
	}
	return fmt.Sprintf("%s is not possible: the job is %s, which allows %s", e.Action, e.Phase, strings.Join(allowed, ", "))
}

// After returns the phase after an action, or a TransitionError.
func (p Phase) After(a Action) (Phase, error) {
	for _, t := range Transitions {
		if t.From == p && t.Action == a {
			return t.To, nil
		}
	}
	return p, &TransitionError{p, a}
}

// Ended reports whether the phase has no way out.
func (p Phase) Ended() bool {
	for _, t := range Transitions {
		if t.From == p {
			return false
		}
	}
	return true
}

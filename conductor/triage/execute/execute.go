package execute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/playbook"
)

const (
	// ledgerTimeout bounds one attempt to record an entry.
	ledgerTimeout = 2 * time.Second
	// fresh is how long after its intent, in addition to its timeout, an action
	// can be begun.
	fresh = time.Minute
	// grace is added to the timeout of a call whose process has ended.
	grace = time.Second
	// maxAttempts is how often an undo is tried.
	maxAttempts = 16
	// maxSteps is the number of steps of an incident.
	maxSteps = 1024
)

// ErrWait reports that an incident can go on at a later time.
var ErrWait = errors.New("wait")

// An Executor takes steps against incidents. It is not safe for concurrent use.
type Executor struct {
	Store      *Store
	Ledger     Ledger
	Connectors map[string]connector.Connector
	Actions    *action.Catalogue
	Actor      string           // in entries
	Now        func() time.Time // the clock
}

// An Opening is an incident to open.
type Opening struct {
	ID, Type       string
	Steps          []playbook.Step
	Alerts, Traces []string
}

// Open opens an incident. An incident that exists is not changed. Nothing is
// opened if a guard rail refuses it, and then the error wraps ErrRefused.
func (e *Executor) Open(o Opening) error {
	if i, err := e.Store.Incident(o.ID); i != nil || err != nil {
		return err
	}
	for _, s := range o.Steps {
		c := e.Connectors[s.Action.Connector]
		switch {
		case c == nil:
			return fmt.Errorf("action %s: unknown connector %s", s.Action.Name, s.Action.Connector)
		case c.Undo() != s.Action.Undo:
			return fmt.Errorf("action %s: the effect of connector %s ends by %s, and not by %s", s.Action.Name, s.Action.Connector, c.Undo(), s.Action.Undo)
		case s.Action.Approval:
			return fmt.Errorf("action %s: approval by a person is not supported yet", s.Action.Name)
		}
	}
	now := e.Now()
	opened, err := e.Store.times(rowOpened, now.Add(-time.Hour))
	if err != nil {
		return err
	}
	if limit := e.Actions.Budgets.IncidentsPerHour; len(opened) >= limit {
		return fmt.Errorf("%w: %d incidents in an hour, the budget", ErrRefused, limit)
	}
	if opened, err = e.Store.used(rowOpened, now); err != nil {
		return err
	}
	i := &Incident{ID: o.ID, Type: o.Type, State: Acting, Opened: now, Alerts: o.Alerts, Traces: o.Traces, Planned: planned(o.Steps)}
	return e.Store.write(map[string]any{rowIncident + i.ID: i, rowOpened: opened})
}

// Clear reports that the condition of an incident has cleared.
func (e *Executor) Clear(id string) error {
	i, err := e.Store.Incident(id)
	if err != nil || i == nil || i.Cleared {
		return err
	}
	i.Cleared = true
	return e.save(i)
}

// Advance takes all steps of an incident that can be taken now, and returns its
// state. An error that wraps ErrWait means that nothing is wrong, and any other
// that the call should be repeated later.
func (e *Executor) Advance(ctx context.Context, id string) (State, error) {
	i, err := e.Store.Incident(id)
	if err != nil {
		return "", err
	}
	if i == nil {
		return "", fmt.Errorf("no incident %s", id)
	}
	for {
		moved, err := e.move(ctx, i)
		if err != nil {
			return i.State, err
		}
		if !moved {
			return i.State, e.record(ctx, i)
		}
	}
}

// move makes one transition, if there is one to make now.
func (e *Executor) move(ctx context.Context, i *Incident) (bool, error) {
	if s := i.current(); s != nil {
		return true, e.step(ctx, i, s)
	}
	now := e.Now()
	killed, err := e.Store.killed()
	if err != nil {
		return false, err
	}
	switch i.State {
	case Acting, Settling:
		due := i.undoDue()
		switch {
		case i.Cleared:
			return true, e.become(i, Undoing, "the condition has cleared")
		case killed:
			return true, e.become(i, Undoing, "the kill switch is on")
		case !due.IsZero() && !now.Before(due):
			return true, e.become(i, Undoing, "the time of the actions is over")
		case i.State != Acting:
			return false, nil
		case i.Next < len(i.Planned):
			return true, e.begin(ctx, i)
		}
		return true, e.become(i, Settling, "")
	case Undoing:
		if now.Before(i.Retry) {
			return false, nil
		}
		if s := i.undoable(); s != nil {
			return true, e.beginUndo(i, s)
		}
		return true, e.become(i, Closed, i.Reason)
	}
	return false, nil
}

func (e *Executor) become(i *Incident, state State, reason string) error {
	i.State, i.Reason = state, reason
	return e.save(i)
}

func (e *Executor) save(i *Incident) error {
	return e.Store.write(map[string]any{rowIncident + i.ID: i})
}

// begin decides about the next step of the playbook.
func (e *Executor) begin(ctx context.Context, i *Incident) error {
	p := i.Planned[i.Next]
	if err := e.permit(i, p); err != nil {
		if errors.Is(err, ErrRefused) {
			return e.become(i, Undoing, err.Error())
		}
		return err
	}
	c := e.Connectors[p.Connector]
	if c == nil {
		return e.become(i, Undoing, "unknown connector "+p.Connector)
	}
	before, after, err := plan(ctx, c, &p)
	if err != nil {
		return e.become(i, Undoing, fmt.Sprintf("plan %s: %v", p.Action, err))
	}
	i.Next++
	if bytes.Equal(before, after) {
		return e.save(i) // the target has this state already
	}
	now := e.Now()
	i.Steps = append(i.Steps, &Step{Planned: p, Number: len(i.Steps) + 1, State: Read, Before: before, After: after, Decided: now})
	rows := map[string]any{rowIncident + i.ID: i}
	for _, row := range []string{rowUsed, rowUsed + p.Target} {
		if rows[row], err = e.Store.used(row, now); err != nil {
			return err
		}
	}
	return e.Store.write(rows)
}

func plan(ctx context.Context, c connector.Connector, p *Planned) (before, after connector.Image, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	if before, err = c.Read(ctx, p.Target); err != nil {
		return nil, nil, err
	}
	after, err = c.Plan(ctx, p.Target, p.Parameters, before)
	return before, after, err
}

// beginUndo decides to undo a step. An effect that ends by itself is kept.
func (e *Executor) beginUndo(i *Incident, s *Step) error {
	attempts := i.attempts(s)
	switch {
	case s.Lapses:
		s.Undone = Kept
		return e.save(i)
	case attempts >= maxAttempts || len(i.Steps) >= maxSteps:
		s.Undone = Failed
		return e.become(i, Escalated, fmt.Sprintf("step %d cannot be undone: restore %s", s.Number, s.Target))
	}
	i.Steps = append(i.Steps, &Step{Planned: s.undo(), Number: len(i.Steps) + 1, Undoes: s.Number, State: Read, Before: s.After, After: s.Before, Decided: e.Now()})
	return e.save(i)
}

// step makes a transition of a step that is not final.
func (e *Executor) step(ctx context.Context, i *Incident, s *Step) error {
	switch s.State {
	case Read:
		return e.intend(ctx, i, s)
	case Intended:
		return e.act(ctx, i, s)
	default:
		return e.resolve(ctx, i, s)
	}
}

// intend records the intent of a step.
func (e *Executor) intend(ctx context.Context, i *Incident, s *Step) error {
	err := e.record(ctx, i)
	switch {
	case errors.Is(err, ErrTaken):
		// The other executor goes on. What this one did is undone, without
		// entries, because their keys are those of the other one.
		i.Taken, i.State, i.Reason = true, Undoing, ErrTaken.Error()
		return e.finish(i, s, Skipped, ErrTaken.Error())
	case err != nil && !s.WithoutLedger:
		return e.finish(i, s, Skipped, "the ledger is unreachable")
	}
	s.State, s.Spooled = Intended, err != nil
	return e.save(i)
}

// act calls the connector, at most once for a step.
func (e *Executor) act(ctx context.Context, i *Incident, s *Step) error {
	if e.Now().Sub(s.Decided) > s.Timeout+fresh {
		return e.finish(i, s, Skipped, "the intent is too old")
	}
	c := e.Connectors[s.Connector]
	if c == nil {
		return fmt.Errorf("step %d of %s: unknown connector %s", s.Number, i.ID, s.Connector)
	}
	image, err := e.image(ctx, c, s)
	if err != nil {
		return err
	}
	if !bytes.Equal(image, s.Before) {
		return e.finish(i, s, Kept, "the target was changed after the intent")
	}
	s.State, s.Called = Acted, e.Now()
	if err := e.save(i); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if err := c.Set(within, s.Target, s.Before, s.After); err != nil {
		s.Reason = "the call failed" // connectors' errors can contain secrets
	}
	s.returned = true
	return nil
}

func (e *Executor) image(ctx context.Context, c connector.Connector, s *Step) (connector.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	image, err := c.Read(ctx, s.Target)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Target, err)
	}
	return image, nil
}

// resolve finds out by the state of the target what a call has done.
func (e *Executor) resolve(ctx context.Context, i *Incident, s *Step) error {
	if end := s.Called.Add(s.Timeout + grace); !s.returned && e.Now().Before(end) {
		return fmt.Errorf("%w: a call of step %d can take effect until %s", ErrWait, s.Number, end.UTC().Format(time.RFC3339))
	}
	c := e.Connectors[s.Connector]
	if c == nil {
		return fmt.Errorf("step %d of %s: unknown connector %s", s.Number, i.ID, s.Connector)
	}
	image, err := e.image(ctx, c, s)
	switch {
	case err != nil:
		return err
	case bytes.Equal(image, s.After):
		return e.finish(i, s, Confirmed, s.Reason)
	case bytes.Equal(image, s.Before):
		return e.finish(i, s, Failed, s.Reason)
	}
	return e.finish(i, s, Foreign, "the target was changed by somebody else")
}

// finish gives a step its final state, and decides what follows.
func (e *Executor) finish(i *Incident, s *Step, state StepState, reason string) error {
	s.State, s.Reason, s.Finished = state, reason, e.Now()
	switch {
	case s.Undoes == 0 && state != Confirmed && state != Kept && i.State == Acting:
		i.State, i.Reason = Undoing, fmt.Sprintf("step %d: %s", s.Number, state)
	case s.Undoes > 0 && (state == Failed || state == Skipped):
		n := i.attempts(i.Steps[s.Undoes-1])
		i.Retry = e.Now().Add(min(time.Second<<min(n, 6), time.Minute))
	case s.Undoes > 0:
		i.Steps[s.Undoes-1].Undone = state
	}
	return e.save(i)
}

// Targets returns the targets of an incident's steps, sorted.
func (i *Incident) Targets() []string {
	all := map[string]bool{}
	for _, s := range i.Steps {
		all[s.Target] = true
	}
	return slices.Sorted(maps.Keys(all))
}

package execute

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
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
	// maxUnreadable is how long after a call the target may stay unreadable
	// before people are asked.
	maxUnreadable = 10 * time.Minute
	// maxAttempts is how often an undo is tried.
	maxAttempts = 16
	// maxSteps is the number of steps of an incident.
	maxSteps = 1024
	// oldest is the greatest age of an intent that is acted on.
	oldest = 2 * time.Minute
	// patience is how long an incident waits for the approval of a step.
	patience = time.Hour
	// keep is how long closed incidents stay in the state.
	keep = 30 * 24 * time.Hour
	// defaultDecay is that of incident types.
	defaultDecay = 10 * time.Minute
)

// ErrWait reports that an incident can go on at a later time.
var ErrWait = errors.New("wait")

// An Executor takes steps against incidents. It is not safe for concurrent use.
// Its user calls Follow and then Advance for each of the active incidents of
// the store, again and again, and Prune from time to time. An error that wraps
// ErrState or ErrSpool means that it must stop.
type Executor struct {
	Store      *Store
	Ledger     Ledger
	Feed       Feed    // nil: no requests of persons are applied
	Trails     Trails  // nil: takes no incident over. Requires Feed and Seal
	Numbers    Numbers // of incidents in the ledger; nil: they are not read
	Uses       Uses    // of budgets in the ledger; nil: this executor's own count
	Seal       *Seal   // of images in entries; nil: they contain none
	Connectors map[string]connector.Connector
	Actions    *action.Catalogue
	Key        ed25519.PrivateKey // signs the spool
	Actor      string             // in entries
	DryRun     bool               // incidents that are opened change no target
	Standby    bool               // takes no step without the ledger
	Now        func() time.Time   // the clock
	Log        *slog.Logger       // nil: none
	Ignored    int                // requests that were not applied
	TakenOver  int                // incidents of the other executor
	// Asked are the incidents that the latest call of Follow has applied
	// requests to. All means that there can be others.
	Asked []string

	began  map[string]time.Time // of intents of this process, with the monotonic clock
	killed time.Time            // since when the kill switch is on; zero: it is off
	warned map[string]string    // why incidents are not taken over
}

// An Opening is an incident to open.
type Opening struct {
	ID, Type       string
	Steps          []playbook.Step
	Alerts, Traces []string
	Decay          time.Duration // of the type; 0: 10 minutes
	Began          time.Time     // the latest episode of an anchor
	Taken          bool          // the ledger has its entries
	Observation
}

// Open opens an incident. An incident that exists is not changed, unless it has
// used nothing. Nothing is
// opened if a guard rail refuses it, and then the error wraps ErrRefused.
func (e *Executor) Open(o Opening) error {
	if i, err := e.Store.Incident(o.ID); err != nil || i != nil && !i.Unused() {
		return err
	}
	for _, s := range o.Steps {
		c := e.Connectors[s.Action.Connector]
		switch {
		case c == nil:
			return fmt.Errorf("%w: action %s: unknown connector %s", ErrRefused, s.Action.Name, s.Action.Connector)
		case c.Undo() != s.Action.Undo:
			return fmt.Errorf("%w: action %s: the effect of connector %s ends by %s, and not by %s", ErrRefused, s.Action.Name, s.Action.Connector, c.Undo(), s.Action.Undo)
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
	i := &Incident{
		ID: o.ID, Type: o.Type, State: Open, Opened: now, Began: o.Began, Taken: o.Taken && !e.DryRun, Alerts: o.Alerts, Traces: o.Traces, Planned: planned(o.Steps), Decay: cmp.Or(o.Decay, defaultDecay), DryRun: e.DryRun,
		Misfire: Misfire{Before: o.Counting, Counting: o.Counting, Anchors: o.anchors()},
	}
	if i.Taken {
		i.Reason = ErrTaken.Error()
		e.leave(i)
	}
	rows := map[string]any{rowIncident + i.ID: i}
	if !i.DryRun && !i.Taken {
		if rows[rowOpened], err = e.Store.used(rowOpened, now); err != nil {
			return err
		}
	}
	return e.Store.write(rows)
}

// Clear reports that the condition of an incident has cleared.
func (e *Executor) Clear(id string) error {
	i, err := e.Store.Incident(id)
	if err != nil || i == nil || i.Cleared {
		return err
	}
	i.Cleared, i.ClearedAt = true, e.Now()
	return e.save(i)
}

// Prune removes incidents that were closed more than 30 days ago.
func (e *Executor) Prune() error {
	return e.Store.prune(e.Now().Add(-keep), e.Now().Add(-24*time.Hour))
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
		if moved {
			continue
		}
		err = e.record(ctx, i)
		if !errors.Is(err, ErrTaken) {
			return i.State, err
		}
		if err := e.taken(i); err != nil {
			return i.State, err
		}
	}
}

// move makes one transition, if there is one to make now.
func (e *Executor) move(ctx context.Context, i *Incident) (bool, error) {
	if s := i.current(); s != nil {
		return true, e.step(ctx, i, s)
	}
	rows := map[string]any{rowIncident + i.ID: i}
	if !i.Taken && i.State != Closed && i.State != Undoing && e.judge(i, rows) {
		return true, e.Store.write(rows)
	}
	switch i.State {
	case Undoing:
		if e.Now().Before(i.Retry) {
			return false, nil
		}
		if s := i.undoable(); s != nil {
			return true, e.beginUndo(ctx, i, s)
		}
		if s := i.stuck(); s != nil {
			e.escalate(i, fmt.Sprintf("step %d cannot be undone: restore %s", s.Number, s.Target))
			return true, e.save(i)
		}
		e.ended(i)
		return true, e.save(i)
	case Closed, Following:
		return false, nil
	}
	if reason, err := e.over(i); err != nil || reason != "" {
		if err == nil {
			err = e.become(i, Undoing, reason)
		}
		return true, err
	}
	return e.forward(ctx, i)
}

// over returns the reason why the effects of an incident end, or "".
func (e *Executor) over(i *Incident) (string, error) {
	killed, err := e.Store.Killed()
	due := i.undoDue()
	switch {
	case err != nil:
		return "", err
	case i.Cleared && i.stuck() == nil:
		return "the condition has cleared", nil
	case !due.IsZero() && !e.Now().Before(due):
		return "the time of the actions is over", nil
	case killed && (i.undoable() != nil || i.State == Acting || i.State == Waiting):
		return "the kill switch is on", nil
	}
	return "", nil
}

// forward makes a transition of an incident whose effects go on.
func (e *Executor) forward(ctx context.Context, i *Incident) (bool, error) {
	now := e.Now()
	switch i.State {
	case Open, Acting:
		if i.Next < len(i.Planned) {
			return true, e.begin(ctx, i)
		}
		i.State, i.Settled = Settling, now
		return true, e.save(i)
	case Waiting:
		if i.Request != nil && now.Before(i.Request.Until) {
			return false, nil
		}
		e.escalate(i, fmt.Sprintf("no answer to the request for approval within %s", patience))
		return true, e.save(i)
	case Settling:
		since := i.acted()
		if since.IsZero() {
			since = i.Settled
		}
		if now.Before(since.Add(i.Decay)) {
			return false, nil
		}
		e.escalate(i, "the alerts still fire at the end of decay")
		return true, e.save(i)
	}
	return false, nil
}

func (e *Executor) become(i *Incident, state State, reason string) error {
	i.State, i.Reason, i.Request = state, reason, nil
	return e.save(i)
}

func (e *Executor) save(i *Incident) error {
	return e.Store.write(map[string]any{rowIncident + i.ID: i})
}

// begin decides about the next step of the playbook.
func (e *Executor) begin(ctx context.Context, i *Incident) error {
	p := &i.Planned[i.Next]
	err := e.permit(i, p)
	switch {
	case errors.Is(err, errApproval):
		return e.ask(i, p)
	case errors.Is(err, ErrRefused):
		return e.stop(i, err.Error())
	case err != nil:
		return err
	}
	c := e.Connectors[p.Connector]
	if c == nil {
		return e.stop(i, "unknown connector "+p.Connector)
	}
	before, after, err := plan(ctx, c, p)
	if err != nil {
		e.warn("step not planned", "incident", i.ID, "action", p.Action, "target", p.Target, "err", err)
		// The error can contain secrets, so the entries do not have it.
		return e.stop(i, "cannot plan "+p.Action+" on "+p.Target)
	}
	i.Next++
	if bytes.Equal(before, after) {
		return e.save(i) // the target has this state already
	}
	if i.DryRun {
		line := fmt.Sprintf("%s on %s, from sha256:%s to sha256:%s", p.Action, p.Target, sum(before), sum(after))
		if p.Approval {
			line += ", after approval by a person"
		}
		i.Dry = append(i.Dry, line)
		e.warn("dry run: step not taken", "incident", i.ID, "step", line)
		return e.save(i)
	}
	now := e.Now()
	s := &Step{Planned: *p, Number: len(i.Steps) + 1, State: Read, Before: before, After: after, Decided: now}
	e.start(i, s)
	i.Steps, i.State = append(i.Steps, s), Acting
	rows := map[string]any{rowIncident + i.ID: i}
	for _, row := range []string{rowUsed, rowUsed + p.Target} {
		if rows[row], err = e.Store.used(row, now); err != nil {
			return err
		}
	}
	return e.Store.write(rows)
}

// stop ends the forward steps of an incident: people have to act.
func (e *Executor) stop(i *Incident, reason string) error {
	if len(i.Steps) > 0 {
		return e.become(i, Undoing, reason)
	}
	e.escalate(i, reason)
	return e.save(i)
}

// ask requests the approval of the next step.
func (e *Executor) ask(i *Incident, p *Planned) error {
	until := e.Now().Add(patience)
	i.Request = &Approval{Place: i.Next + 1, Until: until, Notice: len(i.Notices)}
	i.State, i.Reason = Waiting, fmt.Sprintf("%s on %s needs the approval of a person", p.Action, p.Target)
	e.note(i, Notice{Action: ActionRequestApproval, Number: i.Next + 1, Reason: i.Reason, Asked: p, Until: until})
	return e.save(i)
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
func (e *Executor) beginUndo(ctx context.Context, i *Incident, s *Step) error {
	switch {
	case s.Lapses:
		s.Undone = Kept
		return e.save(i)
	case s.Attempts >= maxAttempts || len(i.Steps) >= maxSteps:
		s.Undone = Failed
		return e.save(i)
	case s.Sums != nil:
		return e.lost(ctx, i, s)
	}
	undo := &Step{Planned: s.undo(), Number: len(i.Steps) + 1, Undoes: s.Number, State: Read, Before: s.After, After: s.Before, Decided: e.Now()}
	if len(i.By) <= maxActor {
		undo.Actor = i.By
	}
	e.start(i, undo)
	i.Steps = append(i.Steps, undo)
	return e.save(i)
}

// maxActor is the number of bytes of an actor in an entry.
const maxActor = 256

// settle notes the final state of an undo with the step that it undoes. It
// reports whether the undo has to be tried again.
func (s *Step) settle(i *Incident) bool {
	if s.Undoes == 0 {
		return false
	}
	undone := i.Steps[s.Undoes-1]
	if s.State == Failed || s.State == Skipped {
		undone.Attempts++
		return true
	}
	undone.Undone = s.State
	return false
}

func (e *Executor) warn(message string, args ...any) {
	if e.Log != nil {
		e.Log.Warn(message, args...)
	}
}

// Targets returns the targets of an incident's steps, sorted.
func (i *Incident) Targets() []string {
	all := map[string]bool{}
	for _, s := range i.Steps {
		all[s.Target] = true
	}
	return slices.Sorted(maps.Keys(all))
}

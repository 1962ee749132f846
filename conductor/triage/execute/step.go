package execute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/conductor/triage/connector"
)

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
		return e.taken(i)
	case errors.Is(err, ErrSpool) || errors.Is(err, ErrState):
		return err
	case err != nil && i.Adopted != "" && !i.leased():
		return err
	case err != nil && s.Undoes == 0 && (!e.MayActAlone(&s.Planned) || !e.holds(i)):
		return e.finish(i, s, Skipped, "the ledger is unreachable")
	}
	s.State, s.Spooled = Intended, err != nil
	return e.save(i)
}

// MayActAlone reports whether a step may be taken without the ledger. An effect
// that lapses cannot be seen in its target, so another executor that has the
// ledger and takes the same step would repeat it.
func (e *Executor) MayActAlone(p *Planned) bool {
	return p.WithoutLedger && !e.Standby && (!p.Lapses || e.Trails == nil)
}

// superfluous returns the reason why a step that is intended must not be
// carried out any more, or "".
func (e *Executor) superfluous(i *Incident, s *Step) (string, error) {
	killed, err := e.Store.Killed()
	switch {
	case err != nil || s.Undoes > 0:
		return "", err
	case killed:
		return "the kill switch is on", nil
	case i.State == Undoing:
		return cmp.Or(i.Reason, "the incident is undone"), nil
	case i.Cleared:
		return "the condition has cleared", nil
	}
	return "", nil
}

// act calls the connector, at most once for a step.
func (e *Executor) act(ctx context.Context, i *Incident, s *Step) error {
	if e.stale(i, s) {
		return e.finish(i, s, Skipped, "the intent is too old")
	}
	if reason, err := e.superfluous(i, s); err != nil || reason != "" {
		if err != nil {
			return err
		}
		return e.finish(i, s, Skipped, reason)
	}
	c := e.Connectors[s.Connector]
	if c == nil {
		return fmt.Errorf("step %d of %s: unknown connector %s", s.Number, i.ID, s.Connector)
	}
	image, err := e.image(ctx, c, s)
	if err != nil {
		return err
	}
	switch {
	case !s.same(image, false):
		return e.finish(i, s, Kept, "the target was changed after the intent")
	case e.stale(i, s): // reading has taken its time
		return e.finish(i, s, Skipped, "the intent is too old")
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
		return e.unreadable(ctx, i, s, err)
	case s.same(image, true):
		return e.finish(i, s, Confirmed, s.Reason)
	case s.same(image, false):
		return e.finish(i, s, Failed, s.Reason)
	}
	return e.finish(i, s, Foreign, "the target was changed by somebody else")
}

// unreadable passes an incident to people whose target cannot be read for long
// after a call. The target is read on, and the effect undone if there is one.
func (e *Executor) unreadable(ctx context.Context, i *Incident, s *Step, err error) error {
	if e.Now().Before(s.Called.Add(maxUnreadable)) {
		return err
	}
	if !s.Unreadable {
		s.Unreadable = true
		e.escalate(i, fmt.Sprintf("step %d: the state of %s cannot be read", s.Number, s.Target))
		if err := e.save(i); err != nil {
			return err
		}
	}
	switch recorded := e.record(ctx, i); {
	case errors.Is(recorded, ErrTaken):
		return e.taken(i)
	case recorded != nil:
		return recorded
	}
	return err
}

// finish gives a step its final state, and decides what follows.
func (e *Executor) finish(i *Incident, s *Step, state StepState, reason string) error {
	s.State, s.Reason, s.Finished = state, reason, e.Now()
	delete(e.began, i.step(s))
	if s.Undoes == 0 && state != Confirmed && state != Kept && i.State == Acting {
		i.State, i.Reason = Undoing, fmt.Sprintf("step %d: %s", s.Number, state)
	}
	if s.settle(i) {
		i.Retry = e.Now().Add(min(time.Second<<min(i.Steps[s.Undoes-1].Attempts, 6), time.Minute))
	}
	return e.save(i)
}

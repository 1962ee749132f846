package execute

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// silence is how long an executor must have recorded nothing that is due
	// before another takes its incident over. It is longer than an executor can
	// act after an intent.
	silence = 5 * time.Minute
	// abandoned is the age of the latest entry after which an incident without
	// effects is closed.
	abandoned = 24 * time.Hour
	// maxTakeovers is how often an incident is taken over.
	maxTakeovers = 16
	// unknown is how long an incident of the other executor is followed before
	// its first entry is read.
	unknown = 10 * time.Minute
	// defaultUndo is undo_after of an action that this executor does not have.
	defaultUndo = 30 * time.Minute
)

// TakeOver finds the incidents that another executor has left, and takes them
// over. The caller calls Advance for them afterwards.
func (e *Executor) TakeOver(ctx context.Context) error {
	if e.Trails == nil {
		return nil
	}
	self, err := e.Feed.Self(ctx)
	if err != nil {
		return fmt.Errorf("identity of the executor: %w", err)
	}
	trails, complete, err := e.Trails.Trails()
	if err != nil {
		return err
	}
	killed, err := e.Store.Killed()
	if err != nil {
		return err
	}
	if !killed {
		e.killed = time.Time{}
	} else if e.killed.IsZero() {
		e.killed = e.Now()
	}
	known := map[string]bool{}
	for n := range trails {
		if !trails[n].begun(self) {
			continue // persons can make requests about anything
		}
		known[trails[n].Incident] = true
		err := e.consider(&trails[n], complete, self)
		if errors.Is(err, errTrail) {
			e.hopeless(trails[n].Incident, err)
		} else if err != nil {
			return err
		}
	}
	return e.forget(known, complete)
}

// hopeless logs why an incident cannot be taken over, once.
func (e *Executor) hopeless(id string, err error) {
	if e.warned == nil {
		e.warned = map[string]string{}
	}
	if e.warned[id] != err.Error() {
		e.warned[id] = err.Error()
		e.warn("incident not taken over", "incident", id, "reason", err)
	}
}

// forget ends the incidents that are followed, and of which the ledger has no
// recent entries.
func (e *Executor) forget(known map[string]bool, complete time.Time) error {
	ids, err := e.Store.Active()
	if err != nil {
		return err
	}
	for _, id := range ids {
		i, err := e.Store.Incident(id)
		if err != nil {
			return err
		}
		if i.State == Following && !known[id] && complete.Sub(i.Opened) > unknown {
			end := e.unfollow
			if !i.Cleared && complete.Sub(i.Opened) < watched {
				end = e.misnumbered // its entries are too old to be read
			}
			if err := end(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Executor) unfollow(i *Incident) error {
	i.State, i.Reason, i.Ended = Closed, "the other executor has closed it", e.Now()
	return e.save(i)
}

// misnumbered passes an incident to people that has the identifier of an
// earlier one, on which nothing acts.
func (e *Executor) misnumbered(i *Incident) error {
	i.State, i.Reason = Escalated, "the ledger has an earlier incident with this identifier: the ledger had not been read when it was opened"
	return e.save(i)
}

// consider takes an incident over if it is overdue.
func (e *Executor) consider(t *Trail, complete time.Time, self string) error {
	own, err := e.Store.Incident(t.Incident)
	if own != nil && own.DryRun && own.Unused() {
		own = nil // it can be taken over
	}
	if err == nil && own != nil && !t.Closed && own.idle(t.acted(self)) {
		own.Taken, own.State, own.Reason = true, Following, ErrTaken.Error()
		err = e.save(own)
	}
	switch {
	case err != nil || own != nil && (!own.Taken || own.busy()):
		return err
	case t.Closed:
		if own != nil && own.State == Following && t.Latest.Before(own.Began) && !own.Cleared {
			return e.misnumbered(own)
		}
		if own != nil && own.State == Following {
			return e.unfollow(own)
		}
		return nil
	case complete.Sub(t.Seen) < silence || e.DryRun:
		return nil
	}
	c, err := e.course(t, self)
	if err != nil {
		return err
	}
	due := e.due(c, own)
	if due.IsZero() || e.Now().Before(due.Add(silence)) {
		return nil
	}
	if c.noticed(ActionTakeover) >= maxTakeovers {
		return broken("it was taken over %d times", maxTakeovers)
	}
	if s := c.current(); s != nil && e.Connectors[s.Connector] == nil {
		return broken("step %d: unknown connector %s", s.Number, s.Connector)
	}
	return e.adopt(c, own)
}

// idle reports whether an executor has taken no step of an incident, such as
// because the other one had changed the targets already. Its notices count as
// long as the other one has not acted.
func (i *Incident) idle(acted bool) bool {
	return !i.Taken && !i.DryRun && len(i.Steps) == 0 && (acted || !slices.ContainsFunc(i.Notices, func(n *Notice) bool { return n.Entry.Payload != nil }))
}

// busy reports whether an executor without the lease still undoes what it did
// without the ledger.
func (i *Incident) busy() bool { return i.State != Following && i.State != Closed || !i.recorded() }

// due returns since when an incident waits for its executor, or zero.
func (e *Executor) due(c *course, own *Incident) (due time.Time) {
	switch s := c.current(); {
	case s != nil:
		return s.Decided
	case !c.asked.IsZero():
		return c.asked
	case c.stuck:
		return time.Time{}
	case c.ending:
		return c.latest
	}
	due = c.undoDue()
	earliest := func(at time.Time) {
		if !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	if own != nil {
		earliest(own.ClearedAt)
	} else if due.IsZero() {
		earliest(later(c.latest, c.until).Add(abandoned))
	}
	if c.undoable() != nil {
		earliest(e.killed)
	}
	return due
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// adopt takes an incident over. The first entry of a step that this executor
// records is its lease, and before that it changes nothing.
func (e *Executor) adopt(c *course, own *Incident) error {
	i := c.Incident
	rows := map[string]any{rowIncident + i.ID: i}
	i.State, i.Adopted = Undoing, c.actor
	i.Reason = fmt.Sprintf("taken over from %s, which has recorded nothing for %s", c.actor, silence)
	if own != nil {
		i.Cleared, i.ClearedAt = own.Cleared, own.ClearedAt
	}
	e.note(i, Notice{Action: ActionTakeover, Number: i.noticed(ActionTakeover) + 1, Reason: i.Reason})
	if i.current() != nil { // before its outcome
		i.Notices[len(i.Notices)-1].After--
	}
	if c.marked {
		e.misfire(i, "marked by "+c.by, rows)
	}
	i.Misfire.Judged = true
	if !c.asked.IsZero() {
		for _, s := range i.Steps {
			s.Attempts = 0
		}
	}
	e.TakenOver++
	e.warn("incident taken over", "incident", i.ID, "from", c.actor)
	return e.Store.write(rows)
}

// noticed returns the number of notices with an action.
func (i *Incident) noticed(action string) (n int) {
	for _, o := range i.Notices {
		if o.Action == action {
			n++
		}
	}
	return n
}

// same reports whether an image is one of a step. Without the image itself, its
// hash is known.
func (s *Step) same(image []byte, after bool) bool {
	if s.Sums != nil {
		return sum(image) == s.digest(after)
	}
	if after {
		return bytes.Equal(image, s.After)
	}
	return bytes.Equal(image, s.Before)
}

// digest returns the SHA-256 of an image of a step.
func (s *Step) digest(after bool) string {
	switch {
	case s.Sums != nil && after:
		return s.Sums[1]
	case s.Sums != nil:
		return s.Sums[0]
	case after:
		return sum(s.After)
	}
	return sum(s.Before)
}

// lost ends a step whose image was not in the entries. A person has to restore
// its target.
func (e *Executor) lost(ctx context.Context, i *Incident, s *Step) error {
	s.Undone, s.Connector = Failed, cmp.Or(s.Connector, e.connectorOf(&s.Planned))
	if c := e.Connectors[s.Connector]; c != nil {
		image, err := e.image(ctx, c, s)
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err == nil && !s.same(image, true) {
			s.Undone = Kept
		}
	}
	return e.save(i)
}

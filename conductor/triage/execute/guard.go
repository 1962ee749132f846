package execute

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrRefused is wrapped by the refusals of guard rails.
var ErrRefused = errors.New("refused")

// errApproval reports that a person has to approve the step first.
var errApproval = errors.New("approval by a person is required")

// permit checks the guard rails before a step of a playbook, in the order of
// section 10.
func (e *Executor) permit(i *Incident, p *Planned) error {
	if e.DryRun && !i.DryRun {
		return fmt.Errorf("%w: dry run", ErrRefused)
	}
	killed, err := e.Store.Killed()
	if err != nil || killed {
		return cause(err, "the kill switch is on")
	}
	q, err := e.Store.quarantine(i.Type)
	if err != nil || q != nil {
		return cause(err, "the type is in quarantine since %s", q.name())
	}
	if p.Approval && p.Approved == nil && !i.DryRun {
		return errApproval
	}
	a := e.Actions.Actions[p.Action]
	if a == nil {
		return fmt.Errorf("%w: the action %s does not exist any more", ErrRefused, p.Action)
	}
	now := e.Now()
	for _, b := range []struct {
		target string
		limit  int
		within time.Duration
		what   string
	}{
		{p.Target, 1, a.Cooldown, "the cooldown of " + p.Target},
		{p.Target, a.PerTarget.Actions, a.PerTarget.Within, "the budget of " + p.Target},
		{"", e.Actions.Budgets.ActionsPerHour, time.Hour, "the budget of all actions"},
	} {
		used, err := e.used(i, b.target, now.Add(-b.within))
		if err != nil || used >= b.limit {
			return cause(err, "%s: %d in %s", b.what, b.limit, b.within)
		}
	}
	holder, err := e.holder(i, p)
	if err != nil || holder != "" {
		return cause(err, "%s is changed by the incident %s, whose effect has not ended", p.Target, holder)
	}
	return nil
}

// holder returns another incident with an effect on the target of a step, or
// "". Its undo would find the effect of this step, take it for a change by a
// person, and the target would never be as it was.
func (e *Executor) holder(i *Incident, p *Planned) (string, error) {
	ids, err := e.Store.Active()
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		if id == i.ID {
			continue
		}
		other, err := e.Store.Incident(id)
		if err != nil {
			return "", err
		}
		if other != nil && other.holds(p) {
			return id, nil
		}
	}
	return "", nil
}

// holds reports whether a step of the incident has changed the target, or may
// still, and will be undone.
func (i *Incident) holds(p *Planned) bool {
	return slices.ContainsFunc(i.Steps, func(s *Step) bool {
		return s.Undoes == 0 && s.Target == p.Target && s.Connector == p.Connector && !s.Lapses && s.Undone == "" && (s.State == Confirmed || !s.final())
	})
}

func (q *Quarantine) name() string {
	if q == nil {
		return ""
	}
	return fmt.Sprintf("%s: %s", q.Incident, q.Reason)
}

// cause returns an error of the store, or else a refusal.
func cause(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

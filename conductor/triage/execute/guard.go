package execute

import (
	"errors"
	"fmt"
	"time"
)

// ErrRefused is wrapped by the refusals of guard rails.
var ErrRefused = errors.New("refused")

// permit checks the guard rails before a step of a playbook.
func (e *Executor) permit(i *Incident, p Planned) error {
	a := e.Actions.Actions[p.Action]
	if a == nil {
		return fmt.Errorf("%w: the action %s does not exist any more", ErrRefused, p.Action)
	}
	if reason, err := e.Store.quarantined(i.Type); err != nil || reason != "" {
		return cause(err, "the type is in quarantine: %s", reason)
	}
	now := e.Now()
	for _, b := range []struct {
		row    string
		limit  int
		within time.Duration
		what   string
	}{
		{rowUsed + p.Target, 1, a.Cooldown, "the cooldown of " + p.Target},
		{rowUsed + p.Target, a.PerTarget.Actions, a.PerTarget.Within, "the budget of " + p.Target},
		{rowUsed, e.Actions.Budgets.ActionsPerHour, time.Hour, "the budget of all actions"},
	} {
		times, err := e.Store.times(b.row, now.Add(-b.within))
		if err != nil || len(times) >= b.limit {
			return cause(err, "%s: %d in %s", b.what, b.limit, b.within)
		}
	}
	return nil
}

// cause returns an error of the store, or else a refusal.
func cause(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

package route

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/explain"
)

// maxUnmatched is the number of alerts of no type whose names a state has.
const maxUnmatched = 16

// An ask is a request for the state.
type ask struct {
	state *explain.State
	err   error
	done  chan struct{} // closed once the others are set
}

// State returns what the router holds and why it opens incidents or does not,
// as of its next evaluation. It changes nothing. One call is answered at a
// time.
func (r *Router) State(ctx context.Context) (*explain.State, error) {
	a := &ask{done: make(chan struct{})}
	select {
	case r.asks <- a:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.stopped:
		return nil, ErrStopped
	}
	select {
	case <-a.done:
		return a.state, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.stopped:
		return nil, ErrStopped
	}
}

// answer answers the request for the state, if there is one.
func (r *Router) answer(results []*classify.Result, now time.Time) {
	a := r.asked
	if a == nil {
		return
	}
	r.asked = nil
	a.state, a.err = r.state(results, now)
	close(a.done)
}

func (r *Router) state(results []*classify.Result, now time.Time) (*explain.State, error) {
	firing, all := r.table.Count()
	s := &explain.State{At: now, Alerts: explain.Alerts{Firing: firing, Ended: all - firing}}
	s.Alerts.Unmatched, s.Alerts.Names = r.table.Unmatched(maxUnmatched)
	open := slices.SortedFunc(maps.Values(r.incidents), func(a, b *incident) int {
		return cmp.Or(b.Opened.Compare(a.Opened), strings.Compare(a.ID, b.ID))
	})
	for _, i := range open {
		switch {
		case i.State == execute.Closed:
			s.Closed++
		case len(s.Incidents) == explain.MaxIncidents:
			s.MoreIncidents++
		default:
			one, err := r.explained(i)
			if err != nil {
				return nil, err
			}
			s.Incidents = append(s.Incidents, one)
		}
	}
	s.Types = explain.Types(results, r.Config.Playbooks, func(res *classify.Result) string { return r.next(res, now) })
	return s, r.guards(&s.Guards)
}

// explained returns an incident with its steps.
func (r *Router) explained(i *incident) (explain.Incident, error) {
	one := explain.Incident{ID: i.ID, State: string(cmp.Or(i.State, execute.Open)), Opened: i.Opened, Alerts: i.Alerts, Cleared: i.Cleared, Reason: i.Refused}
	if i.Refused != "" {
		return one, nil
	}
	of, err := r.Executor.Store.Incident(i.ID)
	if err != nil || of == nil {
		return one, err
	}
	one.State, one.Reason = string(of.State), of.Reason
	for _, step := range of.Steps[max(0, len(of.Steps)-maxSteps):] {
		one.Steps = append(one.Steps, fmt.Sprintf("%d. %s on %s: %s", step.Number, step.Action, step.Target, step.State))
	}
	return one, nil
}

// maxSteps is the number of steps of an incident that a state has, the latest.
const maxSteps = 32

// next returns what follows on a candidate that is classified.
func (r *Router) next(res *classify.Result, now time.Time) string {
	o := r.latest[place{res.Type, res.Candidate().Key}]
	switch {
	case o == nil || o.State == execute.Closed && !now.Before(o.Closed.Add(res.Candidate().Type.Decay)):
		return "an incident opens once its number is read from the ledger, and the executor has decided about earlier ones"
	case o.Opened.Equal(now):
		return "incident " + o.ID + " opens"
	case o.State == execute.Closed:
		return fmt.Sprintf("no incident opens until %s, when decay of %s has passed after the end of %s", o.Closed.Add(res.Candidate().Type.Decay).UTC().Format(time.RFC3339), res.Candidate().Type.Decay, o.ID)
	}
	return fmt.Sprintf("no incident opens while %s is %s", o.ID, cmp.Or(o.State, execute.Open))
}

func (r *Router) guards(g *explain.Guards) (err error) {
	g.DryRun, g.Standby = r.Executor.DryRun, r.Executor.Standby
	if g.KillSwitch, err = r.Executor.Store.Killed(); err != nil {
		return err
	}
	quarantines, err := r.Executor.Store.Quarantines()
	for _, of := range slices.Sorted(maps.Keys(quarantines)) {
		q := quarantines[of]
		g.Quarantines = append(g.Quarantines, explain.Quarantine{Type: of, Incident: q.Incident, Reason: q.Reason, Since: q.Since})
	}
	return err
}

package route

import (
	"maps"
	"time"

	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/execute"
)

// An observation is one of an incident.
type observation struct {
	id string
	execute.Observation
}

// observe sends the executor what has changed about the alerts of incidents,
// until decay has passed after they were closed. It finds misfires by that.
func (r *Router) observe(index *correlate.Index, now time.Time) {
	for id, i := range r.incidents {
		of := r.Config.Catalogue.Type(i.Type)
		if of == nil || i.State == "" || i.Refused != "" || i.State == execute.Closed && !now.Before(i.Closed.Add(of.Decay)) {
			continue
		}
		o := r.observation(index, of, i, now)
		if i.observed != nil && i.observed.Counting == o.Counting && maps.Equal(i.observed.Anchors, o.Anchors) {
			continue
		}
		i.observed = &o
		r.actor.send(command{observe: &observation{id, o}})
	}
}

// observation returns the state of an incident's alerts.
func (r *Router) observation(index *correlate.Index, of *catalogue.Type, i *incident, now time.Time) execute.Observation {
	o := execute.Observation{Counting: len(index.Belonging(of, i.Key, i.Anchors)), Anchors: map[string]bool{}}
	for _, identity := range i.Anchors {
		o.Anchors[identity] = !r.table.Settled(identity, now)
	}
	return o
}

package route

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/signal"
)

const (
	maxAnchors = 1000 // of an incident
	maxNames   = 64   // of the alerts of an incident
)

// An incident is what the router keeps about one. It is written in the batch
// that claims its episodes, before the executor opens it.
type incident struct {
	ID     string        `json:"id"`
	Type   string        `json:"type"`
	Key    catalogue.Key `json:"key"`
	Number uint64        `json:"number"`

	First   time.Time `json:"first"` // reception of the first signal
	Opened  time.Time `json:"opened"`
	Began   time.Time `json:"began,omitzero"` // the latest episode of an anchor at the opening
	Anchors []string  `json:"anchors"`        // identities
	Alerts  []string  `json:"alerts"`
	Traces  []string  `json:"traces,omitempty"`

	// State is that of the executor. Empty: it has not opened it yet.
	State   execute.State `json:"state,omitempty"`
	Unused  bool          `json:"unused,omitempty"`  // it is closed and has no entries
	Taken   bool          `json:"taken,omitempty"`   // the ledger had its entries at the opening
	Refused string        `json:"refused,omitempty"` // the executor's reason not to open it
	Cleared bool          `json:"cleared,omitempty"`
	Closed  time.Time     `json:"closed,omitzero"`

	observed *execute.Observation // by the executor, in this process
}

func (i *incident) place() place { return place{i.Type, i.Key} }

func (i *incident) row() row { return row{rowIncident + i.ID, i} }

// restore reads the alerts and the incidents.
func (r *Router) restore() error {
	var horizon time.Time
	if _, err := r.store.Get(rowHorizon, &horizon); err != nil {
		return err
	}
	r.table.SetHorizon(horizon)
	if err := r.store.Each(rowAlert, func(_ string, value []byte) error {
		var record correlate.Record
		if err := json.Unmarshal(value, &record); err != nil {
			return err
		}
		r.table.Restore(&record)
		return nil
	}); err != nil {
		return err
	}
	return r.store.Each(rowIncident, func(_ string, value []byte) error {
		var i incident
		if err := json.Unmarshal(value, &i); err != nil {
			return err
		}
		r.incidents[i.ID] = &i
		if o := r.latest[i.place()]; o == nil || o.Number < i.Number {
			r.latest[i.place()] = &i
		}
		return nil
	})
}

// resume repeats what the executor has perhaps not done. Both are idempotent.
func (r *Router) resume(index *correlate.Index, i *incident) {
	if i.State == "" {
		r.actor.send(command{open: r.opening(index, i)})
	}
	if i.Cleared && i.State != execute.Closed && i.Refused == "" {
		r.actor.send(command{clear: i.ID})
	}
	if i.State != execute.Closed && i.Refused == "" {
		r.actor.send(command{check: i.ID})
	}
	r.actor.follow(i)
}

// opening returns an incident for the executor. Without a playbook it has no
// steps.
func (r *Router) opening(index *correlate.Index, i *incident) *execute.Opening {
	o := &execute.Opening{ID: i.ID, Type: i.Type, Steps: r.Config.Playbooks[i.Type], Alerts: i.Alerts, Traces: i.Traces, Began: i.Began, Taken: i.Taken}
	if of := r.Config.Catalogue.Type(i.Type); of != nil {
		o.Decay, o.Observation = of.Decay, r.observation(index, of, i, r.Now())
	}
	return o
}

// evaluate attaches alerts to open incidents, opens and clears incidents, and
// returns the time until the next evaluation.
func (r *Router) evaluate(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if !r.dirty && began.Sub(r.evaluated) < idle {
		return pause, nil
	}
	now := r.Now()
	r.table.Expire(now)
	index := r.table.Index()
	rows := r.attach(index)
	results := classify.All(r.Config.Catalogue, r.table, now)
	opened, more, err := r.classify(ctx, results, now)
	if err != nil {
		return 0, err
	}
	cleared, cleaned := r.clear(now)
	rows = slices.Concat(rows, more, cleared, cleaned)
	if err := r.commit(rows...); err != nil {
		return 0, err
	}
	// Only what is durable reaches the executor.
	for _, i := range opened {
		r.actor.send(command{open: r.opening(index, i)})
		r.actor.follow(i)
	}
	for _, c := range cleared {
		if i := c.value.(*incident); i.Refused == "" {
			r.actor.send(command{clear: i.ID})
		}
	}
	r.observe(index, now)
	r.count()
	r.undecided(ctx, results, now)
	r.answer(results, now)
	r.dirty, r.evaluated = false, time.Now()
	took := r.evaluated.Sub(began)
	r.Metrics.evaluation.Observe(took.Seconds())
	return max(pause, 4*took), nil // a fifth of a core at most
}

// attach claims the episodes that belong to open incidents. No further ones
// belong to a refused incident: it has no effect that they could explain.
func (r *Router) attach(index *correlate.Index) (rows []row) {
	for _, i := range r.incidents {
		of := r.Config.Catalogue.Type(i.Type)
		if of == nil || i.State == execute.Closed || i.Refused != "" {
			continue
		}
		changed := false
		for _, m := range index.Belonging(of, i.Key, i.Anchors) {
			r.table.Claim(m.Alert, i.ID)
			changed = i.add(m) || changed
		}
		if changed {
			rows = append(rows, i.row())
		}
	}
	return rows
}

// add adds an alert to an incident, and reports whether it was new.
func (i *incident) add(m correlate.Member) bool {
	changed := false
	if m.Anchors() && m.Match.Keyed && m.Match.Key == i.Key && !slices.Contains(i.Anchors, m.Identity()) && len(i.Anchors) < maxAnchors {
		i.Anchors, changed = append(i.Anchors, m.Identity()), true
	}
	return changed
}

// classify opens an incident for each candidate that is one.
func (r *Router) classify(ctx context.Context, results []*classify.Result, now time.Time) (opened []*incident, rows []row, err error) {
	r.Metrics.results(results)
	room := maxPending - r.pending()
	for _, res := range results {
		if res.Verdict != classify.Classified {
			continue
		}
		if len(opened) >= room {
			break // the rest is classified again once the executor has decided
		}
		c := res.Candidate()
		at := place{res.Type, c.Key}
		if o := r.latest[at]; o != nil && (o.State != execute.Closed || now.Before(o.Closed.Add(c.Type.Decay))) {
			continue
		}
		i := &incident{Type: res.Type, Key: c.Key, Opened: now, Began: began(res)}
		number, err := r.number(i, res, now)
		if errors.Is(err, execute.ErrWait) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		r.fill(i, res)
		r.incidents[i.ID], r.latest[at] = i, i
		opened = append(opened, i)
		rows = append(rows, i.row(), number)
		r.decided(ctx, i, res)
	}
	return opened, rows, nil
}

// fill claims the episodes of an incident.
func (r *Router) fill(i *incident, res *classify.Result) {
	names, traces := map[string]bool{}, map[string]bool{}
	for _, m := range res.Satisfied() {
		r.table.Claim(m.Alert, i.ID)
		i.add(m)
		names[m.Name] = true
		for _, id := range m.Alert.Traces() {
			traces[id] = true
		}
		if at := m.Opened(); i.First.IsZero() || at.Before(i.First) {
			i.First = at
		}
	}
	i.Alerts, i.Traces = first(names, maxNames), first(traces, signal.MaxTraces)
}

func first(of map[string]bool, n int) []string {
	all := slices.Sorted(maps.Keys(of))
	return all[:min(n, len(all))]
}

// decided reports the decision to open an incident. It contains no labels,
// because these can contain secrets.
func (r *Router) decided(ctx context.Context, i *incident, res *classify.Result) {
	counted := 0
	for _, s := range res.Signals {
		counted += s.Counted
	}
	_, span := r.tracer.Start(ctx, "triage decision", trace.WithNewRoot(), trace.WithTimestamp(i.First), trace.WithAttributes(
		attribute.String("triage.incident", i.ID), attribute.String("triage.type", i.Type), attribute.String("triage.verdict", string(res.Verdict)), attribute.Int("triage.alerts", counted)))
	span.End(trace.WithTimestamp(i.Opened))
	r.actor.trace(i.ID, span.SpanContext())
	r.Metrics.opened.WithLabelValues(i.Type).Inc()
	r.Log.Info("incident classified", "incident", i.ID, "alerts", counted, "after", i.Opened.Sub(i.First))
}

// pending returns the number of incidents that the executor has neither opened
// nor refused.
func (r *Router) pending() (n int) {
	for _, i := range r.incidents {
		if i.State == "" {
			n++
		}
	}
	return n
}

// clear finds the incidents whose condition has cleared, and drops old ones.
// The numbers of those that are dropped remain.
func (r *Router) clear(now time.Time) (cleared, dropped []row) {
	var refused []*incident
	drop := func(i *incident) {
		delete(r.incidents, i.ID)
		if r.latest[i.place()] == i {
			delete(r.latest, i.place())
			if i.free() {
				dropped = append(dropped, row{counter(i.ID), i.Number - 1})
			}
		}
		dropped = append(dropped, row{rowIncident + i.ID, nil})
	}
	for id, i := range r.incidents {
		if i.State == execute.Closed && now.Sub(i.Closed) > keep {
			drop(i)
			continue
		}
		if i.Refused != "" {
			refused = append(refused, i)
		}
		if i.State == execute.Closed || i.Cleared || slices.ContainsFunc(i.Anchors, func(identity string) bool { return !r.table.Settled(identity, now.Add(-calm)) }) {
			continue
		}
		i.Cleared = true
		if i.Refused != "" {
			i.State, i.Closed = execute.Closed, now
		}
		cleared = append(cleared, i.row())
		r.Log.Info("condition cleared", "incident", id)
	}
	if n := len(refused) - maxRefused; n > 0 {
		slices.SortFunc(refused, func(a, b *incident) int { return cmp.Or(a.Opened.Compare(b.Opened), strings.Compare(a.ID, b.ID)) })
		for _, i := range refused[:n] {
			drop(i)
		}
	}
	return cleared, dropped
}

// follow stores what the executor has reported.
func (r *Router) follow(reports []report) error {
	var rows []row
	for _, p := range reports {
		i := r.incidents[p.id]
		if i == nil || i.State == p.state && cmp.Or(p.refused, i.Refused) == i.Refused {
			continue
		}
		i.State, i.Refused = p.state, cmp.Or(i.Refused, p.refused)
		if p.state == execute.Closed {
			i.Closed, i.Unused = r.Now(), p.unused
		}
		rows = append(rows, i.row())
	}
	return r.commit(rows...)
}

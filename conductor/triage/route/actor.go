package route

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/execute"
)

// wake is the longest time between two rounds over the open incidents.
const wake = 500 * time.Millisecond

// takeOverEvery is the time between two searches for incidents that another
// executor has left.
const takeOverEvery = 5 * time.Second

// An actor drives the executor. Its goroutine is the only one that calls it.
type actor struct {
	exec    *execute.Executor
	metrics *Metrics
	log     *slog.Logger
	tracer  trace.Tracer
	sparse  *sparse // owned by the goroutine

	woken    chan struct{} // has one element if there are commands
	reported chan struct{} // has one element if there are reports
	broken   chan error    // the state of the executor cannot be used any more
	checked  chan error    // the result of a reload. It has room for that of one

	mu       sync.Mutex // guards the rest
	commands []command
	results  []report
	spans    map[string]trace.SpanContext // of decisions, by incident
	first    map[string]time.Time         // the first signal of incidents that have not acted

	known  map[string]*progress // owned by the goroutine
	failed map[string]string    // the latest error, by incident; owned by the goroutine
	delays map[string]delay     // of incidents with errors; owned by the goroutine
	ledger *turnLedger          // of the executor
	now    func() time.Time     // the monotonic clock
}

// A command is one of these.
type command struct {
	open    *execute.Opening
	clear   string // identifier
	observe *observation
	check   string // identifier of an incident whose state can have changed
	reload  *triage.Config
}

// A report is the state of an incident.
type report struct {
	id      string
	state   execute.State
	refused string // the reason not to open it
	unused  bool   // it has no entries
}

// A progress is what was reported about an incident.
type progress struct {
	state execute.State
	steps int // that are final
}

func newActor(o Options, tracer trace.Tracer) *actor {
	ledger := &turnLedger{Ledger: o.Executor.Ledger}
	o.Executor.Ledger = ledger
	return &actor{
		exec: o.Executor, metrics: o.Metrics, log: o.Log, tracer: tracer, sparse: newSparse(tracer), woken: make(chan struct{}, 1), reported: make(chan struct{}, 1), broken: make(chan error, 1), checked: make(chan error, 1),
		spans: map[string]trace.SpanContext{}, first: map[string]time.Time{}, known: map[string]*progress{}, failed: map[string]string{},
		delays: map[string]delay{}, ledger: ledger, now: time.Now,
	}
}

// send queues a command. The commands are few: those of incidents.
func (a *actor) send(c command) {
	a.mu.Lock()
	a.commands = append(a.commands, c)
	a.mu.Unlock()
	notify(a.woken)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// follow notes when the first signal of an incident was received.
func (a *actor) follow(i *incident) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i.State != execute.Closed && i.Refused == "" {
		a.first[i.ID] = i.First
	}
}

// trace notes the span of a decision.
func (a *actor) trace(id string, span trace.SpanContext) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spans[id] = span
}

// reports returns what has happened since the latest call.
func (a *actor) reports() []report {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.results
	a.results = nil
	return all
}

func (a *actor) report(p report) {
	a.mu.Lock()
	a.results = append(a.results, p)
	a.mu.Unlock()
	notify(a.reported)
}

// run obeys commands and advances incidents until the context ends.
func (a *actor) run(ctx context.Context) {
	pruned, searched := time.Time{}, time.Time{}
	for {
		if now := a.exec.Now(); now.Sub(pruned) >= time.Hour {
			pruned = now
			a.complain("", a.exec.Prune())
		}
		a.obey()
		before := a.exec.Ignored
		a.complain("", a.exec.Follow(ctx))
		a.undelay(a.exec.Asked)
		a.metrics.ignored.Add(float64(a.exec.Ignored - before))
		if time.Since(searched) >= takeOverEvery {
			a.takeOver(ctx)
			searched = time.Now()
		}
		a.round(ctx)
		again := time.NewTimer(wake)
		select {
		case <-ctx.Done():
			again.Stop()
			a.obey()
			return
		case <-a.woken:
		case <-again.C:
		}
		again.Stop()
	}
}

// takeOver takes over what another executor has left, and reports the guard
// rails.
func (a *actor) takeOver(ctx context.Context) {
	before := a.exec.TakenOver
	a.complain("", a.exec.TakeOver(ctx))
	a.metrics.takeovers.Add(float64(a.exec.TakenOver - before))
	quarantines, err := a.exec.Store.Quarantines()
	a.complain("", err)
	killed, err := a.exec.Store.Killed()
	a.complain("", err)
	a.metrics.guards(slices.Collect(maps.Keys(quarantines)), killed)
}

// obey carries out the commands. Those that fail are repeated later, in order.
func (a *actor) obey() {
	a.mu.Lock()
	commands := a.commands
	a.commands = nil
	a.mu.Unlock()
	for n, c := range commands {
		if err := a.do(c); err != nil {
			a.complain("", err)
			a.mu.Lock()
			a.commands = append(commands[n:len(commands):len(commands)], a.commands...)
			a.mu.Unlock()
			return
		}
	}
}

func (a *actor) do(c command) error {
	delete(a.delays, cmp.Or(c.clear, c.check)) // there is something new to do
	switch {
	case c.reload != nil:
		err := a.exec.Check(c.reload.Actions, c.reload.Connectors)
		if err == nil {
			a.exec.Actions, a.exec.Connectors = c.reload.Actions, c.reload.Connectors
		}
		a.checked <- err
	case c.clear != "":
		return a.exec.Clear(c.clear)
	case c.observe != nil:
		return a.exec.Observe(c.observe.id, c.observe.Observation)
	case c.check != "":
		return a.observe(context.Background(), c.check)
	case c.open != nil:
		err := a.exec.Open(*c.open)
		if errors.Is(err, execute.ErrRefused) {
			a.log.Warn("incident refused", "incident", c.open.ID, "reason", err)
			a.metrics.refused.Inc()
			a.refusedAt(c.open.ID, err.Error(), a.exec.Now())
			a.forget(c.open.ID)
			a.report(report{id: c.open.ID, state: execute.Escalated, refused: err.Error()})
			return nil
		}
		if err != nil {
			return err
		}
		delete(a.known, c.open.ID) // the identifier can be that of an earlier one
		return a.observe(context.Background(), c.open.ID)
	}
	return nil
}

// round advances each incident once, unless its delay after an error lasts.
// Commands come first.
func (a *actor) round(ctx context.Context) {
	ids, err := a.exec.Store.Active()
	if err != nil {
		a.complain("", err)
		return
	}
	a.ledger.silent = false
	for _, id := range a.order(ids) {
		if ctx.Err() != nil {
			return
		}
		a.complain(id, a.advance(ctx, id))
		if err := a.observe(ctx, id); err != nil {
			a.complain(id, err)
		}
		a.obey()
	}
}

// complain logs an error of an incident, unless it is the same as before.
func (a *actor) complain(id string, err error) {
	if err == nil || errors.Is(err, execute.ErrWait) || errors.Is(err, context.Canceled) {
		delete(a.failed, id)
		return
	}
	if errors.Is(err, execute.ErrState) || errors.Is(err, execute.ErrSpool) {
		select {
		case a.broken <- err:
		default:
		}
	}
	a.metrics.errors.Inc()
	if text := err.Error(); a.failed[id] != text {
		a.failed[id] = text
		a.log.Error("incident not advanced; trying again", "incident", id, "err", err)
	}
}

// observe reports how far an incident is.
func (a *actor) observe(ctx context.Context, id string) error {
	i, err := a.exec.Store.Incident(id)
	if err != nil || i == nil {
		return err
	}
	p := a.known[id]
	if p == nil {
		p = &progress{}
		a.known[id] = p
	}
	a.mu.Lock()
	span, first := a.spans[id], a.first[id]
	a.mu.Unlock()
	for _, s := range i.Steps {
		if s.Undoes == 0 && !s.Called.IsZero() && !first.IsZero() {
			a.metrics.firstAction.WithLabelValues(i.Type).Observe(s.Called.Sub(first).Seconds())
			first = time.Time{}
			a.mu.Lock()
			delete(a.first, id)
			a.mu.Unlock()
		}
	}
	for ; p.steps < len(i.Steps) && !i.Steps[p.steps].Finished.IsZero(); p.steps++ {
		a.finished(trace.ContextWithRemoteSpanContext(ctx, span), i, i.Steps[p.steps])
	}
	if p.state != i.State {
		p.state = i.State
		a.refusedAt(id, i.Reason, a.exec.Now())
		a.log.Info("incident is "+string(i.State), "incident", id, "reason", i.Reason)
		a.report(report{id: id, state: i.State, unused: i.Unused()})
	}
	if i.State == execute.Closed {
		a.forget(id)
	}
	return nil
}

// forget drops what is kept about an incident without further steps.
func (a *actor) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.spans, id)
	delete(a.first, id)
}

// finished reports a step.
func (a *actor) finished(ctx context.Context, i *execute.Incident, s *execute.Step) {
	a.metrics.steps.WithLabelValues(s.Action, string(s.State)).Inc()
	_, span := a.tracer.Start(ctx, "triage step", trace.WithTimestamp(s.Decided), trace.WithAttributes(attribute.String("triage.incident", i.ID),
		attribute.Int("triage.step", s.Number), attribute.String("triage.action", s.Action), attribute.String("triage.target", s.Target), attribute.String("triage.state", string(s.State))))
	span.End(trace.WithTimestamp(s.Finished))
	a.log.Info("step "+string(s.State), "incident", i.ID, "step", s.Number, "action", s.Action, "target", s.Target, "reason", s.Reason)
}

// Package route runs incident triage: it applies the signals that arrive, opens
// and clears incidents, and advances them. See docs/spec/triage.md, sections 3,
// 4 and 7.
package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/crash"
)

const (
	// maxQueue is the number of messages that wait to be applied.
	maxQueue = 64
	// maxBatch is the number of signals after which a batch takes no further
	// message.
	maxBatch = 20_000
	// calm is how long every anchor must be resolved before an incident clears.
	calm = time.Minute
	// keep is how long closed incidents are kept.
	keep = 30 * 24 * time.Hour
	// maxRefused is the number of refused incidents that are kept, and
	// maxPending that of incidents for which the executor has not decided yet.
	maxRefused, maxPending = 1000, 1000
	// pause is the shortest time between two evaluations. They take place every
	// idle if no signal arrives, because durations pass.
	pause, idle = 100 * time.Millisecond, time.Second
)

// ErrBusy reports that a message was not taken. The sender should repeat it.
var ErrBusy = errors.New("too many messages wait: repeat the message later")

// ErrStopped reports that the router does not take messages any more.
var ErrStopped = errors.New("the router is stopping: repeat the message later")

// Options are the surroundings of a router.
type Options struct {
	Config   *triage.Config
	Dir      string // of the router's state
	FS       vfs.FS // nil: that of the system
	Executor *execute.Executor
	Metrics  *Metrics
	Now      func() time.Time
	Log      *slog.Logger
	Traces   trace.TracerProvider // nil: none
}

// A Router owns the alerts and the executor. Deliver and Reload can be called
// by any goroutine while Run runs.
type Router struct {
	Options
	tracer  trace.Tracer
	sparse  *sparse // of the goroutine of Run
	queue   chan *delivery
	reloads chan *change
	asks    chan *ask     // for the state
	stopped chan struct{} // closed when Run takes no further message

	actor *actor // owns the executor

	// The rest is owned by the goroutine of Run.
	store     *store
	table     *correlate.Table
	incidents map[string]*incident // by identifier
	latest    map[place]*incident  // the latest with a type and key
	change    *change              // that the executor checks; nil: none
	asked     *ask                 // that the next evaluation answers; nil: none
	verdicts  map[place]verdict    // of the latest evaluation
	dirty     bool                 // the alerts have changed since the evaluation
	evaluated time.Time            // the end of the evaluation
	started   time.Time            // of the process
}

// A place is where at most one incident is open at a time.
type place struct {
	of  string // type
	key catalogue.Key
}

// A change is a configuration that is to replace the one in force.
type change struct {
	config *triage.Config
	done   chan error // has room for the result
}

// A delivery is a message that waits to be applied.
type delivery struct {
	signals []signal.Signal
	effects map[correlate.Effect]int
	err     error
	done    chan struct{}
}

// Open reads the state of a router, or creates it. The caller runs the router
// and closes it afterwards. The error wraps execute.ErrNeeded if the
// configuration lacks what open incidents need.
func Open(o Options) (*Router, error) {
	if o.Executor == nil || o.Executor.Store == nil || o.Executor.Ledger == nil {
		return nil, errors.New("open the router: it needs an executor with a store and a ledger")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Traces == nil {
		o.Traces = noop.NewTracerProvider()
	}
	r := &Router{
		Options: o, tracer: o.Traces.Tracer("muniment.dev/muniment/conductor/triage/route"), queue: make(chan *delivery, maxQueue), reloads: make(chan *change), asks: make(chan *ask),
		stopped: make(chan struct{}), table: correlate.New(o.Config.Catalogue), incidents: map[string]*incident{}, latest: map[place]*incident{}, dirty: true,
	}
	var err error
	if r.store, err = openStore(o.Dir, o.FS); err != nil {
		return nil, err
	}
	if err := r.restore(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the %w", err), r.store.Close())
	}
	if err := errors.Join(r.checkTypes(o.Config), o.Executor.Check(o.Config.Actions, o.Config.Connectors)); err != nil {
		return nil, errors.Join(err, r.store.Close())
	}
	r.started = r.Now()
	r.sparse, r.actor = newSparse(r.tracer), newActor(o, r.tracer)
	index := r.table.Index()
	for _, i := range r.incidents {
		r.resume(index, i)
	}
	r.count()
	return r, nil
}

// Close closes the state. Run has returned.
func (r *Router) Close() error { return r.store.Close() }

// Run applies messages and advances incidents until the context ends. An error
// means that the state cannot be read or written any more.
func (r *Router) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() {
		defer crash.Report()
		r.actor.run(ctx)
	})
	err := r.loop(ctx)
	close(r.stopped)
	cancel()
	running.Wait()
	return err
}

func (r *Router) loop(ctx context.Context) error {
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		var err error
		reloads := r.reloads
		if r.change != nil {
			reloads = nil // one at a time
		}
		asks := r.asks
		if r.asked != nil {
			asks = nil // so is this
		}
		select {
		case <-ctx.Done():
			return r.drain()
		case d := <-r.queue:
			err = r.apply(d)
		case c := <-reloads:
			r.begin(c)
		case a := <-asks:
			r.asked, r.dirty = a, true
		case refusal := <-r.actor.checked:
			r.end(refusal)
		case err = <-r.actor.broken:
		case <-r.actor.reported:
			err = r.follow(r.actor.reports())
		case <-due.C:
			next := pause // no incident opens while the configuration changes
			if r.change == nil {
				next, err = r.evaluate(ctx)
			}
			due.Reset(next)
		}
		if err != nil {
			return err
		}
	}
}

// Deliver applies the signals of a message and returns their effects. When it
// returns without an error, the state contains them durably.
func (r *Router) Deliver(ctx context.Context, signals []signal.Signal) (map[correlate.Effect]int, error) {
	d := &delivery{signals: signals, effects: map[correlate.Effect]int{}, done: make(chan struct{})}
	select {
	case <-r.stopped:
		return nil, ErrStopped
	default:
	}
	select {
	case r.queue <- d:
	default:
		return nil, ErrBusy
	}
	select {
	case <-d.done:
		return d.effects, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.stopped:
		select {
		case <-d.done:
			return d.effects, d.err
		default:
			return nil, ErrStopped
		}
	}
}

// drain applies the messages that wait.
func (r *Router) drain() error {
	for {
		select {
		case d := <-r.queue:
			if err := r.apply(d); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// apply applies a message and those that wait after it in one batch.
func (r *Router) apply(d *delivery) error {
	batch := []*delivery{d}
	for n := len(d.signals); n < maxBatch; {
		select {
		case d = <-r.queue:
			batch = append(batch, d)
			n += len(d.signals)
			continue
		default:
		}
		break
	}
	for _, d := range batch {
		d.err = r.table.ObserveAll(d.signals, d.effects)
	}
	r.dirty = true
	if err := r.commit(); err != nil {
		return err
	}
	for _, d := range batch {
		close(d.done)
	}
	return nil
}

// commit stores the alerts that have changed, with more rows.
func (r *Router) commit(more ...row) error {
	changed, dropped := r.table.Changes()
	if len(changed)+len(dropped)+len(more) == 0 {
		return nil
	}
	return r.store.write(changed, dropped, r.table.Horizon(), more)
}

// Reload replaces the configuration. The error wraps execute.ErrNeeded, and the
// previous configuration stays in force, if open incidents need what the new
// one lacks.
func (r *Router) Reload(ctx context.Context, config *triage.Config) error {
	c := &change{config, make(chan error, 1)}
	select {
	case r.reloads <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.stopped:
		return ErrStopped
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.stopped:
		return ErrStopped
	}
}

// begin begins a change. The executor checks it once it has opened the
// incidents that were classified before.
func (r *Router) begin(c *change) {
	if err := r.checkTypes(c.config); err != nil {
		c.done <- err
		return
	}
	r.change = c
	r.actor.send(command{reload: c.config})
}

// end ends a change. Without a refusal, the executor uses it already.
func (r *Router) end(refusal error) {
	c := r.change
	r.change = nil
	if refusal == nil {
		r.Config, r.dirty = c.config, true
		r.table.Use(c.config.Catalogue)
	}
	c.done <- refusal
}

// checkTypes returns an error unless a configuration has the types of open
// incidents. Alerts are attached to them and misfires found by their types.
func (r *Router) checkTypes(config *triage.Config) error {
	var missing []string
	for id, i := range r.incidents {
		if i.State != execute.Closed && i.Refused == "" && config.Catalogue.Type(i.Type) == nil {
			missing = append(missing, fmt.Sprintf("%s (%s): type %s", id, cmp.Or(i.State, execute.Open), i.Type))
		}
	}
	slices.Sort(missing)
	return execute.Needed(missing)
}

// Counts returns the number of alerts that fire, and of all incidents. Run has
// returned.
func (r *Router) Counts() (firing, incidents int) {
	firing, _ = r.table.Count()
	return firing, len(r.incidents)
}

func (r *Router) count() {
	firing, all := r.table.Count()
	r.Metrics.alerts(firing, all)
	states := map[execute.State]int{}
	for _, i := range r.incidents {
		states[i.State]++
	}
	r.Metrics.incidents(states)
}

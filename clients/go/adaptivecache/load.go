package adaptivecache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/maypok86/otter/v2"
)

// A kind is why a load runs.
type kind int

const (
	shared   kind = iota // by a miss, joined by others
	alone                // by a miss, joined by none
	refresh              // in the background, for an entry that is about to expire
	prefetch             // in the background, for an edge
)

// A flight is one load. Entry, value and err are written before done is closed.
type flight[K comparable, V any] struct {
	key     K
	name    string // empty: the result is not stored
	kind    kind
	token   uint64
	era     uint64
	started int64
	own     [2]uint32    // slots of the name and the resolver
	old     *entry[K, V] // of a refresh
	done    chan struct{}
	ended   bool // guarded by the cache's mu

	entry *entry[K, V] // nil after errors, and for keys without a name
	value V
	err   error
}

func (f *flight[K, V]) result() (V, error) { return f.value, f.err }

// await waits for a load.
func (c *Cache[K, V]) await(ctx context.Context, f *flight[K, V]) (V, error) {
	select {
	case <-f.done:
		return f.result()
	default:
	}
	select {
	case <-f.done:
		return f.result()
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// join returns the shared load of a key, if a read at now may use its result.
// Otherwise it starts one, which is mine.
func (c *Cache[K, V]) join(ctx context.Context, key K, name string, now int64) (f *flight[K, V], mine bool) {
	c.mu.Lock()
	f = c.flights[key]
	if f != nil && c.stores(f.era) && c.gen.live(f.token, f.own[:]) && c.member.allows(now, f.started) {
		c.mu.Unlock()
		c.counters.joined.Add(1)
		return f, false
	}
	f = c.begin(key, name, shared)
	c.mu.Unlock()
	c.launch(ctx, f)
	return f, true
}

// solo starts a load that no other read joins.
func (c *Cache[K, V]) solo(ctx context.Context, key K, name string) *flight[K, V] {
	c.mu.Lock()
	f := c.begin(key, name, alone)
	c.mu.Unlock()
	c.launch(ctx, f)
	return f
}

// background starts a refresh or prefetch, unless the cache is busy.
func (c *Cache[K, V]) background(key K, why kind, old *entry[K, V]) {
	name := c.name(key)
	if name == "" {
		return
	}
	c.mu.Lock()
	if c.flights[key] != nil || c.loads >= c.unhurried {
		c.mu.Unlock()
		c.counters.omitted.Add(1)
		return
	}
	f := c.begin(key, name, why)
	f.old = old
	c.mu.Unlock()
	if why == refresh {
		c.counters.refreshes.Add(1)
	} else {
		c.counters.prefetches.Add(1)
	}
	c.launch(context.Background(), f)
}

// begin registers a load, under c.mu. If too many run, the load has failed.
func (c *Cache[K, V]) begin(key K, name string, why kind) *flight[K, V] {
	f := &flight[K, V]{key: key, name: name, kind: why, done: make(chan struct{})}
	if c.loads >= c.o.MaxLoads {
		c.counters.overloaded.Add(1)
		f.err, f.ended = fmt.Errorf("load from %s: %w", c.o.Resolver, ErrOverloaded), true
		close(f.done)
		return f
	}
	f.era = c.era.Load()
	f.token = c.gen.token()
	f.started = c.member.micros()
	f.own = [2]uint32{c.gen.slot(shortTag(name)), c.gen.slot(c.tag)}
	c.loads++
	if why != alone {
		c.flights[key] = f
	}
	return f
}

// launch calls the loader, unless the load has failed already.
func (c *Cache[K, V]) launch(ctx context.Context, f *flight[K, V]) {
	if f.ended {
		return
	}
	c.counters.loads.Add(1)
	ctx, cancel, stop := context.WithoutCancel(ctx), func() {}, func() bool { return true }
	if !c.o.Inline {
		ctx, cancel = context.WithTimeout(ctx, c.o.LoadTimeout)
		stop = context.AfterFunc(ctx, func() { c.finish(f, Result[K, V]{}, ErrTimedOut) })
	}
	c.o.spawn(func() {
		var result Result[K, V]
		err := errors.New("the loader has ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = &PanicError{Value: p, Stack: debug.Stack()}
			}
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
				err = ErrTimedOut
			}
			stop()
			c.finish(f, result, err)
			cancel()
			c.mu.Lock()
			c.loads--
			c.mu.Unlock()
		}()
		result, err = c.o.Load(ctx, f.key)
	})
}

// A PanicError is the error of a load in which a function of the application
// has panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// finish ends a load once: with the result of its loader, or when its time is
// over.
func (c *Cache[K, V]) finish(f *flight[K, V], result Result[K, V], err error) {
	c.mu.Lock()
	ended := f.ended
	f.ended = true
	c.mu.Unlock()
	if ended {
		return
	}
	now := c.member.micros()
	took := max(0, now-f.started)
	if took > c.timeout {
		err = ErrTimedOut
	}
	if err == nil || errors.Is(err, ErrNotFound) {
		err = c.conclude(f, result, err, now, took)
	} else if errors.Is(err, ErrTimedOut) {
		c.learning.Lock()
		c.latencies.add(c.timeout)
		c.learning.Unlock()
		c.counters.timedOut.Add(1)
	} else {
		c.counters.failed.Add(1)
	}
	if f.entry == nil && f.old != nil {
		f.old.failed.Store(now + 1)
	}
	f.err = err
	if err != nil && !errors.Is(err, ErrNotFound) {
		f.err = fmt.Errorf("load from %s: %w", c.o.Resolver, err)
	}
	c.mu.Lock()
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
	c.mu.Unlock()
	close(f.done)
}

// conclude makes an entry of a value or an absence, and stores it. It returns
// err, or that of a panic.
func (c *Cache[K, V]) conclude(f *flight[K, V], result Result[K, V], err error, now, took int64) (outcome error) {
	if err == nil {
		f.value = result.Value
	}
	if f.name == "" {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			c.counters.failed.Add(1)
			f.entry, outcome = nil, &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	e := &entry[K, V]{stamp: f.token, started: f.started, absent: err != nil, value: f.value, weight: 1, name: f.name, hash: hash(f.name, c.gen.seed)}
	if !e.absent {
		e.weight = max(1, c.o.Weigh(f.key, e.value))
		e.edges = result.Edges[:min(len(result.Edges), maxEdges)]
	}
	tags := shortTags(append([]string{f.name, c.tag}, result.Tags...)...)
	for _, tag := range tags {
		e.slots = append(e.slots, c.gen.slot(tag))
	}
	age, change, observed := c.compare(e, f.key)
	c.learning.Lock()
	c.latencies.add(took)
	if observed {
		c.changes.observe(age, change)
	}
	c.schedule(e, f.name, now, took)
	hot := c.keep(e, f, len(tags) <= maxTags)
	c.learning.Unlock()
	f.entry = e
	if hot && f.kind == refresh {
		c.prefetch(e, now)
	}
	return err
}

// compare returns the age and the change of a value against the one that is
// stored, if there is one to compare.
func (c *Cache[K, V]) compare(e *entry[K, V], key K) (age, change int64, observed bool) {
	if e.absent || c.o.Change == nil {
		return 0, 0, false
	}
	old, ok := c.store.GetEntryQuietly(key)
	if !ok || old.Value.absent || !c.gen.live(old.Value.stamp, old.Value.slots) {
		return 0, 0, false
	}
	change = int64(c.o.Change(old.Value.value, e.value))
	c.counters.compared.Add(1)
	if change > 0 {
		c.counters.differed.Add(1)
	}
	return e.started - old.Value.started, change, true
}

// schedule sets the lifetime of an entry, under c.learning.
func (c *Cache[K, V]) schedule(e *entry[K, V], name string, now, took int64) {
	if e.absent {
		e.expires = now + c.negative
		return
	}
	p95 := c.latencies.quantile(95)
	base := c.lifetime.base(c.changes, p95)
	c.ttls.observe(base)
	c.lastTTL = shortened(base, c.o.Random())
	e.expires = now + c.lastTTL
	e.delta = min(maxDelta, max(took, p95))
	e.early = e.expires - e.delta*c.beta>>8*largestExp>>16
	if c.beta == 0 {
		e.early = e.expires
	}
}

// keep stores the entry of a load, under c.learning, and reports whether its
// key is hot. What cannot be stored replaces the older entry of its key, too.
func (c *Cache[K, V]) keep(e *entry[K, V], f *flight[K, V], fits bool) (hot bool) {
	if !c.stores(f.era) || !c.gen.live(e.stamp, e.slots) {
		c.counters.rejected.Add(1)
		return false
	}
	fits = fits && uint64(e.weight) <= c.o.MaxWeight/weightPart
	if e.absent {
		fits = fits && c.negative > 0 && c.sketch.estimate(e.hash) >= 2
	}
	k := c.hot.keys[f.name]
	if fits && k != nil {
		c.hot.weight += uint64(e.weight) - k.weight
		k.weight = uint64(e.weight)
		if c.hot.weight > c.hot.maxWeight {
			c.hot.demote(k)
			k = nil
		}
		e.hot.Store(k != nil)
		defer func() { c.store.SetMaximum(c.o.MaxWeight - c.hot.weight) }()
	}
	c.store.Compute(f.key, func(old *entry[K, V], found bool) (*entry[K, V], otter.ComputeOp) {
		newer := found && (old.stamp > e.stamp || old.stamp == e.stamp && old.started > e.started)
		switch {
		case newer && c.gen.live(old.stamp, old.slots):
			return nil, otter.CancelOp
		case fits:
			return e, otter.WriteOp
		}
		return nil, otter.InvalidateOp
	})
	// Eviction keeps in step with loads. Hits leave maintenance to the store's
	// goroutine.
	c.store.CleanUp()
	return k != nil
}

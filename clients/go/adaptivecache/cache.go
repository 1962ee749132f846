package adaptivecache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

const (
	hitBatch   = 16      // hits of an entry between two looks at its frequency
	maxEdges   = 8       // of a result
	weightPart = 8       // an entry weighs at most this part of the maximum
	retryAfter = 100_000 // after a failed background load
	maxJoins   = 3       // of a read
)

// An entry is a value, or the absence of one. Only its atomic fields change.
type entry[K comparable, V any] struct {
	stamp   uint64
	slots   []uint32 // of its tags
	started int64    // when its load began
	expires int64
	delta   int64 // how long a refresh is expected to take
	absent  bool
	value   V
	edges   []K
	weight  uint32

	hits   atomic.Uint32
	hot    atomic.Bool
	failed atomic.Int64 // when a background load failed, plus one
}

// A Cache holds the values of one resolver.
type Cache[K comparable, V any] struct {
	o        Options[K, V]
	member   *Member
	gen      *generations
	store    *otter.Cache[K, *entry[K, V]]
	lifetime lifetime
	negative int64 // in microseconds, as grace and timeout
	grace    int64
	timeout  int64
	beta     int64
	tag      string // of the resolver

	mu        sync.Mutex // guards flights and loads
	flights   map[K]*flight[K, V]
	loads     int // running loaders
	unhurried int // loads below which background loads start

	learning  sync.Mutex // guards what follows; taken before locks of the store
	sketch    *sketch
	hot       hotSet[K]
	latencies histogram
	changes   record
	lastTTL   int64

	counters counters
}

// New returns a cache whose entries die by the invalidations that the member
// applies.
func New[K comparable, V any](member *Member, o Options[K, V]) (*Cache[K, V], error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if member == nil {
		return nil, errors.New("a cache must have a member")
	}
	c := &Cache[K, V]{
		o: o, member: member, gen: member.generations, tag: ResolverTag(o.Resolver),
		lifetime: lifetime{o.MinTTL.Microseconds(), o.InitialTTL.Microseconds(), o.MaxTTL.Microseconds(), int64(o.Risk)},
		negative: o.NegativeTTL.Microseconds(), grace: o.Grace.Microseconds(), timeout: o.LoadTimeout.Microseconds(), beta: int64(o.Beta),
		flights: map[K]*flight[K, V]{}, unhurried: o.MaxLoads / 2,
		sketch: newSketch(o.SketchWidth, member.generations.seed),
		hot:    hotSet[K]{keys: map[string]*hotKey[K]{}, maxKeys: o.MaxHot, maxWeight: o.MaxWeight / hotShare},
	}
	c.store, err = otter.New(&otter.Options[K, *entry[K, V]]{
		MaximumWeight: o.MaxWeight,
		Weigher: func(_ K, e *entry[K, V]) uint32 {
			if e.hot.Load() {
				return 0 // never evicted; hot keys reduce the maximum instead
			}
			return e.weight
		},
	})
	return c, err
}

// usable reports whether a read at now may use an entry.
func (c *Cache[K, V]) usable(e *entry[K, V], now int64) bool {
	return e.started <= now && c.member.allows(now, e.started) && c.gen.live(e.stamp, e.slots)
}

// Get returns the value of a key, from memory or from the loader. It returns an
// error that wraps [ErrNotFound] if there is none.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (V, error) {
	now := c.member.micros()
	e, ok := c.store.GetIfPresent(key)
	if !ok || !c.usable(e, now) {
		return c.miss(ctx, key, now)
	}
	if now < e.expires {
		if e.hits.Add(1)%hitBatch == 0 {
			c.frequent(key, e, now)
		}
		if e.absent {
			c.counters.negativeHits.Add(1)
			return e.value, ErrNotFound
		}
		if c.beta > 0 && c.mayRetry(e, now) && refreshes(now, e.expires, e.delta, c.beta, c.o.Random) {
			c.background(key, refresh, e)
		}
		return e.value, nil
	}
	if e.absent || now >= e.expires+c.grace {
		return c.miss(ctx, key, now)
	}
	c.counters.lateHits.Add(1)
	if c.mayRetry(e, now) {
		c.background(key, refresh, e)
	}
	return e.value, nil
}

// mayRetry reports whether no background load for e failed just now.
func (c *Cache[K, V]) mayRetry(e *entry[K, V], now int64) bool {
	failed := e.failed.Load()
	return failed == 0 || now-(failed-1) >= retryAfter
}

// miss loads a key, together with other reads of it.
func (c *Cache[K, V]) miss(ctx context.Context, key K, now int64) (V, error) {
	c.counters.misses.Add(1)
	name := c.o.Key(key)
	if name == "" || len(name) > c.o.MaxName {
		c.counters.uncacheable.Add(1)
		return c.await(ctx, c.solo(ctx, key, ""))
	}
	c.learning.Lock()
	c.count(name)
	c.learning.Unlock()
	for range maxJoins {
		f, mine := c.join(ctx, key, name, now)
		value, err := c.await(ctx, f)
		if mine || f.entry == nil || c.gen.live(f.entry.stamp, f.entry.slots) {
			return value, err
		}
		c.counters.repeated.Add(1)
		now = c.member.micros()
	}
	return c.await(ctx, c.solo(ctx, key, name))
}

// count adds a use of a name to the sketch, under c.learning.
func (c *Cache[K, V]) count(name string) {
	if !c.sketch.add(name) {
		return
	}
	for _, k := range c.hot.review(c.sketch) {
		c.heat(k.key, false)
	}
}

// frequent runs after each 16th hit of an entry.
func (c *Cache[K, V]) frequent(key K, e *entry[K, V], now int64) {
	c.counters.batches.Add(1)
	name := c.o.Key(key)
	c.learning.Lock()
	c.count(name)
	if !e.absent {
		demoted, ok := c.hot.promote(c.sketch, hotKey[K]{key, name, uint64(e.weight)})
		if demoted != nil {
			c.heat(demoted.key, false)
		}
		if ok {
			c.heat(key, true)
		}
	}
	hot := c.hot.keys[name] != nil
	c.learning.Unlock()
	if hot {
		c.prefetch(e, now)
	}
}

// heat marks the stored entry of a key as hot or not, under c.learning. Its
// weight moves between the store and the hot set.
func (c *Cache[K, V]) heat(key K, hot bool) {
	c.store.Compute(key, func(e *entry[K, V], found bool) (*entry[K, V], otter.ComputeOp) {
		if !found {
			return nil, otter.CancelOp
		}
		e.hot.Store(hot)
		return e, otter.WriteOp
	})
	c.store.SetMaximum(c.o.MaxWeight - c.hot.weight)
}

// prefetch loads the edges of a hot entry that are not in the cache.
func (c *Cache[K, V]) prefetch(e *entry[K, V], now int64) {
	for _, key := range e.edges {
		if old, ok := c.store.GetEntryQuietly(key); ok && now < old.Value.expires && c.usable(old.Value, now) {
			continue
		}
		c.background(key, prefetch, nil)
	}
}

// Invalidate ends the life of the entries of keys in every process, as
// [Member.Invalidate] does for tags.
func (c *Cache[K, V]) Invalidate(ctx context.Context, keys ...K) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = c.o.Key(key)
	}
	return c.member.Invalidate(ctx, names...)
}

// InvalidateAll ends the life of all entries of the cache's resolver in every
// process.
func (c *Cache[K, V]) InvalidateAll(ctx context.Context) error {
	return c.member.Invalidate(ctx, c.tag)
}

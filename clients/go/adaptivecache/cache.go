package adaptivecache

import (
	"context"
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

const (
	hitBatch   = 64      // hits of an entry between two looks at its frequency
	maxEdges   = 8       // of a result
	weightPart = 8       // an entry weighs at most this part of the maximum
	retryAfter = 100_000 // after a failed background load
	maxJoins   = 3       // of a read
)

// An entry is a value, or the absence of one. Only its atomic fields change.
// Those that a hit reads come first.
type entry[K comparable, V any] struct {
	expires int64
	early   int64         // from then on, hits decide about a refresh
	started int64         // when its load began
	live    atomic.Uint64 // the version of the generations that it outlived, plus one
	hits    atomic.Uint32
	absent  bool
	value   V

	hot     atomic.Bool
	failed  atomic.Int64 // when a background load failed, plus one
	stamp   uint64
	slots   []uint32 // of its tags
	delta   int64    // how long a refresh is expected to take
	weight  uint32
	hash    uint32 // of its name
	name    string
	edges   []K
	counted atomic.Uint32 // hits that are in the cache's counters
}

// A Cache holds the values of one resolver.
type Cache[K comparable, V any] struct {
	o        Options[K, V]
	member   *Member
	gen      *generations
	store    *otter.Cache[K, *entry[K, V]]
	negative int64 // in microseconds, as grace and timeout
	grace    int64
	timeout  int64
	beta     int64
	tag      string        // of the resolver
	era      atomic.Uint64 // grows with each switch; odd while the cache is off
	passive  atomic.Bool   // edges are not followed

	mu        sync.Mutex // guards flights and loads
	flights   map[K]*flight[K, V]
	loads     int // running loaders
	unhurried int // loads below which background loads start

	learning  sync.Mutex // guards what follows; taken before locks of the store
	sketch    *sketch
	hot       hotSet[K]
	lifetime  lifetime
	flushes   uint64
	latencies histogram
	changes   record
	lastTTL   int64
	ttls      ttlChanges

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
		sketch: newSketch(o.SketchWidth),
		hot:    hotSet[K]{keys: map[string]*hotKey[K]{}, maxKeys: o.MaxHot, maxWeight: o.MaxWeight / hotShare},
	}
	c.passive.Store(o.NoPrefetch)
	c.store, err = otter.New(&otter.Options[K, *entry[K, V]]{
		MaximumWeight:   o.MaxWeight,
		InitialCapacity: reserved(o.Entries),
		Weigher: func(_ K, e *entry[K, V]) uint32 {
			if e.hot.Load() {
				return 0 // never evicted; hot keys reduce the maximum instead
			}
			return e.weight
		},
		OnAtomicDeletion: func(d otter.DeletionEvent[K, *entry[K, V]]) {
			hits := d.Value.uncounted()
			d.Value.counted.Add(hits)
			c.counters.hits.Add(uint64(hits))
			if d.Value.absent {
				c.counters.negativeHits.Add(uint64(hits))
			}
		},
	})
	return c, err
}

// reserved returns the initial capacity for n entries. otter has a power of two
// of counters of how often keys were used. When it needs more, it forgets all,
// so it needs enough from the start. It adapts to the reads after ten times the
// capacity. So of the capacities with the same counters, the least is the best
// for a large cache. A small one adapts often enough, and needs the history.
func reserved(n int) int {
	if n <= 1024 {
		return n
	}
	return 1<<(bits.Len(uint(n-1))-1) + 1
}

// uncounted returns the hits of an entry that are not in the cache's counters.
func (e *entry[K, V]) uncounted() uint32 { return e.hits.Load() - e.counted.Load() }

// usable reports whether a read at now may use an entry.
func (c *Cache[K, V]) usable(e *entry[K, V], now int64) bool {
	if e.started > now || !c.member.allows(now, e.started) {
		return false
	}
	// Most hits follow no invalidation, and need not look at the slots. The
	// version is read before them, so no later application is missed.
	version := c.gen.version.Load() + 1
	if e.live.Load() == version {
		return true
	}
	if !c.gen.live(e.stamp, e.slots) {
		return false
	}
	e.live.Store(version)
	return true
}

// Get returns the value of a key, from memory or from the loader. It returns an
// error that wraps [ErrNotFound] if there is none.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (V, error) {
	if !c.Enabled() {
		return c.bypass(ctx, key)
	}
	now := c.member.micros()
	e, ok := c.store.GetIfPresent(key)
	if !ok {
		return c.miss(ctx, key, now)
	}
	if !c.usable(e, now) {
		c.counters.refused.Add(1)
		return c.miss(ctx, key, now)
	}
	if now >= e.expires {
		return c.late(ctx, key, e, now)
	}
	if e.hits.Add(1)%hitBatch == 0 {
		c.frequent(key, e, now)
	}
	if e.absent {
		return e.value, ErrNotFound
	}
	if now >= e.early && c.mayRetry(e, now) && refreshes(now, e.expires, e.delta, c.beta, c.o.Random) {
		c.background(key, refresh, e)
	}
	return e.value, nil
}

// late answers a read of an entry after its lifetime.
func (c *Cache[K, V]) late(ctx context.Context, key K, e *entry[K, V], now int64) (V, error) {
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
	began := now
	defer func() { c.counters.waits.add(c.member.micros() - began) }()
	name := c.name(key)
	if name == "" {
		c.counters.uncacheable.Add(1)
		return c.await(ctx, c.solo(ctx, key, ""))
	}
	h := hash(name, c.gen.seed)
	c.learning.Lock()
	c.count(h)
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

// name returns the name of a key, or "" if it must not be cached.
func (c *Cache[K, V]) name(key K) string {
	// A key that differs from itself, such as NaN, would never be found again.
	if name := c.o.Key(key); len(name) <= c.o.MaxName && equal(key, key) {
		return name
	}
	return ""
}

func equal[K comparable](a, b K) bool { return a == b }

// count adds a use of a name to the sketch, under c.learning.
func (c *Cache[K, V]) count(h uint32) {
	if !c.sketch.add(h) {
		return
	}
	for _, k := range c.hot.review(c.sketch) {
		c.heat(k.key, false)
	}
}

// frequent runs after each 64th hit of an entry.
func (c *Cache[K, V]) frequent(key K, e *entry[K, V], now int64) {
	c.learning.Lock()
	c.count(e.hash)
	hot := e.hot.Load()
	if !hot && !e.absent {
		var demoted *hotKey[K]
		demoted, hot = c.hot.promote(c.sketch, hotKey[K]{key, e.name, e.hash, uint64(e.weight)})
		if demoted != nil {
			c.heat(demoted.key, false)
		}
		if hot {
			c.heat(key, true)
		}
	}
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
	if c.passive.Load() {
		return
	}
	defer func() {
		if recover() != nil {
			c.counters.failed.Add(1) // an edge that Key or the hash of K cannot take
		}
	}()
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

package adaptivecache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Options configures a cache. Resolver, Load, Key and MaxWeight are required;
// the zero value of the others is their default. Section 12 of the
// specification lists the bounds.
type Options[K comparable, V any] struct {
	Resolver string // the name of what is loaded, part of each key's name

	// Load reads the origin. It must not return a state from before its call.
	// If there is no value, it returns an error that wraps ErrNotFound, and may
	// return tags with it. Its panics become errors.
	Load func(ctx context.Context, key K) (Result[K, V], error)

	// Key returns the name of a key, as [Name] makes it. It is part of
	// invalidations, so it must be the same in every process. A key without a
	// name is never cached.
	Key func(K) string

	// MaxWeight bounds the sum of what Weigh returns for the entries, which by
	// default is 1 for each.
	MaxWeight uint64
	Weigh     func(K, V) uint32

	// Entries is how many entries the cache is expected to hold, for which the
	// eviction policy reserves 16 bytes each. With more of them, the policy
	// grows and forgets how often keys were used. By default it is MaxWeight
	// without Weigh, but at most 131,072, and otherwise 1,024.
	Entries int

	// Change returns how much two values differ, from 0 (equal) to 65536.
	// [Changed] does so for comparable types. Without it, lifetimes depend on
	// the duration of loads only.
	Change func(old, new V) uint32

	MinTTL, InitialTTL, MaxTTL time.Duration // 1 s, 10 s, 5 min

	// NegativeTTL is the lifetime of absence, 5 s. A negative one disables
	// negative caching.
	NegativeTTL time.Duration

	// Grace is for how long a value may be returned after its lifetime, while
	// it is loaded again. Invalidations end it.
	Grace time.Duration

	Risk int // the accepted probability of an unannounced change, 50 per mille

	// Beta scales early refreshes, in units of 1/256: 256 by default. A
	// negative one disables them.
	Beta int

	// NoPrefetch is whether the cache begins without following edges. See
	// [Settings].
	NoPrefetch bool

	MaxLoads    int           // at the same time, 256
	LoadTimeout time.Duration // 10 s
	MaxName     int           // in bytes, 4096
	MaxHot      int           // how many keys may be hot, 64; a negative one disables promotion
	SketchWidth int           // a power of two, 16384

	// Inline runs loads in the goroutine of the read that begins them, which
	// saves a goroutine for each. Such a read ends with its load: neither its
	// context nor LoadTimeout ends it earlier. It is for origins that answer
	// in microseconds.
	Inline bool

	Random func() uint32 // uniformly distributed

	spawn func(func()) // runs loads, in tests at once
}

// A Result is what a loader returns for a key.
type Result[K comparable, V any] struct {
	Value V
	Tags  []string // what the value depends on, besides its key and resolver
	Edges []K      // up to 8 keys that are usually read next
}

var (
	// ErrNotFound reports that the origin has no value for the key.
	ErrNotFound = errors.New("not found")

	// ErrOverloaded reports that too many loads were running.
	ErrOverloaded = errors.New("too many loads at the same time: try again later")

	// ErrTimedOut reports that a load has taken too long.
	ErrTimedOut = errors.New("load timed out")
)

// Changed returns 0 for equal values and 65536 for different ones.
func Changed[V comparable](old, new V) uint32 {
	if old == new {
		return 0
	}
	return one
}

const (
	defaultLease = 3 * time.Second
	minLease     = 16 * time.Millisecond
	maxLease     = time.Minute
	day          = 24 * time.Hour
	maxSlots     = 1 << 24
	maxReserved  = 1 << 17 // entries, without a choice of the caller
)

// withDefaults returns the options with defaults in place of zero values, and
// checks the bounds.
func (o Options[K, V]) withDefaults() (Options[K, V], error) {
	if o.Load == nil || o.Key == nil {
		return o, errors.New("a cache must have the functions Load and Key")
	}
	o.MinTTL = orElse(o.MinTTL, min(time.Second, orElse(o.InitialTTL, time.Second), orElse(o.MaxTTL, time.Second)))
	o.MaxTTL = orElse(o.MaxTTL, max(5*time.Minute, o.MinTTL, o.InitialTTL))
	o.InitialTTL = orElse(o.InitialTTL, min(max(10*time.Second, o.MinTTL), o.MaxTTL))
	o.NegativeTTL = orElse(o.NegativeTTL, 5*time.Second)
	o.Risk, o.Beta = orElse(o.Risk, 50), orElse(o.Beta, 256)
	o.MaxLoads, o.LoadTimeout = orElse(o.MaxLoads, 256), orElse(o.LoadTimeout, 10*time.Second)
	o.MaxName, o.MaxHot, o.SketchWidth = orElse(o.MaxName, 4096), orElse(o.MaxHot, 64), orElse(o.SketchWidth, 16384)
	o.NegativeTTL, o.Beta, o.MaxHot = max(o.NegativeTTL, 0), max(o.Beta, 0), max(o.MaxHot, 0)
	if o.Weigh == nil {
		o.Entries = orElse(o.Entries, int(min(o.MaxWeight, maxReserved)))
		o.Weigh = func(K, V) uint32 { return 1 }
	}
	o.Entries = orElse(o.Entries, 1024)
	if o.Random == nil {
		o.Random = rand.Uint32
	}
	if o.spawn == nil {
		o.spawn = func(f func()) { go f() }
		if o.Inline {
			o.spawn = func(f func()) { f() }
		}
	}
	return o, errors.Join(
		within("MaxWeight", o.MaxWeight, 16, 1<<52),
		within("Entries", o.Entries, 1, maxSlots),
		within("MinTTL", o.MinTTL, time.Millisecond, day),
		within("InitialTTL", o.InitialTTL, o.MinTTL, o.MaxTTL),
		within("MaxTTL", o.MaxTTL, o.MinTTL, day),
		within("NegativeTTL", o.NegativeTTL, 0, time.Hour),
		within("Grace", o.Grace, 0, day),
		within("Risk", o.Risk, 1, 500),
		within("Beta", o.Beta, 0, 4096),
		within("MaxLoads", o.MaxLoads, 2, 65536),
		within("LoadTimeout", o.LoadTimeout, time.Millisecond, time.Hour),
		within("MaxName", o.MaxName, 1, 65536),
		within("MaxHot", o.MaxHot, 0, 1024),
		powerOfTwo("SketchWidth", o.SketchWidth),
	)
}

func orElse[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func within[T cmp.Ordered](what string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s must be from %v to %v, and is %v", what, least, most, v)
	}
	return nil
}

func powerOfTwo(what string, v int) error {
	if v < 16 || v > maxSlots || v&(v-1) != 0 {
		return fmt.Errorf("%s must be a power of two from 16 to %d, and is %d", what, maxSlots, v)
	}
	return nil
}

// monotonic returns a clock that starts now.
func monotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

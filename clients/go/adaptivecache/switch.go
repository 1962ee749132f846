package adaptivecache

import "context"

// Disable switches the cache off while it is in use. Everything in memory is
// dropped. Each read that begins after it has returned calls the loader, and
// shares the result with no other read. MaxLoads and LoadTimeout still apply.
func (c *Cache[K, V]) Disable() { c.switchTo(false) }

// Enable switches the cache on again. It is empty, and stores results only of
// loads that begin after the call.
func (c *Cache[K, V]) Enable() { c.switchTo(true) }

// Enabled reports whether the cache is switched on, as it is at first.
func (c *Cache[K, V]) Enabled() bool { return enabled(c.era.Load()) }

// enabled reports whether an era is one in which the cache is on. Each switch
// begins another era.
func enabled(era uint64) bool { return era%2 == 0 }

func (c *Cache[K, V]) switchTo(on bool) {
	c.learning.Lock()
	defer c.learning.Unlock()
	if c.Enabled() != on {
		c.begins(1)
	}
}

// begins begins a later era with an empty cache, under c.learning. An even
// number of eras leaves it on or off.
func (c *Cache[K, V]) begins(eras uint64) {
	// keep stores nothing of an earlier era, and holds c.learning, too.
	c.era.Add(eras)
	c.store.InvalidateAll()
	c.hot.clear()
	c.store.SetMaximum(c.o.MaxWeight)
}

// stores reports whether the result of a load that began in an era may be used
// by other reads.
func (c *Cache[K, V]) stores(era uint64) bool { return enabled(era) && era == c.era.Load() }

// bypass answers a read while the cache is off.
func (c *Cache[K, V]) bypass(ctx context.Context, key K) (V, error) {
	c.counters.misses.Add(1)
	c.counters.bypassed.Add(1)
	began := c.member.micros()
	defer func() { c.counters.waits.add(c.member.micros() - began) }()
	return c.await(ctx, c.solo(ctx, key, ""))
}

package sim

import (
	"sync"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

// normalTTL is how long the gateway keeps an asset.
const normalTTL = 10 * time.Second

// A cache keeps assets for a time. Its control endpoint is that of adaptive
// caches, but only a flush has an effect.
type cache struct {
	flushed func() // is called after each flush

	mu      sync.Mutex
	byKey   map[int]cached
	flushes uint64
}

type cached struct {
	value string
	until time.Time
}

func newCache() *cache { return &cache{byKey: map[int]cached{}} }

func (c *cache) get(key int) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.byKey[key]
	return v.value, ok && time.Now().Before(v.until)
}

func (c *cache) put(key int, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byKey[key] = cached{value, time.Now().Add(normalTTL)}
}

func (c *cache) remove(key int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byKey, key)
}

// Flush implements cachecontrol.Cache.
func (c *cache) Flush(before uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushes != before {
		return false
	}
	clear(c.byKey)
	c.flushes++
	if c.flushed != nil {
		c.flushed()
	}
	return true
}

// Flushes implements cachecontrol.Cache.
func (c *cache) Flushes() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushes
}

// Settings implements cachecontrol.Cache.
func (c *cache) Settings() adaptivecache.Settings {
	return adaptivecache.Settings{Enabled: true, MinTTL: normalTTL, MaxTTL: normalTTL}
}

// Change implements cachecontrol.Cache.
func (c *cache) Change(_, _ adaptivecache.Settings) (bool, error) { return false, nil }

package sim

import (
	"sync"
	"time"
)

// normalTTL is how long the gateway keeps an asset.
const normalTTL = 10 * time.Second

// A cache keeps assets for a time.
type cache struct {
	mu    sync.Mutex
	byKey map[int]cached
	since time.Time // of the latest flush
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

func (c *cache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byKey)
	c.since = time.Now()
}

package adaptivecache

import (
	"errors"
	"time"
)

// Settings are what can be changed while a cache is in use.
type Settings struct {
	Enabled  bool
	Prefetch bool // edges of hot keys are loaded
	// MinTTL and MaxTTL bound the lifetimes of values that are loaded from now
	// on, in whole microseconds.
	MinTTL, MaxTTL time.Duration
}

// Settings returns the settings in force.
func (c *Cache[K, V]) Settings() Settings {
	c.learning.Lock()
	defer c.learning.Unlock()
	return c.settings()
}

func (c *Cache[K, V]) settings() Settings {
	micros := func(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
	return Settings{c.Enabled(), !c.passive.Load(), micros(c.lifetime.least), micros(c.lifetime.most)}
}

// Check returns an error if settings are outside the bounds of [Options].
func (s Settings) Check() error {
	return errors.Join(
		within("MinTTL", s.MinTTL, time.Millisecond, day),
		within("MaxTTL", s.MaxTTL, s.MinTTL, day),
	)
}

// Change replaces the settings, if they are those that the caller has read. It
// reports whether they were. Lifetimes of entries in memory do not change.
func (c *Cache[K, V]) Change(from, to Settings) (bool, error) {
	if err := to.Check(); err != nil {
		return false, err
	}
	c.learning.Lock()
	defer c.learning.Unlock()
	if c.settings() != from {
		return false, nil
	}
	c.passive.Store(!to.Prefetch)
	c.lifetime.least, c.lifetime.most = to.MinTTL.Microseconds(), to.MaxTTL.Microseconds()
	if to.Enabled != from.Enabled {
		c.begins(1)
	}
	return true, nil
}

// Flush drops everything in the memory of this process, and the results of
// loads that are running, if it has been flushed so often before. It reports
// whether it was. To end the life of the entries in all processes, use
// InvalidateAll.
func (c *Cache[K, V]) Flush(before uint64) bool {
	c.learning.Lock()
	defer c.learning.Unlock()
	if c.flushes != before {
		return false
	}
	c.flushes++
	c.begins(2)
	return true
}

// Flushes returns how often Flush has dropped everything.
func (c *Cache[K, V]) Flushes() uint64 {
	c.learning.Lock()
	defer c.learning.Unlock()
	return c.flushes
}

package adaptivecache

// Remove drops keys from the memory of this process. Results of loads in
// progress are not stored. It is for values that must leave memory at once,
// such as erased data: [Cache.Invalidate] ends their use, in every process, and
// leaves their memory to eviction. Call it after the change of the origin.
func (c *Cache[K, V]) Remove(keys ...K) {
	for _, key := range keys {
		name := c.name(key)
		if name == "" {
			continue // never stored
		}
		c.gen.apply(shortTags(name))
		c.remove(key, name)
	}
	c.store.CleanUp()
}

// RemoveAll is Remove for all keys.
func (c *Cache[K, V]) RemoveAll() {
	c.gen.apply([]string{c.tag})
	c.learning.Lock()
	defer c.learning.Unlock()
	c.store.InvalidateAll()
	c.hot.clear()
	c.store.SetMaximum(c.o.MaxWeight)
	c.store.CleanUp()
}

func (c *Cache[K, V]) remove(key K, name string) {
	// keep stores nothing that is dead, and holds c.learning, too.
	c.learning.Lock()
	defer c.learning.Unlock()
	if k := c.hot.keys[name]; k != nil {
		c.hot.demote(k)
		c.store.SetMaximum(c.o.MaxWeight - c.hot.weight)
	}
	c.store.Invalidate(key)
}

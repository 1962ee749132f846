package adaptivecache

import "sync/atomic"

// counters are those that reads and loads increment.
type counters struct {
	// hits and negativeHits are those of entries that are gone
	hits, negativeHits, lateHits             atomic.Uint64
	misses, joined, repeated, uncacheable    atomic.Uint64
	loads, failed, timedOut, overloaded      atomic.Uint64
	refreshes, prefetches, omitted, rejected atomic.Uint64
	refused, bypassed, compared, differed    atomic.Uint64
	reported                                 atomic.Uint64 // hits in the latest Stats
	waits                                    waitCounts
}

// Stats is a snapshot of a cache's counters and estimates.
type Stats struct {
	Hits         uint64 // reads answered by an entry within its lifetime
	NegativeHits uint64 // of these, reads answered by an absence
	LateHits     uint64 // reads answered within the grace after the lifetime
	Misses       uint64 // reads that waited for a load
	Joined       uint64 // times a read waited for the load of another one
	Repeated     uint64 // times a read loaded again because of an invalidation
	Uncacheable  uint64 // reads of keys without a name or with too long a one
	Bypassed     uint64 // misses while the cache was switched off
	Refused      uint64 // misses that found an entry which they were not allowed to use
	Waits        Waits  // of all reads

	Loads      uint64
	Failed     uint64 // loads that ended with an error or a panic
	TimedOut   uint64
	Overloaded uint64 // loads refused because of MaxLoads
	Refreshes  uint64 // loads for entries that were about to expire
	Prefetches uint64 // loads of edges
	Omitted    uint64 // refreshes and prefetches that had no place
	Rejected   uint64 // results not stored because of an invalidation
	Compared   uint64 // loaded values that were compared with the entry in memory
	Differed   uint64 // of these, values that had changed without an invalidation
	TTLRaised  uint64 // times lifetimes became longer
	TTLLowered uint64
	Promotions uint64
	Demotions  uint64

	Invalidations uint64 // that the member has applied, also those for its other caches

	Enabled   bool
	Entries   int    // in memory, dead ones included
	Weight    uint64 // of the entries
	Hot       int    // hot keys
	HotWeight uint64 // of their entries, which Weight does not include
	Running   int    // loaders

	TTLMicros        int64 // the lifetime of the last value
	P95Micros        int64 // of the durations of loads
	P99Micros        int64
	ObservedChanges  int64 // in units of 1/65536
	ObservedMillis   int64 // the time in which they happened
	ObservedVersions int64 // values that were compared
}

// Stats returns the cache's counters and estimates. It visits all entries.
func (c *Cache[K, V]) Stats() Stats {
	n := &c.counters
	s := Stats{
		Hits: n.hits.Load(), NegativeHits: n.negativeHits.Load(), LateHits: n.lateHits.Load(),
		Misses: n.misses.Load(), Joined: n.joined.Load(), Repeated: n.repeated.Load(), Uncacheable: n.uncacheable.Load(),
		Loads: n.loads.Load(), Failed: n.failed.Load(), TimedOut: n.timedOut.Load(), Overloaded: n.overloaded.Load(),
		Refreshes: n.refreshes.Load(), Prefetches: n.prefetches.Load(), Omitted: n.omitted.Load(), Rejected: n.rejected.Load(),
		Bypassed: n.bypassed.Load(), Refused: n.refused.Load(), Compared: n.compared.Load(), Differed: n.differed.Load(),
		Invalidations: c.member.generations.token(),
		Enabled:       c.Enabled(), Entries: c.store.EstimatedSize(), Weight: c.store.WeightedSize(),
	}
	for e := range c.store.Values() {
		hits := uint64(e.uncounted())
		s.Hits += hits
		if e.absent {
			s.NegativeHits += hits
		}
	}
	// An entry that is evicted meanwhile is in neither sum.
	raise(&n.reported, s.Hits)
	s.Hits = n.reported.Load()
	s.Waits = n.waits.snapshot(s.Hits + s.LateHits)
	c.mu.Lock()
	s.Running = c.loads
	c.mu.Unlock()
	c.learning.Lock()
	defer c.learning.Unlock()
	s.Promotions, s.Demotions, s.Hot, s.HotWeight = c.hot.promoted, c.hot.dropped, len(c.hot.keys), c.hot.weight
	s.TTLRaised, s.TTLLowered = c.ttls.raised, c.ttls.lowered
	s.TTLMicros, s.P95Micros, s.P99Micros = c.lastTTL, c.latencies.quantile(95), c.latencies.quantile(99)
	s.ObservedChanges, s.ObservedMillis, s.ObservedVersions = c.changes.c, c.changes.a, c.changes.n
	return s
}

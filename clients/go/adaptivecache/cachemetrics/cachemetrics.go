// Package cachemetrics exports the counters of adaptive caches to Prometheus.
package cachemetrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

// A Cache is an [adaptivecache.Cache] of any type.
type Cache interface {
	Stats() adaptivecache.Stats
}

// A metric is one value of a cache.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(adaptivecache.Stats) float64
}

const namespace = "adaptive_cache_"

func counter(name, help string, of func(adaptivecache.Stats) uint64) metric {
	return metric{
		prometheus.NewDesc(namespace+name, help, []string{"resolver"}, nil), prometheus.CounterValue,
		func(s adaptivecache.Stats) float64 { return float64(of(s)) },
	}
}

func gauge(name, help string, of func(adaptivecache.Stats) float64) metric {
	return metric{prometheus.NewDesc(namespace+name, help, []string{"resolver"}, nil), prometheus.GaugeValue, of}
}

func seconds(micros int64) float64 { return (time.Duration(micros) * time.Microsecond).Seconds() }

var metrics = []metric{
	counter("hits_total", "Reads answered by an entry within its lifetime.", func(s adaptivecache.Stats) uint64 { return s.Hits }),
	counter("negative_hits_total", "Hits answered by an absence.", func(s adaptivecache.Stats) uint64 { return s.NegativeHits }),
	counter("late_hits_total", "Reads answered within the grace after a lifetime.", func(s adaptivecache.Stats) uint64 { return s.LateHits }),
	counter("misses_total", "Reads that waited for a load.", func(s adaptivecache.Stats) uint64 { return s.Misses }),
	counter("joined_total", "Times a read waited for the load of another one.", func(s adaptivecache.Stats) uint64 { return s.Joined }),
	counter("loads_total", "Calls of the loader.", func(s adaptivecache.Stats) uint64 { return s.Loads }),
	counter("failed_loads_total", "Loads that ended with an error.", func(s adaptivecache.Stats) uint64 { return s.Failed }),
	counter("timed_out_loads_total", "Loads that took too long.", func(s adaptivecache.Stats) uint64 { return s.TimedOut }),
	counter("overloaded_total", "Loads refused because too many were running.", func(s adaptivecache.Stats) uint64 { return s.Overloaded }),
	counter("refreshes_total", "Loads for entries that were about to expire.", func(s adaptivecache.Stats) uint64 { return s.Refreshes }),
	counter("prefetches_total", "Loads of edges.", func(s adaptivecache.Stats) uint64 { return s.Prefetches }),
	counter("omitted_total", "Refreshes and prefetches that had no place.", func(s adaptivecache.Stats) uint64 { return s.Omitted }),
	counter("rejected_total", "Results not stored because of an invalidation.", func(s adaptivecache.Stats) uint64 { return s.Rejected }),
	counter("bypassed_total", "Misses while the cache was switched off.", func(s adaptivecache.Stats) uint64 { return s.Bypassed }),
	counter("refused_total", "Misses that found an entry which they were not allowed to use.", func(s adaptivecache.Stats) uint64 { return s.Refused }),
	counter("compared_total", "Loaded values that were compared with the entry in memory.", func(s adaptivecache.Stats) uint64 { return s.Compared }),
	counter("differed_total", "Of these, values that had changed without an invalidation.", func(s adaptivecache.Stats) uint64 { return s.Differed }),
	counter("ttl_raised_total", "Times lifetimes became longer.", func(s adaptivecache.Stats) uint64 { return s.TTLRaised }),
	counter("ttl_lowered_total", "Times lifetimes became shorter.", func(s adaptivecache.Stats) uint64 { return s.TTLLowered }),
	gauge("enabled", "Whether the cache is switched on.", func(s adaptivecache.Stats) float64 { return truth(s.Enabled) }),
	gauge("entries", "Entries in memory.", func(s adaptivecache.Stats) float64 { return float64(s.Entries) }),
	gauge("weight", "Weight of the entries in memory.", func(s adaptivecache.Stats) float64 { return float64(s.Weight + s.HotWeight) }),
	gauge("hot_keys", "Keys whose entries are not evicted.", func(s adaptivecache.Stats) float64 { return float64(s.Hot) }),
	gauge("running_loads", "Loads in progress.", func(s adaptivecache.Stats) float64 { return float64(s.Running) }),
	gauge("ttl_seconds", "Lifetime of the last value.", func(s adaptivecache.Stats) float64 { return seconds(s.TTLMicros) }),
	gauge("load_p95_seconds", "95 % quantile of the duration of recent loads.", func(s adaptivecache.Stats) float64 { return seconds(s.P95Micros) }),
	gauge("load_p99_seconds", "99 % quantile of the duration of recent loads.", func(s adaptivecache.Stats) float64 { return seconds(s.P99Micros) }),
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	waits    = prometheus.NewDesc(namespace+"wait_seconds", "How long reads waited for the origin, 0 for hits.", []string{"resolver"}, nil)
	attached = prometheus.NewDesc(namespace+"attached", "Whether the member of the bus holds a lease.", nil, nil)
	flushes  = prometheus.NewDesc(namespace+"flushes_total", "Times the member dropped everything.", nil, nil)
	applied  = prometheus.NewDesc(namespace+"invalidations_total", "Invalidations that the member has applied.", nil, nil)
)

// New returns a collector for the caches of a member, by the names of their
// resolvers.
func New(member *adaptivecache.Member, caches map[string]Cache) prometheus.Collector {
	return &collector{member, caches}
}

type collector struct {
	member *adaptivecache.Member
	caches map[string]Cache
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- attached
	out <- flushes
	out <- applied
	out <- waits
	for _, m := range metrics {
		out <- m.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.member.Stats()
	out <- prometheus.MustNewConstMetric(attached, prometheus.GaugeValue, truth(s.Attached))
	out <- prometheus.MustNewConstMetric(flushes, prometheus.CounterValue, float64(s.Flushes))
	out <- prometheus.MustNewConstMetric(applied, prometheus.CounterValue, float64(s.Invalidations))
	for resolver, cache := range c.caches {
		stats := cache.Stats()
		for _, m := range metrics {
			out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(stats), resolver)
		}
		buckets := map[float64]uint64{}
		for limit, n := range stats.Waits.Cumulative() {
			buckets[limit.Seconds()] = n
		}
		out <- prometheus.MustNewConstHistogram(waits, stats.Waits.Reads(), stats.Waits.Sum().Seconds(), buckets, resolver)
	}
}

package cachereport

import (
	"encoding/json"
	"strconv"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

// A window is the part of payloads that all caches share.
type window struct {
	service  string
	from, to time.Time
	lost     uint64 // entries before it
}

// A snapshot is a payload of the kind metric-snapshot.
type snapshot struct {
	Service string `json:"service"`
	Window  struct {
		From time.Time `json:"from"`
		To   time.Time `json:"to"`
	} `json:"window"`
	Metrics []metric `json:"metrics"`
}

type metric struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Samples string  `json:"samples,omitempty"`
}

// payload returns the payload about what a cache did between two snapshots of
// its counters.
func (w *window) payload(resolver string, before, after adaptivecache.Stats) ([]byte, error) {
	s := snapshot{Service: w.service + "/" + resolver}
	s.Window.From, s.Window.To = w.from.UTC(), w.to.UTC()
	waits := after.Waits.Since(&before.Waits)
	reads := waits.Reads()
	misses := grown(before.Misses, after.Misses)
	add := func(name, unit string, value float64, samples uint64) {
		m := metric{Name: name, Value: value, Unit: unit}
		if samples > 0 {
			m.Samples = strconv.FormatUint(samples, 10)
		}
		s.Metrics = append(s.Metrics, m)
	}
	if reads > 0 {
		add("hit_ratio", "ratio", float64(reads-min(misses, reads))/float64(reads), reads)
		add("wait_p50", "ms", millis(waits.Quantile(50).Microseconds()), reads)
		add("wait_p99", "ms", millis(waits.Quantile(99).Microseconds()), reads)
	}
	count := func(name string, of func(adaptivecache.Stats) uint64) {
		add(name, "1", float64(grown(of(before), of(after))), 0)
	}
	count("stale_checked", func(s adaptivecache.Stats) uint64 { return s.Hits + s.LateHits + s.Refused + s.Rejected + s.Repeated })
	count("stale_refused", func(s adaptivecache.Stats) uint64 { return s.Refused + s.Rejected + s.Repeated })
	count("invalidations", func(s adaptivecache.Stats) uint64 { return s.Invalidations })
	count("compared", func(s adaptivecache.Stats) uint64 { return s.Compared })
	count("differed", func(s adaptivecache.Stats) uint64 { return s.Differed })
	count("ttl_raised", func(s adaptivecache.Stats) uint64 { return s.TTLRaised })
	count("ttl_lowered", func(s adaptivecache.Stats) uint64 { return s.TTLLowered })
	count("loads", func(s adaptivecache.Stats) uint64 { return s.Loads })
	count("failed_loads", func(s adaptivecache.Stats) uint64 { return s.Failed + s.TimedOut + s.Overloaded })
	count("bypassed", func(s adaptivecache.Stats) uint64 { return s.Bypassed })
	add("ttl", "ms", millis(after.TTLMicros), 0)
	add("load_p99", "ms", millis(after.P99Micros), 0)
	add("entries", "1", float64(after.Entries), 0)
	add("hot_keys", "1", float64(after.Hot), 0)
	add("lost_entries", "1", float64(w.lost), 0)
	return json.Marshal(s)
}

func millis(micros int64) float64 { return float64(micros) / 1000 }

func grown(before, after uint64) uint64 { return after - min(before, after) }

package adaptivecache

import (
	"sync/atomic"
	"time"
)

// waitCounts counts reads that were not answered from memory.
type waitCounts struct {
	counts [buckets]atomic.Uint64
	micros atomic.Uint64
}

func (w *waitCounts) add(micros int64) {
	w.counts[bucket(micros)].Add(1)
	w.micros.Add(uint64(min(max(micros, 0), maxLatency)))
}

// Waits counts reads by how long they waited for the origin. Reads that were
// answered from memory have waited for 0.
type Waits struct {
	counts [buckets]uint64
	micros uint64 // the sum
}

// snapshot returns the counts, with reads that were answered from memory.
func (w *waitCounts) snapshot(fromMemory uint64) (s Waits) {
	for i := range w.counts {
		s.counts[i] = w.counts[i].Load()
	}
	s.counts[0] += fromMemory
	s.micros = w.micros.Load()
	return s
}

// Reads returns the number of reads.
func (w *Waits) Reads() (n uint64) {
	for _, c := range w.counts {
		n += c
	}
	return n
}

// Sum returns how long all reads together have waited.
func (w *Waits) Sum() time.Duration { return time.Duration(w.micros) * time.Microsecond }

// Since returns the waits of the reads after an earlier snapshot.
func (w *Waits) Since(earlier *Waits) (s Waits) {
	for i, c := range w.counts {
		s.counts[i] = c - min(c, earlier.counts[i])
	}
	s.micros = w.micros - min(w.micros, earlier.micros)
	return s
}

// Quantile returns the p % quantile, at most an eighth too long, or 0 without
// reads.
func (w *Waits) Quantile(p uint64) time.Duration {
	total, c := w.Reads(), uint64(0)
	for i, n := range w.counts {
		if c += n; total > 0 && 100*c >= p*total {
			return time.Duration(upperEnd(i)) * time.Microsecond
		}
	}
	return 0
}

// Cumulative returns how many reads have waited for less than each of the
// limits, of which there are two for each power of two, from 192 µs to 17 s.
func (w *Waits) Cumulative() map[time.Duration]uint64 {
	limits, c := map[time.Duration]uint64{}, uint64(0)
	for i, n := range w.counts {
		c += n
		limit := upperEnd(i) + 1
		if i%4 == 3 && limit > 128 && limit <= 1<<24 {
			limits[time.Duration(limit)*time.Microsecond] = c
		}
	}
	return limits
}

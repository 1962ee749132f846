package adaptivecache

import (
	"math"
	"math/bits"
)

const (
	one        = 1 << 16 // 1, in the units of fractions
	largestExp = 1453632 // the largest value of exponential
	maxDelta   = 60_000_000
)

// exponential returns -ln((draw+1)/2³²) in units of 1/65536.
func exponential(draw uint32) int64 {
	x := uint64(draw) + 1
	k := bits.Len64(x) - 1
	m := x << 31 >> (k + 6) // x·2²⁵ / 2^k: x has at most 33 bits
	f := uint64(0)
	for range 16 {
		m = m * m >> 25
		f <<= 1
		if m >= 1<<26 {
			f++
			m >>= 1
		}
	}
	return (2097152 - int64(k)*one - int64(f)) * 45426 >> 16
}

// refreshes reports whether a hit at now refreshes an entry early, by XFetch.
// It calls draw only if the answer depends on chance.
func refreshes(now, expires, delta, beta int64, draw func() uint32) bool {
	b := delta * beta >> 8
	if now+b*largestExp>>16 < expires {
		return false
	}
	return now+b*exponential(draw())>>16 >= expires
}

// isqrt returns the integer square root of x, which is below 2⁵³.
func isqrt(x int64) int64 {
	r := int64(math.Sqrt(float64(x)))
	for r*r > x {
		r--
	}
	for (r+1)*(r+1) <= x {
		r++
	}
	return r
}

const (
	maxLatency = 1<<36 - 1
	buckets    = 16 + 8*32
)

// A histogram counts durations in microseconds, recent ones more than old.
type histogram struct {
	counts [buckets]uint32
	total  uint32
}

// bucket returns the bucket of a duration.
func bucket(v int64) int {
	v = min(max(v, 0), maxLatency)
	if v < 16 {
		return int(v)
	}
	e := bits.Len64(uint64(v)) - 1
	return 16 + 8*(e-4) + int(v>>(e-3)&7)
}

// upperEnd returns the largest duration in a bucket.
func upperEnd(i int) int64 {
	if i < 16 {
		return int64(i)
	}
	e := 4 + (i-16)/8
	return int64(8+(i-16)%8+1)<<(e-3) - 1
}

func (h *histogram) add(v int64) {
	h.counts[bucket(v)]++
	if h.total++; h.total < 1024 {
		return
	}
	h.total = 0
	for i := range h.counts {
		h.counts[i] /= 2
		h.total += h.counts[i]
	}
}

// quantile returns the p % quantile, or 0 without durations.
func (h *histogram) quantile(p uint32) int64 {
	if h.total == 0 {
		return 0
	}
	c := uint32(0)
	for i, n := range h.counts {
		if c += n; 100*c >= p*h.total {
			return upperEnd(i)
		}
	}
	return maxLatency
}

// A record summarizes how much values change, and in which time.
type record struct {
	n, c, d, a int64
}

// observe adds a change, from 0 to 65536, over an age in microseconds.
func (r *record) observe(age, change int64) {
	change = min(max(change, 0), one)
	r.n++
	r.c += change
	r.d += change * change >> 16
	r.a += min(max(age/1000, 1), 86_400_000)
	if r.n == 256 {
		*r = record{r.n / 2, r.c / 2, r.d / 2, r.a / 2}
	}
}

// A lifetime is the configuration of lifetimes, in microseconds. Risk is in
// per mille.
type lifetime struct {
	least, initial, most, risk int64
}

// base returns the lifetime of a value loaded now, before it is shortened.
func (l lifetime) base(r record, p95 int64) int64 {
	ttl := l.initial
	if r.n >= 8 {
		variance := max(0, r.d-r.c*r.c/(one*r.n))
		changes := r.c + isqrt(one*variance) + one
		ttl = 1000 * (one * (r.a * l.risk / 1000) / changes)
	}
	return min(max(ttl, 20*p95, l.least), l.most)
}

// shortened returns a lifetime reduced by at most an eighth, so that entries
// that were loaded together don't expire together.
func shortened(ttl int64, draw uint32) int64 { return ttl - ttl*int64(draw>>19)>>16 }

// ttlChanges counts how often lifetimes, before they are shortened, became
// longer or shorter.
type ttlChanges struct {
	last            int64
	raised, lowered uint64
}

func (t *ttlChanges) observe(base int64) {
	switch {
	case t.last > 0 && base > t.last:
		t.raised++
	case base < t.last:
		t.lowered++
	}
	t.last = base
}

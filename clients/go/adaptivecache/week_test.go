package adaptivecache

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muniment.dev/muniment/internal/soak"
)

// TestWeek simulates a week: load that follows the time of day, a deployment
// each day, shifts of the hot keys, two hours of a slow dependency, a restart
// of the cache, announced and unannounced changes. The 99 % quantile of the
// latency of each day must be within 5 % of that of the week, no read may be
// stale, and no more reads may fail than with lifetimes that are fixed, with
// and without stale-while-revalidate.
func TestWeek(t *testing.T) {
	soak.WithoutRace(t)
	for i := range soak.Length(t, "weeks", 1, 3) {
		seed := soak.Seed(t)<<8 | uint64(i)
		results := map[string]*week{}
		for _, name := range []string{"adaptive", "fixed", "revalidate"} {
			w := &week{seed: seed, options: weekOptions[name]}
			synctest.Test(t, w.run)
			results[name] = w
			total, days := w.quantiles()
			t.Logf("seed %d, %s: %d reads, %d loads, p99 %v, of days %v, %d failed, %d unannounced changes missed",
				seed, name, w.reads, w.loads, total, days, w.failed, w.old)
			if w.stale > 0 {
				t.Errorf("seed %d, %s: %d stale reads", seed, name, w.stale)
			}
		}
		adaptive := results["adaptive"]
		total, days := adaptive.quantiles()
		for day, p99 := range days {
			if math.Abs(p99.Seconds()/total.Seconds()-1) > 0.05 {
				t.Errorf("seed %d: p99 of day %d is %v, of the week %v", seed, day+1, p99, total)
			}
		}
		if adaptive.failed > min(results["fixed"].failed, results["revalidate"].failed) {
			t.Errorf("seed %d: %d reads failed, more than with fixed lifetimes", seed, adaptive.failed)
		}
	}
}

// weekOptions are the configurations beside each other. They were fixed before
// the seeds were drawn.
var weekOptions = map[string]Options[int, int]{
	"adaptive":   {MinTTL: 10 * time.Second, InitialTTL: time.Minute, MaxTTL: 10 * time.Minute, Grace: 6 * time.Hour, Change: Changed[int]},
	"fixed":      {MinTTL: time.Minute, InitialTTL: time.Minute, MaxTTL: time.Minute, Beta: -1, MaxHot: -1},
	"revalidate": {MinTTL: time.Minute, InitialTTL: time.Minute, MaxTTL: time.Minute, Grace: time.Minute, Beta: -1, MaxHot: -1},
}

const (
	weekKeys = 200
	overhead = time.Millisecond // of each read, besides its wait
)

// A week is one simulated week.
type week struct {
	seed    uint64
	options Options[int, int]
	start   time.Time

	mu          sync.Mutex // guards what follows
	load        *rand.Rand
	versions    [weekKeys]int
	announced   [weekKeys]int
	latencies   [7][]time.Duration
	reads       int
	loads       int
	stale       int
	old, failed int
}

func (w *week) since() time.Duration { return time.Since(w.start) }

func (w *week) run(t *testing.T) {
	w.start = time.Now()
	w.load = rand.New(rand.NewPCG(w.seed, 1))
	arrivals := rand.New(rand.NewPCG(w.seed, 2)) // the same for each configuration
	zipf := rand.NewZipf(arrivals, 1.2, 3, weekKeys-1)
	cache, restarted := w.boot(t), false
	var running sync.WaitGroup
	for w.since() < 7*day {
		// From 0.1 to 0.9 reads per second, most in the afternoon.
		rate := 0.5 - 0.4*math.Cos(2*math.Pi*(w.since().Hours()-3)/24)
		time.Sleep(time.Duration(arrivals.ExpFloat64() / rate * float64(time.Second)))
		if !restarted && w.since() > day+15*time.Hour {
			cache, restarted = w.boot(t), true
		}
		shift := int(w.since()/(36*time.Hour)) * 11 // of the hot keys
		key := (int(zipf.Uint64()) + shift) % weekKeys
		switch change := arrivals.IntN(1000); {
		case change < 3:
			w.change(key, true)
			if err := cache.Invalidate(context.Background(), key); err != nil {
				t.Error(err)
			}
		case change == 3:
			w.change(key, false)
		}
		running.Go(func() { w.read(cache, key) })
	}
	running.Wait()
	time.Sleep(time.Hour) // background loads end
}

func (w *week) boot(t *testing.T) *Cache[int, int] {
	m, err := NewMember(nil, MemberOptions{Now: w.since, Slots: 4096, Seed: new(uint32)})
	if err != nil {
		t.Fatal(err)
	}
	o := w.options
	o.Resolver, o.Key, o.Load, o.MaxWeight, o.LoadTimeout = "week", historyName, w.answer, 2*weekKeys, 5*time.Second
	random := rand.New(rand.NewPCG(w.seed, 3))
	var mu sync.Mutex
	o.Random = func() uint32 {
		mu.Lock()
		defer mu.Unlock()
		return random.Uint32()
	}
	c, err := New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *week) change(key int, announced bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.versions[key]++
	if announced {
		w.announced[key] = w.versions[key]
	}
}

// answer is the dependency. After a deployment it takes three times as long,
// and for two hours of the fourth day a hundred times.
func (w *week) answer(ctx context.Context, key int) (r Result[int, int], err error) {
	w.mu.Lock()
	w.loads++
	took := time.Duration(float64(30*time.Millisecond) * math.Exp(0.5*w.load.NormFloat64()))
	hour := w.since().Hours()
	r.Value = w.versions[key]
	w.mu.Unlock()
	switch today := math.Mod(hour, 24); {
	case hour > 3*24+13 && hour < 3*24+15:
		took *= 100
	case today > 10 && today < 10.2:
		took *= 3
	}
	select {
	case <-time.After(took):
		return r, nil
	case <-ctx.Done():
		return r, ctx.Err()
	}
}

func (w *week) read(cache *Cache[int, int], key int) {
	w.mu.Lock()
	w.reads++
	announced, current := w.announced[key], w.versions[key]
	w.mu.Unlock()
	began := w.since()
	version, err := cache.Get(context.Background(), key)
	took := w.since() - began + overhead
	w.mu.Lock()
	defer w.mu.Unlock()
	today := min(int(began/day), 6)
	w.latencies[today] = append(w.latencies[today], took)
	switch {
	case err != nil:
		w.failed++
	case version < announced:
		w.stale++
	case version < current:
		w.old++
	}
}

// quantiles returns the 99 % quantile of the latency, of the week and of each
// day.
func (w *week) quantiles() (total time.Duration, days []time.Duration) {
	p99 := func(s []time.Duration) time.Duration {
		slices.Sort(s)
		return s[len(s)*99/100]
	}
	var all []time.Duration
	for _, s := range w.latencies {
		all = append(all, s...)
		days = append(days, p99(s))
	}
	return p99(all), days
}

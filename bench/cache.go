package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/maypok86/otter/v2"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

// cacheHits measures what a hit of the adaptive cache costs beside a hit of
// otter, which it is built on. They take many short turns, and the least
// disturbed turn of each counts, so that other processes disturb little.
func (b *bench) cacheHits() {
	const keys, reads, turns = 4096, 1 << 14, 1000
	names := make([]string, keys)
	for i := range names {
		names[i] = "product:" + strconv.Itoa(i)
	}
	order := make([]string, 1<<16)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, keys-1)
	for i := range order {
		order[i] = names[zipf.Uint64()]
	}
	ctx := context.Background()
	cache := numberCache(2*keys, func(context.Context, string) (adaptivecache.Result[string, int], error) {
		return adaptivecache.Result[string, int]{Value: 1}, nil
	})
	bare := otter.Must(&otter.Options[string, int]{MaximumWeight: 2 * keys, Weigher: func(string, int) uint32 { return 1 }})
	timed := otter.Must(&otter.Options[string, int]{
		MaximumWeight: 2 * keys, Weigher: func(string, int) uint32 { return 1 },
		ExpiryCalculator: otter.ExpiryWriting[string, int](time.Hour),
	})
	load := otter.LoaderFunc[string, int](func(context.Context, string) (int, error) { return 1, nil })
	reads3 := []func(string){
		func(key string) { _, _ = bare.Get(ctx, key, load) },
		func(key string) { _, _ = timed.Get(ctx, key, load) },
		func(key string) { _, _ = cache.Get(ctx, key) },
	}
	times := make([]sample, len(reads3))
	runtime.GC()
	for turn := range turns {
		for i, read := range reads3 {
			if turn == 0 {
				for _, key := range names {
					read(key)
				}
			}
			from := turn % (len(order) / reads) * reads
			start := time.Now()
			for _, key := range order[from : from+reads] {
				read(key)
			}
			times[i] = append(times[i], time.Since(start)/reads)
		}
	}
	each := make([]float64, len(times))
	for i, s := range times {
		each[i] = float64(s.quantile(0))
	}
	row("cache: a hit of otter, without a lifetime", fmt.Sprintf("%.0f ns", each[0]), "")
	row("cache: a hit of otter, with a lifetime", fmt.Sprintf("%.0f ns", each[1]), "")
	row("cache: a hit of the adaptive cache", fmt.Sprintf("%.0f ns", each[2]),
		fmt.Sprintf("%.2f× otter with a lifetime (goal 1.5×), %.2f× without", each[2]/each[1], each[2]/each[0]))
}

// numberCache returns a cache of numbers, without a bus.
func numberCache[K comparable](weight uint64, load func(context.Context, K) (adaptivecache.Result[K, int], error)) *adaptivecache.Cache[K, int] {
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	check(err)
	cache, err := adaptivecache.New(member, adaptivecache.Options[K, int]{
		Resolver: "bench", Load: load, Key: func(key K) string { return adaptivecache.Name("bench", "", fmt.Sprint(key)) },
		MaxWeight: weight, InitialTTL: 24 * time.Hour, MaxTTL: 24 * time.Hour,
	})
	check(err)
	return cache
}

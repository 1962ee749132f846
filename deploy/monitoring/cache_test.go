package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"muniment.dev/muniment/clients/go/adaptivecache"
	"muniment.dev/muniment/clients/go/adaptivecache/cachemetrics"
	"muniment.dev/muniment/internal/peers/promrig"
)

// A cacheRig is a service with a cache, whose metrics are served.
type cacheRig struct {
	cache   *adaptivecache.Cache[string, int64]
	delay   atomic.Int64 // of the origin
	address string       // of the metrics
}

func startCache(t *testing.T) *cacheRig {
	t.Helper()
	c := &cacheRig{}
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.cache, err = adaptivecache.New(member, adaptivecache.Options[string, int64]{
		Resolver: "product", MaxWeight: 100, Key: func(id string) string { return adaptivecache.Name("product", "", id) },
		Load: func(context.Context, string) (adaptivecache.Result[string, int64], error) {
			time.Sleep(time.Duration(c.delay.Load()))
			return adaptivecache.Result[string, int64]{Value: 1}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(cachemetrics.New(member, map[string]cachemetrics.Cache{"product": c.cache}))
	s := httptest.NewServer(promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	t.Cleanup(s.Close)
	c.address = strings.TrimPrefix(s.URL, "http://")
	return c
}

// regress reads a value in memory many times. Then it slows down the origin and
// switches the cache off, until the alert about it fires.
func (c *cacheRig) regress(t *testing.T, rig *promrig.Rig) {
	t.Helper()
	await := func(expression string) {
		t.Helper()
		if err := rig.Await(t.Context(), expression); err != nil {
			t.Fatal(err)
		}
	}
	const fast = 300_000
	// Reads before the first sample would not be part of a rate.
	await(`adaptive_cache_wait_seconds_count{resolver="product"} == 0`)
	for range fast {
		if _, err := c.cache.Get(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
	}
	await(fmt.Sprintf(`adaptive_cache_wait_seconds_count{resolver="product"} >= %d`, fast))
	c.delay.Store(int64(100 * time.Millisecond))
	c.cache.Disable()
	ctx, stop := context.WithCancel(t.Context())
	var reads sync.WaitGroup
	for range 2 { // few enough for the quantile of the day to stay as it is
		reads.Go(func() {
			for ctx.Err() == nil {
				_, _ = c.cache.Get(ctx, "17")
			}
		})
	}
	defer reads.Wait()
	defer stop()
	await(`ALERTS{alertname="MunimentCacheP99Regression", alertstate="firing", resolver="product"}`)
}

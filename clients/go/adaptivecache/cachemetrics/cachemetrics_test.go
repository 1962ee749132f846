package cachemetrics

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

func TestCollector(t *testing.T) {
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := adaptivecache.New(member, adaptivecache.Options[string, int]{
		Resolver: "number", Key: func(key string) string { return key }, MaxWeight: 100,
		Load: func(context.Context, string) (r adaptivecache.Result[string, int], err error) { return r, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := cache.Get(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(New(member, map[string]Cache{"number": cache}))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"adaptive_cache_attached": 1, "adaptive_cache_hits_total": 9, "adaptive_cache_loads_total": 1, "adaptive_cache_entries": 1, "adaptive_cache_wait_seconds": 10}
	for _, family := range families {
		m := family.GetMetric()[0]
		value := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		if w, ok := want[family.GetName()]; ok && w != value {
			t.Errorf("%s is %v, want %v", family.GetName(), value, w)
		}
		delete(want, family.GetName())
	}
	if len(want) > 0 || len(families) != len(metrics)+4 {
		t.Errorf("%d families, without %v", len(families), want)
	}
}

package main

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// checkCaches asks the entries of the log about its caches: was anything stale
// served, and did reads wait while an origin was slow?
func (s *seeded) checkCaches() {
	s.Helper()
	ends := map[string]time.Time{}
	slow := 0
	for _, e := range s.entries() {
		if e.Kind != kindname.MetricSnapshot {
			continue
		}
		window, metrics := s.window(e.Index)
		from, to := window.Window.From.AsTime(), window.Window.To.AsTime()
		if end, ok := ends[window.Service]; ok && !end.Equal(from) {
			s.Errorf("%s: no window from %v to %v", window.Service, end, from)
		}
		ends[window.Service] = to
		// Every answer from memory was checked, and none was of a dead entry.
		fromMemory := math.Round(metrics["hit_ratio"] * float64(window.Metrics[0].GetSamples()))
		if used := metrics["stale_checked"] - metrics["stale_refused"]; fromMemory > used || used == 0 {
			s.Errorf("%s to %v: %v reads were answered from memory, %v after a check", window.Service, to, fromMemory, used)
		}
		if metrics["differed"]+metrics["lost_entries"]+metrics["failed_loads"] > 0 {
			s.Errorf("%s to %v: %v", window.Service, to, metrics)
		}
		if metrics["load_p99"] > 1000 {
			slow++
			if metrics["wait_p99"] > 0 {
				s.Errorf("%s to %v: a 99 %% quantile of %v ms while the origin takes %v", window.Service, to, metrics["wait_p99"], metrics["load_p99"])
			}
		}
	}
	if len(ends) != 2 || slow < 2 {
		s.Errorf("%d caches, %d windows with a slow origin, want 2 and some", len(ends), slow)
	}
	for service, end := range ends {
		if s.now.Sub(end) > 2*time.Hour {
			s.Errorf("%s: no window after %v", service, end)
		}
	}
}

// window returns the payload of a metric snapshot, and its values by name.
func (s *seeded) window(index uint64) (*munimentv1.MetricSnapshot, map[string]float64) {
	s.Helper()
	m, metrics := &munimentv1.MetricSnapshot{}, map[string]float64{}
	entry := ask(s, s.client.GetEntry, &munimentv1.GetEntryRequest{Tenant: tenant, Index: index, IncludePayload: true})
	if err := protojson.Unmarshal(entry.Payload, m); err != nil {
		s.Fatal(err)
	}
	for _, one := range m.Metrics {
		metrics[one.Name] = one.GetValue()
	}
	return m, metrics
}

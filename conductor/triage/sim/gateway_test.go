package sim

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// newScene returns a gateway without proxies and clients.
func newScene(t *testing.T) *Scene {
	t.Helper()
	origin := NewOrigin()
	server := httptest.NewServer(origin)
	t.Cleanup(server.Close)
	urls := map[string]string{}
	for _, name := range Proxies() {
		urls[name] = server.URL
	}
	g := NewGateway(urls, 1)
	files, err := NewFiles(t.TempDir(), g)
	if err != nil {
		t.Fatal(err)
	}
	return &Scene{Gateway: g, Files: files, Origin: origin}
}

// failures returns the stages at which n requests failed.
func (s *Scene) failures(t *testing.T, n int, search bool) map[string]int {
	t.Helper()
	stages := map[string]int{}
	for i := range n {
		if f := (failure{}); errors.As(s.Gateway.Request(t.Context(), search, i%10), &f) {
			stages[f.stage]++
		}
	}
	return stages
}

func TestFaults(t *testing.T) {
	const n = 20
	for _, c := range []struct {
		name   string
		fault  Fault
		search bool
		stage  string // at which most requests fail, or empty
		file   string // the change that ends the effect
		from   string
		to     string
	}{
		{"none", Fault{Kind: "noise", Period: 1}, false, "", "", "", ""},
		{"rules", Fault{Kind: "feature", Flag: "gateway.rules", Errors: 1}, false, stageRules, "flags", `"gateway.rules": {
      "defaultVariant": "on"`, `"gateway.rules": {
      "defaultVariant": "off"`},
		{"policy", Fault{Kind: "feature", Flag: "quota.policy", Errors: 1}, true, stagePolicy, "flags", `"quota.policy": {
      "defaultVariant": "on"`, `"quota.policy": {
      "defaultVariant": "off"`},
		{"limit", Fault{Kind: "limit", PerSecond: 2}, false, stageLimit, "limits", "requests_per_unit: 2", "requests_per_unit: 500"},
		{"capacity", Fault{Kind: "capacity", PerSecond: 0.001}, true, stageOrigin, "", "", ""},
		{"loss hides nothing", Fault{Kind: "cache-loss", Ratio: 1}, false, "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			if err := s.change(t.Context(), &c.fault, 1, false); err != nil {
				t.Fatal(err)
			}
			failed := s.failures(t, n, c.search)
			if c.stage == "" && len(failed) > 0 || c.stage != "" && failed[c.stage] < n/2 {
				t.Fatalf("failures: %v", failed)
			}
			if c.file == "" {
				if err := s.change(t.Context(), &c.fault, 1, true); err != nil {
					t.Fatal(err)
				}
			} else {
				s.edit(t, c.file, c.from, c.to)
				if changes := s.Files.Changes(); len(changes) != 1 {
					t.Errorf("changes: %v", changes)
				}
			}
			if failed := s.failures(t, n, c.search); len(failed) > 0 {
				t.Errorf("failures after the end: %v", failed)
			}
		})
	}
}

// edit changes a file as an action does.
func (s *Scene) edit(t *testing.T, file, from, to string) {
	t.Helper()
	path := map[string]string{"flags": s.Files.Flags, "limits": s.Files.Limits}[file]
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("%s has no %q:\n%s", path, from, text)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Files.read(false); err != nil {
		t.Fatal(err)
	}
}

func TestMixupLastsUntilFlush(t *testing.T) {
	s := newScene(t)
	f := &Fault{Kind: "cache-mixup", Ratio: 1}
	mixed := func() float64 {
		before := s.mismatches(t)
		s.failures(t, 10, false)
		return s.mismatches(t) - before
	}
	for _, end := range []bool{false, true} {
		if err := s.change(t.Context(), f, 1, end); err != nil {
			t.Fatal(err)
		}
		if !end {
			mixed()
		}
	}
	if n := mixed(); n != 10 {
		t.Errorf("after the fault, %g of 10 answers are those of others", n)
	}
	s.Gateway.cache.Flush(0)
	if n := mixed(); n != 0 {
		t.Errorf("after a flush, %g of 10 answers are those of others", n)
	}
}

func (s *Scene) mismatches(t *testing.T) float64 {
	t.Helper()
	families, err := s.Gateway.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "gateway_mismatches_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no metric of mismatches")
	return 0
}

// TestPlay checks that the faults of a pattern begin and end in their order.
func TestPlay(t *testing.T) {
	s := newScene(t)
	p := &proxies{}
	s.Proxies = p
	s.Pattern = Pattern{Jitter: Jitter{Strength: [2]float64{1, 1}}, Faults: []Fault{
		{Kind: "partition", At: 0.02, For: 0.02, Proxies: []string{"a"}},
		{Kind: "toxic", At: 0.01, For: 0.01, Proxies: []string{"b"}, Toxic: "latency", Toxicity: 0.5},
	}}
	began := 0
	if err := s.Play(t.Context(), func() { began++ }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.calls, " "); began != 1 || got != "b+latency a-off b- a-on" && got != "b+latency b- a-off a-on" {
		t.Errorf("began %d times: %s", began, got)
	}
}

type proxies struct{ calls []string }

func (p *proxies) SetEnabled(_ context.Context, proxy string, enabled bool) error {
	p.calls = append(p.calls, proxy+map[bool]string{true: "-on", false: "-off"}[enabled])
	return nil
}

func (p *proxies) AddToxic(_ context.Context, proxy, kind string, _ float64, _ map[string]int) error {
	p.calls = append(p.calls, proxy+"+"+kind)
	return nil
}

func (p *proxies) RemoveToxics(_ context.Context, proxy string) error {
	p.calls = append(p.calls, proxy+"-")
	return nil
}

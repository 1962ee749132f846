package cacheswitch

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"muniment.dev/muniment/clients/go/adaptivecache"
	"muniment.dev/muniment/clients/go/adaptivecache/cachemetrics"
)

// A service has a cache, and a price that changes without an invalidation.
type service struct {
	price atomic.Int64
	cache *adaptivecache.Cache[string, int64]
	url   string
}

func start(t *testing.T) *service {
	t.Helper()
	s := &service{}
	s.price.Store(100)
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.cache, err = adaptivecache.New(member, adaptivecache.Options[string, int64]{
		Resolver: "product", MaxWeight: 100, Key: func(id string) string { return adaptivecache.Name("product", "", id) },
		Load: func(context.Context, string) (adaptivecache.Result[string, int64], error) {
			return adaptivecache.Result[string, int64]{Value: s.price.Load()}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(cachemetrics.New(member, map[string]cachemetrics.Cache{"product": s.cache}))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.Handle("/caches/", http.StripPrefix("/caches", New(map[string]Cache{"product": s.cache})))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *service) read(t *testing.T, want int64) {
	t.Helper()
	if v, err := s.cache.Get(t.Context(), "17"); v != want || err != nil {
		t.Fatalf("the service returns the price %d, %v; want %d", v, err, want)
	}
}

// TestDrill executes the commands of the runbook, in order, against a service
// that returns an old price.
func TestDrill(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/runbooks/cache-off.md")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t)
	run := func(command string) string {
		t.Helper()
		command = strings.ReplaceAll(command, "http://127.0.0.1:9482", s.url)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	var commands []string
	for _, m := range regexp.MustCompile("(?m)^- `(curl .*)`$").FindAllStringSubmatch(string(page), -1) {
		commands = append(commands, m[1])
	}
	if len(commands) != 4 {
		t.Fatalf("the page has the commands %q, want 4", commands)
	}
	s.read(t, 100)
	s.price.Store(120) // the writer forgets the invalidation
	s.read(t, 100)
	if out := run(commands[0]); out != "product on\n" {
		t.Errorf("state: %q", out)
	}
	for _, m := range regexp.MustCompile("`(adaptive_cache_[a-z0-9_]+)[`\\[]").FindAllStringSubmatch(string(page), -1) {
		if out := run(commands[1]); !strings.Contains(out, "\n"+m[1]+"{") {
			t.Errorf("the metrics have no %s, which the page names:\n%s", m[1], out)
		}
	}
	if out := run(commands[2]); out != "product off\n" {
		t.Errorf("after the switch: %q", out)
	}
	s.read(t, 120)
	s.price.Store(130)
	s.read(t, 130)
	if out := run(commands[1]); !strings.Contains(out, `adaptive_cache_enabled{resolver="product"} 0`) || !strings.Contains(out, `adaptive_cache_bypassed_total{resolver="product"} 2`) {
		t.Errorf("the metrics don't show that the cache is off:\n%s", out)
	}
	s.price.Store(140)
	if out := run(commands[3]); out != "product on\n" {
		t.Errorf("after the switch: %q", out)
	}
	s.read(t, 140)
	before := s.cache.Stats().Hits
	s.read(t, 140)
	if hits := s.cache.Stats().Hits; hits != before+1 {
		t.Errorf("the cache is not in use again: %d hits", hits-before)
	}
}

func TestRequests(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"PUT", "/caches/", "off\n", 200},
		{"PUT", "/caches/product", "On", 400},
		{"PUT", "/caches/product", strings.Repeat("off ", 1<<20), 400},
		{"PUT", "/caches/other", "off", 404},
		{"DELETE", "/caches/product", "", 405},
		{"GET", "/caches/product", "", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, s.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		_ = res.Body.Close()
		if res.StatusCode != c.want || c.want == 200 && string(text) != "product off\n" {
			t.Errorf("%s %s: %s: %s, want %s", c.method, c.path, res.Status, text, strconv.Itoa(c.want))
		}
	}
}

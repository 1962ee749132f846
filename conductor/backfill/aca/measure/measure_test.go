package measure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/internal/peers/promrig"
	"muniment.dev/muniment/internal/soak"
)

// A service counts requests, errors and latencies as Prometheus scrapes them.
type service struct {
	requests, errors, slow, fast atomic.Int64
	scrapes                      atomic.Int64
}

func (s *service) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.scrapes.Add(1)
	fmt.Fprintf(w, "requests_total{path=\"/a\"} %d\nrequests_total{path=\"/b\"} 0\nerrors_total %d\n", s.requests.Load(), s.errors.Load())
	fast, all := s.fast.Load(), s.fast.Load()+s.slow.Load()
	fmt.Fprintf(w, "latency_seconds_bucket{le=\"0.1\"} %d\nlatency_seconds_bucket{le=\"1\"} %d\nlatency_seconds_bucket{le=\"+Inf\"} %d\nlatency_seconds_count %d\n", fast, all, all, all)
}

// TestCredentials checks that the credentials in a URL are sent, and that no
// error contains them.
func TestCredentials(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "reader" || password != "hun/ter2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"5"]}}`)
	}))
	address := strings.TrimPrefix(server.URL, "http://")
	query := func(url string) (float64, error) {
		return (&Prometheus{URL: url, Client: &http.Client{Timeout: time.Minute}}).query(t.Context(), "x", time.Unix(0, 0))
	}
	const credentials = "reader:hun%2Fter2@"
	if x, err := query("http://" + credentials + address); err != nil || x != 5 {
		t.Errorf("%v, %v", x, err)
	}
	server.Close()
	for _, url := range []string{"http://" + credentials + address, "http://" + credentials + "127.0.0.1:port", "ftp://" + credentials + address} {
		if _, err := query(url); err == nil || strings.Contains(err.Error(), "reader") || strings.Contains(err.Error(), "hun") {
			t.Errorf("%v", err)
		}
	}
}

// TestPrometheus measures windows of a service by a real Prometheus.
func TestPrometheus(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
	defer cancel()
	s := &service{}
	target := httptest.NewServer(s)
	defer target.Close()
	rig, err := promrig.Start(ctx, promrig.Config{Dir: t.TempDir(), Target: strings.TrimPrefix(target.URL, "http://"), Webhook: target.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer rig.Stop()
	has := func(expression string) {
		t.Helper()
		if err := rig.Await(ctx, expression); err != nil {
			t.Fatal(err)
		}
	}
	p := &Prometheus{URL: rig.URL + "/", Client: &http.Client{Timeout: time.Minute}, Metrics: []Metric{
		{Check: "errors", Kind: aca.Errors, Value: "sum(errors_total @ $end) - sum(errors_total @ $start)", Per: "sum(requests_total @ $end) - sum(requests_total @ $start)"},
		{Check: "p95", Kind: aca.Tail, Value: "histogram_quantile(0.95, sum by (le) (rate(latency_seconds_bucket[$window])))", Per: "sum(latency_seconds_count @ $end) - sum(latency_seconds_count @ $start)"},
		{Check: "seconds", Kind: aca.Counter, Value: "vector(7)", Per: "scalar(vector(2))"},
		{Check: "absent", Kind: aca.Counter, Value: "no_such_metric", Per: "vector(1)"},
		{Check: "nan", Kind: aca.Counter, Value: "vector(0) / 0", Per: "vector(1)"},
		{Check: "several", Kind: aca.Counter, Value: "requests_total", Per: "vector(1)"},
		{Check: "wrong", Kind: aca.Counter, Value: "sum(", Per: "vector(1)"},
	}}
	has("errors_total == 0")

	for i, window := range []struct {
		requests, errors, fast, slow int64
		high                         bool
	}{{1000, 7, 1000, 0, false}, {500, 0, 500, 500, true}} {
		w, warnings, err := Window(ctx, aca.Window{Pair: i}, time.Now, []Source{p}, func(ctx context.Context) error {
			// The first scrape after the start contains what was before.
			has(fmt.Sprintf("timestamp(errors_total) > %s", timestamp(time.Now())))
			s.requests.Add(window.requests)
			s.errors.Add(window.errors)
			s.fast.Add(window.fast)
			s.slow.Add(window.slow)
			has(fmt.Sprintf("latency_seconds_count == %d", s.fast.Load()+s.slow.Load()))
			has(fmt.Sprintf("requests_total{path=\"/a\"} == %d", s.requests.Load()))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := w.Samples["errors"], (aca.Sample{Value: float64(window.errors), Per: float64(window.requests)}); got != want {
			t.Errorf("errors %v, want %v", got, want)
		}
		p95 := w.Samples["p95"]
		if p95.Per != float64(window.fast+window.slow) || (p95.Value > 0.1) != window.high {
			t.Errorf("p95 %v", p95)
		}
		if got, want := w.Samples["seconds"], (aca.Sample{Value: 7, Per: 2}); got != want {
			t.Errorf("seconds %v, want %v", got, want)
		}
		if names := slices.Sorted(maps.Keys(w.Samples)); !slices.Equal(names, []string{"errors", "p95", "seconds"}) {
			t.Errorf("samples of %v", names)
		}
		text := fmt.Sprint(warnings)
		for _, want := range []string{"check several: ", "aggregate them with sum()", "check wrong: ", "parse error"} {
			if !strings.Contains(text, want) {
				t.Errorf("warnings lack %q: %s", want, text)
			}
		}
		if !w.End.After(w.Start) || w.Pair != i {
			t.Errorf("window %+v", w)
		}
	}
}

func TestAnswersOfPrometheus(t *testing.T) {
	for _, test := range []struct{ answer, want string }{
		{"", "not that of Prometheus"},
		{"<html>", "not that of Prometheus"},
		{`{"status":"error","error":"busy"}`, "busy"},
		{`{"status":"success","data":{"resultType":"matrix","result":[]}}`, "must be a vector"},
		{`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}`, "must not be a histogram"},
		{`{"status":"success","data":{"resultType":"scalar","result":[1,"x"]}}`, "invalid syntax"},
		{`{"status":"success","data":{"resultType":"scalar","result":[1,"` + strings.Repeat("1", maxAnswer) + `"]}}`, "too large"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(test.answer)) }))
		p := &Prometheus{URL: server.URL, Client: server.Client(), Metrics: []Metric{{Check: "a", Value: "b", Per: "c"}}}
		samples, err := p.end(t.Context(), time.Unix(1, 0), time.Unix(2, 0))
		server.Close()
		if err == nil || !strings.Contains(err.Error(), test.want) || len(samples) > 0 {
			t.Errorf("%.60q: samples %v, error %v, want one with %q", test.answer, samples, err, test.want)
		}
	}
}

type failing struct{}

func (failing) Begin(context.Context) (End, error) { return nil, errors.New("out of order") }

func TestWindow(t *testing.T) {
	checks := []aca.Check{aca.NewTail("p50", "s", 0.5), aca.NewTail("p99", "s", 0.99), aca.NewErrors("errors")}
	l := NewLatencies(checks...)
	l.Record(time.Hour) // before the window
	w, warnings, err := Window(t.Context(), aca.Window{Pair: 3, Copy: true}, time.Now, []Source{failing{}, l}, func(context.Context) error {
		for i := range 1000 {
			l.Record(time.Duration(i+1) * time.Millisecond)
		}
		return nil
	})
	if err != nil || len(warnings) != 1 {
		t.Fatalf("error %v, warnings %v", err, warnings)
	}
	if w.Pair != 3 || !w.Copy || w.End.Before(w.Start) {
		t.Errorf("window %+v", w)
	}
	for name, want := range map[string]float64{"p50": 0.5, "p99": 0.99} {
		if s := w.Samples[name]; s.Per != 1000 || s.Value < want*0.999 || s.Value > want*1.002 {
			t.Errorf("%s: %v, want about %g", name, s, want)
		}
	}
	if len(w.Samples) != 2 {
		t.Errorf("samples %v", w.Samples)
	}

	stop := errors.New("paused")
	if _, _, err := Window(t.Context(), aca.Window{}, time.Now, []Source{l}, func(context.Context) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("interrupted: error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, _, err := Window(ctx, aca.Window{}, time.Now, []Source{l}, func(context.Context) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
	set := time.Now()
	now := func() time.Time { set = set.Add(time.Minute); return set }
	if _, _, err := Window(t.Context(), aca.Window{}, now, []Source{l}, func(context.Context) error { return nil }); !errors.Is(err, ErrClock) {
		t.Errorf("the clock was set: error %v", err)
	}
	w, _, err = Window(t.Context(), aca.Window{}, time.Now, []Source{l}, func(context.Context) error { return nil })
	if err != nil || len(w.Samples) != 0 {
		t.Errorf("no latency: samples %v, error %v", w.Samples, err)
	}
}

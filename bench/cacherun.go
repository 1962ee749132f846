package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/internal/peers"
)

const (
	runRate     = 200 // requests per second
	runSeconds  = 45
	runItems    = 2000
	runRequests = 20000 // drawn before the run; repeated from the first if they do not suffice
)

// The origin is ten times as slow in the middle third of a run.
const slowFrom, slowTo = runSeconds * time.Second / 3, 2 * runSeconds * time.Second / 3

// cacheRun measures the latency of a real Apollo Server at a constant rate:
// without a cache, with fixed lifetimes, and with the adaptive cache. Each run
// has the same requests and the same origin. vegeta sends each request when it
// is due, also while others wait, so no wait is left out of the percentiles,
// which are those of an HdrHistogram.
func (b *bench) cacheRun() {
	const script = "clients/ts/packages/adaptive-cache/scripts/server.js"
	if _, err := os.Stat(filepath.Join(filepath.Dir(script), "../dist/apollo/index.js")); err != nil {
		row("cache: Apollo Server at a constant rate", "not measured", "run it from the root of the repository, after make test-ts")
		return
	}
	vegeta, err := peers.Find("vegeta")
	check(err)
	for _, kind := range []string{"none", "fixed", "adaptive"} {
		origin := newSlowOrigin()
		url, stop := startApollo(script, origin.server.URL, kind)
		origin.began.Store(time.Now().UnixNano())
		result := b.attack(vegeta, url)
		stop()
		origin.server.Close()
		row(fmt.Sprintf("cache: Apollo Server at %d/s, %s", runRate, map[string]string{"none": "no cache", "fixed": "fixed lifetimes of 10 s", "adaptive": "adaptive"}[kind]),
			"p99 "+round(result.at(99)).String(), fmt.Sprintf("p50 %s, p99.9 %s, longest %s; %d loads, %.2f %% failed",
				round(result.at(50)), round(result.at(99.9)), round(result.longest), origin.loads.Load(), 100*(1-result.success)))
	}
}

// A slowOrigin answers after a lognormal delay with a median of 15 ms.
type slowOrigin struct {
	server *httptest.Server
	began  atomic.Int64 // Unix time in nanoseconds
	loads  atomic.Int64
}

func newSlowOrigin() *slowOrigin {
	o := &slowOrigin{}
	o.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.loads.Add(1)
		delay := 15 * math.Exp(0.5*rand.NormFloat64())
		if at := time.Since(time.Unix(0, o.began.Load())); at >= slowFrom && at < slowTo {
			delay *= 10
		}
		select {
		case <-time.After(time.Duration(delay * float64(time.Millisecond))):
			_, _ = io.WriteString(w, "item "+r.URL.Path)
		case <-r.Context().Done():
		}
	}))
	return o
}

// startApollo starts the server, and returns its URL and a function that ends
// it.
func startApollo(script, origin, kind string) (url string, stop func()) {
	cmd := exec.Command("node", script, origin, kind)
	cmd.Env = append(os.Environ(), "NODE_ENV=production")
	return started(cmd)
}

// A latencies is what vegeta reports.
type latencies struct {
	success     float64 // the share of requests that succeeded
	longest     time.Duration
	percentiles []percentile // ascending
}

type percentile struct {
	percent float64
	value   time.Duration
}

// at returns the latency that the given share of requests did not exceed.
func (l *latencies) at(percent float64) time.Duration {
	for _, p := range l.percentiles {
		if p.percent >= percent {
			return p.value
		}
	}
	return l.longest
}

// attack sends the requests of a run. Items are read by Zipf's law.
func (b *bench) attack(vegeta, url string) *latencies {
	targets := filepath.Join(b.dir, "targets")
	check(os.WriteFile(targets, runTargets(url), 0o600))
	hits, err := exec.Command(vegeta, "attack", "-format=json", "-targets="+targets, "-rate="+strconv.Itoa(runRate),
		fmt.Sprintf("-duration=%ds", runSeconds), "-timeout=60s").Output()
	check(err)
	report := func(form string) []byte {
		cmd := exec.Command(vegeta, "report", "-type="+form)
		cmd.Stdin = bytes.NewReader(hits)
		out, err := cmd.Output()
		check(err)
		return out
	}
	var summary struct {
		Success   float64 `json:"success"`
		Latencies struct {
			Max time.Duration `json:"max"`
		} `json:"latencies"`
	}
	check(json.Unmarshal(report("json"), &summary))
	result := &latencies{success: summary.Success, longest: summary.Latencies.Max}
	// A line has milliseconds, the share of requests from 0 to 1, and counts.
	for lines := bufio.NewScanner(bytes.NewReader(report("hdrplot"))); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		ms, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			continue // the heading
		}
		share, err := strconv.ParseFloat(fields[1], 64)
		check(err)
		result.percentiles = append(result.percentiles, percentile{100 * share, time.Duration(ms * float64(time.Millisecond))})
	}
	return result
}

// runTargets returns the requests, the same for each run but for their URL.
func runTargets(url string) []byte {
	items := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, runItems-1)
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	for range runRequests {
		body, err := json.Marshal(map[string]string{"query": fmt.Sprintf("{ item(id: %d) { id name } }", items.Uint64())})
		check(err)
		check(enc.Encode(map[string]any{"method": "POST", "url": url, "body": body, "header": map[string][]string{"Content-Type": {"application/json"}}}))
	}
	return text.Bytes()
}

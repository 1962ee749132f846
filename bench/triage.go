package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/intake"
	"muniment.dev/muniment/conductor/triage/route"
)

const (
	stormRate    = 10_000 // alerts per second, the goal
	stormMessage = 100    // alerts of a message
	stormAlerts  = 50_000 // different ones, each sent by both servers of a pair
	stormToken   = "0123456789abcdef"
)

// triageStorm measures how many alerts per second a router stores durably and
// classifies, beside a receiver that only reads them.
func (b *bench) triageStorm() {
	router, handler, end := b.triageRouter()
	defer end()
	server, bare := httptest.NewServer(handler), httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	defer bare.Close()

	paced, late := storm(server.URL, stormRate)
	row("triage: alerts at a constant rate, stored and classified", fmt.Sprintf("%.0f /s", paced), fmt.Sprintf("goal %d /s; a message takes %s at p50, %s at p99", stormRate, late.quantile(0.5).Round(time.Millisecond), late.quantile(0.99).Round(time.Millisecond)))
	most, _ := storm(server.URL, 0)
	reads, _ := storm(bare.URL, 0)
	row("triage: alerts as fast as they are accepted", fmt.Sprintf("%.0f /s", most), fmt.Sprintf("%.1f× the goal, %.2f× a receiver that only reads them", most/stormRate, most/reads))
	firing, opened := router()
	if sent := min(stormAlerts, *seconds*stormRate/2); firing < sent || firing > stormAlerts || opened != 1 {
		check(fmt.Errorf("%d alerts fire of %d, and %d incidents opened instead of 1", firing, stormAlerts, opened))
	}
}

// triageRouter starts a router with 64 incident types. It returns a function
// that returns the number of alerts that fire and of incidents.
func (b *bench) triageRouter() (counts func() (firing, opened int), h http.Handler, end func()) {
	var types, playbooks strings.Builder
	for i := range 64 {
		fmt.Fprintf(&types, "  T%d: {severity: P1, correlate: [cluster, service], signals: [{name: a, when: 'name == \"Errors%d\"'}, {name: b, when: 'name in [\"Slow%d\", \"Late%d\"]', count: 2}]}\n", i, i, i, i)
		fmt.Fprintf(&playbooks, "T%d: [{action: toggle}]\n", i)
	}
	types.WriteString("  Storm: {severity: P1, correlate: [cluster], signals: [{name: a, when: 'name == \"Alert0\"', count: 100}]}\n")
	playbooks.WriteString("Storm: [{action: toggle}]\n")
	config, err := triage.Load(triage.File{Text: []byte("version: 1\ntypes:\n" + types.String())}, triage.File{Text: []byte(playbooks.String())},
		triage.File{Text: []byte("{version: 1, actions: {toggle: {connector: flags, target: flag/a, undo: restore, cooldown: 1s, per_target: {actions: 5, within: 1h}, parameters: {variant: {type: string, values: [\"on\"], default: \"on\"}}}}}")})
	check(err)
	check(config.Connect(triage.File{Text: []byte("{version: 1, connectors: {flags: {type: flagd, file: /nonexistent}}}")}))
	dir := filepath.Join(b.dir, "triage")
	store, err := execute.OpenStore(filepath.Join(dir, "executor"), vfs.Default)
	check(err)
	log, metrics := slog.New(slog.DiscardHandler), route.NewMetrics("bench")
	r, err := route.Open(route.Options{Config: config, Dir: filepath.Join(dir, "router"), Metrics: metrics, Now: time.Now, Log: log,
		Executor: &execute.Executor{Store: store, Ledger: noLedger{}, Connectors: config.Connectors, Actions: config.Actions, Actor: "bench", Now: time.Now}})
	check(err)
	senders, err := intake.ParseSenders([]byte("bench: " + stormToken))
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	in := intake.New(intake.Options{Router: r, Senders: senders, Metrics: metrics, Now: time.Now, Log: log})
	stop := sync.OnceFunc(func() { cancel(); check(<-ended) })
	return func() (int, int) { stop(); return r.Counts() }, in.Handler(), func() { stop(); check(r.Close()); check(store.Close()) }
}

// noLedger records nothing.
type noLedger struct{}

func (noLedger) Record(context.Context, string, []byte) (execute.Reference, error) {
	return execute.Reference{LeafHash: strings.Repeat("0", 64)}, nil
}

// storm sends alerts for some seconds at a rate, or as fast as possible if it
// is 0. It returns the rate at which they were accepted, and for each message
// the time from when it was due to its answer.
func storm(url string, rate int) (float64, sample) {
	bodies := make([][]byte, stormAlerts/stormMessage)
	for i := range bodies {
		bodies[i] = stormBody(i)
	}
	var next, accepted atomic.Int64
	var mu sync.Mutex
	var late sample
	var clients sync.WaitGroup
	began := time.Now()
	length := time.Duration(*seconds) * time.Second
	for range 16 {
		clients.Go(func() {
			for {
				n := next.Add(1) - 1
				due := time.Now()
				if rate > 0 {
					due = began.Add(time.Duration(n) * stormMessage * time.Second / time.Duration(rate))
					time.Sleep(time.Until(due))
				}
				if due.Sub(began) >= length {
					return
				}
				sendStorm(url, bodies[n/2%int64(len(bodies))]) // twice, as a pair does
				accepted.Add(stormMessage)
				mu.Lock()
				late = append(late, time.Since(due))
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return float64(accepted.Load()) / time.Since(began).Seconds(), late
}

func stormBody(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"version":"4","receiver":"triage","status":"firing","alerts":[`)
	starts := time.Now().UTC().Format(time.RFC3339)
	for i := range stormMessage {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"status":"firing","labels":{"alertname":"Alert%d","cluster":"eu","service":"gateway","pod":"gateway-%d","namespace":"shop","severity":"page","replica":"%d"},`+
			`"annotations":{"summary":"The ratio of errors is above one percent for five minutes","runbook_url":"https://runbooks.example/gateway"},"startsAt":%q,"endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus.example/graph","fingerprint":"%016x"}`,
			i, n, n%2, starts, n*stormMessage+i)
	}
	b.WriteString("]}")
	return b.Bytes()
}

// sendStorm sends a message until it is accepted, as Alertmanager does.
func sendStorm(url string, body []byte) {
	for {
		req, err := http.NewRequest(http.MethodPost, url+"/alertmanager", bytes.NewReader(body))
		check(err)
		req.Header.Set("Authorization", "Bearer "+stormToken)
		res, err := stormClient.Do(req)
		check(err)
		_, err = io.Copy(io.Discard, res.Body)
		check(err)
		check(res.Body.Close())
		switch res.StatusCode {
		case http.StatusOK:
			return
		case http.StatusServiceUnavailable:
			wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
			check(err)
			time.Sleep(time.Duration(wait) * time.Second)
		default:
			check(fmt.Errorf("status %d", res.StatusCode))
		}
	}
}

var stormClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/clients/go/monitor"
)

// silent sends response headers and never a body.
var silent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
})

// await returns the next alert of a log and kind.
func await(t *testing.T, got <-chan monitor.Alert, log, kind string) monitor.Alert {
	t.Helper()
	for {
		select {
		case a := <-got:
			if a.Log == log && a.Kind == kind {
				return a
			}
		case <-t.Context().Done():
			t.Fatalf("no alert %s of %s", kind, log)
		}
	}
}

// run runs a monitor until the test ends.
func run(t *testing.T, m *monitor.Monitor) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx, time.Millisecond, func(*monitor.Round) {})
	}()
	t.Cleanup(func() { stop(); <-done })
}

// A log that sends only headers does not delay the alerts for another log.
func TestSilentLog(t *testing.T) {
	signer, policy := newSigner(t)
	stuck, other := newFront(t), newFront(t)
	stuck.show(silent)
	other.showLog(newLog(t, signer, "a", "b"))
	got := make(chan monitor.Alert, 1000)
	dir := t.TempDir()
	m := &monitor.Monitor{Dir: dir, Now: time.Now, Deliver: func(_ context.Context, a *monitor.Alert) error { got <- *a; return nil },
		Logs: []monitor.Log{{Name: "stuck", Source: stuck.source(t), Policy: policy}, {Name: "other", Source: other.source(t), Policy: policy}}}
	first := *m
	first.Logs = m.Logs[1:]
	if r := first.Rounds(t.Context())[0]; r.Err != nil || r.Size != 2 {
		t.Fatalf("%+v", r)
	}
	run(t, m)
	other.showLog(newLog(t, signer, "a", "x"))
	await(t, got, "other", monitor.Forked)
}

// A log that cannot be read for too long raises an alert. So does its recovery.
func TestUnread(t *testing.T) {
	signer, policy := newSigner(t)
	f := newFront(t)
	f.show(silent)
	got := make(chan monitor.Alert, 1000)
	m := &monitor.Monitor{Dir: t.TempDir(), Now: time.Now, Deliver: func(_ context.Context, a *monitor.Alert) error { got <- *a; return nil },
		Logs: []monitor.Log{{Name: "ours", Source: f.source(t), Policy: policy, Timeout: 20 * time.Millisecond, Unread: time.Nanosecond}}}
	r := m.Rounds(t.Context())[0]
	if s, _ := kinds(r); s != monitor.Unread || r.Err == nil {
		t.Fatalf("%+v", r)
	}
	if a := await(t, got, "ours", monitor.Unread); !strings.Contains(a.Message, "log ours could not be read for") || !strings.Contains(a.Message, "not read within 20ms") {
		t.Errorf("message: %s", a.Message)
	}
	f.showLog(newLog(t, signer, "a"))
	m.Logs[0].Timeout = 0
	r = m.Rounds(t.Context())[0]
	if s, n := kinds(r); s != "" || n != monitor.Recovered || r.Err != nil {
		t.Fatalf("%+v", r)
	}
	await(t, got, "ours", monitor.Recovered)
	if _, n := kinds(m.Rounds(t.Context())[0]); n != "" {
		t.Errorf("found again: %s", n)
	}
}

// A webhook that is slow for one log's alerts does not delay another log's
// alerts.
func TestSlowWebhook(t *testing.T) {
	_, policy := newSigner(t)
	f := newFront(t)
	f.show(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }))
	got := make(chan monitor.Alert, 1000)
	m := &monitor.Monitor{Dir: t.TempDir(), Now: time.Now, Logs: []monitor.Log{{Name: "slow", Source: f.source(t), Policy: policy}, {Name: "fast", Source: f.source(t), Policy: policy}},
		Deliver: func(ctx context.Context, a *monitor.Alert) error {
			if a.Log == "slow" {
				<-ctx.Done()
				return ctx.Err()
			}
			got <- *a
			return nil
		}}
	run(t, m)
	await(t, got, "fast", monitor.Unsound)
}

// Neither the alerts nor the state grow with the number of wrong entries.
func TestManyWrongEntries(t *testing.T) {
	const n = 200_000
	signer, policy := newSigner(t)
	f := newFront(t)
	f.showLog(newLog(t, signer, "a"))
	long := strings.Repeat("é", 1<<15)
	e := monitor.Entry{Seq: new(uint64), Identities: []string{"mallory" + long}, What: long}
	*e.Seq = n
	entries := func(ctx context.Context, from uint64, yield func(monitor.Entry) error) (uint64, error) {
		for i := range uint64(n) {
			e.Index = from + i
			if err := yield(e); err != nil {
				return from, err
			}
		}
		return from + n, nil
	}
	dir := t.TempDir()
	down := errors.New("down")
	delivered := 0
	m := &monitor.Monitor{Dir: dir, Now: time.Now,
		Deliver: func(context.Context, *monitor.Alert) error {
			if delivered++; delivered > 30 {
				return down
			}
			return nil
		},
		Logs: []monitor.Log{{Name: "ours", Source: f.source(t), Policy: policy, Entries: entries, Watch: monitor.Watch{Identities: []string{"mallory*"}}}}}
	metrics := monitor.NewMetrics()
	for round := range 2 {
		r := m.Rounds(t.Context())[0]
		if (r.Err != nil) != (round > 0) || round > 0 && !errors.Is(r.Err, down) {
			t.Error(r.Err)
		}
		metrics.Observe(&r, time.Now())
		if len(r.Standing) != 22 || len(r.Found) != 22 {
			t.Fatalf("%d alerts, %d found", len(r.Standing), len(r.Found))
		}
		more, bytes := 0, 0
		for _, a := range r.Standing {
			bytes += len(a.Message) + len(a.Matched)
			if a.More == n-10 && a.Message == "and 199990 more" {
				more++
			}
		}
		if more != 2 || bytes > 128<<10 {
			t.Errorf("%d summaries, %d bytes", more, bytes)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "ours.json")); err != nil || info.Size() > 256<<10 {
		t.Errorf("state: %v, %v", info, err)
	}
	rec := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{`muniment_monitor_alerts{kind="unexpected",log="ours"} 200000`, `muniment_monitor_alerts_delivered_total{log="ours"} 30`, `muniment_monitor_alerts_dropped_total{log="ours"} 0`} {
		if !strings.Contains(rec.Body.String(), line+"\n") {
			t.Errorf("metrics lack %s:\n%s", line, rec.Body)
		}
	}
}

package correlate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// TestAlertmanagers checks that the messages of two real Alertmanagers about
// alerts of two replicas are one alert each, which opens and ends once.
func TestAlertmanagers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
	defer cancel()
	messages := make(chan []byte, 64)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := bounded.ReadAll(r.Body, signal.MaxMessage)
		if err != nil {
			t.Errorf("read a message: %v", err)
		}
		messages <- body
	}))
	t.Cleanup(hook.Close)
	managers := []string{alertmanager(ctx, t, hook.URL), alertmanager(ctx, t, hook.URL)}

	started := time.Now().Add(-time.Minute)
	post := func(ends time.Time) {
		var alerts []map[string]any
		for _, service := range []string{"gateway", "größe\u202e"} {
			for i, replica := range []string{"a", "b"} {
				alerts = append(alerts, map[string]any{
					"labels":      map[string]string{"alertname": "A", "cluster": "eu", "service": service, "replica": replica},
					"annotations": map[string]string{"summary": "an \"error\"\n", "trace_id": strings.Repeat("a", 32)},
					"startsAt":    started.Add(time.Duration(i) * time.Second), "endsAt": ends,
				})
			}
		}
		body, err := json.Marshal(alerts)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range managers {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, m+"/api/v2/alerts", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			res, err := http.DefaultClient.Do(req)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("post the alerts: %v, %v", res, err)
			}
			_ = res.Body.Close() // nothing is read from it
		}
	}

	tab, c := table(t)
	effects := map[Effect]int{}
	await := func(done func() bool) {
		t.Helper()
		for !done() {
			select {
			case body := <-messages:
				m, err := signal.ParseAlertmanager(body, time.Now())
				if err != nil || len(m.Refused) > 0 || m.Truncated != 0 {
					t.Fatalf("message %s: %+v, %v", body, m, err)
				}
				for i := range m.Signals {
					_, effect, err := tab.Observe(&m.Signals[i])
					if err != nil {
						t.Fatal(err)
					}
					effects[effect]++
				}
			case <-ctx.Done():
				t.Fatalf("no further message; effects: %v", effects)
			}
		}
	}
	// Each manager sends each of four alerts.
	post(time.Now().Add(time.Hour))
	await(func() bool { return effects[Opened] >= 2 && effects[Opened]+effects[Continued] >= 8 })
	if effects[Opened] != 2 || len(tab.alerts) != 2 {
		t.Errorf("%d alerts, effects: %v", len(tab.alerts), effects)
	}
	if candidates, _, _ := tab.Candidates(c.Type("traced"), time.Now()); len(candidates) != 1 || len(candidates[0].Members) != 2 || len(candidates[0].Members[0].Traces()) != 1 {
		t.Errorf("candidates: %+v", candidates)
	}
	post(time.Now())
	await(func() bool { return effects[Ended] >= 2 && effects[Ended]+effects[Recorded] >= 8 })
	if effects[Opened] != 2 || effects[Ended] != 2 {
		t.Errorf("effects: %v", effects)
	}
	for _, a := range tab.alerts {
		if a.Fires() {
			t.Errorf("%v fires", a.Labels)
		}
	}
}

// alertmanager starts an Alertmanager that is alone, and returns its URL.
func alertmanager(ctx context.Context, t *testing.T, hook string) string {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`{route: {receiver: r, group_by: ["..."], group_wait: 0s, group_interval: 1s}, receivers: [{name: r, webhook_configs: [{url: %q, send_resolved: true}]}]}`, hook)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ports, err := peers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	listen := "127.0.0.1:" + ports[0]
	p := peers.Program{Name: "alertmanager", Probe: "http://" + listen + "/-/ready", Dir: dir, Args: []string{
		"--config.file=" + filepath.Join(dir, "config.yaml"), "--storage.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + listen, "--cluster.listen-address=",
	}}
	process, err := p.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)
	return "http://" + listen
}

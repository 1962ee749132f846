package intake

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// TestPython receives what the exporters of OpenTelemetry for Python send.
func TestPython(t *testing.T) {
	to, _, url := start(t)
	out, err := exec.CommandContext(t.Context(), peers.Path(t, "otlp-python"), "testdata/export.py", strings.TrimPrefix(url, "http://"), token).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	to.want(t, "otlp-logs python.http gateway", "otlp-traces GET /python gateway", "otlp-traces GET /python gateway")
}

// TestNode receives what the exporters of OpenTelemetry for JavaScript send.
func TestNode(t *testing.T) {
	to, _, url := start(t)
	out, err := exec.CommandContext(t.Context(), peers.Path(t, "otlp-node"), "testdata/export.js", strings.TrimPrefix(url, "http://"), token).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	to.want(t, "otlp-logs node.lost gateway", "otlp-traces GET /node gateway")
}

// TestAlertmanager receives alerts that amtool has sent to an Alertmanager.
func TestAlertmanager(t *testing.T) {
	to, _, url := start(t)
	dir := t.TempDir()
	ports, err := peers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"route": map[string]any{"receiver": "triage", "group_wait": "0s", "group_interval": "1s"},
		"receivers": []any{map[string]any{"name": "triage", "webhook_configs": []any{map[string]any{
			"url": url + "/alertmanager", "send_resolved": true, "http_config": map[string]any{"authorization": map[string]any{"credentials": token}}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "alertmanager.yaml"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	manager := "127.0.0.1:" + ports[0]
	p, err := peers.Program{Name: "alertmanager", Dir: dir, Probe: "http://" + manager + "/-/ready", Args: []string{
		"--config.file=" + filepath.Join(dir, "alertmanager.yaml"), "--storage.path=" + filepath.Join(dir, "alerts"), "--web.listen-address=" + manager, "--cluster.listen-address=",
	}}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	amtool := func(args ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), peers.Path(t, "amtool"), append([]string{"--alertmanager.url=http://" + manager, "alert", "add"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	amtool("alertname=Errors", "service=gateway", "--annotation=summary=down")
	to.await(t, signal.Firing)
	amtool("alertname=Errors", "service=gateway", "--end="+time.Now().Add(-time.Second).UTC().Format(time.RFC3339))
	to.await(t, signal.Resolved)
}

// await waits for a signal of the gateway with a state.
func (s *sink) await(t *testing.T, state string) {
	t.Helper()
	for until := time.Now().Add(soak.Patience); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		found := slices.ContainsFunc(s.signals, func(s signal.Signal) bool {
			return s.State == state && s.Name == "Errors" && maps.Equal(s.Labels, map[string]string{"service": "gateway"})
		})
		s.mu.Unlock()
		if found {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("no signal is %s: %+v", state, s.signals)
		}
	}
}

// want checks the signals, in any order.
func (s *sink) want(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, s := range s.signals {
		got = append(got, strings.Join(append([]string{s.Source, s.Name}, slices.Sorted(maps.Values(s.Labels))...), " "))
		if s.Skewed || s.Source == signal.OTLPTraces && len(s.Traces) != 1 {
			t.Errorf("%+v", s)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("signals %q, want %q", got, want)
	}
}

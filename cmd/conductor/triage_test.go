package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/term"
)

// TestExplain checks the exit codes and messages of triage explain. The page
// docs/triage.md has its output.
func TestExplain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	types := write("types.yaml", `{version: 1, types: {T: {severity: P2, correlate: [s], signals: [{name: a, when: name == "A"}]}}}`)
	playbooks := write("playbooks.yaml", "T: [{action: flush}]\n")
	actions := write("actions.yaml", "{version: 1, actions: {flush: {connector: cache, target: cache/a, undo: lapse, cooldown: 1m, per_target: {actions: 1, within: 1h}}}}")
	explain := func(messages string, args ...string) (int, string, string) {
		t.Helper()
		return conductor(t, append([]string{"triage", "explain", write("alerts.json", messages), "--catalogue", types, "--playbooks", playbooks, "--actions", actions}, args...)...)
	}
	fires := `{"version":"4","received":"2026-11-01T12:00:00Z","truncatedAlerts":3,"alerts":[{"status":"firing","labels":{"alertname":"A","s":"\u001b[2J"},"startsAt":"2026-11-01T12:00:00Z"},{}]}`

	code, out, _ := explain(fires)
	for _, want := range []string{`T s="\x1b[2J": classified`, "1. flush on cache/a, undo: lapse", "message 1, alert 2 refused: the status", "3 alerts left out by the sender"} {
		if code != term.ExitOK || !strings.Contains(out, want) {
			t.Errorf("exit code %d, output without %q:\n%s", code, want, out)
		}
	}
	code, out, _ = explain(fires, "--json", "--after", "1h")
	var result struct {
		At      string `json:"at"`
		Results []struct{ Type, Verdict string }
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || code != term.ExitNo || result.At != "2026-11-01T13:00:00Z" || result.Results[0].Verdict != "incomplete" {
		t.Errorf("exit code %d, %v:\n%s", code, err, out)
	}
	connectors := write("connectors.yaml", "{version: 1, connectors: {cache: {type: cache_flush, url: 'https://127.0.0.1:1', token_file: none}}}")
	if code, _, messages := explain(fires, "--connectors", connectors); code != term.ExitOK {
		t.Errorf("with connectors: exit code %d\n%s", code, messages)
	}
	restores := write("restores.yaml", "{version: 1, connectors: {cache: {type: flagd, file: none}}}")
	for _, c := range []struct {
		messages string
		args     []string
		want     string
	}{
		{"", nil, "the file is empty"},
		{"nonsense", nil, "message 1: not JSON, at byte 0"},
		{fires + `{"version":"3"}`, nil, "message 2: the message has version 3"},
		{fires + strings.Replace(fires, "2026", "2025", 1), nil, "message 2: it was received at 2025-11-01T12:00:00Z, before the previous message"},
		{strings.Replace(fires, `"2026-11-01T12:00:00Z"`, `"now"`, 1), nil, "message 1: received: not a time such as"},
		{fires, []string{"--after=-1s"}, "--after: must be from 0s to 24h"},
		{fires, []string{"--catalogue", playbooks}, "line 1, column 1: T: unknown member: a catalogue has flapping"},
		{fires, []string{"--connectors", restores}, "actions.flush.undo: must be restore, because that is how effects of connector cache end"},
		{fires, []string{"--connectors", playbooks}, "T: unknown member: a file of connectors has connectors, version"},
		{fires, []string{"--actions", filepath.Join(dir, "none.yaml")}, "read the configuration: open "},
	} {
		code, _, messages := explain(c.messages, c.args...)
		if code != term.ExitFailed || !strings.Contains(messages, c.want) {
			t.Errorf("exit code %d: %s, want %q", code, messages, c.want)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "no alerts specified: give a file of recorded messages, or --triage"},
		{[]string{"--triage", "http://127.0.0.1:1"}, "--triage: requires --operator-token-file"},
		{[]string{"--triage", "http://127.0.0.1:1", types}, "--triage: prints the state of that triage, and takes no recorded alerts"},
	} {
		if code, _, messages := conductor(t, append([]string{"triage", "explain"}, c.args...)...); code != term.ExitFailed || !strings.Contains(messages, c.want) {
			t.Errorf("exit code %d: %s, want %q", code, messages, c.want)
		}
	}
	if code, out, _ := conductor(t, "triage", "explain", "--help"); code != term.ExitOK || !strings.Contains(out, "Exit code: ") || !strings.Contains(out, "conductor triage explain ALERTS.json") {
		t.Errorf("help: exit code %d\n%s", code, out)
	}
}

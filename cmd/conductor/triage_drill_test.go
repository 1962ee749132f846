package main

import (
	"encoding/json"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/drill"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// TestDrill runs a game day against the running command, up to the undo of the
// real action and the entry in the ledger.
func TestDrill(t *testing.T) {
	soak.WithoutRace(t)
	m := startMisfiring(t)
	m.write("scenario.json", `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"Errors","service":"assets"},"startsAt":"2026-11-01T12:00:00Z"}]}`)
	m.write("nothing.json", `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"Calm","service":"assets"},"startsAt":"2026-11-01T12:00:00Z"}]}`)
	m.write("sender", misfireToken)
	args := func(file string, more ...string) []string {
		return append([]string{"triage", "drill", file, "--triage", m.url, "--sender-token-file", "sender", "--server", m.ledger.URL, "--tenant", "acme", "--token-file", "token", "--policy", "policy"}, more...)
	}
	if code, _, messages := conductor(t, args("nothing.json")...); code != term.ExitFailed || !strings.Contains(messages, "no evidence of an incident") {
		t.Errorf("alerts of no incident: exit code %d\n%s", code, messages)
	}
	code, out, messages := conductor(t, args("scenario.json", "--name", "friday", "--json")...)
	var r drill.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != term.ExitOK {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, messages)
	}
	if !r.Passed || r.Drill != "friday" || r.Actions != 1 || r.Undone != 1 || r.FirstAction <= 0 || r.Closed <= 0 || r.Entry == nil || m.flag() != "off" {
		t.Errorf("the flag is %s after %s", m.flag(), out)
	}
	code, out, messages = conductor(t, "triage", "show", r.Incident, "--server", m.ledger.URL, "--tenant", "acme", "--token-file", "token", "--policy", "policy")
	if code != term.ExitOK || !strings.Contains(out, "drill by token:") {
		t.Errorf("the incident: exit code %d\n%s%s", code, out, messages)
	}
	// A drill needs a running triage.
	if code, _, messages := conductor(t, args("scenario.json", "--triage", "http://127.0.0.1:1")...); code != term.ExitFailed || !strings.Contains(messages, "send the alerts") {
		t.Errorf("no triage: exit code %d\n%s", code, messages)
	}
}

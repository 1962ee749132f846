package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// A misfiring is a running triage that takes a deployment for an incident.
type misfiring struct {
	*testing.T
	dir, url string
	ledger   *ledgerrig.Server
}

const (
	misfireToken = "token-of-the-alertmanager"

	misfireCatalogue = "version: 1\ntypes: {P1-errors: {severity: P1, correlate: [service], signals: [{name: errors, when: name == \"Errors\"}]}}\n"
	misfireActions   = `version: 1
approvers: [%q]
actions:
  toggle: {connector: flags, target: flag/a, parameters: {variant: {type: string, default: "on", values: ["on"]}}, undo: restore, cooldown: 1s, per_target: {actions: 9, within: 1h}}
`
	misfireFlags = `{"flags": {"a": {"variants": {"on": true, "off": false}, "defaultVariant": "off"}}}`
)

func startMisfiring(t *testing.T) *misfiring {
	m := &misfiring{T: t, dir: t.TempDir(), ledger: ledgerrig.StartWithPeople()}
	t.Cleanup(m.ledger.Close)
	for name, text := range map[string]string{
		"catalogue.yaml": misfireCatalogue, "playbooks.yaml": "P1-errors: [{action: toggle}]\n", "actions.yaml": fmt.Sprintf(misfireActions, m.ledger.Person("ada")), "flags.json": misfireFlags,
		"connectors.yaml": fmt.Sprintf("version: 1\nconnectors: {flags: {type: flagd, file: %q}}\n", filepath.Join(m.dir, "flags.json")),
		"senders.yaml":    "alertmanager: " + misfireToken + "\n", "token": m.ledger.Token, "policy": string(m.ledger.Policy),
	} {
		m.write(name, text)
	}
	t.Chdir(m.dir)
	m.url, _ = serve(t, []string{"triage", "serve", "--server", m.ledger.URL, "--tenant", "acme", "--token-file", "token", "--read-token-file", "token", "--policy", "policy", "--listen", "127.0.0.1:0"})
	return m
}

func (m *misfiring) write(name, text string) {
	m.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		m.Fatal(err)
	}
}

// alerts sends the alerts of a deployment of a service, and records them.
func (m *misfiring) alerts(service string) {
	m.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	var alerts []string
	for _, name := range []string{"DeploymentInProgress", "Errors"} {
		alerts = append(alerts, fmt.Sprintf(`{"status":"firing","labels":{"alertname":%q,"service":%q},"startsAt":%q}`, name, service, now))
	}
	message := `{"version":"4","received":"` + now + `","alerts":[` + strings.Join(alerts, ",") + `]}`
	m.write("alerts.json", message)
	if status, text := send(m.T, m.url+"/alertmanager", misfireToken, message); status != 200 {
		m.Fatalf("%d %s", status, text)
	}
}

// run runs a command of the page as the person ada.
func (m *misfiring) run(want int, args ...string) string {
	m.Helper()
	m.Setenv("MUNIMENT_ID_TOKEN", m.ledger.IdentityToken("ada"))
	code, out, messages := conductor(m.T, append([]string{"triage"}, args...)...)
	if code != want {
		m.Fatalf("conductor triage %q: exit code %d, want %d\n%s%s", args, code, want, out, messages)
	}
	return out
}

// await runs a command until its output matches, and returns it.
func (m *misfiring) await(pattern string, args ...string) []string {
	m.Helper()
	for until := time.Now().Add(soak.Patience); ; time.Sleep(50 * time.Millisecond) {
		out := m.run(term.ExitOK, args...)
		if found := regexp.MustCompile(pattern).FindStringSubmatch(out); found != nil {
			return found
		}
		if time.Now().After(until) {
			m.Fatalf("conductor triage %q: no %s in\n%s", args, pattern, out)
		}
	}
}

func (m *misfiring) flag() string {
	m.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "flags.json"))
	if err != nil {
		m.Fatal(err)
	}
	return regexp.MustCompile(`"defaultVariant": "(\w+)"`).FindStringSubmatch(string(text))[1]
}

// TestMisfireDrill executes the commands of the runbook, in their order.
func TestMisfireDrill(t *testing.T) {
	page, err := os.ReadFile("../../docs/runbooks/executor-misfire.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands [][]string
	for _, line := range regexp.MustCompile("(?m)^- `conductor triage (.*)`$").FindAllStringSubmatch(string(page), -1) {
		words := regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line[1], -1)
		for i := range words {
			words[i] = strings.Trim(words[i], `"`)
		}
		commands = append(commands, words)
	}
	patched := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(page))
	if len(commands) != 7 || patched == nil {
		t.Fatalf("the page has the commands %q, want 7, and a catalogue", commands)
	}
	m := startMisfiring(t)
	for name, value := range map[string]string{"SERVER": m.ledger.URL, "TENANT": "acme", "POLICY": "policy", "IDENTITY_TOKEN": "env"} {
		t.Setenv("MUNIMENT_"+name, value)
	}
	m.alerts("assets")
	incident := m.await(`(P1-errors/[0-9a-f]{12}-1)`, commands[0]...)[1]
	of := func(command []string) []string {
		return strings.Split(strings.ReplaceAll(strings.Join(command, "\x00"), "INCIDENT", incident), "\x00")
	}
	m.await(`confirmed|succeeded`, of(commands[1])...)
	if m.flag() != "on" {
		t.Fatal("triage has not acted")
	}

	m.run(term.ExitOK, of(commands[2])...)
	m.await(`closed`, of(commands[1])...)
	if m.flag() != "off" {
		t.Error("the step was not undone")
	}

	m.run(term.ExitOK, commands[3]...)
	m.write("catalogue.yaml", patched[1])
	m.run(term.ExitNo, commands[4][:2]...)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.reloaded()

	m.run(term.ExitOK, commands[5]...)
	out := m.run(term.ExitOK, of(commands[6])...)
	for _, want := range []string{"misfire", "quarantine"} {
		if !strings.Contains(out, want) {
			t.Errorf("the incident has no %s:\n%s", want, out)
		}
	}
	m.alerts("search")
	m.metric(`muniment_triage_candidates{type="P1-errors",verdict="abstained"} [1-9]`)
	if m.flag() != "off" {
		t.Error("triage has acted again")
	}
}

func (m *misfiring) reloaded() { m.metric(`muniment_triage_reloads_total{result="loaded"} 1`) }

// metric waits until the metrics of triage match.
func (m *misfiring) metric(pattern string) {
	m.Helper()
	for until := time.Now().Add(soak.Patience); ; time.Sleep(50 * time.Millisecond) {
		_, text := fetchText(m.T, m.url+"/metrics")
		if regexp.MustCompile(pattern).MatchString(text) {
			return
		}
		if time.Now().After(until) {
			m.Fatalf("no %s in\n%s", pattern, text)
		}
	}
}

func fetchText(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return answer(t, res)
}

// answer returns the status and the text of an answer.
func answer(t *testing.T, res *http.Response) (int, string) {
	t.Helper()
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sumdb "golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/receipt"
)

// triageFolder writes the files of a router, whose ledger does not answer, and
// returns the folder and the arguments of the command.
func triageFolder(t *testing.T) (dir string, args []string) {
	t.Helper()
	dir = t.TempDir()
	_, key, err := sumdb.GenerateKey(nil, "ledger.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"catalogue.yaml":  "version: 1\ntypes: {T: {severity: P1, correlate: [service], signals: [{name: errors, when: name == \"Errors\"}]}}\n",
		"playbooks.yaml":  "T: [{action: toggle}]\n",
		"actions.yaml":    "version: 1\nactions: {toggle: {connector: flags, target: flag/a, parameters: {variant: {type: string, default: \"on\", values: [\"on\"]}}, undo: restore, cooldown: 1s, per_target: {actions: 5, within: 1h}, act_without_ledger: true}}\n",
		"connectors.yaml": "version: 1\nconnectors: {flags: {type: flagd, file: " + filepath.Join(dir, "flags.json") + "}}\n",
		"flags.json":      `{"flags": {"a": {"variants": {"on": true, "off": false}, "defaultVariant": "off"}}}`,
		"senders.yaml":    "alertmanager-a: 0123456789abcdef\n",
		"ledger.token":    "secret",
		"ledger.policy":   receipt.FormatTrustPolicy(key),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args = []string{"triage", "serve", "--server", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"}
	for flag, name := range map[string]string{
		"catalogue": "catalogue.yaml", "playbooks": "playbooks.yaml", "actions": "actions.yaml", "connectors": "connectors.yaml", "senders": "senders.yaml",
		"state": "state", "token-file": "ledger.token", "policy": "ledger.policy",
	} {
		args = append(args, "--"+flag, filepath.Join(dir, name))
	}
	return dir, args
}

// serve runs the command and returns its URL, and a function that ends it.
func serve(t *testing.T, args []string) (url string, end func() (code int, messages string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	in, out := io.Pipe()
	var messages strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- runLine(ctx, args, strings.NewReader(""), out, &messages)
		out.Close()
	}()
	end = func() (int, string) { cancel(); c := <-code; code <- c; return c, messages.String() }
	t.Cleanup(func() { end() })
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		c, text := end()
		t.Fatalf("it does not listen: exit code %d, %v\n%s", c, err, text)
	}
	return strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]), end
}

// send posts a message and returns the status and the answer.
func send(t *testing.T, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return answer(t, res)
}

// TestServe sends an alert to the running command, which takes the step, and
// goes on after a restart.
func TestServe(t *testing.T) {
	dir, args := triageFolder(t)
	operator := filepath.Join(dir, "operator.token")
	writeFile(t, operator, "operator-of-triage\n")
	explain := func(url, file string) (int, string, string) {
		return conductor(t, "triage", "explain", "--triage", url, "--operator-token-file", file)
	}
	url, end := serve(t, append(args, "--operator-token-file", operator))
	if code, out, messages := explain(url, operator); code != term.ExitNo || !strings.Contains(out, "because no alert that counts matches errors") {
		t.Errorf("explain before an alert: exit code %d\n%s%s", code, out, messages)
	}
	sender := filepath.Join(dir, "sender.token")
	writeFile(t, sender, "0123456789abcdef")
	if code, _, messages := explain(url, sender); code != term.ExitFailed || !strings.Contains(messages, "401 Unauthorized: no valid token") {
		t.Errorf("explain by a sender: exit code %d\n%s", code, messages)
	}
	fires := `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"Errors","service":"x"},"startsAt":"` + time.Now().UTC().Format(time.RFC3339) + `"},{}]}`
	if status, text := send(t, url+"/alertmanager", "0123456789abcdeX", fires); status != http.StatusUnauthorized || !strings.Contains(text, "no valid token") {
		t.Errorf("wrong token: %d %s", status, text)
	}
	status, text := send(t, url+"/alertmanager", "0123456789abcdef", fires)
	if status != http.StatusOK || !strings.Contains(text, `{"accepted":1,"refused":[{"alert":2,"reason":"the status`) {
		t.Errorf("%d %s", status, text)
	}
	flags := func() string {
		text, err := os.ReadFile(filepath.Join(dir, "flags.json"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for until := time.Now().Add(soak.Patience); !strings.Contains(flags(), `"defaultVariant": "on"`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			_, messages := end()
			t.Fatalf("no step was taken:\n%s", messages)
		}
	}
	if code, out, messages := explain(url, operator); code != term.ExitOK || !strings.Contains(out, "alerts: Errors\n  1. toggle on flag/a: ") || !strings.Contains(out, "its episode belongs to incident T/") {
		t.Errorf("explain: exit code %d\n%s%s", code, out, messages)
	}
	get := func(path string) string {
		_, text := fetchText(t, url+path)
		return text
	}
	for _, want := range []string{
		`muniment_triage_messages_total{input="alertmanager",result="accepted",sender="alertmanager-a"} 1`, `muniment_triage_messages_total{input="alertmanager",result="unauthorized",sender=""} 1`,
		`muniment_triage_signals_total{effect="opened",input="alertmanager"} 1`, `muniment_triage_signals_refused_total{input="alertmanager"} 1`, `muniment_triage_incidents_total{type="T"} 1`,
	} {
		if text := get("/metrics"); !strings.Contains(text, want) {
			t.Errorf("metrics without %s:\n%s", want, text)
		}
	}
	if get("/healthz") != "ok\n" || get("/readyz") != "ready\n" {
		t.Error("not healthy")
	}
	code, messages := end()
	if code != term.ExitOK || strings.Contains(messages, "0123456789") || !strings.Contains(messages, "incident classified") {
		t.Errorf("exit code %d\n%s", code, messages)
	}
	url, _ = serve(t, args)
	if code, _, messages := explain(url, operator); code != term.ExitFailed || !strings.Contains(messages, "404 Not Found: no operator is configured") {
		t.Errorf("explain without an operator: exit code %d\n%s", code, messages)
	}
	if text := get("/metrics"); !strings.Contains(text, `muniment_triage_alerts{state="firing"} 1`) || strings.Contains(text, `muniment_triage_incidents_total{type="T"}`) {
		t.Errorf("metrics after a restart:\n%s", text)
	}
}

// TestServeRefused checks what the command refuses to start with.
func TestServeRefused(t *testing.T) {
	dir, args := triageFolder(t)
	short := filepath.Join(dir, "short.yaml")
	if err := os.WriteFile(short, []byte("a: hunter2\nB: 0123456789abcdef\nc: sha256:00\nd: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ flag, value, want string }{
		{"--listen", "0.0.0.0:0", "--listen: 0.0.0.0 is not an address of this machine only"},
		{"--listen", "9482", "--listen: must be HOST:PORT"},
		{"--tls-cert", short, "--tls-cert, --tls-key: must be given together"},
		{"--senders", short, "line 1, column 4: a: a token must have at least 16 characters\n"},
		{"--senders", filepath.Join(dir, "none.yaml"), "--senders: open "},
		{"--policy", short, "--policy: "},
		{"--operator-token-file", filepath.Join(dir, "none"), "--operator-token-file: open "},
		{"--inputs", short, "line 1, column 1: a: unknown member"},
		{"--connectors", short, "line 1, column 1: a: unknown member"},
		{"--traces", "collector", "--traces: must be an http or https URL"},
		{"--takeover-key-file", short, "--takeover-key-file: requires --read-token-file"},
		{"--name", "", "--name: must have 1 to 64 bytes"},
	} {
		code, _, messages := conductor(t, append(args, c.flag, c.value)...)
		if code != term.ExitFailed || !strings.Contains(messages, c.want) || strings.Contains(messages, "hunter2") {
			t.Errorf("%s %s: exit code %d: %s", c.flag, c.value, code, messages)
		}
	}
	if code, out, _ := conductor(t, "triage", "serve", "--help"); code != term.ExitOK || !strings.Contains(out, "Exit code: ") || !strings.Contains(out, "conductor triage serve --server") {
		t.Errorf("help: exit code %d\n%s", code, out)
	}
}

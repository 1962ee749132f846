package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/term"
)

// conductor runs a command line.
func conductor(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, messages bytes.Buffer
	code = runLine(t.Context(), args, strings.NewReader(""), &out, &messages)
	return code, out.String(), messages.String()
}

// TestHelp checks that the help of every command has its exit codes and an
// example.
func TestHelp(t *testing.T) {
	for _, command := range []string{"plan", "run", "status", "pause", "resume", "throttle", "validate", "rehearse", "cutover", "rollback", "finish", "report"} {
		code, out, _ := conductor(t, "backfill", command, "--help")
		if code != term.ExitOK || !strings.Contains(out, "Exit code: ") || !strings.Contains(out, "conductor backfill "+command+" JOB.yaml") {
			t.Errorf("help of %s: exit code %d\n%s", command, code, out)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "job.yaml")
	good := "version: 1\nname: a\nentity: A\ndatabase: {dsn_env: NO_SUCH_VARIABLE}\ntable: public.a\ncolumn: c\ntype: bigint\nup: c\ndown: c\n" +
		"ledger: {url: 'http://127.0.0.1:1', tenant: acme, trust_policy: policy}\n"
	for name, c := range map[string]struct {
		text string
		args []string
		want string
	}{
		"no command":   {"", []string{"backfill"}, "run: conductor backfill --help"},
		"no job":       {"", []string{"backfill", "run"}, "expected \"<job>\""},
		"no such file": {"", []string{"backfill", "plan", filepath.Join(dir, "none.yaml")}, "read the job: "},
		"bad job":      {"version: 1\nnam: x\n", []string{"backfill", "plan", file}, "line 2, column 1: nam: unknown member"},
		"no variable":  {good, []string{"backfill", "status", file}, "the environment variable NO_SUCH_VARIABLE, which database.dsn_env names, is not set"},
		"no policy":    {strings.Replace(good, "{dsn_env: NO_SUCH_VARIABLE}", "{dsn: 'host=127.0.0.1 port=1'}", 1), []string{"backfill", "plan", file}, "ledger.trust_policy: open "},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, _, messages := conductor(t, c.args...)
			if code != term.ExitFailed || !strings.Contains(messages, c.want) {
				t.Errorf("exit code %d: %s", code, messages)
			}
		})
	}
}

// TestNoSecrets checks that the connection string is in no message.
func TestNoSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "job.yaml")
	text := "version: 1\nname: a\nentity: A\ndatabase: {dsn_env: DSN}\ntable: public.a\ncolumn: c\ntype: bigint\nup: c\ndown: c\n" +
		"ledger: {url: 'http://127.0.0.1:1', tenant: acme, trust_policy: job.yaml}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dsn := range []string{"postgres://u:hunter2@127.0.0.1:1/d", "postgres://u:hunter2@127.0.0.1:port/d", "host=127.0.0.1 port=1 password=hunter2", "password=hunter2 =", "postgres://u:hunter2@%zz"} {
		t.Setenv("DSN", dsn)
		for _, command := range []string{"plan", "run", "status", "report"} {
			code, out, messages := conductor(t, "backfill", command, file)
			if code != term.ExitFailed || strings.Contains(out+messages, "hunter2") {
				t.Errorf("%s with %s: exit code %d: %s%s", command, dsn, code, out, messages)
			}
		}
	}
}

// TestPrometheusVariable checks that the URL in a variable is in no message.
func TestPrometheusVariable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "job.yaml")
	text := "version: 1\nname: a\nentity: A\ndatabase: {dsn: 'host=127.0.0.1 port=1'}\ntable: public.a\ncolumn: c\ntype: bigint\nup: c\ndown: c\n" +
		"aca: {prometheus_env: METRICS, checks: [{name: a, kind: counter, query: x, per: y}]}\nledger: {url: 'http://127.0.0.1:1', tenant: acme, trust_policy: job.yaml}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"":                              "the environment variable METRICS, which aca.prometheus_env names, is not set",
		"http://u:hunter2@h:port":       "must contain an http or https URL",
		"http://u:hunter2@127.0.0.1:90": "connect to",
	} {
		t.Setenv("METRICS", url)
		code, out, messages := conductor(t, "backfill", "plan", file)
		if code != term.ExitFailed || !strings.Contains(messages, want) || strings.Contains(out+messages, "hunter2") {
			t.Errorf("exit code %d: %s%s", code, out, messages)
		}
	}
}

// TestExportFlags checks the addresses of metrics and traces, which appear in
// no message if they contain a secret.
func TestExportFlags(t *testing.T) {
	file := unreachable(t)
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--metrics-listen", "9481"}, "--metrics-listen: must be HOST:PORT, or :PORT for 127.0.0.1"},
		{[]string{"--metrics-listen", ":0"}, "metrics on http://127.0.0.1:"},
		{[]string{"--traces", "127.0.0.1:4318"}, "--traces: must be an http or https URL"},
		{[]string{"--traces", "http://u:hunter2@127.0.0.1:4318"}, "--traces: must not contain credentials"},
		{[]string{"--traces", "http://127.0.0.1:1/v1/traces", "--traces-sample", "2"}, "--traces-sample: must be from 0 to 1"},
	} {
		for _, command := range []string{"run", "validate"} {
			code, _, messages := conductor(t, append([]string{"backfill", command, file}, c.flags...)...)
			if code != term.ExitFailed || !strings.Contains(messages, c.want) || strings.Contains(messages, "hunter2") {
				t.Errorf("%s %q: exit code %d: %s", command, c.flags, code, messages)
			}
		}
	}
}

// TestTraces checks that the span of a command reaches the collector, also if
// the command fails, and without the message of the database.
func TestTraces(t *testing.T) {
	sent := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: not an export of spans: %v", r.URL.Path, err)
		}
		sent <- string(body)
	}))
	t.Cleanup(collector.Close)
	code, _, messages := conductor(t, "backfill", "cutover", unreachable(t), "--traces", collector.URL+"/v1/traces")
	if code != term.ExitFailed {
		t.Fatalf("exit code %d: %s", code, messages)
	}
	select {
	case spans := <-sent:
		if !strings.Contains(spans, "conductor backfill cutover") || !strings.Contains(spans, "muniment-conductor") || strings.Contains(spans, "127.0.0.1:1") {
			t.Errorf("spans: %q", spans)
		}
	default:
		t.Errorf("no span was sent: %s", messages)
	}
}

// unreachable returns the path of a job whose database does not answer.
func unreachable(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "job.yaml")
	text := "version: 1\nname: a\nentity: A\ndatabase: {dsn: 'postgres://u@127.0.0.1:1/d'}\ntable: public.a\ncolumn: c\ntype: bigint\nup: c\ndown: c\n" +
		"ledger: {url: 'http://127.0.0.1:1', tenant: acme, trust_policy: job.yaml}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

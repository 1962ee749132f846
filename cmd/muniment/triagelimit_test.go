package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/internal/soak"
)

// limitsText is a file of limits whose form must be kept.
const limitsText = `# the limits of acme are part of its contract
tenants:
  - name: acme
    limits: {requests_per_second:   1, request_burst: 1} # größer nur mit Vertrag
`

// TestTriageLimit changes a limit of a tenant of a running server, as triage
// does. The state is the file and the limit at which the server refuses calls.
func TestTriageLimit(t *testing.T) {
	soak.WithoutRace(t)
	bin := program(t)
	data := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command(bin, "init", data, "--origin", "ledger.test", "--tenant", "acme").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config, file := filepath.Join(data, datadir.ConfigFile), filepath.Join(data, "limits.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(config, strings.Replace(string(text), "  # file: limits.yaml\n", "  file: limits.yaml\n", 1))
	write(file, limitsText)
	token, err := os.ReadFile(filepath.Join(data, datadir.TokenDir, "acme.token"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(context.WithoutCancel(t.Context()), bin, "--data", data)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop(os.Interrupt)
	refused := regexp.MustCompile(`limit of (\d+) requests a second is reached`)
	// shown sends more calls at once than the limit allows.
	shown := func() (limit string) {
		var mu sync.Mutex // guards limit
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/muniment.v1.LedgerService/GetCheckpoint", strings.NewReader("{}"))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16)) // it is no refusal then
				if m := refused.FindSubmatch(body); m != nil {
					mu.Lock()
					defer mu.Unlock()
					limit = string(m[1])
				}
			})
		}
		calls.Wait()
		return limit
	}
	number := regexp.MustCompile(`requests_per_second: +(\d+)`)
	all, err := connector.Load([]byte(fmt.Sprintf("{version: 1, connectors: {ledger: {type: muniment_limit, file: %q}}}", file)))
	if err != nil {
		t.Fatal(err)
	}
	connectortest.Run(t, connectortest.Subject{
		Connector: all["ledger"], Target: "limit/acme/requests_per_second", Parameters: map[string]string{"value": "2"}, Wrong: map[string]string{"value": "0"},
		State: func(t *testing.T) string {
			t.Helper()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, got := string(number.FindSubmatch(text)[1]), ""
			for end := time.Now().Add(soak.Patience); got != want; got = shown() {
				if time.Now().After(end) {
					t.Fatalf("the server refuses calls at the limit %q, want %s\n%s", got, want, p.log)
				}
			}
			return string(text) + got
		},
		Change: func(*testing.T) { write(file, strings.Replace(limitsText, "   1,", " 3,", 1)) },
	})
	// What the server refuses changes nothing.
	write(file, strings.Replace(limitsText, "acme\n", "acne\n", 1))
	for end := time.Now().Add(soak.Patience); !strings.Contains(p.log.String(), "limits of tenants not replaced"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a file with an unknown tenant was not refused\n%s", p.log)
		}
	}
	if got := shown(); got != "3" {
		t.Errorf("after a file that is refused, the limit is %q, want 3", got)
	}
	if _, err := all["ledger"].Read(t.Context(), "limit/acme/requests_per_second"); err == nil || !strings.Contains(err.Error(), "no whole number requests_per_second of the tenant acme") {
		t.Errorf("a tenant without limits: %v", err)
	}
}

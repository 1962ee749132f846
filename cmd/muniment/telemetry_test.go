package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/soak"
)

// TestTraces runs the server beside a collector of OTLP over HTTP.
func TestTraces(t *testing.T) {
	spans := make(chan string, 64)
	c := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		var m collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &m) != nil {
			t.Errorf("%s: not an export of spans", r.URL.Path)
			return
		}
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					if strings.Contains(s.String(), "mnt_") {
						t.Error("a span holds a token")
					}
					spans <- s.Name
				}
			}
		}
	}))
	defer c.Close()
	bin := program(t)
	data := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command(bin, "init", data, "--origin", "ledger.test", "--tenant", "acme").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config := filepath.Join(data, datadir.ConfigFile)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append([]byte("telemetry: {traces: "+c.URL+"/v1/traces}\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(t.Context(), bin, "--data", data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "list", "--server", p.url, "--token-file", filepath.Join(data, datadir.TokenDir, "acme.token")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := p.stop(os.Interrupt); err != nil { // sends what is left
		t.Fatalf("%v\n%s", err, p.log)
	}
	for deadline := time.After(soak.Patience); ; {
		select {
		case name := <-spans:
			if name == "muniment.v1.LedgerService/ListEntries" {
				return
			}
		case <-deadline:
			t.Fatalf("no span of the call arrived\n%s", p.log)
		}
	}
}

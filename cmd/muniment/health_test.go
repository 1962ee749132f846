package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/soak"
)

// TestHealthUnderAttack holds every connection of the API from several
// addresses, one of which is the address of the monitoring. The health listener
// must still answer.
func TestHealthUnderAttack(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
	defer cancel()
	data := filepath.Join(t.TempDir(), "data")
	if out, err := exec.CommandContext(ctx, program(t), "init", data, "--origin", "ledger.test", "--tenant", "acme").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(data, datadir.ConfigFile)
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config = regexp.MustCompile(`connections: 8192`).ReplaceAll(config, []byte("connections: 4"))
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(ctx, program(t), "--data", data, "--health-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.stop(os.Interrupt) }() // it has been stopped
	for _, address := range []string{"127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		c, err := from.DialContext(ctx, "tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	get := func(url, token string) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
	if status, err := get(p.url+"/readyz", ""); err == nil {
		t.Errorf("not all connections are held: status %d", status)
	}
	operator, err := os.ReadFile(filepath.Join(data, datadir.OperatorDir, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	for path, token := range map[string]string{"/healthz": "", "/readyz": "", "/metrics": strings.TrimSpace(string(operator))} {
		if status, err := get(p.health+path, token); err != nil || status != http.StatusOK {
			t.Errorf("%s: status %d, %v", path, status, err)
		}
	}
	if err := p.stop(os.Interrupt); err != nil {
		t.Error(err)
	}
}

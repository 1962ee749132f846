package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/internal/term"
)

// jsonLines returns the objects of a log, each of which is a line.
func jsonLines(t *testing.T, name, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(text) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Errorf("%s: not a line of JSON: %q", name, line)
			continue
		}
		all = append(all, o)
	}
	return all
}

// has reports whether a line of the level has the text in its message.
func has(lines []map[string]any, level, text string) bool {
	for _, l := range lines {
		if msg, _ := l["msg"].(string); l["level"] == level && strings.Contains(msg, text) {
			return true
		}
	}
	return false
}

// TestJSONLog drives each server from its start to its end, with failures of
// its own, of callers and of libraries.
func TestJSONLog(t *testing.T) {
	bin := program(t)
	dir := t.TempDir()
	data, witness := filepath.Join(dir, "data"), filepath.Join(dir, "witness")
	for _, args := range [][]string{
		{"init", data, "--origin", "ledger.test", "--tenant", "acme"}, {"witness", "init", witness, "--name", "witness.test"},
	} {
		if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	selfSigned(t, dir)
	config, err := os.ReadFile(filepath.Join(data, datadir.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	with := func(lines string) {
		if err := os.WriteFile(filepath.Join(data, datadir.ConfigFile), append([]byte(lines), config...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	monitor := filepath.Join(dir, "monitor.yaml")
	text := "state: state\nlogs: [{name: ledger, url: 'http://127.0.0.1:1', policy: data/policy}]\n"
	if err := os.WriteFile(monitor, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	fails := func(name string, code int, says string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--log-format", "json")...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		_ = cmd.Run() // the exit code is compared
		lines := jsonLines(t, name, stderr.String())
		if got := cmd.ProcessState.ExitCode(); got != code || !has(lines, "ERROR", says) {
			t.Errorf("%s: exit code %d, want %d and an error with %q\n%s", name, got, code, says, stderr.String())
		}
	}
	fails("serve, port in use", term.ExitFailed, "in use", "serve", "--data", data, "--listen", busy)
	fails("witness, port in use", term.ExitFailed, "in use", "witness", "serve", "--data", witness, "--listen", busy)
	fails("monitor, port in use", term.ExitFailed, "in use", "monitor", monitor, "--listen", busy)
	fails("monitor without its file", term.ExitFailed, "no such file", "monitor", filepath.Join(dir, "none"))
	fails("mirror, no source", term.ExitFailed, "refused", "mirror", "http://127.0.0.1:1", "--data", filepath.Join(dir, "copy"), "--policy", filepath.Join(data, "policy"), "--once")
	fails("unknown flag", term.ExitFailed, "unknown flag", "serve", "--data", data, "--nothing")
	with("unknown_key: 1\n")
	fails("bad configuration", term.ExitFailed, "unknown_key", "serve", "--data", data)

	with("tls: {cert: ../cert.pem, key: ../key.pem}\n")
	p, err := startProcess(context.WithoutCancel(t.Context()), bin, "--data", data, "--log-format", "json", "--log-level", "debug")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.cmd.Process.Kill() }()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(conn).ReadString(0) // until the server hangs up
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if res, err := client.Post(p.url+"/muniment.v1.LedgerService/Append", "application/json", strings.NewReader("{")); err != nil {
		t.Error(err)
	} else {
		res.Body.Close()
	}
	if err := p.stop(os.Interrupt); err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
	lines := jsonLines(t, "serve", p.log.String())
	for _, want := range [][2]string{{"WARN", "rollback is not detectable"}, {"INFO", "the log is open"}, {"DEBUG", "TLS handshake error"}, {"INFO", "shutting down"}} {
		if !has(lines, want[0], want[1]) {
			t.Errorf("no line of level %s with %q\n%s", want[0], want[1], p.log)
		}
	}
}

// selfSigned writes cert.pem and key.pem.
func selfSigned(t *testing.T, dir string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"ledger.test"}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTPErrors(t *testing.T) {
	var text bytes.Buffer
	a := &term.App{Stderr: term.NewEscaper(&text)}
	hs := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("first line\nsecond line") }))
	hs.Config.ErrorLog = operate.HTTPErrors(a.NewLogger(true))
	hs.Start()
	if res, err := hs.Client().Get(hs.URL); err == nil {
		res.Body.Close()
		t.Error("a handler that panics has answered")
	}
	hs.Close() // waits for the connection, and so for its line
	if !has(jsonLines(t, "a panic", text.String()), "ERROR", "second line") {
		t.Errorf("the panic is not an error:\n%s", &text)
	}
	text.Reset()
	a.Level.Set(slog.LevelDebug)
	operate.HTTPErrors(a.NewLogger(true)).Print("http: Accept error: too many open files; retrying in 5ms")
	operate.HTTPErrors(a.NewLogger(true)).Print("http: TLS handshake error from 192.0.2.1:1: EOF")
	lines := jsonLines(t, "others", text.String())
	if !has(lines, "WARN", "Accept error") || !has(lines, "DEBUG", "handshake") {
		t.Errorf("wrong levels:\n%s", &text)
	}
}

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", soak.Patience, what)
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hangUp sends SIGHUP to the command, which runs in this process.
func hangUp(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// firing returns a message with an alert that fires since now.
func firing(service string) string {
	return `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"Errors","service":"` + service + `"},"startsAt":"` + time.Now().UTC().Format(time.RFC3339) + `"}]}`
}

// acted waits until the step was taken.
func acted(t *testing.T, dir string) {
	t.Helper()
	until(t, "the step", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "flags.json"))
		return err == nil && strings.Contains(string(text), `"defaultVariant": "on"`)
	})
}

// TestServeReload changes the files of the running command.
func TestServeReload(t *testing.T) {
	dir, args := triageFolder(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, file("inputs.yaml"), "{version: 1, json: {one: {name: /name, quiet: 1m}}}")
	args = append(args, "--inputs", file("inputs.yaml"))
	url, end := serve(t, args)
	reloads := func(result, n string) {
		t.Helper()
		hangUp(t)
		until(t, "a reload that is "+result, func() bool {
			_, text := fetchText(t, url+"/metrics")
			return strings.Contains(text, `muniment_triage_reloads_total{result="`+result+`"} `+n+"\n")
		})
	}
	want := func(path, token, body string, want int) {
		t.Helper()
		if status, text := send(t, url+path, token, body); status != want {
			t.Errorf("%s: status %d, want %d: %s", path, status, want, text)
		}
	}
	const first, second = "0123456789abcdef", "fedcba9876543210"
	want("/json/one", first, `{"name":"a"}`, 200)
	want("/json/two", first, `{"name":"a"}`, 404)

	writeFile(t, file("senders.yaml"), "alertmanager-b: {token: "+second+", messages_per_second: 500}\n")
	writeFile(t, file("inputs.yaml"), "{version: 1, json: {two: {name: /name, quiet: 1m}}}")
	reloads("loaded", "1")
	want("/json/two", first, `{"name":"a"}`, 401)
	want("/json/one", second, `{"name":"a"}`, 404)
	want("/json/two", second, `{"name":"a"}`, 200)

	writeFile(t, file("senders.yaml"), "alertmanager-b: short\n")
	writeFile(t, file("inputs.yaml"), "{version: 1, json: {one: {name: /name, quiet: 1m}}}")
	reloads("failed", "1")
	want("/json/two", second, `{"name":"a"}`, 200)
	writeFile(t, file("senders.yaml"), "alertmanager-b: "+second+"\n")

	// The open incident needs its connector, while the command runs and when it
	// starts.
	want("/alertmanager", second, firing("x"), 200)
	acted(t, dir)
	connectors, actions := "flags: {type", "connector: flags"
	rename := func(old, new string) {
		t.Helper()
		for name, edit := range map[string]string{"connectors.yaml": connectors, "actions.yaml": actions} {
			text, err := os.ReadFile(file(name))
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, file(name), strings.Replace(string(text), strings.Replace(edit, "flags", old, 1), strings.Replace(edit, "flags", new, 1), 1))
		}
	}
	rename("flags", "switches")
	reloads("refused", "1")
	const reason = ": connector flags, to undo step 1 on flag/a"
	if code, messages := end(); code != term.ExitOK || !strings.Contains(messages, "configuration not loaded; the previous one stays in force") || !strings.Contains(messages, reason) || strings.Contains(messages, second) {
		t.Errorf("exit code %d\n%s", code, messages)
	}
	code, _, messages := conductor(t, args...)
	if code != term.ExitFailed || !strings.Contains(messages, reason) || !strings.Contains(messages, "'conductor triage undo INCIDENT' closes one") {
		t.Errorf("a start without the connector: exit code %d\n%s", code, messages)
	}
	rename("switches", "flags")
	serve(t, args)
}

// certificateFiles writes a certificate for the address of this machine, with
// its key.
func certificateFiles(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, of, of, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// TestServeTLS sends alerts over TLS, and renews the certificate.
func TestServeTLS(t *testing.T) {
	dir, args := triageFolder(t)
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	certificateFiles(t, cert, key, 1)
	url, end := serve(t, append(args, "--tls-cert", cert, "--tls-key", key))
	post := func(change func(*tls.Config)) (*http.Response, error) {
		t.Helper()
		text, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		config := &tls.Config{RootCAs: x509.NewCertPool()}
		config.RootCAs.AppendCertsFromPEM(text)
		if change != nil {
			change(config)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/alertmanager", strings.NewReader(firing("x")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer 0123456789abcdef")
		res, err := client.Do(req)
		if err == nil {
			res.Body.Close()
		}
		return res, err
	}
	res, err := post(nil)
	if err != nil || res.StatusCode != http.StatusOK || res.ProtoMajor != 2 || res.TLS.Version != tls.VersionTLS13 {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := post(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
	if _, err := post(func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }); err == nil {
		t.Error("the certificate is one that a client does not trust")
	}
	acted(t, dir)

	certificateFiles(t, cert, key, 2)
	hangUp(t)
	until(t, "the renewed certificate", func() bool {
		res, err := post(nil)
		return err == nil && res.StatusCode == http.StatusOK && res.TLS.PeerCertificates[0].SerialNumber.Int64() == 2
	})
	renewed, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	certificateFiles(t, cert, filepath.Join(dir, "other.key"), 3) // with another key
	hangUp(t)
	any := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	until(t, "a reload that fails", func() bool {
		res, err := any.Get(url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		_, text := answer(t, res)
		return strings.Contains(text, `muniment_triage_reloads_total{result="failed"} 1`)
	})
	any.CloseIdleConnections()
	writeFile(t, cert, string(renewed))
	if res, err := post(nil); err != nil || res.TLS.PeerCertificates[0].SerialNumber.Int64() != 2 {
		t.Errorf("after a certificate without its key: %v", err)
	}
	if code, messages := end(); code != term.ExitOK {
		t.Errorf("exit code %d\n%s", code, messages)
	}
}

// TestServeTraces receives the traces of a decision and its step.
func TestServeTraces(t *testing.T) {
	var mu sync.Mutex // guards spans
	spans := map[string]*tracepb.Span{}
	c := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		var m collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &m) != nil {
			t.Errorf("%s: not an export of spans", r.URL.Path)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					spans[s.Name] = s
				}
			}
		}
		if text := m.String(); strings.Contains(text, "name-of-the-service") || strings.Contains(text, "0123456789abcdef") {
			t.Errorf("a span has a label of an alert or a token: %s", text)
		}
	}))
	defer c.Close()
	dir, args := triageFolder(t)
	url, end := serve(t, append(args, "--traces", c.URL+"/v1/traces"))
	if status, text := send(t, url+"/alertmanager", "0123456789abcdef", firing("name-of-the-service")); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	acted(t, dir)
	until(t, "the end of the step", func() bool {
		_, text := fetchText(t, url+"/metrics")
		return strings.Contains(text, `muniment_triage_steps_total{action="toggle",state="confirmed"} 1`)
	})
	if code, messages := end(); code != term.ExitOK { // sends what is left
		t.Fatalf("exit code %d\n%s", code, messages)
	}
	mu.Lock()
	defer mu.Unlock()
	decision, step := spans["triage decision"], spans["triage step"]
	if decision == nil || step == nil {
		t.Fatalf("spans %v, want a decision and a step", spans)
	}
	if string(step.TraceId) != string(decision.TraceId) || string(step.ParentSpanId) != string(decision.SpanId) || len(decision.ParentSpanId) > 0 {
		t.Errorf("the step is not part of the decision:\n%v\n%v", decision, step)
	}
	attributes := map[string]string{}
	for _, a := range append(decision.Attributes, step.Attributes...) {
		attributes[a.Key] = a.Value.GetStringValue()
	}
	if attributes["triage.type"] != "T" || !strings.HasPrefix(attributes["triage.incident"], "T/") || attributes["triage.target"] != "flag/a" || attributes["triage.state"] != "confirmed" {
		t.Errorf("attributes %v", attributes)
	}
}

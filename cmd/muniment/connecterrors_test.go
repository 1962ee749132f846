package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"muniment.dev/muniment/internal/term"
)

const sampleSecret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"

// listFrom runs "muniment list" and returns its messages.
func listFrom(t *testing.T, args ...string) string {
	t.Helper()
	return messageOf(t, append([]string{"list"}, args...)...)
}

// messageOf runs a command that fails, and returns its messages.
func messageOf(t *testing.T, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), io.Discard, &stderr); code != term.ExitFailed {
		t.Errorf("exit code %d, want %d", code, term.ExitFailed)
	}
	if strings.Contains(stderr.String(), sampleSecret) {
		t.Error("the message has the secret")
	}
	return stderr.String()
}

func clearEnvironment(t *testing.T) {
	for _, name := range []string{"MUNIMENT_SERVER", "MUNIMENT_TOKEN", "MUNIMENT_TOKEN_FILE", "MUNIMENT_IDENTITY_TOKEN", "MUNIMENT_CLIENT_CERT", "MUNIMENT_CLIENT_KEY", "MUNIMENT_CA", "MUNIMENT_TENANT"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
}

// The error for a failed connection names the user's mistake and its remedy.
func TestConnectionErrors(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("MUNIMENT_TOKEN", "mnt_acme_"+sampleSecret)
	dir := t.TempDir()
	quiet := func(s *httptest.Server) { s.Config.ErrorLog = log.New(io.Discard, "", 0) }
	now := time.Now()
	secure := func(name string, from, until time.Time, config *tls.Config) (server *httptest.Server, ca string) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, DNSNames: []string{"ledger.example"}, IPAddresses: []net.IP{net.ParseIP(name)},
			IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		ca = filepath.Join(dir, big.NewInt(time.Now().UnixNano()).String()+".pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		server = httptest.NewUnstartedServer(http.NotFoundHandler())
		quiet(server)
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
		server.TLS = config
		server.StartTLS()
		t.Cleanup(server.Close)
		return server, ca
	}
	answer := func(text string) string { // what is no HTTP server
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 1))
				_, _ = io.WriteString(c, text)
				_ = c.(*net.TCPConn).CloseWrite()
				go func() {
					_, _ = io.Copy(io.Discard, c)
					c.Close()
				}()
			}
		}()
		return l.Addr().String()
	}

	data := filepath.Join(dir, "data")
	if code := run(t.Context(), []string{"init", data, "--origin", "ledger.example", "--tenant", "acme"}, strings.NewReader(""), io.Discard, io.Discard); code != term.ExitOK {
		t.Fatalf("init: exit code %d", code)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	nginx := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "<html><center>The plain HTTP request was sent to HTTPS port</center></html>")
	}))
	t.Cleanup(nginx.Close)
	hour := time.Hour
	good, _ := secure("127.0.0.1", now.Add(-hour), now.Add(hour), &tls.Config{})
	elsewhere, elsewhereCA := secure("192.0.2.1", now.Add(-hour), now.Add(hour), &tls.Config{})
	expired, expiredCA := secure("127.0.0.1", now.Add(-2*hour), now.Add(-hour), &tls.Config{})
	early, earlyCA := secure("127.0.0.1", now.Add(hour), now.Add(2*hour), &tls.Config{})
	mutual, mutualCA := secure("127.0.0.1", now.Add(-hour), now.Add(hour), &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12})

	for _, c := range []struct{ name, server, ca, want string }{
		{"http to a port for TLS", strings.Replace(good.URL, "https:", "http:", 1), "", "The port speaks TLS: use https://"},
		{"http to nginx for TLS", nginx.URL, "", "The port speaks TLS: use https://"},
		{"http to a port that sends an alert", "http://" + answer("\x15\x03\x01\x00\x02\x02\x46"), "", "The port speaks TLS: use https://"},
		{"https to a plain port", strings.Replace(plain.URL, "http:", "https:", 1), "", "The port does not speak TLS: use http://"},
		{"https to another service", "https://" + answer("SSH-2.0-OpenSSH_9.9\r\n"), "", "The port does not speak TLS: use http://"},
		{"unknown authority", good.URL, "", "signed by an unknown authority: give the authority's certificate with --ca"},
		{"wrong authority", good.URL, elsewhereCA, "signed by an unknown authority: give the authority's certificate with --ca"},
		{"wrong host", elsewhere.URL, elsewhereCA, `The server's certificate is not for "127.0.0.1": use a name that it contains`},
		{"expired certificate", expired.URL, expiredCA, "has expired (valid until " + now.Add(-hour).UTC().Format(time.RFC3339) + "): renew it"},
		{"certificate of tomorrow", early.URL, earlyCA, "not valid before " + now.Add(hour).UTC().Format(time.RFC3339) + ": check this machine's clock"},
		{"client certificate required", mutual.URL, mutualCA, "check --client-cert and --client-key"},
		{"connection refused", "http://127.0.0.1:1", "", "The host refused the connection. Is the server running"},
		{"no such name", "http://ledger..example", "", "name in --server (or MUNIMENT_SERVER)."},
		{"path", good.URL + "/" + sampleSecret, "", `the URL has a path: use "` + good.URL + `"`},
		{"query", good.URL + "/?token=" + sampleSecret, "", `the URL has a query: use "` + good.URL + `"`},
		{"empty query", good.URL + "?", "", `the URL has a query: use "` + good.URL + `"`},
		{"fragment", good.URL + "#" + sampleSecret, "", `the URL has a fragment: use "` + good.URL + `"`},
		{"password", "https://acme:" + sampleSecret + "@ledger.example", "", "remove the user name or password"},
		{"token", "mnt_acme_" + sampleSecret, "", "the URL contains a token"},
		{"port only", "http://:7480", "", "not an http or https URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"--server", c.server}
			if c.ca != "" {
				args = append(args, "--ca", c.ca)
			}
			if got := listFrom(t, args...); !strings.Contains(got, c.want) {
				t.Errorf("message:\n%swant in it:\n%s", got, c.want)
			}
			if want, _, _ := strings.Cut(c.want, ": "); c.ca == "" && (strings.HasPrefix(want, "The port") || strings.HasPrefix(want, "signed by")) {
				if got := messageOf(t, "audit", c.server, "--policy", filepath.Join(data, "policy")); !strings.Contains(got, want) || strings.Contains(got, "--server") || strings.Contains(got, "when the log is reachable") {
					t.Errorf("message of audit:\n%swant in it:\n%s", got, want)
				}
			}
		})
	}
}

// inUTF16 returns the text as PowerShell writes it, with a byte order mark.
func inUTF16(text string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

// The error for a file without a token describes the file. Line ends around a
// token are ignored.
func TestTokenFiles(t *testing.T) {
	clearEnvironment(t)
	dir := t.TempDir()
	token := "mnt_acme_" + sampleSecret
	received := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case received <- r.Header.Get("Authorization"):
		default:
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	for _, c := range []struct{ name, text, want string }{
		{"one line", token, ""},
		{"CRLF", token + "\r\n", ""},
		{"trailing blanks", token + " \t\n\n", ""},
		{"empty", "", "it is empty"},
		{"blank", "\r\n", "it is empty"},
		{"two lines", token + "\n" + token + "\n", "it contains white space"},
		{"inner blank", token[:20] + " " + token[20:], "it contains white space"},
		{"byte order mark", "\ufeff" + token, "UTF-8 with a byte order mark"},
		{"UTF-16", string(inUTF16(token)), "encoded in UTF-16"},
		{"UTF-16 without a mark", string(inUTF16(token)[2:]), "encoded in UTF-16"},
		{"signing key", "PRIVATE+KEY+ledger.example+00000000+" + sampleSecret, "it is a private key"},
		{"PEM key", "-----BEGIN PRIVATE KEY-----\n" + sampleSecret + "\n-----END PRIVATE KEY-----\n", "it is a private key"},
		{"PEM certificate", "-----BEGIN CERTIFICATE-----\n" + sampleSecret + "\n-----END CERTIFICATE-----\n", "it is a PEM file"},
		{"stream key", strings.Repeat("5e", 32) + "\n", "it is a stream key"},
		{"operator's token", "mno_prometheus_" + sampleSecret, "it is an operator's token"},
		{"identity token", "eyJhbGciOiJub25lIn0." + sampleSecret + ".x", "--identity-token"},
		{"another token", "ghp_" + sampleSecret, "these begin with mnt_"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := listFrom(t, "--server", server.URL, "--token-file", path, "--tenant", "acme")
			sent := ""
			select {
			case sent = <-received:
			default:
			}
			if c.want == "" {
				if sent != "Bearer "+token {
					t.Errorf("the server did not receive the token; message:\n%s", got)
				}
				return
			}
			if sent != "" {
				t.Error("the server received what is no token")
			}
			if !strings.Contains(got, "--token-file: "+path) || !strings.Contains(got, c.want) {
				t.Errorf("message:\n%swant in it:\n%s", got, c.want)
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		if got := listFrom(t, "--token-file", dir); !strings.Contains(got, "--token-file: ") || !strings.Contains(got, "is a directory") {
			t.Errorf("message:\n%s", got)
		}
	})
	t.Run("policy", func(t *testing.T) {
		data := filepath.Join(dir, "data")
		if code := run(t.Context(), []string{"init", data, "--origin", "ledger.example"}, nil, io.Discard, io.Discard); code != term.ExitOK {
			t.Fatalf("init: exit code %d", code)
		}
		if got := listFrom(t, "--token-file", filepath.Join(data, "policy")); !strings.Contains(got, "it is a policy") {
			t.Errorf("message:\n%s", got)
		}
	})
	t.Run("environment", func(t *testing.T) {
		t.Setenv("MUNIMENT_TOKEN", "mno_prometheus_"+sampleSecret)
		if got := listFrom(t); !strings.Contains(got, "MUNIMENT_TOKEN: not a tenant's token: it is an operator's token") {
			t.Errorf("message:\n%s", got)
		}
	})
}

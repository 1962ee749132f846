package rekor_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/api/tsa"
	"muniment.dev/muniment/internal/soak"
)

// serveAll serves a log with a timestamp authority.
func serveAll(t *testing.T, delayed func()) (*rekor.Handler, string) {
	t.Helper()
	l := newLog(t)
	now := time.Now()
	key, chain, err := tsa.NewChain(origin, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	stamps, err := tsa.New(key, chain, func() (time.Time, error) { return now, nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h, err := rekor.NewHandler(rekor.Config{Ledger: l.ledger, Keys: describe(t, l).Keys, TSA: stamps, Logger: slog.New(slog.DiscardHandler), Delayed: delayed, Admit: everybody})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return h, srv.URL
}

// TestEveryRequestIsCounted checks that requests of each endpoint take a place
// of their address, and give it back.
func TestEveryRequestIsCounted(t *testing.T) {
	h, url := serveAll(t, nil)
	for path, kind := range map[string]string{"/api/v1/timestamp": "application/timestamp-query", "/api/v2/log/entries": "application/json"} {
		h.Book().SetLimits(limit.HeldLimits{limit.Public: {Owner: 3}})
		var stalled []net.Conn
		for range 3 {
			c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", path, kind)
			if line, err := textproto.NewReader(bufio.NewReader(c)).ReadLine(); err != nil || !strings.Contains(line, "100 Continue") {
				t.Fatalf("%s: got %q, %v", path, line, err)
			}
			stalled = append(stalled, c)
		}
		for _, other := range []string{"/api/v1/timestamp", "/api/v1/timestamp/certchain", "/api/v2/log/entries", "/api/v2/checkpoint", rekor.DescriptionPath} {
			method := http.MethodGet
			if other == "/api/v1/timestamp" || other == "/api/v2/log/entries" {
				method = http.MethodPost
			}
			if a := send(t, method, url+other, "{}"); a.status != http.StatusServiceUnavailable {
				t.Errorf("%s, while the address holds its places with %s: status %d", other, path, a.status)
			}
		}
		if a := send(t, "GET", url+"/healthz", ""); a.status != http.StatusOK {
			t.Errorf("a health check: status %d", a.status)
		}
		for _, c := range stalled {
			c.Close()
		}
		for end := time.Now().Add(soak.Patience); h.Book().Total(limit.Public) != 0; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("%s: %d places are still held", path, h.Book().Total(limit.Public))
			}
		}
	}
}

// TestFailedRequestsAreSlowed checks that an address whose requests fail over
// and over waits before its next ones are read.
func TestFailedRequestsAreSlowed(t *testing.T) {
	for _, path := range []string{"/api/v1/timestamp", "/api/v2/log/entries"} {
		var delayed atomic.Int64
		h, _ := serveAll(t, func() { delayed.Add(1) })
		for i := 0; delayed.Load() == 0; i++ {
			if i > 20_000 { // on a slow machine failures are forgiven meanwhile
				t.Fatalf("%s: no failed request has waited", path)
			}
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("{"))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code < 400 || w.Code >= 500 {
				body, _ := io.ReadAll(w.Body)
				t.Fatalf("%s: status %d: %s", path, w.Code, body)
			}
			if i < 100 && delayed.Load() != 0 {
				t.Fatalf("%s: a request waited after %d failures", path, i)
			}
		}
	}
}

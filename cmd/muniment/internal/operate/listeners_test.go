package operate

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/clients/go/monitor"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/ledger/witness/cosigner"
)

func call(h http.Handler, method, path, remote string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	r.RemoteAddr = remote
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestEveryRouteHasARow checks that the witness mounts exactly the routes of
// its table, and that a route without a row is refused.
func TestEveryRouteHasARow(t *testing.T) {
	w, err := cosigner.Open(cosigner.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	mounted := 0
	door := doors("witness")
	h := w.Handler(func(pattern string, next http.Handler) http.Handler {
		mounted++
		return door(pattern, next)
	})
	if mounted != len(routes["witness"]) {
		t.Errorf("the witness mounts %d routes, and its table has %d", mounted, len(routes["witness"]))
	}
	for _, c := range []struct {
		method, path, remote string
		body                 int
		status               int
	}{
		{"GET", "/healthz", "192.0.2.1:1", 0, 200},
		{"GET", "/metrics", "127.0.0.1:1", 0, 200},
		{"GET", "/metrics", "192.0.2.1:1", 0, 403},
		{"POST", "/add-checkpoint", "192.0.2.1:1", 32<<10 + 1, 413},
		{"POST", "/add-checkpoint", "192.0.2.1:1", 32 << 10, 400},
		{"POST", "/healthz", "192.0.2.1:1", 0, 405},
	} {
		if got := call(h, c.method, c.path, c.remote, bytes.NewReader(make([]byte, c.body))); got.Code != c.status {
			t.Errorf("%s %s of %s with %d bytes: %d, want %d", c.method, c.path, c.remote, c.body, got.Code, c.status)
		}
	}
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Forwarded", "for=192.0.2.1")
	forwarded := httptest.NewRecorder()
	if h.ServeHTTP(forwarded, r); forwarded.Code != 403 {
		t.Errorf("/metrics through a proxy: %d, want 403", forwarded.Code)
	}
	doors("monitor")("GET /metrics", monitor.NewMetrics().Handler())
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, "listeners.go has no row") {
			t.Errorf("a route without a row: %q", p)
		}
	}()
	doors("monitor")("GET /other", http.NotFoundHandler())
}

// TestDoors checks that the requests of one address leave places to others, on
// every route that needs a place, and that bodies are bounded.
func TestDoors(t *testing.T) {
	for listener, table := range routes {
		for pattern, rt := range table {
			if rt.local {
				continue
			}
			const greedy, other = "192.0.2.1:1", "192.0.2.2:1"
			served := map[string]int{}
			var h http.Handler
			ask := func(remote string) int {
				return call(h, "POST", "/", remote, bytes.NewReader(make([]byte, rt.body+1))).Code
			}
			h = doors(listener)(pattern, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				served[r.RemoteAddr]++
				if _, err := io.Copy(io.Discard, r.Body); !errors.As(err, new(*http.MaxBytesError)) {
					t.Errorf("%s %s: a body of more than %d bytes is read: %v", listener, pattern, rt.body, err)
				}
				// While this request is served, another one arrives.
				if r.RemoteAddr == greedy && served[greedy] < 200 && ask(greedy) == http.StatusServiceUnavailable && served[other] == 0 {
					ask(other)
				}
			}))
			ask(greedy)
			want := map[string]int{greedy: int(publicHolds[limit.Public].Owner), other: 1}
			if rt.free {
				want = map[string]int{greedy: 200}
			}
			if !maps.Equal(served, want) {
				t.Errorf("%s %s: served at once: %v, want %v", listener, pattern, served, want)
			}
		}
	}
}

// TestSlowSendersAreCutOff checks on every listener, over both versions of
// HTTP, that a body that does not arrive is not waited for.
func TestSlowSendersAreCutOff(t *testing.T) {
	const within = 50 * time.Millisecond
	for name, site := range sites {
		ends := make(chan error, 1)
		site.Connections, site.PlainHTTP2 = 8, true
		site.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			ends <- err
		})
		switch {
		case site.Body > 0:
			site.Body = within
		case name == "api": // the limits of its handler
			l := limit.New(limit.Config{RequestTimeout: within, Now: time.Now}, limit.Sizes{})
			site.Handler = l.Deadline(site.Handler)
		default:
			t.Errorf("%s: nothing bounds how long a body may take", name)
			continue
		}
		srv, err := edge.Listen("127.0.0.1:0", site)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		for _, h2 := range []bool{false, true} {
			tr := &http.Transport{Protocols: new(http.Protocols)}
			tr.Protocols.SetHTTP1(!h2)
			tr.Protocols.SetUnencryptedHTTP2(h2)
			r, w := io.Pipe()
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				if res, err := (&http.Client{Transport: tr}).Post(srv.URL, "text/plain", r); err == nil {
					res.Body.Close()
				}
			}()
			_, _ = w.Write([]byte("half")) // the server may have closed the connection
			// Over HTTP/2, the deadline of the API's answers also ends the
			// stream.
			if err := <-ends; err == nil || name != "api" && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: HTTP/2 is %v: a body that does not arrive ends with %v", name, h2, err)
			}
			w.Close()
			<-answered
			tr.CloseIdleConnections()
		}
	}
}

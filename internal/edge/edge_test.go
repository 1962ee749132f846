package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/soak"
)

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

// An address that opens many connections leaves room for others, and closing
// one frees its place.
func TestAddressesShareConnections(t *testing.T) {
	for _, c := range []struct{ max, greedy, alone int }{{100, 1, 50}, {100, 2, 33}, {100, 9, 10}, {1, 1, 1}, {3, 1, 1}} {
		l := Bound(nil, c.max)
		for range 200 {
			for i := range c.greedy {
				l.enter(fmt.Sprint(i))
			}
		}
		if got := l.of["0"]; got < c.alone || got > c.alone+1 {
			t.Errorf("%d greedy addresses of %d connections have %d each, want about %d", c.greedy, c.max, got, c.alone)
		}
		if c.max > 1 && !l.enter("newcomer") {
			t.Errorf("%d greedy addresses leave no room", c.greedy)
		}
		for address, n := range l.of {
			for range n {
				l.leave(address)
			}
		}
		if l.open != 0 || len(l.of) != 0 {
			t.Errorf("%d connections stay open", l.open)
		}
	}
}

// Lowering the limit closes no connections and refuses new ones. Raising it
// accepts connections again.
func TestSetMax(t *testing.T) {
	l := Bound(nil, 10)
	for i := range 10 {
		if !l.enter(fmt.Sprint(i)) {
			t.Fatalf("connection %d is refused", i)
		}
	}
	for _, c := range []struct {
		max  int
		want bool
	}{{10, false}, {5, false}, {20, true}} {
		l.SetMax(c.max)
		if got := l.enter("another"); got != c.want {
			t.Errorf("10 open, at most %d: accepted: %v", c.max, got)
		}
	}
	if l.Open() != 11 {
		t.Errorf("%d are open, want 11", l.Open())
	}
}

// TestProviderLeavesConnections checks that one IPv6 provider holds at most
// half of the connections, however many networks it uses.
func TestProviderLeavesConnections(t *testing.T) {
	l := Bound(nil, 100)
	for n := range 1000 {
		l.enter(fmt.Sprintf("2001:db8:%x:%x::/64", n>>4, n))
	}
	if l.Open() != 50 {
		t.Errorf("one provider has %d of 100 connections, want 50", l.Open())
	}
	for _, other := range []string{"2001:db9:1:1::/64", "192.0.2.1"} {
		if !l.enter(other) {
			t.Errorf("no room for %s", other)
		}
	}
	for address, n := range maps.Clone(l.of) {
		for range n {
			if strings.HasSuffix(address, "/64") || !strings.Contains(address, "/") {
				l.leave(address)
			}
		}
	}
	if l.Open() != 0 || len(l.of) != 0 {
		t.Errorf("%d connections and %d rows are left over", l.Open(), len(l.of))
	}
}

// Connections that send nothing, half a header or half a body are all counted,
// while health checks from another address are answered.
func TestHeldConnections(t *testing.T) {
	srv, err := Listen("127.0.0.1:0", Site{Connections: 40, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // it was cut off
		fmt.Fprint(w, "ok")
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	l := srv.Connections
	from := func(address string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		return d.DialContext(context.Background(), "tcp", strings.TrimPrefix(srv.URL, "http://"))
	}
	for i := range 60 {
		c, err := from("127.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// it may be refused
		_, _ = io.WriteString(c, []string{"", "GET / HTTP/1.1\r\nHost: localhost", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf"}[i%3])
	}
	await(t, "the rest to be refused", func() bool { return l.Refused() == 40 })
	if l.Open() != 20 {
		t.Errorf("%d connections of one address are open, want 20", l.Open())
	}
	c, err := from("127.0.0.3")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("a health check: %v, %v", res, err)
	}
}

func TestGuard(t *testing.T) {
	h := Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), []string{"ledger.example.com"})
	for _, c := range []struct {
		name, local, host string
		header            string // "name: value"
		status            int
	}{
		{"by address", "127.0.0.1:7480", "127.0.0.1:7480", "", 200},
		{"by name", "127.0.0.1:7480", "localhost:7480", "", 200},
		{"by a name in capitals", "127.0.0.1:7480", "LOCALHOST.", "", 200},
		{"IPv6", "[::1]:7480", "[::1]:7480", "", 200},
		{"a configured name", "127.0.0.1:7480", "ledger.example.com:7480", "", 200},
		{"rebinding", "127.0.0.1:7480", "evil.example:7480", "", 421},
		{"rebinding, a name that ends alike", "127.0.0.1:7480", "evil-localhost", "", 421},
		{"no name", "127.0.0.1:7480", "", "", 421},
		{"another address", "127.0.0.1:7480", "10.0.0.1", "", 421},
		{"a proxy", "127.0.0.1:7480", "public.example", "X-Forwarded-For: 192.0.2.1", 200},
		{"not this machine only", "192.0.2.7:7480", "public.example", "", 200},
		{"a page of another site", "192.0.2.7:7480", "public.example", "Sec-Fetch-Site: cross-site", 403},
		{"a page of another origin", "127.0.0.1:7480", "localhost", "Origin: http://evil.example", 403},
		{"a page of this origin", "127.0.0.1:7480", "localhost", "Origin: http://localhost", 200},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Host = c.host
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			r.Header.Set(name, value)
		}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.local))))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: status %d, want %d", c.name, w.Code, c.status)
		}
	}
}

func TestAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64", "[::1]:80": "::1", "[fe80::1%eth0]:80": "fe80::/64", "@": "?",
	} {
		if got := Address(remote); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

// A deadlineWriter notes the deadline for reading.
type deadlineWriter struct {
	http.ResponseWriter
	until time.Time
}

func (w *deadlineWriter) SetReadDeadline(t time.Time) error { w.until = t; return nil }

// TestArrivedBodyHasNoDeadline checks that the deadline of a body is set before
// it is read and lifted afterwards, so that it does not end the work on it.
func TestArrivedBodyHasNoDeadline(t *testing.T) {
	h := arriving(time.Hour, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := w.(*deadlineWriter)
		if d.until.IsZero() {
			t.Error("no deadline while the body arrives")
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil || !d.until.IsZero() {
			t.Errorf("after the body: deadline %s, %v", d.until, err)
		}
	}))
	h.ServeHTTP(&deadlineWriter{ResponseWriter: httptest.NewRecorder()}, httptest.NewRequest("POST", "/", strings.NewReader("whole")))
}

package rekor_test

import (
	"bufio"
	"crypto"
	"crypto/elliptic"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/api/rekor"
)

// stall sends the head of a request and returns when the server waits for its
// body.
func stall(t *testing.T, url string, length int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST /api/v2/log/entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", length)
	buffered := bufio.NewReader(conn) // the final response may come along
	r := textproto.NewReader(buffered)
	line, err := r.ReadLine()
	if err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, %v", line, err)
	}
	return stalled{conn, buffered}
}

// A stalled client has read its first response in part.
type stalled struct {
	net.Conn
	r io.Reader
}

func (s stalled) Read(p []byte) (int, error) { return s.r.Read(p) }

// TestSlowSendersHoldUpNobody checks that slow senders delay no other request:
// while more requests than may be at work have half arrived, another is
// answered.
func TestSlowSendersHoldUpNobody(t *testing.T) {
	l := newLog(t)
	for range 300 {
		stall(t, l.url, 100)
	}
	send(t, "POST", l.url+"/api/v2/log/entries", sign(ecdsaKey(elliptic.P256()), crypto.SHA256, p256, "a").String()).entry(t)
}

// The server stops waiting for a body that does not arrive, and records no part
// of it.
func TestSlowSendersAreCutOff(t *testing.T) {
	l := newLog(t)
	h, err := rekor.NewHandler(rekor.Config{Ledger: l.ledger, Keys: describe(t, l).Keys, Logger: slog.New(slog.DiscardHandler), Arrival: time.Millisecond, Admit: everybody})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, length := range []int{100, 100_000} {
		// until the server closes the connection
		answer, err := io.ReadAll(stall(t, srv.URL, length))
		if err != nil || !strings.Contains(string(answer), "408 Request Timeout") {
			t.Errorf("%d bytes: got %q, %v", length, answer, err)
		}
	}
	if size := l.ledger.Published().Size; size != 0 {
		t.Errorf("%d entries were recorded", size)
	}
}

// The size limit applies to every spelling of a path that Rekor accepts.
func TestSpellingsOfThePath(t *testing.T) {
	ours, theirs := newLog(t), startPeer(t)
	key := ecdsaKey(elliptic.P256())
	for _, path := range []string{"/api/v2/log/%65ntries", "/api/v2/log%2Fentries", "/api/v2/log/entries:", "/api/v2/log/entries:x", "/api/v2/log/entries/", "/api/v2/log/entries?x=1"} {
		good := sign(key, crypto.SHA256, p256, path).String()
		a, b := send(t, "POST", ours.url+path, good), send(t, "POST", theirs.URL+path, good)
		if a.status != b.status {
			t.Errorf("%s: we answer %s, Rekor %s", path, a, b)
		}
		large := strings.Replace(good, `{"digest"`, `{"digest":"`+strings.Repeat("A", 300_000)+`","digest"`, 1)
		if a := send(t, "POST", ours.url+path, large); a.status != http.StatusBadRequest && a.status != http.StatusNotFound || a.status == http.StatusBadRequest && !strings.Contains(string(a.body), "too large") {
			t.Errorf("%s, 300 KB: we answer %.300s", path, a)
		}
	}
}

// One address holds at most half of the places for large requests.
func TestLargeRequestsOfOneAddress(t *testing.T) {
	l := newLog(t)
	for range 32 {
		stall(t, l.url, 100_000)
	}
	good := sign(ecdsaKey(elliptic.P256()), crypto.SHA256, p256, "a").String()
	if a := send(t, "POST", l.url+"/api/v2/log/entries", strings.Replace(good, `{"digest"`, `{"digest":"`+strings.Repeat("A", 20_000)+`","digest"`, 1)); a.status != http.StatusServiceUnavailable {
		t.Errorf("one more large request: we answer %.300s", a)
	}
	send(t, "POST", l.url+"/api/v2/log/entries", good).entry(t)
}

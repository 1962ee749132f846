package admission

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A slowBody begins to arrive when it is first read, and ends with the test.
type slowBody struct{ begun, end chan struct{} }

func newSlowBody(end chan struct{}) *slowBody { return &slowBody{make(chan struct{}), end} }

func (b *slowBody) Read([]byte) (int, error) {
	close(b.begun)
	<-b.end
	return 0, io.ErrUnexpectedEOF
}

// TestSlowClients checks that a Pod that sends its requests slowly does not
// keep the API server from being answered.
func TestSlowClients(t *testing.T) {
	h := start(t, newGate())
	end := make(chan struct{})
	send := func(address, path string, body io.Reader, size int64) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body)
		r.RemoteAddr, r.ContentLength = address, size
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.Webhook(PathValidate).ServeHTTP(w, r)
		return w.Code
	}
	done := make(chan int, 2)
	for _, address := range []string{"10.0.0.66:1", "10.0.0.67:1"} {
		size := int64(MaxReview)
		if strings.Contains(address, "67") {
			size /= 4
		}
		b := newSlowBody(end)
		go func() { done <- send(address, PathValidate, b, size) }()
		<-b.begun
		again := newSlowBody(end)
		if code := send(address, PathValidate+"?timeout=50ms", again, MaxReview); code != http.StatusServiceUnavailable {
			t.Errorf("another request of %s: status %d, want 503", address, code)
		}
		select {
		case <-again.begun:
			t.Errorf("the other request of %s holds memory", address)
		default:
		}
	}
	review := (&call{operation: "CREATE", namespace: "shop", object: podOf(good)}).body()
	if code := send("10.0.0.1:1", PathValidate, strings.NewReader(review), int64(len(review))); code != http.StatusOK {
		t.Errorf("the API server: status %d", code)
	}
	close(end)
	for range 2 {
		<-done
	}
	if _, err := h.bodies.take(t.Context(), "10.0.0.1", maxBodies/2); err != nil || len(h.bodies.of) != 1 {
		t.Errorf("memory is not given back: %v, %v", err, h.bodies.of)
	}
}

// TestPool checks the share of an address.
func TestPool(t *testing.T) {
	p := newPool(32)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		address string
		n       int64
		ok      bool
	}{{"a", 17, false}, {"a", 16, true}, {"a", 1, false}, {"b", 9, false}, {"b", 8, true}, {"c", 4, true}, {"d", 2, true}, {"d", 1, false}} {
		_, err := p.take(ended, c.address, c.n)
		if (err == nil) != c.ok {
			t.Errorf("%s takes %d: %v", c.address, c.n, err)
		}
	}
	p.give("a", 16)
	if _, err := p.take(ended, "b", 1); err != nil {
		t.Errorf("after bytes were given back: %v", err)
	}
}

package pgstore

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"muniment.dev/muniment/internal/peers/bucketrig"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// testRequests counts the requests for a payload of three pieces. The costs in
// docs/scale-out.md are these numbers times the price.
func testRequests(t *testing.T, rig *bucketrig.Rig) {
	counts, address := countRequests(t, rig.Address)
	location, _ := inBucket(t, rig, address)
	s := openAt(t, location)
	src, m := storetest.NewSource(36), storetest.NewModel()
	expect := func(what string, want map[string]int) {
		t.Helper()
		if got := counts.take(); !maps.Equal(got, want) {
			t.Errorf("%s: requests %v, want %v", what, got, want)
		}
	}
	expect("open", map[string]int{"HEAD": 1})
	w := spool(t, s, 2*pieceSize+1)
	l, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	expect("write", map[string]int{"PUT": 3, "HEAD": 3})
	c := src.Next(1)
	c.Entries[0].Payload.Content, c.Entries[0].Large = nil, &l
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	m.Commit(c)
	expect("commit", map[string]int{})
	r, err := s.OpenPayload(t.Context(), 0)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	expect("read", map[string]int{"GET": 3})
	if err := errors.Join(s.Erase(t.Context(), []store.Erasure{{Index: 0}}), s.Purge(t.Context())); err != nil {
		t.Fatal(err)
	}
	expect("erase and purge", map[string]int{"GET": 1, "DELETE": 3})
}

// requests are counted by method.
type requests struct {
	mu     sync.Mutex
	counts map[string]int
}

func (r *requests) take() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.counts
	r.counts = map[string]int{}
	return counts
}

// countRequests returns a proxy of the storage that counts requests, and its
// address.
func countRequests(t *testing.T, storage string) (*requests, string) {
	counts := &requests{counts: map[string]int{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		counts.mu.Lock()
		counts.counts[p.In.Method]++
		counts.mu.Unlock()
		p.SetURL(&url.URL{Scheme: "http", Host: storage})
		p.Out.Host = p.In.Host // which is signed
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: proxy}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return counts, l.Addr().String()
}

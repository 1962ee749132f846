package api_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// TestRapidReset opens and resets many streams on HTTP/2 connections, as in
// CVE-2023-44487. A connection never has more handlers at work than it may have
// streams, nothing stays held, and another tenant's append succeeds.
func TestRapidReset(t *testing.T) {
	ts := newServer(t)
	handler := ts.api.Handler()
	var running, most atomic.Int64
	srv, err := edge.Listen("127.0.0.1:0", edge.Site{Connections: 8, PlainHTTP2: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		handler.ServeHTTP(w, r)
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()

	goroutines := runtime.NumGoroutine()
	for _, path := range []string{
		munimentv1connect.LedgerServiceAppendProcedure,
		munimentv1connect.LedgerServiceAppendStreamProcedure,
		munimentv1connect.LedgerServiceWatchEntriesProcedure,
		munimentv1connect.IdentityServiceExchangeTokenProcedure,
	} {
		most.Store(0)
		resets := resetStreams(t, strings.TrimPrefix(srv.URL, "http://"), path, acmeToken, 2000)
		if _, err := ts.client(globexToken).Append(context.Background(), request("globex", "meanwhile")); err != nil {
			t.Errorf("%s: another tenant's append: %v", path, err)
		}
		if resets == 0 {
			t.Errorf("%s: no stream was opened", path)
		}
		await(t, path+": every handler to end", func() bool { return running.Load() == 0 })
		if n := most.Load(); n > edge.MaxStreams {
			t.Errorf("%s: %d handlers at once for %d streams", path, n, resets)
		}
		for _, r := range limit.All() {
			if n := ts.api.Book().Total(r); n != 0 {
				t.Errorf("%s: %d %s stay held", path, n, r)
			}
		}
	}
	if n := runtime.NumGoroutine(); n > goroutines+200 {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
}

// resetStreams opens n streams on one connection, each with a call whose body
// has only begun, and resets each at once. It returns how many it opened before
// the server closed the connection.
func resetStreams(t *testing.T, address, path, token string, n int) int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(conn, conn)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { // the server must not wait for its answers to be read
		for {
			if _, err := f.ReadFrame(); err != nil {
				ended <- err
				return
			}
		}
	}()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := range n {
		block.Reset()
		for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "localhost"}, {":path", path},
			{"authorization", "Bearer " + token}, {"content-type", contentTypeOf(path)}} {
			if err := enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
				t.Fatal(err)
			}
		}
		id := uint32(2*i + 1)
		err := errors.Join(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}),
			f.WriteRSTStream(id, http2.ErrCodeCancel))
		select {
		case <-ended:
			return i
		default:
		}
		if err != nil {
			return i
		}
	}
	// The server's answer to this frame shows that it has handled the earlier
	// ones.
	_ = f.WritePing(false, [8]byte{1})
	conn.(*net.TCPConn).CloseWrite()
	<-ended
	return n
}

// contentTypeOf returns the content type of a call in the Connect protocol.
func contentTypeOf(path string) string {
	if strings.HasSuffix(path, "Stream") || strings.HasSuffix(path, "WatchEntries") {
		return "application/connect+proto"
	}
	return "application/proto"
}

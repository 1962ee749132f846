package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// startWatch begins to watch, waits until the caller has caught up, and returns
// the messages received until then.
func startWatch(t *testing.T, c munimentv1connect.LedgerServiceClient, tenant string, f *munimentv1.Filter, from uint64) (*connect.ServerStreamForClient[munimentv1.WatchEntriesResponse], []uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := c.WatchEntries(ctx, connect.NewRequest(&munimentv1.WatchEntriesRequest{Tenant: tenant, FromIndex: from, Filter: f}))
	if err != nil {
		t.Fatal(err)
	}
	var seen []uint64
	for stream.Receive() {
		m := stream.Msg()
		if m.Entry == nil {
			return stream, seen
		}
		if m.NextIndex != m.Entry.Index+1 {
			t.Errorf("after entry %d the next index is %d", m.Entry.Index, m.NextIndex)
		}
		seen = append(seen, m.Entry.Index)
	}
	t.Fatalf("the stream ended: %v", stream.Err())
	return nil, nil
}

// watched returns the indexes that a watcher from an index is sent until it has
// caught up.
func watched(t *testing.T, c munimentv1connect.LedgerServiceClient, tenant string, f *munimentv1.Filter, from uint64) []uint64 {
	t.Helper()
	stream, seen := startWatch(t, c, tenant, f, from)
	go stream.Close() // the server does not end it
	return seen
}

// next returns the index of the next entry that the watcher is sent.
func next(t *testing.T, stream *connect.ServerStreamForClient[munimentv1.WatchEntriesResponse]) uint64 {
	t.Helper()
	for stream.Receive() {
		if e := stream.Msg().Entry; e != nil {
			return e.Index
		}
	}
	t.Fatalf("the stream ended: %v", stream.Err())
	return 0
}

func TestWatch(t *testing.T) {
	for name, opts := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()}} {
		t.Run(name, func(t *testing.T) {
			ts := newServer(t)
			c := ts.client(acmeToken, opts...)
			empty, seen := startWatch(t, c, "acme", nil, 0)
			if len(seen) != 0 {
				t.Fatalf("of an empty log: %v", seen)
			}
			for i := range 5 {
				ts.append("globex", fmt.Sprint("globex's ", i))
				if want, got := ts.append("acme", fmt.Sprint("acme's ", i)).Index, next(t, empty); got != want {
					t.Errorf("a new entry: got %d, want %d", got, want)
				}
			}
			for from, want := range map[uint64][]uint64{0: {1, 3, 5, 7, 9}, 1: {1, 3, 5, 7, 9}, 2: {3, 5, 7, 9}, 9: {9}, 10: nil} {
				if _, seen := startWatch(t, c, "acme", nil, from); !slices.Equal(seen, want) {
					t.Errorf("from %d: got %v, want %v", from, seen, want)
				}
			}
			// beyond the log: begins when the log reaches it
			ahead, _ := startWatch(t, c, "acme", nil, 11)
			filtered, seen := startWatch(t, c, "acme", &munimentv1.Filter{Kind: "backfill-checkpoint"}, 0)
			if len(seen) != 0 {
				t.Errorf("by kind: %v", seen)
			}
			ts.append("acme", "at 10")
			ts.append("acme", "at 11")
			if got := next(t, ahead); got != 11 {
				t.Errorf("from 11, before the log was there: got %d", got)
			}
			event := &munimentv1.Submission{Kind: "backfill-checkpoint", IdempotencyKey: "k", Payload: []byte(`{"entity":"Asset","checkpoint":"50%","acaScore":0.96,"ts":"2026-04-19T12:00Z","rollbackReady":true}`)}
			if err := submit(event)(context.Background(), c); err != nil {
				t.Fatal(err)
			}
			if got := next(t, filtered); got != 12 {
				t.Errorf("by kind: got %d", got)
			}

			ts.api.Drain()
			for _, stream := range []*connect.ServerStreamForClient[munimentv1.WatchEntriesResponse]{empty, ahead, filtered} {
				for stream.Receive() {
				}
				wantCode(t, "the end of the stream", stream.Err(), connect.CodeUnavailable, "")
			}
			ts.append("acme", "calls still work while draining")
		})
	}
}

// A tenant has a bounded number of watchers. They hold few of its bytes, and
// none of other tenants.
func TestManyWatchers(t *testing.T) {
	ts := newServer(t, func(_ *ledger.Config, ac *api.Config) {
		ac.Held[limit.Bytes].Total = 1 // as much as the largest request, then
		ac.Held[limit.Watchers] = limit.HeldLimit{Total: 60, Owner: 40}
	})
	c := munimentv1connect.NewLedgerServiceClient(&http.Client{Transport: unknownLength{ts.h2.Transport}}, ts.url, connect.WithGRPC(), connect.WithInterceptors(bearer(acmeToken)))
	for range 40 {
		startWatch(t, c, "acme", nil, 0)
	}
	err := watch(&munimentv1.WatchEntriesRequest{})(context.Background(), ts.client(acmeToken))
	wantCode(t, "one watcher more", err, connect.CodeResourceExhausted, "")
	startWatch(t, ts.client(globexToken), "globex", nil, 0)
	if n := ts.api.Book().Total(limit.Bytes); n > 41<<16 {
		t.Errorf("41 watchers hold %d bytes", n)
	}
	if _, err := c.Append(context.Background(), request("acme", "still taken")); err != nil {
		t.Error(err)
	}
}

// unknownLength sends requests without saying how long they are, as other
// clients of gRPC do.
type unknownLength struct{ http.RoundTripper }

func (u unknownLength) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.ContentLength = -1
	return u.RoundTripper.RoundTrip(r)
}

// A stream may be idle for longer than a request may take, and over HTTP/1.1
// the deadline of the call before it on the same connection is over.
func TestIdleStreamOutlivesDeadlines(t *testing.T) {
	const timeout = time.Second
	ts := newServer(t, func(_ *ledger.Config, ac *api.Config) { ac.RequestTimeout = timeout })
	streams := map[string]*connect.ServerStreamForClient[munimentv1.WatchEntriesResponse]{}
	for name, hc := range map[string]*http.Client{"HTTP/1.1": ts.h1, "HTTP/2": ts.h2} {
		c := munimentv1connect.NewLedgerServiceClient(hc, ts.url, connect.WithInterceptors(bearer(acmeToken)))
		if _, err := c.Append(context.Background(), request("acme", "first")); err != nil {
			t.Fatal(err)
		}
		stream, seen := startWatch(t, c, "acme", nil, 0)
		if !slices.Equal(seen, []uint64{0}) {
			t.Fatalf("%s: got %v", name, seen)
		}
		streams[name] = stream
	}
	<-time.After(timeout + timeout/2) // every deadline that was set lies before
	ts.append("acme", "second")
	for name, stream := range streams {
		if got := next(t, stream); got != 1 {
			t.Errorf("%s: got %d", name, got)
		}
	}
}

// An entry wakes only the watchers of its own stream. The ledger's publish path
// wakes one goroutine, whatever the number of watchers.
func TestOthersEntriesWakeNoWatcher(t *testing.T) {
	ts := newServer(t)
	var streams []*connect.ServerStreamForClient[munimentv1.WatchEntriesResponse]
	for range 20 {
		stream, _ := startWatch(t, ts.client(acmeToken), "acme", nil, 0)
		streams = append(streams, stream)
	}
	other, _ := startWatch(t, ts.client(globexToken), "globex", nil, 0)
	for i := range 50 {
		ts.append("globex", fmt.Sprint("of another tenant ", i))
	}
	for i := range 50 {
		if got := next(t, other); got != uint64(i) {
			t.Fatalf("got %d, want %d", got, i)
		}
	}
	if n := ts.api.Wakes(); n > 50 {
		t.Errorf("%d watchers were woken by 50 entries that one watcher waits for", n)
	}
	before := ts.api.Wakes()
	a := ts.append("acme", "at last")
	for _, stream := range streams {
		if got := next(t, stream); got != a.Index {
			t.Errorf("got %d, want %d", got, a.Index)
		}
	}
	if n := ts.api.Wakes() - before; n != 20 {
		t.Errorf("%d watchers were woken, want 20", n)
	}
}

package api_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestReloadSizes checks that a reload brings the largest payloads in force, in
// every way in which one arrives.
func TestReloadSizes(t *testing.T) {
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.MaxPayload, c.MaxStream = 1<<20, 4<<20 })
	ways := map[string]func(payload []byte) error{
		"gRPC": func(p []byte) error {
			_, err := ts.client(acmeToken, connect.WithGRPC()).Append(context.Background(), request("acme", string(p)))
			return err
		},
		"gRPC, compressed": func(p []byte) error {
			_, err := ts.client(acmeToken, connect.WithGRPC(), connect.WithSendGzip()).Append(context.Background(), request("acme", string(p)))
			return err
		},
		"Connect, compressed": func(p []byte) error {
			_, err := ts.client(acmeToken, connect.WithSendGzip()).Append(context.Background(), request("acme", string(p)))
			return err
		},
		"a batch": func(p []byte) error {
			res, err := ts.client(acmeToken).AppendBatch(context.Background(), connect.NewRequest(&munimentv1.AppendBatchRequest{
				Tenant: "acme", Submissions: []*munimentv1.Submission{request("acme", string(p)).Msg.Submission}}))
			if err == nil && res.Msg.Results[0].GetError() != nil {
				err = connect.NewError(connect.CodeInvalidArgument, nil)
			}
			return err
		},
		"a stream": func(p []byte) error {
			_, err := sendStream(ts.client(acmeToken), streamHeader(), bytes.Repeat(p, 4))
			return err
		},
	}
	check := func(when string, size int, accepted bool) {
		t.Helper()
		for way, send := range ways {
			err := send(bytes.Repeat([]byte{byte('a' + len(way)%26)}, size))
			if (err == nil) != accepted {
				t.Errorf("%s, %s: %d bytes: %v, want accepted: %v", when, way, size, err, accepted)
			}
		}
	}
	check("before", 1<<20-8, true)
	check("before", 2<<20, false)
	ts.reload(func(s *api.Settings) { s.MaxPayload, s.MaxStream = 3<<20, 9<<20 })
	check("raised", 2<<20, true)
	check("raised", 4<<20, false)
	ts.reload(func(s *api.Settings) { s.MaxPayload, s.MaxStream = 1000, 4000 })
	check("lowered", 999, true)
	check("lowered", 1001, false)
}

// TestReloadHolds checks that a reload brings the limits of what callers hold
// in force.
func TestReloadHolds(t *testing.T) {
	ts := newServer(t)
	read := func() connect.Code {
		_, err := ts.client(acmeToken).GetStreamHead(context.Background(), connect.NewRequest(&munimentv1.GetStreamHeadRequest{Tenant: "acme"}))
		if err == nil {
			return 0
		}
		return connect.CodeOf(err)
	}
	hold := ts.api.Book().Open("acme")
	defer hold.Release()
	if err := hold.Take(limit.Calls, 10); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != 0 {
		t.Errorf("with the default limits: %s", got)
	}
	ts.reload(func(s *api.Settings) { s.Held[limit.Calls] = limit.HeldLimit{Total: 100, Owner: 10} })
	if got := read(); got != connect.CodeResourceExhausted {
		t.Errorf("with a lower limit: %s", got)
	}
	if got, want := ts.api.Book().Limits()[limit.Watchers], limit.DefaultHeld()[limit.Watchers]; got != want {
		t.Errorf("a limit that is not set is %v, want %v", got, want)
	}
	ts.reload(func(s *api.Settings) { s.Held = limit.HeldLimits{} })
	if got := read(); got != 0 {
		t.Errorf("with the default limits again: %s", got)
	}
}

// TestReloadPublicLog checks that a reload opens and closes the public log.
func TestReloadPublicLog(t *testing.T) {
	ts := newServer(t)
	ts.append("acme", "a")
	for _, public := range []bool{true, false, true} {
		ts.reload(func(s *api.Settings) { s.PublicTlog = public })
		a := ts.do(ts.h1, "GET", "/tlog/checkpoint", "", nil, nil)
		if (a.status == http.StatusOK) != public {
			t.Errorf("public %v: status %d", public, a.status)
		}
		if scope := a.header.Get("Cache-Control"); public && !strings.HasPrefix(scope, "public") {
			t.Errorf("public: Cache-Control %q", scope)
		}
		if a := ts.do(ts.h1, "GET", "/tlog/checkpoint", acmeToken, nil, nil); a.status != http.StatusOK {
			t.Errorf("with a token: status %d", a.status)
		}
	}
}

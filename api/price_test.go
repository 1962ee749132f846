package api_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A message over the limit is inflated only up to the limit of its call. The
// data after that is damaged, and no error mentions the damage.
func TestInflationStops(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	bomb := gzipped(t, protowire.AppendBytes(protowire.AppendTag(nil, 999, protowire.BytesType), make([]byte, 64<<20)))
	bomb = append(bomb[:len(bomb)*9/10:len(bomb)*9/10], "damaged"...)
	eachMethod(t, func(m protoreflect.MethodDescriptor, path string, request []byte) {
		carries := strings.HasSuffix(path, "/Append") || strings.HasSuffix(path, "/AppendBatch") || strings.HasSuffix(path, "/SetPolicy")
		for protocol, header := range map[string]map[string]string{
			"connect stream": {"Content-Type": "application/connect+proto", "Connect-Content-Encoding": "gzip"},
			"gRPC":           {"Content-Type": "application/grpc", "Grpc-Encoding": "gzip", "Te": "trailers"},
			"gRPC-Web":       {"Content-Type": "application/grpc-web+proto", "Grpc-Encoding": "gzip"},
		} {
			if streams := m.IsStreamingClient() || m.IsStreamingServer(); !streams && protocol == "connect stream" || carries {
				continue
			}
			a := ts.do(ts.h2, "POST", path, acmeToken, header, bytes.NewReader(envelope(true, bomb)))
			all := a.body + a.header.Get("Grpc-Message")
			for _, v := range a.trailer {
				all += strings.Join(v, "")
			}
			if strings.Contains(all, "unable to determine") || strings.Contains(all, "flate") || strings.Contains(all, "unexpected EOF") {
				t.Errorf("%s over %s: the message was inflated beyond its limit: %.300s", path, protocol, all)
			}
		}
	})
}

// stopped returns a clock that does not move, so that a slow machine forgives
// no failures.
func stopped(at time.Time) func() time.Time { return func() time.Time { return at } }

// delayed returns how many calls have waited because others of the same caller
// failed.
func (ts *testServer) delayed() int {
	ts.t.Helper()
	for line := range strings.Lines(ts.do(ts.h1, "GET", "/metrics", operatorToken, nil, nil).body) {
		if v, ok := strings.CutPrefix(line, "muniment_delayed_calls_total "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				ts.t.Fatal(err)
			}
			return n
		}
	}
	ts.t.Fatal("no muniment_delayed_calls_total")
	return 0
}

// The next requests of a tenant whose calls fail repeatedly wait before they
// are read, whatever the failure. Other tenants' requests do not.
func TestFailedCallsAreSlowed(t *testing.T) {
	const free = 200 // failures at once
	connectStream := map[string]string{"Content-Type": "application/connect+proto", "Connect-Content-Encoding": "gzip"}
	bomb := envelope(true, gzipped(t, make([]byte, 1<<20)))
	for name, fail := range map[string]func(ts *testServer){
		"malformed": func(ts *testServer) {
			ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceGetEntryProcedure, acmeToken, map[string]string{"Content-Type": "application/proto"}, strings.NewReader("\xff"))
		},
		"invalid": func(ts *testServer) {
			ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceGetEntryProcedure, acmeToken, map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{"tenant":"/"}`))
		},
		"another tenant": func(ts *testServer) {
			ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceGetStreamHeadProcedure, acmeToken, map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{"tenant":"globex"}`))
		},
		"inflating stream": func(ts *testServer) {
			ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceWatchEntriesProcedure, acmeToken, connectStream, bytes.NewReader(bomb))
		},
		"too large": func(ts *testServer) {
			ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceGetEntryProcedure, acmeToken, map[string]string{"Content-Type": "application/json"}, bytes.NewReader(make([]byte, 70<<10)))
		},
		"wrong role": func(ts *testServer) {
			ts.do(ts.h1, "POST", munimentv1connect.AdminServiceListTokensProcedure, roleToken("acme", "reader"), map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{"tenant":"acme"}`))
		},
		"no credentials": func(ts *testServer) {
			ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceGetEntryProcedure, "wrong", map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.LimitWait, c.Now = time.Millisecond, stopped(time.Now()) })
			for range free / 2 {
				fail(ts)
			}
			if n := ts.delayed(); n != 0 {
				t.Fatalf("%d calls have waited before there were %d failures", n, free)
			}
			was := 0
			for i := range free {
				fail(ts)
				if i >= free/2 { // by then it owes, or will with the next failures
					if was = ts.delayed(); was > 0 {
						break
					}
				}
			}
			if was == 0 {
				t.Fatal("no failed call has waited")
			}
			ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceGetStreamHeadProcedure, globexToken, map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{"tenant":"globex"}`))
			if n := ts.delayed(); n != was {
				t.Error("another tenant's call has waited")
			}
			for _, r := range limit.All() {
				await(t, r.String()+" are given back", func() bool { return ts.api.Book().Total(r) == 0 })
			}
		})
	}
}

// The metrics report the bytes and places that callers hold, by resource, from
// the start.
func TestHeldGauges(t *testing.T) {
	ts := newServer(t)
	hold := ts.api.Book().Open("acme")
	if err := hold.Take(limit.Watchers, 7); err != nil {
		t.Fatal(err)
	}
	for _, r := range limit.All() {
		// the second is this request
		want := map[limit.Resource]string{limit.Watchers: "7", limit.Public: "1"}[r]
		if want == "" {
			want = "0"
		}
		line := `muniment_held{resource="` + r.Label() + `",server="api"} ` + want + "\n"
		if !strings.Contains(ts.metrics(), line) {
			t.Errorf("the metrics don't have %s", line)
		}
	}
	rekor := limit.NewBook(limit.HeldLimits{})
	ts.watchRekor(rekor)
	public := rekor.Open("address 192.0.2.1")
	if err := public.Take(limit.Public, 3); err != nil {
		t.Fatal(err)
	}
	for r, n := range map[limit.Resource]string{limit.Public: "3", limit.Uploads: "0"} {
		if line := `muniment_held{resource="` + r.Label() + `",server="rekor"} ` + n + "\n"; !strings.Contains(ts.metrics(), line) {
			t.Errorf("the metrics don't have %s", line)
		}
	}
	hold.Release()
	if !strings.Contains(ts.metrics(), `muniment_held{resource="watchers",server="api"} 0`+"\n") {
		t.Error("what was given back is still counted")
	}
}

// A call that is refused after most of it was received costs its tenant more
// than one that is refused at its beginning.
func TestLargeFailuresCostMore(t *testing.T) {
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.Now = stopped(time.Now()) })
	before := ts.delayed()
	// a submission of two mebibytes that is cut off
	large := append([]byte{0x12, 0x80, 0x80, 0x80, 0x01, 0x1a, 0xfb, 0xff, 0x7f}, make([]byte, 1<<20)...)
	for range 150 { // of which as many small ones would be free
		if ts.delayed() != before {
			return
		}
		ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceAppendProcedure, acmeToken, map[string]string{"Content-Type": "application/proto"}, bytes.NewReader(large[:256<<10]))
	}
	t.Error("large failures did not slow the tenant down")
}

package api_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/turns"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Large requests wait for a turn, in whichever way they arrive, and small ones
// of other tenants don't wait behind them.
func TestLargeRequestsTakeTurns(t *testing.T) {
	ts := newServer(t)
	request := func(tenant string, size int) []byte {
		b, err := proto.Marshal(&munimentv1.AppendRequest{Tenant: tenant, Submission: &munimentv1.Submission{Kind: "attestation", MediaType: "text/plain", Payload: bytes.Repeat([]byte(tenant), size/len(tenant))}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	large := request("acme", 512<<10)
	for name, c := range map[string]struct {
		header map[string]string
		body   []byte
	}{
		"as it is":             {map[string]string{"Content-Type": "application/proto"}, large},
		"compressed":           {map[string]string{"Content-Type": "application/proto", "Content-Encoding": "gzip"}, gzipped(t, large)},
		"compressed in frames": {map[string]string{"Content-Type": "application/grpc", "Grpc-Encoding": "gzip", "Te": "trailers"}, envelope(true, gzipped(t, large))},
	} {
		held := holdEveryTurn(t)
		done := make(chan httpAnswer)
		go func() {
			done <- ts.do(ts.h2, "POST", munimentv1connect.LedgerServiceAppendProcedure, acmeToken, c.header, bytes.NewReader(c.body))
		}()
		await(t, name+": the large request waits", func() bool { _, waiting := turns.CPU.Held(); return waiting > 0 })
		small := append([]byte(nil), request("globex", 1<<10+len(name))...)
		if a := ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceAppendProcedure, globexToken, map[string]string{"Content-Type": "application/proto"}, bytes.NewReader(small)); a.status != http.StatusOK {
			t.Errorf("%s: a small request beside it: %d %s", name, a.status, a.body)
		}
		held()
		if a := <-done; a.status != http.StatusOK || strings.Contains(a.body, "error") {
			t.Errorf("%s: %d %.200q", name, a.status, a.body)
		}
	}
	await(t, "all turns are given back", func() bool { held, waiting := turns.CPU.Held(); return held == 0 && waiting == 0 })
}

// A large request whose client goes while it waits leaves the queue.
func TestWaitForTurnEnds(t *testing.T) {
	ts := newServer(t)
	defer holdEveryTurn(t)()
	ctx, cancel := context.WithCancel(context.Background())
	body := gzipped(t, append([]byte{0x12, 0x80, 0x80, 0x20, 0x1a, 0xfb, 0xff, 0x1f}, make([]byte, 512<<10-5)...))
	req, err := http.NewRequestWithContext(ctx, "POST", ts.url+munimentv1connect.LedgerServiceAppendProcedure, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/proto"}, "Content-Encoding": {"gzip"}, "Authorization": {"Bearer " + acmeToken}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if res, err := ts.h2.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	await(t, "the request waits", func() bool { _, waiting := turns.CPU.Held(); return waiting > 0 })
	cancel()
	<-done
	await(t, "it waits no more", func() bool { _, waiting := turns.CPU.Held(); return waiting == 0 })
}

// holdEveryTurn takes all turns, until the function that it returns is called.
func holdEveryTurn(t *testing.T) func() {
	t.Helper()
	var held []*turns.Turn
	for range turns.CPU.Slots() {
		x, err := turns.CPU.Begin(context.Background(), "the test")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, x)
	}
	return func() {
		for _, x := range held {
			x.End()
		}
	}
}

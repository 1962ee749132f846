package api_test

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/turns"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Large requests of every form wait for a turn, and small ones of other tenants
// don't wait behind them.
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

// TestEachTenantHasItsTurn checks that after at most one further turn of a
// tenant with large messages, another tenant gets its turn.
func TestEachTenantHasItsTurn(t *testing.T) {
	ts := newServer(t)
	evidence := func(tenant string) *munimentv1.Submission {
		return &munimentv1.Submission{Kind: "attestation", MediaType: "text/plain", Payload: bytes.Repeat([]byte(tenant), 256<<10/len(tenant))}
	}
	single := func(tenant string) proto.Message {
		return &munimentv1.AppendRequest{Tenant: tenant, Submission: evidence(tenant)}
	}
	batch := func(tenant string) proto.Message {
		return &munimentv1.AppendBatchRequest{Tenant: tenant, Submissions: []*munimentv1.Submission{evidence(tenant)}}
	}
	chunk := func(string) proto.Message {
		return &munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Chunk{Chunk: make([]byte, 256<<10)}}
	}
	policy := func(tenant string) proto.Message {
		return &munimentv1.SetPolicyRequest{Tenant: tenant, Reason: "large", Policy: bytes.Repeat([]byte("#"), 256<<10)}
	}
	binary := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	text := func(m proto.Message) []byte {
		b, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name, path  string
		message     func(tenant string) proto.Message
		encode      func(proto.Message) []byte
		contentType string
		frame, zip  bool
	}{
		{"append", munimentv1connect.LedgerServiceAppendProcedure, single, binary, "application/proto", false, false},
		{"append in JSON", munimentv1connect.LedgerServiceAppendProcedure, single, text, "application/json", false, false},
		{"compressed", munimentv1connect.LedgerServiceAppendProcedure, single, binary, "application/proto", false, true},
		{"gRPC", munimentv1connect.LedgerServiceAppendProcedure, single, binary, "application/grpc", true, false},
		{"gRPC, compressed", munimentv1connect.LedgerServiceAppendProcedure, single, binary, "application/grpc", true, true},
		{"gRPC-Web", munimentv1connect.LedgerServiceAppendProcedure, single, binary, "application/grpc-web", true, false},
		{"batch", munimentv1connect.LedgerServiceAppendBatchProcedure, batch, binary, "application/proto", false, false},
		{"batch in gRPC, compressed", munimentv1connect.LedgerServiceAppendBatchProcedure, batch, binary, "application/grpc", true, true},
		{"stream", munimentv1connect.LedgerServiceAppendStreamProcedure, chunk, binary, "application/connect+proto", true, false},
		{"stream, compressed", munimentv1connect.LedgerServiceAppendStreamProcedure, chunk, binary, "application/connect+proto", true, true},
		{"policy", munimentv1connect.AdminServiceSetPolicyProcedure, policy, binary, "application/proto", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			release := holdEveryTurn(t)
			defer release()
			var calls sync.WaitGroup
			send := func(tenant, token string) {
				body, header := c.encode(c.message(tenant)), map[string]string{"Content-Type": c.contentType, "Te": "trailers"}
				if c.zip {
					body = gzipped(t, body)
					for _, name := range []string{"Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"} {
						if c.frame != (name == "Content-Encoding") {
							header[name] = "gzip"
						}
					}
				}
				if c.frame {
					body = envelope(c.zip, body)
				}
				// After it is decoded, its order does not matter.
				calls.Go(func() { ts.do(ts.h2, "POST", c.path, token, header, bytes.NewReader(body)) })
			}
			hostile := 8
			if c.frame && c.zip && c.path == munimentv1connect.LedgerServiceAppendBatchProcedure {
				// it counts as the largest batch, which is most of what a
				// tenant may hold
				hostile = 1
			}
			for range hostile {
				send("acme", acmeToken)
			}
			await(t, "the hostile tenant's messages wait", func() bool { _, waiting := turns.CPU.Held(); return waiting == hostile })
			send("globex", globexToken)
			await(t, "the other's message waits", func() bool { _, waiting := turns.CPU.Held(); return waiting == hostile+1 })
			if round := turns.CPU.Round(); !slices.Equal(round, []string{"acme", "globex"}) {
				t.Errorf("the next turns are for %q, want one for each tenant", round)
			}
			release()
			calls.Wait()
		})
	}
	await(t, "all turns are given back", func() bool { held, waiting := turns.CPU.Held(); return held == 0 && waiting == 0 })
}

// A large request whose client disconnects while it waits leaves the queue.
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

package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

type upload = connect.ClientStreamForClient[munimentv1.AppendStreamRequest, munimentv1.AppendStreamResponse]

func streamHeader(edits ...func(*munimentv1.AppendStreamHeader)) *munimentv1.AppendStreamHeader {
	h := &munimentv1.AppendStreamHeader{Tenant: "acme", Kind: "attestation", MediaType: "text/plain"}
	for _, edit := range edits {
		edit(h)
	}
	return h
}

func sendHeader(u *upload, h *munimentv1.AppendStreamHeader) error {
	return u.Send(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Header{Header: h}})
}

func sendChunk(u *upload, chunk []byte) error {
	return u.Send(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Chunk{Chunk: chunk}})
}

// sendStream sends a whole stream. Its error includes errors in sending.
func sendStream(c munimentv1connect.LedgerServiceClient, h *munimentv1.AppendStreamHeader, payload []byte) (*munimentv1.Appended, error) {
	u := c.AppendStream(context.Background())
	err := sendHeader(u, h)
	for rest := payload; len(rest) > 0 && err == nil; rest = rest[min(len(rest), 700_000):] {
		err = sendChunk(u, rest[:min(len(rest), 700_000)])
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	res, err := u.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return res.Msg.Appended, nil
}

func readPayload(c munimentv1connect.LedgerServiceClient, tenant string, index uint64) ([]byte, error) {
	stream, err := c.GetPayload(context.Background(), connect.NewRequest(&munimentv1.GetPayloadRequest{Tenant: tenant, Index: index}))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var all []byte
	for stream.Receive() {
		all = append(all, stream.Msg().Chunk...)
	}
	return all, stream.Err()
}

// Small and large payloads are appended and read as streams, in every protocol.
func TestStreamedPayload(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	for name, c := range map[string]munimentv1connect.LedgerServiceClient{
		"connect": ts.client(acmeToken), "json": ts.client(acmeToken, connect.WithProtoJSON()), "grpc": ts.client(acmeToken, connect.WithGRPC()), "grpc-web": ts.client(acmeToken, connect.WithGRPCWeb()),
	} {
		for _, size := range []int{1, maxPayload, maxPayload + 1, 3 << 20} {
			payload := bytes.Repeat([]byte(name), size/len(name)+1)[:size]
			payload[0] = byte(len(name))
			n := uint64(size)
			a, err := sendStream(c, streamHeader(func(h *munimentv1.AppendStreamHeader) {
				h.Size, h.Digest = &n, fmt.Sprintf("sha256:%x", sha256.Sum256(payload))
			}), payload)
			if err != nil {
				t.Fatalf("%s: %d bytes: %v", name, size, err)
			}
			ts.verify("acme", a.Receipt, payload, a.Index)
			if again, err := sendStream(c, streamHeader(), payload); err != nil || !again.Duplicate || again.Index != a.Index {
				t.Errorf("%s: %d bytes again: %v, %v", name, size, again, err)
			}
			if got, err := readPayload(c, "acme", a.Index); err != nil || !bytes.Equal(got, payload) {
				t.Errorf("%s: %d bytes were read as %d: %v", name, size, len(got), err)
			}
		}
	}
	if n := ts.store.Unnamed(); n != 0 {
		t.Errorf("%d payloads that were there already are left over", n)
	}
	_, err := readPayload(ts.client(globexToken), "globex", 0)
	wantCode(t, "another tenant's payload", err, connect.CodeNotFound, "index")
	_, err = readPayload(ts.client(acmeToken), "acme", 4711)
	wantCode(t, "a payload beyond the log", err, connect.CodeOutOfRange, "index")
}

func TestBadStreams(t *testing.T) {
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.MaxStream = 4 << 20 })
	c := ts.client(acmeToken)
	large := bytes.Repeat([]byte("large "), 500_000)
	type edit = func(*munimentv1.AppendStreamHeader)
	size := func(n uint64) edit { return func(h *munimentv1.AppendStreamHeader) { h.Size = &n } }
	media := func(s string) edit { return func(h *munimentv1.AppendStreamHeader) { h.MediaType = s } }
	for _, test := range []struct {
		name    string
		edit    edit
		payload []byte
		code    connect.Code
		field   string
	}{
		{"empty", nil, nil, connect.CodeInvalidArgument, "chunk"},
		{"fewer bytes than declared", size(7), []byte("six..."), connect.CodeInvalidArgument, "header.size"},
		{"more bytes than declared", size(5), []byte("six..."), connect.CodeInvalidArgument, "header.size"},
		{"fewer bytes than declared, large", size(uint64(len(large)) + 1), large, connect.CodeInvalidArgument, "header.size"},
		{"more bytes than declared, large", size(uint64(len(large)) - 1), large, connect.CodeInvalidArgument, "header.size"},
		{"more than the limit, declared", size(5 << 20), large, connect.CodeInvalidArgument, "header.size"},
		{"more than the limit", nil, bytes.Repeat(large, 2), connect.CodeInvalidArgument, "chunk"},
		{"another digest", func(h *munimentv1.AppendStreamHeader) { h.Digest = "sha256:" + strings.Repeat("0", 64) }, large, connect.CodeInvalidArgument, "header.digest"},
		{"no digest", func(h *munimentv1.AppendStreamHeader) { h.Digest = "sha256:beef" }, large, connect.CodeInvalidArgument, "header.digest"},
		{"not JSON", media("application/json"), large, connect.CodeInvalidArgument, "chunk"},
		{"not a bundle", media(""), large, connect.CodeInvalidArgument, "header.media_type"},
		{"compressed", media("application/json+gzip"), large, connect.CodeInvalidArgument, "header.media_type"},
		{"no kind", func(h *munimentv1.AppendStreamHeader) { h.Kind = "nonsense" }, large, connect.CodeInvalidArgument, "header.kind"},
		{"a kind of the log's own", func(h *munimentv1.AppendStreamHeader) { h.Kind = "erasure" }, large, connect.CodePermissionDenied, "header.kind"},
		{"a large event", func(h *munimentv1.AppendStreamHeader) { h.Kind, h.MediaType, h.IdempotencyKey = "finding", "", "k" }, large, connect.CodeInvalidArgument, "chunk"},
		{"an idempotency key of evidence", func(h *munimentv1.AppendStreamHeader) { h.IdempotencyKey = "k" }, large, connect.CodeInvalidArgument, "header.idempotency_key"},
		{"another tenant", func(h *munimentv1.AppendStreamHeader) { h.Tenant = "globex" }, large, connect.CodePermissionDenied, "tenant"},
	} {
		var edits []edit
		if test.edit != nil {
			edits = append(edits, test.edit)
		}
		_, err := sendStream(c, streamHeader(edits...), test.payload)
		wantCode(t, test.name, err, test.code, test.field)
	}
	raw := func(what string, code connect.Code, field string, send func(*upload) error) {
		t.Helper()
		u := c.AppendStream(context.Background())
		if err := send(u); err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%s: %v", what, err)
		}
		_, err := u.CloseAndReceive()
		wantCode(t, what, err, code, field)
	}
	raw("nothing at all", connect.CodeInvalidArgument, "header", func(u *upload) error { return nil })
	raw("no header", connect.CodeInvalidArgument, "header", func(u *upload) error { return sendChunk(u, []byte("x")) })
	raw("two headers", connect.CodeInvalidArgument, "header", func(u *upload) error {
		return errors.Join(sendHeader(u, streamHeader()), sendHeader(u, streamHeader()))
	})
	raw("a message without a part", connect.CodeInvalidArgument, "part", func(u *upload) error { return u.Send(&munimentv1.AppendStreamRequest{}) })
	raw("a large chunk", connect.CodeInvalidArgument, "chunk", func(u *upload) error {
		return errors.Join(sendHeader(u, streamHeader()), sendChunk(u, make([]byte, 1<<20+1)))
	})
	ts.setFree(0)
	_, err := sendStream(c, streamHeader(), large)
	wantCode(t, "on a full disk", err, connect.CodeResourceExhausted, "")
	ts.setFree(1 << 40)
	if n := ts.store.Unnamed(); n != 0 {
		t.Errorf("%d payloads are left over", n)
	}
	if size := ts.ledger.Published().Size; size != 0 {
		t.Errorf("%d entries were recorded", size)
	}
}

// A stream that breaks off or stalls leaves nothing.
func TestAbortedStream(t *testing.T) {
	large := bytes.Repeat([]byte("large "), 500_000)
	gone := func(ts *testServer) {
		t.Helper()
		await(t, "the payload to be discarded", func() bool { return ts.store.Unnamed() == 0 })
		if size := ts.ledger.Published().Size; size != 0 {
			t.Errorf("%d entries were recorded", size)
		}
	}
	begin := func(ts *testServer, ctx context.Context, opts ...connect.ClientOption) (*upload, error) {
		u := ts.client(acmeToken, opts...).AppendStream(ctx)
		if err := sendHeader(u, streamHeader()); err != nil {
			return nil, err
		}
		for rest := large; len(rest) > 0; rest = rest[min(len(rest), 1<<20):] {
			if err := sendChunk(u, rest[:min(len(rest), 1<<20)]); err != nil {
				return nil, err
			}
		}
		return u, nil
	}
	for _, opts := range [][]connect.ClientOption{nil, {connect.WithGRPC()}} {
		ts := newServer(t)
		ctx, cancel := context.WithCancel(context.Background())
		if _, err := begin(ts, ctx, opts...); err != nil {
			t.Fatal(err)
		}
		await(t, "the payload to arrive", func() bool { return ts.store.Unnamed() == 1 })
		cancel()
		gone(ts)
	}
	// A stalled stream ends without a message from the client. On a machine
	// that is too slow to send everything in time, the time is doubled.
	for timeout := 300 * time.Millisecond; ; timeout *= 2 {
		ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.RequestTimeout = timeout })
		u, err := begin(ts, context.Background())
		if err != nil && timeout < time.Minute {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		gone(ts)
		if _, err := u.CloseAndReceive(); err == nil {
			t.Error("a stream that had stopped was recorded")
		}
		return
	}
}

// A stream counts against the tenant's day, whether or not its size was
// declared, but not if its payload is already recorded.
func TestStreamCountsAgainstTheDay(t *testing.T) {
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.Tenants[0].Limits = limit.TenantLimits{DailyBytes: 5 << 20} })
	c := ts.client(acmeToken)
	size := uint64(2 << 20)
	payload := func(s string) []byte { return bytes.Repeat([]byte(s), int(size)) }
	declared := func(h *munimentv1.AppendStreamHeader) { h.Size = &size }
	for _, what := range []string{"a", "a", "a", "b"} {
		if _, err := sendStream(c, streamHeader(declared), payload(what)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := sendStream(c, streamHeader(declared), payload("c"))
	wantCode(t, "more than the day has, declared", err, connect.CodeResourceExhausted, "")
	_, err = sendStream(c, streamHeader(), payload("c"))
	wantCode(t, "more than the day has", err, connect.CodeResourceExhausted, "")
	if _, err := sendStream(c, streamHeader(), payload("d")[:1<<20]); err != nil {
		t.Errorf("what the day still has: %v", err)
	}
	if n := ts.store.Unnamed(); n != 0 {
		t.Errorf("%d payloads are left over", n)
	}
}

// Unread responses with large payloads hold at most a tenant's share of the
// bytes at work.
func TestUnreadPayloads(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	ts.api.Book().SetLimits(limit.HeldLimits{limit.Bytes: {Owner: 84 << 20}})
	payload := bytes.Repeat([]byte("x"), 14<<20)
	a, err := sendStream(ts.client(acmeToken), streamHeader(), payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"GetEntry", "GetReceipt"} {
		unread, refused := 0, 0
		var ask func()
		ask = func() {
			r := httptest.NewRequest(http.MethodPost, "/muniment.v1.LedgerService/"+call, strings.NewReader(fmt.Sprintf(`{"tenant":"acme","index":"%d","includePayload":true}`, a.Index)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+acmeToken)
			w := &unreadAnswer{ResponseRecorder: httptest.NewRecorder()}
			w.meanwhile = func() {
				if unread++; unread < 10 {
					ask()
				}
			}
			ts.api.Handler().ServeHTTP(w, r)
			if w.Code == http.StatusTooManyRequests {
				refused++
			} else if w.Code != http.StatusOK || w.Body.Len() < len(payload) {
				t.Errorf("%s: status %d, %d bytes", call, w.Code, w.Body.Len())
			}
		}
		ask()
		if unread != 2 || refused != 1 {
			t.Errorf("%s: %d answers at once, %d refused", call, unread, refused)
		}
	}
}

// An unreadAnswer does something else before its body is taken.
type unreadAnswer struct {
	*httptest.ResponseRecorder
	meanwhile func()
	begun     bool
}

func (w *unreadAnswer) Write(b []byte) (int, error) {
	if !w.begun && w.Code == http.StatusOK {
		w.begun = true
		w.meanwhile()
	}
	return w.ResponseRecorder.Write(b)
}

// TestTinyChunks checks that a stream of tiny chunks, each of which costs as
// much as a large one, is refused early, and that a moderate number of them is
// recorded.
func TestTinyChunks(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	c := ts.client(acmeToken)
	for _, tc := range []struct {
		chunks, size int
		refused      bool
	}{{4000, 1, false}, {100_000, 1, true}, {5000, 512, false}} {
		u := c.AppendStream(context.Background())
		err := sendHeader(u, streamHeader())
		sent := 0
		for chunk := make([]byte, tc.size); sent < tc.chunks && err == nil; sent++ {
			err = sendChunk(u, chunk)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		_, err = u.CloseAndReceive()
		if !tc.refused {
			if err != nil {
				t.Errorf("%d chunks of %d bytes: %v", tc.chunks, tc.size, err)
			}
			continue
		}
		wantCode(t, "tiny chunks", err, connect.CodeInvalidArgument, "chunk")
	}
}

package api_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/soak"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// envelope frames a message as in a stream or in gRPC.
func envelope(compressed bool, message []byte) []byte {
	b := make([]byte, 5, 5+len(message))
	if compressed {
		b[0] = 1
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(message)))
	return append(b, message...)
}

// eachMethod calls f for each RPC with a valid request.
func eachMethod(t *testing.T, f func(m protoreflect.MethodDescriptor, path string, request []byte)) {
	protoregistry.GlobalFiles.RangeFilesByPackage("muniment.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			for j := range file.Services().Get(i).Methods().Len() {
				m := file.Services().Get(i).Methods().Get(j)
				r := dynamicpb.NewMessage(m.Input())
				if fd := m.Input().Fields().ByName("tenant"); fd != nil {
					r.Set(fd, protoreflect.ValueOfString("acme"))
				}
				b, err := proto.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				f(m, fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), b)
			}
		}
		return true
	})
}

// allocated returns how many bytes are allocated while f runs.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Every RPC, in every protocol, refuses a small compressed request that
// inflates to a large one before decoding it, and holds nothing afterwards.
func TestInflatedRequests(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 999, protowire.BytesType), make([]byte, 60<<20))
	bomb := gzipped(t, unknown)
	eachMethod(t, func(m protoreflect.MethodDescriptor, path string, request []byte) {
		streams := m.IsStreamingClient() || m.IsStreamingServer()
		for _, c := range []struct {
			protocol string
			header   map[string]string
			body     []byte
			skip     bool
		}{
			{"connect", map[string]string{"Content-Type": "application/proto", "Content-Encoding": "gzip"}, bomb, streams},
			{"connect stream", map[string]string{"Content-Type": "application/connect+proto", "Connect-Content-Encoding": "gzip"}, envelope(true, bomb), !streams},
			{"gRPC", map[string]string{"Content-Type": "application/grpc", "Grpc-Encoding": "gzip", "Te": "trailers"}, envelope(true, bomb), false},
			{"gRPC-Web", map[string]string{"Content-Type": "application/grpc-web+proto", "Grpc-Encoding": "gzip"}, envelope(true, bomb), false},
		} {
			if c.skip {
				continue
			}
			var a httpAnswer
			n := allocated(func() { a = ts.do(ts.h2, "POST", path, acmeToken, c.header, bytes.NewReader(c.body)) })
			if code := a.header.Get("Grpc-Status"); a.status == http.StatusOK && !strings.Contains(a.body, `"code"`) && !strings.Contains(a.body, "grpc-status") && code == "" && !strings.HasPrefix(c.protocol, "gRPC") {
				t.Errorf("%s over %s: status %d, %q", path, c.protocol, a.status, a.body)
			}
			if n > 24<<20 {
				t.Errorf("%s over %s: %d bytes were allocated", path, c.protocol, n)
			}
		}
	})
	for _, r := range limit.All() {
		await(t, r.String()+" are given back", func() bool { return ts.api.Book().Total(r) == 0 })
	}
}

// A batch of millions of empty submissions is refused while it arrives, in
// every encoding and protocol. Neither the message nor its decompressed form is
// ever held in full.
func TestEmptySubmissions(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	defer ts.unchanged()()
	binary := bytes.Repeat([]byte{0x12, 0}, 8<<20)
	text := []byte(`{"tenant":"acme","submissions":[` + strings.Repeat("{},", 4<<20) + `{}]}`)
	for _, c := range []struct {
		contentType string
		message     []byte
	}{
		{"application/proto", binary},
		{"application/json", text},
		{"application/grpc", binary},
		{"application/grpc+json", text},
		{"application/grpc-web+proto", binary},
	} {
		for _, compressed := range []bool{true, false} {
			header, body := map[string]string{"Content-Type": c.contentType}, c.message
			framed := strings.Contains(c.contentType, "grpc")
			if framed && !compressed {
				continue // what is framed is known to be large, and is received as a whole
			}
			if compressed {
				body = gzipped(t, body)
				header["Content-Encoding"] = "gzip"
			}
			if framed {
				delete(header, "Content-Encoding")
				header["Grpc-Encoding"], header["Te"] = "gzip", "trailers"
				body = envelope(true, body)
			}
			var a httpAnswer
			n := allocated(func() {
				a = ts.do(ts.h2, "POST", munimentv1connect.LedgerServiceAppendBatchProcedure, acmeToken, header, bytes.NewReader(body))
			})
			if said := a.body + a.header.Get("Grpc-Message"); !framed && a.status != http.StatusBadRequest || !framed && !strings.Contains(said, "submissions: more than 1000 elements") {
				t.Errorf("%s, compressed %t: status %d, %.200s", c.contentType, compressed, a.status, said)
			}
			if n > 4<<20 { // the message has 12 to 16 MiB
				t.Errorf("%s, compressed %t: %d bytes were allocated", c.contentType, compressed, n)
			}
		}
	}
}

// Unread responses hold places and bytes up to the tenant's limits, and none
// after they end.
func TestUnreadStreams(t *testing.T) {
	ts := newServer(t)
	ts.api.Book().SetLimits(limit.HeldLimits{limit.Answers: {Total: 12, Owner: 8}, limit.Bytes: {Owner: 256 << 20}})
	payload := bytes.Repeat([]byte("x"), 8<<20) // more than any window holds
	appended, err := sendStream(ts.client(acmeToken), streamHeader(), payload)
	if err != nil {
		t.Fatal(err)
	}
	request, err := proto.Marshal(&munimentv1.GetPayloadRequest{Tenant: "acme", Index: appended.Index})
	if err != nil {
		t.Fatal(err)
	}
	open := func() *http.Response {
		t.Helper()
		req, err := http.NewRequest("POST", ts.url+munimentv1connect.LedgerServiceGetPayloadProcedure, bytes.NewReader(envelope(false, request)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/connect+proto")
		req.Header.Set("Authorization", "Bearer "+acmeToken)
		res, err := ts.h1.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	var unread []*http.Response
	for range 8 {
		unread = append(unread, open())
	}
	refused := open()
	body, err := io.ReadAll(refused.Body)
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	if !strings.Contains(string(body), connect.CodeResourceExhausted.String()) {
		t.Errorf("a ninth answer: %.200q", body)
	}
	book := ts.api.Book()
	if places, held := book.Held("acme", limit.Answers), book.Held("acme", limit.Bytes); places != 8 || held < 8<<20 || held > 16<<20 {
		t.Errorf("%d answers hold %d bytes", places, held)
	}
	if _, err := readPayload(ts.client(globexToken), "globex", appended.Index); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("another tenant: %v", err)
	}
	for _, res := range unread {
		res.Body.Close()
	}
	await(t, "everything to be given back", func() bool { return book.Total(limit.Answers) == 0 && book.Total(limit.Bytes) == 0 })
}

// Errors quote no large values, whichever part of a request is large.
func TestErrorsAreShort(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	long := strings.Repeat("long ", 8<<10)
	size := func(a httpAnswer) int {
		n := len(a.body)
		for k, v := range a.header {
			n += len(k) + len(strings.Join(v, ""))
		}
		return n
	}
	check := func(what string, a httpAnswer) {
		t.Helper()
		if n := size(a); n > 12<<10 {
			t.Errorf("%s: the answer has %d bytes: status %d, %.300q", what, n, a.status, a.body)
		}
	}
	eachMethod(t, func(m protoreflect.MethodDescriptor, path string, _ []byte) {
		r := dynamicpb.NewMessage(m.Input())
		for i := range m.Input().Fields().Len() {
			if fd := m.Input().Fields().Get(i); fd.Kind() == protoreflect.StringKind && !fd.IsList() {
				r.Set(fd, protoreflect.ValueOfString(long[:8<<10]))
			}
		}
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, contentType := range []string{"application/proto", "application/grpc", "application/grpc-web+proto", "application/connect+proto"} {
			body := b
			if contentType != "application/proto" {
				body = envelope(false, b)
			}
			check(path+" with long fields, "+contentType, ts.do(ts.h2, "POST", path, acmeToken, map[string]string{"Content-Type": contentType}, bytes.NewReader(body)))
		}
		check(path+" with a long member", ts.do(ts.h1, "POST", path, acmeToken, map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{"`+long+`":1}`)))
		check(path+" with a long enum", ts.do(ts.h1, "POST", path, acmeToken, map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{"order":"`+long+`","scope":"`+long+`"}`)))
		for _, h := range []string{"Content-Type", "Content-Encoding", "Grpc-Encoding", "Grpc-Timeout", "Connect-Timeout-Ms", "Connect-Protocol-Version", "Connect-Content-Encoding", "Authorization"} {
			header := map[string]string{"Content-Type": "application/proto"}
			header[h] = long
			check(path+" with a long header "+h, ts.do(ts.h1, "POST", path, acmeToken, header, strings.NewReader("x")))
			header["Content-Type"] = "application/grpc"
			header[h] = long
			check(path+" over gRPC with a long header "+h, ts.do(ts.h2, "POST", path, acmeToken, header, strings.NewReader("x")))
		}
		check(path+" with a long query", ts.do(ts.h1, "GET", path+"?encoding="+strings.ReplaceAll(long, " ", "")+"&message=x", acmeToken, nil, nil))
	})
	batch := &munimentv1.AppendBatchRequest{Tenant: "acme"}
	for range 3 {
		batch.Submissions = append(batch.Submissions, &munimentv1.Submission{Kind: long, MediaType: long, Payload: []byte("x"), IdempotencyKey: long})
	}
	b, err := proto.Marshal(batch)
	if err != nil {
		t.Fatal(err)
	}
	check("a batch", ts.do(ts.h1, "POST", munimentv1connect.LedgerServiceAppendBatchProcedure, acmeToken, map[string]string{"Content-Type": "application/proto"}, bytes.NewReader(b)))
	check("a path", ts.get("/"+strings.ReplaceAll(long, " ", "/")))
	check("a tile", ts.get("/tlog/tile/"+strings.ReplaceAll(long, " ", "/")))
}

// The bytes of a streamed payload are accounted to its tenant while it is
// parsed. If the account is full, the payload is refused and nothing of it
// remains.
func TestParsedStreamIsAccounted(t *testing.T) {
	ts := newServer(t)
	ts.api.Book().SetLimits(limit.HeldLimits{limit.Bytes: {Owner: 8 << 20}}) // 5 are the upload's
	_, err := sendStream(ts.client(acmeToken), streamHeader(), bytes.Repeat([]byte("x"), 2<<20))
	wantCode(t, "a payload with no room to parse it", err, connect.CodeResourceExhausted, "")
	if _, err := sendStream(ts.client(acmeToken), streamHeader(), bytes.Repeat([]byte("y"), 3<<19-1)); err != nil {
		t.Errorf("a smaller one: %v", err)
	}
	if n := ts.store.Unnamed(); n != 0 {
		t.Errorf("%d payloads are left over", n)
	}
	await(t, "everything to be given back", func() bool { return ts.api.Book().Total(limit.Bytes) == 0 })
}

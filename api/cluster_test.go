package api

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"muniment.dev/muniment/ledger/lease"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// streamsOfReads are RPCs that record nothing, although their descriptors do
// not state it: a stream of answers cannot be asked for by GET.
var streamsOfReads = map[string]bool{
	rpc.GateServiceReplayProcedure: true, rpc.GateServiceListAffectedProcedure: true, rpc.GateServiceListInventoryProcedure: true, rpc.GateServiceListCoverageProcedure: true,
}

// TestRecordingCalls checks that each RPC is forwarded if it can record
// something, by what its descriptor states.
func TestRecordingCalls(t *testing.T) {
	for pattern, c := range apiRoutes {
		service, method, ok := strings.Cut(strings.TrimPrefix(pattern, "/"), "/")
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if !ok || err != nil || method == "" {
			continue
		}
		m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
		reads := m.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
		// administrators see what they have changed
		ofAdministrators := c == manageTokens || c == eraseEntries
		if got := records(pattern, c); got == (reads || streamsOfReads[pattern]) && !ofAdministrators && c != exchangeTokens {
			t.Errorf("%s is forwarded: %t; it has no side effects: %t", pattern, got, reads)
		}
	}
}

// A transport that has no network keeps what it was asked for.
type keepingTransport struct {
	requests []*http.Request
	err      error
}

func (k *keepingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	k.requests = append(k.requests, r)
	if k.err != nil {
		return nil, k.err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("there"))}, nil
}

// TestForward checks which requests leave the server, and what they contain.
func TestForward(t *testing.T) {
	const listed, unlisted = "https://b.example:7480", "https://evil.example"
	for _, c := range []struct {
		name       string
		writer     lease.Writer
		capability capability
		header     http.Header
		err        error
		want       string
		leaving    bool
	}{
		{"to the writer", lease.Writer{URL: listed}, appendEntries, http.Header{"Authorization": {"Bearer x"}, "Cookie": {"session=1"}}, nil, "there", false},
		{"without credentials, for a token", lease.Writer{URL: listed}, exchangeTokens, http.Header{}, nil, "here", false},
		{"by a cookie", lease.Writer{URL: listed}, appendEntries, http.Header{"Cookie": {"session=1"}}, nil, "here", false},
		{"a read", lease.Writer{URL: listed}, readEntries, http.Header{"Authorization": {"Bearer x"}}, nil, "here", false},
		{"by the writer itself", lease.Writer{URL: listed, Self: true}, appendEntries, http.Header{"Authorization": {"Bearer x"}}, nil, "here", false},
		{"no writer", lease.Writer{}, appendEntries, http.Header{"Authorization": {"Bearer x"}}, nil, "here", false},
		{"a URL that is not listed", lease.Writer{URL: unlisted}, appendEntries, http.Header{"Authorization": {"Bearer x"}}, nil, "here", false},
		{"forwarded already", lease.Writer{URL: listed}, appendEntries, http.Header{"Authorization": {"Bearer x"}, "Muniment-Forwarded": {"1"}}, nil, "send the call again", false},
		{"forwarded to a server that ends", lease.Writer{URL: listed}, appendEntries, http.Header{"Authorization": {"Bearer x"}, "Muniment-Forwarded": {"1"}}, nil, "here", true},
		{"forwarded to the writer", lease.Writer{URL: listed, Self: true}, appendEntries, http.Header{"Authorization": {"Bearer x"}, "Muniment-Forwarded": {"1"}}, nil, "here", false},
		{"forwarded while no writer is known", lease.Writer{}, appendEntries, http.Header{"Authorization": {"Bearer x"}, "Muniment-Forwarded": {"1"}}, nil, "here", false},
		{"the writer does not answer", lease.Writer{URL: listed}, appendEntries, http.Header{"Authorization": {"Bearer x"}}, errors.New("Bearer x: secret"), "send the call again", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &keepingTransport{err: c.err}
			s := &Server{log: slog.New(slog.DiscardHandler), errors: connect.NewErrorWriter(), cfg: Config{Metrics: NewMetrics("test"),
				Cluster: &Cluster{Writer: func() lease.Writer { return c.writer }, Servers: []string{"https://a.example", listed}, Transport: k}}}
			s.audit = newAuditLog(nil)
			s.now = time.Now
			if c.leaving {
				s.Leave()
			}
			h := s.forward("/x", c.capability, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
			r := httptest.NewRequest(http.MethodPost, "http://a.example/x?y=1", strings.NewReader("{}"))
			r.Header = c.header.Clone()
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if body := w.Body.String(); !strings.Contains(body, c.want) || strings.Contains(body, "secret") {
				t.Errorf("the answer is %q, want %q", body, c.want)
			}
			for _, out := range k.requests {
				if out.URL.String() != listed+"/x?y=1" || out.Header.Get("Cookie") != "" || out.Header.Get(forwardedHeader) == "" || out.Header.Get("Authorization") != c.header.Get("Authorization") {
					t.Errorf("forwarded to %s with %v", out.URL, out.Header)
				}
			}
			if c.want == "here" && len(k.requests) > 0 {
				t.Error("it was forwarded")
			}
		})
	}
}

package intake

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // compresses what the client sends
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/inputs"
	"muniment.dev/muniment/conductor/triage/route"
	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/edge"
)

const token = "0123456789abcdef"

// A sink is a router that keeps the signals, unless it has an error.
type sink struct {
	mu      sync.Mutex // guards signals
	signals []signal.Signal
	err     error
}

func (s *sink) Deliver(_ context.Context, signals []signal.Signal) (map[correlate.Effect]int, error) {
	if s.err != nil {
		return nil, s.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signals = append(s.signals, signals...)
	return map[correlate.Effect]int{correlate.Opened: len(signals)}, nil
}

func start(t *testing.T) (*sink, *Intake, string) {
	t.Helper()
	senders, err := ParseSenders([]byte("a: " + token + "\nb: sha256:" + strings.Repeat("0", 64)))
	if err != nil {
		t.Fatal(err)
	}
	in, err := inputs.Parse([]byte("{version: 1, otlp: {labels: {service: service.name}}, json: {test: {name: /name, quiet: 1m}}}"))
	if err != nil {
		t.Fatal(err)
	}
	to := &sink{}
	i := New(Options{Router: to, Senders: senders, Inputs: in, Metrics: route.NewMetrics("test"), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	server, err := edge.Listen("127.0.0.1:0", edge.Site{Handler: i.Handler(), Connections: 64, PlainHTTP2: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return to, i, server.URL
}

func zipped(text []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(text)
	_ = w.Close()
	return b.Bytes()
}

func request() plogotlp.ExportRequest {
	l := plog.NewLogs()
	resource := l.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", "gateway")
	for _, name := range []string{"Lost", strings.Repeat("x", 300)} {
		r := resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		r.SetSeverityNumber(plog.SeverityNumberError)
		r.SetEventName(name)
	}
	return plogotlp.NewExportRequestFromLogs(l)
}

// TestHTTP sends messages of all inputs, good and bad.
func TestHTTP(t *testing.T) {
	to, _, url := start(t)
	proto, err := request().MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	json, err := request().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	bomb := zipped(make([]byte, 64<<20))
	for _, c := range []struct {
		name, path, of, encoding string
		body                     []byte
		token                    string
		err                      error
		status                   int
		want                     string
	}{
		{"OTLP protobuf", "/v1/logs", typeProto, "", proto, token, nil, 200, "more than 256 characters"},
		{"OTLP protobuf, gzip", "/v1/logs", typeProto, "gzip", zipped(proto), token, nil, 200, "record 2"},
		{"OTLP JSON", "/v1/logs", typeJSON, "", json, token, nil, 200, `"rejectedLogRecords":"1"`},
		{"OTLP traces", "/v1/traces", typeJSON, "", []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"GET /","status":{"code":2}}]}]}]}`), token, nil, 200, "{"},
		{"OTLP as text", "/v1/logs", "text/plain", "", json, token, nil, 415, "the content type must be"},
		{"OTLP cut", "/v1/logs", typeJSON, "", json[:20], token, nil, 400, "not an export request"},
		{"OTLP busy", "/v1/logs", typeJSON, "", json, token, correlate.ErrFull, 503, `"code":14`},
		{"wrong token", "/v1/logs", typeJSON, "", json, token + "x", nil, 401, `"code":16`},
		{"no token", "/alertmanager", typeJSON, "", nil, "", nil, 401, "no valid token"},
		{"busy", "/alertmanager", typeJSON, "", []byte(`{"version":"4","alerts":[]}`), token, route.ErrBusy, 503, "too many messages wait"},
		{"bomb", "/alertmanager", typeJSON, "gzip", bomb, token, nil, 413, "above the limit of 4194304 bytes"},
		{"large", "/alertmanager", typeJSON, "", make([]byte, signal.MaxMessage+1), token, nil, 413, "above the limit of 4194304 bytes"},
		{"not gzip", "/alertmanager", typeJSON, "gzip", []byte("{}"), token, nil, 400, "not gzip"},
		{"unknown encoding", "/alertmanager", typeJSON, "br", []byte("{}"), token, nil, 415, "must be gzip or absent"},
		{"deep", "/json/test", typeJSON, "", []byte(strings.Repeat("[", 1<<20)), token, nil, 400, "deeper than 64"},
		{"JSON", "/json/test", typeJSON, "", []byte(`{"name": "Errors"}`), token, nil, 200, `{"accepted":1}`},
		{"unknown JSON", "/json/none", typeJSON, "", []byte(`{}`), token, nil, 404, "not configured"},
		{"unknown path", "/none", typeJSON, "", []byte(`{}`), token, nil, 404, ""},
	} {
		to.err = c.err
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+c.path, bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", c.of)
		if c.encoding != "" {
			req.Header.Set("Content-Encoding", c.encoding)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "bearer "+c.token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		res.Body.Close()
		if err != nil || res.StatusCode != c.status || !strings.Contains(string(text), c.want) || (c.status == 503) != (res.Header.Get("Retry-After") == "1") {
			t.Errorf("%s: status %d, Retry-After %q, %q, %v; want %d, %q", c.name, res.StatusCode, res.Header.Get("Retry-After"), text, err, c.status, c.want)
		}
	}
	if len(to.signals) != 5 {
		t.Errorf("%d signals: %+v", len(to.signals), to.signals)
	}
}

// TestSender checks that signals name their sender if there are several.
func TestSender(t *testing.T) {
	to, i, _ := start(t)
	one, err := ParseSenders([]byte("a: " + token))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a", ""} {
		if _, err := i.deliver(t.Context(), "json/test", "a", &signal.Message{Signals: make([]signal.Signal, 1)}); err != nil {
			t.Fatal(err)
		}
		if got := to.signals[len(to.signals)-1].Sender; got != want {
			t.Errorf("sender %q, want %q", got, want)
		}
		i.Set(one, i.inputs.Load())
	}
}

// TestGRPC exports logs with the client of gRPC.
func TestGRPC(t *testing.T) {
	to, i, url := start(t)
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.UseCompressor(encoding.GetCompressor("gzip").Name())))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := plogotlp.NewGRPCClient(conn)
	authorized := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want codes.Code
	}{
		{"accepted", authorized, nil, codes.OK},
		{"no token", t.Context(), nil, codes.Unauthenticated},
		{"full", authorized, correlate.ErrFull, codes.Unavailable},
	} {
		to.err = c.err
		res, err := client.Export(c.ctx, request())
		if status.Code(err) != c.want || err == nil && res.PartialSuccess().RejectedLogRecords() != 1 {
			t.Errorf("%s: %+v, %v", c.name, res, err)
		}
	}
	large := request()
	large.Logs().ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().SetStr(strings.Repeat("x", signal.MaxMessage))
	to.err = nil
	if _, err := client.Export(authorized, large); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a large message: %v", err)
	}
	i.Set(i.Senders, nil)
	if _, err := client.Export(authorized, request()); status.Code(err) != codes.Unimplemented {
		t.Errorf("an input that is not configured: %v", err)
	}
	if len(to.signals) != 1 || to.signals[0].Name != "Lost" || to.signals[0].Labels["service"] != "gateway" {
		t.Errorf("%+v", to.signals)
	}
}

// TestHold checks that one sender leaves room for others.
func TestHold(t *testing.T) {
	_, i, _ := start(t)
	var releases []func()
	for {
		release, ok := i.hold("a", signal.MaxMessage)
		if !ok {
			break
		}
		releases = append(releases, release)
	}
	if len(releases) != maxPerSender/signal.MaxMessage {
		t.Errorf("a sender holds %d messages", len(releases))
	}
	if release, ok := i.hold("b", signal.MaxMessage); !ok {
		t.Error("no room for another sender")
	} else {
		release()
	}
	for _, release := range releases {
		release()
	}
	if release, ok := i.hold("a", signal.MaxMessage); !ok {
		t.Error("memory is not released")
	} else {
		release()
	}
}

// TestLimited sends more messages than a sender may, over each protocol.
func TestLimited(t *testing.T) {
	to, i, url := start(t)
	senders, err := ParseSenders([]byte("a: {token: " + token + ", messages_per_second: 4}\nb: {token: other-" + token + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	i.Set(senders, i.inputs.Load())
	var log strings.Builder
	now := time.Now()
	i.Now, i.Log = func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil))
	post := func(path, token, body string) (status int, after string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", typeJSON)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode, res.Header.Get("Retry-After")
	}
	for range 4 {
		if status, _ := post("/json/test", token, `{"name": "Errors"}`); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	for path, want := range map[string]int{"/json/test": 429, "/v1/logs": 429, "/alertmanager": 503} {
		if status, after := post(path, token, "not read"); status != want || after != "1" {
			t.Errorf("%s: status %d, Retry-After %q, want %d", path, status, after, want)
		}
	}
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = plogotlp.NewGRPCClient(conn).Export(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token), request())
	if s := status.Convert(err); s.Code() != codes.Unavailable || len(s.Details()) != 1 || s.Details()[0].(*errdetails.RetryInfo).RetryDelay.AsDuration() != time.Second {
		t.Errorf("gRPC: %v, details %v", err, status.Convert(err).Details())
	}
	if status, _ := post("/json/test", "other-"+token, `{"name": "Errors"}`); status != http.StatusOK {
		t.Errorf("another sender: status %d", status)
	}
	now = now.Add(250 * time.Millisecond)
	if status, _ := post("/json/test", token, `{"name": "Errors"}`); status != http.StatusOK {
		t.Errorf("after a quarter of a second: status %d", status)
	}
	if len(to.signals) != 6 {
		t.Errorf("%d signals, want 6", len(to.signals))
	}
	if n := strings.Count(log.String(), "more than 4 messages in a second"); n < 1 || n > 3 {
		t.Errorf("%d lines of the log for 4 refusals:\n%s", n, &log)
	}
	metrics := httptest.NewRecorder()
	i.Metrics.Handler().ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`input="json",result="limited",sender="a"} 1`, `input="otlp-logs",result="limited",sender="a"} 2`, `input="alertmanager",result="limited",sender="a"} 1`} {
		if !strings.Contains(metrics.Body.String(), want) {
			t.Errorf("no metric with %s", want)
		}
	}
}

// TestSenders checks the file of senders.
func TestSenders(t *testing.T) {
	for text, want := range map[string]string{
		"a: {messages_per_second: 5}":                       "a.token: must be specified",
		"a: {token: " + token + ", messages_per_second: 0}": "a.messages_per_second: must be a whole number from 1 to 1000000",
		"a: {token: " + token + ", rate: 5}":                "a.rate: unknown member",
		"a: {token: short}":                                 "a.token: a token must have at least 16 characters",
		"a: " + token + "\nb: {token: " + token + "}":       "b.token: the same token as that of a",
		"a: [" + token + "]":                                "a: ",
	} {
		if _, err := ParseSenders([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

const (
	origin      = "ledger.test/log"
	maxPayload  = 512 << 10
	acmeToken   = "mnt_acme_correct-horse-battery-staple"
	globexToken = "mnt_globex_open-sesame"

	operatorToken = "mno_operator_watching"
)

var roleNames = []string{"appender", "reader", "approver", "auditor", "admin"}

// roleToken returns the tenant's token of the role.
func roleToken(tenant, role string) string { return "mnt_" + tenant + "_i-am-" + role }

// withToken gives the tenant acme another token.
func withToken(token string, t auth.Token) func(*ledger.Config, *api.Config) {
	t.Hash = sha256.Sum256([]byte(token))
	return func(_ *ledger.Config, c *api.Config) { c.Tenants[0].Tokens = append(c.Tenants[0].Tokens, t) }
}

// A testServer is a real HTTP server, over HTTP/1.1 and unencrypted HTTP/2, of
// a log on a store in memory.
type testServer struct {
	t      testing.TB
	url    string
	api    *api.Server
	ledger *ledger.Ledger
	store  *memstore.Store
	policy *receipt.TrustPolicy
	vkey   string // the log's, as in the policy
	logs   *logBuffer
	keys   map[string]entry.StreamKey // of each tenant

	h1, h2 *http.Client

	watchRekor func(*limit.Book)
	settings   api.Settings // as the server was started with
	count      int          // of recorded inventories

	mu       sync.Mutex
	gate     chan struct{} // if set, the next commit waits here
	free     uint64
	failNext error
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newServer starts a server with the tenants acme and globex. Edits change the
// configurations before.
func newServer(t testing.TB, edits ...func(*ledger.Config, *api.Config)) *testServer {
	t.Helper()
	ts := &testServer{t: t, store: memstore.New(), logs: &logBuffer{}, free: 1 << 40, keys: map[string]entry.StreamKey{}}
	ts.store.Free = func() (uint64, error) {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		return ts.free, nil
	}
	ts.store.BeforeCommit = func(*store.Commit) error {
		ts.mu.Lock()
		gate, err := ts.gate, ts.failNext
		ts.gate = nil
		ts.mu.Unlock()
		if gate != nil {
			<-gate
		}
		return err
	}
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	ts.vkey = vkey
	if ts.policy, err = receipt.ParseTrustPolicy("test", []byte(receipt.FormatTrustPolicy(vkey))); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(ts.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	metrics := api.NewMetrics("v0.0.0-test")
	lc := ledger.Config{Store: ts.store, Signer: signer, Fatal: func(error) {}, Logger: logger, Observe: metrics.Observer(), ReserveBytes: 1 << 20, Governs: ingest.Governs, EntryCache: ledger.DefaultEntryCache}
	ac := api.Config{Logger: logger, Metrics: metrics, Settings: api.Settings{MaxPayload: maxPayload, PublicTlog: true}}
	for _, x := range []struct{ name, token string }{{"acme", acmeToken}, {"globex", globexToken}} {
		key := entry.StreamKey(sha256.Sum256([]byte("stream key of " + x.name)))
		ts.keys[x.name] = key
		ac.Tenants = append(ac.Tenants, auth.Tenant{Name: x.name, Stream: ledger.NewStream(key), Tokens: []auth.Token{{ID: x.name, Hash: sha256.Sum256([]byte(x.token)), Role: munimentv1.Role_ROLE_ADMIN}}})
		for _, name := range roleNames {
			role, err := auth.ParseRole(name)
			if err != nil {
				t.Fatal(err)
			}
			t := &ac.Tenants[len(ac.Tenants)-1]
			t.Tokens = append(t.Tokens, auth.Token{ID: name, Hash: sha256.Sum256([]byte(roleToken(x.name, name))), Role: role})
		}
	}
	ac.Operators = []auth.Operator{{ID: "operator", Hash: sha256.Sum256([]byte(operatorToken))}}
	for _, edit := range edits {
		edit(&lc, &ac)
	}
	ts.settings = ac.Settings
	if ts.ledger = ac.Ledger; ts.ledger == nil {
		if ts.ledger, err = ledger.Open(context.Background(), lc); err != nil {
			t.Fatal(err)
		}
	}
	metrics.Watch(ts.ledger, ts.store.FreeBytes)
	ts.watchRekor = func(book *limit.Book) { metrics.WatchRekor(ts.ledger, book) }
	ac.Ledger = ts.ledger
	if ts.api, err = api.New(context.Background(), ac); err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewUnstartedServer(ts.api.Handler())
	hs.Config.Protocols = new(http.Protocols)
	hs.Config.Protocols.SetHTTP1(true)
	hs.Config.Protocols.SetUnencryptedHTTP2(true)
	hs.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelError)
	hs.Start()
	ts.url = hs.URL
	ts.h1, ts.h2 = httpClient(false), httpClient(true)
	t.Cleanup(func() {
		ts.api.Drain()
		ts.h1.CloseIdleConnections()
		ts.h2.CloseIdleConnections()
		hs.Close()
		ts.ledger.Close()
	})
	return ts
}

// httpClient returns a client that speaks HTTP/1.1 or unencrypted HTTP/2.
func httpClient(h2 bool) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetUnencryptedHTTP2(h2)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// client returns a client with the token. It uses gRPC over HTTP/2 by default.
func (ts *testServer) client(token string, opts ...connect.ClientOption) munimentv1connect.LedgerServiceClient {
	if token != "" {
		opts = append(opts, connect.WithInterceptors(bearer(token)))
	}
	return munimentv1connect.NewLedgerServiceClient(ts.h2, ts.url, opts...)
}

// A bearer puts a token on every call.
type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, req)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return conn
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// block makes the next commit wait until release is called.
func (ts *testServer) block() (release func()) {
	gate := make(chan struct{})
	ts.mu.Lock()
	ts.gate = gate
	ts.mu.Unlock()
	var once sync.Once
	release = func() { once.Do(func() { close(gate) }) }
	ts.t.Cleanup(release)
	return release
}

// gateTaken reports whether a commit waits for release.
func (ts *testServer) gateTaken() bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.gate == nil
}

func (ts *testServer) setFree(n uint64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.free = n
}

func (ts *testServer) failCommits(err error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.failNext = err
}

// await waits until f returns true, and fails the test after a minute.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

func document(text string) *munimentv1.Submission {
	return &munimentv1.Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte(text)}
}

func request(tenant, text string) *connect.Request[munimentv1.AppendRequest] {
	return connect.NewRequest(&munimentv1.AppendRequest{Tenant: tenant, Submission: document(text)})
}

// append submits a document over HTTP and verifies the receipt.
func (ts *testServer) append(tenant, text string) *munimentv1.Appended {
	ts.t.Helper()
	token := map[string]string{"acme": acmeToken, "globex": globexToken}[tenant]
	res, err := ts.client(token).Append(context.Background(), request(tenant, text))
	if err != nil {
		ts.t.Fatal(err)
	}
	ts.verify(tenant, res.Msg.Appended.Receipt, []byte(text), res.Msg.Appended.Index)
	return res.Msg.Appended
}

func (ts *testServer) verify(tenant string, data, payload []byte, index uint64) *receipt.Statement {
	ts.t.Helper()
	key := ts.keys[tenant]
	s, err := receipt.Verify(data, []*receipt.TrustPolicy{ts.policy}, receipt.Options{Payload: payload, Tenant: &tenant, StreamKey: &key})
	if err != nil {
		ts.t.Fatal(err)
	}
	if s.Index != index {
		ts.t.Fatalf("the receipt is of entry %d, not %d", s.Index, index)
	}
	return s
}

// An httpAnswer is an answer that has been read.
type httpAnswer struct {
	status int
	header http.Header
	body   string
	// trailer follows the body over HTTP/2.
	trailer http.Header
}

// do sends a request without regard to any protocol of RPCs.
func (ts *testServer) do(c *http.Client, method, path, token string, header map[string]string, body io.Reader) httpAnswer {
	ts.t.Helper()
	req, err := http.NewRequest(method, ts.url+path, body)
	if err != nil {
		ts.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := c.Do(req)
	if err != nil {
		ts.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		ts.t.Fatal(err)
	}
	return httpAnswer{res.StatusCode, res.Header, string(b), res.Trailer}
}

func (ts *testServer) get(path string) httpAnswer {
	ts.t.Helper()
	return ts.do(ts.h1, "GET", path, "", nil, nil)
}

// metrics returns the response of /metrics to an operator.
func (ts *testServer) metrics() string {
	ts.t.Helper()
	a := ts.do(ts.h1, "GET", "/metrics", operatorToken, nil, nil)
	if a.status != 200 {
		ts.t.Fatalf("/metrics: status %d: %s", a.status, a.body)
	}
	return a.body
}

// post calls an RPC with plain JSON.
func (ts *testServer) post(method, token, body string) httpAnswer {
	ts.t.Helper()
	return ts.do(ts.h1, "POST", "/muniment.v1.LedgerService/"+method, token, map[string]string{"Content-Type": "application/json"}, strings.NewReader(body))
}

// connectError reads an error of the Connect protocol, with the fields that its
// details name.
func (a httpAnswer) connectError(t testing.TB) (code, message string, fields []string) {
	t.Helper()
	var e struct {
		Code    string
		Message string
		Details []struct{ Type, Value string }
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("status %d, the body is not an error of Connect: %q", a.status, a.body)
	}
	wantPlain(t, e.Message)
	for _, d := range e.Details {
		if d.Type != "buf.validate.Violations" {
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(d.Value)
		if err != nil {
			t.Fatal(err)
		}
		v := &validate.Violations{}
		if err := proto.Unmarshal(raw, v); err != nil {
			t.Fatal(err)
		}
		fields = append(fields, violated(t, v)...)
	}
	return e.Code, e.Message, fields
}

func violated(t testing.TB, v *validate.Violations) []string {
	var fields []string
	for _, x := range v.Violations {
		wantPlain(t, x.GetMessage())
		fields = append(fields, protovalidate.FieldPathString(x.Field))
	}
	return fields
}

// fieldsOf returns the fields that the details of an error name.
func fieldsOf(t *testing.T, err error) []string {
	t.Helper()
	var fields []string
	var ce *connect.Error
	if !asConnect(err, &ce) {
		t.Fatalf("not an error of an RPC: %v", err)
	}
	for _, d := range ce.Details() {
		v, err := d.Value()
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := v.(*validate.Violations); ok {
			fields = append(fields, violated(t, v)...)
		}
	}
	return fields
}

func asConnect(err error, ce **connect.Error) bool {
	e, ok := err.(*connect.Error)
	*ce = e
	return ok
}

// wantPlain expects a message without regular expressions, types and time
// layouts.
func wantPlain(t testing.TB, message string) {
	t.Helper()
	for _, shape := range []string{"regex", "Go ", "strconv.", "2006-", "cannot unmarshal", "proto:", "proto.", "!!str", "uint64", "int32"} {
		if strings.Contains(message, shape) {
			t.Errorf("the message %q has %q", message, shape)
		}
	}
}

// wantCode fails the test unless err has the code and, if a field is given,
// names it in its message and in a detail.
func wantCode(t *testing.T, what string, err error, code connect.Code, field string) {
	t.Helper()
	if err != nil {
		wantPlain(t, err.Error())
	}
	if got := connect.CodeOf(err); err == nil || got != code {
		t.Errorf("%s: got error %v, want code %s", what, err, code)
		return
	}
	if field == "" {
		return
	}
	if !strings.Contains(err.Error(), field) {
		t.Errorf("%s: the message %q does not name %s", what, err.Error(), field)
	}
	if fields := fieldsOf(t, err); !slices.Contains(fields, field) {
		t.Errorf("%s: the details of %q name %q, not %s", what, err.Error(), fields, field)
	}
}

// secrets returns every secret of the server in the ways in which it might be
// written.
func (ts *testServer) secrets() map[string]string {
	s := map[string]string{"acme's token": acmeToken, "globex's token": globexToken}
	for name, key := range ts.keys {
		s[name+"'s stream key, hexadecimal"] = hex.EncodeToString(key[:])
		s[name+"'s stream key, base64"] = base64.RawStdEncoding.EncodeToString(key[:])[:42]
		s[name+"'s stream key, as Go prints bytes"] = strings.Trim(fmt.Sprint(key), "[]")
	}
	return s
}

var longAgo = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)

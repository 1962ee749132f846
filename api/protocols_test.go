package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// TestProtocols checks that every protocol gives the same answers.
func TestProtocols(t *testing.T) {
	ts := newServer(t)
	for name, opts := range map[string][]connect.ClientOption{
		"Connect":                 nil,
		"Connect with JSON":       {connect.WithProtoJSON()},
		"Connect with GET":        {connect.WithHTTPGet()},
		"Connect, gzip":           {connect.WithSendGzip()},
		"gRPC":                    {connect.WithGRPC()},
		"gRPC, gzip":              {connect.WithGRPC(), connect.WithSendGzip()},
		"gRPC with JSON":          {connect.WithGRPC(), connect.WithProtoJSON()},
		"gRPC-Web":                {connect.WithGRPCWeb()},
		"gRPC-Web with JSON, h1":  {connect.WithGRPCWeb(), connect.WithProtoJSON()},
		"Connect over HTTP/1.1":   nil,
		"Connect, large messages": {connect.WithSendGzip()},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			c := ts.client(acmeToken, opts...)
			if strings.Contains(name, "1") {
				c = munimentv1connect.NewLedgerServiceClient(ts.h1, ts.url, append(opts, connect.WithInterceptors(bearer(acmeToken)))...)
			}
			text := "sent by " + name
			if strings.Contains(name, "large") {
				text += strings.Repeat(" and more", 30000)
			}
			appended, err := c.Append(ctx, request("acme", text))
			if err != nil {
				t.Fatal(err)
			}
			i := appended.Msg.Appended.Index
			ts.verify("acme", appended.Msg.Appended.Receipt, []byte(text), i)
			entry, err := c.GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: i, IncludePayload: true}))
			if err != nil || string(entry.Msg.Payload) != text || entry.Msg.Entry.Index != i {
				t.Fatalf("GetEntry: %v, %v", entry, err)
			}
			rec, err := c.GetReceipt(ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: "acme", Index: i, IncludePayload: true}))
			if err != nil {
				t.Fatal(err)
			}
			ts.verify("acme", rec.Msg.Receipt, nil, i)
			list, err := c.ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme", PageSize: 1}))
			if err != nil || len(list.Msg.Entries) != 1 || list.Msg.Entries[0].Index != i {
				t.Fatalf("ListEntries: %v, %v", list, err)
			}
			_, err = c.GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: 1 << 40}))
			wantCode(t, "an entry beyond the log", err, connect.CodeOutOfRange, "index")
			watchCtx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := c.WatchEntries(watchCtx, connect.NewRequest(&munimentv1.WatchEntriesRequest{Tenant: "acme", FromIndex: i}))
			if err != nil {
				t.Fatal(err)
			}
			if !stream.Receive() || stream.Msg().GetEntry().GetIndex() != i {
				t.Fatalf("WatchEntries: %v, %v", stream.Msg(), stream.Err())
			}
			cancel()
			stream.Close()
		})
	}
}

// These are the calls that anyone can make with curl.
func TestPlainJSON(t *testing.T) {
	ts := newServer(t)
	a := ts.post("Append", acmeToken, fmt.Sprintf(`{"tenant":"acme","submission":{"kind":"attestation","mediaType":"text/plain","payload":%q}}`, base64.StdEncoding.EncodeToString([]byte("by curl"))))
	if a.status != 200 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	var res struct {
		Appended struct {
			Index, Duplicate any
			Receipt          []byte
		}
	}
	if err := json.Unmarshal([]byte(a.body), &res); err != nil {
		t.Fatal(err)
	}
	ts.verify("acme", res.Appended.Receipt, []byte("by curl"), 0)
	a = ts.do(ts.h1, "GET", "/muniment.v1.LedgerService/GetCheckpoint?encoding=json&message="+url.QueryEscape("{}"), acmeToken, nil, nil)
	if a.status != 200 || !strings.Contains(a.body, `"treeSize":"1"`) {
		t.Errorf("GET: status %d: %s", a.status, a.body)
	}
	a = ts.do(ts.h1, "GET", "/muniment.v1.LedgerService/Append?encoding=json&message="+url.QueryEscape("{}"), acmeToken, nil, nil)
	if a.status != 405 {
		t.Errorf("GET of Append: status %d: %s", a.status, a.body)
	}
	if a := ts.post("NoSuchMethod", acmeToken, "{}"); a.status != 404 {
		t.Errorf("unknown method: status %d", a.status)
	}
	if a := ts.get("/"); a.status != 404 || !strings.Contains(a.body, "/tlog/checkpoint") {
		t.Errorf("unknown path: status %d: %s", a.status, a.body)
	}
}

func TestHealth(t *testing.T) {
	ts := newServer(t)
	ctx := context.Background()
	health := grpchealth.NewClient(ts.h2, ts.url, connect.WithGRPC())
	check := func(service string, want grpchealth.Status) {
		t.Helper()
		res, err := health.Check(ctx, &grpchealth.CheckRequest{Service: service})
		if err != nil || res.Status != want {
			t.Errorf("health of %q: got %v, %v, want %s", service, res, err, want)
		}
	}
	ready := func(status int, says string) {
		t.Helper()
		if a := ts.get("/readyz"); a.status != status || !strings.Contains(a.body, says) {
			t.Errorf("/readyz: status %d: %s", a.status, a.body)
		}
		if a := ts.get("/healthz"); a.status != 200 || a.body != "ok\n" {
			t.Errorf("/healthz: status %d: %s", a.status, a.body)
		}
	}
	check("", grpchealth.StatusServing)
	check(munimentv1connect.LedgerServiceName, grpchealth.StatusServing)
	ready(200, "ready")
	_, err := health.Check(ctx, &grpchealth.CheckRequest{Service: "no.such.Service"})
	wantCode(t, "health of an unknown service", err, connect.CodeNotFound, "")

	ts.setFree(1000)
	check("", grpchealth.StatusNotServing)
	check(munimentv1connect.LedgerServiceName, grpchealth.StatusNotServing)
	ready(503, "disk is nearly full")
	ts.setFree(1 << 40)
	check("", grpchealth.StatusServing)
	ready(200, "ready")

	ts.api.Leave()
	check("", grpchealth.StatusNotServing)
	ready(503, "not ready: the server is shutting down")
	ts.append("acme", "calls are still answered")
	res, err := http.Get(ts.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); !res.Close {
		t.Error("the connection to a server that shuts down stays open")
	}

	ts.ledger.Close()
	check("", grpchealth.StatusNotServing)
	ready(503, "shutting down")
}

func TestReflection(t *testing.T) {
	ts := newServer(t)
	client := grpcreflect.NewClient(ts.h2, ts.url, connect.WithGRPC(), connect.WithInterceptors(bearer(acmeToken)))
	stream := client.NewStream(context.Background())
	defer stream.Close()
	names, err := stream.ListServices()
	if err != nil || fmt.Sprint(names) != "[muniment.v1.LedgerService muniment.v1.IdentityService muniment.v1.AdminService muniment.v1.ExportService muniment.v1.BundleService muniment.v1.GateService muniment.v1.PortalService grpc.health.v1.Health]" {
		t.Fatalf("services: %v, %v", names, err)
	}
	files, err := stream.FileContainingSymbol("muniment.v1.LedgerService")
	if err != nil || len(files) == 0 || files[0].GetName() != "muniment/v1/ledger.proto" {
		t.Fatalf("files: %v, %v", files, err)
	}
}

func TestMetrics(t *testing.T) {
	ts := newServer(t)
	ts.append("acme", "one")
	ts.append("acme", "two")
	ts.append("acme", "two")
	if _, err := ts.client(acmeToken).Append(context.Background(), request("globex", "three")); err == nil {
		t.Fatal("appended to another tenant")
	}
	ts.setFree(0)
	if _, err := ts.client(acmeToken).Append(context.Background(), request("acme", "four")); err == nil {
		t.Fatal("appended to a full disk")
	}
	metrics := ts.metrics()
	for _, line := range []string{
		"muniment_entries_total 2", "muniment_tree_size 2", "muniment_pending_entries 0", "muniment_ready 0", "muniment_disk_free_bytes 0",
		`muniment_rpc_total{code="ok",procedure="/muniment.v1.LedgerService/Append"} 3`,
		`muniment_rpc_total{code="permission_denied",procedure="/muniment.v1.LedgerService/Append"} 1`,
		`muniment_refused_entries_total{reason="disk_full"} 1`, "muniment_batch_entries_count 2",
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("the metrics lack the line %s", line)
		}
	}
	// Metrics and reflection require a token, even on the same machine. For
	// metrics, a tenant's token is not enough.
	for _, path := range []string{"/metrics", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		method := map[bool]string{true: "GET", false: "POST"}[path == "/metrics"]
		if a := ts.do(ts.h1, method, path, "", nil, nil); a.status != 401 || a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s without a token: status %d", path, a.status)
		}
	}
	if a := ts.do(ts.h1, "GET", "/metrics", acmeToken, nil, nil); a.status != 403 {
		t.Errorf("/metrics with a tenant's token: status %d", a.status)
	}
}

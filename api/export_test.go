package api_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/store/memstore"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/facts"
)

// export reads a delta over gRPC.
func (ts *testServer) export(token, tenant string, since uint64) ([]byte, error) {
	ts.t.Helper()
	client := munimentv1connect.NewExportServiceClient(ts.h2, ts.url, connect.WithInterceptors(bearer(token)))
	stream, err := client.Export(context.Background(), connect.NewRequest(&munimentv1.ExportRequest{Tenant: tenant, Since: since}))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var file []byte
	for stream.Receive() {
		file = append(file, stream.Msg().Data...)
	}
	return file, stream.Err()
}

// TestAttestedExport checks that the attestation is about the file that was
// sent, and that a log without a gate key sends neither.
func TestAttestedExport(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := attest.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := dsse.NewKey("gate.pub", private.Public())
	if err != nil {
		t.Fatal(err)
	}
	export := func(ts *testServer) (file, attestation []byte, err error) {
		ts.append("acme", "evidence")
		client := munimentv1connect.NewExportServiceClient(ts.h2, ts.url, connect.WithInterceptors(bearer(acmeToken)))
		stream, err := client.Export(context.Background(), connect.NewRequest(&munimentv1.ExportRequest{Tenant: "acme", Attest: true}))
		if err != nil {
			return nil, nil, err
		}
		defer stream.Close()
		for stream.Receive() {
			file, attestation = append(file, stream.Msg().Data...), append(attestation, stream.Msg().Attestation...)
		}
		return file, attestation, stream.Err()
	}
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.GateKey = signer })
	file, attestation, err := export(ts)
	if err != nil {
		t.Fatal(err)
	}
	if err := attest.VerifyDelta(attestation, key, bytes.NewReader(file), ts.policy.Origin()); err != nil {
		t.Error(err)
	}
	ts.replica(file)
	file, attestation, err = export(newServer(t))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition || len(file)+len(attestation) > 0 {
		t.Errorf("without a gate key: %d and %d bytes, %v", len(file), len(attestation), err)
	}
}

// replica returns a server of a replica that has imported the file.
func (ts *testServer) replica(file []byte, edits ...func(*ledger.Config, *api.Config)) (*testServer, *ledger.ImportReport) {
	ts.t.Helper()
	ctx, st := context.Background(), memstore.NewRaw()
	r, err := ledger.Import(ctx, st, bytes.NewReader(file), int64(len(file)), ledger.ImportOptions{Policy: ts.policy, Derive: facts.Derive, Streams: []*ledger.Stream{ledger.NewStream(ts.keys["acme"])}})
	if err != nil {
		ts.t.Fatal(err)
	}
	there := newServer(ts.t, append(edits, func(_ *ledger.Config, ac *api.Config) {
		if ac.Ledger, err = ledger.OpenReplica(ctx, ledger.Config{Store: st, EntryCache: ledger.DefaultEntryCache}, ts.policy); err != nil {
			ts.t.Fatal(err)
		}
	})...)
	there.policy = ts.policy
	return there, r
}

// A replica admits callers by its own configuration only. Revocations would
// reach it too late, and its token IDs differ from the log's.
func TestTokensOfReplicas(t *testing.T) {
	ts := newServer(t)
	issued, err := ts.issue(&munimentv1.Grant{Id: "ci", Role: munimentv1.Role_ROLE_READER})
	if err != nil {
		t.Fatal(err)
	}
	if err := ts.revoke("reader"); err != nil {
		t.Fatal(err)
	}
	file, err := ts.export(acmeToken, "acme", 0)
	if err != nil {
		t.Fatal(err)
	}
	there, _ := ts.replica(file)
	if _, err := there.whoami(issued); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("a token that the log has issued: %v", err)
	}
	if _, err := there.whoami(roleToken("acme", "reader")); err != nil {
		t.Errorf("a token of the replica's configuration: %v", err)
	}
}

// The replica that imports a tenant's export serves the same receipts and
// refuses appends.
func TestExportAndReplica(t *testing.T) {
	ts := newServer(t)
	for i := range 5 {
		ts.append("acme", fmt.Sprint("acme's ", i))
		ts.append("globex", fmt.Sprint("globex's ", i))
	}
	ts.append("acme", strings.Repeat("a large one ", 30_000))
	file, err := ts.export(acmeToken, "acme", 0)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file, []byte("globex")) {
		t.Error("another tenant's entries are in the file")
	}
	there, r := ts.replica(file)
	if r.Records != 6 || r.To != 11 {
		t.Fatalf("%+v", r)
	}
	if _, err := there.ledger.Append(context.Background(), nil); err == nil {
		t.Error("the replica takes appends")
	}
	client := there.client(acmeToken)
	for _, index := range []uint64{0, 4, 10} {
		res, err := client.GetReceipt(context.Background(), connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: "acme", Index: index, IncludePayload: true}))
		if err != nil {
			t.Fatal(err)
		}
		there.verify("acme", res.Msg.Receipt, nil, index)
	}
	_, err = client.GetReceipt(context.Background(), connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: "acme", Index: 1}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("another tenant's entry: %v", err)
	}
	_, err = client.Append(context.Background(), request("acme", "no"))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "read-only replica") {
		t.Errorf("append: %v", err)
	}
	if _, err = there.export(acmeToken, "acme", 0); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("export: %v", err)
	}
	list, err := client.ListEntries(context.Background(), connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme"}))
	if err != nil || len(list.Msg.Entries) != 6 {
		t.Errorf("list: %v, %v", list, err)
	}
	if a := there.get("/readyz"); a.status != 200 {
		t.Errorf("readyz: %d", a.status)
	}

	for _, bad := range []struct {
		tenant string
		since  uint64
		code   connect.Code
	}{{"globex", 0, connect.CodePermissionDenied}, {"acme", 12, connect.CodeOutOfRange}, {"acme", 11, connect.CodeFailedPrecondition}} {
		if got, err := ts.export(acmeToken, bad.tenant, bad.since); connect.CodeOf(err) != bad.code || len(got) > 0 {
			t.Errorf("export of %s since %d: %v, %d bytes", bad.tenant, bad.since, err, len(got))
		}
	}
}

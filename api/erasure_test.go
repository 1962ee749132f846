package api_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	onlyPayload = munimentv1.ErasureScope_ERASURE_SCOPE_PAYLOAD
	allOfIt     = munimentv1.ErasureScope_ERASURE_SCOPE_HEADER_AND_PAYLOAD
)

func (ts *testServer) erase(index uint64, scope munimentv1.ErasureScope, reason string) (*munimentv1.EraseResponse, error) {
	res, err := ts.admin(acmeToken).Erase(context.Background(), connect.NewRequest(&munimentv1.EraseRequest{Tenant: "acme", Index: index, Scope: scope, Reason: reason}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (ts *testServer) receiptForm(index uint64) receipt.Form {
	ts.t.Helper()
	res, err := ts.client(acmeToken).GetReceipt(context.Background(), connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: "acme", Index: index}))
	if err != nil {
		ts.t.Fatal(err)
	}
	r, err := receipt.Parse(res.Msg.Receipt)
	if err != nil {
		ts.t.Fatal(err)
	}
	return r.Form
}

func TestErase(t *testing.T) {
	ts := newServer(t)
	ctx := context.Background()
	c := ts.client(acmeToken)
	first := ts.append("acme", "secret one")
	ts.append("acme", "secret two")
	ts.append("globex", "secret one")

	r, err := ts.erase(0, onlyPayload, "request 88")
	if err != nil {
		t.Fatal(err)
	}
	if r.Scope != onlyPayload || r.Appended.Index != 3 {
		t.Errorf("%v", r)
	}
	ts.verify("acme", first.Receipt, []byte("secret one"), 0) // for every holder
	if f := ts.receiptForm(0); f != receipt.PayloadErased {
		t.Errorf("the receipt's form is %s", f)
	}
	e, err := c.GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: 0, IncludePayload: true}))
	if err != nil || !e.Msg.Entry.PayloadErased || e.Msg.Payload != nil || e.Msg.Entry.Kind != "attestation" {
		t.Errorf("the entry: %v, %v", e, err)
	}
	_, err = readPayload(c, "acme", 0)
	wantCode(t, "its payload", err, connect.CodeFailedPrecondition, "index")

	// The erasure is an entry that records what, why and by whom, and nothing
	// of the erased content.
	e, err = c.GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: 3, IncludePayload: true}))
	if err != nil {
		t.Fatal(err)
	}
	a := e.Msg.Entry.Attributes
	if e.Msg.Entry.Kind != "erasure" || a["entry"] != "0" || a["scope"] != "payload" || a["reason"] != "request 88" || e.Msg.Entry.Submitter != "token:acme" {
		t.Errorf("the erasure: %v", e.Msg.Entry)
	}
	if want := `{"index":"0","scope":"payload","reason":"request 88","actor":"token:acme"}`; string(e.Msg.Payload) != want {
		t.Errorf("the erasure: %s, want %s", e.Msg.Payload, want)
	}

	_, err = ts.erase(0, onlyPayload, "again")
	wantCode(t, "again", err, connect.CodeFailedPrecondition, "index")
	if r, err = ts.erase(0, allOfIt, "the rest"); err != nil || r.Scope != allOfIt || ts.receiptForm(0) != receipt.HeaderErased {
		t.Errorf("the header: %v, %v", r, err)
	}
	_, err = ts.erase(3, allOfIt, "traces")
	wantCode(t, "an erasure", err, connect.CodeFailedPrecondition, "index")
	_, err = ts.erase(2, allOfIt, "another tenant's")
	wantCode(t, "another tenant's entry", err, connect.CodeNotFound, "index")
	_, err = ts.erase(100, allOfIt, "nothing")
	wantCode(t, "no entry", err, connect.CodeOutOfRange, "index")
	_, err = ts.erase(1, onlyPayload, "")
	wantCode(t, "without a reason", err, connect.CodeInvalidArgument, "reason")
	_, err = ts.erase(1, 0, "no scope")
	wantCode(t, "without a scope", err, connect.CodeInvalidArgument, "scope")
	_, err = ts.erase(1, onlyPayload, fmt.Sprintf("SHA256:%X", sha256.Sum256([]byte("secret two"))))
	wantCode(t, "with a reason that betrays the payload", err, connect.CodeInvalidArgument, "reason")
	_, err = ts.admin(roleToken("acme", "reader")).Erase(ctx, connect.NewRequest(&munimentv1.EraseRequest{Tenant: "acme", Index: 1, Scope: onlyPayload, Reason: "x"}))
	wantCode(t, "as a reader", err, connect.CodePermissionDenied, "")

	if again := ts.append("acme", "secret one"); again.Duplicate || again.Index == 0 {
		t.Errorf("the erased evidence again: %v", again)
	}
	await(t, "the purge", func() bool { return strings.Contains(ts.metrics(), "muniment_unpurged_erasures 0\n") })

	// An event whose idempotency key is the digest of the payload.
	doc := `{"entity":"Asset","checkpoint":"50%","acaScore":0.96,"ts":"2026-04-19T12:00Z","rollbackReady":true}`
	res, err := c.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{
		Kind: "backfill-checkpoint", Payload: []byte(doc), IdempotencyKey: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(doc)))}}))
	if err != nil {
		t.Fatal(err)
	}
	if r, err = ts.erase(res.Msg.Appended.Index, onlyPayload, "x"); err != nil || r.Scope != allOfIt {
		t.Errorf("an event whose key is a digest of it: %v, %v", r, err)
	}
}

func (ts *testServer) applyRetention(dryRun bool) (out []string) {
	ts.t.Helper()
	stream, err := ts.admin(acmeToken).ApplyRetention(context.Background(), connect.NewRequest(&munimentv1.ApplyRetentionRequest{Tenant: "acme", DryRun: dryRun}))
	if err != nil {
		ts.t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
		m := stream.Msg()
		out = append(out, fmt.Sprintf("%d %s: %s", m.Index, scopeName(m.Scope), m.KeptBecause))
	}
	if stream.Err() != nil {
		ts.t.Fatal(stream.Err())
	}
	return out
}

func scopeName(s munimentv1.ErasureScope) string {
	return map[munimentv1.ErasureScope]string{onlyPayload: "payload", allOfIt: "all"}[s]
}

// The newest inventory of a source is kept. Without its header nothing would
// show that it is missing, and a planted artifact would vanish with it.
func TestInventoriesAreKept(t *testing.T) {
	later := time.Duration(0)
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) {
		c.Now = func() time.Time { return time.Now().Add(later) }
	})
	record := func(key, source string) uint64 {
		t.Helper()
		a, err := ts.event(acmeToken, "inventory", key, fmt.Sprintf(`{"environment":"prod","scope":"exists","source":%q,"observed":%q,"items":[{"artifact":{"name":"planted","digest":{"sha256":%q}}}]}`,
			source, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), strings.Repeat("d", 64)))
		if err != nil {
			t.Fatal(err)
		}
		return a.Index
	}
	old, newest := record("k1", "registry"), record("k2", "registry")
	if _, err := ts.admin(acmeToken).SetRetention(context.Background(), connect.NewRequest(&munimentv1.SetRetentionRequest{Tenant: "acme", Rules: []*munimentv1.RetentionRule{{Kind: "inventory", Days: 7, Scope: allOfIt}}, Reason: "policy 7"})); err != nil {
		t.Fatal(err)
	}
	later = 8 * 24 * time.Hour
	got := ts.applyRetention(false)
	if len(got) != 2 || !strings.Contains(got[1], "coverage counts the inventory of what exists in prod (registry)") || strings.Contains(got[0], "coverage") {
		t.Errorf("retention: %q", got)
	}
	if form := ts.receiptForm(old); form != receipt.HeaderErased {
		t.Errorf("the inventory that was replaced is %s", form)
	}
	_, err := ts.erase(newest, allOfIt, "hide it")
	wantCode(t, "the newest inventory", err, connect.CodeFailedPrecondition, "index")
	if err == nil || !strings.Contains(err.Error(), "coverage counts the inventory of what exists in prod (registry), and without its header nothing would show that it is missing: erase its payload only, or replace it first") {
		t.Errorf("the newest inventory: %v", err)
	}
	if _, err := ts.erase(newest, onlyPayload, "a name in it is confidential"); err != nil {
		t.Errorf("its payload: %v", err)
	}
	record("k3", "registry")
	if _, err := ts.erase(newest, allOfIt, "replaced"); err != nil {
		t.Errorf("after a newer one: %v", err)
	}
}

func TestRetentionAndHolds(t *testing.T) {
	later := time.Duration(0)
	people := newCompany(t)
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) {
		c.Now = func() time.Time { return time.Now().Add(later) }
	}, people.employs())
	ctx := context.Background()
	admin := ts.admin(acmeToken)
	statement := func(name, digest string) *munimentv1.Appended {
		t.Helper()
		payload := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":%q,"digest":{"sha256":%q}}],"predicateType":"https://example.com/p/v1","predicate":{}}`, name, strings.Repeat(digest, 64))
		res, err := ts.client(acmeToken).Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(payload)}}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Appended
	}
	// 0
	ts.append("acme", "plain")
	// 1
	statement("held", "a")
	// 2
	statement("registry.example/excepted:1.7.0", "b")
	// 3
	statement("excepted by digest", "c")
	// 4
	ts.append("globex", "another tenant's")
	// 5, 6
	requester, approver := people.token(ts, "dana", "appender"), people.token(ts, "kim", "approver")
	// 7
	x, err := ts.event(requester, "exception-request", "e", exceptionRequest("EXC-1", strings.Repeat("c", 64), "registry.example/excepted:1.7.*", time.Now().Add(100*24*time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ts.event(approver, "exception-decision", "d", exceptionApproval("EXC-1", x.Index)); err != nil {
		// 8
		t.Fatal(err)
	}

	setRules := func(rules ...*munimentv1.RetentionRule) error {
		_, err := admin.SetRetention(ctx, connect.NewRequest(&munimentv1.SetRetentionRequest{Tenant: "acme", Rules: rules, Reason: "policy 7"}))
		return err
	}
	rule := func(kind string, days uint32, scope munimentv1.ErasureScope) *munimentv1.RetentionRule {
		return &munimentv1.RetentionRule{Kind: kind, Days: days, Scope: scope}
	}
	if got := ts.applyRetention(false); len(got) != 0 {
		t.Errorf("without rules: %q", got)
	}
	wantCode(t, "a rule for the log's own record", setRules(rule("erasure", 1, allOfIt)), connect.CodeInvalidArgument, "rules[0].kind")
	wantCode(t, "a rule for no kind", setRules(rule("attestation", 1, allOfIt), rule("nonsense", 1, allOfIt)), connect.CodeInvalidArgument, "rules[1].kind")
	wantCode(t, "two rules for a kind", setRules(rule("attestation", 1, allOfIt), rule("attestation", 2, allOfIt)), connect.CodeInvalidArgument, "rules[1].kind")
	if err := setRules(rule("attestation", 30, onlyPayload), rule("exception-request", 30, allOfIt), rule("exception-decision", 30, allOfIt)); err != nil {
		// 9
		t.Fatal(err)
	}

	hold := func(id string, release bool, f *munimentv1.Filter) error {
		_, err := admin.SetLegalHold(ctx, connect.NewRequest(&munimentv1.SetLegalHoldRequest{Tenant: "acme", Id: id, Release: release, Filter: f, Reason: "case " + id}))
		return err
	}
	if err := hold("case-1", false, &munimentv1.Filter{Subject: "sha256:" + strings.Repeat("a", 64)}); err != nil {
		// 10
		t.Fatal(err)
	}
	wantCode(t, "a hold that is there", hold("case-1", false, nil), connect.CodeFailedPrecondition, "id")
	wantCode(t, "to release a hold that is not there", hold("case-2", true, nil), connect.CodeNotFound, "id")
	wantCode(t, "a filter with a wrong time", hold("case-2", false, &munimentv1.Filter{From: &timestamppb.Timestamp{Nanos: -1}}), connect.CodeInvalidArgument, "filter.from")
	holds, err := admin.ListLegalHolds(ctx, connect.NewRequest(&munimentv1.ListLegalHoldsRequest{Tenant: "acme"}))
	if err != nil || len(holds.Msg.Holds) != 1 || holds.Msg.Holds[0].Id != "case-1" || holds.Msg.Holds[0].Reason != "case case-1" || holds.Msg.Holds[0].Filter.Subject == "" {
		t.Errorf("holds: %v, %v", holds, err)
	}
	_, err = ts.erase(1, onlyPayload, "x")
	wantCode(t, "an entry under a hold", err, connect.CodeFailedPrecondition, "index")
	if err != nil && !strings.Contains(err.Error(), `"case-1"`) {
		t.Errorf("the error does not name the hold: %v", err)
	}

	if got := ts.applyRetention(false); len(got) != 0 {
		t.Errorf("before their time: %q", got)
	}
	later = 31 * 24 * time.Hour
	like := func(when string, got []string, want ...string) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %q, want %q", when, got, want)
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) || strings.HasSuffix(want[i], ": ") && got[i] != want[i] {
				t.Errorf("%s: %q, want %q", when, got[i], want[i])
			}
		}
	}
	kept := []string{"1 payload: index: entry 1 is under a legal hold, \"case-1\" (entry 10)", "2 payload: the exception EXC-1 (entry 7), in force until", "3 payload: the exception EXC-1 (entry 7)"}
	want := slices.Concat([]string{"0 payload: "}, kept, []string{"7 all: the exception EXC-1 is in force until", "8 all: the exception EXC-1 is in force until"})
	size := ts.ledger.Published().Size
	like("a dry run", ts.applyRetention(true), want...)
	if ts.ledger.Published().Size != size || ts.receiptForm(0) != receipt.Detached {
		t.Error("the dry run did something")
	}
	like("a run", ts.applyRetention(false), want...)
	if ts.receiptForm(0) != receipt.PayloadErased || ts.receiptForm(1) != receipt.Detached {
		t.Error("the run did something else")
	}
	like("another run", ts.applyRetention(false), want[1:]...)
	if err := hold("case-1", true, nil); err != nil {
		t.Fatal(err)
	}
	like("without the hold", ts.applyRetention(false), "1 payload: ", want[2], want[3], want[4], want[5])
	if err := hold("all", false, nil); err != nil { // everything
		t.Fatal(err)
	}
	later = 101 * 24 * time.Hour
	like("after the exception, under another hold", ts.applyRetention(false), `2 payload: index: entry 2 is under a legal hold, "all"`, "3 payload: index", "7 all: index", "8 all: index")
	if err := hold("all", true, nil); err != nil {
		t.Fatal(err)
	}
	like("after all", ts.applyRetention(false), "2 payload: ", "3 payload: ", "7 all: ", "8 all: ")
	like("at the end", ts.applyRetention(false))
	if err := setRules(); err != nil {
		t.Fatal(err)
	}
	ts.append("acme", "later")
	later = 500 * 24 * time.Hour
	like("without rules again", ts.applyRetention(false))
	if list, err := ts.client(globexToken).GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "globex", Index: 4})); err != nil || list.Msg.Entry.PayloadErased {
		t.Errorf("the other tenant's entry: %v, %v", list, err)
	}
}

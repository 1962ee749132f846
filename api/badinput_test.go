package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
	"muniment.dev/muniment/verifiers/external"
)

// unchanged fails the test if the log has another root than when it was called;
// defer it.
func (ts *testServer) unchanged() func() {
	before := ts.ledger.Published()
	return func() {
		ts.t.Helper()
		if p := ts.ledger.Published(); p.Size != before.Size || p.Root != before.Root {
			ts.t.Errorf("bad input changed the log: size %d, before %d", p.Size, before.Size)
		}
	}
}

type rpcs = munimentv1connect.LedgerServiceClient

func submit(s *munimentv1.Submission) func(context.Context, rpcs) error {
	return func(ctx context.Context, c rpcs) error {
		_, err := c.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: s}))
		return err
	}
}

func list(r *munimentv1.ListEntriesRequest) func(context.Context, rpcs) error {
	return func(ctx context.Context, c rpcs) error {
		if r.Tenant == "" {
			r.Tenant = "acme"
		}
		_, err := c.ListEntries(ctx, connect.NewRequest(r))
		return err
	}
}

func getReceipt(r *munimentv1.GetReceiptRequest) func(context.Context, rpcs) error {
	return func(ctx context.Context, c rpcs) error {
		r.Tenant = "acme"
		_, err := c.GetReceipt(ctx, connect.NewRequest(r))
		return err
	}
}

func inclusion(index, size uint64) func(context.Context, rpcs) error {
	return func(ctx context.Context, c rpcs) error {
		_, err := c.GetInclusionProof(ctx, connect.NewRequest(&munimentv1.GetInclusionProofRequest{Index: index, TreeSize: size}))
		return err
	}
}

func consistency(from, to uint64) func(context.Context, rpcs) error {
	return func(ctx context.Context, c rpcs) error {
		_, err := c.GetConsistencyProof(ctx, connect.NewRequest(&munimentv1.GetConsistencyProofRequest{FromSize: from, ToSize: to}))
		return err
	}
}

func watch(r *munimentv1.WatchEntriesRequest) func(context.Context, rpcs) error {
	return func(ctx context.Context, c rpcs) error {
		r.Tenant = "acme"
		stream, err := c.WatchEntries(ctx, connect.NewRequest(r))
		if err != nil {
			return err
		}
		defer stream.Close()
		for stream.Receive() {
		}
		return stream.Err()
	}
}

func batch(n int) func(context.Context, rpcs) error {
	return func(ctx context.Context, c rpcs) error {
		r := &munimentv1.AppendBatchRequest{Tenant: "acme"}
		for i := range n {
			r.Submissions = append(r.Submissions, document(fmt.Sprint("of many ", i)))
		}
		_, err := c.AppendBatch(ctx, connect.NewRequest(r))
		return err
	}
}

// Bad input causes the right code, a message and a detail that name the field,
// and no change.
func TestBadInput(t *testing.T) {
	ts := newServer(t)
	ctx := context.Background()
	if err := batch(3)(ctx, ts.client(acmeToken)); err != nil {
		t.Fatal(err)
	}
	ts.append("acme", "fourth")
	page, err := ts.client(acmeToken).ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme", PageSize: 1}))
	if err != nil {
		t.Fatal(err)
	}
	token := page.Msg.NextPageToken
	defer ts.unchanged()()
	const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	long := strings.Repeat("x", 256)
	sub := func(kind, mediaType, payload string) *munimentv1.Submission {
		return &munimentv1.Submission{Kind: kind, MediaType: mediaType, Payload: []byte(payload)}
	}
	keyed := func(s *munimentv1.Submission, key string) *munimentv1.Submission {
		s.IdempotencyKey = key
		return s
	}
	times := func(from, to *timestamppb.Timestamp) *munimentv1.ListEntriesRequest {
		return &munimentv1.ListEntriesRequest{Filter: &munimentv1.Filter{From: from, To: to}}
	}
	invalid, outOfRange, precondition := connect.CodeInvalidArgument, connect.CodeOutOfRange, connect.CodeFailedPrecondition
	for _, c := range []struct {
		name  string
		call  func(context.Context, rpcs) error
		code  connect.Code
		field string
	}{
		{"payload too large", submit(sub("attestation", "text/plain", strings.Repeat("x", maxPayload+1))), invalid, "submission.payload"},
		{"empty payload", submit(sub("attestation", "text/plain", "")), invalid, "submission.payload"},
		{"missing submission", submit(nil), invalid, "submission"},
		{"missing kind", submit(sub("", "text/plain", "x")), invalid, "submission.kind"},
		{"unknown kind", submit(sub("gossip", "text/plain", "x")), invalid, "submission.kind"},
		{"malformed kind", submit(sub("Attestation!", "text/plain", "x")), invalid, "submission.kind"},
		{"bad media type", submit(sub("attestation", "not a media type", "x")), invalid, "submission.media_type"},
		{"bad media type parameters", submit(sub("attestation", "text/plain;a=b;a=c", "x")), invalid, "submission.media_type"},
		{"long media type", submit(sub("attestation", "text/"+long, "x")), invalid, "submission.media_type"},
		{"missing media type", submit(sub("attestation", "", "x")), invalid, "submission.media_type"},
		{"media type of another kind", submit(keyed(sub("backfill-checkpoint", "text/plain", "{}"), "k")), invalid, "submission.media_type"},
		{"broken bundle", submit(sub("attestation", bundle, `{"mediaType":"`+bundle+`","verificationMaterial":{}}`)), invalid, "submission.payload"},
		{"broken bundle, recognised", submit(sub("attestation", "", `{"mediaType":"`+bundle+`","dsseEnvelope":7}`)), invalid, "submission.payload"},
		{"bundle that is no JSON", submit(sub("attestation", bundle, "x")), invalid, "submission.payload"},
		{"broken envelope", submit(sub("attestation", "", `{"payload":"?","payloadType":"x","signatures":[]}`)), invalid, "submission.payload"},
		{"broken statement", submit(sub("attestation", "", `{"_type":"https://in-toto.io/Statement/v1"}`)), invalid, "submission.payload"},
		{"JSON that is none", submit(sub("attestation", "application/spdx+json", "{")), invalid, "submission.payload"},
		{"event without a key", submit(sub("backfill-checkpoint", "", "{}")), invalid, "submission.idempotency_key"},
		{"evidence with a key", submit(keyed(sub("attestation", "text/plain", "x"), "k")), invalid, "submission.idempotency_key"},
		{"long key", submit(keyed(sub("backfill-checkpoint", "", "{}"), long)), invalid, "submission.idempotency_key"},
		{"event with a bad payload", submit(keyed(sub("backfill-checkpoint", "", `{"entity":"Asset"}`), "k")), invalid, "submission.payload"},
		{"no submissions", batch(0), invalid, "submissions"},
		{"1,001 submissions", batch(1001), invalid, "submissions"},

		{"missing tenant", list(&munimentv1.ListEntriesRequest{Tenant: " "}), invalid, "tenant"},
		{"malformed tenant", list(&munimentv1.ListEntriesRequest{Tenant: "-acme"}), invalid, "tenant"},
		{"unknown order", list(&munimentv1.ListEntriesRequest{Order: 99}), invalid, "order"},
		{"negative order", list(&munimentv1.ListEntriesRequest{Order: -1}), invalid, "order"},
		{"large page", list(&munimentv1.ListEntriesRequest{PageSize: 1001}), invalid, "page_size"},
		{"page token of another query", list(&munimentv1.ListEntriesRequest{PageToken: token, Filter: &munimentv1.Filter{Kind: "attestation"}}), invalid, "page_token"},
		{"page token of another order", list(&munimentv1.ListEntriesRequest{PageToken: token, Order: munimentv1.Order_ORDER_OLDEST_FIRST}), invalid, "page_token"},
		{"garbage page token", list(&munimentv1.ListEntriesRequest{PageToken: "garbage"}), invalid, "page_token"},
		{"long page token", list(&munimentv1.ListEntriesRequest{PageToken: long + "x"}), invalid, "page_token"},
		{"malformed kind in a filter", list(&munimentv1.ListEntriesRequest{Filter: &munimentv1.Filter{Kind: "?"}}), invalid, "filter.kind"},
		{"subject without an algorithm", list(&munimentv1.ListEntriesRequest{Filter: &munimentv1.Filter{Subject: "abcdef"}}), invalid, "filter.subject"},
		{"unknown kind in a filter", list(&munimentv1.ListEntriesRequest{Filter: &munimentv1.Filter{Kind: "atestation"}}), invalid, "filter.kind"},
		{"malformed subject in a filter", list(&munimentv1.ListEntriesRequest{Filter: &munimentv1.Filter{Subject: "sha256:abcd"}}), invalid, "filter.subject"},
		{"malformed material in a filter", list(&munimentv1.ListEntriesRequest{Filter: &munimentv1.Filter{Material: "sha256:xyz"}}), invalid, "filter.material"},
		{"time before year 1", list(times(&timestamppb.Timestamp{Seconds: -1 << 40}, nil)), invalid, "filter.from"},
		{"time after year 9999", list(times(nil, &timestamppb.Timestamp{Seconds: 1 << 40})), invalid, "filter.to"},
		{"negative nanoseconds", list(times(&timestamppb.Timestamp{Nanos: -1}, nil)), invalid, "filter.from"},
		{"too many nanoseconds", list(times(nil, &timestamppb.Timestamp{Nanos: 1e9})), invalid, "filter.to"},
		{"times the wrong way round", list(times(timestamppb.New(longAgo), timestamppb.New(longAgo.Add(-1)))), invalid, "filter.to"},
		{"watch with a time", watch(&munimentv1.WatchEntriesRequest{Filter: &munimentv1.Filter{From: timestamppb.New(longAgo)}}), invalid, "filter.from"},
		{"watch to a time", watch(&munimentv1.WatchEntriesRequest{Filter: &munimentv1.Filter{To: timestamppb.New(longAgo)}}), invalid, "filter.to"},
		{"watch with a malformed subject", watch(&munimentv1.WatchEntriesRequest{Filter: &munimentv1.Filter{Subject: ":"}}), invalid, "filter.subject"},

		{"receipt of an entry beyond the log", getReceipt(&munimentv1.GetReceiptRequest{Index: 4}), outOfRange, "index"},
		{"receipt of the largest index", getReceipt(&munimentv1.GetReceiptRequest{Index: 1<<64 - 1}), outOfRange, "index"},
		{"receipt at a size beyond the log", getReceipt(&munimentv1.GetReceiptRequest{TreeSize: 5}), outOfRange, "tree_size"},
		{"receipt at a size before the entry", getReceipt(&munimentv1.GetReceiptRequest{Index: 3, TreeSize: 3}), outOfRange, "index"},
		{"receipt at a size that was not published", getReceipt(&munimentv1.GetReceiptRequest{TreeSize: 2}), precondition, "tree_size"},
		{"unknown form", getReceipt(&munimentv1.GetReceiptRequest{Form: 99}), invalid, "form"},
		{"inclusion of an index beyond the log", inclusion(4, 0), outOfRange, "index"},
		{"inclusion of an index beyond the tree", inclusion(3, 3), outOfRange, "index"},
		{"inclusion at a size beyond the log", inclusion(0, 5), outOfRange, "tree_size"},
		{"consistency with a size beyond the log", consistency(0, 5), outOfRange, "to_size"},
		{"consistency from a size beyond the log", consistency(5, 0), outOfRange, "from_size"},
		{"consistency backwards", consistency(3, 2), outOfRange, "from_size"},
	} {
		for protocol, opts := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}, "JSON": {connect.WithProtoJSON()}} {
			if protocol == "JSON" && strings.Contains(c.field, "filter.") {
				continue // the client can't write invalid times in JSON
			}
			wantCode(t, c.name+" by "+protocol, c.call(ctx, ts.client(acmeToken, opts...)), c.code, c.field)
		}
	}
}

// Input that can't even be decoded.
func TestMalformedRequests(t *testing.T) {
	ts := newServer(t)
	ts.append("acme", "first")
	defer ts.unchanged()()
	valid := fmt.Sprintf(`{"tenant":"acme","submission":{"kind":"attestation","mediaType":"text/plain","payload":%q}}`, base64.StdEncoding.EncodeToString([]byte("x")))
	for _, c := range []struct {
		name, method, contentType, body string
		code                            string
		says                            string
	}{
		{"no body", "Append", "application/json", "", "invalid_argument", ""},
		{"not JSON", "Append", "application/json", "tenant=acme", "invalid_argument", ""},
		{"cut JSON", "Append", "application/json", valid[:len(valid)-1], "invalid_argument", ""},
		{"two documents", "Append", "application/json", valid + valid, "invalid_argument", ""},
		{"an array", "Append", "application/json", "[" + valid + "]", "invalid_argument", ""},
		{"a member twice", "Append", "application/json", strings.Replace(valid, `"tenant":"acme"`, `"tenant":"acme","tenant":"acme"`, 1), "invalid_argument", "tenant"},
		{"a member of another type", "Append", "application/json", strings.Replace(valid, `"acme"`, `7`, 1), "invalid_argument", "tenant"},
		{"payload that is no base64", "Append", "application/json", strings.Replace(valid, `"payload":"`, `"payload":"*`, 1), "invalid_argument", "payload"},
		{"invalid UTF-8", "Append", "application/json", strings.Replace(valid, "acme", "ac\xffme", 1), "invalid_argument", "UTF-8"},
		{"half a surrogate", "Append", "application/json", strings.Replace(valid, "text/plain", `text/\ud800`, 1), "invalid_argument", ""},
		{"deep nesting", "Append", "application/json", strings.Repeat(`{"submission":`, 20000), "invalid_argument", ""},
		{"negative index", "GetEntry", "application/json", `{"tenant":"acme","index":-1}`, "invalid_argument", "index"},
		{"fractional index", "GetEntry", "application/json", `{"tenant":"acme","index":0.5}`, "invalid_argument", "index"},
		{"large index", "GetEntry", "application/json", `{"tenant":"acme","index":18446744073709551616}`, "invalid_argument", "index"},
		{"a time that is none", "ListEntries", "application/json", `{"tenant":"acme","filter":{"from":"yesterday"}}`, "invalid_argument", "yesterday"},
		{"unknown form", "GetReceipt", "application/json", `{"tenant":"acme","form":77}`, "invalid_argument", "form"},
		{"malformed protobuf", "Append", "application/proto", "\x0a\xff\xff", "invalid_argument", ""},
		{"protobuf with invalid UTF-8", "Append", "application/proto", "\x0a\x04ac\xffe", "invalid_argument", "UTF-8"},
	} {
		a := ts.do(ts.h1, "POST", "/muniment.v1.LedgerService/"+c.method, acmeToken, map[string]string{"Content-Type": c.contentType}, strings.NewReader(c.body))
		code, message, _ := a.connectError(t)
		if code != c.code || !strings.Contains(message, c.says) {
			t.Errorf("%s: got %s, %q, want %s and %q", c.name, code, message, c.code, c.says)
		}
	}
	header := map[string]string{"Content-Type": "application/proto", "Content-Encoding": "gzip"}
	if code, message, _ := ts.do(ts.h1, "POST", "/muniment.v1.LedgerService/Append", acmeToken, header, io.MultiReader(bytes.NewReader(gzipped(t, []byte("\x12\x80\x80\x80\x40\x1a\x80\x80\x80\x3f"))), bomb(t, 70))).connectError(t); code != "resource_exhausted" {
		t.Errorf("a decompression bomb: got %s, %q", code, message)
	}
	for name, contentType := range map[string]string{"no content type": "", "a form": "application/x-www-form-urlencoded"} {
		if a := ts.do(ts.h1, "POST", "/muniment.v1.LedgerService/Append", acmeToken, map[string]string{"Content-Type": contentType}, strings.NewReader(valid)); a.status != http.StatusUnsupportedMediaType {
			t.Errorf("%s: status %d: %s", name, a.status, a.body)
		}
	}
	// A much too large request is refused before it is read.
	req, err := http.NewRequest("POST", ts.url+"/muniment.v1.LedgerService/Append", io.LimitReader(zeros{}, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 1 << 40
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + acmeToken}, "Expect": {"100-continue"}}
	ts.h1.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	res, err := ts.h1.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	code, message, fields := httpAnswer{res.StatusCode, res.Header, string(body), res.Trailer}.connectError(t)
	if code != "invalid_argument" || !strings.Contains(message, "submission.payload") || fmt.Sprint(fields) != "[submission.payload]" {
		t.Errorf("a request of a tebibyte: got %s, %q, %q", code, message, fields)
	}
}

// bomb returns a gzip file that inflates to so many mebibytes: one, again and
// again.
func bomb(t *testing.T, mebibytes int) io.Reader {
	t.Helper()
	var one bytes.Buffer
	z := gzip.NewWriter(&one)
	if _, err := io.CopyN(z, zeros{}, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(bytes.Repeat(one.Bytes(), mebibytes))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A result of a batch names the invalid field, like the error of a single
// submission.
func TestBatchFields(t *testing.T) {
	ts := newServer(t, func(lc *ledger.Config, ac *api.Config) {
		l, err := ledger.Open(context.Background(), *lc)
		if err != nil {
			t.Fatal(err)
		}
		strict, err := ingest.ParseAdmissionPolicy([]byte("version: 1\nmode: enforce\nrules:\n  - {name: findings, kinds: [finding], unsigned: true}\n"))
		if err != nil {
			t.Fatal(err)
		}
		ac.Ledger = l
		if ac.Admission, err = ingest.NewAdmission(ingest.AdmissionConfig{Ledger: l, Default: strict}); err != nil {
			t.Fatal(err)
		}
	})
	for _, c := range []struct {
		what, token string
		submission  *munimentv1.Submission
		code, field string
	}{
		{"refused by the policy", acmeToken, document("x"), "permission_denied", "payload"},
		{"a kind of another role", roleToken("acme", "approver"), document("x"), "permission_denied", "kind"},
		{"an invalid document", acmeToken, &munimentv1.Submission{Kind: "finding", IdempotencyKey: "k", Payload: []byte("{}")}, "invalid_argument", "payload"},
		{"a media type of another kind", acmeToken, &munimentv1.Submission{Kind: "finding", IdempotencyKey: "k", MediaType: "text/plain", Payload: []byte("{}")}, "invalid_argument", "media_type"},
		{"an event without a key", acmeToken, &munimentv1.Submission{Kind: "finding", Payload: []byte("{}")}, "invalid_argument", "idempotency_key"},
		{"evidence with a key", acmeToken, &munimentv1.Submission{Kind: "attestation", IdempotencyKey: "k", MediaType: "text/plain", Payload: []byte("x")}, "invalid_argument", "idempotency_key"},
		{"an unknown kind", acmeToken, &munimentv1.Submission{Kind: "gossip", Payload: []byte("{}")}, "invalid_argument", "kind"},
		{"an empty payload", acmeToken, &munimentv1.Submission{Kind: "attestation", MediaType: "text/plain"}, "invalid_argument", "payload"},
		{"an unrecognized payload", acmeToken, &munimentv1.Submission{Kind: "attestation", Payload: []byte("x")}, "invalid_argument", "media_type"},
		{"a compressed payload", acmeToken, &munimentv1.Submission{Kind: "attestation", MediaType: "application/spdx+gzip", Payload: []byte("x")}, "invalid_argument", "media_type"},
		{"a reference without a digest", acmeToken, reference(`{"size":5,"location":"s3://scans/1"}`), "invalid_argument", "payload"},
		{"a reference with an invalid digest", acmeToken, reference(`{"digest":{"sha256":"00"},"size":5,"location":"s3://scans/1"}`), "invalid_argument", "payload"},
		{"a reference with a password", acmeToken, reference(`{"digest":{"sha256":"` + strings.Repeat("0", 64) + `"},"size":5,"location":"https://a:b@host/1"}`), "invalid_argument", "payload"},
		{"a reference with an invalid media type", acmeToken, reference(`{"digest":{"sha256":"` + strings.Repeat("0", 64) + `"},"size":5,"location":"s3://scans/1","mediaType":"x"}`), "invalid_argument", "payload"},
	} {
		res, err := ts.client(c.token).AppendBatch(context.Background(), connect.NewRequest(&munimentv1.AppendBatchRequest{Tenant: "acme", Submissions: []*munimentv1.Submission{c.submission}}))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if e := res.Msg.Results[0].GetError(); e.GetCode() != c.code || e.GetField() != c.field {
			t.Errorf("%s: got %v, want %s and field %q", c.what, e, c.code, c.field)
		}
		_, err = ts.client(c.token).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: c.submission}))
		if got := fieldsOf(t, err); len(got) != 1 || got[0] != "submission."+c.field {
			t.Errorf("%s, alone: got fields %q, want submission.%s", c.what, got, c.field)
		}
	}
}

// reference returns a submission of a reference to evidence stored elsewhere.
func reference(document string) *munimentv1.Submission {
	return &munimentv1.Submission{Kind: "attestation", MediaType: external.MediaType, Payload: []byte(document)}
}

// In a batch each submission is judged by itself.
func TestBatchOfGoodAndBad(t *testing.T) {
	ts := newServer(t)
	ts.append("acme", "known")
	event := func(key, entity string) *munimentv1.Submission {
		return &munimentv1.Submission{Kind: "backfill-checkpoint", IdempotencyKey: key, Payload: []byte(`{"entity":"` + entity + `","checkpoint":"50%","acaScore":0.96,"ts":"2026-04-19T12:00Z","rollbackReady":true}`)}
	}
	cases := []struct {
		submission *munimentv1.Submission
		index      uint64 // if it is recorded
		duplicate  bool
		code       string // if not
		field      string
	}{
		{document("known"), 0, true, "", ""},
		{document("good"), 1, false, "", ""},
		{&munimentv1.Submission{}, 0, false, "invalid_argument", "kind"},
		{document(""), 0, false, "invalid_argument", "payload"},
		{event("key", "Asset"), 2, false, "", ""},
		{event("key", "Asset"), 2, true, "", ""},
		{event("key", "Other"), 0, false, "failed_precondition", ""},
		{&munimentv1.Submission{Kind: "gossip", Payload: []byte("x")}, 0, false, "invalid_argument", "kind"},
		{&munimentv1.Submission{Kind: "attestation", MediaType: "?", Payload: []byte("x")}, 0, false, "invalid_argument", "media_type"},
		{&munimentv1.Submission{Kind: "attestation", Payload: []byte("x")}, 0, false, "invalid_argument", "media_type"},
		{document(strings.Repeat("x", maxPayload+1)), 0, false, "invalid_argument", "payload"},
		{document("good"), 1, true, "", ""},
		{document("last"), 3, false, "", ""},
	}
	req := &munimentv1.AppendBatchRequest{Tenant: "acme"}
	for _, c := range cases {
		req.Submissions = append(req.Submissions, c.submission)
	}
	res, err := ts.client(acmeToken).AppendBatch(context.Background(), connect.NewRequest(req))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Msg.Results) != len(cases) {
		t.Fatalf("%d results of %d submissions", len(res.Msg.Results), len(cases))
	}
	for i, c := range cases {
		r := res.Msg.Results[i]
		if e := r.GetError(); e != nil {
			if e.Code != c.code || e.Field != c.field || e.Message == "" || !strings.Contains(e.Message, c.field) {
				t.Errorf("submission %d: got %v, want %s and field %q", i, e, c.code, c.field)
			}
			continue
		}
		a := r.GetAppended()
		if c.code != "" || a.Index != c.index || a.Duplicate != c.duplicate {
			t.Errorf("submission %d: got %v, want index %d, duplicate %t, code %q", i, a, c.index, c.duplicate, c.code)
			continue
		}
		ts.verify("acme", a.Receipt, c.submission.Payload, a.Index)
	}
	if n := ts.ledger.Published().Size; n != 4 {
		t.Errorf("the log has %d entries, not 4", n)
	}
	// A batch of invalid submissions only is no error, and records nothing.
	defer ts.unchanged()()
	res, err = ts.client(acmeToken).AppendBatch(context.Background(), connect.NewRequest(&munimentv1.AppendBatchRequest{Tenant: "acme", Submissions: []*munimentv1.Submission{document(""), {}}}))
	if err != nil || res.Msg.Results[0].GetError() == nil || res.Msg.Results[1].GetError() == nil {
		t.Errorf("a batch of bad ones: %v, %v", res, err)
	}
}

// A temporary refusal contains the time after which to retry, in a header or
// trailer.
func TestRetryAfter(t *testing.T) {
	ts := newServer(t, func(lc *ledger.Config, _ *api.Config) { lc.MaxPendingEntries = 1 })
	ctx := context.Background()
	release := ts.block()
	results := make(chan error, 2)
	send := func(text string) {
		go func() {
			_, err := ts.client(acmeToken).Append(ctx, request("acme", text))
			results <- err
		}()
	}
	send("in the commit")
	await(t, "the first is in the commit", func() bool { return ts.ledger.Pending() == 0 && ts.gateTaken() })
	send("in the queue")
	await(t, "the second is in the queue", func() bool { return ts.ledger.Pending() == 1 })
	for name, opts := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}} {
		_, err := ts.client(acmeToken, opts...).Append(ctx, request("acme", "one too many"))
		wantCode(t, "an append to the full queue by "+name, err, connect.CodeResourceExhausted, "")
		var ce *connect.Error
		if !asConnect(err, &ce) || ce.Meta().Get("Retry-After") != "1" || len(ce.Details()) != 1 || ce.Details()[0].Type() != "google.rpc.RetryInfo" {
			t.Errorf("%s: no delay in %v, %v", name, err, ce.Meta())
		}
	}
	a := ts.post("Append", acmeToken, `{"tenant":"acme","submission":{"kind":"attestation","mediaType":"text/plain","payload":"eA=="}}`)
	if a.status != 429 || a.header.Get("Retry-After") != "1" {
		t.Errorf("by plain JSON: status %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	release()
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}

	ts.setFree(0)
	_, err := ts.client(acmeToken).Append(ctx, request("acme", "no room"))
	wantCode(t, "an append to a full disk", err, connect.CodeResourceExhausted, "")
	ts.setFree(1 << 40)
	ts.failCommits(io.ErrUnexpectedEOF)
	_, err = ts.client(acmeToken).Append(ctx, request("acme", "fails"))
	wantCode(t, "an append whose commit fails", err, connect.CodeUnavailable, "")
	_, err = ts.client(acmeToken).Append(ctx, request("acme", "later"))
	wantCode(t, "an append after it", err, connect.CodeUnavailable, "")
}

package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

func (ts *testServer) portal(token string) munimentv1connect.PortalServiceClient {
	return munimentv1connect.NewPortalServiceClient(ts.h2, ts.url, connect.WithInterceptors(bearer(token)))
}

// statementAbout returns an in-toto statement about an artifact with materials.
func statementAbout(name, hex string, materials ...string) string {
	var of []string
	for _, m := range materials {
		of = append(of, fmt.Sprintf(`{"uri":"m","digest":{"sha256":%q}}`, strings.Repeat(m, 64)))
	}
	return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":%q,"digest":{"sha256":%q}}],"predicateType":"https://slsa.dev/provenance/v1",`+
		`"predicate":{"buildDefinition":{"buildType":"https://example.com/b","externalParameters":{},"resolvedDependencies":[%s]},"runDetails":{"builder":{"id":"https://example.com/b"}}}}`,
		name, strings.Repeat(hex, 64), strings.Join(of, ","))
}

// state appends a statement and returns its index.
func (ts *testServer) state(token, statement string) uint64 {
	ts.t.Helper()
	tenant := "acme"
	if token == globexToken {
		tenant = "globex"
	}
	res, err := ts.client(token).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: tenant, Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}}))
	if err != nil {
		ts.t.Fatal(err)
	}
	return res.Msg.Appended.Index
}

// ids returns the IDs and states of findings in a line.
func ids(all []*munimentv1.FindingRecord) string {
	var out []string
	for _, f := range all {
		out = append(out, f.Id+" "+f.State)
	}
	return strings.Join(out, ", ")
}

func TestListFindings(t *testing.T) {
	ctx := context.Background()
	ts := newServer(t)
	ts.putControls(t, "1")
	fix := ts.state(acmeToken, statementAbout("app", "a"))
	n := 0
	report := func(id, status, more string) {
		t.Helper()
		n++
		if _, err := ts.event(acmeToken, "finding", fmt.Sprint("f", n), findingOf(id, status, more)); err != nil {
			t.Fatal(err)
		}
	}
	about := fmt.Sprintf(`,"subjects":[{"name":"app","digest":{"sha256":%q}}]`, strings.Repeat("A", 64))
	report("F-1", "open", `,"due":"2026-11-03T00:00:00Z"`)
	report("F-2", "open", about)
	report("F-3", "open", `,"aliases":["GHSA-1"],"description":"<b>bold</b>","due":"2999-01-01T00:00:00Z"`)
	report("F-4", "open", "")
	report("F-4", "resolved", fmt.Sprintf(`,"evidence":["%d"]`, fix))
	p := ts.portal(acmeToken)
	list := func(req *munimentv1.ListFindingsRequest) *munimentv1.ListFindingsResponse {
		t.Helper()
		req.Tenant = "acme"
		res, err := p.ListFindings(ctx, connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	for _, c := range []struct {
		req  *munimentv1.ListFindingsRequest
		want string
	}{
		{&munimentv1.ListFindingsRequest{}, "F-1 open, F-3 open, F-2 open, F-4 resolved"},
		{&munimentv1.ListFindingsRequest{Order: munimentv1.FindingOrder_FINDING_ORDER_NEWEST_FIRST}, "F-4 resolved, F-3 open, F-2 open, F-1 open"},
		{&munimentv1.ListFindingsRequest{States: []string{"resolved"}}, "F-4 resolved"},
		{&munimentv1.ListFindingsRequest{Severities: []string{"low"}}, ""},
		{&munimentv1.ListFindingsRequest{Control: "EVIDENCE", Overdue: true}, "F-1 open"},
		{&munimentv1.ListFindingsRequest{Control: "OTHER"}, ""},
		{&munimentv1.ListFindingsRequest{Artifact: "SHA256:" + strings.Repeat("a", 64)}, "F-2 open"},
	} {
		if got := list(c.req); ids(got.Findings) != c.want || got.State.GetTreeSize() == 0 || got.State.GetAsOf() == nil {
			t.Errorf("%v: %s, state %v; want %s", c.req, ids(got.Findings), got.State, c.want)
		}
	}
	one := list(&munimentv1.ListFindingsRequest{PageSize: 3})
	if one.Total != 4 || one.Overdue != 1 || one.NextPageToken == "" {
		t.Errorf("the first page: %v", one)
	}
	if two := list(&munimentv1.ListFindingsRequest{PageSize: 3, PageToken: one.NextPageToken}); ids(two.Findings) != "F-4 resolved" || two.NextPageToken != "" {
		t.Errorf("the second page: %v", two)
	}
	for field, req := range map[string]*munimentv1.ListFindingsRequest{
		"page_token": {Tenant: "acme", PageToken: one.NextPageToken, Overdue: true},
		"artifact":   {Tenant: "acme", Artifact: "sha256:12"},
		"page_size":  {Tenant: "acme", PageSize: 101},
		"states[0]":  {Tenant: "acme", States: []string{"gone"}},
	} {
		_, err := p.ListFindings(ctx, connect.NewRequest(req))
		wantCode(t, field, err, connect.CodeInvalidArgument, field)
	}
	if _, err := p.ListFindings(ctx, connect.NewRequest(&munimentv1.ListFindingsRequest{Tenant: "acme", PageToken: "x"})); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a malformed token: %v", err)
	}
	got, err := p.GetFinding(ctx, connect.NewRequest(&munimentv1.GetFindingRequest{Tenant: "acme", Id: "ghsa-1"}))
	if err != nil || len(got.Msg.Findings) != 1 || got.Msg.Findings[0].Description != "<b>bold</b>" || len(got.Msg.Findings[0].Reports) != 1 {
		t.Errorf("by its alias: %v, %v", got, err)
	}
	got, err = p.GetFinding(ctx, connect.NewRequest(&munimentv1.GetFindingRequest{Tenant: "acme", Id: "F-4"}))
	if err != nil {
		t.Fatal(err)
	}
	f := got.Msg.Findings[0]
	if len(f.Reports) != 2 || len(f.Newest.Evidence) != 1 || f.Newest.Evidence[0] != fix || f.Newest.AcceptedBy[0] != "EVIDENCE" || f.Newest.By.GetIsPerson() {
		t.Errorf("F-4: %v", f)
	}
	if _, err := ts.erase(f.Newest.Index, allOfIt, "a request"); err != nil {
		t.Fatal(err)
	}
	if got := list(&munimentv1.ListFindingsRequest{Control: "EVIDENCE", Order: munimentv1.FindingOrder_FINDING_ORDER_NEWEST_FIRST}); ids(got.Findings[:1]) != "F-4 open" {
		t.Errorf("after the erasure of the resolution: %s", ids(got.Findings))
	}
	_, err = ts.portal(globexToken).GetFinding(ctx, connect.NewRequest(&munimentv1.GetFindingRequest{Tenant: "globex", Id: "F-4"}))
	wantCode(t, "a finding of another tenant", err, connect.CodeNotFound, "id")
}

func TestListExceptions(t *testing.T) {
	ctx := context.Background()
	r := newExceptionRig(t)
	one := r.asks("dana", "EXC-1")
	two := r.asks("dana", "EXC-2")
	approver := r.portal(r.people.token(r.testServer, "kim", "approver"))
	list := func(req *munimentv1.ListExceptionsRequest) []string {
		t.Helper()
		req.Tenant = "acme"
		res, err := approver.ListExceptions(ctx, connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, x := range res.Msg.Exceptions {
			out = append(out, x.Id+" "+x.State)
		}
		return out
	}
	if got := fmt.Sprint(list(&munimentv1.ListExceptionsRequest{})); got != "[EXC-2 requested EXC-1 requested]" {
		t.Errorf("without a control set: %s", got)
	}
	control := strings.ReplaceAll(gateControl, "EVIDENCE", "C")
	r.putControl(t, "1", "C", control)
	if err := r.decides("kim", "EXC-1", one, "approve", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.decides("kim", "EXC-2", two, "reject", `,"reason":"not needed"`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		req  *munimentv1.ListExceptionsRequest
		want string
	}{
		{&munimentv1.ListExceptionsRequest{}, "[EXC-2 rejected EXC-1 approved]"},
		{&munimentv1.ListExceptionsRequest{States: []string{"approved"}}, "[EXC-1 approved]"},
		{&munimentv1.ListExceptionsRequest{ExpireBefore: timestamppb.New(time.Now().Add(48 * time.Hour))}, "[EXC-1 approved]"},
		{&munimentv1.ListExceptionsRequest{ExpireBefore: timestamppb.New(time.Now())}, "[]"},
		{&munimentv1.ListExceptionsRequest{Control: "OTHER"}, "[]"},
	} {
		if got := fmt.Sprint(list(c.req)); got != c.want {
			t.Errorf("%v: %s, want %s", c.req, got, c.want)
		}
	}
	refusals := func(who, role string, index uint64) string {
		t.Helper()
		res, err := r.portal(r.people.token(r.testServer, who, role)).GetException(ctx, connect.NewRequest(&munimentv1.GetExceptionRequest{Tenant: "acme", Index: index}))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, a := range res.Msg.Exception.Actions {
			out = append(out, a.Action+": "+a.Refusal)
		}
		return strings.Join(out, "; ")
	}
	for _, c := range []struct {
		who, role string
		index     uint64
		want      string
	}{
		{"lee", "approver", one, "approve: exception EXC-1 is approved; reject: exception EXC-1 is approved: revoke it; renew: ; revoke: "},
		{"kim", "approver", two, "approve: exception EXC-2 was rejected: request another; reject: exception EXC-2 was rejected: request another; renew: exception EXC-2 was rejected: request another; revoke: exception EXC-2 was rejected: request another"},
	} {
		if got := refusals(c.who, c.role, c.index); got != c.want {
			t.Errorf("%s about %d:\n got %s\nwant %s", c.who, c.index, got, c.want)
		}
	}
	res, err := approver.GetException(ctx, connect.NewRequest(&munimentv1.GetExceptionRequest{Tenant: "acme", Index: two}))
	if x := res.Msg.GetException(); err != nil || x.Reason != "r" || x.Steps[0].Reason != "not needed" || !x.Requester.IsPerson || x.Steps[0].By.Id == x.Requester.Id || x.ApproversNeeded != 1 {
		t.Errorf("EXC-2: %v, %v", res, err)
	}
	_, err = approver.GetException(ctx, connect.NewRequest(&munimentv1.GetExceptionRequest{Tenant: "acme", Index: one + 1000}))
	wantCode(t, "an entry that requests none", err, connect.CodeNotFound, "index")
}

func TestGetArtifact(t *testing.T) {
	ctx := context.Background()
	ts := newServer(t)
	ts.putControls(t, "1")
	digest := "sha256:" + strings.Repeat("a", 64)
	for i := range 3 {
		ts.state(acmeToken, statementAbout(fmt.Sprint("app-", i), "a", "b"))
	}
	ts.state(acmeToken, statementAbout("bundle", "c", "a"))
	ts.state(globexToken, statementAbout("secret", "a", "d"))
	if _, err := ts.event(acmeToken, "finding", "f1", findingOf("F-1", "open", fmt.Sprintf(`,"subjects":[{"digest":{"sha256":%q}}]`, strings.Repeat("a", 64)))); err != nil {
		t.Fatal(err)
	}
	g := &gateTest{ts, t, acmeToken}
	if _, err := g.ask(nil, "a"); err != nil {
		t.Fatal(err)
	}
	p := ts.portal(acmeToken)
	get := func(req *munimentv1.GetArtifactRequest) *munimentv1.GetArtifactResponse {
		t.Helper()
		req.Tenant = "acme"
		res, err := p.GetArtifact(ctx, connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	a := get(&munimentv1.GetArtifactRequest{Digest: "SHA256:" + strings.Repeat("A", 64), PageSize: 3})
	if a.Digest != digest || len(a.Timeline) != 3 || a.Timeline[0].Kind != "gate-decision" || a.NextPageToken == "" || len(a.Decisions) != 1 || a.Decisions[0].Decision != "pass" {
		t.Errorf("the artifact: %v", a)
	}
	if fmt.Sprint(a.Names) != "[app-0 app-1 app-2 registry.example/app]" || fmt.Sprint(a.Stages) != "[deploy]" || a.Subject.GetType() != "image" || ids(a.Findings) != "F-1 open" || a.FindingsTotal != 1 {
		t.Errorf("the artifact: names %v, stages %v, subject %v, findings %v", a.Names, a.Stages, a.Subject, ids(a.Findings))
	}
	var edges []string
	for _, e := range a.Graph.Edges {
		edges = append(edges, e.From[7:8]+">"+e.To[7:8])
	}
	if fmt.Sprint(edges) != "[a>c b>a]" || len(a.Graph.Nodes) != 3 || a.Graph.Truncated || !a.Graph.Nodes[0].Root || a.Graph.Nodes[0].Evidence["built-by"] != 3 {
		t.Errorf("the graph: %v, %v", edges, a.Graph)
	}
	rest := get(&munimentv1.GetArtifactRequest{Digest: digest, PageSize: 3, PageToken: a.NextPageToken})
	if len(rest.Timeline) != 2 || rest.Graph != nil || rest.NextPageToken != "" {
		t.Errorf("the second page: %v", rest)
	}
	if _, err := ts.erase(a.Timeline[2].Index, allOfIt, "a request"); err != nil {
		t.Fatal(err)
	}
	if got := get(&munimentv1.GetArtifactRequest{Digest: digest}); len(got.Timeline) != 4 {
		t.Errorf("after an erasure: %d items, want 4", len(got.Timeline))
	}
	if none := get(&munimentv1.GetArtifactRequest{Digest: "sha256:" + strings.Repeat("e", 64)}); len(none.Timeline) != 0 || len(none.Graph.Nodes) != 1 {
		t.Errorf("an unknown artifact: %v", none)
	}
	for field, req := range map[string]*munimentv1.GetArtifactRequest{
		"digest":     {Tenant: "acme", Digest: "sha256:xyz"},
		"page_token": {Tenant: "acme", Digest: digest, PageToken: "x"},
		"depth":      {Tenant: "acme", Digest: digest, Depth: 9},
	} {
		_, err := p.GetArtifact(ctx, connect.NewRequest(req))
		wantCode(t, field, err, connect.CodeInvalidArgument, field)
	}
}

func TestGetLogHealth(t *testing.T) {
	ts := newServer(t)
	ts.append("globex", "globex's")
	ts.append("acme", "acme's")
	get := func() *munimentv1.LogHealth {
		t.Helper()
		res, err := ts.portal(acmeToken).GetLogHealth(context.Background(), connect.NewRequest(&munimentv1.GetLogHealthRequest{Tenant: "acme"}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Log
	}
	if h := get(); !h.Ready || h.TreeSize != 2 || h.StreamEntries != 1 || len(h.Root) != 32 || h.NewestEntry == nil || h.WitnessesRequired || h.WitnessedSize != nil {
		t.Errorf("health: %v", h)
	}
	ts.setFree(123)
	if h := get(); h.Ready || !h.DiskFull || !strings.Contains(h.Reason, "make room") {
		t.Errorf("with a full disk: %v", h)
	}
}

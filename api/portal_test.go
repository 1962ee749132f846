package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/ledger"
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

// hits returns the hits of a search in a line: the meaning, and the target.
func hits(res *munimentv1.SearchResponse) string {
	var out []string
	for _, h := range res.Hits {
		meaning := strings.ToLower(strings.TrimPrefix(h.Meaning.String(), "SEARCH_MEANING_"))
		switch target := h.Target.(type) {
		case *munimentv1.SearchHit_Entry:
			out = append(out, fmt.Sprintf("%s entry %d", meaning, target.Entry))
		case *munimentv1.SearchHit_Artifact:
			out = append(out, fmt.Sprintf("%s artifact %.10s", meaning, target.Artifact[7:]))
		case *munimentv1.SearchHit_Control:
			out = append(out, meaning+" control "+target.Control)
		case *munimentv1.SearchHit_Finding:
			out = append(out, meaning+" finding "+target.Finding)
		case *munimentv1.SearchHit_Exception:
			out = append(out, fmt.Sprintf("%s exception %d", meaning, target.Exception))
		}
	}
	return strings.Join(out, ", ")
}

func TestSearch(t *testing.T) {
	ctx := context.Background()
	r := newExceptionRig(t)
	r.putControls(t, "1")
	app := r.state(acmeToken, statementAbout("registry.example/Shop/app:1.7.0", "a", "b"))
	r.state(acmeToken, statementAbout("pkg:npm/left-pad@1.3.0", "c"))
	if _, err := r.event(acmeToken, "finding", "f", findingOf("CVE-2026-1234", "open", `,"aliases":["GHSA-x1"],"location":"pkg:npm/left-pad@1.3.0"`)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.event(acmeToken, "triage-action", "t", `{"incident":"INC-42","playbook":"p","action":"a","result":"succeeded","irreversible":true,"actor":"kim","started":"2026-11-01T00:00:00Z"}`); err != nil {
		t.Fatal(err)
	}
	excepted := r.asks("dana", "EXC-9")
	secret := r.state(globexToken, statementAbout("registry.example/secret:1", "d"))
	search := func(token, query string) *munimentv1.SearchResponse {
		t.Helper()
		tenant := "acme"
		if token == globexToken {
			tenant = "globex"
		}
		res, err := r.portal(token).Search(ctx, connect.NewRequest(&munimentv1.SearchRequest{Tenant: tenant, Query: query}))
		if err != nil {
			t.Fatal(err)
		}
		if res.Msg.Behind != 0 || res.Msg.State.GetTreeSize() == 0 {
			t.Errorf("%s: %v", query, res.Msg)
		}
		return res.Msg
	}
	a := strings.Repeat("a", 64)
	for query, want := range map[string]string{
		"sha256:" + a:                            "digest artifact aaaaaaaaaa",
		"SHA256:" + strings.ToUpper(a):           "digest artifact aaaaaaaaaa",
		" " + strings.ToUpper(a) + " ":           "digest artifact aaaaaaaaaa",
		strings.Repeat("b", 64):                  "digest artifact bbbbbbbbbb",
		"AAAAaaaa":                               "digest_prefix artifact aaaaaaaaaa",
		"sha256:aaaaaaaaaaaaaaaaaaaaaaaa":        "digest_prefix artifact aaaaaaaaaa",
		"aaaaaaa":                                "",
		"aaaaaaab":                               "",
		"registry.example/shop/app@sha256:" + a:  "digest artifact aaaaaaaaaa",
		"registry.example/shop/APP:1.7.0":        "image artifact aaaaaaaaaa",
		"app:1.7":                                "name artifact aaaaaaaaaa",
		"pkg:npm/left-pad@1.3.0":                 "purl entry 4, purl artifact cccccccccc",
		fmt.Sprint(app):                          fmt.Sprintf("index entry %d", app),
		"#" + fmt.Sprint(app):                    fmt.Sprintf("index entry %d", app),
		"99999":                                  "",
		"evidence":                               "control control EVIDENCE",
		"cve-2026-1234":                          "finding finding CVE-2026-1234",
		"ghsa-X1":                                "finding finding CVE-2026-1234",
		"2026-12":                                "finding finding CVE-2026-1234",
		"exc-9":                                  fmt.Sprintf("exception exception %d", excepted),
		"inc-42":                                 "incident entry 5",
		"registry.example/secret:1":              "",
		strings.Repeat("d", 64):                  "",
		"dddddddd":                               "",
		fmt.Sprint(secret):                       "",
		"%' OR 1=1 -- <script>alert(1)</script>": "",
		"   ":                                    "",
		"\n":                                     "",
	} {
		if got := hits(search(acmeToken, query)); got != want {
			t.Errorf("%q: %s; want %s", query, got, want)
		}
	}
	if got := hits(search(globexToken, "secret")); got != "name artifact dddddddddd" {
		t.Errorf("its own tenant finds %q", got)
	}
	byPerson := search(acmeToken, "oidc:"+r.people.URL+"#dana")
	if !strings.Contains(hits(byPerson), fmt.Sprintf("signer entry %d", excepted)) {
		t.Errorf("by the submitter: %s", hits(byPerson))
	}
	if _, err := r.erase(app, allOfIt, "a request"); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"app:1.7":               "",
		"bbbbbbbb":              "",
		strings.Repeat("b", 64): "",
		a:                       "digest artifact aaaaaaaaaa", // which the exception covers
	} {
		if got := hits(search(acmeToken, query)); got != want {
			t.Errorf("%s after the erasure: %s; want %q", query, got, want)
		}
	}
	for i := range 5 {
		r.state(acmeToken, statementAbout("page", fmt.Sprint(i)))
	}
	p := r.portal(acmeToken)
	one, err := p.Search(ctx, connect.NewRequest(&munimentv1.SearchRequest{Tenant: "acme", Query: "page", PageSize: 3}))
	if err != nil || hits(one.Msg) != "name artifact 4444444444, name artifact 3333333333, name artifact 2222222222" {
		t.Fatalf("the first page: %v, %v", one, err)
	}
	two, err := p.Search(ctx, connect.NewRequest(&munimentv1.SearchRequest{Tenant: "acme", Query: "page", PageSize: 3, PageToken: one.Msg.NextPageToken}))
	if err != nil || hits(two.Msg) != "name artifact 1111111111, name artifact 0000000000" || two.Msg.NextPageToken != "" {
		t.Fatalf("the second page: %v, %v", two, err)
	}
	_, err = p.Search(ctx, connect.NewRequest(&munimentv1.SearchRequest{Tenant: "acme", Query: "other", PageToken: one.Msg.NextPageToken}))
	wantCode(t, "a token of another query", err, connect.CodeInvalidArgument, "page_token")
}

// A preview has what the gate decides after the approval, and nothing of it is
// recorded.
func TestPreviewException(t *testing.T) {
	ctx := context.Background()
	r := newExceptionRig(t)
	control := strings.NewReplacer("EVIDENCE", "C", `"kinds"`, `"kinds"`).Replace(gateControl)
	r.putControl(t, "1", "C", control)
	g := &gateTest{r.testServer, t, acmeToken}
	before, err := g.ask(nil, "a", "b")
	if err != nil || strings.Count(before, "blocked") != 2 {
		t.Fatalf("before: %s, %v", before, err)
	}
	request := r.asks("dana", "EXC-1")
	size := r.ledger.Published().Size
	preview := func(req *munimentv1.PreviewExceptionRequest) *munimentv1.PreviewExceptionResponse {
		t.Helper()
		req.Tenant = "acme"
		res, err := r.portal(roleToken("acme", "reader")).PreviewException(ctx, connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	changes := func(res *munimentv1.PreviewExceptionResponse) string {
		var out []string
		for _, c := range res.Changes {
			out = append(out, fmt.Sprintf("%.4s: %s to %s", c.Subjects[0].Digest["sha256"], c.Before, c.After))
		}
		return fmt.Sprintf("%t %v %d/%d %q", res.Approval, out, res.Changed, res.Unchanged, res.Problem)
	}
	one := preview(&munimentv1.PreviewExceptionRequest{Exception: &munimentv1.PreviewExceptionRequest_Request{Request: request}})
	if got := changes(one); got != `true [aaaa: blocked to pass] 1/0 ""` || one.Expires == nil {
		t.Errorf("the approval: %s, until %v", got, one.Expires)
	}
	draft := &munimentv1.ExceptionRequest{Id: "EXC-2", Control: "C", Reason: "r", Expires: timestamppb.New(r.expires), Scope: &munimentv1.ExceptionScope{Globs: []string{"registry.example/*"}}}
	if got := changes(preview(&munimentv1.PreviewExceptionRequest{Exception: &munimentv1.PreviewExceptionRequest_Draft{Draft: draft}})); got != `true [bbbb: blocked to pass aaaa: blocked to pass] 2/0 "only people can request exceptions: sign in"` {
		t.Errorf("a draft: %s", got)
	}
	if now := r.ledger.Published().Size; now != size {
		t.Errorf("previews have recorded %d entries", now-size)
	}
	if err := r.decides("kim", "EXC-1", request, "approve", ""); err != nil {
		t.Fatal(err)
	}
	if got := changes(preview(&munimentv1.PreviewExceptionRequest{Exception: &munimentv1.PreviewExceptionRequest_Request{Request: request}})); got != `false [aaaa: pass to blocked] 1/0 ""` {
		t.Errorf("the end: %s", got)
	}
	after, err := g.ask(nil, "a", "b")
	if err != nil || strings.Count(after, "blocked") != 1 {
		t.Errorf("after the approval: %s, %v", after, err)
	}
	draft.Control = "OTHER"
	if got := preview(&munimentv1.PreviewExceptionRequest{Exception: &munimentv1.PreviewExceptionRequest_Draft{Draft: draft}}); got.Problem != "the control set in force does not have control OTHER" || got.Changed != 0 {
		t.Errorf("another control: %v", got)
	}
	_, err = r.portal(acmeToken).PreviewException(ctx, connect.NewRequest(&munimentv1.PreviewExceptionRequest{Tenant: "acme", Exception: &munimentv1.PreviewExceptionRequest_Request{Request: request + 1000}}))
	wantCode(t, "an entry that requests none", err, connect.CodeNotFound, "index")
	_, err = r.portal(acmeToken).PreviewException(ctx, connect.NewRequest(&munimentv1.PreviewExceptionRequest{Tenant: "acme"}))
	wantCode(t, "neither", err, connect.CodeInvalidArgument, "exception")
}

// The overview has the numbers of the tenant's own entries, and how to connect
// what it has no entries of.
func TestGetOverview(t *testing.T) {
	ctx := context.Background()
	r := newExceptionRig(t)
	get := func(today *timestamppb.Timestamp) *munimentv1.GetOverviewResponse {
		t.Helper()
		res, err := r.portal(acmeToken).GetOverview(ctx, connect.NewRequest(&munimentv1.GetOverviewRequest{Tenant: "acme", Today: today}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	o := get(nil)
	for part, c := range map[string]*munimentv1.Connection{"coverage": o.Coverage.Connection, "decisions": o.Decisions.Connection, "findings": o.Findings.Connection, "exceptions": o.Exceptions.Connection,
		"backfills": o.Backfills.Connection, "triage": o.Triage.Connection, "caches": o.Caches.Connection, "verification": o.Verification.Connection} {
		if c.Connected || len(c.Commands) == 0 || c.Page == "" {
			t.Errorf("%s of an empty stream: %v", part, c)
		}
	}
	r.putControl(t, "1", "C", strings.ReplaceAll(gateControl, "EVIDENCE", "C"))
	g := &gateTest{r.testServer, t, acmeToken}
	r.state(acmeToken, statementAbout("app", "b"))
	if _, err := g.ask(nil, "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	one := r.asks("dana", "EXC-1")
	r.asks("dana", "EXC-2")
	if err := r.decides("kim", "EXC-1", one, "approve", ""); err != nil {
		t.Fatal(err)
	}
	for i, e := range []struct{ kind, payload string }{
		{"finding", strings.Replace(findingOf("INC-1", "open", `,"due":"2026-11-02T00:00:00Z"`), "EVIDENCE", "C", 1)},
		{"backfill-checkpoint", `{"entity":"orders.total","checkpoint":"25%","acaScore":0.9,"ts":"2026-11-01T12:00Z","rollbackReady":true}`},
		{"backfill-checkpoint", `{"entity":"orders.total","checkpoint":"50%","acaScore":0.97,"ts":"2026-11-02T12:00Z","rollbackReady":true}`},
		{"backfill-step", `{"entity":"orders.total","job":{"name":"old.yaml","digest":{"sha256":"` + strings.Repeat("9", 64) + `"}},"run":"r0","step":"plan","phase":"intent","ts":"2026-11-02T12:00:00Z","actor":"conductor"}`},
		{"backfill-step", `{"entity":"orders.total","job":{"name":"total.yaml","digest":{"sha256":"` + strings.Repeat("b", 64) + `"}},"run":"r1","step":"plan","phase":"intent","ts":"2026-11-02T12:00:00Z","actor":"conductor"}`},
		{"backfill-step", `{"entity":"orders.total","job":{"name":"total.yaml","digest":{"sha256":"` + strings.Repeat("b", 64) + `"}},"run":"r1","step":"plan","phase":"outcome","result":"failed","intent":{"index":"1","leafHash":"` + strings.Repeat("1", 64) + `"},"ts":"2026-11-02T12:00:00Z","actor":"conductor"}`},
		{"triage-action", `{"incident":"inc-1","playbook":"p","action":"a","phase":"intent","step":1,"irreversible":true,"actor":"kim","started":"2026-11-01T00:10:00Z"}`},
		{"triage-action", `{"incident":"inc-1","playbook":"p","action":"a","phase":"outcome","step":1,"result":"succeeded","intent":{"index":"1","leafHash":"` + strings.Repeat("1", 64) + `"},"irreversible":true,"actor":"kim","started":"2026-11-01T00:10:00Z"}`},
		{"triage-action", `{"incident":"inc-2","playbook":"p","action":"a","phase":"intent","step":1,"irreversible":true,"actor":"kim","started":"2026-11-01T00:20:00Z"}`},
		{"metric-snapshot", `{"service":"cdn","window":{"from":"2026-11-01T00:00:00Z","to":"2026-11-01T01:00:00Z"},"metrics":[{"name":"latency_p99","value":0.25,"unit":"s"},{"name":"cache_hit_ratio","value":0.98,"unit":"ratio"}]}`},
		{"verification-report", `{"verdict":"verified","reasonCode":"ok","version":"1","verifier":"muniment-go"}`},
		{"verification-report", `{"verdict":"not-verified","reasonCode":"tag_mismatch","version":"1","verifier":"muniment-go","index":"0"}`},
	} {
		if _, err := r.event(acmeToken, e.kind, fmt.Sprint("o", i), e.payload); err != nil {
			t.Fatal(err)
		}
	}
	o = get(timestamppb.New(time.Now().Add(-time.Hour)))
	if d := o.Decisions; len(d.Stages) != 1 || d.Stages[0].Passed != 1 || d.Stages[0].Blocked != 2 || len(d.Stopped) != 2 || d.Stopped[0].Artifact.Digest["sha256"] != strings.Repeat("c", 64) {
		t.Errorf("decisions: %v", d)
	}
	if f := o.Findings; len(f.Days) != 91 || f.Days[0].Open != 0 || f.Days[90].Open != 1 || f.Total != 1 || f.Overdue != 1 || f.Counts[0].State != "open" {
		t.Errorf("findings: %v", f)
	}
	if x := o.Exceptions; x.ExpiringTotal != 1 || x.Expiring[0].Id != "EXC-1" || x.WaitingTotal != 1 || x.Waiting[0].Id != "EXC-2" {
		t.Errorf("exceptions: %v", x)
	}
	if b := o.Backfills; len(b.Backfills) != 1 || b.Backfills[0].Percent != 50 || b.Backfills[0].AcaScore != 0.97 || len(b.Backfills[0].Points) != 2 || b.Backfills[0].Points[0].Percent != 25 || b.Backfills[0].Time == nil {
		t.Errorf("backfills: %v", b)
	}
	if b := o.Backfills.Backfills[0]; b.Job.GetName() != "total.yaml" || len(b.Steps) != 2 || b.Steps[0].Result != "failed" || b.Steps[1].Phase != "intent" || b.Gate.GetDecision() != "pass" {
		t.Errorf("steps of a backfill: %v", b)
	}
	if m := o.Triage; m.GetMttaSeconds() != 600 || m.MttaIncidents != 1 || m.Incidents != 1 || len(m.Counts) != 1 || m.Counts[0].Count != 1 || len(m.Recent) != 1 || m.Recent[0].Incident != "inc-1" {
		t.Errorf("triage: %v", m)
	}
	if c := o.Caches; len(c.Services) != 1 || c.Services[0].GetP99Milliseconds() != 250 || c.Services[0].GetHitRatio() != 0.98 {
		t.Errorf("caches: %v", c)
	}
	if v := o.Verification; len(v.Verifiers) != 1 || v.Verifiers[0].Verified != 1 || v.Verifiers[0].NotVerified != 1 || v.Failures[0].ReasonCode != "tag_mismatch" {
		t.Errorf("verification: %v", v)
	}
	if o.Log.TreeSize != o.State.TreeSize || o.Behind != 0 {
		t.Errorf("the log: %v, behind %d", o.Log, o.Behind)
	}
	if again := get(timestamppb.New(time.Now().Add(-time.Hour))); again.Decisions.Stages[0].Blocked != 2 {
		t.Errorf("a second call counts twice: %v", again.Decisions)
	}
	for _, at := range []time.Time{time.Now().Add(time.Hour), time.Now().Add(-72 * time.Hour)} {
		_, err := r.portal(acmeToken).GetOverview(ctx, connect.NewRequest(&munimentv1.GetOverviewRequest{Tenant: "acme", Today: timestamppb.New(at)}))
		wantCode(t, at.String(), err, connect.CodeInvalidArgument, "today")
	}
	other, err := r.portal(globexToken).GetOverview(ctx, connect.NewRequest(&munimentv1.GetOverviewRequest{Tenant: "globex"}))
	if err != nil || other.Msg.Decisions.Connection.Connected || other.Msg.Findings.Connection.Connected || other.Msg.Log.StreamEntries != 0 {
		t.Errorf("another tenant sees %v, %v", other, err)
	}
}

func TestGetPrivacyBudget(t *testing.T) {
	ctx := context.Background()
	ts := newServer(t)
	export := func(name string, epsilon, spent float64) uint64 {
		t.Helper()
		payload := fmt.Sprintf(`{"name":%q,"created":"2026-11-01T00:00:00Z","files":[{"path":"f","digest":{"sha256":%q}}],"residencyRegions":["DE"],"licenses":["MIT"],"privacyBudget":{"epsilon":%v,"spent":%v,"budget":4}}`,
			name, strings.Repeat("a", 64), epsilon, spent)
		res, err := ts.client(acmeToken).Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "export-manifest", Payload: []byte(payload)}}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Appended.Index
	}
	get := func() *munimentv1.GetPrivacyBudgetResponse {
		t.Helper()
		res, err := ts.portal(acmeToken).GetPrivacyBudget(ctx, connect.NewRequest(&munimentv1.GetPrivacyBudgetRequest{Tenant: "acme"}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	if b := get(); b.Connection.Connected || len(b.Budgets) != 0 {
		t.Errorf("without exports: %v", b)
	}
	one := export("one", 0.5, 0.5)
	export("two", 0.25, 0.75)
	b := get().Budgets
	if len(b) != 1 || b[0].Checked != "0.75" || b[0].Claimed != "0.75" || !b[0].Agrees || b[0].Limit != "4" || b[0].SpendCount != 2 || b[0].Spends[0].Checked != "0.5" || b[0].Spends[1].Amount != "0.25" {
		t.Errorf("two exports: %v", b)
	}
	export("three", 1, 1)
	if b := get().Budgets; b[0].Agrees || b[0].Checked != "1.75" || b[0].Claimed != "1" {
		t.Errorf("an understated sum: %v", b)
	}
	if _, err := ts.erase(one, allOfIt, "a request"); err != nil {
		t.Fatal(err)
	}
	if b := get().Budgets; b[0].SpendCount != 2 || b[0].Agrees || b[0].Problem == "" {
		t.Errorf("after an erasure: %v", b)
	}
}

func TestDisplayNames(t *testing.T) {
	ctx := context.Background()
	co := newCompany(t)
	ts := newServer(t, co.employs(), func(_ *ledger.Config, c *api.Config) {
		rule := func(name string, claims map[string]string) auth.IdentityRule {
			return auth.IdentityRule{Name: name, DisplayName: name, Rule: oidc.Rule{Issuer: co.URL, Claims: claims}, Role: munimentv1.Role_ROLE_READER}
		}
		// After the rules of the company, which therefore grant the roles.
		c.Tenants[0].Rules = append(c.Tenants[0].Rules, rule("Dana Example", map[string]string{"sub": "dana"}), rule("Another Dana", map[string]string{"sub": "dana"}),
			rule("Everyone", map[string]string{"sub": "*"}))
		c.Tenants[1].Rules = append(c.Tenants[1].Rules, rule("Kim of another tenant", map[string]string{"sub": "kim"}))
	})
	for who, want := range map[string]string{"dana": "Dana Example", "kim": ""} {
		made, err := ts.event(co.token(ts, who, "admin"), "exception-request", who, exceptionRequest("EXC-"+who, strings.Repeat("a", 64), "x", time.Now().Add(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := ts.portal(acmeToken).GetException(ctx, connect.NewRequest(&munimentv1.GetExceptionRequest{Tenant: "acme", Index: made.Index}))
		if err != nil {
			t.Fatal(err)
		}
		if p := res.Msg.Exception.Requester; p.Name != want || !strings.HasSuffix(p.Id, "#"+who) {
			t.Errorf("the requester: %v, want the name %q", p, want)
		}
	}
}

package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/rpc"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/graph"
	"muniment.dev/muniment/controls/views"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// manyDigests returns n different SHA-256 digests as the members of a list.
func manyDigests(prefix string, n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"uri":"m","name":"s","digest":{"sha256":"%s%s%08x"}}`, strings.Repeat(prefix, 32), strings.Repeat("0", 24), i)
	}
	return strings.Join(all, ",")
}

// TestViewsOfLargeEntries checks that entries with as many subjects and
// materials as one can have make no answer large.
func TestViewsOfLargeEntries(t *testing.T) {
	ctx := context.Background()
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.MaxPayload = 4 << 20 })
	ts.putControls(t, "1")
	statement := func(subjects, materials string) {
		t.Helper()
		ts.state(acmeToken, fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":"https://slsa.dev/provenance/v1",`+
			`"predicate":{"buildDefinition":{"buildType":"https://example.com/b","externalParameters":{},"resolvedDependencies":[%s]},"runDetails":{"builder":{"id":"https://example.com/b"}}}}`,
			strings.ReplaceAll(subjects, `"uri":"m",`, ""), strings.ReplaceAll(materials, `"name":"s",`, "")))
	}
	root := fmt.Sprintf(`{"uri":"m","name":"root","digest":{"sha256":%q}}`, strings.Repeat("f", 64))
	for i := range 6 {
		statement(root, manyDigests(fmt.Sprint(i), 1000))
	}
	statement(manyDigests("a", 1000), root)
	if _, err := ts.event(acmeToken, "finding", "f", findingOf("F-1", "open", `,"subjects":[`+strings.ReplaceAll(manyDigests("a", 1000), `"uri":"m",`, "")+`]`)); err != nil {
		t.Fatal(err)
	}
	p := ts.portal(acmeToken)
	a, err := p.GetArtifact(ctx, connect.NewRequest(&munimentv1.GetArtifactRequest{Tenant: "acme", Digest: "sha256:" + strings.Repeat("f", 64), Depth: 8}))
	if err != nil {
		t.Fatal(err)
	}
	if g := a.Msg.Graph; len(g.Nodes) > graph.MaxArtifacts+8 || len(g.Nodes) < graph.MaxArtifacts || len(g.Edges) > 2*graph.MaxArtifacts || !g.Truncated {
		t.Errorf("the graph has %d nodes and %d edges, truncated: %t", len(g.Nodes), len(g.Edges), g.Truncated)
	}
	few, err := p.GetArtifact(ctx, connect.NewRequest(&munimentv1.GetArtifactRequest{Tenant: "acme", Digest: "sha256:" + strings.Repeat("a", 32) + strings.Repeat("0", 32)}))
	if err != nil || few.Msg.FindingsTotal != 1 || len(few.Msg.Findings[0].Subjects) != 16 || few.Msg.Findings[0].SubjectCount != 1000 {
		t.Errorf("one of many subjects: %v, %v", few, err)
	}
	found, err := p.Search(ctx, connect.NewRequest(&munimentv1.SearchRequest{Tenant: "acme", Query: strings.Repeat("a", 32)}))
	if err != nil || len(found.Msg.Hits) != views.MaxPage || !found.Msg.Truncated {
		t.Errorf("a search that finds thousands: %d hits, truncated: %t, %v", len(found.Msg.GetHits()), found.Msg.GetTruncated(), err)
	}
	list, err := p.ListFindings(ctx, connect.NewRequest(&munimentv1.ListFindingsRequest{Tenant: "acme"}))
	if err != nil {
		t.Fatal(err)
	}
	for what, m := range map[string]proto.Message{"the artifact": a.Msg, "one of many": few.Msg, "the search": found.Msg, "the findings": list.Msg} {
		if n := proto.Size(m); n > 256<<10 {
			t.Errorf("%s: an answer of %d bytes", what, n)
		}
	}
}

// A leavingLog ends the context of its caller after a number of reads, and
// counts the reads afterwards.
type leavingLog struct {
	*ledger.Ledger
	left   int
	leave  context.CancelFunc
	beyond int
}

func (l *leavingLog) read() {
	switch l.left--; {
	case l.left == 0:
		l.leave()
	case l.left < 0:
		l.beyond++
	}
}

func (l *leavingLog) List(ctx context.Context, s *ledger.Stream, q ledger.Query) (*ledger.Page, error) {
	l.read()
	return l.Ledger.List(ctx, s, q)
}

func (l *leavingLog) Next(ctx context.Context, p *ledger.Published, s *ledger.Stream, f ledger.Filter, from uint64) (*ledger.Entry, uint64, error) {
	l.read()
	return l.Ledger.Next(ctx, p, s, f, from)
}

func (l *leavingLog) Entry(ctx context.Context, s *ledger.Stream, index uint64) (*ledger.Entry, error) {
	l.read()
	return l.Ledger.Entry(ctx, s, index)
}

func (l *leavingLog) Payload(ctx context.Context, e *ledger.Entry) (*receipt.PayloadOpening, error) {
	l.read()
	return l.Ledger.Payload(ctx, e)
}

// TestViewsStop checks that a view whose caller has gone reads no further,
// wherever it is.
func TestViewsStop(t *testing.T) {
	r := newExceptionRig(t)
	r.putControl(t, "1", "C", strings.ReplaceAll(gateControl, "EVIDENCE", "C"))
	g := &gateTest{r.testServer, t, acmeToken}
	if _, err := g.ask(nil, "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	one := r.asks("dana", "EXC-1")
	for i := range 12 {
		for _, e := range []struct{ kind, payload string }{
			{"finding", strings.Replace(findingOf(fmt.Sprint("F-", i), "open", ""), "EVIDENCE", "C", 1)},
			{"metric-snapshot", `{"service":"cdn","window":{"from":"2026-11-01T00:00:00Z","to":"2026-11-01T01:00:00Z"},"metrics":[{"name":"cache_hit_ratio","value":0.98,"unit":"ratio"}]}`},
			{"triage-action", `{"incident":"inc-1","playbook":"p","action":"a","result":"succeeded","irreversible":true,"actor":"kim","started":"2026-11-01T00:10:00Z"}`},
		} {
			if _, err := r.event(acmeToken, e.kind, fmt.Sprint(e.kind, i), e.payload); err != nil {
				t.Fatal(err)
			}
		}
		r.state(acmeToken, statementAbout("app", "a", "b"))
	}
	digest, err := entry.ParseDigest("sha256:" + strings.Repeat("a", 64))
	if err != nil {
		t.Fatal(err)
	}
	v := &views.Viewer{Tenant: "acme", Stream: r.settings.Tenants[0].Stream, Identity: "token:acme"}
	all := map[string]func(context.Context, *views.Reader) error{
		"overview": func(ctx context.Context, x *views.Reader) error {
			_, err := x.Overview(ctx, v, time.Now().Add(-time.Hour))
			return err
		},
		"search": func(ctx context.Context, x *views.Reader) error {
			_, err := x.Search(ctx, v, &munimentv1.SearchRequest{Query: "app"})
			return err
		},
		"artifact": func(ctx context.Context, x *views.Reader) error {
			_, err := x.GetArtifact(ctx, v, &munimentv1.GetArtifactRequest{}, digest)
			return err
		},
		"findings": func(ctx context.Context, x *views.Reader) error {
			_, err := x.ListFindings(ctx, v, &munimentv1.ListFindingsRequest{}, digest)
			return err
		},
		"finding": func(ctx context.Context, x *views.Reader) error {
			_, err := x.GetFinding(ctx, v, &munimentv1.GetFindingRequest{Id: "F-1"})
			return err
		},
		"incidents": func(ctx context.Context, x *views.Reader) error {
			_, err := x.ListIncidents(ctx, v, &munimentv1.ListIncidentsRequest{})
			return err
		},
		"incident": func(ctx context.Context, x *views.Reader) error {
			_, err := x.GetIncident(ctx, v, "inc-1")
			return err
		},
		"exceptions": func(ctx context.Context, x *views.Reader) error {
			_, err := x.ListExceptions(ctx, v, &munimentv1.ListExceptionsRequest{})
			return err
		},
		"exception": func(ctx context.Context, x *views.Reader) error { _, err := x.GetException(ctx, v, one); return err },
		"preview": func(ctx context.Context, x *views.Reader) error {
			_, err := x.PreviewException(ctx, v, &munimentv1.PreviewExceptionRequest{Exception: &munimentv1.PreviewExceptionRequest_Request{Request: one}})
			return err
		},
		"budgets": func(ctx context.Context, x *views.Reader) error {
			_, err := x.GetPrivacyBudget(ctx, v, &munimentv1.GetPrivacyBudgetRequest{})
			return err
		},
	}
	for name, view := range all {
		for after := 1; ; after++ {
			ctx, cancel := context.WithCancel(context.Background())
			log := &leavingLog{Ledger: r.ledger, left: after, leave: cancel}
			exceptions := &exception.Projection{Log: log, Now: time.Now}
			d := &decide.Decider{Log: log, Facts: decide.StoredFacts{Log: log}, Exceptions: exceptions, Now: time.Now}
			x := &views.Reader{Log: log, Decider: d, Exceptions: exceptions, Findings: &finding.Projection{Log: log}, Now: time.Now, Message: rpc.EntryMessage(r.ledger)}
			err := view(ctx, x)
			cancel()
			if log.left > 0 { // it was done before
				if err != nil || after < 3 {
					t.Errorf("%s ends after %d reads: %v", name, after-log.left, err)
				}
				break
			}
			if log.beyond > 2 { // the payload of an entry, and an index
				t.Errorf("%s: %d reads after the caller has gone at read %d: %v", name, log.beyond, after, err)
			}
		}
	}
}

package api_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// spool returns the document of an offline gate that decides about an image in
// the current state. change may forge it.
func (g *gateTest) spool(image string, change func(*munimentv1.SpooledDecision)) []byte {
	g.t.Helper()
	subject := imageOf(image)
	res, err := g.client().Decide(context.Background(), connect.NewRequest(&munimentv1.DecideRequest{Tenant: "acme", Stage: "deploy", Subjects: []*munimentv1.GateSubject{subject}, DryRun: true}))
	if err != nil {
		g.t.Fatal(err)
	}
	document, err := decide.SpooledDocument(g.ledger.Origin(), "acme", decide.GateDelta, "kim@plant", subject, res.Msg.Decisions[0].Decision)
	if err != nil {
		g.t.Fatal(err)
	}
	if change == nil {
		return document
	}
	m, err := decide.ReadSpooled(document)
	if err != nil {
		g.t.Fatal(err)
	}
	change(m)
	if document, err = decide.SpooledDocument(m.Log, m.Tenant, m.Gate, m.Caller, m.Subject, m.Decision); err != nil {
		g.t.Fatal(err)
	}
	return document
}

// submit submits documents, and returns a line for each.
func (g *gateTest) submit(documents ...[]byte) (string, []*munimentv1.SubmittedDecision) {
	g.t.Helper()
	res, err := g.client().SubmitDecisions(context.Background(), connect.NewRequest(&munimentv1.SubmitDecisionsRequest{Tenant: "acme", Decisions: documents}))
	if err != nil {
		g.t.Error(err)
		return "", nil
	}
	var lines []string
	for _, r := range res.Msg.Results {
		line := strings.ToLower(strings.TrimPrefix(r.Result.String(), "SUBMISSION_RESULT_"))
		if r.Index != nil {
			line += " @" + strconv.FormatUint(*r.Index, 10)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", "), res.Msg.Results
}

func (g *gateTest) wantSubmitted(what, want string, documents ...[]byte) []*munimentv1.SubmittedDecision {
	g.t.Helper()
	got, all := g.submit(documents...)
	if got != want {
		g.t.Errorf("%s: %s, want %s: %v", what, got, want, all)
	}
	return all
}

// TestSubmitDecisions submits decisions of offline gates. The log records its
// own decisions, each document once.
func TestSubmitDecisions(t *testing.T) {
	ts := newServer(t)
	g := &gateTest{ts, t, acmeToken}
	ts.putControls(t, "1") // 0, 1
	first := g.spool("a", nil)
	later := g.spool("a", func(m *munimentv1.SpooledDecision) { m.Caller = "lee@plant" })
	g.wantSubmitted("two with the same inputs", "recorded @2, repeated @2", first, later)
	g.wantSubmitted("again", "known @2, repeated @2", first, later)

	res, err := ts.client(acmeToken).GetEntry(context.Background(), connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: 2}))
	if err != nil {
		t.Fatal(err)
	}
	if h := string(res.Msg.Entry.Header); !strings.Contains(h, `"gate":"delta"`) || !strings.Contains(h, `"spooled":"sha256:`) || !strings.Contains(h, `"decision":"blocked"`) {
		t.Errorf("the header of the entry: %s", h)
	}
	g.want("the log's own decision does not repeat it", "blocked @3", nil, "a")
	g.want("but itself", "blocked @3 repeated", nil, "a")
	g.wantSubmitted("an offline decision repeats the log's", "repeated @3", g.spool("a", nil))

	forged := g.spool("b", func(m *munimentv1.SpooledDecision) {
		m.Decision.Decision, m.Decision.Results[0].Result, m.Decision.Results[0].Reason = "pass", "satisfied", "satisfied"
	})
	all := g.wantSubmitted("a forged pass", "differs", forged)
	if d := all[0].Decision; d.GetDecision() != "blocked" || !strings.Contains(all[0].Reason, "decided pass, the log decides blocked") {
		t.Errorf("a forged pass: %v", all[0])
	}
	change := func(f func(*munimentv1.SpooledDecision)) []byte { return g.spool("c", f) }
	g.wantSubmitted("forged questions", "differs, differs, differs",
		change(func(m *munimentv1.SpooledDecision) { m.Decision.Inputs = "sha256:" + strings.Repeat("0", 64) }),
		change(func(m *munimentv1.SpooledDecision) { m.Decision.Subjects[0].Name = "another" }),
		change(func(m *munimentv1.SpooledDecision) { m.Decision.TreeSize = proto.Uint64(1) }))
	g.wantSubmitted("others", "invalid, invalid, invalid, invalid, invalid, invalid",
		change(func(m *munimentv1.SpooledDecision) { m.Log = "other.test/log" }),
		change(func(m *munimentv1.SpooledDecision) { m.Tenant = "globex" }),
		change(func(m *munimentv1.SpooledDecision) {
			m.Decision.Decided = timestamppb.New(m.Decision.Decided.AsTime().Add(-time.Nanosecond * 1500))
		}),
		change(func(m *munimentv1.SpooledDecision) { m.Decision.Decided = timestamppb.New(time.Unix(0, 0)) }),
		[]byte("not JSON"), []byte(`{"type":"https://muniment.dev/spool/gate-decision/v1"}`))
	g.wantSubmitted("the future", "not_yet, not_yet",
		change(func(m *munimentv1.SpooledDecision) { m.Decision.TreeSize = proto.Uint64(1000) }),
		change(func(m *munimentv1.SpooledDecision) {
			m.Decision.Decided = timestamppb.New(m.Decision.Decided.AsTime().Add(time.Hour))
		}))
	if m := ts.metrics(); !strings.Contains(m, `muniment_gate_decisions_total{decision="blocked",recorded="repeated"} 4`) {
		t.Errorf("metrics: %s", m)
	}
}

// TestSubmitTogether submits the same documents by several callers at once, as
// from copies of a spool. Each is recorded once.
func TestSubmitTogether(t *testing.T) {
	ts := newServer(t, withToken("mnt_acme_reader", auth.Token{ID: "reader", Role: munimentv1.Role_ROLE_READER}))
	g := &gateTest{ts, t, acmeToken}
	ts.putControls(t, "1") // 0, 1
	documents := [][]byte{g.spool("a", nil), g.spool("b", nil)}
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			one := *g
			if i%2 > 0 {
				one.token = "mnt_acme_reader"
			}
			one.submit(documents...)
		})
	}
	callers.Wait()
	if size := ts.ledger.Published().Size; size != 4 {
		t.Errorf("the log has %d entries, want 4", size)
	}
}

// TestReplicaGate asks the gate of a replica. Its decisions equal those of the
// log, are kept in the spool, and are recorded by the log.
func TestReplicaGate(t *testing.T) {
	ts := newServer(t)
	g := &gateTest{ts, t, acmeToken}
	ts.putControls(t, "1") // 0, 1
	ts.attest(t, "a")      // 2
	file, err := ts.export(acmeToken, "acme", 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kept, err := spool.Make(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	there, _ := ts.replica(file, func(_ *ledger.Config, ac *api.Config) { ac.Spool = kept })
	replica := &gateTest{there, t, acmeToken}
	dry := func(r *munimentv1.DecideRequest) { r.DryRun = true }
	g.want("the log", "pass, blocked", dry, "a", "b")
	replica.want("the replica, dry", "pass, blocked", dry, "a", "b")
	if all, err := kept.Digests(); len(all) > 0 || err != nil {
		t.Errorf("a dry run is spooled: %s, %v", all, err)
	}
	replica.want("the replica", "pass, blocked", nil, "a", "b")
	if m := there.metrics(); !strings.Contains(m, `muniment_gate_decisions_total{decision="pass",recorded="spooled"} 1`) {
		t.Errorf("metrics: %s", m)
	}
	_, err = replica.client().SubmitDecisions(context.Background(), connect.NewRequest(&munimentv1.SubmitDecisionsRequest{Tenant: "acme", Decisions: [][]byte{[]byte("{}")}}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a submission to a replica: %v", err)
	}

	ts.attest(t, "b") // 3: what was blocked there would pass now
	all, err := kept.Digests()
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, digest := range all {
		document, err := kept.Get(digest)
		if err != nil {
			t.Fatal(err)
		}
		if r := g.submitOne(document); r.Result != munimentv1.SubmissionResult_SUBMISSION_RESULT_RECORDED {
			t.Errorf("%s: %v", document, r)
		}
	}
	without, _ := ts.replica(file)
	_, err = (&gateTest{without, t, acmeToken}).ask(nil, "a")
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a replica without a spool: %v", err)
	}
}

func (g *gateTest) submitOne(document []byte) *munimentv1.SubmittedDecision {
	g.t.Helper()
	_, all := g.submit(document)
	if len(all) != 1 {
		g.t.Fatal("no result")
	}
	return all[0]
}

// attest appends evidence about an image.
func (ts *testServer) attest(t *testing.T, hex string) {
	t.Helper()
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":"https://example.com/p/v1","predicate":{}}`, strings.Repeat(hex, 64))
	if _, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}})); err != nil {
		t.Fatal(err)
	}
}

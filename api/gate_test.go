package api_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A gateTest asks the gate of the tenant acme, whose control set requires
// anybody's evidence for what is deployed.
type gateTest struct {
	*testServer
	t     *testing.T
	token string
}

const gateControl = `{"id":"EVIDENCE","title":"There is evidence","state":"active","severity":"high","check":{"require":[{"name":"any","unsigned":true}]},"modes":[{"stage":"deploy","mode":"enforce"}]}`

// putControls puts the control set in force.
func (ts *testServer) putControls(t *testing.T, key string) *munimentv1.Appended {
	t.Helper()
	return ts.putControl(t, key, "EVIDENCE", gateControl)
}

// putControl puts a control set of one control in force.
func (ts *testServer) putControl(t *testing.T, key, id, control string) *munimentv1.Appended {
	t.Helper()
	if _, err := ts.event(acmeToken, "control", "control", control); err != nil {
		t.Fatal(err)
	}
	set := fmt.Sprintf(`{"version":%q,"stages":["deploy"],"controls":[{"id":%q,"digest":"sha256:%x"}]}`, key, id, sha256.Sum256([]byte(control)))
	a, err := ts.event(acmeToken, "control-set", key, set)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func imageOf(hex string) *munimentv1.GateSubject {
	return &munimentv1.GateSubject{Type: "image", Artifact: &munimentv1.Artifact{Name: "registry.example/app", Digest: map[string]string{"sha256": strings.Repeat(hex, 64)}}}
}

func (g *gateTest) client() munimentv1connect.GateServiceClient {
	return munimentv1connect.NewGateServiceClient(g.h2, g.url, connect.WithInterceptors(bearer(g.token)))
}

// ask asks about images, and returns a line for each decision.
func (g *gateTest) ask(change func(*munimentv1.DecideRequest), images ...string) (string, error) {
	req := &munimentv1.DecideRequest{Tenant: "acme", Stage: "deploy"}
	for _, hex := range images {
		req.Subjects = append(req.Subjects, imageOf(hex))
	}
	if change != nil {
		change(req)
	}
	res, err := g.client().Decide(context.Background(), connect.NewRequest(req))
	if err != nil {
		return "", err
	}
	var lines []string
	for _, d := range res.Msg.Decisions {
		line := strings.TrimSpace(d.Decision.Decision + " " + d.Decision.Reason)
		if d.Index != nil {
			line += fmt.Sprintf(" @%d", *d.Index)
		}
		if d.Repeated {
			line += " repeated"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", "), nil
}

func (g *gateTest) want(what, want string, change func(*munimentv1.DecideRequest), images ...string) {
	g.t.Helper()
	if got, err := g.ask(change, images...); err != nil || got != want {
		g.t.Errorf("%s: %q, %v; want %q", what, got, err, want)
	}
}

// TestGate asks for decisions, and checks which of them are recorded.
func TestGate(t *testing.T) {
	ts := newServer(t)
	g := &gateTest{ts, t, acmeToken}
	g.want("without controls", "undecided no-control-set @0", nil, "a")
	ts.putControls(t, "1") // 1, 2
	if _, err := ts.event(acmeToken, "triage-action", "x", `{"incident":"I","playbook":"p","action":"a","result":"succeeded","irreversible":true,"actor":"x","started":"2026-06-03T08:14:00Z"}`); err != nil {
		// 3
		t.Fatal(err)
	}
	g.want("without evidence", "blocked @4, blocked @5", nil, "a", "b")
	g.want("again", "blocked @4 repeated, blocked @5 repeated, blocked @6", nil, "a", "b", "c")
	g.want("twice in one call", "blocked @7, blocked @7 repeated", nil, "d", "d")
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":"https://example.com/p/v1","predicate":{}}`, strings.Repeat("a", 64))
	if _, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}})); err != nil {
		// 8
		t.Fatal(err)
	}
	g.want("a dry run", "pass", func(r *munimentv1.DecideRequest) { r.DryRun = true }, "a")
	g.want("with evidence", "pass @9, blocked @5 repeated", nil, "a", "b")
	g.want("the past", "blocked", func(r *munimentv1.DecideRequest) { r.At = &munimentv1.DecideRequest_TreeSize{TreeSize: 8} }, "a")
	g.want("another environment", "pass @10", func(r *munimentv1.DecideRequest) { r.Environment = "production" }, "a")
	g.want("an unknown stage", "undecided unknown-stage @11", func(r *munimentv1.DecideRequest) { r.Stage = "build" }, "a")

	_, err := g.ask(func(r *munimentv1.DecideRequest) { r.At = &munimentv1.DecideRequest_TreeSize{TreeSize: 1000} }, "a")
	wantCode(t, "the future", err, connect.CodeOutOfRange, "at")
	_, err = g.ask(func(r *munimentv1.DecideRequest) {
		r.At = &munimentv1.DecideRequest_Time{Time: timestamppb.New(time.Now().Add(time.Hour))}
	}, "a")
	wantCode(t, "a time in the future", err, connect.CodeOutOfRange, "at")
	_, err = g.ask(func(r *munimentv1.DecideRequest) {
		r.At = &munimentv1.DecideRequest_Time{Time: timestamppb.New(time.Time{})}
	}, "a")
	wantCode(t, "the zero time", err, connect.CodeInvalidArgument, "time")
	if m := ts.metrics(); !strings.Contains(m, `muniment_gate_decisions_total{decision="pass",recorded="yes"} 2`) || !strings.Contains(m, `muniment_gate_decisions_total{decision="blocked",recorded="repeated"} 4`) {
		t.Errorf("metrics: %s", m)
	}
}

// TestGateCallers checks who may ask, and for whom.
func TestGateCallers(t *testing.T) {
	ts := newServer(t)
	g := &gateTest{ts, t, acmeToken}
	_, err := g.ask(func(r *munimentv1.DecideRequest) { r.Tenant = "globex" }, "a")
	if connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := g.ask(nil); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("no subjects: %v", err)
	}
	many := make([]string, 10001)
	for i := range many {
		many[i] = "a"
	}
	if _, err := g.ask(nil, many...); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("too many subjects: %v", err)
	}
	if _, err := ts.event(acmeToken, "gate-decision", "x", `{}`); connect.CodeOf(err) != connect.CodePermissionDenied && connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a client appends a decision: %v", err)
	}
	none, err := g.client().GetControlSet(context.Background(), connect.NewRequest(&munimentv1.GetControlSetRequest{Tenant: "acme"}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("without a control set: %v, %v", none, err)
	}
	if e, ok := errors.AsType[*connect.Error](err); !ok || len(e.Details()) != 1 || e.Details()[0].Type() != "muniment.v1.LogState" {
		t.Errorf("without a control set, the state of the log is not in the details: %v", err)
	}
	at := ts.putControls(t, "1")
	set, err := g.client().GetControlSet(context.Background(), connect.NewRequest(&munimentv1.GetControlSetRequest{Tenant: "acme"}))
	if err != nil || set.Msg.State.TreeSize != at.Index+1 || set.Msg.State.Log == "" || set.Msg.State.AsOf == nil || set.Msg.Index != at.Index || len(set.Msg.Controls) != 1 || set.Msg.Controls[0].Id != "EVIDENCE" || set.Msg.Set.Version != "1" {
		t.Errorf("the control set: %v, %v", set, err)
	}
}

// TestGateReadsFacts decides from the facts that were stored with evidence,
// until the evidence is erased.
func TestGateReadsFacts(t *testing.T) {
	ts := newServer(t)
	g := &gateTest{ts, t, acmeToken}
	control := `{"id":"TESTS","title":"Tests have passed","state":"active","severity":"high","check":{"require":[{"name":"tests","unsigned":true}],"condition":"evidence.exists(e, e.facts.test.result == 'PASSED')"},"modes":[{"stage":"deploy","mode":"enforce"}]}`
	if _, err := ts.event(acmeToken, "control", "control", control); err != nil { // 0
		t.Fatal(err)
	}
	set := fmt.Sprintf(`{"version":"1","stages":["deploy"],"controls":[{"id":"TESTS","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(control)))
	if _, err := ts.event(acmeToken, "control-set", "set", set); err != nil { // 1
		t.Fatal(err)
	}
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":"https://in-toto.io/attestation/test-result/v0.1","predicate":{"result":"PASSED","configuration":[{"name":"c","digest":{"sha256":%[1]q}}]}}`, strings.Repeat("a", 64))
	if _, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}})); err != nil { // 2
		t.Fatal(err)
	}
	g.want("with facts", "pass @3", nil, "a")
	if _, err := ts.erase(2, munimentv1.ErasureScope_ERASURE_SCOPE_PAYLOAD, "a request"); err != nil { // 4
		t.Fatal(err)
	}
	g.want("without facts", "undecided @5", nil, "a")
}

// TestGateReceipt checks that an appender gets the receipts of the decisions
// that it asked for, and of no other entry.
func TestGateReceipt(t *testing.T) {
	ts := newServer(t)
	tokens := map[string]string{}
	for _, name := range []string{"mine", "theirs"} {
		token, err := ts.issue(&munimentv1.Grant{Id: name, Role: munimentv1.Role_ROLE_APPENDER})
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = token
	}
	ask := func(token, digit string) uint64 {
		t.Helper()
		g := &gateTest{ts, t, token}
		res, err := g.client().Decide(t.Context(), connect.NewRequest(&munimentv1.DecideRequest{Tenant: "acme", Stage: "deploy", Subjects: []*munimentv1.GateSubject{imageOf(digit)}}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Decisions[0].GetIndex()
	}
	own, other := ask(tokens["mine"], "a"), ask(tokens["theirs"], "b")
	statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"` + strings.Repeat("a", 64) + `"}}],"predicateType":"https://example.com/scan/v1","predicate":{}}`
	appended, err := ts.client(tokens["mine"]).Append(t.Context(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}}))
	if err != nil {
		t.Fatal(err)
	}
	for index, want := range map[uint64]connect.Code{own: 0, other: connect.CodeNotFound, appended.Msg.Appended.Index: connect.CodeNotFound, 0: connect.CodeNotFound} {
		for _, payload := range []bool{false, true} {
			_, err := ts.client(tokens["mine"]).GetReceipt(t.Context(), connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: "acme", Index: index, IncludePayload: payload}))
			if err == nil && want != 0 || err != nil && connect.CodeOf(err) != want {
				t.Errorf("entry %d: %v, want %v", index, err, want)
			}
		}
	}
}

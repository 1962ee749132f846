package api_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestGateExplains checks that a blocked decision names what each requirement
// needs, what was found for it, and why other evidence does not count.
func TestGateExplains(t *testing.T) {
	ts := newServer(t)
	const control = `{"id":"SCANNED","title":"It is scanned","state":"active","severity":"high","owner":"security@example.com","check":{"require":[{"name":"any","unsigned":true},{"name":"scan","predicateTypes":["https://example.com/scan/*"],"signers":["scanner"],"maxAgeSeconds":"3600"}]},"modes":[{"stage":"deploy","mode":"enforce"}]}`
	if _, err := ts.event(acmeToken, "control", "control", control); err != nil {
		t.Fatal(err)
	}
	set := fmt.Sprintf(`{"version":"1","stages":["deploy"],"signers":[{"name":"scanner","keyIds":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}],"controls":[{"id":"SCANNED","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(control)))
	if _, err := ts.event(acmeToken, "control-set", "set", set); err != nil {
		t.Fatal(err)
	}
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":"https://example.com/scan/v1","predicate":{}}`, strings.Repeat("a", 64))
	if _, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}})); err != nil {
		t.Fatal(err)
	}
	g := &gateTest{ts, t, acmeToken}
	req := &munimentv1.DecideRequest{Tenant: "acme", Stage: "deploy", Subjects: []*munimentv1.GateSubject{imageOf("a")}, Explain: true}
	res, err := g.client().Decide(context.Background(), connect.NewRequest(req))
	if err != nil {
		t.Fatal(err)
	}
	d := res.Msg.Decisions[0]
	if d.Decision.Decision != "blocked" || len(d.Explanations) != 1 || len(d.Explanations[0].Requirements) != 2 {
		t.Fatalf("got %v", d)
	}
	e := d.Explanations[0]
	if e.Title != "It is scanned" || e.Owner != "security@example.com" {
		t.Errorf("control: %v", e)
	}
	if r := e.Requirements[0]; !r.Met || len(r.Found) != 1 || r.Found[0].Index != 2 {
		t.Errorf("the requirement that is met: %v", r)
	}
	r := e.Requirements[1]
	if r.Met || len(r.Found) != 0 || len(r.Ignored) != 1 || r.Ignored[0].Why != "it is not signed by a listed signer" {
		t.Errorf("the requirement that is not met: %v", r)
	}
	if want := "a statement of type https://example.com/scan/* by scanner, not older than 1h0m0s"; r.Needs != want {
		t.Errorf("needs %q, want %q", r.Needs, want)
	}
	req.Explain = false
	if res, err := g.client().Decide(context.Background(), connect.NewRequest(req)); err != nil || len(res.Msg.Decisions[0].Explanations) != 0 {
		t.Errorf("explains without being asked: %v", err)
	}
}

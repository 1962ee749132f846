package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
)

// TestGateAttests checks that a pass is published in signed attestations, which
// a repeated decision returns again, and that nothing else is.
func TestGateAttests(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := attest.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.GateKey = signer })
	ts.putControls(t, "1")
	g := &gateTest{ts, t, acmeToken}
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":"https://example.com/p/v1","predicate":{}}`, strings.Repeat("a", 64))
	if _, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}})); err != nil {
		t.Fatal(err)
	}
	decide := func(environment string, dry bool, images ...string) []*munimentv1.SubjectDecision {
		t.Helper()
		req := &munimentv1.DecideRequest{Tenant: "acme", Stage: "deploy", Environment: environment, DryRun: dry}
		for _, hex := range images {
			req.Subjects = append(req.Subjects, imageOf(hex))
		}
		res, err := g.client().Decide(context.Background(), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Decisions
	}
	all := decide("production", false, "a", "b")
	if n := len(all[1].Decision.Attestations); all[1].Decision.Decision != "blocked" || n != 0 {
		t.Errorf("a %s decision has %d attestations", all[1].Decision.Decision, n)
	}
	passed := all[0].Decision.Attestations
	if len(passed) != 3 {
		t.Fatalf("a pass has %d attestations, want three", len(passed))
	}
	public, err := dsse.NewKey("gate", key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, text := range passed {
		var bundle struct {
			DSSEEnvelope json.RawMessage `json:"dsseEnvelope"`
		}
		if err := json.Unmarshal([]byte(text), &bundle); err != nil {
			t.Fatal(err)
		}
		envelope, err := dsse.Parse(bundle.DSSEEnvelope)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := envelope.Verify([]*dsse.Key{public}, 1); err != nil {
			t.Errorf("signature: %v", err)
		}
		s, err := intoto.Read(envelope.Payload)
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, s.PredicateType)
	}
	if want := []string{intoto.SLSASummaryV1, intoto.SVR, intoto.Deployment}; fmt.Sprint(types) != fmt.Sprint(want) {
		t.Errorf("types %q, want %q", types, want)
	}
	again := decide("production", false, "a")[0]
	if !again.Repeated || fmt.Sprint(again.Decision.Attestations) != fmt.Sprint(passed) {
		t.Errorf("repeated %t with %d attestations, want those of the entry", again.Repeated, len(again.Decision.Attestations))
	}
	// Evidence about a part proves nothing about the digest that is claimed to
	// be its index.
	req := &munimentv1.DecideRequest{Tenant: "acme", Stage: "deploy", Subjects: []*munimentv1.GateSubject{imageOf("c")}}
	req.Subjects[0].Parts = []*munimentv1.GatePart{{Platform: "linux/arm64", Digest: map[string]string{"sha256": strings.Repeat("a", 64)}}}
	res, err := g.client().Decide(context.Background(), connect.NewRequest(req))
	if err != nil || res.Msg.Decisions[0].Decision.Decision != "pass" || len(res.Msg.Decisions[0].Decision.Attestations) == 0 {
		t.Fatalf("an index of a part that passes: %v, %v", res, err)
	}
	for _, text := range res.Msg.Decisions[0].Decision.Attestations {
		var bundle struct {
			DSSEEnvelope struct{ Payload []byte } `json:"dsseEnvelope"`
		}
		if err := json.Unmarshal([]byte(text), &bundle); err != nil {
			t.Fatal(err)
		}
		if s := string(bundle.DSSEEnvelope.Payload); strings.Contains(s, strings.Repeat("c", 64)) || !strings.Contains(s, strings.Repeat("a", 64)) {
			t.Errorf("the attestation must be about the part only: %s", s)
		}
	}
	// Evidence about one digest proves nothing about another.
	req.Subjects[0].Parts, req.Subjects[0].Artifact.Digest["sha512"] = nil, strings.Repeat("d", 128)
	_, err = g.client().Decide(context.Background(), connect.NewRequest(req))
	wantCode(t, "two digests", err, connect.CodeInvalidArgument, "subjects[0].artifact.digest")
	if n := len(decide("", true, "a")[0].Decision.Attestations); n != 0 {
		t.Errorf("a dry run has %d attestations", n)
	}
	// Erasures are not among the inputs of decisions.
	if _, err := ts.erase(all[0].Decision.Results[0].Entries[0], allOfIt, "test"); err != nil {
		t.Fatal(err)
	}
	if d := decide("production", false, "a")[0].Decision; d.Decision != "blocked" || len(d.Attestations) != 0 {
		t.Errorf("after the erasure of the evidence: %s with %d attestations", d.Decision, len(d.Attestations))
	}
}

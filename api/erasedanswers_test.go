package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestNothingAnswersFromErased uses an exception in every way that the server
// could cache, erases it, and checks that no response depends on it.
func TestNothingAnswersFromErased(t *testing.T) {
	later := time.Duration(0)
	people := newCompany(t)
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.Now = func() time.Time { return time.Now().Add(later) } }, people.employs())
	ctx, c := context.Background(), ts.client(acmeToken)
	digest := strings.Repeat("c", 64)
	expires := time.Now().Add(100 * 24 * time.Hour)
	exception := func(id string) (*munimentv1.Appended, error) {
		return ts.event(people.token(ts, "dana", "appender"), "exception-request", "secret-key", exceptionRequest(id, digest, "none", expires))
	}
	found := func() int {
		t.Helper()
		res, err := c.ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme", Filter: &munimentv1.Filter{Subject: "sha256:" + digest}}))
		if err != nil {
			t.Fatal(err)
		}
		return len(res.Msg.Entries)
	}
	relied := func() bool { return strings.Contains(strings.Join(ts.applyRetention(true), "\n"), "EXC-SECRET") }

	payload := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"n","digest":{"sha256":%q}}],"predicateType":"https://example.com/p/v1","predicate":{}}`, digest)
	if _, err := c.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(payload)}})); err != nil {
		t.Fatal(err)
	}
	first, err := exception("EXC-SECRET")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := exception("EXC-SECRET"); err != nil || !again.Duplicate {
		t.Fatalf("the same request again: %v, %v", again, err)
	}
	approval, err := ts.event(people.token(ts, "kim", "approver"), "exception-decision", "k", exceptionApproval("EXC-SECRET", first.Index))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ts.admin(acmeToken).SetRetention(ctx, connect.NewRequest(&munimentv1.SetRetentionRequest{Tenant: "acme", Reason: "x",
		Rules: []*munimentv1.RetentionRule{{Kind: "attestation", Days: 30, Scope: onlyPayload}}})); err != nil {
		t.Fatal(err)
	}
	later = 40 * 24 * time.Hour
	if n := found(); n != 2 || !relied() {
		t.Fatalf("before: %d entries about the artifact, relied upon: %t", n, relied())
	}

	if _, err := ts.erase(first.Index, allOfIt, "request 88"); err != nil {
		t.Fatal(err)
	}
	if n := found(); n != 1 {
		t.Errorf("a search finds %d entries about the artifact, want 1", n)
	}
	if relied() {
		t.Error("the erased exception still steers retention")
	}
	if _, err := ts.erase(approval.Index, allOfIt, "request 88"); err != nil {
		// it names the exception
		t.Fatal(err)
	}
	if file, err := ts.export(acmeToken, "acme", 0); err != nil || strings.Contains(string(file), "EXC-SECRET") || strings.Contains(string(file), "secret-key") {
		t.Errorf("an export has what was erased, or %v", err)
	}
	other, err := exception("EXC-OTHER")
	if err != nil || other.Duplicate {
		t.Errorf("another request under the key of the erased one: %v, %v", other, err)
	}
	for _, secret := range []string{"EXC-SECRET", "secret-key"} {
		if strings.Contains(ts.logs.String(), secret) || strings.Contains(ts.metrics(), secret) {
			t.Errorf("logs or metrics have %s", secret)
		}
	}
}

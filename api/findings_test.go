package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// findingOf returns a report about a finding of the control EVIDENCE.
func findingOf(id, status, more string) string {
	return fmt.Sprintf(`{"id":%q,"title":"a problem","severity":"high","status":%q,"source":"audit","detected":"2026-11-01T00:00:00Z","controls":["EVIDENCE"]%s}`, id, status, more)
}

// A finding is resolved only by evidence that its control accepts. It can be
// reopened and resolved again, and a repeated submission is no other report.
func TestFindingsAreResolvedByEvidence(t *testing.T) {
	ts := newServer(t)
	ts.putControls(t, "1")
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":"https://example.com/p/v1","predicate":{}}`, strings.Repeat("a", 64))
	fix, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}}))
	if err != nil {
		t.Fatal(err)
	}
	report := func(key, status, more string) uint64 {
		t.Helper()
		a, err := ts.event(acmeToken, "finding", key, findingOf("AUD-1", status, more))
		if err != nil {
			t.Fatal(err)
		}
		return a.Index
	}
	report("k1", "open", "")
	for evidence, reason := range map[string]string{
		`["0"]`:  "control EVIDENCE: any: needs attestation; found none",
		`["99"]`: "the log has no entry 99 yet",
	} {
		_, err := ts.event(acmeToken, "finding", "k2", findingOf("AUD-1", "resolved", `,"evidence":`+evidence))
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(fmt.Sprint(err), reason) {
			t.Errorf("evidence %s: %v", evidence, err)
		}
	}
	linked := fmt.Sprintf(`,"evidence":["%d"]`, fix.Msg.Appended.Index)
	first := report("k3", "resolved", linked)
	if again := report("k3", "resolved", linked); again != first {
		t.Errorf("a retry is entry %d, want %d", again, first)
	}
	got, err := ts.client(acmeToken).GetEntry(context.Background(), connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: first}))
	if err != nil {
		t.Fatal(err)
	}
	h, err := entry.ParseHeader(got.Msg.Entry.Header)
	if err != nil || h.Attributes["resolution"] != "accepted" || h.Attributes["acceptedBy.1"] != "EVIDENCE" {
		t.Errorf("header of the resolution: %v, %v", h, err)
	}
	report("k4", "reopened", "")
	report("k5", "resolved", linked)
	if _, err := ts.event(acmeToken, "finding", "k6", findingOf("AUD-2", "resolved", `,"evidence":["0"],"resolution":"accepted"`)); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a report that accepts itself: %v", err)
	}
}

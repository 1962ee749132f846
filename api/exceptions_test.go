package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// An exceptionRig is a server with the people of a company.
type exceptionRig struct {
	*testServer
	people    *company
	expires   time.Time
	submitted int
}

func newExceptionRig(t *testing.T, edits ...func(*ledger.Config, *api.Config)) *exceptionRig {
	people := newCompany(t)
	return &exceptionRig{newServer(t, append(edits, people.employs())...), people, time.Now().Add(24 * time.Hour), 0}
}

func (r *exceptionRig) key() string {
	r.submitted++
	return fmt.Sprint("key-", r.submitted)
}

// asks requests an exception and returns the index of the request.
func (r *exceptionRig) asks(who, id string) uint64 {
	r.t.Helper()
	e, err := r.event(r.people.token(r.testServer, who, "appender"), "exception-request", r.key(), exceptionRequest(id, strings.Repeat("a", 64), "app:*", r.expires))
	if err != nil {
		r.t.Fatal(err)
	}
	return e.Index
}

// decides appends a decision with further members.
func (r *exceptionRig) decides(who, id string, request uint64, verdict, more string) error {
	_, err := r.event(r.people.token(r.testServer, who, "approver"), "exception-decision", r.key(), fmt.Sprintf(`{"exception":%q,"request":"%d","decision":%q%s}`, id, request, verdict, more))
	return err
}

// inForce returns the IDs of the exceptions in force.
func (r *exceptionRig) inForce() string {
	r.t.Helper()
	p := exception.Projection{Log: r.ledger, Now: time.Now}
	all, err := p.All(context.Background(), ledger.NewStream(r.keys["acme"]))
	if err != nil {
		r.t.Fatal(err)
	}
	var ids []string
	for _, x := range all {
		if status := x.At(time.Now(), exception.DefaultLimits); status.InForce() {
			ids = append(ids, x.ID)
		}
	}
	return strings.Join(ids, " ")
}

// wantRefusal fails the test unless the submission was refused because of the
// field, with an error that contains the text.
func wantRefusal(t *testing.T, what string, err error, field, text string) {
	t.Helper()
	wantCode(t, what, err, connect.CodeInvalidArgument, field)
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q", what, err, text)
	}
}

const because = `,"reason":"r"`

// TestExceptionOfTwoPeople checks which decisions fit an exception in each of
// its states.
func TestExceptionOfTwoPeople(t *testing.T) {
	r := newExceptionRig(t)
	one := r.asks("dana", "EXC-1")
	wantRefusal(t, "approval by the requester", r.decides("dana", "EXC-1", one, "approve", ""), "submission.payload", "another person must approve it")
	wantRefusal(t, "rejection by the requester", r.decides("dana", "EXC-1", one, "reject", because), "submission.payload", "another person must reject it")
	later := fmt.Sprintf(`,"reason":"r","expires":%q`, r.expires.Add(time.Hour).UTC().Format(time.RFC3339))
	wantRefusal(t, "renewal before the approval", r.decides("kim", "EXC-1", one, "renew", later), "submission.payload", "exception EXC-1 is not approved: approve it first")
	if got := r.inForce(); got != "" {
		t.Errorf("before the approval: %q is in force", got)
	}
	if err := r.decides("kim", "EXC-1", one, "approve", ""); err != nil {
		t.Fatal(err)
	}
	if got := r.inForce(); got != "EXC-1" {
		t.Errorf("after the approval: %q is in force", got)
	}
	wantRefusal(t, "second approval", r.decides("kim", "EXC-1", one, "approve", ""), "submission.payload", "has approved exception EXC-1 before")
	wantRefusal(t, "rejection after the approval", r.decides("lee", "EXC-1", one, "reject", because), "submission.payload", "exception EXC-1 is approved: revoke it")
	wantRefusal(t, "renewal by the requester", r.decides("dana", "EXC-1", one, "renew", later), "submission.payload", "another person must renew it")
	for _, act := range []struct{ who, verdict, more string }{{"lee", "approve", ""}, {"kim", "renew", later}, {"dana", "revoke", because}} {
		if err := r.decides(act.who, "EXC-1", one, act.verdict, act.more); err != nil {
			t.Errorf("%s by %s: %v", act.verdict, act.who, err)
		}
	}
	if got := r.inForce(); got != "" {
		t.Errorf("after the revocation: %q is in force", got)
	}
	for _, verdict := range []string{"approve", "reject", "revoke"} {
		wantRefusal(t, verdict+" after the revocation", r.decides("max", "EXC-1", one, verdict, because), "submission.payload", "exception EXC-1 was revoked: request another")
	}
	two := r.asks("dana", "EXC-2")
	if err := r.decides("kim", "EXC-2", two, "reject", because); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "approval after a rejection", r.decides("lee", "EXC-2", two, "approve", ""), "submission.payload", "exception EXC-2 was rejected: request another")

	wantRefusal(t, "no such entry", r.decides("kim", "EXC-2", 1<<40, "approve", ""), "submission.payload", "does not request an exception")
	wantRefusal(t, "an entry of another kind", r.decides("kim", "EXC-2", two-1, "approve", ""), "submission.payload", "does not request an exception")
	wantRefusal(t, "another ID", r.decides("kim", "EXC-1", two, "approve", ""), "submission.payload", "requests exception EXC-2, not EXC-1")
	for _, id := range []string{"EXC-1", "exc-1", "Exc-2"} {
		_, err := r.event(r.people.token(r.testServer, "lee", "appender"), "exception-request", r.key(), exceptionRequest(id, strings.Repeat("a", 64), "app:*", r.expires))
		wantRefusal(t, "the ID "+id+" again", err, "submission.payload", "choose another ID")
	}
}

// TestExceptionsByPeopleOnly checks that shared credentials can neither request
// an exception nor decide about it, whatever their role.
func TestExceptionsByPeopleOnly(t *testing.T) {
	r := newExceptionRig(t, withToken("mnt_acme_named", auth.Token{ID: "dana", Role: munimentv1.Role_ROLE_APPENDER, Kinds: []string{"exception-request"}}))
	request := exceptionRequest("EXC-1", strings.Repeat("a", 64), "app:*", r.expires)
	for _, token := range []string{"mnt_acme_named", roleToken("acme", "appender"), roleToken("acme", "admin")} {
		_, err := r.event(token, "exception-request", r.key(), request)
		wantRefusal(t, "a request with "+token, err, "submission.kind", "can be shared: use an identity token")
	}
	one := r.asks("dana", "EXC-1")
	for _, token := range []string{roleToken("acme", "approver"), roleToken("acme", "admin")} {
		_, err := r.event(token, "exception-decision", r.key(), exceptionApproval("EXC-1", one))
		wantRefusal(t, "an approval with "+token, err, "submission.kind", "can be shared: use an identity token")
	}
	_, err := r.event(r.people.token(r.testServer, "kim", "appender"), "exception-decision", r.key(), exceptionApproval("EXC-1", one))
	wantCode(t, "an approval by an appender", err, connect.CodePermissionDenied, "submission.kind")
	if got := r.inForce(); got != "" {
		t.Errorf("%q is in force", got)
	}
	if _, err := r.event(r.people.token(r.testServer, "kim", "admin"), "exception-decision", r.key(), exceptionApproval("EXC-1", one)); err != nil {
		t.Errorf("an approval by a person who is admin: %v", err)
	}
}

// TestRequesterBySpelling checks that the requester of an exception cannot
// approve it under another spelling of the subject.
func TestRequesterBySpelling(t *testing.T) {
	r := newExceptionRig(t)
	one := r.asks("dana@acme.example", "EXC-1")
	for _, spelling := range []string{
		"Dana@ACME.example", "dana@acme.example\u200b", "\u2060dana@acme.example", "da\u00adna@acme.example", "\uff44ana@acme.example", " dana@acme.example", "dana@acme.example\u3164", "dana\ufe0f@acme.example",
	} {
		who, err := r.exchange("acme", r.people.Token(map[string]any{"aud": ledgerAudience, "sub": spelling, "role": "approver"}))
		if err != nil { // such a subject is not accepted at all
			continue
		}
		_, err = r.event(who.Token, "exception-decision", r.key(), exceptionApproval("EXC-1", one))
		wantRefusal(t, fmt.Sprintf("%q", spelling), err, "submission.payload", "another person must approve it")
	}
	if got := r.inForce(); got != "" {
		t.Errorf("%q is in force", got)
	}
}

// TestConflictingDecisions submits conflicting events at the same time, one by
// one and in one batch. Exactly one of them is recorded.
func TestConflictingDecisions(t *testing.T) {
	const n = 8
	r := newExceptionRig(t)
	dana, kim := r.people.token(r.testServer, "dana", "appender"), r.people.token(r.testServer, "kim", "approver")
	atOnce := func(token, kind, payload string) (recorded int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if _, err := r.event(token, kind, fmt.Sprintf("at-once-%s-%d", kind, i), payload); err == nil {
					mu.Lock()
					recorded++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return recorded
	}
	inBatch := func(token, kind, payload string) (recorded int) {
		var subs []*munimentv1.Submission
		for i := range n {
			subs = append(subs, &munimentv1.Submission{Kind: kind, IdempotencyKey: fmt.Sprintf("in-batch-%s-%d", kind, i), Payload: []byte(payload)})
		}
		res, err := r.client(token).AppendBatch(context.Background(), connect.NewRequest(&munimentv1.AppendBatchRequest{Tenant: "acme", Submissions: subs}))
		if err != nil {
			t.Fatal(err)
		}
		for i, result := range res.Msg.Results {
			if a := result.GetAppended(); a != nil {
				recorded++
				if i != 0 {
					t.Errorf("submission %d of a batch is recorded in place of the first", i)
				}
			}
		}
		return recorded
	}
	for what, submit := range map[string]func(token, kind, payload string) int{"at once": atOnce, "in a batch": inBatch} {
		id := "EXC-" + strings.ReplaceAll(what, " ", "-")
		if got := submit(dana, "exception-request", exceptionRequest(id, strings.Repeat("a", 64), "app:*", r.expires)); got != 1 {
			t.Errorf("%s: %d requests with one ID are recorded, want 1", what, got)
		}
		list, err := r.client(acmeToken).ListEntries(context.Background(), connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme", Filter: &munimentv1.Filter{Attribute: "exception=" + id}}))
		if err != nil || len(list.Msg.Entries) != 1 {
			t.Fatalf("%s: the entries are not one request; %v", what, err)
		}
		if got := submit(kim, "exception-decision", exceptionApproval(id, list.Msg.Entries[0].Index)); got != 1 {
			t.Errorf("%s: %d approvals by one person are recorded, want 1", what, got)
		}
	}
}

// TestRetriedExceptionEvents checks that a retry is recognized even though the
// first submission changed which events are valid.
func TestRetriedExceptionEvents(t *testing.T) {
	r := newExceptionRig(t)
	dana, kim := r.people.token(r.testServer, "dana", "appender"), r.people.token(r.testServer, "kim", "approver")
	request := exceptionRequest("EXC-1", strings.Repeat("a", 64), "app:*", r.expires)
	var index uint64
	for i := range 2 {
		e, err := r.event(dana, "exception-request", "k", request)
		if err != nil || e.Duplicate != (i == 1) {
			t.Fatalf("request %d: %v, %v", i, e, err)
		}
		index = e.Index
	}
	for i := range 2 {
		if e, err := r.event(kim, "exception-decision", "k", exceptionApproval("EXC-1", index)); err != nil || e.Duplicate != (i == 1) {
			t.Errorf("approval %d: %v, %v", i, e, err)
		}
	}
	other := strings.Replace(exceptionApproval("EXC-1", index), "approve", "reject", 1)
	if _, err := r.event(kim, "exception-decision", "k", strings.Replace(other, "}", because+"}", 1)); err == nil {
		t.Error("another decision under the key of the first is accepted")
	}
}

// TestPredicatesAreNotEvents checks that statements whose predicates are
// requests and decisions do not count as these events.
func TestPredicatesAreNotEvents(t *testing.T) {
	r := newExceptionRig(t)
	one := r.asks("dana", "EXC-1")
	attest := func(token, kind, predicate string) {
		t.Helper()
		payload := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app:1","digest":{"sha256":%q}}],"predicateType":"https://muniment.dev/predicate/%s/v1","predicate":%s}`, strings.Repeat("a", 64), kind, predicate)
		if _, err := r.event(token, "attestation", "", payload); err != nil {
			t.Fatal(err)
		}
	}
	admin := r.people.token(r.testServer, "kim", "admin")
	attest(admin, "exception-decision", exceptionApproval("EXC-1", one))
	attest(admin, "exception-request", exceptionRequest("EXC-2", strings.Repeat("b", 64), "app:*", r.expires))
	if got := r.inForce(); got != "" {
		t.Errorf("%q is in force by an attestation", got)
	}
	wantRefusal(t, "a decision about a statement", r.decides("kim", "EXC-2", r.ledger.Published().Size-1, "approve", ""), "submission.payload", "does not request an exception")
	two := r.asks("lee", "EXC-2") // the statement has not taken the ID
	for id, request := range map[string]uint64{"EXC-1": one, "EXC-2": two} {
		if err := r.decides("kim", id, request, "approve", ""); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestUsedBy checks break-glass by another user than the requester.
func TestUsedBy(t *testing.T) {
	r := newExceptionRig(t)
	request := func(id, members string) (uint64, error) {
		text := strings.Replace(exceptionRequest(id, strings.Repeat("a", 64), "app:*", time.Now().Add(time.Hour)), `"reason"`, members+`"reason"`, 1)
		e, err := r.event(r.people.token(r.testServer, "lee", "appender"), "exception-request", r.key(), text)
		return e.GetIndex(), err
	}
	_, err := request("BG-0", `"usedBy":"kubernetes:oncall",`)
	wantRefusal(t, "a user without break-glass", err, "submission.payload", "only a request with breakGlass can have usedBy")
	used := fmt.Sprintf(`"breakGlass":true,"usedBy":%q,`, r.person("dana"))
	one, err := request("BG-1", used)
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "approval by the requester", r.decides("lee", "BG-1", one, "approve", ""), "submission.payload", "another person must approve it")
	wantRefusal(t, "approval by the user", r.decides("dana", "BG-1", one, "approve", ""), "submission.payload", "has used break-glass by exception BG-1: another person must approve it")
	wantRefusal(t, "rejection by the user", r.decides("dana", "BG-1", one, "reject", because), "submission.payload", "another person must reject it")
	if err := r.decides("kim", "BG-1", one, "approve", ""); err != nil {
		t.Fatal(err)
	}
	two, err := request("BG-2", `"breakGlass":true,"usedBy":"kubernetes:oncall",`)
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "approval of an account's use", r.decides("kim", "BG-2", two, "approve", ""), "submission.payload", "kubernetes:oncall, who has used break-glass by exception BG-2, is not a person")
	if err := r.decides("kim", "BG-2", two, "reject", because); err != nil {
		t.Fatal(err)
	}
	three, err := request("BG-3", used)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.decides("dana", "BG-3", three, "revoke", because); err != nil {
		t.Errorf("revocation by the user: %v", err)
	}
}

// TestExpiredRequest checks that a request that has expired cannot be approved,
// except for break-glass, which was used before.
func TestExpiredRequest(t *testing.T) {
	later := time.Duration(0)
	r := newExceptionRig(t, func(_ *ledger.Config, c *api.Config) { c.Now = func() time.Time { return time.Now().Add(later) } })
	one := r.asks("dana", "EXC-1")
	glass := strings.Replace(exceptionRequest("EXC-2", strings.Repeat("a", 64), "app:*", time.Now().Add(-time.Hour)), `"reason"`, `"breakGlass":true,"reason"`, 1)
	two, err := r.event(r.people.token(r.testServer, "dana", "appender"), "exception-request", r.key(), glass)
	if err != nil {
		t.Fatal(err)
	}
	later = 25 * time.Hour
	wantRefusal(t, "approval after the expiry", r.decides("kim", "EXC-1", one, "approve", ""), "submission.payload", "exception EXC-1 expired at")
	if err := r.decides("kim", "EXC-2", two.Index, "approve", ""); err != nil {
		t.Errorf("confirmation of a break-glass exception: %v", err)
	}
}

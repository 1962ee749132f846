package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// reload applies an edited copy of the settings.
func (ts *testServer) reload(edit func(*api.Settings)) {
	ts.t.Helper()
	d := ts.settings
	d.Tenants = slices.Clone(d.Tenants)
	for i := range d.Tenants {
		d.Tenants[i].Tokens = slices.Clone(d.Tenants[i].Tokens)
	}
	edit(&d)
	if err := ts.api.Reload(context.Background(), d); err != nil {
		ts.t.Fatal(err)
	}
	ts.settings = d
}

// code returns the code with which the holder of the token may append.
func (ts *testServer) code(token, tenant, content string) string {
	_, err := ts.client(token).Append(context.Background(), request(tenant, content))
	if err == nil {
		return "ok"
	}
	return connect.CodeOf(err).String()
}

// mustIssue makes an appender's token for any tenant.
func (ts *testServer) mustIssue(token, tenant, id string) string {
	ts.t.Helper()
	res, err := ts.admin(token).IssueToken(context.Background(), connect.NewRequest(&munimentv1.IssueTokenRequest{
		Tenant: tenant, Grant: &munimentv1.Grant{Id: id, Role: munimentv1.Role_ROLE_APPENDER}}))
	if err != nil {
		ts.t.Fatal(err)
	}
	return res.Msg.Token
}

func (ts *testServer) mustRevoke(token, tenant, id string) {
	ts.t.Helper()
	if _, err := ts.admin(token).RevokeToken(context.Background(), connect.NewRequest(&munimentv1.RevokeTokenRequest{Tenant: tenant, Id: id})); err != nil {
		ts.t.Fatal(err)
	}
}

func TestReloadTenants(t *testing.T) {
	ts := newServer(t)
	check := func(when, token, tenant, want string) {
		t.Helper()
		if got := ts.code(token, tenant, when); got != want {
			t.Errorf("%s: append to %s: %s, want %s", when, tenant, got, want)
		}
	}
	const initechToken = "mnt_initech_staplers"
	initech := auth.Tenant{Name: "initech", Stream: ledger.NewStream(entry.StreamKey(sha256.Sum256([]byte("initech")))),
		Tokens: []auth.Token{{ID: "initech", Hash: sha256.Sum256([]byte(initechToken)), Role: munimentv1.Role_ROLE_ADMIN}}}

	check("before", initechToken, "initech", "unauthenticated")
	ts.reload(func(d *api.Settings) { d.Tenants = append(d.Tenants, initech) })
	check("added", initechToken, "initech", "ok")

	issued := ts.mustIssue(initechToken, "initech", "ci")
	check("issued", issued, "initech", "ok")
	ts.reload(func(d *api.Settings) { d.Tenants[2].Suspended = true })
	check("suspended", initechToken, "initech", "unauthenticated")
	check("suspended", issued, "initech", "unauthenticated")
	check("a neighbour of the suspended", acmeToken, "acme", "ok")
	ts.reload(func(d *api.Settings) { d.Tenants[2].Suspended = false })
	check("resumed", issued, "initech", "ok")

	ts.reload(func(d *api.Settings) { d.Tenants = d.Tenants[:2] })
	check("removed", initechToken, "initech", "unauthenticated")
	check("removed", issued, "initech", "unauthenticated")

	// A resumed tenant has the grants in its stream again.
	ts.reload(func(d *api.Settings) { d.Tenants = append(d.Tenants, initech) })
	check("added again", issued, "initech", "ok")
	ts.mustRevoke(initechToken, "initech", "ci")
	ts.reload(func(d *api.Settings) { d.Tenants = d.Tenants[:2] })
	ts.reload(func(d *api.Settings) { d.Tenants = append(d.Tenants, initech) })
	check("revoked before", issued, "initech", "unauthenticated")
}

func TestReloadTokens(t *testing.T) {
	ts := newServer(t)
	const fresh = "mnt_acme_fresh"
	hash := sha256.Sum256([]byte(fresh))
	ts.reload(func(d *api.Settings) {
		d.Tenants[0].Tokens = append(d.Tenants[0].Tokens, auth.Token{ID: "fresh", Hash: hash, Role: munimentv1.Role_ROLE_APPENDER})
	})
	if got := ts.code(fresh, "acme", "a"); got != "ok" {
		t.Errorf("a token that was added: %s", got)
	}
	ts.reload(func(d *api.Settings) {
		tokens := d.Tenants[0].Tokens
		tokens[len(tokens)-1].Role = munimentv1.Role_ROLE_READER
	})
	if got := ts.code(fresh, "acme", "b"); got != "permission_denied" {
		t.Errorf("a token whose role was taken: %s", got)
	}
	ts.reload(func(d *api.Settings) {
		tokens := d.Tenants[0].Tokens
		d.Tenants[0].Tokens = tokens[:len(tokens)-1]
	})
	if got := ts.code(fresh, "acme", "c"); got != "unauthenticated" {
		t.Errorf("a token that was removed: %s", got)
	}

	// A revoked token of the configuration stays revoked.
	ts.mustRevoke(acmeToken, "acme", "appender")
	ts.reload(func(*api.Settings) {})
	if got := ts.code(roleToken("acme", "appender"), "acme", "d"); got != "unauthenticated" {
		t.Errorf("a token that was revoked: %s after a reload", got)
	}
	// An issued token is not one of the configuration.
	issued := ts.mustIssue(acmeToken, "acme", "issued")
	ts.reload(func(*api.Settings) {})
	if got := ts.code(issued, "acme", "e"); got != "ok" {
		t.Errorf("a token that was issued: %s after a reload", got)
	}
}

func TestReloadLimitsAndStreamKeys(t *testing.T) {
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.LimitWait = -1 })
	ts.append("acme", "one")
	ts.reload(func(d *api.Settings) { d.Tenants[0].Limits.DailyEntries = 2 })
	for _, want := range []string{"ok", "resource_exhausted"} {
		if got := ts.code(acmeToken, "acme", "under the limit, "+want); got != want {
			t.Errorf("append under the new limit, which counts the entry of before: %s, want %s", got, want)
		}
	}
	ts.reload(func(d *api.Settings) { d.Tenants[0].Limits.DailyEntries = 0 })
	if got := ts.code(acmeToken, "acme", "more"); got != "ok" {
		t.Errorf("append without the limit: %s", got)
	}

	d := ts.settings
	d.Tenants = slices.Clone(d.Tenants)
	d.Tenants[0].Stream = ledger.NewStream(entry.StreamKey{1})
	if err := ts.api.Reload(context.Background(), d); err == nil || !strings.Contains(err.Error(), "stream key has changed") {
		t.Errorf("reload with another stream key: %v", err)
	}
	if got := ts.code(acmeToken, "acme", "after a refused reload"); got != "ok" {
		t.Errorf("append after a refused reload: %s", got)
	}
}

// TestReloadEndsStreams suspends a tenant while it watches its entries: it
// must not see the next one.
func TestReloadEndsStreams(t *testing.T) {
	ts := newServer(t)
	ctx, cancel := context.WithTimeout(context.Background(), soak.Patience)
	defer cancel()
	ts.append("acme", "one")
	stream, err := ts.client(acmeToken).WatchEntries(ctx, connect.NewRequest(&munimentv1.WatchEntriesRequest{Tenant: "acme"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	published := ts.ledger.Published().Size
	ts.reload(func(d *api.Settings) { d.Tenants[0].Suspended = true })
	ts.append("globex", "wakes nobody")
	ts.reload(func(d *api.Settings) { d.Tenants[0].Suspended = false; d.Tenants[0].Tokens = nil })
	// The token is gone now; an entry by another way in must not reach it.
	ts.reload(func(d *api.Settings) {
		d.Tenants[0].Tokens = []auth.Token{{ID: "new", Hash: sha256.Sum256([]byte("mnt_acme_new")), Role: munimentv1.Role_ROLE_ADMIN}}
	})
	if got := ts.code("mnt_acme_new", "acme", "two"); got != "ok" {
		t.Fatalf("append: %s", got)
	}
	for stream.Receive() {
		if stream.Msg().Entry.GetIndex() >= published {
			t.Fatalf("received entry %d after the token was removed", stream.Msg().Entry.GetIndex())
		}
	}
	if connect.CodeOf(stream.Err()) != connect.CodeUnauthenticated {
		t.Errorf("the stream ended with %v", stream.Err())
	}
}

func TestOperators(t *testing.T) {
	ts := newServer(t)
	a := ts.do(ts.h1, "GET", "/readyz", operatorToken, nil, nil)
	var h api.Health
	if err := json.Unmarshal([]byte(a.body), &h); err != nil || a.status != 200 || !h.Ready || h.Tenants != 2 || h.Origin != origin {
		t.Errorf("/readyz for an operator: status %d: %s", a.status, a.body)
	}
	for _, token := range []string{"", acmeToken} {
		if a := ts.do(ts.h1, "GET", "/readyz", token, nil, nil); a.status != 200 || a.body != "ready\n" {
			t.Errorf("/readyz for the token %.4q: status %d: %s", token, a.status, a.body)
		}
	}
	// An operator reads no evidence.
	if got := ts.code(operatorToken, "acme", "x"); got != "unauthenticated" {
		t.Errorf("an operator appends: %s", got)
	}
	ts.reload(func(d *api.Settings) { d.Operators = nil })
	if a := ts.do(ts.h1, "GET", "/metrics", operatorToken, nil, nil); a.status != 401 {
		t.Errorf("/metrics for a former operator: status %d", a.status)
	}
}

func TestMetricsExistFromTheStart(t *testing.T) {
	metrics := newServer(t).metrics()
	for _, line := range []string{
		`muniment_build_info{go="`, `,version="v0.0.0-test"} 1`,
		`muniment_refused_entries_total{reason="admission_policy"} 0`, `muniment_refused_entries_total{reason="disk_full"} 0`,
		`muniment_refused_requests_total{code="unauthenticated"} `, `muniment_limited_calls_total{limit="daily_bytes"} 0`,
		`muniment_rpc_total{code="ok",procedure="` + munimentv1connect.LedgerServiceAppendProcedure + `"} 0`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics of a new server lack %s", line)
		}
	}
}

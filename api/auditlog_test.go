package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// audited returns an edit that keeps the audit log, and a function that returns
// its lines.
func audited(t *testing.T) (func(*ledger.Config, *api.Config), func() []map[string]any) {
	b := &logBuffer{}
	return func(_ *ledger.Config, c *api.Config) { c.Audit = slog.New(slog.NewJSONHandler(b, nil)) },
		func() (lines []map[string]any) {
			t.Helper()
			for line := range strings.Lines(b.String()) {
				var m map[string]any
				if err := json.Unmarshal([]byte(line), &m); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				lines = append(lines, m)
			}
			return lines
		}
}

// has fails the test unless the line has these members.
func has(t *testing.T, line map[string]any, want map[string]string) {
	t.Helper()
	for name, v := range want {
		if got := fmt.Sprint(line[name]); got != v {
			t.Errorf("%s is %q, not %q, in %v", name, got, v, line)
		}
	}
	for _, name := range []string{"time", "request", "remote", "call"} {
		if line[name] == nil || line[name] == "" {
			t.Errorf("%s is missing in %v", name, line)
		}
	}
}

func TestAuditLog(t *testing.T) {
	edit, lines := audited(t)
	i := issuer(t)
	ts := newServer(t, edit, takes(t, i))
	ctx := context.Background()
	n := 0
	next := func(what string, want map[string]string) {
		t.Helper()
		all := lines()
		if len(all) != n+1 {
			t.Fatalf("%s: %d lines, not %d: %v", what, len(all), n+1, all)
		}
		n++
		has(t, all[n-1], want)
	}
	const ledgerService, adminService = "/muniment.v1.LedgerService/", "/muniment.v1.AdminService/"

	if _, err := ts.issue(&munimentv1.Grant{Id: "ci", Role: munimentv1.Role_ROLE_APPENDER, Kinds: []string{"attestation"}}); err != nil {
		t.Fatal(err)
	}
	next("a token", map[string]string{"msg": "act", "call": adminService + "IssueToken", "tenant": "acme", "identity": "token:acme", "role": "admin", "code": "ok", "entry": "0",
		"request.grant.id": "ci", "request.grant.role": "ROLE_APPENDER", "request.grant.kinds": "attestation", "request.reason": "for the test"})
	if _, err := ts.issue(&munimentv1.Grant{Id: "ci", Role: munimentv1.Role_ROLE_READER}); err == nil {
		t.Fatal("issued twice")
	}
	next("an act that failed", map[string]string{"msg": "act", "code": "already_exists", "request.grant.id": "ci", "reason": "grant.id: a grant with this ID exists or has existed: choose another"})
	if err := ts.revoke("ci"); err != nil {
		t.Fatal(err)
	}
	next("a revocation", map[string]string{"msg": "act", "call": adminService + "RevokeToken", "request.id": "ci", "request.reason": "lost", "entry": "1"})
	if _, err := ts.exchange("acme", i.Token(job())); err != nil {
		t.Fatal(err)
	}
	next("an exchange", map[string]string{"msg": "act", "code": "ok", "call": "/muniment.v1.IdentityService/ExchangeToken", "request.tenant": "acme",
		"identity": "oidc:" + i.URL + "#repo:acme/app:ref:refs/heads/main", "entry": "2"})
	_, _ = ts.exchange("acme", i.Token(job("aud", "other")))
	next("an exchange that is refused", map[string]string{"msg": "refused", "code": "unauthenticated", "request.tenant": "acme"})

	ts.post("GetCheckpoint", "", "{}")
	next("no token", map[string]string{"msg": "refused", "call": ledgerService + "GetCheckpoint", "code": "unauthenticated"})
	a := ts.post("GetCheckpoint", "mnt_acme_guess", "{}")
	next("a wrong token", map[string]string{"msg": "refused", "code": "unauthenticated", "request": a.header.Get("X-Request-Id")})
	ts.post("ListEntries", roleToken("acme", "appender"), `{"tenant":"acme"}`)
	next("another role", map[string]string{"msg": "refused", "code": "permission_denied", "identity": "token:appender", "role": "appender", "tenant": "acme"})
	ts.post("ListEntries", acmeToken, `{"tenant":"globex"}`)
	next("another tenant", map[string]string{"msg": "refused", "code": "permission_denied", "tenant": "acme", "reason": `tenant: this token is not for tenant "globex"`})
	_, _ = ts.client(roleToken("acme", "approver")).Append(ctx, request("acme", "x"))
	next("another kind", map[string]string{"msg": "refused", "code": "permission_denied", "identity": "token:approver"})
	_, _ = ts.client(roleToken("acme", "approver")).AppendBatch(ctx, connect.NewRequest(&munimentv1.AppendBatchRequest{Tenant: "acme", Submissions: []*munimentv1.Submission{document("x"), document("y")}}))
	next("another kind, in a batch", map[string]string{"msg": "refused", "code": "permission_denied", "call": ledgerService + "AppendBatch"})
	ts.do(ts.h1, "GET", "/metrics", "", map[string]string{"X-Forwarded-For": "192.0.2.1\u202e" + strings.Repeat("x", 5000)}, nil)
	next("metrics from elsewhere", map[string]string{"msg": "refused", "call": "/metrics", "code": "unauthenticated"})
	if f := lines()[n-1]["forwarded_for"].(string); !strings.HasPrefix(f, `192.0.2.1\u202exxx`) || len(f) > 600 {
		t.Errorf("forwarded_for is %q", f)
	}
	if _, err := munimentv1connect.NewAdminServiceClient(ts.h2, ts.url, connect.WithInterceptors(bearer(acmeToken))).RevokeToken(ctx, connect.NewRequest(&munimentv1.RevokeTokenRequest{
		Tenant: "acme", Id: "nobody", Reason: "\x1b[2J\nlevel=INFO " + strings.Repeat("y", 900)})); err == nil {
		t.Fatal("revoked")
	}
	next("control characters", map[string]string{"msg": "act", "code": "not_found"})
	if r := lines()[n-1]["request.reason"].(string); !strings.HasPrefix(r, `\x1b[2J\nlevel=INFO `) || len(r) > 600 {
		t.Errorf("reason is %q", r)
	}

	ts.append("acme", "what anybody may do is not in it")
	ts.post("GetEntry", acmeToken, `{"tenant":"acme","index":"77"}`)
	if len(lines()) != n {
		t.Errorf("more lines than refusals and acts: %v", lines()[n:])
	}
}

// Refusals can't fill the disk.
func TestAuditLogIsBounded(t *testing.T) {
	edit, lines := audited(t)
	now := longAgo
	ts := newServer(t, edit, func(_ *ledger.Config, c *api.Config) {
		c.Now = func() time.Time { return now }
		c.LimitWait = -1 // a clock that stands still forgives no failures
	})
	for i := range 1100 {
		if i%2 == 0 {
			ts.post("GetCheckpoint", "", "{}")
		} else if _, err := ts.identity("").ExchangeToken(context.Background(), connect.NewRequest(&munimentv1.ExchangeTokenRequest{})); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Fatal(err) // not a refusal, and an act that anybody can try
		}
	}
	if n := len(lines()); n != 1000 {
		t.Errorf("%d lines", n)
	}
	now = now.Add(time.Second)
	ts.post("GetCheckpoint", "", "{}")
	all := lines()
	has(t, all[len(all)-1], map[string]string{"msg": "refused", "refusals_left_out": "100"})
}

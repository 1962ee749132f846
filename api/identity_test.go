package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/oidc/oidctest"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

const ledgerAudience = "https://ledger.test"

// takes returns an edit with which the server exchanges the issuer's tokens:
// acme's for its repository 74 and globex's for 75.
func takes(t *testing.T, i *oidctest.Issuer) func(*ledger.Config, *api.Config) {
	t.Helper()
	return func(_ *ledger.Config, c *api.Config) {
		v, err := oidc.New([]oidc.Issuer{{URL: i.URL, Audiences: []string{ledgerAudience}, Provider: "github"}}, oidc.Options{Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Identities = v
		rule := func(name, repository string, role munimentv1.Role, kinds ...string) auth.IdentityRule {
			return auth.IdentityRule{Name: name, Rule: oidc.Rule{Issuer: i.URL, Claims: map[string]string{"repository_id": repository}}, Role: role, Kinds: kinds}
		}
		release := rule("release", "74", munimentv1.Role_ROLE_APPENDER)
		release.Claims["ref"] = "refs/tags/*"
		short := rule("short", "76", munimentv1.Role_ROLE_READER)
		short.Life = time.Minute
		c.Tenants[0].Rules = []auth.IdentityRule{release, rule("ci", "74", munimentv1.Role_ROLE_APPENDER, "attestation"), short}
		c.Tenants[1].Rules = []auth.IdentityRule{rule("ci", "75", munimentv1.Role_ROLE_READER), rule("both", "74", munimentv1.Role_ROLE_READER)}
	}
}

func issuer(t *testing.T) *oidctest.Issuer {
	t.Helper()
	i := oidctest.Start()
	t.Cleanup(i.Close)
	return i
}

func job(extra ...any) map[string]any {
	c := map[string]any{"aud": ledgerAudience, "sub": "repo:acme/app:ref:refs/heads/main", "repository_id": "74", "ref": "refs/heads/main"}
	for i := 0; i < len(extra); i += 2 {
		c[extra[i].(string)] = extra[i+1]
	}
	return c
}

// exchange calls without credentials.
func (ts *testServer) exchange(tenant, identityToken string) (*munimentv1.ExchangeTokenResponse, error) {
	c := munimentv1connect.NewIdentityServiceClient(ts.h2, ts.url)
	res, err := c.ExchangeToken(context.Background(), connect.NewRequest(&munimentv1.ExchangeTokenRequest{Tenant: tenant, IdentityToken: identityToken}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func TestExchange(t *testing.T) {
	i := issuer(t)
	ts := newServer(t, takes(t, i))
	ctx := context.Background()
	res, err := ts.exchange("acme", i.Token(job()))
	if err != nil {
		t.Fatal(err)
	}
	identity := "oidc:" + i.URL + "#repo:acme/app:ref:refs/heads/main"
	life := time.Until(res.Expires.AsTime())
	if res.Role != munimentv1.Role_ROLE_APPENDER || fmt.Sprint(res.Kinds) != "[attestation]" || res.Identity != identity || life > auth.MaxSession || life < auth.MaxSession-time.Minute {
		t.Errorf("%v", res)
	}
	appended, err := ts.client(res.Token).Append(ctx, request("acme", "from a job"))
	if err != nil {
		t.Fatal(err)
	}
	if s := ts.verify("acme", appended.Msg.Appended.Receipt, []byte("from a job"), appended.Msg.Appended.Index); s.Header.Submitter != identity {
		t.Errorf("submitter %q", s.Header.Submitter)
	}
	// The next job of the same workflow has the same submitter identity, so its
	// retry is recognized.
	again, err := ts.exchange("acme", i.Token(job()))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ts.client(again.Token).Append(ctx, request("acme", "from a job")); err != nil || !r.Msg.Appended.Duplicate {
		t.Errorf("%v, %v", r, err)
	}
	// It is good for its tenant, role and kinds alone.
	_, err = ts.client(res.Token).Append(ctx, request("globex", "x"))
	wantCode(t, "another tenant", err, connect.CodePermissionDenied, "tenant")
	_, err = ts.client(res.Token).ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme"}))
	wantCode(t, "another role", err, connect.CodePermissionDenied, "")
	_, err = ts.client(res.Token).Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "finding", Payload: []byte("{}"), IdempotencyKey: "k"}}))
	wantCode(t, "another kind", err, connect.CodePermissionDenied, "submission.kind")
	// The first rule that matches decides.
	if r, err := ts.exchange("acme", i.Token(job("ref", "refs/tags/v1"))); err != nil || len(r.Kinds) != 0 {
		t.Errorf("%v, %v", r, err)
	}
	// The log records each grant, with the claims that matched.
	e, err := ts.client(acmeToken).GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: res.Index, IncludePayload: true}))
	if err != nil || e.Msg.Entry.Kind != "config" || e.Msg.Entry.Submitter != "server" || e.Msg.Entry.Attributes["actor"] != identity ||
		!strings.Contains(string(e.Msg.Payload), `\"rule\":\"ci\",\"claims\":{\"repository_id\":\"74\"}`) {
		t.Errorf("%v\n%s\n%v", e.Msg.Entry, e.Msg.Payload, err)
	}
	for what, text := range map[string]string{"payload": string(e.Msg.Payload), "header": string(e.Msg.Entry.Header)} {
		if strings.Contains(text, res.Token[len("mnt_acme_"):]) {
			t.Errorf("the token is in the %s", what)
		}
	}
}

func TestExchangeRefused(t *testing.T) {
	i, other := issuer(t), issuer(t)
	ts := newServer(t, takes(t, i))
	defer ts.unchanged()()
	for _, c := range []struct{ name, tenant, token, want string }{
		{"no rule", "acme", i.Token(job("repository_id", "99")), `tenant "acme" has no rule for the subject`},
		{"another tenant's repository", "acme", i.Token(job("repository_id", "75")), `tenant "acme" has no rule`},
		{"no such tenant", "initech", i.Token(job()), `tenant "initech" has no rule for the subject`},
		{"another issuer", "acme", other.Token(job()), "is not accepted by this ledger"},
		{"another audience", "acme", i.Token(job("aud", "sigstore")), "ask the issuer for a token for"},
		{"expired", "acme", i.Token(job("exp", time.Now().Add(-time.Hour).Unix())), "it expired at"},
		{"not a JWT", "acme", acmeToken, "not a signed JWT"},
	} {
		_, err := ts.exchange(c.tenant, c.token)
		wantCode(t, c.name, err, connect.CodeUnauthenticated, "identity_token")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	_, err := ts.exchange("acme", strings.Repeat("a", 1<<20))
	wantCode(t, "huge", err, connect.CodeInvalidArgument, "identity_token")
	_, err = newServer(t).exchange("acme", i.Token(job()))
	wantCode(t, "a ledger that takes none", err, connect.CodeUnauthenticated, "identity_token")
}

// An identity token is accepted once, across tenants, concurrent calls and
// restarts.
func TestExchangeOnce(t *testing.T) {
	i := issuer(t)
	ts := newServer(t, takes(t, i))
	used := func(ts *testServer, tenant, token string) {
		t.Helper()
		_, err := ts.exchange(tenant, token)
		if connect.CodeOf(err) != connect.CodeUnauthenticated || err == nil || !strings.Contains(err.Error(), "it was used before") {
			t.Errorf("%v", err)
		}
	}
	first := i.Token(job())
	res, err := ts.exchange("acme", first)
	if err != nil {
		t.Fatal(err)
	}
	used(ts, "acme", first)
	used(ts, "globex", first)
	signedAgain := i.Claims(job("jti", "the-same"))
	if _, err := ts.exchange("acme", i.Sign("RS256", signedAgain)); err != nil {
		t.Fatal(err)
	}
	used(ts, "acme", i.Sign("ES256", signedAgain))
	nameless := i.Claims(job("jti", nil))
	if _, err := ts.exchange("acme", i.Sign("ES256", nameless)); err != nil {
		t.Fatal(err)
	}
	used(ts, "acme", i.Sign("ES256", nameless)) // another signature of the same claims

	raced := i.Token(job())
	var won atomic.Int64
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			if _, err := ts.exchange([]string{"acme", "globex"}[n%2], raced); err == nil {
				won.Add(1)
			} else if !strings.Contains(err.Error(), "it was used before") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 16 had it", won.Load())
	}

	ts.ledger.Close()
	ts = newServer(t, on(ts.store), takes(t, i))
	used(ts, "acme", first)
	used(ts, "globex", first)
	used(ts, "acme", raced)
	if who, err := ts.whoami(res.Token); err != nil || who.Identity != res.Identity || who.Role != res.Role {
		t.Errorf("the ledger's token, after a restart: %v, %v", who, err)
	}
}

// A token obtained by exchange expires. If the exchange could not be recorded,
// the identity token can be used again.
func TestExchangeEnds(t *testing.T) {
	i := issuer(t)
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	i.Now = clock
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.Now = clock }, takes(t, i))
	res, err := ts.exchange("acme", i.Token(job("repository_id", "76")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ts.whoami(res.Token); err != nil {
		t.Error(err)
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	if _, err := ts.whoami(res.Token); connect.CodeOf(err) != connect.CodeUnauthenticated || !strings.Contains(err.Error(), "expired at") {
		t.Error(err)
	}
	ts.setFree(0)
	token := i.Token(job())
	_, err = ts.exchange("acme", token)
	wantCode(t, "a full disk", err, connect.CodeResourceExhausted, "")
	ts.setFree(1 << 40)
	if _, err := ts.exchange("acme", token); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

func TestExchangeWhileTheIssuerIsDown(t *testing.T) {
	i := issuer(t)
	ts := newServer(t, takes(t, i))
	i.Break(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the issuer's own secret", http.StatusBadGateway)
	})
	_, err := ts.exchange("acme", i.Token(job()))
	if connect.CodeOf(err) != connect.CodeUnavailable || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(ts.logs.String(), "returned 502") {
		t.Error("the server's log does not say why")
	}
}

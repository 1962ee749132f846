package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A recordedSession is an entry that records a session, with its document.
type recordedSession struct {
	entry    *ledger.Entry
	actor    string
	Role     string
	Expires  time.Time
	Identity struct {
		Issuer, Subject, Rule string
		Claims                map[string]string
		Expires               time.Time
	}
}

// recordedSessions returns what a tenant's stream has about sessions, the
// oldest first.
func (p *portalRig) recordedSessions(tenant string) (all []recordedSession) {
	p.t.Helper()
	for _, e := range p.ofType(tenant, ingest.SessionType) {
		c, err := ingest.ReadConfig(context.Background(), p.ledger, &e)
		if err != nil {
			p.t.Fatal(err)
		}
		s := recordedSession{entry: &e, actor: c.Actor}
		if err := json.Unmarshal(c.Document, &s); err != nil {
			p.t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func (p *portalRig) ofType(tenant, configType string) []ledger.Entry {
	p.t.Helper()
	q := ledger.Query{Filter: ledger.Filter{Kind: "config", Attribute: "type=" + configType}, OldestFirst: true, Limit: 100}
	page, err := p.ledger.List(context.Background(), ledger.NewStream(p.keys[tenant]), q)
	if err != nil {
		p.t.Fatal(err)
	}
	return page.Entries
}

// act calls an RPC with the session.
func (b *browser) act(rpc, body string, header ...string) httpAnswer {
	b.p.t.Helper()
	return b.do("POST", "/muniment.v1."+rpc, body, header...)
}

// requestException records a request of the session, and returns its index.
func (b *browser) requestException(id string) uint64 {
	b.p.t.Helper()
	payload := base64.StdEncoding.EncodeToString([]byte(exceptionRequest(id, strings.Repeat("a", 64), "x", time.Now().Add(time.Hour))))
	a := b.act("LedgerService/Append", fmt.Sprintf(`{"tenant":"acme","submission":{"kind":"exception-request","idempotencyKey":%q,"payload":%q}}`, id, payload))
	var res struct {
		Appended struct {
			Index uint64 `json:",string"`
		}
	}
	if err := json.Unmarshal([]byte(a.body), &res); err != nil || a.status != 200 {
		b.p.t.Fatalf("status %d: %s", a.status, a.body)
	}
	return res.Appended.Index
}

// The rule and the claims by which a person was admitted are recorded before
// the session's first act, once, and again when they change.
func TestSessionRecorded(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	b.signIn(dana)
	for rpc, body := range map[string]string{"IdentityService/WhoAmI": "{}", "LedgerService/ListEntries": `{"tenant":"acme"}`, "PortalService/GetOverview": `{"tenant":"acme"}`,
		"GateService/Decide": `{"tenant":"acme","stage":"deploy","dryRun":true,"subjects":[{"type":"file","artifact":{"digest":{"sha256":"` + strings.Repeat("a", 64) + `"}}}]}`} {
		if a := b.act(rpc, body); a.status != 200 {
			t.Errorf("%s: status %d: %s", rpc, a.status, a.body)
		}
	}
	if n := p.ledger.Published().Size; n != 0 {
		t.Fatalf("reading has recorded %d entries", n)
	}
	index := b.requestException("EXC-1")
	identity := "oidc:" + p.provider.URL + "#dana"
	e, err := p.client(acmeToken).GetEntry(context.Background(), connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: index}))
	if err != nil || e.Msg.Entry.Submitter != identity {
		t.Errorf("the request's submitter: %v, %v", e, err)
	}
	x, err := p.portal(acmeToken).GetException(context.Background(), connect.NewRequest(&munimentv1.GetExceptionRequest{Tenant: "acme", Index: index}))
	if r := x.Msg.GetException().GetRequester(); err != nil || r.GetId() != identity || r.GetName() != "Dana Example" || !r.GetIsPerson() {
		t.Errorf("the requester: %v, %v", r, err)
	}
	all := p.recordedSessions("acme")
	if len(all) != 1 {
		t.Fatalf("%d sessions are recorded", len(all))
	}
	s, ends := all[0], b.session().Expires
	if s.entry.Index >= index || s.entry.Header.Submitter != "server" || s.actor != identity || s.entry.Header.Attributes["actor"] != identity {
		t.Errorf("entry %d before %d, of %s, about %s", s.entry.Index, index, s.entry.Header.Submitter, s.actor)
	}
	if s.Role != "approver" || !s.Expires.Equal(ends.Truncate(time.Second)) || s.Identity.Issuer != p.provider.URL || s.Identity.Subject != "dana" || s.Identity.Rule != "dana" ||
		fmt.Sprint(s.Identity.Claims) != "map[sub:dana]" || s.Identity.Expires.IsZero() {
		t.Errorf("the record: %+v", s)
	}
	b.requestException("EXC-2")
	p.pass(16 * time.Minute) // the provider is asked again, and issues a new identity token
	b.requestException("EXC-3")
	if n := len(p.recordedSessions("acme")); n != 1 {
		t.Errorf("a session is recorded %d times", n)
	}
	p.reload(func(s *api.Settings) {
		s.Tenants = slices.Clone(s.Tenants)
		s.Tenants[0].Rules = slices.Clone(s.Tenants[0].Rules)
		s.Tenants[0].Rules[0].Name = "lead"
	})
	b.requestException("EXC-4")
	b.requestException("EXC-5")
	if all := p.recordedSessions("acme"); len(all) != 2 || all[1].Identity.Rule != "lead" {
		t.Errorf("after a change of the rule: %+v", all)
	}
	if a := b.act("GateService/Decide", `{"tenant":"globex","stage":"deploy","subjects":[{"type":"file","artifact":{"digest":{"sha256":"`+strings.Repeat("a", 64)+`"}}}]}`, "Muniment-Tenant", "globex"); a.status != 200 {
		t.Errorf("a decision for globex: status %d: %s", a.status, a.body)
	}
	if all := p.recordedSessions("globex"); len(all) != 1 || all[0].Role != "reader" {
		t.Errorf("in the other tenant's stream: %+v", all)
	}
	other := p.browser()
	other.signIn(dana)
	other.requestException("EXC-6")
	if n := len(p.recordedSessions("acme")); n != 3 {
		t.Errorf("with another session, %d are recorded", n)
	}
}

// The sessions of pasted tokens are recorded by the exchange of the identity
// token, or by the grant of the token.
func TestSessionOfTokenRecorded(t *testing.T) {
	co := newCompany(t)
	p := newPortalWith(t, []oidc.Issuer{{URL: co.URL, Audiences: []string{ledgerAudience}}})
	b := p.browser()
	if a := b.do("POST", "/portal/token", fmt.Sprintf(`{"token":%q}`, co.Token(map[string]any{"aud": ledgerAudience, "sub": "dana"}))); a.status != 200 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	b.requestException("EXC-1")
	all := p.ofType("acme", ingest.ExchangeType)
	if len(all) != 1 {
		t.Fatalf("%d exchanges are recorded", len(all))
	}
	c, err := ingest.ReadConfig(context.Background(), p.ledger, &all[0])
	if err != nil || c.Actor != "oidc:"+co.URL+"#dana" || !strings.Contains(string(c.Document), `"rule":"dana","claims":{"sub":"dana"}`) {
		t.Errorf("%+v, %v", c, err)
	}
	b = p.browser()
	if a := b.do("POST", "/portal/token", fmt.Sprintf(`{"token":%q}`, acmeToken)); a.status != 200 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if a := b.act("LedgerService/Append", `{"tenant":"acme"`+rest["Append"]+"}"); a.status != 200 {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	if n := len(p.recordedSessions("acme")); n != 0 {
		t.Errorf("%d sessions of tokens are recorded", n)
	}
}

// acts are the bodies of calls that record something, besides the tenant and
// what [rest] has. INDEX stands for an entry of evidence.
var acts = []struct {
	rpc  protoreflect.Name
	body string
}{
	{"Append", ""}, {"AppendBatch", `,"submissions":[{"kind":"attestation","mediaType":"text/plain","payload":"YmF0Y2g="}]`}, {"AppendStream", ""},
	{"Decide", `,"stage":"deploy","subjects":[{"type":"file","artifact":{"digest":{"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}}]`},
	{"IssueToken", ""}, {"RevokeToken", `,"id":"stowaway"`},
	{"SetRetention", `,"rules":[{"kind":"attestation","days":1,"scope":"ERASURE_SCOPE_PAYLOAD"}],"reason":"test"`},
	{"SetLegalHold", `,"id":"hold","reason":"test","filter":{}`}, {"SetLegalHold", `,"id":"hold","reason":"test","release":true`},
	{"Erase", `,"index":"INDEX","scope":"ERASURE_SCOPE_PAYLOAD","reason":"test"`},
}

// Whatever a session records first, the record of the session precedes it. If
// the session cannot be recorded, nothing is.
func TestEveryActRecordsItsSession(t *testing.T) {
	p := newPortal(t)
	p.reload(func(s *api.Settings) {
		s.Tenants = slices.Clone(s.Tenants)
		s.Tenants[0].Rules = []auth.IdentityRule{{Name: "dana", Role: munimentv1.Role_ROLE_ADMIN, Rule: oidc.Rule{Issuer: p.issuer, Claims: map[string]string{"sub": "dana"}}}}
	})
	at := p.append("acme", "evidence").Index
	byName := map[protoreflect.Name]protoreflect.MethodDescriptor{}
	for _, m := range methods() {
		byName[m.Name()] = m
	}
	for i, act := range acts {
		m := byName[act.rpc]
		body := requestBody(m, "acme")
		if act.body != "" {
			body = strings.ReplaceAll(fmt.Sprintf(`{"tenant":"acme"%s}`, act.body), "INDEX", fmt.Sprint(at))
		}
		path := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
		b := p.browser()
		p.pass(time.Minute) // for the limit of attempts
		b.signIn(dana)
		before := p.ledger.Published().Size
		call := func() httpAnswer {
			if !m.IsStreamingClient() {
				return b.do("POST", path, body)
			}
			frames := slices.Concat(frame(0, body), frame(0, `{"chunk":"`+base64.StdEncoding.EncodeToString([]byte("stream"))+`"}`))
			return b.do("POST", path, string(frames), "Content-Type", "application/connect+json")
		}
		p.setFree(0)
		if a := call(); a.status == 200 && !strings.Contains(a.body, `"error"`) || p.ledger.Published().Size != before {
			t.Errorf("%s while the log takes no entries: status %d: %s", act.rpc, a.status, a.body)
		}
		p.setFree(1 << 40)
		if a := call(); a.status != 200 || strings.Contains(a.body, `"error"`) {
			t.Errorf("%s: status %d: %s", act.rpc, a.status, a.body)
			continue
		}
		all := p.recordedSessions("acme")
		if size := p.ledger.Published().Size; len(all) != i+1 || all[i].entry.Index != before || size != before+2 {
			t.Errorf("%s: %d sessions are recorded, the newest as entry %d, and the log grows from %d to %d", act.rpc, len(all), all[len(all)-1].entry.Index, before, size)
		}
	}
}

package api_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/oidc/oidctest"
	"muniment.dev/muniment/api/portal"
	"muniment.dev/muniment/internal/peers/providerrig"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestSignIn checks the whole way of a person through a real provider, and what
// the session may do.
func TestSignIn(t *testing.T) {
	for name, edit := range map[string]func(*api.Config, *oidc.Issuer){
		"with a secret":   func(*api.Config, *oidc.Issuer) {},
		"a public client": func(_ *api.Config, is *oidc.Issuer) { is.SignIn.ClientID, is.SignIn.Secret = "public", "" },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPortal(t, edit)
			b := p.browser()
			if s := b.session(); s.SignedIn || len(s.Providers) != 1 || s.Providers[0].ID != "corp" || s.Providers[0].Name != "Corp" || s.Log != origin || s.AsOf != nil {
				t.Errorf("before: %+v", s)
			}
			b.signIn(dana)
			s := b.session()
			if !s.SignedIn || s.Method != "provider" || s.Provider != "corp" || len(s.Tenants) != 2 || s.Tenants[0].Tenant != "acme" || s.Tenants[0].Role != "approver" ||
				s.Tenants[0].Name != "Dana Example" || s.Tenants[1].Role != "reader" || s.Tenants[0].Identity != "oidc:"+p.provider.URL+"#dana" ||
				s.AsOf == nil || s.AsOf.Before(s.Now) {
				t.Errorf("after: %+v", s)
			}
			if a := b.whoAmI(); a.status != 200 || !strings.Contains(a.body, "ROLE_APPROVER") || !strings.Contains(a.body, `"acme"`) {
				t.Errorf("acme: status %d: %s", a.status, a.body)
			}
			if a := b.whoAmI("Muniment-Tenant", "globex"); a.status != 200 || !strings.Contains(a.body, "ROLE_READER") || !strings.Contains(a.body, `"globex"`) {
				t.Errorf("globex: status %d: %s", a.status, a.body)
			}
			if a := b.whoAmI("Muniment-Tenant", "initech"); a.status != 401 {
				t.Errorf("a tenant without a rule: status %d: %s", a.status, a.body)
			}
			if a := b.do("POST", "/portal/signout", ""); a.status != 200 || b.cookies[cookieKey] != "" {
				t.Errorf("sign-out: status %d: %s", a.status, a.body)
			}
			if s := b.session(); s.SignedIn || s.Ended {
				t.Errorf("signed out: %+v", s)
			}
		})
	}
}

// TestResponses checks what a browser brings back from the provider, or does
// not.
func TestResponses(t *testing.T) {
	p := newPortal(t)
	change := func(address string, f func(url.Values)) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		f(q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	begun := func(who providerrig.Person) (*browser, string) {
		b := p.browser()
		return b, b.respond(who, b.begin("/portal/signin?provider=corp"))
	}
	b, back := begun(dana)
	b.wantError("tampered state", b.visit(change(back, func(q url.Values) { q.Set("state", strings.Repeat("A", 43)) })), portal.Expired)
	b, back = begun(dana)
	b.wantError("no state", b.visit(change(back, func(q url.Values) { q.Del("state") })), portal.Expired)
	b, back = begun(dana)
	b.wantError("two codes", b.visit(change(back, func(q url.Values) { q.Add("code", "another") })), portal.Refused)
	b, back = begun(dana)
	b.wantError("a wrong code", b.visit(change(back, func(q url.Values) { q.Set("code", "guessed") })), portal.Refused)
	b, back = begun(dana)
	b.wantError("another issuer (mix-up)", b.visit(change(back, func(q url.Values) { q.Set("iss", "https://evil.example") })), portal.Refused)
	b, back = begun(dana)
	if a := b.visit(change(back, func(q url.Values) { q.Set("iss", p.provider.URL) })); a.header.Get("Location") != "/portal/" {
		t.Errorf("the right issuer: status %d, to %q", a.status, a.header.Get("Location"))
	}
	b, back = begun(dana)
	b.wantError("declined", b.visit(change(back, func(q url.Values) { q.Del("code"); q.Set("error", "access_denied\r\nSet-Cookie: x=y") })), portal.Denied)
	_, back = begun(dana)
	other := p.browser()
	other.wantError("in another browser", other.visit(back), portal.Expired)
	_, back = begun(dana)
	own, _ := begun(kim)
	own.wantError("somebody else's response", own.visit(back), portal.Expired)
	b, back = begun(dana)
	p.pass(11 * time.Minute)
	b.wantError("too late", b.visit(back), portal.Expired)
	b, back = begun(lee)
	b.wantError("no rule", b.visit(back), portal.NoRule)
	if log := p.audit.String(); !strings.Contains(log, `"subject":"lee"`) || !strings.Contains(log, `"outcome":"no_rule"`) {
		t.Errorf("the audit log does not name the person without a rule: %s", log)
	}

	b, back = begun(dana)
	before := maps.Clone(b.cookies)
	if a := b.visit(back); a.status != http.StatusSeeOther || b.cookies[cookieKey] == "" {
		t.Fatalf("a good response: status %d", a.status)
	}
	replayed := p.browser()
	replayed.cookies = before
	replayed.wantError("a response for the second time", replayed.visit(back), portal.Expired)
	// The code alone, with an attempt of one's own.
	u, _ := url.Parse(back)
	thief := p.browser()
	mine, _ := url.Parse(thief.begin("/portal/signin?provider=corp"))
	thief.wantError("a stolen code", thief.visit(callback+"?state="+mine.Query().Get("state")+"&code="+url.QueryEscape(u.Query().Get("code"))), portal.Refused)
}

// TestStolenCode checks that a code is of no use to the browser of somebody
// else even before its owner has used it (PKCE).
func TestStolenCode(t *testing.T) {
	p := newPortal(t)
	victim, thief := p.browser(), p.browser()
	u, _ := url.Parse(victim.respond(dana, victim.begin("/portal/signin?provider=corp")))
	mine, _ := url.Parse(thief.begin("/portal/signin?provider=corp"))
	thief.wantError("a fresh code", thief.visit(callback+"?state="+mine.Query().Get("state")+"&code="+url.QueryEscape(u.Query().Get("code"))), portal.Refused)
}

// TestReturn checks that a sign-in leads to a page of the portal only.
func TestReturn(t *testing.T) {
	p := newPortal(t)
	for wanted, want := range map[string]string{
		"/portal/entries/7?tab=raw#proof": "/portal/entries/7?tab=raw#proof", "/portal/artifacts/sha256:00": "/portal/artifacts/sha256:00", "/portal/": "/portal/",
		"": "/portal/", "https://evil.example/portal/": "/portal/", "//evil.example/portal/": "/portal/", "/portal//evil.example": "/portal/", "/\\evil.example": "/portal/",
		"/portal/\\evil.example": "/portal/", "/portal/../muniment": "/portal/", "/portal/%2e%2e/x": "/portal/", "/portal/%5cevil": "/portal/", "/portal/\r\nSet-Cookie: a=b": "/portal/",
		"/portal/%0d%0aSet-Cookie:a=b": "/portal/%0D%0ASet-Cookie:a=b", "javascript:alert(1)": "/portal/", "/portal": "/portal/", "/portalevil": "/portal/", "/portal/signin?provider=corp": "/portal/",
		"/portal/callback?x": "/portal/", "/portal/é": "/portal/", "/portal/" + strings.Repeat("a", 3000): "/portal/", "/portal/<script>": "/portal/",
	} {
		b := p.browser()
		p.pass(time.Minute) // for the limit of attempts
		a := b.visit(b.respond(kim, b.begin("/portal/signin?provider=corp&return="+url.QueryEscape(wanted))))
		if got := a.header.Get("Location"); !strings.EqualFold(got, want) || len(a.header.Values("Set-Cookie")) != 2 {
			t.Errorf("return %q leads to %q, want %q; cookies: %q", wanted, got, want, a.header.Values("Set-Cookie"))
		}
	}
}

// TestSessionEnds checks every way in which a session ends, for calls and for
// the page.
func TestSessionEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end     func(p *portalRig, b *browser)
		refused string // "": the session goes on
	}{
		"used":          {func(p *portalRig, b *browser) { p.pass(50 * time.Minute); b.whoAmI(); p.pass(50 * time.Minute) }, ""},
		"only asked":    {func(p *portalRig, b *browser) { p.pass(50 * time.Minute); b.session(); p.pass(15 * time.Minute) }, "ended"},
		"idle":          {func(p *portalRig, b *browser) { p.pass(61 * time.Minute) }, "ended"},
		"twelve hours":  {func(p *portalRig, b *browser) { useFor(p, b, 12*time.Hour) }, "ended"},
		"eleven hours":  {func(p *portalRig, b *browser) { useFor(p, b, 11*time.Hour) }, ""},
		"dismissed":     {func(p *portalRig, b *browser) { p.provider.Dismiss("dana"); p.pass(16 * time.Minute) }, "ended"},
		"not yet asked": {func(p *portalRig, b *browser) { p.provider.Dismiss("dana"); p.pass(14 * time.Minute) }, ""},
		"provider down": {func(p *portalRig, b *browser) { p.provider.Close(); p.pass(20 * time.Minute) }, ""},
		"down for long": {func(p *portalRig, b *browser) { p.provider.Close(); useFor(p, b, 80*time.Minute) }, "ended"},
		"rule gone": {func(p *portalRig, b *browser) {
			p.reload(func(s *api.Settings) { s.Tenants = slices.Clone(s.Tenants); s.Tenants[0].Rules = nil })
		}, "no rule"},
		"suspended": {func(p *portalRig, b *browser) {
			p.reload(func(s *api.Settings) { s.Tenants = slices.Clone(s.Tenants); s.Tenants[0].Suspended = true })
		}, "no rule"},
		"signed out": {func(p *portalRig, b *browser) {
			stolen := maps.Clone(b.cookies)
			b.do("POST", "/portal/signout", "")
			b.cookies = stolen
		}, "ended"},
		"keys rotated": {func(p *portalRig, b *browser) {
			p.provider.Rotate()
			p.pass(16 * time.Minute)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.all = true
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPortal(t)
			b := p.browser()
			b.signIn(dana)
			c.end(p, b)
			a := b.whoAmI()
			if c.refused == "" {
				if a.status != 200 {
					t.Errorf("status %d: %s", a.status, a.body)
				}
				return
			}
			if a.status != 401 || !strings.Contains(a.body, c.refused) || !strings.Contains(a.body, "unauthenticated") {
				t.Errorf("status %d: %s", a.status, a.body)
			}
			if s := b.session(); c.refused == "ended" && (s.SignedIn || !s.Ended) {
				t.Errorf("the page does not see that the session has ended: %+v", s)
			}
		})
	}
}

func useFor(p *portalRig, b *browser, d time.Duration) {
	for range int(d / (10 * time.Minute)) {
		p.pass(10 * time.Minute)
		b.whoAmI()
	}
}

// TestRoleOfSession checks that a session has the role that the rules give now.
func TestRoleOfSession(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	b.signIn(dana)
	p.reload(func(s *api.Settings) {
		s.Tenants = slices.Clone(s.Tenants)
		s.Tenants[0].Rules = slices.Clone(s.Tenants[0].Rules)
		s.Tenants[0].Rules[0].Role = munimentv1.Role_ROLE_AUDITOR
	})
	if a := b.do("POST", "/muniment.v1.LedgerService/ListEntries", `{"tenant":"acme"}`); a.status != 403 || !strings.Contains(a.body, "you have role auditor") {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	if a := b.do("POST", "/muniment.v1.LedgerService/ListEntries", `{"tenant":"globex"}`); a.status != 403 {
		t.Errorf("globex as acme: status %d: %s", a.status, a.body)
	}
	if a := b.do("POST", "/muniment.v1.LedgerService/ListEntries", `{"tenant":"globex"}`, "Muniment-Tenant", "globex"); a.status != 200 {
		t.Errorf("globex: status %d: %s", a.status, a.body)
	}
}

// TestFixation checks that a cookie that was there before a sign-in is worth
// nothing afterwards, and that each browser has a session of its own.
func TestFixation(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	b.cookies[cookieKey] = strings.Repeat("A", 43)
	b.signIn(kim)
	if b.cookies[cookieKey] == strings.Repeat("A", 43) {
		t.Fatal("the server adopted a cookie")
	}
	first := maps.Clone(b.cookies)
	b.signIn(dana)
	old, second := p.browser(), p.browser()
	old.cookies = first
	if a := old.whoAmI(); a.status != 401 {
		t.Errorf("the replaced session: status %d: %s", a.status, a.body)
	}
	second.signIn(dana)
	for _, x := range []*browser{b, second} {
		if a := x.whoAmI(); a.status != 200 {
			t.Errorf("two browsers of a person: status %d: %s", a.status, a.body)
		}
	}
	second.do("POST", "/portal/signout", "")
	if a := b.whoAmI(); a.status != 200 {
		t.Errorf("signed out in the other browser: status %d: %s", a.status, a.body)
	}
	for range 20 {
		p.pass(time.Second)
		p.browser().signIn(dana)
	}
	if n := strings.Count(p.metrics(), "muniment_portal_sessions 16\n"); n != 1 {
		t.Error("a person has more than 16 sessions")
	}
	if a := b.whoAmI(); a.status != 401 {
		t.Errorf("the session that was unused for longest: status %d", a.status)
	}
}

// TestCrossOrigin checks that only the portal's own page can use a session.
func TestCrossOrigin(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	b.signIn(dana)
	for name, header := range map[string][]string{
		"another site":           {"Sec-Fetch-Site", "cross-site"},
		"a subdomain":            {"Sec-Fetch-Site", "same-site"},
		"the address bar":        {"Sec-Fetch-Site", "none"},
		"an old browser":         {"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
		"a sandbox":              {"Sec-Fetch-Site", "", "Origin", "null"},
		"no browser":             {"Sec-Fetch-Site", ""},
		"another port":           {"Sec-Fetch-Site", "", "Origin", "https://portal.test:8443"},
		"the same name, by http": {"Sec-Fetch-Site", "cross-site", "Origin", "http://portal.test"},
	} {
		if a := b.whoAmI(header...); a.status != 401 || !strings.Contains(a.body, "own page") {
			t.Errorf("%s: a call: status %d: %s", name, a.status, a.body)
		}
		if a := b.do("POST", "/portal/signout", "", header...); a.status != 403 {
			t.Errorf("%s: sign-out: status %d: %s", name, a.status, a.body)
		}
		if name == "no browser" || name == "the address bar" {
			continue // without a cookie, these are callers like others
		}
		if a := p.browser().do("POST", "/portal/token", `{"token":"`+acmeToken+`"}`, header...); a.status != 403 && name != "a subdomain" {
			t.Errorf("%s: a token: status %d: %s", name, a.status, a.body)
		}
	}
	if a := b.do("GET", "/muniment.v1.IdentityService/WhoAmI?encoding=json&message=%7B%7D", "", "Sec-Fetch-Site", "same-site"); a.status != 401 {
		t.Errorf("a GET of a subdomain: status %d: %s", a.status, a.body)
	}
	if a := b.whoAmI("Sec-Fetch-Site", "", "Origin", portalURL); a.status != 200 {
		t.Errorf("an old browser on the own page: status %d: %s", a.status, a.body)
	}
	if a := p.browser().do("GET", "/portal/signin?provider=corp", "", "Sec-Fetch-Dest", "image"); !strings.Contains(a.header.Get("Location"), "error=invalid") {
		t.Errorf("a sign-in begun by a picture: status %d, to %q", a.status, a.header.Get("Location"))
	}
}

// TestNoCookieElsewhere checks that nothing but the API's calls accepts the
// cookie.
func TestNoCookieElsewhere(t *testing.T) {
	p := newPortal(t, func(c *api.Config, _ *oidc.Issuer) { c.PublicTlog = false })
	b := p.browser()
	b.signIn(dana)
	for _, x := range []struct{ method, path string }{{"GET", "/tlog/checkpoint"}, {"GET", "/metrics"}, {"POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"}} {
		if a := b.do(x.method, x.path, ""); a.status != 401 {
			t.Errorf("%s with a cookie: status %d", x.path, a.status)
		}
	}
	// A token has precedence, as for any other caller.
	if a := b.whoAmI("Authorization", "Bearer "+globexToken); !strings.Contains(a.body, `"globex"`) {
		t.Errorf("with a token: status %d: %s", a.status, a.body)
	}
	if a := b.whoAmI("Authorization", "Bearer wrong"); a.status != 401 {
		t.Errorf("with a wrong token: status %d: %s", a.status, a.body)
	}
}

// TestTokenSignIn checks sessions from pasted tokens.
func TestTokenSignIn(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	paste := func(token, tenant string) httpAnswer {
		body, _ := json.Marshal(map[string]string{"token": token, "tenant": tenant})
		return b.do("POST", "/portal/token", string(body))
	}
	if a := paste(" "+roleToken("acme", "reader")+"\n", ""); a.status != 200 || strings.Contains(a.body, roleToken("acme", "reader")) {
		t.Fatalf("a token: status %d: %s", a.status, a.body)
	}
	if a := b.do("POST", "/muniment.v1.LedgerService/ListEntries", `{"tenant":"acme"}`); a.status != 200 {
		t.Errorf("a reader lists: status %d: %s", a.status, a.body)
	}
	if a := b.do("POST", "/muniment.v1.AdminService/ListTokens", `{"tenant":"acme"}`); a.status != 403 {
		t.Errorf("a reader lists tokens: status %d: %s", a.status, a.body)
	}
	if a := paste(globexToken, "globex"); a.status != 200 {
		t.Fatalf("another tenant's token: status %d: %s", a.status, a.body)
	}
	if s := b.session(); len(s.Tenants) != 2 || s.Tenants[0].Tenant != "globex" || s.Tenants[1].Tenant != "acme" || s.Method != "token" {
		t.Errorf("two tenants: %+v", s)
	}
	for name, c := range map[string]struct {
		token, tenant string
		status        int
	}{
		"unknown":         {"mnt_acme_wrong", "", 401},
		"another tenant":  {acmeToken, "globex", 401},
		"an operator's":   {operatorToken, "", 401},
		"empty":           {"", "", 401},
		"not a token":     {"a.b.c", "", 401},
		"too large":       {strings.Repeat("a", 30<<10), "", 400},
		"newline in it":   {"mnt_acme_x\r\nSet-Cookie: a=b", "", 401},
		"another's hash":  {"mnt_globex_correct-horse-battery-staple", "", 401},
		"unknown subject": {oidcToken(t, p, "lee"), "", 401},
	} {
		if a := paste(c.token, c.tenant); a.status != c.status || strings.Contains(a.body, "correct-horse") {
			t.Errorf("%s: status %d, want %d: %s", name, a.status, c.status, a.body)
		}
	}
	if a := b.send("POST", "/portal/token", "token="+acmeToken, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"); a.status != 400 {
		t.Errorf("a form: status %d: %s", a.status, a.body)
	}
	b.signIn(kim)
	if s := b.session(); len(s.Tenants) != 1 || s.Method != "provider" {
		t.Errorf("a person's session has the tenants of tokens: %+v", s)
	}
	for _, secret := range []string{acmeToken, globexToken, roleToken("acme", "reader"), "s:e&c=r%t", b.cookies[cookieKey], "mnt_acme_wrong"} {
		for where, text := range map[string]string{"the log": p.logs.String(), "the audit log": p.audit.String(), "the metrics": p.metrics()} {
			if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
				t.Errorf("%s has the secret %s", where, secret)
			}
		}
	}
	if log := p.audit.String(); !strings.Contains(log, `"msg":"signin"`) || !strings.Contains(log, `"method":"token","outcome":"ok","identity":"token:reader","roles":"acme:reader"`) || !strings.Contains(log, `"provider":"corp","identity":"oidc:`+p.provider.URL+`#kim"`) {
		t.Errorf("the audit log lacks sign-ins: %s", log)
	}
}

// oidcToken returns an identity token that no issuer of the server has signed.
func oidcToken(t *testing.T, p *portalRig, subject string) string {
	t.Helper()
	i := oidctest.Start()
	defer i.Close()
	return i.Token(map[string]any{"iss": p.provider.URL, "sub": subject, "aud": origin})
}

// TestRevokedToken checks that a session ends with its token.
func TestRevokedToken(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	token, err := p.issue(&munimentv1.Grant{Id: "desk", Role: munimentv1.Role_ROLE_READER})
	if err != nil {
		t.Fatal(err)
	}
	if a := b.do("POST", "/portal/token", `{"token":"`+token+`"}`); a.status != 200 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if a := p.do(p.h1, "POST", "/muniment.v1.AdminService/RevokeToken", acmeToken, map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{"tenant":"acme","id":"desk","reason":"lost"}`)); a.status != 200 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if a := b.whoAmI(); a.status != 401 || !strings.Contains(a.body, "revoked") {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	if s := b.session(); s.SignedIn || !s.Ended {
		t.Errorf("the page: %+v", s)
	}
}

// TestInsecure checks that no one signs in where a browser keeps no cookie.
func TestInsecure(t *testing.T) {
	ts := newServer(t)
	for name, c := range map[string]struct {
		header map[string]string
		status int
	}{
		"this machine":          {nil, 200},
		"a proxy of plain HTTP": {map[string]string{"X-Forwarded-For": "192.0.2.1"}, 403},
	} {
		h := map[string]string{"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
		for k, v := range c.header {
			h[k] = v
		}
		if a := ts.do(ts.h1, "POST", "/portal/token", "", h, strings.NewReader(`{"token":"`+acmeToken+`"}`)); a.status != c.status || len(a.header.Values("Set-Cookie")) != c.status/200%2 {
			t.Errorf("%s: status %d: %s", name, a.status, a.body)
		}
	}
}

// TestAttemptsAreLimited checks that an address cannot try without end.
func TestAttemptsAreLimited(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	var last httpAnswer
	for range 100 {
		if last = b.do("POST", "/portal/token", `{"token":"mnt_acme_guess"}`); last.status == http.StatusTooManyRequests {
			break
		}
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("100 attempts: status %d: %s", last.status, last.body)
	}
	if a := b.do("GET", "/portal/signin?provider=corp", ""); !strings.Contains(a.header.Get("Location"), "error=busy") {
		t.Errorf("with a provider: status %d, to %q", a.status, a.header.Get("Location"))
	}
	p.pass(2 * time.Minute)
	b.signIn(dana)
}

// TestHostileProvider checks what the provider's answers must be. The issuer
// signs whatever a test asks for.
func TestHostileProvider(t *testing.T) {
	i := oidctest.Start()
	defer i.Close()
	var answer http.HandlerFunc
	i.TokenEndpoint = func(w http.ResponseWriter, r *http.Request) { answer(w, r) }
	p := newPortal(t, func(c *api.Config, is *oidc.Issuer) { is.URL = i.URL })
	claims := func(nonce string, more ...any) map[string]any {
		m := map[string]any{"sub": "dana", "aud": "muniment", "nonce": nonce}
		for k := 0; k < len(more); k += 2 {
			m[more[k].(string)] = more[k+1]
		}
		return m
	}
	now := time.Now().Unix()
	var elsewhere atomic.Int64
	spy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer spy.Close()
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, nonce string)
		want   portal.Outcome
	}{
		"good":                 {idToken(func(n string) string { return i.Token(claims(n)) }), portal.SignedIn},
		"clock a little ahead": {idToken(func(n string) string { return i.Token(claims(n, "iat", now+50, "nbf", now+50)) }), portal.SignedIn},
		"clock far ahead":      {idToken(func(n string) string { return i.Token(claims(n, "iat", now+600)) }), portal.Refused},
		"expired":              {idToken(func(n string) string { return i.Token(claims(n, "exp", now-120, "iat", now-600, "nbf", now-600)) }), portal.Refused},
		"wrong nonce":          {idToken(func(n string) string { return i.Token(claims("x" + n)) }), portal.Refused},
		"no nonce":             {idToken(func(n string) string { return i.Token(claims(n, "nonce", nil)) }), portal.Refused},
		"nonce in two cases":   {idToken(func(n string) string { return i.Token(claims(n, "Nonce", "x")) }), portal.Refused},
		"another audience":     {idToken(func(n string) string { return i.Token(claims(n, "aud", "other")) }), portal.Refused},
		"the API's audience":   {idToken(func(n string) string { return i.Token(claims(n, "aud", origin)) }), portal.Refused},
		"a further audience":   {idToken(func(n string) string { return i.Token(claims(n, "aud", []string{"muniment", "other"})) }), portal.Refused},
		"both audiences": {idToken(func(n string) string {
			return i.Token(claims(n, "aud", []string{"muniment", origin}, "azp", "muniment"))
		}), portal.SignedIn},
		"another party":  {idToken(func(n string) string { return i.Token(claims(n, "azp", "other")) }), portal.Refused},
		"another issuer": {idToken(func(n string) string { return i.Token(claims(n, "iss", "https://evil.example")) }), portal.Refused},
		"not signed": {idToken(func(n string) string {
			return oidctest.SignWith(jose.HS256, []byte("0123456789abcdef0123456789abcdef"), "", []byte(`{}`))
		}), portal.Refused},
		"no identity token": {func(w http.ResponseWriter, _ string) { io.WriteString(w, `{"access_token":"x"}`) }, portal.Refused},
		"not JSON":          {func(w http.ResponseWriter, _ string) { io.WriteString(w, "<html>") }, portal.Refused},
		"endless":           {func(w http.ResponseWriter, _ string) { io.WriteString(w, strings.Repeat(" ", 1<<20)) }, portal.Unavailable},
		"error":             {func(w http.ResponseWriter, _ string) { w.WriteHeader(500) }, portal.Unavailable},
		"redirect": {func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", spy.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, portal.Unavailable},
	} {
		b := p.browser()
		u, _ := url.Parse(b.begin("/portal/signin?provider=corp"))
		q := u.Query()
		if q.Get("redirect_uri") != callback || q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || q.Get("client_id") != "muniment" {
			t.Fatalf("authorization request: %v", q)
		}
		answer = func(w http.ResponseWriter, r *http.Request) {
			if user, pass, _ := r.BasicAuth(); user != "muniment" || pass != url.QueryEscape("s:e&c=r%t") || r.PostFormValue("redirect_uri") != callback || len(r.PostFormValue("code_verifier")) != 43 {
				t.Errorf("%s: token request: %v, %s", name, r.PostForm, user)
			}
			c.answer(w, q.Get("nonce"))
		}
		a := b.visit(callback + "?code=c&state=" + q.Get("state"))
		if c.want == portal.SignedIn {
			if a.header.Get("Location") != "/portal/" || b.cookies[cookieKey] == "" {
				t.Errorf("%s: status %d, to %q", name, a.status, a.header.Get("Location"))
			}
			continue
		}
		b.wantError(name, a, c.want)
	}
	if elsewhere.Load() > 0 {
		t.Error("the token endpoint's redirect was followed, with the code and the secret")
	}
	i.ReturnsIssuer = true
	b := newPortal(t, func(c *api.Config, is *oidc.Issuer) { is.URL = i.URL }).browser()
	u, _ := url.Parse(b.begin("/portal/signin?provider=corp"))
	b.wantError("no iss of a provider that returns it", b.visit(callback+"?code=c&state="+u.Query().Get("state")), portal.Refused)
}

func idToken(token func(nonce string) string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, nonce string) {
		_ = json.NewEncoder(w).Encode(map[string]string{"id_token": token(nonce), "access_token": "x", "token_type": "Bearer"})
	}
}

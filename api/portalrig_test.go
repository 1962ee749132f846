package api_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/portal"
	"muniment.dev/muniment/internal/peers/providerrig"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	portalURL = "https://portal.test"
	callback  = portalURL + "/portal/callback"
	cookieKey = "__Host-muniment-session"
)

var (
	dana = providerrig.Person{Subject: "dana", Username: "dana", Password: "correct horse"}
	kim  = providerrig.Person{Subject: "kim", Username: "kim", Password: "battery staple"}
	lee  = providerrig.Person{Subject: "lee", Username: "lee", Password: "no rule for me"}
)

// A portalRig is a server whose people sign in with a real provider.
type portalRig struct {
	*testServer
	t        *testing.T
	provider *providerrig.Provider
	issuer   string // the provider's, unless a test has another
	audit    *logBuffer

	mu  sync.Mutex
	off time.Duration // of the server's clock
	all bool          // identity tokens are verified by that clock too
}

// verifierNow is the clock by which identity tokens are verified.
func (p *portalRig) verifierNow() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all {
		return time.Now().Add(p.off)
	}
	return time.Now()
}

func (p *portalRig) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.off)
}

// pass advances the server's clock, but not the provider's.
func (p *portalRig) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off += d
}

// newPortal starts a server and a provider. Dana is an approver of acme and a
// reader of globex, and Kim a reader of acme. The client has a secret.
func newPortal(t *testing.T, edits ...func(*api.Config, *oidc.Issuer)) *portalRig {
	t.Helper()
	return newPortalWith(t, nil, edits...)
}

// newPortalWith is newPortal with further issuers, for which dana is an
// approver of acme too.
func newPortalWith(t *testing.T, others []oidc.Issuer, edits ...func(*api.Config, *oidc.Issuer)) *portalRig {
	t.Helper()
	p := &portalRig{t: t, audit: &logBuffer{}}
	var err error
	p.provider, err = providerrig.Start("127.0.0.1:0", []providerrig.Client{{ID: "muniment", Secret: "s:e&c=r%t", Redirect: callback}, {ID: "public", Redirect: callback}, {ID: "other", Secret: "x", Redirect: "https://other.test/"}},
		[]providerrig.Person{dana, kim, lee})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.provider.Close(); err != nil {
			t.Error(err)
		}
	})
	is := oidc.Issuer{URL: p.provider.URL, Audiences: []string{origin}, SignIn: &oidc.SignIn{Name: "corp", DisplayName: "Corp", ClientID: "muniment", Secret: "s:e&c=r%t", Scopes: []string{"openid", "offline_access"}}}
	p.testServer = newServer(t, func(_ *ledger.Config, c *api.Config) {
		for _, edit := range edits {
			edit(c, &is)
		}
		p.issuer = is.URL
		if c.Identities, err = oidc.New(append([]oidc.Issuer{is}, others...), oidc.Options{Now: p.verifierNow}); err != nil {
			t.Fatal(err)
		}
		c.Now, c.Portal.URL, c.Audit = p.now, portalURL, slog.New(slog.NewJSONHandler(p.audit, nil))
		ruleOf := func(issuer, subject, name string, role auth.Role) auth.IdentityRule {
			return auth.IdentityRule{Name: subject, DisplayName: name, Role: role, Rule: oidc.Rule{Issuer: issuer, Claims: map[string]string{"sub": subject}}}
		}
		rule := func(subject, name string, role auth.Role) auth.IdentityRule {
			return ruleOf(is.URL, subject, name, role)
		}
		c.Tenants[0].Rules = []auth.IdentityRule{rule("dana", "Dana Example", munimentv1.Role_ROLE_APPROVER), rule("kim", "", munimentv1.Role_ROLE_READER)}
		for _, other := range others {
			c.Tenants[0].Rules = append(c.Tenants[0].Rules, ruleOf(other.URL, "dana", "", munimentv1.Role_ROLE_APPROVER))
		}
		c.Tenants[1].Rules = []auth.IdentityRule{rule("dana", "Dana Example", munimentv1.Role_ROLE_READER)}
	})
	return p
}

// A browser keeps cookies as browsers do, which accept __Host- cookies only if
// they are secure and for all paths.
type browser struct {
	p       *portalRig
	cookies map[string]string
	strict  map[string]bool
}

func (p *portalRig) browser() *browser {
	return &browser{p: p, cookies: map[string]string{}, strict: map[string]bool{}}
}

// do sends a request of the portal's own page.
func (b *browser) do(method, path, body string, header ...string) httpAnswer {
	b.p.t.Helper()
	all := append([]string{"Sec-Fetch-Site", "same-origin", "Content-Type", "application/json"}, header...)
	return b.send(method, path, body, all...)
}

// visit opens a page by a link of another site, whose cookies are not Strict.
func (b *browser) visit(address string) httpAnswer {
	b.p.t.Helper()
	kept := map[string]string{}
	for name, value := range b.cookies {
		if b.strict[name] {
			kept[name] = value
			delete(b.cookies, name)
		}
	}
	a := b.send("GET", strings.TrimPrefix(address, portalURL), "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	for name, value := range kept {
		if b.cookies[name] == "" {
			b.cookies[name] = value
		}
	}
	return a
}

func (b *browser) send(method, path, body string, header ...string) httpAnswer {
	b.p.t.Helper()
	req, err := http.NewRequest(method, b.p.url+path, strings.NewReader(body))
	if err != nil {
		b.p.t.Fatal(err)
	}
	req.Host = "portal.test"
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
		} else {
			req.Header.Set(header[i], header[i+1])
		}
	}
	for name, value := range b.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res, err := b.p.h1.Do(req)
	if err != nil {
		b.p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.p.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || c.Path != "/" || c.Domain != "" || !c.HttpOnly {
			b.p.t.Errorf("%s sets a cookie that is not safe: %s", path, c)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name], b.strict[c.Name] = c.Value, c.SameSite == http.SameSiteStrictMode
	}
	return httpAnswer{res.StatusCode, res.Header, string(text), nil}
}

// begin begins a sign-in and returns the provider's URL.
func (b *browser) begin(path string) string {
	b.p.t.Helper()
	a := b.do("GET", path, "", "Sec-Fetch-Dest", "document")
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), b.p.issuer) {
		b.p.t.Fatalf("%s: status %d, to %q", path, a.status, a.header.Get("Location"))
	}
	return a.header.Get("Location")
}

// respond signs the person in at the provider, and returns its response.
func (b *browser) respond(who providerrig.Person, address string) string {
	b.p.t.Helper()
	back, err := providerrig.SignIn(httpClient(false), address, who)
	if err != nil {
		b.p.t.Fatal(err)
	}
	if !strings.HasPrefix(back, callback+"?") {
		b.p.t.Fatalf("the provider sends the browser to %s", back)
	}
	return back
}

// signIn signs the person in.
func (b *browser) signIn(who providerrig.Person) {
	b.p.t.Helper()
	a := b.visit(b.respond(who, b.begin("/portal/signin?provider=corp&return=/portal/findings")))
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/portal/findings" {
		b.p.t.Fatalf("signed in: status %d, to %q: %s", a.status, a.header.Get("Location"), a.body)
	}
}

type sessionState struct {
	SignedIn, Ended       bool
	Method, Provider, Log string
	Expires, IdleExpires  time.Time
	Now                   time.Time
	AsOf                  *time.Time
	Providers             []struct{ ID, Name string }
	Tenants               []struct{ Tenant, Identity, Name, Role string }
}

func (b *browser) session() (s sessionState) {
	b.p.t.Helper()
	a := b.do("GET", "/portal/session", "")
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
		b.p.t.Fatalf("status %d: %v: %s", a.status, err, a.body)
	}
	return s
}

// whoAmI calls the API with the session.
func (b *browser) whoAmI(header ...string) httpAnswer {
	b.p.t.Helper()
	return b.do("POST", "/muniment.v1.IdentityService/WhoAmI", "{}", header...)
}

// wantError expects the browser on the page that shows why it is not signed in.
func (b *browser) wantError(what string, a httpAnswer, code portal.Outcome) {
	b.p.t.Helper()
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusSeeOther || u.Host != "" || u.Path != "/portal/signin" || u.Query().Get("error") != string(code) || len(u.Query().Get("request")) != 16 {
		b.p.t.Errorf("%s: status %d, to %q, want the error %s: %s", what, a.status, a.header.Get("Location"), code, a.body)
	}
	if b.cookies[cookieKey] != "" {
		b.p.t.Errorf("%s: there is a session", what)
	}
}

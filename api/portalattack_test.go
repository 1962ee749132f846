package api_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/oidc/oidctest"
	"muniment.dev/muniment/api/portal"
	"muniment.dev/muniment/ledger/cosereceipt"
)

// TestTwoCookies checks that of two cookies with the session's name none
// counts, because one is not the server's.
func TestTwoCookies(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	b.signIn(dana)
	own := b.cookies[cookieKey]
	for name, header := range map[string]string{
		"another first": cookieKey + "=planted; " + cookieKey + "=" + own,
		"another last":  cookieKey + "=" + own + "; " + cookieKey + "=planted",
		"the same":      cookieKey + "=" + own + "; " + cookieKey + "=" + own,
		"empty":         cookieKey + "=; " + cookieKey + "=" + own,
	} {
		x := p.browser()
		if a := x.whoAmI("Cookie", header); a.status != 401 {
			t.Errorf("%s: status %d: %s", name, a.status, a.body)
		}
		if a := x.do("GET", "/portal/session", "", "Cookie", header); !strings.Contains(a.body, `"signedIn":false`) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if a := b.whoAmI(); a.status != 200 {
		t.Errorf("the session itself: status %d: %s", a.status, a.body)
	}
}

// TestNoCookieAtPaths checks that each path besides the API's services ignores
// the cookie, also those of SCITT, and that no method or spelling of a path of
// the portal does more than its own.
func TestNoCookieAtPaths(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := cosereceipt.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	p := newPortal(t, func(c *api.Config, _ *oidc.Issuer) { c.SCITTKey, c.PublicTlog = key, false })
	p.append("acme", "evidence")
	b := p.browser()
	b.signIn(dana)
	size := p.ledger.Published().Size
	for _, x := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/entries", 401}, {"GET", "/entries/0", 401}, {"GET", "/tlog/checkpoint", 401}, {"GET", "/tlog/tile/0/000", 401}, {"GET", "/metrics", 401},
		{"POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 401}, {"POST", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", 401},
		{"GET", "/portal/signout", 200}, // a page
		{"PUT", "/portal/signout", 404}, {"DELETE", "/portal/session", 404}, {"POST", "/portal/session", 404}, {"POST", "/portal/callback", 404}, {"POST", "/portal/signin", 404},
		{"PATCH", "/portal/token", 404}, {"TRACE", "/portal/token", 404}, {"POST", "/portal/", 404},
		{"POST", "/portal//signout", 307}, {"POST", "/portal/./signout", 307}, {"POST", "/x/../portal/signout", 307},
	} {
		if a := b.do(x.method, x.path, ""); a.status != x.status {
			t.Errorf("%s %s with a cookie: status %d, want %d: %.200s", x.method, x.path, a.status, x.status, a.body)
		}
	}
	if s := b.session(); !s.SignedIn || p.ledger.Published().Size != size {
		t.Errorf("afterwards: signed in: %t, %d entries more", s.SignedIn, p.ledger.Published().Size-size)
	}
}

// noneToken returns an identity token without a signature.
func noneToken(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + enc(payload) + "."
}

// TestHostileTokens checks the identity tokens of a provider's answer that need
// more than its key: none, huge ones, and those of another issuer.
func TestHostileTokens(t *testing.T) {
	i, other := oidctest.Start(), oidctest.Start()
	defer i.Close()
	defer other.Close()
	var token func(nonce string) string
	var nonce string
	i.TokenEndpoint = func(w http.ResponseWriter, _ *http.Request) { idToken(token)(w, nonce) }
	other.TokenEndpoint = i.TokenEndpoint
	p := newPortalWith(t, []oidc.Issuer{{URL: other.URL, Audiences: []string{origin}, SignIn: &oidc.SignIn{Name: "other", ClientID: "muniment", Scopes: []string{"openid"}}}},
		func(_ *api.Config, is *oidc.Issuer) { is.URL = i.URL })
	claims := func(n string, more map[string]any) map[string]any {
		all := map[string]any{"sub": "dana", "aud": "muniment", "nonce": n}
		for k, v := range more {
			all[k] = v
		}
		return i.Claims(all)
	}
	for name, make := range map[string]func(n string) string{
		"alg none": func(n string) string { return noneToken(claims(n, nil)) },
		"alg none, capital letters": func(n string) string {
			return strings.Replace(noneToken(claims(n, nil)), base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)), base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"nOnE"}`)), 1)
		},
		"huge": func(n string) string {
			return i.Sign("RS256", claims(n, map[string]any{"x": strings.Repeat("x", 16<<10)}))
		},
		"deep": func(n string) string {
			return i.Sign("RS256", []byte(strings.Repeat(`{"a":`, 2000)+"1"+strings.Repeat("}", 2000)))
		},
		"of another issuer's key": func(n string) string { return other.Sign("RS256", claims(n, nil)) },
		"of another known issuer": func(n string) string { return other.Sign("RS256", claims(n, map[string]any{"iss": other.URL})) },
		"two subjects": func(n string) string {
			return i.Sign("RS256", []byte(fmt.Sprintf(`{"iss":%q,"aud":"muniment","nonce":%q,"sub":"kim","sub":"dana","exp":%d}`, i.URL, n, time.Now().Unix()+60)))
		},
		"no subject":                 func(n string) string { return i.Sign("RS256", claims(n, map[string]any{"sub": ""})) },
		"a subject of several lines": func(n string) string { return i.Sign("RS256", claims(n, map[string]any{"sub": "dana\nroot"})) },
		"valid for ever":             func(n string) string { return i.Sign("RS256", claims(n, map[string]any{"exp": 1 << 40})) },
		"an encrypted one":           func(string) string { return "a.b.c.d.e" },
	} {
		token = make
		b := p.browser()
		u, _ := url.Parse(b.begin("/portal/signin?provider=corp"))
		nonce = u.Query().Get("nonce")
		b.wantError(name, b.visit(callback+"?code=c&state="+u.Query().Get("state")), portal.Refused)
	}
	// Mix-up: the response of one provider for the attempt with another. Both
	// issue the same codes here, so that only the checks of the client help.
	token = func(n string) string { return i.Sign("RS256", claims(n, nil)) }
	b := p.browser()
	u, _ := url.Parse(b.send("GET", "/portal/signin?provider=other", "", "Sec-Fetch-Site", "same-origin").header.Get("Location"))
	nonce = u.Query().Get("nonce")
	b.wantError("another provider's token", b.visit(callback+"?code=c&state="+u.Query().Get("state")), portal.Refused)
	u, _ = url.Parse(b.begin("/portal/signin?provider=corp"))
	nonce = u.Query().Get("nonce")
	b.wantError("another provider's issuer", b.visit(callback+"?code=c&state="+u.Query().Get("state")+"&iss="+url.QueryEscape(other.URL)), portal.Refused)
	u, _ = url.Parse(b.begin("/portal/signin?provider=corp"))
	nonce = u.Query().Get("nonce")
	if a := b.visit(callback + "?code=c&state=" + u.Query().Get("state")); a.header.Get("Location") != "/portal/" {
		t.Errorf("the provider's own response: status %d, to %q", a.status, a.header.Get("Location"))
	}
	// A person with the same subject at another provider is another person.
	if s := b.session(); len(s.Tenants) != 2 || s.Tenants[0].Identity != "oidc:"+i.URL+"#dana" {
		t.Errorf("signed in: %+v", s)
	}
}

// TestSlowProvider checks that a provider that does not answer does not
// delay people who sign in with another.
func TestSlowProvider(t *testing.T) {
	slow := oidctest.Start()
	defer slow.Close()
	asked, release := make(chan struct{}, 100), make(chan struct{})
	slow.TokenEndpoint = func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release }
	p := newPortalWith(t, []oidc.Issuer{{URL: slow.URL, Audiences: []string{origin}, SignIn: &oidc.SignIn{Name: "slow", ClientID: "muniment", Scopes: []string{"openid"}}}})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(release)
	for range 16 {
		b := p.browser()
		u, _ := url.Parse(b.send("GET", "/portal/signin?provider=slow", "", "Sec-Fetch-Site", "same-origin").header.Get("Location"))
		all.Go(func() { b.visit(callback + "?code=c&state=" + u.Query().Get("state")) })
		<-asked
	}
	p.browser().signIn(dana)
}

// TestProviderLeadsElsewhere checks that a provider cannot use the server to
// reach other hosts by redirects.
func TestProviderLeadsElsewhere(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the server asked for %s", r.URL) }))
	defer inside.Close()
	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inside.URL+r.URL.Path, http.StatusFound)
	}))
	defer hostile.Close()
	p := newPortalWith(t, []oidc.Issuer{{URL: hostile.URL, Audiences: []string{origin}, SignIn: &oidc.SignIn{Name: "hostile", ClientID: "muniment", Scopes: []string{"openid"}}}})
	b := p.browser()
	b.wantError("a redirect of the metadata", b.do("GET", "/portal/signin?provider=hostile", ""), portal.Unavailable)
}

// TestRefreshedPerson checks what a provider can change about a person whom it
// confirms.
func TestRefreshedPerson(t *testing.T) {
	i := oidctest.Start()
	defer i.Close()
	var answer http.HandlerFunc
	i.TokenEndpoint = func(w http.ResponseWriter, r *http.Request) { answer(w, r) }
	write := func(w http.ResponseWriter, m map[string]string) { _ = json.NewEncoder(w).Encode(m) }
	claims := func(more ...any) map[string]any {
		m := map[string]any{"sub": "dana", "aud": "muniment"}
		for k := 0; k < len(more); k += 2 {
			m[more[k].(string)] = more[k+1]
		}
		return m
	}
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{
		"the same person": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, map[string]string{"id_token": i.Token(claims())})
		}, 200},
		"no token": {func(w http.ResponseWriter, _ *http.Request) { write(w, map[string]string{"access_token": "x"}) }, 200},
		"another person": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, map[string]string{"id_token": i.Token(claims("sub", "kim"))})
		}, 401},
		"another audience": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, map[string]string{"id_token": i.Token(claims("aud", "x"))})
		}, 401},
		"an expired token": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, map[string]string{"id_token": i.Token(claims("iat", now-900, "nbf", now-900, "exp", now-300))})
		}, 401},
		"not signed": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, map[string]string{"id_token": noneToken(i.Claims(claims()))})
		}, 401},
		"declined": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			write(w, map[string]string{"error": "invalid_grant"})
		}, 401},
		"out of order": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 200},
		"a long refresh token": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, map[string]string{"refresh_token": strings.Repeat("x", 9000)})
		}, 401},
	} {
		p := newPortal(t, func(_ *api.Config, is *oidc.Issuer) { is.URL = i.URL })
		b := p.browser()
		u, _ := url.Parse(b.begin("/portal/signin?provider=corp"))
		answer = func(w http.ResponseWriter, _ *http.Request) {
			write(w, map[string]string{"id_token": i.Token(claims("nonce", u.Query().Get("nonce"))), "refresh_token": "first"})
		}
		if a := b.visit(callback + "?code=c&state=" + u.Query().Get("state")); b.cookies[cookieKey] == "" {
			t.Fatalf("%s: status %d, to %q", name, a.status, a.header.Get("Location"))
		}
		answer = c.answer
		p.pass(16 * time.Minute)
		if a := b.whoAmI(); a.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, a.status, c.status, a.body)
		}
	}
}

// TestStreamEndsWithSession checks that what a session watches ends with it.
func TestStreamEndsWithSession(t *testing.T) {
	p := newPortal(t)
	b := p.browser()
	b.signIn(dana)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	message := `{"tenant":"acme"}`
	body := string([]byte{0, 0, 0, 0, byte(len(message))}) + message
	req, err := http.NewRequestWithContext(ctx, "POST", p.url+"/muniment.v1.LedgerService/WatchEntries", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "portal.test"
	req.Header.Set("Content-Type", "application/connect+json")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.AddCookie(&http.Cookie{Name: cookieKey, Value: b.cookies[cookieKey]})
	res, err := p.h1.Do(req)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	p.append("acme", "before")
	if text, err := lines.ReadString('}'); err != nil {
		t.Fatalf("the first message: %q, %v", text, err)
	}
	if a := b.do("POST", "/portal/signout", ""); a.status != 200 {
		t.Fatalf("sign-out: status %d", a.status)
	}
	p.append("acme", "after")
	var rest strings.Builder
	if _, err := lines.WriteTo(&rest); err != nil || !strings.Contains(rest.String(), "the session has ended") {
		t.Errorf("after the sign-out: %v: %s", err, rest.String())
	}
}

// TestSessionsAreShared checks that the sessions of one person, or of the
// tokens of one tenant, do not end those of others.
func TestSessionsAreShared(t *testing.T) {
	p := newPortal(t)
	quiet := p.browser()
	quiet.signIn(dana)
	for range 3 { // as many as the limit of one, three times
		for range 16 {
			p.pass(time.Second)
			if a := p.browser().do("POST", "/portal/token", `{"token":"`+acmeToken+`"}`); a.status != 200 {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
		}
	}
	if a := quiet.whoAmI(); a.status != 200 {
		t.Errorf("another person's session: status %d: %s", a.status, a.body)
	}
	if !strings.Contains(p.metrics(), "muniment_portal_sessions 17\n") {
		t.Error("one token has more than 16 sessions")
	}
}

// TestProxiedAttempts checks that people behind a trusted proxy have a limit
// each, and that no other caller can choose whose limit counts.
func TestProxiedAttempts(t *testing.T) {
	attempts := func(p *portalRig, from func(i int) string) (refused int) {
		for i := range 70 {
			if a := p.browser().do("POST", "/portal/token", `{"token":"mnt_acme_guess"}`, "X-Forwarded-For", from(i)); a.status == http.StatusTooManyRequests {
				refused++
			}
		}
		return refused
	}
	one := func(int) string { return "198.51.100.1" }
	each := func(i int) string { return fmt.Sprintf("198.51.100.%d", i) }
	proxied := func(c *api.Config, _ *oidc.Issuer) {
		c.Portal.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	if n := attempts(newPortal(t), each); n == 0 {
		t.Error("a client that nobody trusts chooses its address")
	}
	p := newPortal(t, proxied)
	if n := attempts(p, one); n == 0 {
		t.Error("one client of a proxy has no limit")
	}
	if n := attempts(p, func(i int) string { return each(i) + ", 198.51.100.1" }); n < 60 {
		t.Errorf("a client evades its limit by what it sends itself: %d refused", n)
	}
	if n := attempts(p, each); n > 1 {
		t.Errorf("%d clients of a proxy are refused because of another", n)
	}
}

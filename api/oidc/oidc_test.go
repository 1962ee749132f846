package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"muniment.dev/muniment/api/oidc/oidctest"
)

const audience = "https://ledger.test"

// start returns an issuer and a verifier of its tokens, with a clock of their
// own.
func start(t *testing.T, edit func(*Issuer)) (*oidctest.Issuer, *Verifier, *clock) {
	t.Helper()
	c := &clock{at: time.Date(2026, 4, 19, 12, 0, 0, 0, time.UTC)}
	i := oidctest.Start()
	t.Cleanup(i.Close)
	i.Now = c.now
	is := Issuer{URL: i.URL, Audiences: []string{audience, "ledger.test"}}
	if edit != nil {
		edit(&is)
	}
	v, err := New([]Issuer{is}, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return i, v, c
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestGoodTokens(t *testing.T) {
	i, v, c := start(t, nil)
	for name, raw := range map[string]string{
		"RS256":                 i.Token(map[string]any{"aud": audience}),
		"ES256":                 i.Sign("ES256", i.Claims(map[string]any{"aud": "ledger.test"})),
		"a list of one":         i.Token(map[string]any{"aud": []string{audience}}),
		"a clock that is ahead": i.Token(map[string]any{"aud": audience, "iat": c.now().Add(50 * time.Second).Unix(), "nbf": c.now().Add(50 * time.Second).Unix()}),
		"just expired":          i.Token(map[string]any{"aud": audience, "exp": c.now().Add(-50 * time.Second).Unix()}),
		"without iat, nbf":      i.Token(map[string]any{"aud": audience, "iat": nil, "nbf": nil}),
	} {
		tok, err := v.Verify(context.Background(), raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if tok.Issuer != i.URL || tok.Subject != "job" || tok.ID == "" {
			t.Errorf("%s: %+v", name, tok)
		}
	}
	if n := i.Fetches.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

// The ID of a token without jti does not depend on its signature, which can be
// written in several ways.
func TestIDWithoutJTI(t *testing.T) {
	i, v, _ := start(t, nil)
	claims := i.Claims(map[string]any{"aud": audience, "jti": nil})
	a, errA := v.Verify(context.Background(), i.Sign("ES256", claims))
	b, errB := v.Verify(context.Background(), i.Sign("ES256", claims))
	if errA != nil || errB != nil || a.ID != b.ID || !strings.HasPrefix(a.ID, "sha256:") {
		t.Errorf("%+v, %v; %+v, %v", a, errA, b, errB)
	}
}

func TestBadTokens(t *testing.T) {
	i, v, c := start(t, nil)
	at := func(d time.Duration) int64 { return c.now().Add(d).Unix() }
	ok := map[string]any{"aud": audience}
	with := func(extra map[string]any) map[string]any {
		all := map[string]any{"aud": audience}
		for k, v := range extra {
			all[k] = v
		}
		return i.Claims(all)
	}
	good := i.Token(ok)
	parts := strings.Split(good, ".")
	payload, err := json.Marshal(i.Claims(ok))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	rsaKey, kid := i.Key("RS256")
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	other := oidctest.Start()
	t.Cleanup(other.Close)
	other.Now = c.now
	otherKey, _ := other.Key("RS256")
	ecKey, ecID := i.Key("ES256")
	for _, bad := range []struct{ name, token, want string }{
		{"empty", "", "not a signed JWT"},
		{"not a JWT", "mnt_acme_secret", "not a signed JWT"},
		{"encrypted", parts[0] + "." + parts[1] + "." + parts[2] + "..", "not a signed JWT"},
		{"huge", strings.Repeat("a", MaxTokenBytes+1), "more than 16384"},
		{"not base64url", parts[0] + "." + parts[1] + "=." + parts[2], "part 2 of the JWT is not base64url"},
		{"a line break", parts[0] + ".\n" + parts[1] + "." + parts[2], "part 2 of the JWT is not base64url"},
		{"not JSON", i.Sign("RS256", []byte("{")), "payload is not JSON"},
		{"a list", i.Sign("RS256", []byte("[]")), "payload is not a JSON object"},
		{"null", i.Sign("RS256", []byte("null")), "payload is not a JSON object"},
		{"deep", i.Sign("RS256", []byte(strings.Repeat("[", 11000))), "payload is not JSON"},
		{"a claim twice", i.Sign("RS256", append([]byte(`{"sub":"admin",`), payload[1:]...)), "has a duplicate member"},
		{"a claim in another case", i.Sign("RS256", with(map[string]any{"Sub": "admin"})), `a member "Sub"`},
		{"unknown issuer", other.Token(ok), "is not accepted by this ledger"},
		{"no issuer", i.Token(map[string]any{"aud": audience, "iss": nil}), `its issuer "" is not accepted`},
		{"the issuer with a slash", i.Token(map[string]any{"aud": audience, "iss": i.URL + "/"}), "is not accepted by this ledger"},
		{"alg none", b64([]byte(`{"alg":"none"}`)) + "." + b64(payload) + ".", `algorithm "none" is not accepted`},
		{"alg None", b64([]byte(`{"alg":"None"}`)) + "." + b64(payload) + "." + parts[2], `algorithm "None" is not accepted`},
		{"no alg", b64([]byte(`{}`)) + "." + b64(payload) + "." + parts[2], `algorithm "" is not accepted`},
		{"HS256 under the public key", oidctest.SignWith(jose.HS256, public, kid, payload), `algorithm "HS256" is not accepted`},
		{"HS256 under the public key's DER", oidctest.SignWith(jose.HS256, der, kid, payload), `algorithm "HS256" is not accepted`},
		{"signed with another key", oidctest.SignWith(jose.RS256, otherKey, kid, payload), "its signature is wrong"},
		{"a key that it brings along", embedded(t, other, payload), "its signature is wrong"},
		{"RS256 that names the P-256 key", oidctest.SignWith(jose.RS256, rsaKey, ecID, payload), "its signature is wrong"},
		{"unknown key", oidctest.SignWith(jose.RS256, rsaKey, "what", payload), `has no key "what"`},
		{"an unknown critical header", b64([]byte(`{"alg":"RS256","kid":"`+kid+`","crit":["x"],"x":1}`)) + "." + parts[1] + "." + parts[2], "refused"},
		{"changed payload", parts[0] + "." + b64(payload) + "." + parts[2], "its signature is wrong"},
		{"no signature", parts[0] + "." + parts[1] + ".", "refused"},
		{"another audience", i.Token(map[string]any{"aud": "sigstore"}), `for the audience "sigstore": ask the issuer for a token for https://ledger.test or ledger.test only`},
		{"several audiences", i.Token(map[string]any{"aud": []string{audience, "sigstore"}}), `for the audience "sigstore"`},
		{"no audience", i.Token(nil), "no audience"},
		{"an empty list of audiences", i.Token(map[string]any{"aud": []string{}}), "no audience"},
		{"an audience that is a number", i.Token(map[string]any{"aud": 1}), "idToken.aud"},
		{"expired", i.Token(map[string]any{"aud": audience, "exp": at(-time.Minute)}), "it expired at 2026-04-19T11:59:00Z"},
		{"never expires", i.Token(map[string]any{"aud": audience, "exp": nil}), "never expires"},
		{"exp is text", i.Token(map[string]any{"aud": audience, "exp": "tomorrow"}), "refused"},
		{"exp is far", i.Token(map[string]any{"aud": audience, "exp": 1e300}), "refused"},
		{"lives too long", i.Token(map[string]any{"aud": audience, "exp": at(25 * time.Hour)}), "longer than 24h0m0s"},
		{"not yet valid", i.Token(map[string]any{"aud": audience, "nbf": at(2 * time.Minute)}), "not valid before 2026-04-19T12:02:00Z (nbf)"},
		{"made in the future", i.Token(map[string]any{"aud": audience, "iat": at(2 * time.Minute)}), "(iat)"},
		{"no subject", i.Token(map[string]any{"aud": audience, "sub": nil}), "its subject"},
		{"a subject with a line break", i.Token(map[string]any{"aud": audience, "sub": "a\nb"}), "its subject"},
		{"a long subject", i.Token(map[string]any{"aud": audience, "sub": strings.Repeat("x", 1025)}), "its subject"},
		{"jti is a number", i.Token(map[string]any{"aud": audience, "jti": 7}), "its ID (jti)"},
		{"jti is empty", i.Token(map[string]any{"aud": audience, "jti": ""}), "its ID (jti)"},
	} {
		c.pass(retryAfter) // unknown keys may be looked for again
		_, err := v.Verify(context.Background(), bad.token)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %s", bad.name, err, bad.want)
		}
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("%s: the error has %d bytes", bad.name, len(err.Error()))
		}
		c.pass(-retryAfter)
	}
	// A P-256 signature has a second valid form. A token with it is the same
	// token, with the same ID.
	raw := i.Sign("ES256", i.Claims(ok))
	sig, err := base64.RawURLEncoding.DecodeString(raw[strings.LastIndex(raw, ".")+1:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(ecKey.Public().(*ecdsa.PublicKey).Params().N, s).FillBytes(sig[32:])
	a, errA := v.Verify(context.Background(), raw)
	b, errB := v.Verify(context.Background(), raw[:strings.LastIndex(raw, ".")+1]+b64(sig))
	if errA != nil || errB != nil || a.ID != b.ID {
		t.Errorf("the other form of the signature: %v, %v", errA, errB)
	}
}

// embedded returns a token that is signed with a key in its own header.
func embedded(t *testing.T, i *oidctest.Issuer, payload []byte) string {
	t.Helper()
	k, id := i.Key("RS256")
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k, KeyID: id}}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestKeyRotation(t *testing.T) {
	i, v, c := start(t, nil)
	verify := func() error {
		_, err := v.Verify(context.Background(), i.Token(map[string]any{"aud": audience}))
		return err
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	old := i.Token(map[string]any{"aud": audience})
	c.pass(time.Second)
	i.Rotate()
	if err := verify(); !errors.Is(err, ErrRefused) || i.Fetches.Load() != 1 {
		t.Errorf("just after a fetch, another one was made: %v, %d fetches", err, i.Fetches.Load())
	}
	c.pass(retryAfter)
	if err := verify(); err != nil {
		t.Errorf("the new keys are not seen: %v", err)
	}
	if _, err := v.Verify(context.Background(), old); !errors.Is(err, ErrRefused) {
		t.Errorf("a withdrawn key is still good: %v", err)
	}
	// Unknown keys do not make us flood the issuer.
	key, _ := i.Key("RS256")
	payload, _ := json.Marshal(i.Claims(nil))
	before := i.Fetches.Load()
	for n := range 100 {
		_, _ = v.Verify(context.Background(), oidctest.SignWith(jose.RS256, key, fmt.Sprint("unknown ", n), payload))
	}
	if n := i.Fetches.Load() - before; n > 1 {
		t.Errorf("100 unknown keys made %d fetches", n)
	}
}

// The jwks_uri of Azure AD B2C names the user flow in a query.
func TestKeysURLWithQuery(t *testing.T) {
	i, v, _ := start(t, nil)
	i.KeysQuery = "p=b2c_1_signin"
	if _, err := v.Verify(context.Background(), i.Token(map[string]any{"aud": audience})); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "keys?p=1", "http://ci.example/keys?p=1", "https://u:p@ci.example/keys", "https://ci.example/keys#1", "https:///keys?p=1"} {
		if err := checkEndpoint(bad); err == nil {
			t.Errorf("%q is the URL of a key set", bad)
		}
	}
}

func TestIssuerInTrouble(t *testing.T) {
	for name, broken := range map[string]http.HandlerFunc{
		"down":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) },
		"garbage": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"empty":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				fmt.Fprint(w, strings.Repeat(" ", 1<<20))
			}
		},
		"too many keys": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"keys":[`+strings.Repeat("{},", 200)+`{}]}`)
		},
		"symmetric keys": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`) },
		"small keys":     func(w http.ResponseWriter, _ *http.Request) { w.Write(smallKey(t)) },
		"redirect to files": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
		"redirect to http": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
		"redirect for ever": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			i, v, c := start(t, nil)
			verify := func() error {
				_, err := v.Verify(context.Background(), i.Token(map[string]any{"aud": audience}))
				return err
			}
			i.Break(broken)
			if err := verify(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v", err)
			}
			i.Break(nil)
			if err := verify(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("it was asked again at once: %v", err)
			}
			c.pass(retryAfter)
			if err := verify(); err != nil {
				t.Errorf("mended: %v", err)
			}
			i.Break(broken)
			c.pass(refreshAfter + time.Second)
			if err := verify(); err != nil {
				t.Errorf("the old keys are not used meanwhile: %v", err)
			}
			c.pass(staleAfter)
			if err := verify(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("the old keys are used for ever: %v", err)
			}
		})
	}
}

func smallKey(t *testing.T) []byte {
	// The checks of Go's own generator would refuse the size.
	n, _ := new(big.Int).SetString(strings.Repeat("f", 256), 16)
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &rsa.PublicKey{N: n, E: 65537}, KeyID: "small"}}})
	if err != nil {
		t.Error(err)
	}
	return data
}

func TestKeysFromFile(t *testing.T) {
	i, _, c := start(t, nil)
	v, err := New([]Issuer{{URL: "https://ci.example", Audiences: []string{audience}, JWKS: i.JWKS()}}, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(context.Background(), i.Token(map[string]any{"aud": audience, "iss": "https://ci.example"})); err != nil || i.Fetches.Load() != 0 {
		t.Errorf("%v, %d fetches", err, i.Fetches.Load())
	}
	c.pass(staleAfter * 10)
	if _, err := v.Verify(context.Background(), i.Token(map[string]any{"aud": audience, "iss": "https://ci.example"})); err != nil {
		t.Error(err)
	}
}

func TestIssuersAreChecked(t *testing.T) {
	aud := []string{audience}
	for want, is := range map[string]Issuer{
		"issuers[0].issuer":            {URL: "http://ci.example", Audiences: aud},
		"is not a URL":                 {URL: "ci.example", Audiences: aud},
		"without a query":              {URL: "https://ci.example?x", Audiences: aud},
		"issuers[0].audience":          {URL: "https://ci.example"},
		"issuers[0].skew":              {URL: "https://ci.example", Audiences: aud, Skew: time.Hour},
		`unknown algorithm "none"`:     {URL: "https://ci.example", Audiences: aud, Algorithms: []string{"none"}},
		`unknown algorithm "HS256"`:    {URL: "https://ci.example", Audiences: aud, Algorithms: []string{"RS256", "HS256"}},
		"issuers[0].jwks_file":         {URL: "https://ci.example", Audiences: aud, JWKS: []byte("{}")},
		"unknown provider \"jenkins\"": {URL: "https://ci.example", Audiences: aud, Provider: "jenkins"},
	} {
		if _, err := New([]Issuer{is}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", is, err, want)
		}
	}
	if _, err := New([]Issuer{{URL: "https://a.example", Audiences: aud}, {URL: "https://a.example", Audiences: aud}}, Options{}); err == nil || !strings.Contains(err.Error(), "duplicate issuer") {
		t.Error(err)
	}
}

func TestRules(t *testing.T) {
	type claims = map[string]string
	for _, c := range []struct {
		provider string
		claims   claims
		err      string
		warns    bool
	}{
		{"github", claims{"repository_id": "74", "ref": "refs/tags/v*"}, "", false},
		{"github", claims{"repository_owner_id": "7"}, "", false},
		{"github", claims{"repository": "acme/app"}, "none is permanently bound to its owner, and names can be taken over by others: add one of repository_id", false},
		{"github", claims{"sub": "repo:acme/app:ref:refs/heads/main"}, "none is permanently bound to its owner", false},
		{"github", claims{"repository_id": "7*"}, "must be an exact value", false},
		{"github", nil, "would match every token", false},
		{"gitlab", claims{"project_path": "acme/app"}, "add one of project_id", false},
		{"gitlab", claims{"project_id": "22", "ref_protected": "true"}, "", false},
		{"kubernetes", claims{"sub": "system:serviceaccount:ci:build"}, "/kubernetes.io/serviceaccount/uid", false},
		{"kubernetes", claims{"/kubernetes.io/serviceaccount/uid": "u"}, "", false},
		{"", claims{"sub": "1234"}, "", false},
		{"", claims{"sub": "*"}, "must be an exact value", false},
		{"", claims{"email": "ci@acme.example"}, "", true},
		{"", claims{"email": "*@acme.example"}, "every value contains *", false},
		{"", claims{"aud": audience}, "does not identify the holder", false},
		{"", claims{"sub": ""}, "must not be empty", false},
	} {
		r := Rule{Claims: c.claims}
		warning, err := r.Check(c.provider)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || (warning != "") != c.warns {
			t.Errorf("%s %v: %q, %v", c.provider, c.claims, warning, err)
		}
	}
	tok := &Token{Issuer: "https://ci.example"}
	var err error
	tok.claims, err = object([]byte(`{"repository_id":"74","ref":"refs/heads/release/1.7","run":12345678901234567890,"protected":true,"groups":["dev","ops"],
		"kubernetes.io":{"serviceaccount":{"uid":"u-1"},"a/b":{"~":"x"}},"null":null,"object":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		claims claims
		differ string
	}{
		{claims{"repository_id": "74"}, ""},
		{claims{"repository_id": "7"}, "repository_id"},
		{claims{"repository_id": "74", "ref": "refs/heads/*"}, "ref"},
		{claims{"repository_id": "74", "ref": "refs/heads/*/1.*"}, ""},
		{claims{"run": "12345678901234567890"}, ""},
		{claims{"protected": "true"}, ""},
		{claims{"groups": "ops"}, ""},
		{claims{"groups": "o*"}, "groups"},
		{claims{"/kubernetes.io/serviceaccount/uid": "u-1"}, ""},
		{claims{"/kubernetes.io/serviceaccount/uid": "u-2"}, "/kubernetes.io/serviceaccount/uid"},
		{claims{"/kubernetes.io/a~1b/~0": "x"}, ""},
		{claims{"/repository_id/x": "74"}, "/repository_id/x"},
		{claims{"null": "null"}, "null"},
		{claims{"null": "*"}, "null"},
		{claims{"object": "*"}, "object"},
		{claims{"missing": "*"}, "missing"},
	} {
		r := Rule{Issuer: "https://ci.example", Claims: c.claims}
		if ok, differ := r.Match(tok); ok != (c.differ == "") || differ != c.differ {
			t.Errorf("%v: %t, %q", c.claims, ok, differ)
		}
	}
	if ok, _ := (&Rule{Issuer: "https://other.example", Claims: claims{"repository_id": "74"}}).Match(tok); ok {
		t.Error("a rule of another issuer matches")
	}
}

// Only the algorithms configured for an issuer are accepted.
func TestAlgorithmsOfAnIssuer(t *testing.T) {
	i, v, _ := start(t, func(is *Issuer) { is.Algorithms = []string{"ES256"} })
	if _, err := v.Verify(context.Background(), i.Token(map[string]any{"aud": audience})); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `"RS256" is not accepted: use ES256`) {
		t.Error(err)
	}
	if _, err := v.Verify(context.Background(), i.Sign("ES256", i.Claims(map[string]any{"aud": audience}))); err != nil {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	i := oidctest.Start()
	f.Cleanup(i.Close)
	v, err := New([]Issuer{{URL: "https://ci.example", Audiences: []string{audience}, JWKS: i.JWKS()}}, Options{})
	if err != nil {
		f.Fatal(err)
	}
	good := i.Token(map[string]any{"iss": "https://ci.example", "aud": audience})
	f.Add(good)
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := v.Verify(context.Background(), raw)
		if err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", raw, err)
		}
		if err == nil && raw != good {
			t.Errorf("%q is good: %+v", raw, tok)
		}
	})
}

// Package oidctest runs an OpenID Connect issuer on loopback that stands in for
// a CI system in tests.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// An Issuer serves its discovery document and its keys. Like GitHub Actions, it
// also issues tokens to authorized jobs.
type Issuer struct {
	URL string
	// RequestToken authorizes a job at URL/github?audience=… to get a token
	// with the claims of Job.
	RequestToken string
	Job          map[string]any
	Now          func() time.Time
	Fetches      atomic.Int64 // number of key fetches
	KeysQuery    string       // query of the jwks_uri; the keys are served only with it
	// TokenEndpoint answers the token requests of sign-ins; nil: there is none.
	TokenEndpoint http.HandlerFunc
	// ReturnsIssuer claims that authorization responses contain iss.
	ReturnsIssuer bool

	server *httptest.Server
	mu     sync.Mutex
	keys   []key
	broken http.HandlerFunc // replaces the key set's handler
}

type key struct {
	id     string
	alg    jose.SignatureAlgorithm
	signer crypto.Signer
}

// Start starts an issuer with one RSA and one P-256 key. The caller must call
// Close.
func Start() *Issuer {
	i := &Issuer{RequestToken: rand.Text(), Now: time.Now}
	i.Rotate()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		keys := url.URL{Path: "/keys", RawQuery: i.KeysQuery}
		d := map[string]any{"issuer": i.URL, "jwks_uri": i.URL + keys.String(), "id_token_signing_alg_values_supported": []string{"RS256", "ES256"}}
		if i.TokenEndpoint != nil {
			d["authorization_endpoint"], d["token_endpoint"], d["authorization_response_iss_parameter_supported"] = i.URL+"/authorize", i.URL+"/token", i.ReturnsIssuer
		}
		write(w, d)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { i.TokenEndpoint(w, r) })
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		i.Fetches.Add(1)
		if r.URL.RawQuery != i.KeysQuery {
			http.NotFound(w, r)
			return
		}
		i.mu.Lock()
		broken := i.broken
		i.mu.Unlock()
		if broken != nil {
			broken(w, r)
			return
		}
		w.Write(i.JWKS())
	})
	mux.HandleFunc("GET /github", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+i.RequestToken {
			http.Error(w, "unauthorized job", http.StatusForbidden)
			return
		}
		claims := maps.Clone(i.Job)
		claims["aud"] = r.URL.Query().Get("audience")
		write(w, map[string]any{"value": i.Token(claims)})
	})
	i.server = httptest.NewServer(mux)
	i.URL = i.server.URL
	return i
}

// Close stops the issuer.
func (i *Issuer) Close() { i.server.Close() }

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error means that the client is gone
}

// Break makes the handler answer requests for the keys. Nil ends that.
func (i *Issuer) Break(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.broken = h
}

// Rotate replaces all keys.
func (i *Issuer) Rotate() {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = []key{{"rsa-" + rand.Text(), jose.RS256, r}, {"ec-" + rand.Text(), jose.ES256, e}}
}

// JWKS returns the public keys.
func (i *Issuer) JWKS() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range i.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.id, Algorithm: string(k.alg), Use: "sig"})
	}
	out, err := json.Marshal(set)
	check(err)
	return out
}

// Key returns the private key for an algorithm, RS256 or ES256, and its ID.
func (i *Issuer) Key(alg string) (crypto.Signer, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, k := range i.keys {
		if string(k.alg) == alg {
			return k.signer, k.id
		}
	}
	panic("no key for " + alg)
}

// Claims returns claims with the defaults that every token has: an issuer, a
// subject, an expiry in ten minutes and an ID. A nil value omits a claim.
func (i *Issuer) Claims(claims map[string]any) map[string]any {
	now := i.Now().Unix()
	all := map[string]any{"iss": i.URL, "sub": "job", "iat": now, "nbf": now, "exp": now + 600, "jti": rand.Text()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// Token returns a token signed with RS256.
func (i *Issuer) Token(claims map[string]any) string { return i.Sign("RS256", i.Claims(claims)) }

// Sign returns a token with exactly these claims, which can also be raw bytes.
func (i *Issuer) Sign(alg string, claims any) string {
	payload, ok := claims.([]byte)
	if !ok {
		var err error
		payload, err = json.Marshal(claims)
		check(err)
	}
	k, id := i.Key(alg)
	return SignWith(jose.SignatureAlgorithm(alg), k, id, payload)
}

// SignWith signs with any key.
func SignWith(alg jose.SignatureAlgorithm, key any, id string, payload []byte) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, (&jose.SignerOptions{}).WithType("JWT"))
	check(err)
	jws, err := s.Sign(payload)
	check(err)
	out, err := jws.CompactSerialize()
	check(err)
	return out
}

func check(err error) {
	if err != nil {
		panic(fmt.Sprint("oidctest: ", err))
	}
}

package oidc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"muniment.dev/muniment/internal/bounded"
)

// A SignIn makes an issuer a provider with which people sign in.
type SignIn struct {
	Name        string   // in URLs and logs
	DisplayName string   // shown to people
	ClientID    string   // of the ledger at the provider
	Secret      string   // "" for a public client
	Scopes      []string // must contain openid
}

// Errors of Finish and Refresh, besides ErrRefused and ErrUnavailable.
var (
	// ErrDenied means that the person or the provider has declined.
	ErrDenied = errors.New("the provider declined the sign-in")
	// ErrEnded means that the provider does not confirm the person any more.
	ErrEnded = errors.New("the provider has ended the sign-in")
)

// ErrNoProvider means that no provider has the name.
var ErrNoProvider = errors.New("no such sign-in provider")

const (
	maxParameter     = 4 << 10  // bytes of a code, state or token type
	maxTokenResponse = 64 << 10 // bytes
	maxRefreshToken  = 8 << 10  // bytes
)

var providerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (s *SignIn) check() error {
	switch {
	case !providerName.MatchString(s.Name):
		return fmt.Errorf("name: %q is not 1 to 32 of a-z, 0-9 and -, with a letter or digit at both ends", s.Name)
	case s.ClientID == "" || len(s.ClientID) > maxNameLen:
		return errors.New("client_id: must have 1 to 1024 characters")
	case !slices.Contains(s.Scopes, "openid"):
		return errors.New("scopes: must contain openid: without it the provider issues no identity token")
	case slices.ContainsFunc(s.Scopes, func(x string) bool { return x == "" || strings.ContainsAny(x, " \"\\") || !printable(x) }):
		return errors.New("scopes: must not be empty or contain spaces, quotes or backslashes")
	case len(s.DisplayName) > 100 || !printable(s.DisplayName):
		return errors.New("display_name: must have at most 100 bytes and no control characters")
	}
	return nil
}

// A provider is an issuer with which people sign in. It caches the issuer's
// metadata as a keySet caches its keys.
type provider struct {
	issuer *issuer
	client *http.Client
	now    func() time.Time

	flight  singleflight.Group
	mu      sync.Mutex // guards the rest
	known   *metadata
	fetched time.Time // when the metadata was fetched; zero: never
	tried   time.Time
	failure error // of the last fetch
}

// Providers returns the providers with which people can sign in.
func (v *Verifier) Providers() (all []SignIn) {
	if v == nil {
		return nil
	}
	for _, p := range v.providers {
		all = append(all, SignIn{Name: p.issuer.SignIn.Name, DisplayName: p.issuer.SignIn.DisplayName})
	}
	return all
}

func (v *Verifier) provider(name string) *provider {
	if v == nil {
		return nil
	}
	for _, p := range v.providers {
		if p.issuer.SignIn.Name == name {
			return p
		}
	}
	return nil
}

// An Attempt is a sign-in under way. It must stay with the browser that began
// it, which must not be able to read or change it.
type Attempt struct {
	Provider string
	Issuer   string // of the provider when the attempt began
	Redirect string // the redirect URI
	State    string // binds the response to the browser
	Nonce    string // binds the identity token to the attempt
	Verifier string // binds the code to the attempt (RFC 7636)
}

// Begin returns an attempt to sign in with the provider, and the URL to send
// the browser to.
func (v *Verifier) Begin(ctx context.Context, name, redirect string) (*Attempt, string, error) {
	p := v.provider(name)
	if p == nil {
		return nil, "", ErrNoProvider
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, "", err
	}
	address, err := url.Parse(m.Authorization)
	if err != nil {
		return nil, "", fmt.Errorf("%w: authorization_endpoint: not a URL", ErrUnavailable)
	}
	a := &Attempt{Provider: name, Issuer: p.issuer.URL, Redirect: redirect, State: secret(), Nonce: secret(), Verifier: secret()}
	challenge := sha256.Sum256([]byte(a.Verifier))
	q := address.Query()
	for key, value := range map[string]string{
		"response_type": "code", "client_id": p.issuer.SignIn.ClientID, "redirect_uri": redirect, "scope": strings.Join(p.issuer.SignIn.Scopes, " "),
		"state": a.State, "nonce": a.Nonce, "code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	} {
		q.Set(key, value)
	}
	address.RawQuery = q.Encode()
	return a, address.String(), nil
}

// secret returns 256 random bits, as 43 characters.
func secret() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// A Person is the result of a sign-in.
type Person struct {
	*Token
	Refresh string // the refresh token; "" if the provider gave none
}

// Finish completes an attempt with the parameters of the provider's response.
func (v *Verifier) Finish(ctx context.Context, a *Attempt, response url.Values) (*Person, error) {
	p := v.provider(a.Provider)
	if p == nil || p.issuer.URL != a.Issuer {
		return nil, ErrNoProvider
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	code, err := a.code(m, response)
	if err != nil {
		return nil, err
	}
	tokens, err := p.request(ctx, m, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {a.Redirect}, "code_verifier": {a.Verifier}})
	if err != nil {
		return nil, err
	}
	if tokens.ID == "" {
		return nil, refusef("the provider issued none")
	}
	t, err := v.verifyPerson(ctx, p, tokens.ID)
	if err != nil {
		return nil, err
	}
	if nonce, _ := t.claims["nonce"].(string); subtle.ConstantTimeCompare([]byte(nonce), []byte(a.Nonce)) != 1 {
		return nil, refusef("its nonce is not that of this sign-in")
	}
	return &Person{t, tokens.Refresh}, nil
}

// code returns the code of the provider's response, if the response belongs to
// the attempt. A parameter must not be repeated (RFC 6749, section 3.1).
func (a *Attempt) code(m *metadata, response url.Values) (string, error) {
	for _, name := range []string{"state", "code", "iss", "error"} {
		if v := response[name]; len(v) > 1 || len(v) == 1 && len(v[0]) > maxParameter {
			return "", refusef("the response has several values of %s, or a long one", name)
		}
	}
	if subtle.ConstantTimeCompare([]byte(response.Get("state")), []byte(a.State)) != 1 {
		return "", refusef("the response is not for this sign-in (state)")
	}
	// RFC 9207, section 2.4: this defeats a provider that passes a response of
	// its own off as another's.
	if iss := response.Get("iss"); iss != a.Issuer && (iss != "" || m.ReturnsIssuer) {
		return "", refusef("the response is of the issuer %.300q, not of %s", iss, a.Issuer)
	}
	if response.Has("error") {
		return "", fmt.Errorf("%w: %.100q", ErrDenied, response.Get("error"))
	}
	if response.Get("code") == "" {
		return "", refusef("the response has no code")
	}
	return response.Get("code"), nil
}

// verifyPerson verifies an identity token that the provider issued to the
// ledger (OpenID Connect Core 1.0, section 3.1.3.7).
func (v *Verifier) verifyPerson(ctx context.Context, p *provider, raw string) (*Token, error) {
	client := p.issuer.SignIn.ClientID
	return v.verify(ctx, raw, func(is *issuer, t *Token) error {
		if is != p.issuer {
			return refusef("its issuer %.300q is not the provider", t.Issuer)
		}
		if !slices.Contains(audiences(t.claims["aud"]), client) {
			return refusef("its audience (aud) is not the client %.300q", client)
		}
		if azp, ok := t.claims["azp"]; ok && azp != client {
			return refusef("it was issued to another client (azp)")
		}
		return checkAudience(t.claims["aud"], append([]string{client}, is.Audiences...))
	})
}

// Refresh asks the provider whether the person is still signed in there. The
// result has the claims that the provider now states, or those of before if it
// issues no new identity token. ErrEnded means that it does not confirm the
// person; after any other error, the caller can retry.
func (v *Verifier) Refresh(ctx context.Context, name string, before *Person) (*Person, error) {
	p := v.provider(name)
	if p == nil || p.issuer.URL != before.Issuer {
		return nil, fmt.Errorf("%w: %w", ErrEnded, ErrNoProvider)
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	tokens, err := p.request(ctx, m, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {before.Refresh}})
	if errors.Is(err, ErrRefused) {
		return nil, fmt.Errorf("%w: %w", ErrEnded, err)
	}
	if err != nil {
		return nil, err
	}
	after := &Person{before.Token, before.Refresh}
	if tokens.Refresh != "" {
		after.Refresh = tokens.Refresh
	}
	if tokens.ID == "" {
		return after, nil
	}
	if after.Token, err = v.verifyPerson(ctx, p, tokens.ID); err != nil {
		if errors.Is(err, ErrRefused) {
			err = fmt.Errorf("%w: %w", ErrEnded, err)
		}
		return nil, err
	}
	if after.Subject != before.Subject {
		return nil, fmt.Errorf("%w: the new identity token is another person's", ErrEnded)
	}
	return after, nil
}

// A tokenResponse is the answer of a token endpoint (OpenID Connect Core 1.0,
// section 3.1.3.3).
type tokenResponse struct {
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
}

// request sends a form to the token endpoint. Errors never contain the answer,
// in which there may be tokens, except for its error code.
func (p *provider) request(ctx context.Context, m *metadata, form url.Values) (*tokenResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	// RFC 6749, section 2.3.1: every provider must support Basic.
	s := p.issuer.SignIn
	basic := s.Secret != "" && (len(m.Methods) == 0 || slices.Contains(m.Methods, "client_secret_basic") || !slices.Contains(m.Methods, "client_secret_post"))
	if !basic {
		form.Set("client_id", s.ClientID)
		if s.Secret != "" {
			form.Set("client_secret", s.Secret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: token_endpoint: not a URL", ErrUnavailable)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic {
		req.SetBasicAuth(url.QueryEscape(s.ClientID), url.QueryEscape(s.Secret))
	}
	// A redirect would send the code and the secret elsewhere.
	client := *p.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: the token endpoint: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	body, err := bounded.ReadAll(res.Body, maxTokenResponse)
	if err != nil {
		return nil, fmt.Errorf("%w: the token endpoint: %w", ErrUnavailable, err)
	}
	t := &tokenResponse{}
	malformed := json.Unmarshal(body, t) != nil
	switch {
	case res.StatusCode == http.StatusOK && !malformed && t.Error == "" && len(t.Refresh) <= maxRefreshToken:
		return t, nil
	case res.StatusCode == http.StatusOK:
		return nil, refusef("the token endpoint's answer is not that of a provider")
	case t.Error == "invalid_grant": // RFC 6749, section 5.2
		return nil, refusef("the provider does not accept the code or the refresh token (%.100q)", t.Error)
	}
	return nil, fmt.Errorf("%w: the token endpoint returned %d, error %.100q", ErrUnavailable, res.StatusCode, t.Error)
}

// metadata returns the issuer's metadata. It fetches it first if it is too old.
func (p *provider) metadata(ctx context.Context) (*metadata, error) {
	if m, err := p.cached(); m != nil || err != nil {
		return m, err
	}
	// One fetch at a time, which outlives the caller that happened to start it.
	done := p.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		m, err := discover(ctx, p.client, p.issuer.URL)
		if err == nil {
			err = errors.Join(checkEndpoint(m.Authorization), checkEndpoint(m.Token))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tried, p.failure = p.now(), err
		if err == nil {
			p.known, p.fetched = m, p.tried
		}
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usable()
}

// cached returns the metadata if it is fresh, or if a fetch has just failed.
// It returns nil if it must be fetched.
func (p *provider) cached() (*metadata, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	fresh := p.known != nil && now.Sub(p.fetched) <= refreshAfter
	if fresh || p.failure != nil && now.Sub(p.tried) < retryAfter {
		return p.usable()
	}
	return nil, nil
}

// usable returns the metadata unless it is stale. The caller holds p.mu.
func (p *provider) usable() (*metadata, error) {
	if p.known == nil || p.now().Sub(p.fetched) > staleAfter {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, p.issuer.URL, p.failure)
	}
	return p.known, nil
}

// DisplayName returns a name by which the token's issuer calls the person, or
// "". It is not an identity.
func (t *Token) DisplayName() string {
	for _, claim := range []string{"name", "preferred_username", "email"} {
		if s, _ := t.claims[claim].(string); s != "" && len(s) <= 200 && printable(s) {
			return s
		}
	}
	return ""
}

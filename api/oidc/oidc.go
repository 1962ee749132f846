// Package oidc verifies identity tokens of CI systems, clusters and people
// (OpenID Connect Core 1.0, section 2) and matches them with rules.
//
// Jobs bring their tokens. For people, it obtains them from a provider by the
// authorization code flow (section 3.1). It keeps no sessions, and does not
// remember the tokens it has verified.
package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json/jsontext"
)

var (
	// ErrRefused means that a token is invalid, or not accepted by this server.
	ErrRefused = errors.New("the identity token is refused")
	// ErrUnavailable means that the issuer does not answer as it must: a token
	// cannot be verified without its keys. The caller can retry later.
	ErrUnavailable = errors.New("the issuer is not available")
)

const (
	// MaxTokenBytes is the size limit of a token in bytes.
	MaxTokenBytes = 16 << 10
	// MaxLife is the maximum lifetime of a token, and how long used tokens are
	// remembered.
	MaxLife = 24 * time.Hour
	// DefaultSkew and MaxSkew bound the difference between the issuer's clock
	// and the server's.
	DefaultSkew = time.Minute
	MaxSkew     = 5 * time.Minute
	maxNameLen  = 1024 // characters of a subject or token ID
)

// Algorithms lists the signature algorithms that an issuer may use. All have
// public keys (RFC 7518, RFC 8037).
var Algorithms = []string{gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.PS256, gooidc.PS384, gooidc.PS512, gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.EdDSA}

// An Issuer is an identity provider whose tokens are accepted.
type Issuer struct {
	URL        string
	Audiences  []string      // every audience of a token must be one of these
	JWKS       []byte        // its keys, RFC 7517; nil: fetched by discovery
	Algorithms []string      // nil: all of Algorithms
	Skew       time.Duration // 0: DefaultSkew
	// Provider is "github", "gitlab" or "kubernetes", and determines which
	// claims are immutable. "" derives it from the URL.
	Provider string
	SignIn   *SignIn // nil: people cannot sign in with it
}

// A Token is an identity token whose signature and times have been verified.
type Token struct {
	Issuer, Subject string
	ID              string // jti, or the hash of its claims if it has none
	Expires         time.Time
	claims          map[string]any
}

// A Verifier verifies tokens of its issuers. It is safe for concurrent use.
type Verifier struct {
	issuers   map[string]*issuer
	providers []*provider // of people, in the order of the configuration
	now       func() time.Time
}

type issuer struct {
	Issuer
	keys *keySet
}

// Options configure a Verifier. The zero value is valid.
type Options struct {
	Client *http.Client     // for discovery; nil: a client with limits
	Now    func() time.Time // nil: time.Now
}

// New checks the issuers. It does not connect to them.
func New(issuers []Issuer, o Options) (*Verifier, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Client == nil {
		o.Client = boundedClient()
	}
	v := &Verifier{issuers: map[string]*issuer{}, now: o.Now}
	for i := range issuers {
		is := &issuer{Issuer: issuers[i]}
		if err := is.check(); err != nil {
			return nil, fmt.Errorf("issuers[%d].%w", i, err)
		}
		if v.issuers[is.URL] != nil {
			return nil, fmt.Errorf("issuers[%d].issuer: duplicate issuer %q", i, is.URL)
		}
		is.keys = &keySet{issuer: is.URL, client: o.Client, now: o.Now}
		if is.JWKS != nil {
			keys, err := parseKeys(is.JWKS)
			if err != nil {
				return nil, fmt.Errorf("issuers[%d].jwks_file: %w", i, err)
			}
			is.keys.keys, is.keys.fixed = keys, true
		}
		v.issuers[is.URL] = is
		if is.SignIn == nil {
			continue
		}
		if err := is.SignIn.check(); err != nil {
			return nil, fmt.Errorf("issuers[%d].sign_in.%w", i, err)
		}
		if v.provider(is.SignIn.Name) != nil {
			return nil, fmt.Errorf("issuers[%d].sign_in.name: duplicate name %q", i, is.SignIn.Name)
		}
		v.providers = append(v.providers, &provider{issuer: is, client: o.Client, now: o.Now})
	}
	return v, nil
}

func (is *issuer) check() error {
	if err := checkURL(is.URL); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if len(is.Audiences) == 0 || slices.Contains(is.Audiences, "") {
		return errors.New("audience: missing: without it, tokens for other services would be accepted")
	}
	if is.Skew == 0 {
		is.Skew = DefaultSkew
	}
	if is.Skew < 0 || is.Skew > MaxSkew {
		return fmt.Errorf("skew: %s is not between 0 and %s", is.Skew, MaxSkew)
	}
	for _, a := range is.Algorithms {
		if !slices.Contains(Algorithms, a) {
			return fmt.Errorf("algorithms: unknown algorithm %q: use %s", a, strings.Join(Algorithms, ", "))
		}
	}
	if len(is.Algorithms) == 0 {
		is.Algorithms = Algorithms
	}
	if is.Provider == "" {
		is.Provider = providerOf(is.URL)
	}
	if _, ok := immutable[is.Provider]; !ok && is.Provider != "" {
		return fmt.Errorf("provider: unknown provider %q: use github, gitlab or kubernetes", is.Provider)
	}
	return nil
}

// Provider returns an issuer's provider and reports whether the issuer is
// configured.
func (v *Verifier) Provider(issuer string) (string, bool) {
	is, ok := v.issuers[issuer]
	if !ok {
		return "", false
	}
	return is.Provider, true
}

func refusef(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Verify returns the token if its issuer is configured and its signature,
// audience and times are valid. Errors wrap ErrRefused or ErrUnavailable. They
// quote single claims of the token, but never the token.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Token, error) {
	return v.verify(ctx, raw, func(is *issuer, t *Token) error { return checkAudience(t.claims["aud"], is.Audiences) })
}

// verify verifies a token, whose audience the function checks.
func (v *Verifier) verify(ctx context.Context, raw string, checkAudience func(*issuer, *Token) error) (*Token, error) {
	header, payload, err := split(raw)
	if err != nil {
		return nil, err
	}
	head, err := object(header)
	if err != nil {
		return nil, refusef("its header is %s", err)
	}
	claims, err := object(payload)
	if err != nil {
		return nil, refusef("its payload is %s", err)
	}
	t := &Token{claims: claims}
	t.Issuer, _ = claims["iss"].(string)
	is := v.issuers[t.Issuer]
	if is == nil {
		return nil, refusef("its issuer %.300q is not accepted by this ledger", t.Issuer)
	}
	if alg, _ := head["alg"].(string); !slices.Contains(is.Algorithms, alg) {
		return nil, refusef("its algorithm %.40q is not accepted: use %s", alg, strings.Join(is.Algorithms, ", "))
	}
	if err := is.verify(ctx, raw); err != nil {
		return nil, err
	}
	if err := checkAudience(is, t); err != nil {
		return nil, err
	}
	if err := t.checkTimes(v.now(), is.Skew); err != nil {
		return nil, err
	}
	if t.Subject, _ = claims["sub"].(string); t.Subject == "" || len(t.Subject) > maxNameLen || !printable(t.Subject) {
		return nil, refusef("its subject (sub) is missing, longer than %d bytes, or contains control characters", maxNameLen)
	}
	switch id := claims["jti"].(type) {
	case nil: // exclude the signature, which can have several forms
		t.ID = fmt.Sprintf("sha256:%x", sha256.Sum256(payload))
	case string:
		if t.ID = id; id == "" || len(id) > maxNameLen {
			return nil, refusef("its ID (jti) is empty or longer than %d bytes", maxNameLen)
		}
	default:
		return nil, refusef("its ID (jti) is not a string")
	}
	return t, nil
}

// verify checks the signature and the issuer. checkAudience and checkTimes
// check the rest, because they support several audiences and a bounded skew.
func (is *issuer) verify(ctx context.Context, raw string) error {
	keys := &outcome{keySet: is.keys}
	_, err := gooidc.NewVerifier(is.URL, keys, &gooidc.Config{SkipClientIDCheck: true, SkipExpiryCheck: true, SupportedSigningAlgs: is.Algorithms}).Verify(ctx, raw)
	switch {
	case keys.err != nil:
		return keys.err
	case err != nil:
		return refusef("%s", strings.TrimPrefix(err.Error(), "oidc: "))
	}
	return nil
}

// An outcome keeps the error of a key set, of which go-oidc passes on only the
// text.
type outcome struct {
	*keySet
	err error
}

func (o *outcome) VerifySignature(ctx context.Context, raw string) (payload []byte, err error) {
	payload, o.err = o.keySet.VerifySignature(ctx, raw)
	return payload, o.err
}

// split returns the header and payload of a JWS in compact form (RFC 7515,
// section 7.1).
func split(raw string) (header, payload []byte, err error) {
	if len(raw) > MaxTokenBytes {
		return nil, nil, refusef("it has %d bytes, more than %d", len(raw), MaxTokenBytes)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, nil, refusef("it is not a signed JWT, which has three parts separated by dots")
	}
	for i, p := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(p)
		if err != nil || strings.ContainsAny(p, "\r\n") {
			return nil, nil, refusef("part %d of the JWT is not base64url", i+1)
		}
		parts[i] = string(b)
	}
	return []byte(parts[0]), []byte(parts[1]), nil
}

// registered lists the claims that this package reads. Another reader could
// mistake a name that differs only in case for one of them.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "alg", "kid", "crit", "nonce", "azp"}

// object reads a JSON object. It refuses duplicate names, invalid UTF-8 and
// misspelled claims, which two readers could interpret differently.
func object(b []byte) (map[string]any, error) {
	if !jsontext.Value(b).IsValid() {
		return nil, errors.New("not JSON, or it has a duplicate member")
	}
	var m map[string]any
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil || m == nil {
		return nil, errors.New("not a JSON object")
	}
	for name := range m {
		if lower := strings.ToLower(name); lower != name && slices.Contains(registered, lower) {
			return nil, fmt.Errorf("ambiguous: it has a member %q", name)
		}
	}
	return m, nil
}

// audiences returns the values of the claim aud, which is a string or a list.
func audiences(aud any) (all []string) {
	switch a := aud.(type) {
	case string:
		all = []string{a}
	case []any:
		for _, x := range a {
			s, _ := x.(string)
			all = append(all, s)
		}
	}
	return all
}

func checkAudience(aud any, accepted []string) error {
	all, want := audiences(aud), strings.Join(accepted, " or ")
	if len(all) == 0 {
		return refusef("it has no audience (aud): ask the issuer for a token for %s", want)
	}
	for _, a := range all {
		if !slices.Contains(accepted, a) {
			// Refuse it even if it also names this ledger: each of the other
			// audiences could use it here.
			return refusef("it is for the audience %.300q: ask the issuer for a token for %s only", a, want)
		}
	}
	return nil
}

func (t *Token) checkTimes(now time.Time, skew time.Duration) error {
	at := map[string]time.Time{}
	for _, name := range []string{"exp", "nbf", "iat"} {
		v, ok := t.claims[name]
		if !ok {
			continue
		}
		n, isNumber := v.(json.Number)
		f, err := n.Float64()
		if !isNumber || err != nil || math.Abs(f) > 1e11 {
			return refusef("its claim %s is not a time", name)
		}
		at[name] = time.UnixMilli(int64(f * 1000))
	}
	exp, ok := at["exp"]
	if !ok {
		return refusef("it never expires (it has no exp)")
	}
	t.Expires = exp
	if !now.Before(exp.Add(skew)) {
		return refusef("it expired at %s: get a new one", exp.UTC().Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		if v, ok := at[name]; ok && now.Before(v.Add(-skew)) {
			return refusef("it is not valid before %s (%s): check the clocks", v.UTC().Format(time.RFC3339), name)
		}
	}
	begin, ok := at["iat"]
	if !ok {
		begin = now
	}
	if exp.Sub(begin) > MaxLife {
		return refusef("its lifetime is %s, longer than %s", exp.Sub(begin).Round(time.Minute), MaxLife)
	}
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 })
}

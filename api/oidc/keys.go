package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	fetchTimeout = 10 * time.Second
	maxDocument  = 1 << 20 // bytes of a discovery document or key set
	maxKeys      = 100
	minRSABits   = 2048
	// refreshAfter is the age at which keys are fetched again. While the issuer
	// is unreachable, keys are used until staleAfter. A key that the issuer has
	// withdrawn must not be trusted for longer.
	refreshAfter = time.Hour
	staleAfter   = 24 * time.Hour
	// retryAfter is the minimum time between two fetches, so that tokens with
	// unknown key IDs cannot make the server flood the issuer.
	retryAfter = 10 * time.Second
)

// A keySet holds the keys of one issuer. It implements KeySet of go-oidc.
type keySet struct {
	issuer string
	client *http.Client
	now    func() time.Time
	fixed  bool // the keys are from a file

	flight  singleflight.Group
	mu      sync.Mutex // guards the rest
	keys    []jose.JSONWebKey
	fetched time.Time // when the keys were fetched; zero: never
	tried   time.Time
	failure error // of the last fetch
}

// VerifySignature returns the payload of the token if one of the issuer's keys
// signed it. go-oidc has already checked the algorithm.
func (s *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	algorithms := make([]jose.SignatureAlgorithm, len(Algorithms))
	for i, a := range Algorithms {
		algorithms[i] = jose.SignatureAlgorithm(a)
	}
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, refusef("it is not a JWT: %s", err)
	}
	id := jws.Signatures[0].Header.KeyID
	keys, err := s.current(ctx, id)
	if err != nil {
		return nil, err
	}
	known := false
	for i := range keys {
		if id != "" && keys[i].KeyID != id {
			continue
		}
		known = true
		if payload, err := jws.Verify(keys[i].Key); err == nil {
			return payload, nil
		}
	}
	if !known {
		return nil, refusef("its issuer has no key %.100q", id)
	}
	return nil, refusef("its signature is wrong")
}

// current returns the keys. It fetches them first if they are too old or do not
// include the key with the ID.
func (s *keySet) current(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	keys, wait := s.cached(id)
	if !wait {
		return keys, nil
	}
	// One fetch at a time, which outlives the caller that happened to start it.
	done := s.flight.DoChan("", func() (any, error) {
		fresh, err := s.fetch(context.WithoutCancel(ctx))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tried, s.failure = s.now(), err
		if err == nil {
			s.keys, s.fetched = fresh, s.tried
		}
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched.IsZero() || s.now().Sub(s.fetched) > staleAfter {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, s.issuer, s.failure)
	}
	return s.keys, nil
}

// cached returns the current keys and whether to fetch them first.
func (s *keySet) cached(id string) ([]jose.JSONWebKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fixed {
		return s.keys, false
	}
	has := false
	for i := range s.keys {
		has = has || id == "" || s.keys[i].KeyID == id
	}
	now := s.now()
	usable := !s.fetched.IsZero() && now.Sub(s.fetched) <= staleAfter
	if usable && (has && now.Sub(s.fetched) <= refreshAfter || now.Sub(s.tried) < retryAfter) {
		return s.keys, false
	}
	return nil, true
}

// fetch reads the discovery document and then the keys (OpenID Connect
// Discovery 1.0, section 4).
func (s *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	soon, failure := s.failure != nil && s.now().Sub(s.tried) < retryAfter, s.failure
	s.mu.Unlock()
	if soon {
		return nil, failure
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	d, err := discover(ctx, s.client, s.issuer)
	if err != nil {
		return nil, err
	}
	if err := checkEndpoint(d.JWKS); err != nil {
		return nil, fmt.Errorf("discovery: jwks_uri: %w", err)
	}
	data, err := get(ctx, s.client, d.JWKS)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return parseKeys(data)
}

// A metadata document describes an issuer (OpenID Connect Discovery 1.0,
// section 3).
type metadata struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	// ReturnsIssuer means that every authorization response contains iss (RFC
	// 9207, section 3).
	ReturnsIssuer bool `json:"authorization_response_iss_parameter_supported"`
}

func discover(ctx context.Context, client *http.Client, issuer string) (*metadata, error) {
	document, err := get(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	d := &metadata{}
	if err := json.Unmarshal(document, d); err != nil {
		return nil, errors.New("discovery: the document is not JSON")
	}
	if d.Issuer != issuer {
		return nil, fmt.Errorf("discovery: the document is for issuer %.300q", d.Issuer)
	}
	return d, nil
}

func get(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s returned %s", address, res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("%s returned more than %d bytes", address, maxDocument)
	}
	return data, nil
}

// parseKeys reads a JWK set (RFC 7517, section 5). It skips unsupported keys,
// as the RFC requires. At least one key must be usable.
func parseKeys(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("keys: not a JWK set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("keys: %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if err := json.Unmarshal(raw, &k); err != nil || k.Use != "" && k.Use != "sig" || !usable(k.Key) {
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("keys: no usable key: must be RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519")
	}
	return keys, nil
}

// usable reports whether a key can verify signatures. Symmetric keys are
// refused, because every verifier could sign with them.
func usable(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// checkURL checks the URL of an issuer: https, or http on loopback, without
// query or fragment (OpenID Connect Discovery 1.0, section 3).
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.RawQuery != "" || u.ForceQuery {
		return fmt.Errorf("%.300q is not a URL without a query", address)
	}
	return checkEndpoint(address)
}

// checkEndpoint checks a URL in the metadata of an issuer. Unlike the issuer's
// URL it can have a query, as Azure AD B2C's have.
func checkEndpoint(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%.300q is not a URL without user or fragment", address)
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%.300q must begin with https://", address)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// boundedClient returns a client that follows at most three redirects, and only
// within the host that it was sent to, so that an issuer cannot use the server
// to reach others.
func boundedClient() *http.Client {
	return &http.Client{
		Timeout: fetchTimeout,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("too many redirects")
			}
			if req.URL.Host != via[0].URL.Host {
				return errors.New("redirect to another host")
			}
			if req.URL.Scheme != "https" && !(via[0].URL.Scheme == "http" && isLoopback(req.URL.Hostname())) {
				return errors.New("redirect to a URL that is not https")
			}
			return nil
		},
	}
}

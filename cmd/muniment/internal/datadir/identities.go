package datadir

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// This part of muniment.yaml grants access: tenants with their tokens,
// certificates, rules for identity tokens and limits, and the issuers of
// identity tokens.

// A TenantConfig is a tenant in muniment.yaml.
type TenantConfig struct {
	Name         string              `yaml:"name"`
	StreamKey    string              `yaml:"stream_key"`
	Suspended    bool                `yaml:"suspended"`
	Limits       *TenantLimits       `yaml:"limits"` // nil for limits.tenant
	Identities   []identityConfig    `yaml:"identities"`
	Certificates []certificateConfig `yaml:"certificates"`
	Tokens       []tokenConfig       `yaml:"tokens"`
}

// TenantLimits limit the calls of a tenant. Zero is no limit; the default of a
// burst is ten seconds of its rate.
type TenantLimits struct {
	Requests     float64 `yaml:"requests_per_second"`
	RequestBurst int     `yaml:"request_burst"`
	Entries      float64 `yaml:"entries_per_second"`
	EntryBurst   int     `yaml:"entry_burst"`
	Bytes        float64 `yaml:"bytes_per_second"`
	ByteBurst    int     `yaml:"byte_burst"`
	Concurrent   int     `yaml:"concurrent_calls"`
	Beside       float64 `yaml:"calls_per_second_beside_others"`
	DailyEntries int64   `yaml:"entries_per_day"`
	DailyBytes   int64   `yaml:"bytes_per_day"`
}

// An identitySection lists the issuers whose identity tokens can be exchanged
// for tokens of the ledger.
type identitySection struct {
	Issuers []issuerConfig `yaml:"issuers"`
}

// An OperatorConfig is a token for /metrics and the details of /readyz.
type OperatorConfig struct {
	ID      string    `yaml:"id"`
	SHA256  string    `yaml:"sha256"`
	Expires time.Time `yaml:"expires"`
}

type tokenConfig struct {
	ID      string    `yaml:"id"` // "" for the tenant's name
	SHA256  string    `yaml:"sha256"`
	Role    string    `yaml:"role"`
	Kinds   []string  `yaml:"kinds"`
	Expires time.Time `yaml:"expires"`
}

type issuerConfig struct {
	Issuer     string        `yaml:"issuer"`
	Audience   []string      `yaml:"audience"` // default: the origin, also with https:// before it
	JWKSFile   string        `yaml:"jwks_file"`
	Algorithms []string      `yaml:"algorithms"`
	Skew       time.Duration `yaml:"skew"`
	Provider   string        `yaml:"provider"`
	SignIn     *signInConfig `yaml:"sign_in"` // nil: people do not sign in with it
}

// A signInConfig makes an issuer a provider with which people sign in to the
// portal.
type signInConfig struct {
	Name             string   `yaml:"name"`         // default: the first part of the issuer's host
	DisplayName      string   `yaml:"display_name"` // default: the issuer's host
	ClientID         string   `yaml:"client_id"`
	ClientSecretFile string   `yaml:"client_secret_file"` // none for a public client
	Scopes           []string `yaml:"scopes"`             // default: openid and profile
}

type identityConfig struct {
	Name        string            `yaml:"name"`         // "" for its place in the list
	DisplayName string            `yaml:"display_name"` // of the one person whom the rule is for
	Issuer      string            `yaml:"issuer"`
	Claims      map[string]string `yaml:"claims"`
	Role        string            `yaml:"role"`
	Kinds       []string          `yaml:"kinds"`
	Life        time.Duration     `yaml:"life"`
}

type certificateConfig struct {
	URI        string   `yaml:"uri"`
	DNS        string   `yaml:"dns"`
	CommonName string   `yaml:"common_name"`
	Role       string   `yaml:"role"`
	Kinds      []string `yaml:"kinds"`
}

// loadTenants checks the tenants and reads their stream keys. Two tenants must
// not share a key, a token or a certificate's name.
func (d *Dir) loadTenants() error {
	file, err := d.readLimits()
	if err != nil {
		return err
	}
	streams, tokens, certificates := map[entry.Hash]string{}, map[[sha256.Size]byte]string{}, map[string]string{}
	for i := range d.Config.Tenants {
		t := &d.Config.Tenants[i]
		at := fmt.Sprintf("tenants[%d]", i)
		streamKey, err := d.streamKey(t.StreamKey)
		if err != nil {
			return fmt.Errorf("%s.stream_key: %w", at, err)
		}
		tenant := auth.Tenant{Name: t.Name, Stream: ledger.NewStream(*streamKey), Suspended: t.Suspended}
		if other, ok := streams[tenant.Stream.ID]; ok { // they would read each other's entries
			return fmt.Errorf("%s.stream_key: tenant %s has the same key: each tenant needs its own", at, other)
		}
		streams[tenant.Stream.ID] = t.Name
		for j := range t.Tokens {
			tok, err := t.Tokens[j].token(t.Name)
			if err != nil {
				return fmt.Errorf("%s.tokens[%d].%w", at, j, err)
			}
			if other, ok := tokens[tok.Hash]; ok {
				return fmt.Errorf("%s.tokens[%d].sha256: tenant %s has the same token", at, j, other)
			}
			tokens[tok.Hash] = t.Name
			if slices.ContainsFunc(tenant.Tokens, func(other auth.Token) bool { return other.ID == tok.ID }) {
				return fmt.Errorf("%s.tokens[%d].id: %q is listed twice: each token needs its own", at, j, tok.ID)
			}
			tenant.Tokens = append(tenant.Tokens, tok)
		}
		for j := range t.Identities {
			rule, err := d.rule(&t.Identities[j], t.Name, j)
			if err != nil {
				return fmt.Errorf("%s.identities[%d].%w", at, j, err)
			}
			tenant.Rules = append(tenant.Rules, rule)
		}
		for j := range t.Certificates {
			rule, err := d.certificate(&t.Certificates[j])
			if err != nil {
				return fmt.Errorf("%s.certificates[%d]%w", at, j, err)
			}
			if other, ok := certificates[rule.String()]; ok {
				return fmt.Errorf("%s.certificates[%d]: tenant %s also has a rule for %s", at, j, other, &rule)
			}
			certificates[rule.String()] = t.Name
			tenant.Certificates = append(tenant.Certificates, rule)
		}
		if t.Limits != nil {
			if err := t.Limits.check(); err != nil {
				return fmt.Errorf("%s.limits.%w", at, err)
			}
		}
		tenant.Limits = d.limitsOf(t, file)
		d.Tenants = append(d.Tenants, tenant)
	}
	return nil
}

func (d *Dir) streamKey(path string) (*entry.StreamKey, error) {
	data, err := d.readSecret(path)
	if err != nil {
		return nil, err
	}
	return parseStreamKey(d.Rel(path), data)
}

// loadOperators checks the operators. An operator must not share a token with
// another or with a tenant.
func (d *Dir) loadOperators() error {
	holders := map[[sha256.Size]byte]string{}
	for _, t := range d.Tenants {
		for _, tok := range t.Tokens {
			holders[tok.Hash] = "tenant " + t.Name
		}
	}
	ids := map[string]bool{}
	for i, c := range d.Config.Operators {
		if !GrantID.MatchString(c.ID) {
			return fmt.Errorf("operators[%d].id: %q is not 1 to 63 of a-z, 0-9, dot, _ and -, with a letter or digit at both ends", i, c.ID)
		}
		if ids[c.ID] {
			return fmt.Errorf("operators[%d].id: %q is listed twice: each operator needs its own", i, c.ID)
		}
		hash, err := parseSHA256(c.SHA256)
		if err != nil {
			return fmt.Errorf("operators[%d].sha256: %w", i, err)
		}
		if other, ok := holders[hash]; ok {
			return fmt.Errorf("operators[%d].sha256: %s has the same token", i, other)
		}
		ids[c.ID], holders[hash] = true, "operator "+c.ID
		d.Operators = append(d.Operators, auth.Operator{ID: c.ID, Hash: hash, Expires: c.Expires})
	}
	return nil
}

// Settings returns the part of the server's configuration that a reload
// replaces.
func (d *Dir) Settings() api.Settings {
	return api.Settings{
		Directory:  auth.Directory{Tenants: d.Tenants, Identities: d.identities, Operators: d.Operators},
		MaxPayload: d.Config.Limits.PayloadBytes, MaxStream: d.Config.Limits.StreamBytes, PublicTlog: d.Config.PublicTlog, MetricsByTenant: d.Config.MetricsByTenant, CoverageStage: d.Config.CoverageStage, Webhooks: d.webhooks,
		Held: d.Config.Limits.Held.Limits(),
	}
}

func (l *TenantLimits) check() error {
	for _, x := range []struct {
		rateName, burstName string
		rate                float64
		burst               int
	}{
		{"requests_per_second", "request_burst", l.Requests, l.RequestBurst},
		{"entries_per_second", "entry_burst", l.Entries, l.EntryBurst},
		{"bytes_per_second", "byte_burst", l.Bytes, l.ByteBurst},
	} {
		switch {
		case !(x.rate >= 0) || math.IsInf(x.rate, 0):
			return fmt.Errorf("%s: must be a number of at least 0", x.rateName)
		case x.burst < 0:
			return fmt.Errorf("%s: must be at least 0", x.burstName)
		case x.burst > 0 && x.rate == 0:
			return fmt.Errorf("%s: requires %s", x.burstName, x.rateName)
		}
	}
	if !(l.Beside >= 0) || math.IsInf(l.Beside, 0) {
		return errors.New("calls_per_second_beside_others: must be a number of at least 0")
	}
	if l.Concurrent < 0 {
		return errors.New("concurrent_calls: must be at least 0")
	}
	if l.DailyEntries < 0 || l.DailyBytes < 0 {
		return errors.New("entries_per_day, bytes_per_day: must be at least 0")
	}
	return nil
}

// certificate returns the rule for client certificates, or an error that
// follows the rule's place in the file.
func (d *Dir) certificate(c *certificateConfig) (auth.CertificateRule, error) {
	r := auth.CertificateRule{URI: c.URI, DNS: c.DNS, CommonName: c.CommonName, Kinds: c.Kinds}
	if d.Config.TLS.ClientCA == "" {
		return r, errors.New(": client certificates are not accepted: set tls.client_ca")
	}
	set := 0
	for _, s := range []string{c.URI, c.DNS, c.CommonName} {
		if s != "" {
			set++
		}
		if strings.Contains(s, "*") {
			return r, fmt.Errorf(": %q contains a *: names of certificates have no wildcards", s)
		}
	}
	if set != 1 {
		return r, errors.New(": must have one of uri, dns and common_name")
	}
	var err error
	if r.Role, err = parseRole(c.Role, c.Kinds); err != nil {
		return r, fmt.Errorf(".%w", err)
	}
	return r, nil
}

// token returns the token. An error begins with the name of the field.
func (c *tokenConfig) token(tenant string) (auth.Token, error) {
	t := auth.Token{ID: cmp.Or(c.ID, tenant), Kinds: c.Kinds, Expires: c.Expires}
	if !GrantID.MatchString(t.ID) {
		return t, fmt.Errorf("id: %q is not 1 to 63 of a-z, 0-9, dot, _ and -, with a letter or digit at both ends", t.ID)
	}
	var err error
	if t.Hash, err = parseSHA256(c.SHA256); err != nil {
		return t, fmt.Errorf("sha256: %w", err)
	}
	t.Role, err = parseRole(c.Role, c.Kinds)
	return t, err
}

func parseRole(role string, kinds []string) (auth.Role, error) {
	if role == "" {
		return 0, errors.New("role: missing: set it to appender, reader, approver, auditor or admin")
	}
	r, err := auth.ParseRole(role)
	if err != nil {
		return 0, fmt.Errorf("role: %w", err)
	}
	if err := api.CheckKinds(r, kinds); err != nil {
		return 0, fmt.Errorf("kinds: %w", err)
	}
	return r, nil
}

// loadIssuers reads the issuers' key files and makes the verifier of their
// tokens.
func (d *Dir) loadIssuers() error {
	if len(d.Config.Identity.Issuers) == 0 {
		return nil
	}
	var issuers []oidc.Issuer
	for i, c := range d.Config.Identity.Issuers {
		is := oidc.Issuer{URL: c.Issuer, Audiences: c.Audience, Algorithms: c.Algorithms, Skew: c.Skew, Provider: c.Provider}
		if len(is.Audiences) == 0 {
			is.Audiences = []string{d.Config.Origin, "https://" + d.Config.Origin}
		}
		if c.JWKSFile != "" {
			var err error
			if is.JWKS, err = d.readConfig(c.JWKSFile); err != nil {
				return fmt.Errorf("identity.issuers[%d].jwks_file: %w", i, err)
			}
		}
		if c.SignIn != nil {
			var err error
			if is.SignIn, err = d.signIn(c.SignIn, c.Issuer); err != nil {
				return fmt.Errorf("identity.issuers[%d].sign_in.%w", i, err)
			}
		}
		issuers = append(issuers, is)
	}
	var err error
	if d.identities, err = oidc.New(issuers, oidc.Options{}); err != nil {
		return fmt.Errorf("identity.%w", err)
	}
	return nil
}

// signIn returns how people sign in with an issuer. It reads the secret.
func (d *Dir) signIn(c *signInConfig, issuer string) (*oidc.SignIn, error) {
	host := ""
	if u, err := url.Parse(issuer); err == nil {
		host = u.Hostname()
	}
	first, _, _ := strings.Cut(host, ".")
	s := &oidc.SignIn{Name: cmp.Or(c.Name, strings.ToLower(first)), DisplayName: cmp.Or(c.DisplayName, host), ClientID: c.ClientID, Scopes: c.Scopes}
	if len(s.Scopes) == 0 {
		s.Scopes = []string{"openid", "profile"}
	}
	if c.ClientSecretFile == "" {
		return s, nil
	}
	secret, err := d.readSecret(c.ClientSecretFile)
	if err != nil {
		return nil, fmt.Errorf("client_secret_file: %w", err)
	}
	if s.Secret = strings.TrimSpace(string(secret)); s.Secret == "" {
		return nil, fmt.Errorf("client_secret_file: %s is empty", c.ClientSecretFile)
	}
	return s, nil
}

// SignsIn reports whether people can sign in with a provider.
func (d *Dir) SignsIn() bool { return len(d.identities.Providers()) > 0 }

// rule returns the rule for identity tokens, and adds a warning about it to the
// data folder's. An error begins with the name of the field.
func (d *Dir) rule(c *identityConfig, tenant string, n int) (auth.IdentityRule, error) {
	r := auth.IdentityRule{Name: cmp.Or(c.Name, fmt.Sprintf("identities[%d]", n)), DisplayName: c.DisplayName, Rule: oidc.Rule{Issuer: c.Issuer, Claims: c.Claims}, Kinds: c.Kinds, Life: c.Life}
	provider, known := "", false
	if d.identities != nil {
		provider, known = d.identities.Provider(c.Issuer)
	}
	if !known {
		return r, fmt.Errorf("issuer: %q is not in identity.issuers", c.Issuer)
	}
	if c.DisplayName != "" && c.Claims["sub"] == "" {
		return r, errors.New("display_name: requires the claim sub: other rules match several people")
	}
	if len(c.DisplayName) > 200 || strings.ContainsFunc(c.DisplayName, func(x rune) bool { return !unicode.IsPrint(x) }) {
		return r, errors.New("display_name: must have at most 200 bytes, all printable")
	}
	if c.Life < 0 || c.Life > auth.MaxSession {
		return r, fmt.Errorf("life: %s: must be between 0 and %s", c.Life, auth.MaxSession)
	}
	warning, err := r.Check(provider)
	if err != nil {
		return r, err
	}
	if warning != "" {
		d.Warnings = append(d.Warnings, fmt.Sprintf("tenant %s, identity rule %s: %s", tenant, r.Name, warning))
	}
	r.Role, err = parseRole(c.Role, c.Kinds)
	return r, err
}

package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/oidc"
)

// The part of muniment.yaml that says who may do what: tokens, issuers of identity tokens, and rules for them.

type tokenConfig struct {
	ID      string    `yaml:"id"` // "": the tenant's name
	SHA256  string    `yaml:"sha256"`
	Role    string    `yaml:"role"`
	Kinds   []string  `yaml:"kinds"`
	Expires time.Time `yaml:"expires"`
}

type issuerConfig struct {
	Issuer     string        `yaml:"issuer"`
	Audience   []string      `yaml:"audience"` // none: the origin, and https:// before it
	JWKSFile   string        `yaml:"jwks_file"`
	Algorithms []string      `yaml:"algorithms"`
	Skew       time.Duration `yaml:"skew"`
	Provider   string        `yaml:"provider"`
}

type identityConfig struct {
	Name   string            `yaml:"name"` // "": its place in the list
	Issuer string            `yaml:"issuer"`
	Claims map[string]string `yaml:"claims"`
	Role   string            `yaml:"role"`
	Kinds  []string          `yaml:"kinds"`
	Life   time.Duration     `yaml:"life"`
}

// token checks a token's lines. An error begins with the name of the field.
func (c *tokenConfig) token(tenant string) (api.Token, error) {
	t := api.Token{ID: cmp.Or(c.ID, tenant), Kinds: c.Kinds, Expires: c.Expires}
	if !grantID.MatchString(t.ID) {
		return t, fmt.Errorf("id: %q is not 1 to 63 of a-z, 0-9, dot, _ and -, with a letter or digit at both ends", t.ID)
	}
	var err error
	if t.Hash, err = parseSHA256(c.SHA256); err != nil {
		return t, fmt.Errorf("sha256: %w", err)
	}
	t.Role, err = parseRole(c.Role, c.Kinds)
	return t, err
}

func parseRole(role string, kinds []string) (api.Role, error) {
	if role == "" {
		return 0, fmt.Errorf("role: missing; it is one of appender, reader, approver, auditor, admin")
	}
	r, err := api.ParseRole(role)
	if err != nil {
		return 0, fmt.Errorf("role: %w", err)
	}
	if err := api.CheckKinds(r, kinds); err != nil {
		return 0, fmt.Errorf("kinds: %w", err)
	}
	return r, nil
}

// loadIssuers reads the issuers' key files and returns the verifier of their tokens, or nil if there are none.
func (d *dataDir) loadIssuers() error {
	if len(d.config.Identity.Issuers) == 0 {
		return nil
	}
	var issuers []oidc.Issuer
	for i, c := range d.config.Identity.Issuers {
		is := oidc.Issuer{URL: c.Issuer, Audiences: c.Audience, Algorithms: c.Algorithms, Skew: c.Skew, Provider: c.Provider}
		if len(is.Audiences) == 0 {
			is.Audiences = []string{d.config.Origin, "https://" + d.config.Origin}
		}
		if c.JWKSFile != "" {
			var err error
			if is.JWKS, err = os.ReadFile(d.rel(c.JWKSFile)); err != nil {
				return fmt.Errorf("identity.issuers[%d].jwks_file: %w", i, err)
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

// rule checks a rule's lines. An error begins with the name of the field; a warning is put with the data folder's.
func (d *dataDir) rule(c *identityConfig, tenant string, n int) (api.IdentityRule, error) {
	r := api.IdentityRule{Name: cmp.Or(c.Name, fmt.Sprintf("identities[%d]", n)), Rule: oidc.Rule{Issuer: c.Issuer, Claims: c.Claims}, Kinds: c.Kinds, Life: c.Life}
	provider, known := "", false
	if d.identities != nil {
		provider, known = d.identities.Provider(c.Issuer)
	}
	if !known {
		return r, fmt.Errorf("issuer: %q is not in identity.issuers", c.Issuer)
	}
	if c.Life < 0 || c.Life > api.MaxSession {
		return r, fmt.Errorf("life: %s is not between 0 and %s", c.Life, api.MaxSession)
	}
	warning, err := r.Check(provider)
	if err != nil {
		return r, err
	}
	if warning != "" {
		d.warnings = append(d.warnings, fmt.Sprintf("tenant %s, identity rule %s: %s", tenant, r.Name, warning))
	}
	r.Role, err = parseRole(c.Role, c.Kinds)
	return r, err
}

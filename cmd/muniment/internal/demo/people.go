package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/wholefile"
)

// A person works for the company.
type person struct{ sub, name, role string }

// people are the people of the company. Those with the roles approver and admin
// can decide exceptions.
var people = []person{
	{"kim", "Kim Novak", "admin"},       // leads the platform team
	{"ada", "Ada Osei", "approver"},     // leads compliance
	{"lin", "Lin Zhao", "approver"},     // leads product security
	{"sam", "Sam Ferreira", "reader"},   // internal auditor
	{"noor", "Noor Haddad", "approver"}, // leads the data office
}

// A directory is the company's identity provider: its key, and the people.
type directory struct {
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"` // origin of the log
	Tenant   string `json:"tenant"`
	Key      string `json:"key"` // PKCS #8 in PEM
	key      *ecdsa.PrivateKey
}

const (
	directoryFile = "demo-provider.json" // secret
	jwksFile      = "demo-provider.jwks.json"
	maxConfig     = 1 << 20
)

// addDirectory makes an identity provider, and adds it and the rules for the
// people to the configuration in the data folder.
func addDirectory(data, tenant, issuer string) (*directory, error) {
	config, err := datadir.Load(data)
	if err != nil {
		return nil, err
	}
	d := &directory{Issuer: issuer, Audience: config.Config.Origin, Tenant: tenant}
	if d.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(d.key)
	if err != nil {
		return nil, err
	}
	d.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	jwks := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &d.key.PublicKey, KeyID: "demo", Algorithm: string(jose.ES256), Use: "sig"}}}
	for name, value := range map[string]any{directoryFile: d, jwksFile: jwks} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		if err := wholefile.ReplaceOwnedPath(filepath.Join(data, name), text, 0o600); err != nil {
			return nil, err
		}
	}
	return d, d.configure(filepath.Join(data, datadir.ConfigFile))
}

// configure adds the provider and the people to muniment.yaml.
func (d *directory) configure(path string) error {
	text, err := bounded.ReadFile(path, maxConfig)
	if err != nil {
		return err
	}
	rules := "    identities:\n"
	for _, p := range people {
		rules += fmt.Sprintf("      - {name: %s, display_name: %q, issuer: %q, claims: {sub: %s}, role: %s}\n", p.sub, p.name, d.Issuer, p.sub, p.role)
	}
	out := string(text)
	for _, edit := range []struct{ after, mark, add string }{
		{"", "tenants:\n", fmt.Sprintf("identity: {issuers: [{issuer: %q, audience: [%s], jwks_file: %s}]}\n", d.Issuer, d.Audience, jwksFile)},
		{"  - name: " + d.Tenant + "\n", "    tokens:\n", rules},
	} {
		start := strings.Index("\n"+out, "\n"+edit.after)
		at := -1
		if start >= 0 {
			at = strings.Index(out[start:], edit.mark)
		}
		if at < 0 || strings.Contains(out, "\nidentity:") && edit.after == "" {
			return fmt.Errorf("%s: not as 'muniment init' and 'muniment tenant add %s' wrote it", path, d.Tenant)
		}
		out = out[:start+at] + edit.add + out[start+at:]
	}
	return wholefile.ReplaceOwnedPath(path, []byte(out), 0o600)
}

// openDirectory reads the identity provider that addDirectory has made.
func openDirectory(data string) (*directory, error) {
	text, err := bounded.ReadSecret(filepath.Join(data, directoryFile))
	if err != nil {
		return nil, err
	}
	d := &directory{}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, err
	}
	key, err := pemfile.PrivateKey([]byte(d.Key))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", directoryFile, err)
	}
	d.key, _ = key.(*ecdsa.PrivateKey)
	return d, nil
}

// identityToken returns an identity token of a person, which the log accepts
// once.
func (d *directory) identityToken(sub string) (string, error) {
	if !slices.ContainsFunc(people, func(p person) bool { return p.sub == sub }) {
		return "", fmt.Errorf("%q is not of the company: use kim, ada, lin, noor or sam", sub)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: d.key, KeyID: "demo"}}, nil)
	if err != nil {
		return "", err
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: d.Issuer, Subject: sub, Audience: jwt.Audience{d.Audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(10 * time.Minute)),
	}).Serialize()
}

// submitter returns the person as headers name them.
func (d *directory) submitter(sub string) string { return "oidc:" + d.Issuer + "#" + sub }

package prove

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

type exportManifestSignCmd struct {
	Statement     string   `arg:"" help:"Statement that 'muniment export-manifest create' has written." predictor:"file"`
	Key           []string `help:"Private key to sign with, in PEM. Several keys make an envelope with several signatures." placeholder:"FILE" predictor:"file" sep:"none"`
	IdentityToken string   `help:"Sign with an identity instead of a key: file with an OIDC identity token for Sigstore. Requires --signing-config." placeholder:"FILE" predictor:"file" type:"path"`
	SigningConfig string   `help:"With --identity-token: file with the addresses of the Sigstore services." placeholder:"FILE" predictor:"file" type:"path"`
	Output        string   `short:"o" help:"File to write. Default: the statement's name with .export.sigstore.json instead of .statement.json or .json." placeholder:"FILE" type:"path"`
}

func (exportManifestSignCmd) Help() string {
	return `Signs a statement with one key or identity, as a Sigstore bundle that stock cosign verifies
(cosign verify-blob-attestation). With several keys it writes a DSSE envelope.

It refuses a statement that is not well-formed, and claims of other signers.

Exit code: 0 signed; 1 the statement is wrong; 2 no answer.

Examples:
  muniment export-manifest sign q2.statement.json --key exporter.key
  muniment export-manifest sign q2.statement.json --key exporter.key --key platform.key -o q2.export.dsse.json
  muniment export-manifest sign q2.statement.json --identity-token token --signing-config signing-config.json`
}

func (c *exportManifestSignCmd) Run(a *term.App) error {
	switch {
	case len(c.Key) == 0 && c.IdentityToken == "":
		return errors.New("nothing to sign with: use --key, or --identity-token with --signing-config")
	case len(c.Key) > 0 && c.IdentityToken != "":
		return errors.New("--key and --identity-token exclude each other")
	case (c.IdentityToken == "") != (c.SigningConfig == ""):
		return errors.New("--identity-token and --signing-config require each other")
	}
	text, err := a.ReadInput(c.Statement, export.MaxSize)
	if err != nil {
		return err
	}
	text = []byte(strings.TrimRight(string(text), "\n"))
	m, err := export.ReadStatement(text)
	if err != nil {
		return term.ExitWith(term.ExitNo, errors.New(export.Reason(err)))
	}
	var out []byte
	if c.IdentityToken != "" {
		out, err = c.keyless(a, text, m)
	} else {
		out, err = c.withKeys(text, m)
	}
	if err != nil {
		return err
	}
	if len(out) >= export.MaxSize {
		return term.ExitWith(term.ExitNo, fmt.Errorf("the manifest has %d bytes, more than %d: split the export", len(out), export.MaxSize))
	}
	if c.Output == "" {
		if c.Statement == "-" {
			c.Output = "-"
		} else {
			c.Output = strings.TrimSuffix(strings.TrimSuffix(c.Statement, ".json"), ".statement") + export.FileSuffix
		}
	}
	return a.WriteOutput(c.Output, append(out, '\n'))
}

// withKeys signs with keys. All claims must be those of the keys.
func (c *exportManifestSignCmd) withKeys(text []byte, m *export.Manifest) ([]byte, error) {
	var keys []crypto.Signer
	var public []*dsse.Key
	for _, path := range c.Key {
		key, err := datadir.ReadPrivateKey(path)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		k, err := dsse.NewKey(path, key.Public())
		if err == nil {
			err = sigstore.CheckKey(k)
		}
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		keys, public = append(keys, key), append(public, k)
	}
	for _, s := range m.ClaimedBy() {
		if !containsKey(public, s.KeyID) {
			return nil, term.ExitWith(term.ExitNo, fmt.Errorf("the statement has a claim by %s, who does not sign: add that signer's --key, or create the statement with another --claimed-by", export.SignerText(s)))
		}
	}
	if len(keys) == 1 {
		s, err := attest.NewSigner(keys[0])
		if err != nil {
			return nil, err
		}
		return s.Bundle(text)
	}
	return signedByAll(text, keys)
}

func containsKey(keys []*dsse.Key, id string) bool {
	for _, k := range keys {
		if k.ID == id {
			return true
		}
	}
	return false
}

// signedByAll returns an envelope with a signature by each key.
func signedByAll(text []byte, keys []crypto.Signer) ([]byte, error) {
	type signature struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
	}
	var env struct {
		PayloadType string      `json:"payloadType"`
		Payload     string      `json:"payload"`
		Signatures  []signature `json:"signatures"`
	}
	var all []signature
	for _, key := range keys {
		one, err := dsse.Sign(intoto.MediaType, text, key)
		if err == nil {
			env.Signatures = nil
			err = json.Unmarshal(one, &env)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, env.Signatures...)
	}
	env.Signatures = all
	env.Payload = base64.StdEncoding.EncodeToString(text)
	return json.Marshal(&env)
}

// keyless signs with a certificate of Fulcio, and with an entry or timestamp of
// the services in the signing configuration.
func (c *exportManifestSignCmd) keyless(a *term.App, text []byte, m *export.Manifest) ([]byte, error) {
	token, err := bounded.ReadSecret(c.IdentityToken)
	if err != nil {
		return nil, fmt.Errorf("--identity-token: %w", err)
	}
	config, err := bounded.ReadFile(c.SigningConfig, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("--signing-config: %w", err)
	}
	services, err := root.NewSigningConfigFromJSON(config)
	if err != nil {
		return nil, fmt.Errorf("--signing-config: %s: %w", c.SigningConfig, err)
	}
	o, err := signingOptions(services)
	if err != nil {
		return nil, fmt.Errorf("--signing-config: %s: %w", c.SigningConfig, err)
	}
	o.Context = a.Ctx
	o.CertificateProvider = claimant{o.CertificateProvider, m.ClaimedBy()}
	o.CertificateProviderOptions = &sign.CertificateProviderOptions{IDToken: strings.TrimSpace(string(token))}
	keypair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	b, err := sign.Bundle(&sign.DSSEData{Data: text, PayloadType: intoto.MediaType}, keypair, o)
	var refused *otherSigner
	if errors.As(err, &refused) {
		return nil, term.ExitWith(term.ExitNo, refused)
	}
	if err != nil {
		return nil, fmt.Errorf("sign with the identity: %w", err)
	}
	return protojson.Marshal(b)
}

// A claimant gets certificates, and refuses one of another signer than those
// who make the claims. Nothing is logged or timestamped before.
type claimant struct {
	sign.CertificateProvider
	claimedBy []entry.Signer
}

func (p claimant) GetCertificate(ctx context.Context, keypair sign.Keypair, o *sign.CertificateProviderOptions) ([]byte, error) {
	der, err := p.CertificateProvider.GetCertificate(ctx, keypair, o)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	signer, err := sigstore.CertificateSigner(cert)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	for _, s := range p.claimedBy {
		if s != signer {
			return nil, &otherSigner{claimed: s, signer: signer}
		}
	}
	return der, nil
}

// An otherSigner is a claim by a signer who does not sign.
type otherSigner struct{ claimed, signer entry.Signer }

func (e *otherSigner) Error() string {
	return fmt.Sprintf("the statement has a claim by %s, but %s signs: use that signer's --identity-token, or create the statement with --claimed-by-identity and --claimed-by-issuer of the signer",
		export.SignerText(e.claimed), export.SignerText(e.signer))
}

const serviceTimeout = time.Minute

// signingOptions returns the services of a signing configuration.
func signingOptions(services *root.SigningConfig) (o sign.BundleOptions, err error) {
	now := time.Now()
	ca, err := root.SelectService(services.FulcioCertificateAuthorityURLs(), []uint32{1}, now)
	if err != nil {
		return o, fmt.Errorf("certificate authority: %w", err)
	}
	o.CertificateProvider = sign.NewFulcio(&sign.FulcioOptions{BaseURL: ca.URL, Timeout: serviceTimeout})
	if all := services.RekorLogURLs(); len(all) > 0 {
		logs, err := root.SelectServices(all, services.RekorLogURLsConfig(), []uint32{2, 1}, now)
		if err != nil {
			return o, fmt.Errorf("transparency log: %w", err)
		}
		for _, l := range logs {
			o.TransparencyLogs = append(o.TransparencyLogs, sign.NewRekor(&sign.RekorOptions{BaseURL: l.URL, Timeout: serviceTimeout, Version: l.MajorAPIVersion}))
		}
	}
	if all := services.TimestampAuthorityURLs(); len(all) > 0 {
		authorities, err := root.SelectServices(all, services.TimestampAuthorityURLsConfig(), []uint32{1}, now)
		if err != nil {
			return o, fmt.Errorf("timestamp authority: %w", err)
		}
		for _, t := range authorities {
			o.TimestampAuthorities = append(o.TimestampAuthorities, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: t.URL, Timeout: serviceTimeout}))
		}
	}
	return o, nil
}

package prove

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/sigstore"
)

type verifyBundleCmd struct {
	Artifact string `arg:"" help:"The artifact: a file, or its digest as sha256:…." predictor:"file"`
	Bundle   string `help:"Sigstore bundle, v0.1 to v0.3." required:"" placeholder:"FILE" predictor:"file"`

	signerFlags
	JSON bool `help:"Print one JSON object."`
}

// signerFlags specify the required signer of a bundle, and further
// requirements. They have the meaning of the same flags of cosign's verify
// commands.
type signerFlags struct {
	CertificateIdentity         *string `help:"The certificate must be issued to this identity: an e-mail address or a URI." placeholder:"ID"`
	CertificateIdentityRegexp   *string `help:"Like --certificate-identity, but a regular expression. It matches anywhere in the identity: anchor it with ^ and $." placeholder:"RE"`
	CertificateOidcIssuer       *string `help:"The identity must be vouched for by this OIDC issuer." placeholder:"URL"`
	CertificateOidcIssuerRegexp *string `help:"Like --certificate-oidc-issuer, but a regular expression." placeholder:"RE"`
	Key                         *string `help:"The bundle must be signed by this public key, in PEM. Certificates are not accepted." placeholder:"FILE" predictor:"file"`

	TrustedRoot *string `help:"Trusted root file. Default: the built-in root of the Sigstore public-good instance." placeholder:"FILE" predictor:"file"`
	Type        *string `help:"The bundle must be an attestation with this predicate type: a URI or one of cosign's short names (slsaprovenance, slsaprovenance02, slsaprovenance1, spdx, spdxjson, cyclonedx, vuln, openvex, link, custom)." placeholder:"PREDICATE"`

	InsecureIgnoreTlog  bool `help:"Require no log entry. A certificate is then checked at the current time, or at that of a signed timestamp."`
	InsecureIgnoreSct   bool `help:"Require no SCT in the certificate."`
	UseSignedTimestamps bool `help:"Require an RFC 3161 timestamp, even if the log entry has a time."`
}

func (verifyBundleCmd) Help() string {
	return `Needs no server and no network. The flags have the same meaning as for cosign's verify commands.

A bundle with a certificate must have an entry in a transparency log of the trusted root, a time from
that log or from a timestamp authority, and an SCT. A bundle signed with a key must have a log entry.
The --insecure flags drop these requirements. Use them only for signers without a log, such as in an
air-gapped network.

A JSON Lines file, such as 'gh attestation download' writes, contains one bundle per line. Each is
reported, and one that verifies is enough. A trusted root file can have several lines as well: a bundle
must verify under one of them.

Exit code: 0 verified; 1 not verified; 2 no answer (usage, files).

Examples:
  muniment verify-bundle --bundle app.sigstore.json --certificate-identity ci@acme.example --certificate-oidc-issuer https://accounts.acme.example app.tar.gz
  muniment verify-bundle --bundle prov.sigstore.json --type slsaprovenance1 --certificate-identity-regexp '^https://github\.com/acme/app/' --certificate-oidc-issuer https://token.actions.githubusercontent.com sha256:2cf24dba…
  muniment verify-bundle --bundle app.sigstore.json --key cosign.pub --insecure-ignore-tlog app.tar.gz`
}

func (c *verifyBundleCmd) Run(a *term.App) error {
	check, err := c.check()
	if err != nil {
		return err
	}
	data, err := bounded.ReadFile(c.Bundle, int64(format.Bundle.MaxSize))
	if err != nil {
		return fmt.Errorf("--bundle: %w", err)
	}
	artifact, done, err := openArtifact(a, c.Artifact)
	if err != nil {
		return err
	}
	defer done()
	bundles, err := documents.Split(data)
	if err != nil {
		return fmt.Errorf("--bundle: %w", err)
	}
	if len(bundles) > 1 {
		return c.runLines(a, check, bundles, artifact)
	}
	v, err := check.verify(data, artifact)
	if err != nil && !errors.Is(err, sigstore.ErrNotVerified) && !errors.Is(err, sigstore.ErrMalformed) {
		return err
	}
	if c.JSON {
		if werr := term.WriteJSON(a.Stdout, check.verdict(c.Bundle, artifact, v, err)); werr != nil {
			return werr
		}
	} else {
		fmt.Fprint(a.Stdout, check.result(c.Bundle, artifact, v, err))
	}
	if err != nil {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// runLines verifies each bundle of a JSON Lines file. One that verifies is
// enough: the others may have other artifacts or signers.
func (c *verifyBundleCmd) runLines(a *term.App, check *bundleCheck, lines [][]byte, artifact *sigstore.Artifact) error {
	o := linesVerdict{Bundle: c.Bundle, Artifact: artifact.Digest()}
	var text strings.Builder
	for i, line := range lines {
		v, err := check.verify(line, artifact)
		if err != nil && !errors.Is(err, sigstore.ErrNotVerified) && !errors.Is(err, sigstore.ErrMalformed) {
			return err
		}
		name := term.LineName(c.Bundle, i+1)
		if err == nil {
			o.Verified++
		}
		o.Bundles = append(o.Bundles, check.verdict(name, artifact, v, err))
		text.WriteString(check.result(name, artifact, v, err))
	}
	fmt.Fprintf(&text, "%d of %s verified\n", o.Verified, term.Count(len(lines), "bundle"))
	if c.JSON {
		if err := term.WriteJSON(a.Stdout, o.object()); err != nil {
			return err
		}
	} else {
		fmt.Fprint(a.Stdout, text.String())
	}
	if o.Verified == 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// linesVerdict is the result for a JSON Lines file.
type linesVerdict struct {
	Bundle, Artifact string
	Verified         int
	Bundles          []any
}

func (o *linesVerdict) object() any {
	return struct {
		Bundle   string `json:"bundle"`
		Artifact string `json:"artifact"`
		Verified bool   `json:"verified"`
		Bundles  []any  `json:"bundles"`
	}{o.Bundle, o.Artifact, o.Verified > 0, o.Bundles}
}

// result returns the report on one bundle for people.
func (b *bundleCheck) result(path string, artifact *sigstore.Artifact, v *sigstore.Verified, err error) string {
	if err == nil {
		return b.text(path, artifact, v)
	}
	text := strings.TrimPrefix(err.Error(), sigstore.ErrNotVerified.Error()+": ")
	return fmt.Sprintf("✗ NOT VERIFIED  %s\n  %s\n", term.Quoted(path), strings.ReplaceAll(term.Escape(text), "\n", "\n  "))
}

// A bundleCheck is what the flags require of a bundle.
type bundleCheck struct {
	signer    *evidence.Signer
	predicate string
	root      string // name of the trusted root
}

// byKey reports whether --key is set.
func (b *bundleCheck) byKey() bool { return len(b.signer.Keys) > 0 }

func (b *bundleCheck) verify(data []byte, artifact *sigstore.Artifact) (*sigstore.Verified, error) {
	d, err := format.Bundle.Read(data)
	if err != nil {
		return nil, err
	}
	by := *b.signer
	by.Artifact = artifact
	proof, err := d.Verify(&by, evidence.Free)
	if err != nil {
		return nil, err
	}
	v := proof.Bundle
	switch {
	case b.predicate == "" || b.predicate == v.PredicateType:
		return v, nil
	case v.PredicateType == "":
		return nil, fmt.Errorf("%w: the bundle is not an attestation, so it has no predicate of type %q", sigstore.ErrNotVerified, b.predicate)
	default:
		return nil, fmt.Errorf("%w: the predicate type is %q, not %q", sigstore.ErrNotVerified, v.PredicateType, b.predicate)
	}
}

// predicateTypes maps the short names of cosign's --type to predicate types.
var predicateTypes = map[string]string{
	"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
	"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
	"slsaprovenance1":  "https://slsa.dev/provenance/v1",
	"spdx":             "https://spdx.dev/Document",
	"spdxjson":         "https://spdx.dev/Document",
	"cyclonedx":        "https://cyclonedx.org/bom",
	"vuln":             "https://cosign.sigstore.dev/attestation/vuln/v1",
	"openvex":          "https://openvex.dev/ns",
	"link":             "https://in-toto.io/Link/v1",
	"custom":           "https://cosign.sigstore.dev/attestation/v1",
}

// expandType returns the predicate type for a value of --type.
func expandType(name string) (string, error) {
	if uri, ok := predicateTypes[name]; ok {
		return uri, nil
	}
	if _, err := url.ParseRequestURI(name); err != nil {
		return "", fmt.Errorf("--type: %q is neither a URI nor a known short name: see --help", name)
	}
	return name, nil
}

func (c *signerFlags) check() (*bundleCheck, error) {
	for _, f := range []struct {
		name  string
		value *string
	}{
		{"certificate-identity", c.CertificateIdentity}, {"certificate-identity-regexp", c.CertificateIdentityRegexp},
		{"certificate-oidc-issuer", c.CertificateOidcIssuer}, {"certificate-oidc-issuer-regexp", c.CertificateOidcIssuerRegexp},
		{"key", c.Key}, {"trusted-root", c.TrustedRoot}, {"type", c.Type},
	} {
		if f.value != nil && *f.value == "" {
			return nil, fmt.Errorf("--%s: must not be empty: is a variable unset?", f.name)
		}
	}
	b := &bundleCheck{root: "the Sigstore public-good instance"}
	if c.Type != nil {
		var err error
		if b.predicate, err = expandType(*c.Type); err != nil {
			return nil, err
		}
	}
	trusted := sigstore.PublicGood()
	if c.TrustedRoot != nil {
		b.root = term.Quoted(*c.TrustedRoot)
		var err error
		if trusted, err = datadir.ReadTrustedRoot(*c.TrustedRoot); err != nil {
			return nil, fmt.Errorf("--trusted-root: %w", err)
		}
	}
	var err error
	b.signer = &evidence.Signer{Threshold: 1, Root: evidence.Root{Trusted: trusted}}
	if c.Key != nil {
		b.signer.Need = c.keyRequirements()
		b.signer.Keys, err = c.keys()
	} else {
		b.signer.Need = c.certificateRequirements()
		b.signer.Identity, err = c.identity()
	}
	if err != nil {
		return nil, err
	}
	return b, b.signer.Need.Check(b.byKey())
}

func (c *signerFlags) keyRequirements() sigstore.Requirements {
	r := sigstore.ForKeys
	if c.InsecureIgnoreTlog {
		r.LogEntries = sigstore.None
	}
	if c.UseSignedTimestamps {
		r.Timestamps, r.SignedTimestamps = 1, true
	}
	return r
}

func (c *signerFlags) certificateRequirements() sigstore.Requirements {
	r := sigstore.ForCertificates
	if c.InsecureIgnoreTlog {
		r.LogEntries = sigstore.None
	}
	if c.InsecureIgnoreSct {
		r.SCTs = sigstore.None
	}
	switch {
	case c.UseSignedTimestamps:
		r.SignedTimestamps = true
	case c.InsecureIgnoreTlog:
		r.Timestamps, r.CurrentTime = sigstore.None, true
	}
	return r
}

func (c *signerFlags) keys() ([]*dsse.Key, error) {
	if c.CertificateIdentity != nil || c.CertificateIdentityRegexp != nil || c.CertificateOidcIssuer != nil || c.CertificateOidcIssuerRegexp != nil {
		return nil, errors.New("--key and the --certificate flags exclude each other: a bundle is signed with a key or by a certificate")
	}
	return readKeys([]string{*c.Key})
}

func (c *signerFlags) identity() (id sigstore.Identity, err error) {
	switch {
	case c.CertificateIdentity == nil && c.CertificateIdentityRegexp == nil:
		return id, errors.New("no signer specified: use --certificate-identity (or --certificate-identity-regexp) with --certificate-oidc-issuer, or --key")
	case c.CertificateOidcIssuer == nil && c.CertificateOidcIssuerRegexp == nil:
		return id, errors.New("no issuer specified: use --certificate-oidc-issuer or --certificate-oidc-issuer-regexp")
	}
	if c.CertificateIdentity != nil {
		id.Name = *c.CertificateIdentity
	}
	if c.CertificateOidcIssuer != nil {
		id.Issuer = *c.CertificateOidcIssuer
	}
	for _, f := range []struct {
		name string
		from *string
		to   **regexp.Regexp
	}{{"certificate-identity-regexp", c.CertificateIdentityRegexp, &id.NameRegexp}, {"certificate-oidc-issuer-regexp", c.CertificateOidcIssuerRegexp, &id.IssuerRegexp}} {
		if f.from == nil {
			continue
		}
		if *f.to, err = regexp.Compile(*f.from); err != nil {
			return id, fmt.Errorf("--%s: %w", f.name, err)
		}
	}
	return id, nil
}

// openArtifact hashes a file, or parses a digest. The file stays open until
// done is called.
func openArtifact(a *term.App, arg string) (artifact *sigstore.Artifact, done func(), err error) {
	artifact, digestErr := sigstore.ArtifactDigest(arg)
	f, err := interrupt.Open(arg)
	switch {
	case digestErr == nil && err == nil:
		f.Close()
		return nil, nil, fmt.Errorf("%s is both a digest and the name of a file: for the file write ./%s, for the digest run the command in another folder", arg, arg)
	case digestErr == nil && errors.Is(err, fs.ErrNotExist):
		return artifact, func() {}, nil
	case err != nil && strings.HasPrefix(strings.ToLower(arg), "sha256:"):
		return nil, nil, fmt.Errorf("%w, and %w", err, digestErr)
	case err != nil:
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder, not a file", arg)
	}
	if err == nil {
		bar := a.ByteProgress(info.Size(), "hashing "+term.Quoted(arg))
		artifact, err = sigstore.ReadArtifact(struct {
			io.Reader
			io.Seeker
		}{io.TeeReader(f, bar), f})
		_ = bar.Finish()
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return artifact, func() { f.Close() }, nil
}

func (b *bundleCheck) text(path string, artifact *sigstore.Artifact, v *sigstore.Verified) string {
	p := term.NewPage("✓ VERIFIED  %s", term.Quoted(path))
	if b.byKey() {
		p.Line("signed by", "key %s", term.Quoted(v.KeyName))
		p.Line("", "%s", v.Signer.KeyID)
	} else {
		p.Line("signed by", "%s", term.Quoted(v.Signer.Identity))
		p.Line("", "issuer %s", term.Quoted(v.Signer.Issuer))
	}
	p.Line("artifact", "%s", artifact.Digest())
	if v.PredicateType != "" {
		p.Line("predicate", "%s", term.Quoted(v.PredicateType))
	}
	for i, d := range deviationsOf(v) {
		p.Line([]string{"deviates", ""}[min(i, 1)], "%s", term.Escape(d))
	}
	for _, t := range v.Timestamps {
		at := t.Time.Format(time.RFC3339)
		switch t.Source {
		case sigstore.SourceClock:
			p.Line("time", "checked at the current time, %s; the signing time is unknown", at)
		default:
			p.Line("time", "%s, by the %s%s", at, strings.ReplaceAll(t.Source, "-", " "), term.Optional(" ", t.URI))
		}
	}
	for _, e := range v.LogEntries {
		p.Line("logged", "entry %d of %s", e.Index, term.Quoted(e.Log))
	}
	if b.signer.Need.LogEntries == sigstore.None {
		p.Line("", "no log entry required")
	}
	if !b.byKey() && b.signer.Need.SCTs == sigstore.None {
		p.Line("", "no SCT required: the certificate may not be publicly logged")
	}
	if v.TrustedRoot != "" {
		p.Line("trusting", "%s, %s", b.root, v.TrustedRoot)
	}
	return p.String()
}

// deviationsOf returns the deviations of a verified statement from the
// definition of its type.
func deviationsOf(v *sigstore.Verified) []string {
	switch {
	case v.Unread != nil:
		return []string{"dsseEnvelope." + v.Unread.Error()}
	case v.Statement == nil:
		return nil
	}
	v.Statement.Check()
	ingest.CheckPredicate(v.Statement, time.Now())
	return v.Statement.Deviations.Strings()
}

// verdict returns the JSON form of a verification.
func (b *bundleCheck) verdict(path string, artifact *sigstore.Artifact, v *sigstore.Verified, err error) any {
	type out struct {
		Bundle        string               `json:"bundle"`
		Artifact      string               `json:"artifact"`
		Verified      bool                 `json:"verified"`
		Malformed     bool                 `json:"malformed,omitempty"`
		Error         string               `json:"error,omitempty"`
		Signer        *entry.Signer        `json:"signer,omitempty"`
		Claims        map[string]string    `json:"claims,omitempty"`
		PredicateType string               `json:"predicateType,omitempty"`
		Subjects      []entry.Subject      `json:"subjects,omitempty"`
		Deviations    []string             `json:"deviations,omitempty"`
		Timestamps    []sigstore.Timestamp `json:"timestamps,omitempty"`
		LogEntries    []sigstore.LogEntry  `json:"logEntries,omitempty"`
		TrustedRoot   string               `json:"trustedRoot,omitempty"`
		NotRequired   []string             `json:"notRequired,omitempty"`
	}
	o := out{Bundle: path, Artifact: artifact.Digest()}
	if err != nil {
		o.Error, o.Malformed = plain.FileErrors(err), errors.Is(err, sigstore.ErrMalformed)
		return o
	}
	o.Verified, o.Signer, o.Claims = true, &v.Signer, v.Claims
	o.PredicateType, o.Subjects, o.Deviations = v.PredicateType, v.Subjects, deviationsOf(v)
	o.Timestamps, o.LogEntries, o.TrustedRoot = v.Timestamps, v.LogEntries, v.TrustedRoot
	for what, n := range map[string]sigstore.Threshold{"log-entry": b.signer.Need.LogEntries, "timestamp": b.signer.Need.Timestamps, "sct": b.signer.Need.SCTs} {
		if n == sigstore.None {
			o.NotRequired = append(o.NotRequired, what)
		}
	}
	slices.Sort(o.NotRequired)
	return o
}

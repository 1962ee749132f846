package prove

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/sigstore"
)

type exportManifestCmd struct {
	Create  exportManifestCreateCmd  `cmd:"" help:"Write the statement about the files of an export."`
	Sign    exportManifestSignCmd    `cmd:"" help:"Sign a statement, with a key or an identity."`
	Release exportManifestReleaseCmd `cmd:"" help:"Record a manifest, and only then hand out its files."`
	Verify  exportManifestVerifyCmd  `cmd:"" help:"Verify a manifest and its files, with no network."`
}

// manifestTrust are the flags that name the accepted signers of a manifest, and
// what the tenant requires.
type manifestTrust struct {
	Key                   []string `help:"Public key of an accepted signer, in PEM. May be repeated; one must have signed, and each that is named by a claim." placeholder:"FILE" predictor:"file" sep:"none"`
	CertificateIdentity   *string  `help:"Identity of an accepted certificate: an e-mail address or a URI." placeholder:"ID"`
	CertificateOidcIssuer *string  `help:"OIDC issuer of that identity." placeholder:"URL"`
	TrustedRoot           *string  `help:"Trusted root file for certificates. Default: the built-in root of the Sigstore public-good instance." placeholder:"FILE" predictor:"file"`
	InsecureIgnoreTlog    bool     `help:"Require no log entry for a certificate."`
	InsecureIgnoreSct     bool     `help:"Require no SCT in a certificate."`
	UseSignedTimestamps   bool     `help:"Require an RFC 3161 timestamp for a certificate."`
	Requirements          string   `help:"JSON file with what you require: licenses, residency and epsilon (docs/spec/export-manifest.md, section 7)." placeholder:"FILE" predictor:"file" type:"path"`
}

// options returns the options of the flags.
func (f *manifestTrust) options() (o export.Options, err error) {
	for _, one := range []struct {
		name  string
		value *string
	}{{"certificate-identity", f.CertificateIdentity}, {"certificate-oidc-issuer", f.CertificateOidcIssuer}, {"trusted-root", f.TrustedRoot}} {
		if one.value != nil && *one.value == "" {
			return o, fmt.Errorf("--%s: must not be empty: is a variable unset?", one.name)
		}
	}
	switch {
	case len(f.Key) == 0 && f.CertificateIdentity == nil && f.CertificateOidcIssuer == nil:
		return o, errors.New("no signer specified: use --key, or --certificate-identity with --certificate-oidc-issuer")
	case (f.CertificateIdentity == nil) != (f.CertificateOidcIssuer == nil):
		return o, errors.New("--certificate-identity and --certificate-oidc-issuer require each other")
	}
	if o.Keys, err = readKeys(f.Key); err != nil {
		return o, err
	}
	if f.CertificateIdentity != nil {
		o.Identities = []export.Identity{{Identity: *f.CertificateIdentity, Issuer: *f.CertificateOidcIssuer}}
		o.TrustedRoot = sigstore.PublicGood()
		o.Need = (&signerFlags{InsecureIgnoreTlog: f.InsecureIgnoreTlog, InsecureIgnoreSct: f.InsecureIgnoreSct, UseSignedTimestamps: f.UseSignedTimestamps}).certificateRequirements()
		if f.TrustedRoot != nil {
			if o.TrustedRoot, err = datadir.ReadTrustedRoot(*f.TrustedRoot); err != nil {
				return o, fmt.Errorf("--trusted-root: %w", err)
			}
		}
	}
	if f.Requirements == "" {
		return o, nil
	}
	text, err := bounded.ReadFile(f.Requirements, 1<<20)
	if err != nil {
		return o, fmt.Errorf("--requirements: %w", err)
	}
	r, err := export.ReadRequirements(text)
	if err != nil {
		return o, fmt.Errorf("--requirements: %s: %w", f.Requirements, err)
	}
	o.Licenses, o.Residency, o.Epsilon = r.Licenses, r.Residency, r.Epsilon
	return o, nil
}

type exportManifestVerifyCmd struct {
	Manifest string `arg:"" help:"The manifest." predictor:"file"`
	manifestTrust
	Files     string   `help:"Folder with the files of the export and no others." placeholder:"DIR" predictor:"file" type:"path"`
	Receipt   string   `help:"Receipt of the manifest." placeholder:"FILE" predictor:"file" type:"path"`
	Policy    []string `help:"With --receipt: trust policy, which lists the keys of the log and its witnesses. May be repeated; one must accept." env:"MUNIMENT_POLICY" predictor:"file" sep:"none"`
	Stream    string   `help:"With --receipt and --stream-key: evidence bundle of the tenant, which shows all recorded spends." placeholder:"FILE.bundle.tar" predictor:"file" type:"path"`
	StreamKey string   `help:"The tenant's stream key." env:"MUNIMENT_STREAM_KEY" placeholder:"FILE" predictor:"file" type:"path"`
	Tenant    *string  `help:"The export must be of this tenant."`
	Export    *string  `help:"The export must have this ID." placeholder:"ID"`
	JSON      bool     `help:"Print JSON."`
}

func (exportManifestVerifyCmd) Help() string {
	return `Needs no server and no network. It verifies the signature, that each file is the one that was signed,
that licences and claimed places are allowed, and that the privacy loss adds up. With the receipt it proves that the manifest was recorded. With the stream
and its key it proves that no recorded spend of the privacy budget was left out (docs/export-manifests.md).

Where data was, sensitivities and samplers are claims of the signers, and are printed as such.

Exit code: 0 verified; 1 refused; 2 could not be checked.

Examples:
  muniment export-manifest verify q2.export.sigstore.json --key exporter.pub --files q2/
  muniment export-manifest verify q2.export.sigstore.json --key exporter.pub --files q2/ --requirements ours.json --tenant acme \
    --receipt q2.receipt.json --policy policy --stream acme.bundle.tar --stream-key acme.key --json`
}

// A manifestReport is the report of docs/spec/export-manifest.md, section 7.
type manifestReport struct {
	Manifest string          `json:"manifest"`
	Verdict  string          `json:"verdict"`
	Reason   *manifestReason `json:"reason,omitempty"`
	Proven   *export.Proven  `json:"proven,omitempty"`
	Claimed  *export.Claimed `json:"claimed,omitempty"`
	Warnings *[]string       `json:"warnings,omitempty"`
}

type manifestReason struct {
	Code    string `json:"code"`
	Step    int    `json:"step"`
	Message string `json:"message"`
}

func (c *exportManifestVerifyCmd) Run(a *term.App) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	o.Tenant, o.Export = c.Tenant, c.Export
	if c.Receipt != "" {
		if o.Policies, err = datadir.LoadPolicies(c.Policy); err != nil {
			return err
		}
		if o.Receipt, err = bounded.ReadFile(c.Receipt, export.MaxReceipt); err != nil {
			return err
		}
	}
	if c.StreamKey != "" {
		if o.StreamKey, err = datadir.ReadStreamKey(c.StreamKey); err != nil {
			return fmt.Errorf("--stream-key: %w", err)
		}
	}
	if c.Stream != "" {
		f, size, err := interrupt.OpenRegular(c.Stream)
		if err != nil {
			return err
		}
		defer f.Close()
		o.Stream, o.StreamSize = f, size
	}
	if c.Files != "" {
		root, err := os.OpenRoot(c.Files)
		if err != nil {
			return fmt.Errorf("--files: %w", err)
		}
		defer root.Close()
		o.Files = root.FS()
	}
	text, err := readManifest(a, c.Manifest)
	if err != nil {
		return err
	}
	show, finish := a.ProgressFunc("verify")
	o.Progress = show
	r, err := export.Verify(a.Ctx, text, o)
	finish()
	return reportManifest(a, c.JSON, c.Manifest, r, err)
}

// readManifest reads a manifest, and of a longer file as much as shows that it
// is too long.
func readManifest(a *term.App, path string) ([]byte, error) {
	if path == "-" {
		return a.ReadInput(path, export.MaxSize)
	}
	f, err := interrupt.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, export.MaxSize+1))
}

// reportManifest prints the result of a verification.
func reportManifest(a *term.App, asJSON bool, name string, r *export.Report, err error) error {
	report := &manifestReport{Manifest: name, Verdict: "verified"}
	var e *export.Error
	switch {
	case err == nil:
		report.Proven, report.Claimed, report.Warnings = &r.Proven, &r.Claimed, &r.Warnings
	case !errors.As(err, &e):
		return err
	default:
		report.Verdict, report.Reason = "refused", &manifestReason{string(e.Code), e.Step, e.Message}
		if e.Step == 0 {
			report.Verdict = "not-checked"
		}
	}
	if asJSON {
		err = term.WriteJSON(a.Stdout, report)
	} else {
		_, err = io.WriteString(a.Stdout, report.text())
	}
	switch {
	case err != nil || e == nil:
		return err
	case e.Step == 0:
		return term.ExitWith(term.ExitFailed, nil)
	}
	return term.ExitWith(term.ExitNo, nil)
}

// text returns the report for people.
func (r *manifestReport) text() string {
	if r.Reason != nil {
		mark := "✗ NOT VERIFIED"
		if r.Verdict == "not-checked" {
			mark = "? NOT CHECKED"
		}
		return fmt.Sprintf("%s  %s\n  %s (%s)\n", mark, term.Quoted(r.Manifest), term.Quoted(r.Reason.Message), r.Reason.Code)
	}
	p := term.NewPage("✓ VERIFIED  %s", term.Quoted(r.Manifest))
	v, c := r.Proven, r.Claimed
	p.Line("export", "%s of tenant %s", term.Quoted(v.ExportID), term.Quoted(v.Tenant))
	for _, s := range v.Signers {
		p.Line("signed", "by %s", term.Quoted(export.SignerText(s)))
	}
	checked := "digests stated, NOT CHECKED: use --files"
	if v.Files[0].Checked {
		checked = "all as signed, and no other"
	}
	p.Line("files", "%s, %s", term.Count(len(v.Files), "file"), checked)
	p.Line("licences", "%s (SPDX list %s)", term.Quoted(strings.Join(v.Licenses, ", ")), v.SPDXListVersion)
	if x := v.Privacy; x != nil {
		p.Line("privacy", "%s, ε %s%s%s; %s spent of budget %s", x.Flavor, x.Epsilon, term.Optional(" at δ ", x.Delta), term.Optional(", ρ ", x.Rho), x.Spent, term.Quoted(x.Budget))
	}
	if e := v.Entry; e != nil {
		p.Line("recorded", "entry %d of %s, at %s by the log's clock", e.Index, term.Quoted(e.Origin), time.UnixMilli(int64(e.Time)).UTC().Format(time.RFC3339))
	}
	if s := v.Stream; s != nil {
		p.Line("stream", "complete up to size %d: %s of the budget up to this export, %d later", s.Size, term.Count(s.Spends, "spend"), s.Later)
	}
	for _, one := range c.Residency {
		p.Line("", "%s in %s: claimed by %s, with %s", one.Activity, term.Quoted(strings.Join(one.Places, ", ")), term.Quoted(export.SignerText(one.ClaimedBy)), term.Count(one.Evidence, "evidence entry"))
	}
	if c.Sampler != nil {
		p.Line("", "sensitivities: claimed by %s", term.Quoted(export.SignerText(c.Sensitivity.ClaimedBy)))
		p.Line("", "sampler %s: claimed by %s", term.Quoted(c.Sampler.Name), term.Quoted(export.SignerText(c.Sampler.ClaimedBy)))
	}
	for _, w := range *r.Warnings {
		p.Line("", "! %s", w)
	}
	return p.String()
}

// keyIDOf returns the signer of a public key file.
func keyIDOf(path string) (entry.Signer, error) {
	keys, err := readKeys([]string{path})
	if err != nil {
		return entry.Signer{}, err
	}
	return entry.Signer{KeyID: keys[0].ID}, nil
}

// eachFile calls visit with the regular files below a folder.
func eachFile(root *os.Root, visit func(name string) error) error {
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%q is not a regular file: remove it, or replace it by a copy", path)
		}
		return visit(path)
	})
}

package prove

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/chartindex"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/helm"
)

type verifyChartCmd struct {
	Chart string `arg:"" help:"Chart archive (.tgz)." predictor:"file"`

	Provenance string `help:"Provenance file, signed with PGP. Default with --keyring: the archive's name with .prov appended." placeholder:"FILE.prov" predictor:"file"`
	Keyring    string `help:"Public PGP keys of accepted signers: output of 'gpg --export', armored or not, or GnuPG's pubring." placeholder:"FILE" predictor:"file"`

	Index      string `help:"Index file (prov.yaml) that names a Sigstore bundle." placeholder:"FILE" predictor:"file"`
	Bundles    string `help:"Folder with the bundle, and with the chart's manifest if the bundle is about the manifest. File names don't matter." placeholder:"DIR" predictor:"file"`
	Repository string `help:"Repository of the chart, to read the bundle and the manifest from." placeholder:"oci://HOST/NAME"`
	signerFlags
	remote.RegistryFlags
	JSON bool `help:"Print one JSON object."`
}

func (verifyChartCmd) Help() string {
	return `Verifies a chart in one of two ways. With --keyring, by the provenance file that 'helm package --sign'
writes. With --index, by a file of three lines,

  chart: gateway-1.7.0
  provenance: slsa-v1
  signature: cosign:sha256:<digest of the bundle>

which names a bundle in --bundles or --repository. The bundle is verified as verify-bundle does, and must
be about the archive, or about the manifest that contains the archive in a registry (which is what
'cosign attest' signs). For a chart in a registry without such files, use verify-image.

Exit code: 0 verified; 1 not verified; 2 no answer (usage, files, the registry).

Examples:
  muniment verify-chart gateway-1.7.0.tgz --keyring release.gpg
  muniment verify-chart gateway-1.7.0.tgz --provenance downloads/gateway.prov --keyring release.asc
  muniment verify-chart gateway-1.7.0.tgz --index prov.yaml --bundles bundles --key cosign.pub --insecure-ignore-tlog
  muniment verify-chart gateway-1.7.0.tgz --index prov.yaml --repository oci://registry.example.com/charts/gateway --certificate-identity ci@acme.example --certificate-oidc-issuer https://accounts.acme.example`
}

func (c *verifyChartCmd) Run(a *term.App) error {
	byIndex := c.Index != ""
	switch {
	case byIndex && (c.Keyring != "" || c.Provenance != ""):
		return errors.New("--index and --keyring exclude each other: verify the chart twice if it has both")
	case !byIndex && c.Keyring == "":
		return errors.New("no method specified: use --keyring for a signed .prov file, or --index for a file that names a bundle")
	case !byIndex && (c.Bundles != "" || c.Repository != ""):
		return errors.New("--bundles and --repository require --index")
	case !byIndex && c.signerFlags != (signerFlags{}):
		return errors.New("--key, --certificate-identity and the like require --index: for a .prov file, specify the PGP key with --keyring")
	}
	archive, err := readChart(a, c.Chart)
	v := chartVerdict{Chart: c.Chart}
	if err == nil {
		v.Name, v.Version, v.Digest = archive.Name, archive.Version, archive.Digest
		if byIndex {
			err = c.byIndex(a, archive, &v)
		} else {
			err = c.byProvenance(archive, &v)
		}
	}
	if err != nil {
		if !errors.Is(err, helm.ErrNotVerified) && !errors.Is(err, helm.ErrMalformed) {
			return err
		}
		v.Error, v.Malformed = plain.FileErrors(err), errors.Is(err, helm.ErrMalformed) && !errors.Is(err, helm.ErrNotVerified)
	}
	v.Verified = err == nil
	return v.print(a, c.JSON)
}

// readChart hashes a chart archive.
func readChart(a *term.App, path string) (*helm.Archive, error) {
	f, err := interrupt.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a folder: specify the .tgz that 'helm package' makes of it", path)
	}
	bar := a.ByteProgress(info.Size(), "hashing "+term.Quoted(path))
	defer func() { _ = bar.Finish() }()
	return helm.ReadArchive(io.TeeReader(f, bar))
}

func (c *verifyChartCmd) byProvenance(archive *helm.Archive, v *chartVerdict) error {
	path := c.Provenance
	if path == "" {
		path = c.Chart + ".prov"
	}
	prov, err := bounded.ReadFile(path, helm.MaxProvenance)
	if err != nil {
		return fmt.Errorf("--provenance: %w", err)
	}
	data, err := bounded.ReadFile(c.Keyring, helm.MaxKeyring)
	if err != nil {
		return fmt.Errorf("--keyring: %w", err)
	}
	keyring, err := helm.ParseKeyring(data)
	if err != nil {
		return fmt.Errorf("--keyring: %s", err) // not a verdict about the chart
	}
	d, err := format.Chart.Read(prov)
	if err != nil {
		return err
	}
	proof, err := d.Verify(&evidence.Signer{PGP: keyring}, evidence.Free)
	if err == nil {
		err = proof.Chart.Check(archive)
	}
	if err != nil {
		return err
	}
	v.By, v.Signer, v.SignedAt = path, &proof.Signers[0], &proof.Chart.SignedAt
	return nil
}

func (c *verifyChartCmd) byIndex(a *term.App, archive *helm.Archive, v *chartVerdict) error {
	check, err := c.check()
	if err != nil {
		return err
	}
	resolve, err := c.resolver()
	if err != nil {
		return err
	}
	text, err := bounded.ReadFile(c.Index, chartindex.MaxSize)
	if err != nil {
		return fmt.Errorf("--index: %w", err)
	}
	x, err := chartindex.Parse(text)
	if err != nil {
		return err
	}
	if check.predicate != "" && check.predicate != x.PredicateType {
		return fmt.Errorf("%w: the index file names the predicate type %s, not %s", helm.ErrNotVerified, x.PredicateType, check.predicate)
	}
	r, err := x.Verify(a.Ctx, archive, resolve, check.signer)
	if err != nil {
		return err
	}
	v.By, v.Signer, v.KeyName, v.PredicateType, v.Bundle, v.Manifest = c.Index, &r.Proof.Signers[0], r.Proof.KeyName, x.PredicateType, x.Bundle, r.Manifest
	return nil
}

func (c *verifyChartCmd) resolver() (chartindex.Resolver, error) {
	switch {
	case c.Bundles != "" && c.Repository != "":
		return nil, errors.New("--bundles and --repository exclude each other")
	case c.Bundles != "":
		return chartindex.Folder(c.Bundles), nil
	case c.Repository != "":
		r, err := c.Open(c.Repository)
		if err != nil {
			return nil, fmt.Errorf("--repository: %w", err)
		}
		return chartindex.Repository(r), nil
	default:
		return nil, errors.New("no location of the bundle specified: use --bundles or --repository")
	}
}

// chartVerdict is the JSON form of a verification.
type chartVerdict struct {
	Chart         string        `json:"chart"`
	Verified      bool          `json:"verified"`
	Malformed     bool          `json:"malformed,omitempty"`
	Error         string        `json:"error,omitempty"`
	Name          string        `json:"name,omitempty"`
	Version       string        `json:"version,omitempty"`
	Digest        string        `json:"digest,omitempty"`
	By            string        `json:"by,omitempty"` // the provenance or index file
	Signer        *entry.Signer `json:"signer,omitempty"`
	KeyName       string        `json:"keyName,omitempty"`
	SignedAt      *time.Time    `json:"signedAt,omitempty"` // claimed by the signer
	PredicateType string        `json:"predicateType,omitempty"`
	Bundle        string        `json:"bundle,omitempty"`
	// the bundle's subject, if it is not the archive
	Manifest string `json:"manifest,omitempty"`
}

func (v *chartVerdict) print(a *term.App, asJSON bool) error {
	return printVerdict(a, asJSON, v.Verified, v, v.printText)
}

func (v *chartVerdict) printText(a *term.App) error {
	if !v.Verified {
		return notVerified(a, v.Chart, v.Error)
	}
	p := term.NewPage("✓ VERIFIED  %s", term.Quoted(v.Chart))
	p.Line("chart", "%s %s", term.Quoted(v.Name), term.Quoted(v.Version))
	p.Line("", "%s", v.Digest)
	by := v.Signer.Identity
	if by == "" {
		by = "key " + v.KeyName
	}
	p.Line("signed by", "%s%s", term.Quoted(by), term.Optional(" of ", v.Signer.Issuer))
	if v.Signer.KeyID != "" {
		p.Line("", "%s", term.Quoted(v.Signer.KeyID))
	}
	p.Line("by", "%s", term.Quoted(filepath.Clean(v.By)))
	if v.SignedAt != nil {
		p.Line("time", "%s, claimed by the signer", v.SignedAt.Format(time.RFC3339))
	}
	if v.Bundle != "" {
		p.Line("predicate", "%s", term.Quoted(v.PredicateType))
		p.Line("bundle", "%s", v.Bundle)
	}
	if v.Manifest != "" {
		p.Line("about", "the manifest %s, which contains the archive", v.Manifest)
	}
	_, err := io.Copy(a.Stdout, bytes.NewReader([]byte(strings.TrimRight(p.String(), "\n")+"\n")))
	return err
}

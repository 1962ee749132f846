package prove

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/verifiers/oci"
	"muniment.dev/muniment/verifiers/sigstore"
)

type verifyImageCmd struct {
	Reference string `arg:"" help:"Image or chart in a registry: HOST/NAME:TAG or HOST/NAME@sha256:…, with or without oci:// before it."`
	signerFlags
	registryFlags
	Save string `help:"Write the bundles of what is verified into this folder, named by their digests, for append and verify-chart." placeholder:"DIR" type:"path"`
	JSON bool   `help:"Print one JSON object."`
}

// registryFlags say how to speak to a registry.
type registryFlags struct {
	AllowAddress []string `help:"Address or network, beside public ones, to which the registry may redirect, or where its token service is." placeholder:"IP|PREFIX"`
	PlainHTTP    bool     `name:"plain-http" help:"Speak HTTP if the registry has no TLS. Registries on this machine need no such permission."`
}

func (f *registryFlags) open(reference string) (*oci.Registry, error) {
	allowed, err := oci.ParseAddresses(f.AllowAddress)
	if err != nil {
		return nil, fmt.Errorf("--allow-address: %w", err)
	}
	return oci.Open(reference, oci.Options{PlainHTTP: f.PlainHTTP, Allowed: allowed})
}

func (verifyImageCmd) Help() string {
	return `Finds the attestations and signatures that are attached to an image or chart: as OCI referrers, under the tag that stands in for them, or under cosign's older tags (.att, .sig); and verifies them like verify-bundle. Credentials are those of docker login.

The answer is yes if one that is verified, and of the --type that is asked for, is attached to what the reference names; or, if that is an index of several platforms to which none is attached, to each platform's manifest. Attestations that BuildKit puts into an image's index are shown, but count for nothing: nobody has signed them.

A tag can be moved to something else at any time: deploy by the digest that is printed.

Exit code: 0 verified; 1 not verified; 2 there is no answer (usage, files, the registry, or not verified and an attachment cannot be read).

Examples:
  muniment verify-image registry.example.com/app:1.7.0 --key cosign.pub --insecure-ignore-tlog --type slsaprovenance1
  muniment verify-image registry.example.com/app@sha256:2cf24dba… --certificate-identity-regexp '^https://github\.com/acme/app/' --certificate-oidc-issuer https://token.actions.githubusercontent.com
  muniment verify-image oci://registry.example.com/charts/gateway:1.7.0 --key cosign.pub --save bundles && muniment append bundles/*.json`
}

func (c *verifyImageCmd) Run(a *term.App) error {
	check, err := c.check()
	if err != nil {
		return err
	}
	r, err := c.open(c.Reference)
	if err != nil {
		return err
	}
	var keep func(*oci.Finding, []byte) error
	if c.Save != "" {
		if err := os.MkdirAll(c.Save, 0o777); err != nil {
			return fmt.Errorf("--save: %w", err)
		}
		keep = func(_ *oci.Finding, data []byte) error { return saveByDigest(c.Save, data) }
	}
	report, err := oci.Verify(a.Ctx, r, oci.Policy{Verifier: check.verifier, Identity: check.identity, PredicateType: check.predicate}, keep)
	if err != nil {
		return err
	}
	if c.JSON {
		err = term.WriteJSON(a.Stdout, report)
	} else {
		_, err = io.WriteString(a.Stdout, imageText(report, check))
	}
	switch {
	case err != nil || report.Verified:
	case report.Unusable > 0:
		return term.ExitWith(term.ExitFailed, fmt.Errorf("no answer: attachments that the registry lists but does not provide: %d", report.Unusable))
	default:
		return term.ExitWith(term.ExitNo, nil)
	}
	return err
}

// saveByDigest writes a file whose name is the digest of what is in it.
func saveByDigest(dir string, data []byte) error {
	sum := sha256.Sum256(data)
	path := filepath.Join(dir, "sha256-"+hex.EncodeToString(sum[:])+".json")
	if _, err := os.Lstat(path); err == nil {
		return nil // or something else has its name, and append will see
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("--save: %w", err)
	}
	if err := wholefile.ReplacePath(path, data, 0o666); err != nil {
		return fmt.Errorf("--save: %w", err)
	}
	return nil
}

func imageText(r *oci.Report, check *bundleCheck) string {
	heading := "✗ NOT VERIFIED  %s"
	if r.Verified {
		heading = "✓ VERIFIED  %s"
	}
	p := term.NewPage(heading, term.Quoted(r.Reference))
	for i, a := range r.Artifacts {
		label := "platform"
		if i == 0 {
			label = "digest"
		}
		p.Line(label, "%s%s", a.Digest, term.Optional(" ", a.Platform))
		if a.Chart != nil {
			p.Line("", "a Helm chart, whose archive is %s", a.Chart.Archive)
		}
		for _, f := range a.Findings {
			findingText(p, &f)
		}
		if len(a.Findings) == 0 && i == 0 {
			p.Line("", "nothing is attached to it")
		}
	}
	if !r.Verified {
		p.Line("wanted", "%s", wanted(check))
	}
	if check.need.LogEntries == sigstore.None {
		p.Line("", "no log entry was asked for")
	}
	return p.String()
}

// wanted says in words what would have counted.
func wanted(check *bundleCheck) string {
	what := "an attestation or signature"
	if check.predicate != "" {
		what = "an attestation of the type " + check.predicate
	}
	if check.identity != nil {
		return what + " by the identity that the flags name"
	}
	return what + " by the key"
}

func findingText(p *term.Page, f *oci.Finding) {
	mark := map[oci.Result]string{oci.Verified: "✓ verified", oci.NotVerified: "✗ not verified", oci.Unsigned: "– UNSIGNED", oci.Malformed: "✗ malformed", oci.Unusable: "✗ unusable", oci.Unread: "– not read"}[f.Result]
	what := f.PredicateType
	if what == "" {
		what = f.MediaType
	}
	p.Line("", "%s  %s (%s)", mark, term.Quoted(what), f.Source)
	more := func(format string, args ...any) { p.Line("", "    %s", fmt.Sprintf(format, args...)) }
	if f.Result == oci.Verified && !f.Counts {
		more("it does not count: another type is asked for")
	}
	if s := f.Signer; s != nil && f.Result == oci.Verified {
		by := s.Identity
		if by == "" {
			by = "the key " + f.KeyName
		}
		more("signed by %s%s", term.Quoted(by), term.Optional(" of ", s.Issuer))
		more("bundle %s", f.Digest)
	}
	if f.Reason != "" {
		more("%s", strings.ReplaceAll(term.Escape(strings.TrimPrefix(f.Reason, sigstore.ErrNotVerified.Error()+": ")), "\n", " "))
	}
	for _, d := range f.Deviations {
		more("deviates: %s", term.Escape(d))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Facts)) {
		more("%s: %s", name, term.Quoted(f.Facts[name]))
	}
}

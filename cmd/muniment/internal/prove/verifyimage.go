package prove

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/verifiers/oci"
	"muniment.dev/muniment/verifiers/sigstore"
)

type verifyImageCmd struct {
	Reference string `arg:"" help:"Image or chart in a registry: HOST/NAME:TAG or HOST/NAME@sha256:…, with or without an oci:// prefix."`
	signerFlags
	remote.RegistryFlags
	Save string `help:"Write verified bundles to this folder, named by digest, for append and verify-chart." placeholder:"DIR" type:"path"`
	JSON bool   `help:"Print one JSON object."`
}

func (verifyImageCmd) Help() string {
	return `Finds the attestations and signatures attached to an image or chart, and verifies them as verify-bundle
does. They can be OCI referrers, also under the fallback tag, or have cosign's older tags (.att, .sig).
Credentials are those of 'docker login'.

The image is verified if a verified attachment of the --type is attached to what the reference names. If
that is an index of several platforms with no such attachment, each platform's manifest must have one.
Attestations that BuildKit adds to an image's index are shown, but never count: they are not signed.

Tags can be moved at any time: deploy by the printed digest.

Exit code: 0 verified; 1 not verified; 2 no answer (usage, files, the registry, or not verified and an
attachment cannot be read).

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
	r, err := c.Open(c.Reference)
	if err != nil {
		return err
	}
	var keep func(*oci.Finding, []byte) error
	if c.Save != "" {
		if err := term.SaveFolder(c.Save); err != nil {
			return err
		}
		keep = func(_ *oci.Finding, data []byte) error { return a.SaveByDigest(c.Save, "", data) }
	}
	report, err := oci.Verify(a.Ctx, r, oci.Criteria{Signer: check.signer, PredicateType: check.predicate}, keep)
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
		return term.ExitWith(term.ExitFailed, fmt.Errorf("no answer: the registry lists %s that it does not provide", term.Count(report.Unusable, "attachment")))
	default:
		return term.ExitWith(term.ExitNo, nil)
	}
	return err
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
	if check.signer.Need.LogEntries == sigstore.None {
		p.Line("", "no log entry required")
	}
	return p.String()
}

// wanted describes what the flags require.
func wanted(check *bundleCheck) string {
	what := "an attestation or signature"
	if check.predicate != "" {
		what = "an attestation of type " + check.predicate
	}
	if !check.byKey() {
		return what + " by the identity of the --certificate flags"
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
		more("does not count: --type requires another type")
	}
	if s := f.Signer; s != nil && f.Result == oci.Verified {
		by := s.Identity
		if by == "" {
			by = "key " + f.KeyName
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

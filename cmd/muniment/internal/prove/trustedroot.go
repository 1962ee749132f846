package prove

import (
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/verifiers/sigstore"
)

// trustedRootCmd groups the commands for trusted root files.
type trustedRootCmd struct {
	Inspect trustedRootInspectCmd `cmd:"" help:"Show the authorities and logs of a trusted root file, and their validity."`
	Update  trustedRootUpdateCmd  `cmd:"" help:"Replace or confirm a trusted root in a data folder."`
	Export  trustedRootExportCmd  `cmd:"" default:"withargs" help:"Write the trusted root of a Rekor log served by this program."`
}

type trustedRootInspectCmd struct {
	File string `arg:"" optional:"" help:"Trusted root file. Default: the built-in root of the Sigstore public-good instance." predictor:"file"`
	JSON bool   `help:"Print one JSON object per trusted root in the file."`
}

func (trustedRootInspectCmd) Help() string {
	return `Exit code: 0 shown; 1 not a trusted root; 2 no answer.

Examples:
  muniment trusted-root inspect
  muniment trusted-root inspect acme-trusted-root.json --json`
}

func (c *trustedRootInspectCmd) Run(a *term.App) error {
	r, name := sigstore.PublicGood(), "the Sigstore public-good instance"
	if c.File != "" {
		data, err := bounded.ReadFile(c.File, sigstore.MaxTrustedRootSize)
		if err != nil {
			return err
		}
		if r, err = sigstore.ParseTrustedRoot(data); err != nil {
			return term.ExitWith(term.ExitNo, fmt.Errorf("%s: %w", c.File, err))
		}
		name = c.File
	}
	if c.JSON {
		for _, one := range r.Each() {
			if err := term.WriteJSON(a.Stdout, one.Describe()); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := fmt.Fprint(a.Stdout, trustedRootsText(name, r, time.Now()))
	return err
}

// trustedRootsText returns a description of each root in a file.
func trustedRootsText(name string, r *sigstore.TrustedRoot, now time.Time) string {
	var b strings.Builder
	for i, one := range r.Each() {
		if len(r.Each()) > 1 {
			fmt.Fprintf(&b, "%d of %d in ", i+1, len(r.Each()))
		}
		b.WriteString(trustedRootText(name, one.Describe(), now))
	}
	return b.String()
}

func trustedRootText(name string, d sigstore.Description, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  %-8s%s\n", term.Quoted(name), "digest", d.Digest)
	authorities := func(title string, list []sigstore.Authority) {
		fmt.Fprintf(&b, "%s: %d\n", title, len(list))
		for _, x := range list {
			fmt.Fprintf(&b, "  %s%s\n    trusted %s\n    certificates valid %s\n    root sha256:%s\n", term.Quoted(x.Subject), term.Optional(" ", x.URI), span(x.Validity, now), span(x.Certificate, now), x.Fingerprint)
		}
	}
	logs := func(title string, list []sigstore.Log) {
		fmt.Fprintf(&b, "%s: %d\n", title, len(list))
		for _, x := range list {
			fmt.Fprintf(&b, "  %s (%s)\n    trusted %s\n    key ID %s\n", term.Quoted(x.URL), x.Key, span(x.Validity, now), x.KeyID)
		}
	}
	authorities("Certificate authorities", d.CertificateAuthorities)
	logs("Certificate transparency logs", d.CertificateLogs)
	logs("Transparency logs", d.TransparencyLogs)
	authorities("Timestamp authorities", d.TimestampAuthorities)
	return b.String()
}

// span describes a period of validity, and how it relates to now.
func span(v sigstore.Validity, now time.Time) string {
	from, until := "from the beginning", "with no end"
	if v.Start != nil {
		from = "from " + v.Start.UTC().Format(time.RFC3339)
	}
	if v.End != nil {
		until = "until " + v.End.UTC().Format(time.RFC3339)
	}
	switch {
	case v.Contains(now):
		return from + " " + until
	case v.Start != nil && now.Before(*v.Start):
		return from + " " + until + " (not yet)"
	default:
		return from + " " + until + " (ended; still valid for signatures of that time)"
	}
}

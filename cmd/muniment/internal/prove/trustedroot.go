package prove

import (
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/verifiers/sigstore"
)

// trustedRootCmd is the group of commands about trusted root files.
type trustedRootCmd struct {
	Inspect trustedRootInspectCmd `cmd:"" help:"Show what a trusted root file trusts, and when."`
	Update  trustedRootUpdateCmd  `cmd:"" help:"Replace or confirm a trusted root of a data folder."`
	Export  trustedRootExportCmd  `cmd:"" default:"withargs" help:"Write the trusted root of a Rekor log that this program serves."`
}

type trustedRootInspectCmd struct {
	File string `arg:"" optional:"" help:"Trusted root file. Without it: the Sigstore public-good instance, as known to this version." predictor:"file"`
	JSON bool   `help:"Print one JSON object for each trusted root of the file."`
}

func (trustedRootInspectCmd) Help() string {
	return `Exit code: 0 it is a trusted root; 1 it is not; 2 it could not be read.

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

// trustedRootsText describes each root of a file.
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

// span says when something is valid, and what that means now.
func span(v sigstore.Validity, now time.Time) string {
	from, until := "since ever", "until further notice"
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
		return from + " " + until + " (for what was signed then)"
	}
}

package decide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/bundle"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/receipt"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

type bundleVerifyCmd struct {
	File     string   `arg:"" help:"The bundle." predictor:"file"`
	Policy   []string `help:"Trust policy: the keys of the log and its witnesses. May be repeated; one must accept." required:"" env:"MUNIMENT_POLICY" predictor:"file" sep:"none"`
	Key      string   `name:"stream-key" help:"The tenant's stream key, which proves that nothing is missing." env:"MUNIMENT_STREAM_KEY" placeholder:"FILE" predictor:"file" type:"path"`
	Identity *string  `help:"The bundle must have this identity." placeholder:"sha256:…"`
	Tenant   *string  `help:"The bundle must be of this tenant."`
	Skip     bool     `name:"skip-reports" help:"Verify the evidence only. Do not compare the page and the OSCAL documents with it, and end with 0 without that."`
	JSON     bool     `help:"Print JSON."`
}

func (bundleVerifyCmd) Help() string {
	return `Verifies everything with no network: each file of the bundle, the log's signature and those of its witnesses, that the whole tree belongs to them, each record
and receipt of the tenant, each payload, and that nothing that the selection requires was left out (docs/spec/bundle.md).

It computes the reports again from the evidence in the bundle, and refuses a bundle whose page or OSCAL documents have other bytes. The coverage of artifacts whose
evidence is not in the bundle is its creator's account, and is listed as such. A program computes only the reports of its own version. A bundle of another version
ends with 3: the evidence is verified, and the page could say anything. Use the program that has created the bundle, or --skip-reports for the evidence alone.

With the stream key it also proves that the tenant's stream has no further entry. Without it, the last entries could be missing. They could revoke what the
others allow, so a gate requires the key.

What was not proven is listed, in JSON as codes in "warnings".

Exit code: 0 verified; 1 refused; 2 could not be checked; 3 verified, but the reports were not compared with the evidence.

Examples:
  muniment bundle verify 1.7.0.bundle.tar --policy policy --stream-key acme.key
  muniment bundle verify 1.7.0.bundle.tar --policy policy --stream-key acme.key --skip-reports
  muniment bundle verify 1.7.0.bundle.tar --policy policy --tenant acme --identity sha256:2cf24dba… --json`
}

func (c *bundleVerifyCmd) Run(a *term.App) error {
	policies, err := datadir.LoadPolicies(c.Policy)
	if err != nil {
		return err
	}
	o := bundlefile.Options{Identity: c.Identity, Tenant: c.Tenant}
	if !c.Skip {
		o.Reports = recompute(a)
	}
	if c.Key != "" {
		if o.StreamKey, err = datadir.ReadStreamKey(c.Key); err != nil {
			return fmt.Errorf("--stream-key: %w", err)
		}
	}
	f, size, err := interrupt.OpenRegular(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	report := &bundleReport{File: c.File}
	b, r, err := verifyBundle(a, f, size, filepath.Base(c.File), policies, o)
	var refused *bundlefile.Error
	switch {
	case err == nil:
		report.describe(b)
		report.add(r)
	case !errors.As(err, &refused):
		return err
	default:
		report.Reason = &reason{string(refused.Code), refused.Step, refused.Message}
	}
	return report.finish(a, c.JSON)
}

// finish prints the report. It returns the exit code that belongs to it.
func (r *bundleReport) finish(a *term.App, asJSON bool) error {
	if !asJSON {
		r.print(a)
	} else if err := term.WriteJSON(a.Stdout, r); err != nil {
		return err
	}
	switch {
	case r.Reason == nil && !r.uncompared():
		return nil
	case r.Reason == nil:
		return term.ExitWith(term.ExitReports, nil)
	case r.Reason.Step > 0:
		return term.ExitWith(term.ExitNo, nil)
	}
	return term.ExitWith(term.ExitFailed, nil)
}

// uncompared reports whether the reports were to be compared, and were not.
func (r *bundleReport) uncompared() bool { return r.Reports != nil && !r.Reports.Computed }

// recompute computes the reports of a verified bundle again.
func recompute(a *term.App) func(context.Context, *bundlefile.Bundle, *receipt.TrustPolicy) (*bundlefile.Reports, error) {
	return func(ctx context.Context, b *bundlefile.Bundle, accepted *receipt.TrustPolicy) (_ *bundlefile.Reports, err error) {
		r, err := newTempReplica(a, accepted, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, r.close()) }()
		log, err := r.importBundle(a, b)
		if err != nil {
			return nil, err
		}
		return bundle.Recompute(ctx, b, log)
	}
}

// verifyBundle verifies a bundle, and shows the progress.
func verifyBundle(a *term.App, r io.ReaderAt, size int64, name string, policies []*receipt.TrustPolicy, o bundlefile.Options) (*bundlefile.Bundle, *bundlefile.Report, error) {
	show, finish := a.ProgressFunc("verify " + name)
	defer finish()
	o.Progress = show
	return bundlefile.Verify(a.Ctx, r, size, policies, o)
}

// describe adds what the manifest contains.
func (r *bundleReport) describe(b *bundlefile.Bundle) {
	m := b.Manifest
	r.Identity, r.Bytes, r.Origin, r.Tenant, r.Size, r.Root = b.Identity, b.Bytes, m.Origin, m.Tenant, m.Size, m.Root.Base64()
	r.Time, r.Entries, r.Selected = millis(m.Time).Format(time.RFC3339Nano), m.Stream.Entries, selected(m)
	for _, one := range m.Members {
		if one.Role == bundlefile.RolePayload {
			r.Included++
		}
	}
}

func millis(ms uint64) time.Time { return time.UnixMilli(int64(ms)).UTC() }

// selected describes a selection.
func selected(m *bundlefile.Manifest) string {
	var all []string
	if s := m.Selection.Release; s != "" {
		all = append(all, "release "+s)
	}
	if s := m.Selection.Subjects; len(s) > 0 {
		all = append(all, strings.Join(s, ", "))
	}
	if n := len(m.Artifacts); n > 0 {
		all = append(all, term.Count(n, "artifact"))
	}
	if s := m.Selection.Incident; s != "" {
		all = append(all, "incident "+s)
	}
	if m.Selection.Since {
		all = append(all, "since "+millis(*m.Since).Format(time.RFC3339))
	}
	if s := m.Selection.Previous; s != "" {
		all = append(all, "compared with release "+s)
	}
	return strings.Join(all, "; ")
}

// add adds the result of a verification.
func (r *bundleReport) add(v *bundlefile.Report) {
	r.Verified, r.Included, r.Omitted, r.Erased, r.Complete = true, v.Included, v.Omitted, v.Erased, v.Complete
	r.Signers, r.Policy, r.Witnessed, r.Warnings = v.Signers, v.Policy, v.Witnessed, &v.Warnings
	if v.Reports != nil {
		r.Reports = &computedReports{Computed: v.Reports.Problem == "", Problem: v.Reports.Problem, Stated: v.Reports.Stated}
	}
}

// print writes the report for people.
func (r *bundleReport) print(a *term.App) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(a.Stdout, "  %-10s%s\n", label, term.Quoted(fmt.Sprintf(format, args...)))
	}
	switch {
	case r.Reason != nil && r.Reason.Step > 0:
		fmt.Fprintf(a.Stdout, "✗ NOT VERIFIED  %s\n  %s (%s)\n", term.Quoted(r.File), term.Quoted(r.Reason.Message), r.Reason.Code)
		return
	case r.Reason != nil:
		fmt.Fprintf(a.Stdout, "? NOT CHECKED  %s\n  %s (%s)\n", term.Quoted(r.File), term.Quoted(r.Reason.Message), r.Reason.Code)
		return
	case !r.Verified:
		fmt.Fprintf(a.Stdout, "%s  %s, not verified\n", term.Quoted(r.File), term.Count(r.Bytes, "byte"))
	case r.uncompared():
		fmt.Fprintf(a.Stdout, "! EVIDENCE VERIFIED, REPORTS NOT COMPARED  %s\n", term.Quoted(r.File))
	default:
		fmt.Fprintf(a.Stdout, "✓ VERIFIED  %s\n", term.Quoted(r.File))
	}
	line("identity", "%s", r.Identity)
	line("selected", "%s", r.Selected)
	line("log", "%s, tree of %s, as of %s", r.Origin, term.Count(r.Size, "entry"), r.Time)
	if r.Verified {
		line("", "signed by %s", strings.Join(r.Signers, ", "))
		if !r.Witnessed {
			line("", "NOT WITNESSED: the policy requires no witness")
		}
	}
	line("tenant", "%s, %s of its stream", r.Tenant, term.Count(r.Entries, "entry"))
	if r.Verified {
		r.printVerified(line)
	} else {
		line("evidence", "%s with receipts", term.Count(r.Included, "payload"))
		line("next", "muniment bundle verify, with --policy and --stream-key")
	}
	if r.Signature != "" {
		line("signature", "%s", r.Signature)
	}
	switch {
	case r.Record == nil:
	case r.Record.Duplicate:
		line("recorded", "in entry %d, already before", r.Record.Entry)
	default:
		line("recorded", "in entry %d", r.Record.Entry)
	}
}

// printVerified writes what a verification has proven about the content.
func (r *bundleReport) printVerified(line func(label, format string, args ...any)) {
	line("evidence", "%s with receipts, %d omitted, %d erased", term.Count(r.Included, "payload"), r.Omitted, len(r.Erased))
	if r.Complete {
		line("complete", "no entry of the stream is missing")
	} else {
		line("", "COMPLETENESS NOT CHECKED: use --stream-key to prove that the stream has no further entry")
	}
	switch reports := r.Reports; {
	case reports == nil:
		line("reports", "NOT COMPARED WITH THE EVIDENCE, as --skip-reports requires")
	case reports.Computed:
		line("reports", "the page and the OSCAL documents are what follows from the evidence")
		for _, s := range reports.Stated {
			line("", "%s", s)
		}
	default:
		line("reports", "NOT COMPARED WITH THE EVIDENCE: %s", reports.Problem)
	}
}

type bundleShowCmd struct {
	File      string `arg:"" help:"The bundle." predictor:"file"`
	Statement bool   `help:"Print the in-toto statement about the bundle, which signatures of it contain."`
	JSON      bool   `help:"Print JSON."`
}

func (bundleShowCmd) Help() string {
	return `Prints what the manifest of a bundle lists, without verifying it.

Exit code: 0 printed; 1 not a bundle; 2 it cannot be read.

Examples:
  muniment bundle show 1.7.0.bundle.tar
  muniment bundle show 1.7.0.bundle.tar --statement >statement.json && cosign attest-blob --statement statement.json --bundle 1.7.0.bundle.tar.sigstore.json
  muniment bundle show 1.7.0.bundle.tar --json`
}

// A shownBundle is the content of a bundle. Its JSON is stable.
type shownBundle struct {
	bundleReport
	Artifacts []shownArtifact `json:"artifacts"`
	Members   []shownMember   `json:"members"`
}

type shownArtifact struct {
	Name   string            `json:"name,omitempty"`
	Type   string            `json:"type,omitempty"`
	Digest map[string]string `json:"digest"`
}

type shownMember struct {
	Name   string `json:"name"`
	Role   string `json:"role"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func (c *bundleShowCmd) Run(a *term.App) error {
	f, size, err := interrupt.OpenRegular(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := bundlefile.Open(f, size)
	if err != nil {
		if errors.Is(err, bundlefile.ErrNotVerified) {
			return term.ExitWith(term.ExitNo, err)
		}
		return err
	}
	if c.Statement {
		return c.printStatement(a, b, io.NewSectionReader(f, 0, size))
	}
	shown := &shownBundle{bundleReport: bundleReport{File: c.File}, Artifacts: []shownArtifact{}, Members: []shownMember{}}
	shown.describe(b)
	for _, one := range b.Manifest.Artifacts {
		shown.Artifacts = append(shown.Artifacts, shownArtifact{one.Name, one.Type, one.Digest})
	}
	for _, m := range b.Manifest.Members {
		shown.Members = append(shown.Members, shownMember{m.Name, string(m.Role), m.Size, m.SHA256.String()})
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, shown)
	}
	shown.print(a)
	for _, one := range shown.Artifacts {
		fmt.Fprintf(a.Stdout, "  %-10s%s\n", "artifact", term.Quoted(strings.TrimSpace(one.Type+" "+one.Name+" "+answer.DigestText(one.Digest))))
	}
	for _, m := range shown.Members {
		fmt.Fprintf(a.Stdout, "%12d  %-10s  %s\n", m.Size, m.Role, m.Name)
	}
	return nil
}

// printStatement prints the statement that a signature of the bundle contains.
func (c *bundleShowCmd) printStatement(a *term.App, b *bundlefile.Bundle, file io.Reader) error {
	summary, err := bundle.Summarize(b, file)
	if err != nil {
		return err
	}
	text, err := bundle.Statement(summary, filepath.Base(c.File))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.RawOutput(), "%s\n", text)
	return err
}

package decide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/baseline"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/oci"
)

type baselineCheckCmd struct {
	File string `arg:"" optional:"" help:"Baseline file." default:"baselines.yaml" predictor:"file"`
	remote.Flags
	remote.RegistryFlags
	WarnDays uint32 `help:"Report vettings that end within this number of days." default:"14" placeholder:"DAYS"`
	Enforced string `help:"Also compare the file with this control in force, which 'muniment baseline control' has printed." placeholder:"CONTROL"`
	Fix      bool   `help:"Propose the digests of tags that have moved and have their evidence: on a branch, with a change request."`
	Local    bool   `help:"With --fix: change the file itself, and propose nothing."`
	proposalFlags
	JSON bool `help:"Print one JSON object."`
}

func (baselineCheckCmd) Help() string {
	return `Compares each base image of a baseline with its registry and the ledger. It reports tags that have moved, digests that the registry no longer has, evidence that
is missing, and vettings that have ended or will soon. Registries only answer which digest a tag has. Evidence comes from the ledger alone: record what is
attached to an image with 'muniment append --from-oci' first.

--fix proposes new digests. Only those whose evidence is in the ledger, or which are vetted, are proposed, and nothing else in the file changes. The change is
one commit on a branch of its own, for which a change request is opened, or updated if one is open. Commits by others on that branch are never replaced. The
working tree is not touched. The token of the forge comes from --forge-token-file or MUNIMENT_FORGE_TOKEN, and needs write access to the repository.

Exit code: 0 no drift; 1 drift, also if --fix has proposed a change; 2 could not decide about an image, or no answer.

Examples:
  muniment baseline check
  muniment baseline check deploy/baselines.yaml --enforced BASE-IMAGE --json
  muniment baseline check --fix --local
  muniment baseline check --fix --forge gitea --forge-token-file forge.token`
}

// A baselineReport is the result of the command. Its JSON is stable.
type baselineReport struct {
	File     string             `json:"file"`
	Version  string             `json:"version"`
	Outcome  string             `json:"outcome"`
	Decided  string             `json:"decided,omitempty"`
	Problems []baseline.Problem `json:"problems,omitempty"` // of the file as a whole
	Images   []*baseline.Result `json:"images"`
	Change   *proposal          `json:"change,omitempty"`
	Written  bool               `json:"written,omitempty"` // to the file itself
}

func (c *baselineCheckCmd) Run(a *term.App) error {
	switch {
	case c.Local && !c.Fix:
		return errors.New("--local requires --fix")
	case c.WarnDays > 3650:
		return errors.New("--warn-days: must be at most 3650")
	}
	f, err := readBaseline(c.File)
	if err != nil {
		return err
	}
	var p *proposer
	if c.Fix && !c.Local {
		if p, err = c.proposer(c.File); err != nil {
			return err
		}
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	report, err := c.check(a, client, f)
	if err != nil {
		return err
	}
	if c.Fix {
		if err := c.fix(a.Ctx, p, f, report); err != nil {
			return errors.Join(report.write(a, c.JSON), err)
		}
	}
	if err := report.write(a, c.JSON); err != nil {
		return err
	}
	switch report.Outcome {
	case baseline.Current:
		return nil
	case baseline.Drift:
		return term.ExitWith(term.ExitNo, nil)
	}
	return term.ExitWith(term.ExitFailed, nil)
}

func (c *baselineCheckCmd) check(a *term.App, client *muniment.Client, f *baseline.File) (*baselineReport, error) {
	l := &lookup{RegistryFlags: &c.RegistryFlags, file: f, parts: map[string][]*oci.Artifact{}}
	states := make([]*baseline.State, len(f.Images))
	err := l.each(a, "resolve", func(ctx context.Context, n int, i *baseline.Image) error {
		states[n] = l.state(ctx, i)
		return ctx.Err()
	})
	if err == nil {
		err = l.evidence(a.Ctx, client, states)
	}
	if err != nil {
		return nil, err
	}
	r := &baselineReport{File: c.File, Version: f.Version, Images: []*baseline.Result{}}
	for n, i := range f.Images {
		r.Decided = states[n].Decided.UTC().Format(term.TimeFormat)
		r.Images = append(r.Images, i.Check(states[n], time.Duration(c.WarnDays)*24*time.Hour))
	}
	if c.Enforced != "" {
		if r.Problems, err = c.enforced(a.Ctx, client, f, l); err != nil {
			return nil, err
		}
	}
	r.Outcome = baseline.Outcome(r.Problems, r.Images)
	return r, nil
}

// enforced compares the file with the control in force.
func (c *baselineCheckCmd) enforced(ctx context.Context, client *muniment.Client, f *baseline.File, l *lookup) ([]baseline.Problem, error) {
	in, err := client.Gate.GetControlSet(ctx, connect.NewRequest(&munimentv1.GetControlSetRequest{Tenant: client.Tenant}))
	if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		return nil, err
	}
	text := "no control " + c.Enforced + " is in force"
	if err == nil {
		all := in.Msg.Controls
		if i := slices.IndexFunc(all, func(one *munimentv1.Control) bool { return one.Id == c.Enforced }); i >= 0 {
			if text = baseline.Outdated(all[i].Parameters, f.Parameters(l.digestsOf())); text == "" {
				return nil, nil
			}
		}
	}
	return []baseline.Problem{{Code: baseline.ControlOutdated, Text: text + ": print it with 'muniment baseline control', and apply it"}}, nil
}

// fix changes the file, or proposes its change.
func (c *baselineCheckCmd) fix(ctx context.Context, p *proposer, f *baseline.File, r *baselineReport) error {
	digests := map[string]string{}
	for _, i := range r.Images {
		if i.Update != "" {
			digests[i.Image] = i.Update
		}
	}
	if len(digests) == 0 {
		return nil
	}
	text, err := f.Update(digests)
	if err != nil {
		return err
	}
	if !c.Local {
		r.Change, err = p.propose(ctx, f, r.Images, digests)
		return err
	}
	info, err := os.Stat(c.File)
	if err != nil {
		return err
	}
	if err := wholefile.ReplacePath(c.File, text, info.Mode().Perm()); err != nil {
		return err
	}
	r.Written = true
	return nil
}

func (r *baselineReport) write(a *term.App, asJSON bool) error {
	if asJSON {
		return term.WriteJSON(a.Stdout, r)
	}
	_, err := io.WriteString(a.Stdout, r.Text())
	return err
}

// baselineMarks are the marks of outcomes.
var baselineMarks = map[string]string{baseline.Current: "✓", baseline.Drift: "✗", baseline.Undecided: "?"}

// baselineFixes has what to do about evidence that is not there. It is often
// appended already, and its signature was not verified.
var baselineFixes = map[baseline.Code]string{
	baseline.ProvenanceMissing: "append it with 'muniment append --from-oci'. It counts if the admission policy has its key: 'muniment list --subject %s' shows what is recorded",
	baseline.VettingMissing:    "sign a vetting, and append it. It counts if the admission policy has its key: 'muniment list --subject %s' shows what is recorded",
}

// Text returns the report for people.
func (r *baselineReport) Text() string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s%s\n", label, term.Quoted(fmt.Sprintf(format, args...)))
	}
	counts := map[string]int{}
	for _, i := range r.Images {
		counts[i.Outcome()]++
		fmt.Fprintf(&b, "%s %s\n", baselineMarks[i.Outcome()], term.Quoted(i.Image))
		line("digest", "%s", i.Digest)
		for _, p := range i.Problems {
			line("✗", "%s: %s", p.Code, p.Text)
			if fix := baselineFixes[p.Code]; fix != "" {
				line("fix", fix, i.Digest)
			}
		}
		for _, u := range i.Undecided {
			line("?", "could not decide: %s", u)
		}
		switch {
		case i.Update != "":
			line("update", "%s has the evidence", i.Update)
		case i.Tag != "" && i.Tag != i.Digest:
			line("update", "none: the evidence about the tag's digest is not there")
		}
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "✗ %s: %s\n", p.Code, term.Quoted(p.Text))
	}
	if r.Written {
		fmt.Fprintf(&b, "wrote the new digests to %s\n", term.Quoted(r.File))
	}
	r.Change.text(&b)
	fmt.Fprintf(&b, "\n%s %s: %s, %d with drift, %d undecided\n", baselineMarks[r.Outcome], strings.ToUpper(r.Outcome), term.Count(len(r.Images), "image"), counts[baseline.Drift], counts[baseline.Undecided])
	return b.String()
}

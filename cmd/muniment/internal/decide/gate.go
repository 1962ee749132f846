package decide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Outcomes of a decision, as the API writes them.
const (
	outcomePass      = string(evaluate.Pass)
	outcomeBlocked   = string(evaluate.Blocked)
	outcomeUndecided = string(evaluate.Undecided)
)

type gateCmd struct {
	subjectFlags
	remote.Flags
	breakGlassFlags
	deltaFlags
	Stage       string `help:"Stage to pass, as the control set names it, such as build, promote or deploy." placeholder:"STAGE"`
	Environment string `help:"Environment, such as production/eu. Controls can be enforced in some environments only." placeholder:"NAME"`
	At          string `help:"Decide as of a tree size, or a time in RFC 3339. The decision is not recorded." placeholder:"SIZE|TIME"`
	DryRun      bool   `help:"Do not record the decision."`
	Affected    bool   `help:"Instead, list what was passed before and would no longer pass, with the reasons. --stage and --environment select passes."`
	Since       string `help:"With --affected: only passes recorded since a day, a time in RFC 3339, or how long ago, such as 90d." placeholder:"TIME|DURATION"`
	Format      string `help:"Output: text for people, json, sarif (SARIF 2.1.0) or junit (JUnit XML)." enum:"text,json,sarif,junit" default:"text"`
	JSON        bool   `help:"The same as --format json."`
	Save        string `help:"Write the attestations of a pass to this folder, as Sigstore bundles named by type and digest: vsa-sha256-….json, svr-… and deployment-…. Stock cosign verifies them with the log's gate.pub." placeholder:"DIR" type:"path"`
}

func (gateCmd) Help() string {
	return `Decides whether artifacts may pass a stage, by the control set in force and the evidence in the ledger. Registries are only asked what a tag or an
index stands for. The ledger records each decision. The decision is the same in every place that holds the same entries.

Output lists, for each control, what it needs, what was found, and what is missing. Exceptions that a pass rests on are listed with their expiry.

--delta decides offline, from files that muniment export has written, by the same rules and with the same answers. Their signature, the trust policy and the
stream key must prove them genuine and complete, or the gate could not decide. Decisions go to the folder --spool, from which muniment spool submit sends
them to the ledger later. --bundle decides in the same way from an evidence bundle, about the artifacts that it was created for.

--affected decides again, as of now, everything that was passed before. It lists the passes that would no longer be one, because a key was compromised or
retired, evidence such as a scan or a VEX statement was added, an exception ended, the control set changed, or time has passed. It records nothing.

Exit code: 0 pass, or with --affected everything would still pass; 1 blocked, or something would not; 2 could not decide. Treat 2 like 1: nothing that is unproven may pass.

Examples:
  muniment gate registry.example.com/app:1.7.0 --stage deploy --environment production/eu
  muniment gate gateway-1.7.0.tgz --stage promote
  helm template gateway | muniment gate --manifest - --stage deploy --environment production/eu
  muniment gate sha256:2cf24dba… --type image --stage deploy --at 2026-11-01T00:00:00Z
  muniment gate dist/*.tgz --stage build --format sarif > gate.sarif
  muniment gate gateway-1.7.0.tgz --stage deploy --delta acme-0.delta --policy policy --stream-key acme.key --spool spool
  muniment gate gateway-1.7.0.tgz --stage deploy --bundle release.bundle.tar --policy policy --stream-key acme.key --dry-run
  muniment gate --affected --stage deploy --environment production/eu
  muniment gate gateway-1.7.0.tgz --stage deploy --environment production/eu --break-glass --reason "outage 4711" --identity-token env --tenant acme`
}

func (c *gateCmd) Run(a *term.App) error {
	if c.JSON {
		c.Format = "json"
	}
	switch {
	case c.Affected && c.BreakGlass:
		return errors.New("--affected lists passes, and cannot be used with --break-glass")
	case (len(c.Delta) > 0 || c.Bundle != "") && (c.Affected || c.BreakGlass):
		return errors.New("--delta and --bundle: cannot be used with --affected or --break-glass")
	case c.Affected:
		return c.affected(a)
	case c.Since != "":
		return errors.New("--since requires --affected")
	case c.Stage == "":
		return errors.New("no stage specified: use --stage")
	}
	request := &munimentv1.DecideRequest{Stage: c.Stage, Environment: c.Environment, DryRun: c.DryRun}
	if err := setAt(request, c.At); err != nil {
		return err
	}
	report, err := c.report(a, request)
	if err != nil {
		return err
	}
	if c.Save != "" {
		if err := report.save(a, c.Save); err != nil {
			return err
		}
	}
	report.program = a.Version
	if err := report.write(a.Stdout, c.Format); err != nil {
		return err
	}
	return exitOf(report.Decision)
}

// exitOf returns the end of a command with the outcome.
func exitOf(outcome string) error {
	switch outcome {
	case outcomePass:
		return nil
	case outcomeBlocked:
		return term.ExitWith(term.ExitNo, nil)
	}
	return term.ExitWith(term.ExitFailed, nil)
}

// report decides about the artifacts, or breaks the glass.
func (c *gateCmd) report(a *term.App, request *munimentv1.DecideRequest) (*gateReport, error) {
	if c.BreakGlass {
		g, err := c.open(a)
		if err != nil {
			return nil, err
		}
		return g.run(request)
	}
	if c.Reason != "" || len(c.Control) > 0 || c.Controls != "" || c.Key != "" {
		return nil, errors.New("--reason, --key, --control and --controls require --break-glass")
	}
	if len(c.Delta) > 0 || c.Bundle != "" {
		return c.byFile(a, request)
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return nil, err
	}
	return c.ask(a, client, request)
}

// ask asks the ledger to decide about the artifacts.
func (c *gateCmd) ask(a *term.App, client *muniment.Client, request *munimentv1.DecideRequest) (*gateReport, error) {
	request.Tenant, request.Subjects = client.Tenant, nil
	set, err := controlSet(a.Ctx, client)
	if err != nil {
		return nil, err
	}
	subjects, unknown, err := c.resolve(a, images.PathsOf(set.GetSet()))
	if err != nil {
		return nil, err
	}
	for _, s := range subjects {
		request.Subjects = append(request.Subjects, s.GateSubject)
	}
	request.Explain = len(subjects) <= maxExplained
	report, err := newReport(a.Ctx, client, set, request, subjects)
	if err != nil {
		return nil, err
	}
	report.addUnknown(unknown)
	return report, nil
}

// newReport asks for decisions about the subjects, and reports them.
func newReport(ctx context.Context, client *muniment.Client, set *munimentv1.GetControlSetResponse, request *munimentv1.DecideRequest, subjects []*subject) (*gateReport, error) {
	report := &gateReport{Stage: request.Stage, Environment: request.Environment, Decision: outcomePass, warnUnknown: set.GetSet().GetUnknownImageFields() == "warn"}
	if len(subjects) == 0 {
		return report, nil
	}
	res, err := client.Gate.Decide(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	if n := len(res.Msg.Decisions); n != len(subjects) {
		return nil, fmt.Errorf("the server decided about %d of %s: upgrade it, or ask about fewer", n, term.Count(len(subjects), "artifact"))
	}
	report.add(subjects, res.Msg.Decisions)
	return report, nil
}

// controlSet returns the control set in force, or nil if there is none or it
// cannot be read. The decision then explains that.
func controlSet(ctx context.Context, client *muniment.Client) (*munimentv1.GetControlSetResponse, error) {
	res, err := client.Gate.GetControlSet(ctx, connect.NewRequest(&munimentv1.GetControlSetRequest{Tenant: client.Tenant}))
	switch code := connect.CodeOf(err); {
	case err == nil:
		return res.Msg, nil
	case code == connect.CodeNotFound, code == connect.CodeFailedPrecondition:
		return nil, nil
	}
	return nil, err
}

// maxExplained is the number of subjects whose results the API explains.
const maxExplained = 100

// setAt sets the point in time of a request from a flag.
func setAt(r *munimentv1.DecideRequest, at string) error {
	if at == "" {
		return nil
	}
	var size uint64
	if _, err := fmt.Sscanf(at+" ", "%d ", &size); err == nil && fmt.Sprint(size) == at {
		r.At = &munimentv1.DecideRequest_TreeSize{TreeSize: size}
		return nil
	}
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return fmt.Errorf("--at: %q is neither a tree size nor a time in RFC 3339, such as 2026-11-01T00:00:00Z", at)
	}
	r.At = &munimentv1.DecideRequest_Time{Time: timestamppb.New(t)}
	return nil
}

// A gateReport is the result of the command. Its JSON is stable.
type gateReport struct {
	Decision    string                `json:"decision"`
	Stage       string                `json:"stage"`
	Environment string                `json:"environment,omitempty"`
	ControlSet  string                `json:"controlSet,omitempty"`
	TreeSize    uint64                `json:"treeSize"`
	Decided     string                `json:"decided,omitempty"`
	Subjects    []gateSubject         `json:"subjects"`
	Unknown     []answer.UnknownField `json:"unknownFields,omitempty"`
	Offline     bool                  `json:"offline,omitempty"` // without the ledger
	BreakGlass  []glassUse            `json:"breakGlass,omitempty"`

	warnUnknown bool
	program     string // its version
	artifacts   []*subject
	decisions   []*munimentv1.GateDecision // as artifacts
	spool       string
}

// A gateSubject is an artifact with the decision about it.
type gateSubject struct {
	answer.Subject
	attestations []string
}

// worse returns the worse of two outcomes. One that this version does not
// define is undecided.
func worse(a, b string) string {
	return string(evaluate.Combine(evaluate.Outcome(a), evaluate.Outcome(b)))
}

func (r *gateReport) add(subjects []*subject, decisions []*munimentv1.SubjectDecision) {
	for i, d := range decisions {
		g := d.Decision
		r.ControlSet, r.TreeSize, r.Decided = g.GetControlSet(), g.GetTreeSize(), answer.FormatTime(g.Decided)
		s := subjects[i]
		out := gateSubject{answer.NewSubject(s.GateSubject, s.Where, d), g.Attestations}
		r.Subjects = append(r.Subjects, out)
		r.artifacts, r.decisions = append(r.artifacts, s), append(r.decisions, g)
		r.Decision = worse(r.Decision, g.Decision)
	}
}

func (r *gateReport) addUnknown(all []images.Image) {
	for _, i := range all {
		r.Unknown = append(r.Unknown, answer.UnknownField{Resource: i.Resource, Field: i.Field, Reference: i.Reference})
	}
	if len(all) > 0 && !r.warnUnknown {
		r.Decision = worse(r.Decision, outcomeUndecided)
	}
}

// save writes the attestations of all passes.
func (r *gateReport) save(a *term.App, dir string) error {
	if err := term.SaveFolder(dir); err != nil {
		return err
	}
	for _, s := range r.Subjects {
		for _, bundle := range s.attestations {
			prefix, err := attestationPrefix([]byte(bundle))
			if err == nil {
				err = a.SaveByDigest(dir, prefix, []byte(bundle))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// attestationPrefix returns the start of the name of an attestation's file.
func attestationPrefix(bundle []byte) (string, error) {
	b, err := sigstore.Parse(bundle)
	if err != nil {
		return "", fmt.Errorf("attestation from the server: %w", err)
	}
	if b.Statement == nil {
		return "", nil
	}
	return map[string]string{intoto.SLSASummaryV1: "vsa-", intoto.SVR: "svr-", intoto.Deployment: "deployment-"}[b.Statement.PredicateType], nil
}

func (r *gateReport) write(w *term.Output, format string) error {
	switch format {
	case "json":
		return term.WriteJSON(w, r)
	case "sarif":
		return r.writeSARIF(w)
	case "junit":
		return r.writeJUnit(w)
	}
	_, err := io.WriteString(w, r.Text())
	return err
}

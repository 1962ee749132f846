package decide

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type whyCmd struct {
	subjectFlags
	remote.Flags
	Stage       string `help:"Only this stage. Default: every stage of the control set." placeholder:"STAGE"`
	Environment string `help:"Only this environment. Default: none, and those that the control set or earlier decisions about the subjects name." placeholder:"NAME"`
	JSON        bool   `help:"Print one JSON object."`
}

func (whyCmd) Help() string {
	return `Explains whether artifacts would pass each stage now, as 'muniment gate' decides it: for each control what it needs, the entries that were found, the exceptions,
and what is missing. Without an environment, the strictest mode of each control applies. Nothing is recorded.

Exit code: 0 everything would pass; 1 something would be blocked; 2 something could not be decided, or no answer.

Examples:
  muniment why gateway-1.7.0.tgz
  muniment why registry.example.com/app:1.7.0 --stage deploy
  muniment why sha256:2cf24dba… --type image --environment production/eu --json`
}

// A whyReport is the result of the command. Its JSON is stable.
type whyReport struct {
	Decision string        `json:"decision"`
	Stages   []*gateReport `json:"stages"` // one for each stage and environment
}

func (c *whyCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	set, err := controlSet(a.Ctx, client)
	if err != nil {
		return err
	}
	subjects, unknown, err := c.resolve(a, images.PathsOf(set.GetSet()))
	if err != nil {
		return err
	}
	if len(subjects) > maxExplained {
		return fmt.Errorf("%d subjects, above the limit of %d for explanations: ask about fewer, or use muniment gate --dry-run", len(subjects), maxExplained)
	}
	places, more, err := c.places(a.Ctx, client, set, subjects)
	if err != nil {
		return err
	}
	report := &whyReport{Decision: outcomePass, Stages: []*gateReport{}}
	for _, p := range places {
		request := &munimentv1.DecideRequest{Tenant: client.Tenant, Stage: p.stage, Environment: p.environment, DryRun: true, Explain: true}
		for _, s := range subjects {
			request.Subjects = append(request.Subjects, s.GateSubject)
		}
		one, err := newReport(a.Ctx, client, set, request, subjects)
		if err != nil {
			return err
		}
		one.addUnknown(unknown)
		report.Stages = append(report.Stages, one)
		report.Decision = worse(report.Decision, one.Decision)
	}
	if c.JSON {
		err = term.WriteJSON(a.Stdout, report)
	} else {
		err = report.write(a.Stdout)
	}
	if err != nil {
		return err
	}
	if more > 0 {
		a.Warn(fmt.Sprintf("%s left out: name one with --environment", term.Count(more, "further environment")))
	}
	return exitOf(report.Decision)
}

func (r *whyReport) write(w io.Writer) error {
	for i, one := range r.Stages {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(w, one.Text()); err != nil {
			return err
		}
	}
	return nil
}

// A place is a stage in an environment, or in none.
type place struct{ stage, environment string }

// maxEnvironments is the number of environments of a stage that are explained.
const maxEnvironments = 16

// places returns the stages and environments to explain, in the order of the
// control set, and the number of environments that are left out.
func (c *whyCmd) places(ctx context.Context, client *muniment.Client, set *munimentv1.GetControlSetResponse, subjects []*subject) (all []place, more int, err error) {
	stages := set.GetSet().GetStages()
	if c.Stage != "" {
		stages = []string{c.Stage}
	}
	if len(stages) == 0 {
		return nil, 0, errNoStage(set)
	}
	decided := map[place]bool{}
	if c.Environment == "" {
		decided, err = environmentsOf(ctx, client, subjects)
		// An appender reads no entries.
		if err != nil && connect.CodeOf(err) != connect.CodePermissionDenied {
			return nil, 0, err
		}
	}
	for _, stage := range stages {
		names := []string{c.Environment}
		if c.Environment == "" {
			var known []string
			for p := range decided {
				if p.stage == stage && p.environment != "" {
					known = append(known, p.environment)
				}
			}
			known = append(known, literals(set, stage)...)
			slices.Sort(known)
			known = slices.Compact(known)
			more += max(0, len(known)-maxEnvironments)
			names = append(names, known[:min(len(known), maxEnvironments)]...)
		}
		for _, name := range names {
			all = append(all, place{stage, name})
		}
	}
	return all, more, nil
}

func errNoStage(set *munimentv1.GetControlSetResponse) error {
	if set == nil {
		return fmt.Errorf("%s", answer.Explain("no-control-set"))
	}
	return fmt.Errorf("%s", answer.Explain("unreadable-control-set"))
}

// literals returns the environments that the control set names for a stage,
// without patterns.
func literals(set *munimentv1.GetControlSetResponse, stage string) []string {
	all := slices.Clone(set.GetSet().GetEnvironments())
	for _, c := range set.GetControls() {
		for _, m := range c.Modes {
			if m.Stage == stage {
				all = append(all, m.Environments...)
			}
		}
	}
	return slices.DeleteFunc(all, func(name string) bool { return strings.ContainsAny(name, `*?[]{}\`) })
}

// maxDecisionsRead is the number of earlier decisions about a subject that are
// searched for environments.
const maxDecisionsRead = 200

// environmentsOf returns the stages and environments of earlier decisions about
// the subjects.
func environmentsOf(ctx context.Context, client *muniment.Client, subjects []*subject) (map[place]bool, error) {
	all := map[place]bool{}
	for _, s := range subjects {
		for alg, value := range s.Artifact.Digest {
			n := 0
			filter := &munimentv1.Filter{Kind: kindname.GateDecision, Subject: alg + ":" + value}
			err := eachEntry(ctx, client, filter, munimentv1.Order_ORDER_NEWEST_FIRST, func(e *munimentv1.Entry) (bool, error) {
				parsed, err := ledgerEntry(e)
				if err != nil {
					return false, err
				}
				if parsed.Header != nil {
					all[place{parsed.Header.Attributes["stage"], parsed.Header.Attributes["environment"]}] = true
				}
				n++
				return n < maxDecisionsRead, nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

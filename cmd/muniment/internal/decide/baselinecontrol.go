package decide

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/baseline"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/verifiers/oci"
)

type baselineControlCmd struct {
	File   string   `arg:"" optional:"" help:"Baseline file." default:"baselines.yaml" predictor:"file"`
	Signer []string `help:"Signer in the control set whose provenance of built images counts. May be repeated." placeholder:"NAME" required:"" sep:"none"`
	ID     string   `name:"id" help:"ID of the control." default:"BASE-IMAGE" placeholder:"ID"`
	Stage  string   `help:"Stage at which the control is evaluated." default:"deploy" placeholder:"STAGE"`
	Mode   string   `help:"Mode of the control." enum:"enforce,warn,audit" default:"enforce" placeholder:"enforce|warn|audit"`
	remote.RegistryFlags
}

func (baselineControlCmd) Help() string {
	return `Prints a control as an element of the list 'controls' of a control set file. It allows images that are built on the base images of the baseline only, by the
materials of their provenance. The digests and the ends of vettings become its parameters, so that gates need neither the file nor a registry. The registries
are asked for the manifests in indexes, because provenance can name either.

Apply the control again whenever the baseline changes: 'muniment baseline check --enforced BASE-IMAGE' reports when it is outdated.

Exit code: 0 printed; 2 no answer.

Examples:
  muniment baseline control --signer 'release workflow' >>controls.yaml
  muniment baseline control deploy/baselines.yaml --signer ci --stage promote --mode warn`
}

func (c *baselineControlCmd) Run(a *term.App) error {
	f, err := readBaseline(c.File)
	if err != nil {
		return err
	}
	l := &lookup{RegistryFlags: &c.RegistryFlags, file: f, parts: map[string][]*oci.Artifact{}}
	err = l.each(a, "read", func(ctx context.Context, _ int, i *baseline.Image) error {
		_, err := l.resolve(ctx, pinned(i))
		return err
	})
	if err != nil {
		return err
	}
	control := f.Control(&baseline.GateControl{ID: c.ID, Signers: c.Signer, Stage: c.Stage, Mode: c.Mode}, l.digestsOf())
	if err := checkControl(control); err != nil {
		return err
	}
	_, err = fmt.Fprint(a.Stdout, baseline.YAML(control))
	return err
}

// checkControl checks a control in a set that has its stage and signers.
func checkControl(c *catalog.Control) error {
	set := &catalog.Set{Version: "1", Stages: []string{c.Modes[0].Stage}, Controls: []*catalog.Control{c}}
	for _, name := range c.Check.Require[0].Signers {
		set.Signers = append(set.Signers, &catalog.Signer{Name: name, Submitters: []string{"*"}})
	}
	var all []error
	for _, p := range set.Problems() {
		all = append(all, errors.New(p.String()))
	}
	return errors.Join(all...)
}

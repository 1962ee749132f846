package main

import (
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/explain"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
)

type triageCmd struct {
	Serve   serveCmd   `cmd:"" help:"Receive alerts, classify incidents and take the steps against them."`
	Explain explainCmd `cmd:"" help:"Print why alerts, recorded or those of a running triage, are or are not an incident."`
	List    listCmd    `cmd:"" help:"Print the incidents of the ledger."`
	Show    showCmd    `cmd:"" help:"Print the steps, notices and requests of an incident."`
	Drill   drillCmd   `cmd:"" help:"Send the alerts of a scenario, and record how triage reacts."`
	Approve approveCmd `cmd:"" help:"Approve the step that an incident waits for."`
	Reject  rejectCmd  `cmd:"" help:"Reject the step that an incident waits for."`
	Undo    undoCmd    `cmd:"" help:"Undo the steps against an incident."`
	Misfire misfireCmd `cmd:"" help:"Mark a playbook as a misfire: undo its steps and quarantine its type."`
	Release releaseCmd `cmd:"" help:"Release a type of incident from quarantine."`
	Kill    killCmd    `cmd:"" help:"Switch all steps but undo off."`
	Unkill  unkillCmd  `cmd:"" help:"Switch steps on again."`
}

// configFlags are the files that configure triage.
type configFlags struct {
	Catalogue string `help:"Catalogue of incident types." default:"catalogue.yaml" type:"path" predictor:"file" placeholder:"FILE"`
	Playbooks string `help:"Playbooks." default:"playbooks.yaml" type:"path" predictor:"file" placeholder:"FILE"`
	Actions   string `help:"Actions." default:"actions.yaml" type:"path" predictor:"file" placeholder:"FILE"`
}

type explainCmd struct {
	Alerts string `arg:"" optional:"" help:"File of recorded messages of Alertmanager's webhook, one JSON object after another." type:"path" predictor:"file"`
	configFlags
	Connectors string        `help:"Connectors, to check them too. Nothing is opened that they name." type:"path" predictor:"file" placeholder:"FILE"`
	After      time.Duration `help:"Time that has passed since the last message, such as 30s."`
	Triage     string        `help:"URL of a running conductor triage serve, whose state is printed instead." placeholder:"URL"`
	Operator   string        `name:"operator-token-file" help:"File with the token of operators of that triage." type:"path" predictor:"file" placeholder:"FILE"`
	CA         string        `name:"ca" help:"Certificates of the authorities to verify its certificate with, in PEM. Default: the system's." placeholder:"FILE" predictor:"file" type:"path"`
	term.ResultFlags
}

func (explainCmd) Help() string {
	return `Applies recorded messages to the catalogue in their order, and prints the result of each incident type: classified, abstained or incomplete, with the reasons.
It changes nothing and needs no network. A message has the time of reception of its member "received", or else the latest of its times.

With --triage it prints the state of a running conductor triage serve instead: the alerts, the incidents that are not closed, what keeps steps from being taken,
and the result of each candidate. It changes nothing there either.

Exit code: 0 an incident is classified, or with --triage not closed; 1 none is; 2 failed, also because a file is not valid.

Examples:
  conductor triage explain ALERTS.json
  conductor triage explain ALERTS.json --connectors connectors.yaml
  conductor triage explain ALERTS.json --catalogue types.yaml --after 30s --json
  conductor triage explain --triage http://127.0.0.1:9482 --operator-token-file operator.token`
}

func (c *explainCmd) Run(a *term.App) error {
	switch {
	case c.Triage != "" && (c.Alerts != "" || c.After != 0 || c.Connectors != ""):
		return errors.New("--triage: prints the state of that triage, and takes no recorded alerts, --after or --connectors")
	case c.Triage != "":
		return c.running(a)
	case c.Alerts == "":
		return errors.New("no alerts specified: give a file of recorded messages, or --triage")
	}
	if c.After < 0 || c.After > 24*time.Hour {
		return errors.New("--after: must be from 0s to 24h")
	}
	config, err := c.load()
	if err != nil {
		return err
	}
	if c.Connectors != "" {
		if err := readConnectors(config, c.Connectors); err != nil {
			return err
		}
	}
	messages, err := bounded.ReadFile(c.Alerts, explain.MaxBytes)
	if err != nil {
		return fmt.Errorf("read the alerts: %w", err)
	}
	e, err := explain.Explain(config, messages, c.After)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Alerts, err)
	}
	if err := c.Print(a, e); err != nil {
		return err
	}
	if !e.Classified() {
		return term.ExitWith(term.ExitNo, errors.New(""))
	}
	return nil
}

func (c *configFlags) load() (*triage.Config, error) {
	files := [3]triage.File{{Name: c.Catalogue}, {Name: c.Playbooks}, {Name: c.Actions}}
	for i := range files {
		var err error
		if files[i].Text, err = bounded.ReadFile(files[i].Name, bounded.Config); err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	return triage.Load(files[0], files[1], files[2])
}

// readConnectors reads the file of connectors.
func readConnectors(config *triage.Config, name string) error {
	text, err := bounded.ReadFile(name, bounded.Config)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	return config.Connect(triage.File{Name: name, Text: text})
}

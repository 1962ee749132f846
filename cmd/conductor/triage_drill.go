package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/conductor/triage/account"
	"muniment.dev/muniment/conductor/triage/drill"
	"muniment.dev/muniment/conductor/triage/explain"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type drillCmd struct {
	Scenario    string `arg:"" help:"File of recorded messages of Alertmanager's webhook, as for triage explain." type:"path" predictor:"file"`
	Name        string `help:"Name of the drill, of at most 64 lowercase letters, digits and hyphens. Default: the time."`
	Triage      string `help:"URL of the running conductor triage serve." required:"" placeholder:"URL"`
	SenderToken string `name:"sender-token-file" help:"File with the token of a sender of alerts." required:"" placeholder:"FILE" predictor:"file" type:"path"`
	configFlags
	ToAct  time.Duration `help:"Longest time until the first action." default:"2m"`
	ToUndo time.Duration `help:"Longest time from the end of the alerts until the incident is closed." default:"5m"`
	ledgerFlags
	term.ResultFlags
}

func (drillCmd) Help() string {
	return `Sends the alerts of a scenario to a running triage, waits in the ledger for the first action, resolves the alerts, waits until all is undone, and records
the result as an entry. The actions are real: they change their targets, and are undone about a minute after the end of the alerts. The alerts have the label
drill, so they are not those of a real incident. The token of the ledger must be able to read and to append entries of the kind triage-action.

Exit code: 0 passed; 1 failed: no action, the wrong one, or not undone; 2 the drill could not be run.

Examples:
  conductor triage drill gateway-5xx.json --triage http://127.0.0.1:9482 --sender-token-file drill.token --server https://ledger.example --token-file ledger.token --policy ledger.policy
  conductor triage drill gateway-5xx.json --name friday --triage http://127.0.0.1:9482 --sender-token-file drill.token --json`
}

var drillName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func (c *drillCmd) Run(a *term.App) error {
	now := time.Now()
	name := c.Name
	if name == "" {
		name = now.UTC().Format("20060102-150405")
	}
	switch {
	case !drillName.MatchString(name):
		return errors.New("--name: must have 1 to 64 lowercase letters, digits and hyphens")
	case c.ToAct <= 0 || c.ToUndo <= 0:
		return errors.New("--to-act, --to-undo: must be positive")
	}
	config, err := c.load()
	if err != nil {
		return err
	}
	file, err := bounded.ReadFile(c.Scenario, explain.MaxBytes)
	if err != nil {
		return fmt.Errorf("read the scenario: %w", err)
	}
	s, err := drill.Read(config, file, name, now)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Scenario, err)
	}
	secret, err := bounded.ReadSecret(c.SenderToken)
	if err != nil {
		return fmt.Errorf("--sender-token-file: %w", err)
	}
	r, err := c.reader()
	if err != nil {
		return err
	}
	client, err := httpClient(c.CA)
	if err != nil {
		return err
	}
	d := &drill.Drill{
		Name: name, Scenario: s, ToAct: c.ToAct, ToUndo: c.ToUndo, Progress: func(text string) { a.Warn(text) },
		Send: func(ctx context.Context, body []byte) error {
			return c.send(ctx, client, strings.TrimSpace(string(secret)), body)
		},
		Incidents: func(ctx context.Context, since time.Time) ([]*account.Incident, error) {
			all, _, err := r.Incidents(ctx, since)
			return all, err
		},
	}
	result, err := d.Run(a.Ctx)
	if err != nil {
		return err
	}
	if err := c.record(a, r, result); err != nil {
		return err
	}
	if err := c.Print(a, result); err != nil {
		return err
	}
	if !result.Passed {
		return term.ExitWith(term.ExitNo, errors.New(""))
	}
	return nil
}

// send delivers a webhook to triage.
func (c *drillCmd) send(ctx context.Context, client *http.Client, token string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.Triage, "/")+"/alertmanager", bytes.NewReader(body))
	if err != nil {
		return errors.New("--triage: must be a URL")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", res.Status, term.Escape(strings.TrimSpace(string(text))))
	case !bytes.Contains(text, []byte(`"refused":[]`)) && bytes.Contains(text, []byte(`"refused":[`)):
		return fmt.Errorf("triage refuses alerts: %s", term.Escape(strings.TrimSpace(string(text))))
	}
	return nil
}

// record appends the result to the ledger.
func (c *drillCmd) record(a *term.App, r *account.Reader, result *drill.Result) error {
	who, err := r.Client.Identity.WhoAmI(a.Ctx, connect.NewRequest(&munimentv1.WhoAmIRequest{}))
	if err != nil {
		return fmt.Errorf("who you are: %w", err)
	}
	s, err := result.Submission(who.Msg.Identity)
	if err != nil {
		return err
	}
	res, err := r.Client.Append(a.Ctx, s)
	if err != nil {
		return fmt.Errorf("record the result: %w", err)
	}
	result.Entry = &res.Index
	return nil
}

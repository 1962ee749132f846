package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/triage/account"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// ledgerFlags are those of commands that persons run.
type ledgerFlags struct {
	Server        string `help:"URL of the ledger." required:"" placeholder:"URL" env:"MUNIMENT_SERVER"`
	Tenant        string `help:"Tenant of the ledger. Default: that of the token." env:"MUNIMENT_TENANT"`
	TokenFile     string `help:"File with a token of the role reader. The token itself can be given in MUNIMENT_TOKEN." placeholder:"FILE" env:"MUNIMENT_TOKEN_FILE" predictor:"file" type:"path"`
	IdentityToken string `help:"Authenticate as a person, with an OIDC identity token: a file, or 'env' for the token in MUNIMENT_ID_TOKEN. Requires --tenant." placeholder:"FILE|env" env:"MUNIMENT_IDENTITY_TOKEN" predictor:"file"`
	Policy        string `help:"Trust policy that receipts of the ledger are verified against." required:"" placeholder:"FILE" env:"MUNIMENT_POLICY" predictor:"file" type:"path"`
	CA            string `name:"ca" help:"Certificates of the authorities to verify the ledger's certificate with, in PEM. Default: the system's." placeholder:"FILE" env:"MUNIMENT_CA" predictor:"file" type:"path"`
}

// reader returns a reader of the ledger's incidents.
func (f *ledgerFlags) reader() (*account.Reader, error) {
	o, err := trust(f.Server, f.Tenant, f.Policy, f.CA)
	if err != nil {
		return nil, err
	}
	switch {
	case f.IdentityToken == "":
		if o.Token, err = token(f.TokenFile); err != nil {
			return nil, err
		}
	case f.Tenant == "":
		return nil, errors.New("--identity-token: requires --tenant")
	default:
		o.Identity = f.identity
	}
	client, err := muniment.New(o)
	if err != nil {
		return nil, err
	}
	return &account.Reader{Client: client, Policy: o.Policy}, nil
}

// identity returns the identity token of the person.
func (f *ledgerFlags) identity(context.Context) (string, error) {
	if f.IdentityToken == "env" {
		text := strings.TrimSpace(os.Getenv(muniment.IDTokenVariable))
		if text == "" {
			return "", fmt.Errorf("--identity-token env: %s is not set", muniment.IDTokenVariable)
		}
		return text, nil
	}
	text, err := bounded.ReadSecret(f.IdentityToken)
	if err != nil {
		return "", fmt.Errorf("--identity-token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// requestFlags are those of commands that make a request.
type requestFlags struct {
	ledgerFlags
	Reason string `help:"Reason, which the entry contains, at most 1,000 characters." placeholder:"TEXT"`
	term.ResultFlags
}

// requested is the result of a command that makes a request.
type requested struct {
	Action   string `json:"action"`
	Incident string `json:"incident"`
	By       string `json:"by"`
	Entry    uint64 `json:"entry"`
}

// Text implements term.Result.
func (r *requested) Text() string {
	of := r.Incident
	if of == execute.All {
		of = "all incidents"
	}
	return fmt.Sprintf("entry %d: %s of %s, by %s\nThe executor applies it if its actions list this person in approvers.\n", r.Entry, r.Action, of, term.Escape(r.By))
}

// maxReason is the number of characters of a reason.
const maxReason = 1000

// make records a request. Its members that depend on the ledger are filled by
// a function, which can be nil.
func (f *requestFlags) make(a *term.App, q account.Request, fill func(*account.Reader, *account.Request) error) error {
	if len([]rune(f.Reason)) > maxReason {
		return fmt.Errorf("--reason: at most %d characters", maxReason)
	}
	r, err := f.reader()
	if err != nil {
		return err
	}
	who, err := r.Client.Identity.WhoAmI(a.Ctx, connect.NewRequest(&munimentv1.WhoAmIRequest{}))
	if err != nil {
		return fmt.Errorf("who you are: %w", err)
	}
	q.By, q.Reason = who.Msg.Identity, f.Reason
	if _, err := q.Submission(time.Now()); err != nil { // before anything is read
		return err
	}
	if fill != nil {
		if err := fill(r, &q); err != nil {
			return err
		}
	}
	s, err := q.Submission(time.Now())
	if err != nil {
		return err
	}
	res, err := r.Client.Append(a.Ctx, s)
	if err != nil {
		return fmt.Errorf("record the request: %w", err)
	}
	return f.Print(a, &requested{q.Action, q.Incident, q.By, res.Index})
}

// about fills the type of a request's incident.
func about(a *term.App) func(*account.Reader, *account.Request) error {
	return func(r *account.Reader, q *account.Request) error {
		i, err := r.Incident(a.Ctx, q.Incident)
		if err != nil {
			return missing(err)
		}
		q.Type = i.Type
		return nil
	}
}

// missing gives an error about an incident that does not exist its exit code.
func missing(err error) error {
	if errors.Is(err, account.ErrNone) {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%w: conductor triage list prints those that exist", err))
	}
	return err
}

type answerFlags struct {
	Incident string `arg:"" help:"Identifier of the incident."`
	Step     int    `help:"Place of the step in the playbook, as conductor triage show prints it. Default: the step that waits." placeholder:"N"`
	requestFlags
}

// answer answers the request for approval that an incident waits for.
func (f *answerFlags) answer(a *term.App, action string) error {
	return f.make(a, account.Request{Incident: f.Incident, Action: action}, func(r *account.Reader, q *account.Request) error {
		i, err := r.Incident(a.Ctx, q.Incident)
		switch {
		case err != nil:
			return missing(err)
		case i.Waits == nil:
			return term.ExitWith(term.ExitNo, fmt.Errorf("incident %s is %s, and waits for no approval", i.ID, i.State))
		case f.Step != 0 && f.Step != i.Waits.Place:
			return term.ExitWith(term.ExitNo, fmt.Errorf("incident %s waits for the approval of step %d, and not of step %d", i.ID, i.Waits.Place, f.Step))
		}
		q.Type, q.Waits = i.Type, i.Waits
		return nil
	})
}

type approveCmd struct{ answerFlags }

func (approveCmd) Help() string {
	return `Approves the step that an incident waits for, as a person: the executor ignores tokens, and persons who are not in approvers of its actions. It must be
approved within an hour.

Exit code: 0 recorded; 1 there is no such incident, or it waits for no approval; 2 failed.

Examples:
  conductor triage approve P1-gateway-5xx-surge/016a05057c41-3 --identity-token ada.jwt --tenant acme
  conductor triage approve P1-gateway-5xx-surge/016a05057c41-3 --step 2 --reason "tested at this load" --identity-token env --tenant acme`
}

func (c *approveCmd) Run(a *term.App) error { return c.answer(a, execute.ActionApprove) }

type rejectCmd struct{ answerFlags }

func (rejectCmd) Help() string {
	return `Rejects the step that an incident waits for. The incident is escalated: people have to act. Effects of earlier steps end as usual; undo ends them at once.

Exit code: 0 recorded; 1 there is no such incident, or it waits for no approval; 2 failed.

Example:
  conductor triage reject P1-gateway-5xx-surge/016a05057c41-3 --reason "the limit is not the cause" --identity-token ada.jwt --tenant acme`
}

func (c *rejectCmd) Run(a *term.App) error { return c.answer(a, execute.ActionReject) }

type undoCmd struct {
	Incident string `arg:"" help:"Identifier of the incident."`
	requestFlags
}

func (undoCmd) Help() string {
	return `Undoes the steps against an incident. A target that somebody has changed since keeps that change.

Exit code: 0 recorded; 1 there is no such incident; 2 failed.

Example:
  conductor triage undo P1-gateway-5xx-surge/016a05057c41-3 --identity-token ada.jwt --tenant acme`
}

func (c *undoCmd) Run(a *term.App) error {
	return c.make(a, account.Request{Incident: c.Incident, Action: execute.ActionUndo}, about(a))
}

type misfireCmd struct {
	Incident string `arg:"" help:"Identifier of the incident."`
	requestFlags
}

func (misfireCmd) Help() string {
	return `Marks the playbook of an incident as a misfire. Its steps are undone, and its type is quarantined: no step against it runs until a person releases it.

Exit code: 0 recorded; 1 there is no such incident; 2 failed.

Example:
  conductor triage misfire P1-gateway-5xx-surge/016a05057c41-3 --reason "a deployment caused the errors" --identity-token ada.jwt --tenant acme`
}

func (c *misfireCmd) Run(a *term.App) error {
	return c.make(a, account.Request{Incident: c.Incident, Action: execute.ActionMisfire}, about(a))
}

type releaseCmd struct {
	Type string `arg:"" help:"Type of incident."`
	requestFlags
}

func (releaseCmd) Help() string {
	return `Releases a type of incident from the quarantine that began last, so that the steps against it run again.

Exit code: 0 recorded; 1 the type was never quarantined; 2 failed.

Example:
  conductor triage release P1-gateway-5xx-surge --reason "the matcher requires two signals now" --identity-token ada.jwt --tenant acme`
}

func (c *releaseCmd) Run(a *term.App) error {
	return c.make(a, account.Request{Type: c.Type, Action: execute.ActionRelease}, func(r *account.Reader, q *account.Request) (err error) {
		if q.Incident, err = r.Quarantine(a.Ctx, c.Type); err != nil {
			return missing(err)
		}
		return nil
	})
}

type killCmd struct{ requestFlags }

func (killCmd) Help() string {
	return `Switches all steps but undo off, for all incidents. Effects that exist are undone. If the ledger does not answer, create a file named kill in the folder
of the state of conductor triage serve instead.

Exit code: 0 recorded; 2 failed.

Example:
  conductor triage kill --reason "change freeze" --identity-token ada.jwt --tenant acme`
}

func (c *killCmd) Run(a *term.App) error {
	return c.make(a, account.Request{Incident: execute.All, Type: execute.All, Action: execute.ActionKill}, nil)
}

type unkillCmd struct{ requestFlags }

func (unkillCmd) Help() string {
	return `Switches steps on again after conductor triage kill. A file named kill in the folder of the state has to be removed.

Exit code: 0 recorded; 2 failed.

Example:
  conductor triage unkill --identity-token ada.jwt --tenant acme`
}

func (c *unkillCmd) Run(a *term.App) error {
	return c.make(a, account.Request{Incident: execute.All, Type: execute.All, Action: execute.ActionUnkill}, nil)
}

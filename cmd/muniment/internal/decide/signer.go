package decide

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
)

type signerCmd struct {
	Register   signerRegisterCmd   `cmd:"" help:"Register a key to a person, who can then use break-glass without the ledger."`
	Retire     signerRetireCmd     `cmd:"" help:"Retire a signer: what is recorded later does not count for it."`
	Compromise signerCompromiseCmd `cmd:"" help:"Mark a signer as compromised: what was recorded since does not count for it."`
	ID         signerIDCmd         `cmd:"" name:"id" help:"Print the IDs of keys, with which control sets list their signers."`
	List       signerListCmd       `cmd:"" help:"List the signers that events are about."`
}

func (signerCmd) Help() string {
	return `Controls count evidence by its signers. An event ends the life of a signer's key: evidence that was recorded before stays good.

Examples:
  muniment signer id cosign.pub
  muniment signer retire sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7 --reason "replaced by the key of 2027"
  muniment signer compromise release.pub --from 2026-11-20T00:00:00Z --reason "found on a build host"
  muniment signer register dana.pub --person oidc:https://login.example.com#dana --identity-token env --tenant acme`
}

// A signerChange is the result of a command that records an event about a
// signer.
type signerChange struct {
	Signer string `json:"signer"`
	Issuer string `json:"issuer,omitempty"`
	Event  string `json:"event"`
	From   string `json:"from"`
	Person string `json:"person,omitempty"`
	Entry  uint64 `json:"entry"`
}

// Text implements term.Result.
func (r *signerChange) Text() string {
	to := ""
	if r.Person != "" {
		to = " to " + term.Quoted(r.Person)
	}
	return fmt.Sprintf("%s %s%s from %s (entry %d)\n", term.Quoted(r.Signer), r.Event, to, r.From, r.Entry)
}

// recordKeyEvent appends an event about a signer and prints it.
func recordKeyEvent(a *term.App, client *muniment.Client, out term.ResultFlags, m *munimentv1.KeyEvent) error {
	index, err := appendEvent(a.Ctx, client, kindname.KeyEvent, m)
	if err != nil {
		return err
	}
	return out.Print(a, &signerChange{Signer: m.KeyId + m.Identity, Issuer: m.Issuer, Event: m.Event, From: answer.FormatTime(m.From), Person: m.Person, Entry: index})
}

// startOf returns the time of a flag, or now. Times of the ledger have
// milliseconds.
func startOf(from time.Time) *timestamppb.Timestamp {
	if from.IsZero() {
		from = time.Now()
	}
	return timestamppb.New(from.UTC().Truncate(time.Millisecond))
}

type signerRegisterCmd struct {
	Key string `arg:"" help:"File with the public key, in PEM." type:"path" predictor:"file"`
	remote.Flags
	Person string    `help:"Whose key it is: oidc:ISSUER#SUBJECT, as 'muniment whoami' prints it for the person." required:"" placeholder:"PERSON"`
	From   time.Time `help:"Ledger time from which the key counts. Default: now." placeholder:"TIME"`
	Reason string    `help:"Reason, which is recorded." placeholder:"TEXT"`
	term.ResultFlags
}

func (signerRegisterCmd) Help() string {
	return `The key then signs requests for break-glass in the person's name, while the ledger is down. You are recorded as the one who
registered it, and cannot confirm what it signs. A key has one person. Requires the role approver or admin, and an identity token.

Exit code: 0 recorded; 1 refused; 2 no answer.

Example:
  muniment signer register dana.pub --person oidc:https://login.example.com#dana --identity-token env --tenant acme`
}

func (c *signerRegisterCmd) Run(a *term.App) error {
	text, err := bounded.ReadFile(c.Key, bounded.Config)
	if err != nil {
		return err
	}
	key, err := dsse.ParseKey("", text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Key, err)
	}
	public, err := key.PEM()
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	return recordKeyEvent(a, client, c.ResultFlags, &munimentv1.KeyEvent{
		KeyId: key.ID, Event: keyevent.Registered, From: startOf(c.From), Person: c.Person, PublicKey: string(public), Reason: c.Reason,
	})
}

// signerFlags are the flags of commands that end the life of a signer's key.
type signerFlags struct {
	Signer string `arg:"" help:"ID of the key, a file with the public key, in PEM or armored by PGP, or with --issuer the identity in certificates."`
	remote.Flags
	Issuer string `help:"OIDC issuer of the identity." placeholder:"URL"`
	Reason string `help:"Reason, which is recorded." required:"" placeholder:"TEXT"`
	Unseen bool   `help:"Record the event, although the ledger has nothing by the signer."`
	term.ResultFlags
}

func (f *signerFlags) record(a *term.App, event string, from time.Time) error {
	m := &munimentv1.KeyEvent{Event: event, From: startOf(from), Reason: f.Reason}
	if err := f.name(m); err != nil {
		return err
	}
	client, err := f.Client(nil, nil)
	if err != nil {
		return err
	}
	if !f.Unseen {
		seen, err := isSeen(a.Ctx, client, m)
		if err != nil {
			return fmt.Errorf("look for entries by the signer: %w", err)
		}
		if !seen {
			return term.ExitWith(term.ExitNo, fmt.Errorf("nothing in the ledger is signed by %s, so the event would have no effect: check the spelling with 'muniment get' of an entry by the signer, or add --unseen", term.Quoted(m.KeyId+m.Identity)))
		}
	}
	return recordKeyEvent(a, client, f.ResultFlags, m)
}

// name sets the signer that the flags name.
func (f *signerFlags) name(m *munimentv1.KeyEvent) error {
	if f.Issuer != "" {
		m.Identity, m.Issuer = f.Signer, f.Issuer
		return nil
	}
	if _, err := os.Stat(f.Signer); err == nil {
		ids, err := keyIDs(f.Signer)
		if err == nil && len(ids) > 1 {
			err = fmt.Errorf("%s has %d keys: specify the ID of one, as 'muniment signer id' prints it", f.Signer, len(ids))
		}
		if err == nil {
			m.KeyId = ids[0]
		}
		return err
	}
	if err := entry.CheckKeyID(f.Signer); err != nil {
		if strings.ContainsAny(f.Signer, "@/") {
			return fmt.Errorf("%s: neither a key ID nor a file: for an identity in certificates, add --issuer", term.Quoted(f.Signer))
		}
		return fmt.Errorf("%s: %w", term.Quoted(f.Signer), err)
	}
	m.KeyId = f.Signer
	return nil
}

// isSeen reports whether the ledger has evidence by the signer, or a
// registration of the key.
func isSeen(ctx context.Context, client *muniment.Client, m *munimentv1.KeyEvent) (seen bool, err error) {
	filters := []*munimentv1.Filter{{Signer: m.KeyId + m.Identity}}
	if m.KeyId != "" {
		filters = append(filters, &munimentv1.Filter{Kind: kindname.KeyEvent, Attribute: "keyId=" + m.KeyId}, &munimentv1.Filter{Kind: kindname.ExceptionRequest, Attribute: "keyId=" + m.KeyId})
	}
	for _, filter := range filters {
		err := eachEntry(ctx, client, filter, munimentv1.Order_ORDER_NEWEST_FIRST, func(e *munimentv1.Entry) (bool, error) {
			one, err := ledgerEntry(e)
			if err != nil || one.Header == nil {
				return true, err
			}
			seen = isBy(one.Header, m)
			return !seen, nil
		})
		if err != nil || seen {
			return seen, err
		}
	}
	return false, nil
}

// isBy reports whether an entry is by the signer of an event.
func isBy(h *entry.Header, m *munimentv1.KeyEvent) bool {
	k := keyevent.Event{KeyID: m.KeyId, Identity: m.Identity, Issuer: m.Issuer}
	if h.Kind == kindname.KeyEvent { // one that ends the key proves nothing
		return h.Attributes["event"] == keyevent.Registered
	}
	if h.Attributes["keyId"] == m.KeyId && h.Kind == kindname.ExceptionRequest {
		return true
	}
	for i := range h.Signers {
		if k.Concerns(&h.Signers[i]) {
			return h.Verification.Result == entry.Verified
		}
	}
	return false
}

type signerRetireCmd struct {
	signerFlags
	From time.Time `help:"Ledger time after which nothing counts for the signer. Default: now." placeholder:"TIME"`
}

func (signerRetireCmd) Help() string {
	return `What was recorded until then stays good. Retiring has effect from the next decision on. Requires the role approver or admin.

Exit code: 0 recorded; 1 refused, or nothing in the ledger is by the signer; 2 no answer.

Examples:
  muniment signer retire sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7 --reason "replaced by the key of 2027"
  muniment signer retire https://github.com/acme/app/.github/workflows/old.yml@refs/heads/main --issuer https://token.actions.githubusercontent.com --reason "moved"`
}

func (c *signerRetireCmd) Run(a *term.App) error { return c.record(a, keyevent.Retired, c.From) }

type signerCompromiseCmd struct {
	signerFlags
	From time.Time `help:"Ledger time from which nothing counts for the signer." required:"" placeholder:"TIME"`
}

func (signerCompromiseCmd) Help() string {
	return `What was recorded at that time or later does not count any more, and what was recorded before stays good. Requires the role approver or admin.

Exit code: 0 recorded; 1 refused, or nothing in the ledger is by the signer; 2 no answer.

Example:
  muniment signer compromise release.pub --from 2026-11-20T00:00:00Z --reason "found on a build host"`
}

func (c *signerCompromiseCmd) Run(a *term.App) error {
	return c.record(a, keyevent.Compromised, c.From)
}

type signerListCmd struct {
	remote.Flags
	Person string `help:"Only keys that are registered to this person." placeholder:"PERSON"`
	term.ResultFlags
}

func (signerListCmd) Help() string {
	return `Exit code: 0 listed; 2 no answer.

Examples:
  muniment signer list
  muniment signer list --person oidc:https://login.example.com#dana --json`
}

func (c *signerListCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	entries, err := ledgerEntries(a.Ctx, client, kindname.KeyEvent)
	if err != nil {
		return err
	}
	rows, err := signerRows(entries)
	if err != nil {
		return err
	}
	if c.Person != "" {
		var of []*signerRow
		for _, r := range rows {
			if r.Person == c.Person {
				of = append(of, r)
			}
		}
		rows = of
	}
	return term.PrintRows(a, c.ResultFlags, rows, "no signers")
}

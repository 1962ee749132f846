package operate

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
)

type tenantCmd struct {
	Add     tenantAddCmd     `cmd:"" help:"Add a tenant with a token and a stream key."`
	Suspend tenantSuspendCmd `cmd:"" help:"Refuse all calls for a tenant until it is resumed."`
	Resume  tenantResumeCmd  `cmd:"" help:"End a suspension."`
	Remove  tenantRemoveCmd  `cmd:"" help:"Remove a tenant and its credentials. Its entries stay."`
	List    tenantListCmd    `cmd:"" help:"List the tenants and their stream IDs."`
}

// tenantToken returns the path of a tenant's first token in the data folder.
func tenantToken(name string) string { return filepath.Join(datadir.TokenDir, name+".token") }

// tenantStreamKey returns the path of a tenant's stream key in the data folder.
func tenantStreamKey(name string) string { return filepath.Join(datadir.StreamDir, name+".key") }

// A tenantFlag is the flags of commands that change a tenant.
type tenantFlag struct {
	Name string `arg:"" help:"The tenant." predictor:"tenant"`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags
}

type tenantAddCmd struct {
	Name string `arg:"" help:"1 to 63 of a-z, 0-9 and -."`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags
}

func (tenantAddCmd) Help() string {
	return `A tenant that was removed before gets its old stream and a new token. Tokens that it had issued are in force again.

Exit code: 0 added; 1 the tenant exists; 2 failed.

Example:
  muniment tenant add globex --data ./data
  muniment reload --data ./data`
}

func (c *tenantAddCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if d.Replica != nil {
		return fmt.Errorf("--data: %s is a replica: add the tenant to the log itself", c.Data)
	}
	res := &memberResult{Tenant: c.Name, State: "added", TokenFile: filepath.Join(c.Data, tenantToken(c.Name)), StreamKey: filepath.Join(c.Data, tenantStreamKey(c.Name))}
	verb := "Added"
	if err := tenants.add(c.Data, c.Name, func() (string, error) {
		lines, again, err := addOrRestoreTenant(c.Data, c.Name)
		if again {
			verb, res.State = "Restored", "restored"
		}
		return lines, err
	}); err != nil {
		return err
	}
	res.text = fmt.Sprintf("%s tenant %s:\n  %s\n  %s\n%s\n", verb, c.Name, res.TokenFile, res.StreamKey, toApply(c.Data))
	return c.Print(a, res)
}

// addOrRestoreTenant makes the files of a tenant. again reports that the tenant
// was removed before, and gets its old stream.
func addOrRestoreTenant(dir, name string) (lines string, again bool, err error) {
	if err := entry.CheckTenantName(name); err != nil {
		return "", false, fmt.Errorf("tenant %q: %w", name, err)
	}
	path := filepath.Join(dir, tenantStreamKey(name))
	_, err = datadir.ReadStreamKey(path) // refuse a damaged key
	if errors.Is(err, fs.ErrNotExist) {
		lines, err = addTenant(dir, name)
		return lines, false, err
	}
	if err != nil {
		return "", false, err
	}
	lines, err = issueFirstToken(dir, name, "admin")
	return lines, true, err
}

type tenantSuspendCmd struct{ tenantFlag }

func (tenantSuspendCmd) Help() string {
	return `All calls with the tenant's credentials are refused, and its open streams end. Nothing is deleted, and receipts still verify.

Exit code: 0 suspended; 1 there is no such tenant; 2 failed.

Example:
  muniment tenant suspend globex --data ./data && muniment reload --data ./data`
}

func (c *tenantSuspendCmd) Run(a *term.App) error { return c.suspend(a, true) }

type tenantResumeCmd struct{ tenantFlag }

func (tenantResumeCmd) Help() string {
	return `Exit code: 0 resumed; 1 there is no such tenant; 2 failed.

Example:
  muniment tenant resume globex --data ./data && muniment reload --data ./data`
}

func (c *tenantResumeCmd) Run(a *term.App) error { return c.suspend(a, false) }

func (f *tenantFlag) suspend(a *term.App, suspended bool) error {
	e, t, err := tenants.existing(f.Data, f.Name)
	if err != nil {
		return err
	}
	res, value := &memberResult{Tenant: f.Name, State: "in force"}, ""
	if suspended {
		res.State, value = "suspended", "true"
	}
	if t.Suspended == suspended {
		res.text = fmt.Sprintf("Tenant %s is already %s.\n", f.Name, res.State)
		return f.Print(a, res)
	}
	t.Suspended = suspended
	if err := errors.Join(e.Set(tenants.section(), tenants.field, f.Name, "suspended", value), e.Write()); err != nil {
		return err
	}
	res.text = fmt.Sprintf("Tenant %s is %s.\n%s\n", f.Name, res.State, toApply(f.Data))
	return f.Print(a, res)
}

type tenantRemoveCmd struct{ tenantFlag }

func (tenantRemoveCmd) Help() string {
	return `Removes the tenant from muniment.yaml and deletes its first token. Its entries stay in the log, and its stream key stays in DIR/streams for auditors. To
delete the evidence itself, first erase it: muniment erase.

Exit code: 0 removed; 1 there is no such tenant; 2 failed.

Example:
  muniment tenant remove globex --data ./data && muniment reload --data ./data`
}

func (c *tenantRemoveCmd) Run(a *term.App) error {
	if err := tenants.remove(c.Data, c.Name); err != nil {
		return err
	}
	res := &memberResult{Tenant: c.Name, State: "removed", StreamKey: filepath.Join(c.Data, tenantStreamKey(c.Name))}
	res.text = fmt.Sprintf("Removed tenant %s. Its stream key stays in %s.\n%s\n", c.Name, res.StreamKey, toApply(c.Data))
	return c.Print(a, res)
}

type tenantListCmd struct {
	Data             string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags `set:"json=Print one JSON object for each tenant."`
}

func (tenantListCmd) Help() string {
	return `The tenants are those of the data folder. With servers that share a configuration, those in force can be others, which is then a warning.

Exit code: 0 listed; 2 failed.

Example:
  muniment tenant list --data ./data`
}

func (c *tenantListCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	var rows []tenantRow
	for _, t := range d.Tenants {
		rows = append(rows, tenantRow{t.Name, t.Stream.ID.String(), len(t.Tokens), t.Suspended})
	}
	if err := tenants.warnOfShared(a, d, func(m *datadir.Members) []string { return m.Tenants }); err != nil {
		return err
	}
	return term.PrintRows(a, c.ResultFlags, rows, tenants.none(c.Data))
}

type tenantRow struct {
	Name      string `json:"name"`
	StreamID  string `json:"streamId"`
	Tokens    int    `json:"tokens"`
	Suspended bool   `json:"suspended"`
}

func (r tenantRow) Text() string {
	state := ""
	if r.Suspended {
		state = "  suspended"
	}
	return fmt.Sprintf("%-24s stream %s  tokens %d%s\n", r.Name, r.StreamID, r.Tokens, state)
}

// addTenant makes the keys of a new tenant and returns its lines for the
// configuration.
func addTenant(dir, name string) (string, error) {
	var key entry.StreamKey
	rand.Read(key[:])
	return addTenantWith(dir, name, key, "admin")
}

// addTenantWith is addTenant for a given stream key and role of the token.
func addTenantWith(dir, name string, key entry.StreamKey, role string) (string, error) {
	if err := writeStreamKey(dir, name, key); err != nil {
		return "", err
	}
	return issueFirstToken(dir, name, role)
}

// writeStreamKey writes a tenant's stream key into a data folder.
func writeStreamKey(dir, name string, key entry.StreamKey) error {
	if err := entry.CheckTenantName(name); err != nil {
		return fmt.Errorf("tenant %q: %w", name, err)
	}
	if err := owner.MkdirAll(filepath.Join(dir, datadir.StreamDir), 0o700); err != nil {
		return err
	}
	return datadir.WriteNew(filepath.Join(dir, tenantStreamKey(name)), string(key.File()), 0o600)
}

// tenantLines returns a tenant's lines for the configuration, which the lines
// of its tokens follow.
func tenantLines(name string) string {
	return fmt.Sprintf("  - name: %s\n    stream_key: %s/%s.key\n    tokens:\n", name, datadir.StreamDir, name)
}

// issueFirstToken makes the first token of a tenant whose stream key exists,
// and returns the tenant's lines for the configuration.
func issueFirstToken(dir, name, role string) (string, error) {
	token, hash := muniment.NewToken(name)
	if err := owner.MkdirAll(filepath.Join(dir, datadir.TokenDir), 0o700); err != nil {
		return "", err
	}
	if err := datadir.WriteNew(filepath.Join(dir, tenantToken(name)), token+"\n", 0o600); err != nil {
		return "", err
	}
	return tenantLines(name) + datadir.TokenLines(name, role, hash), nil
}

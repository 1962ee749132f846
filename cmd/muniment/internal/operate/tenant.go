package operate

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/ledger/entry"
)

type tenantCmd struct {
	Add     tenantAddCmd     `cmd:"" help:"Add a tenant with a token and a stream key."`
	Suspend tenantSuspendCmd `cmd:"" help:"Refuse all calls for a tenant until it is resumed."`
	Resume  tenantResumeCmd  `cmd:"" help:"End a suspension."`
	Remove  tenantRemoveCmd  `cmd:"" help:"Remove a tenant and its credentials. Its entries stay."`
	List    tenantListCmd    `cmd:"" help:"List the tenants and their stream IDs."`
}

// A tenantFlag is the flags of commands that change a tenant.
type tenantFlag struct {
	Name string `arg:"" help:"The tenant."`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
}

// edit begins to edit the configuration, and returns the tenant's index in it.
func (f *tenantFlag) edit() (*datadir.ConfigEdit, int, error) {
	if _, err := datadir.Load(f.Data); err != nil {
		return nil, 0, err
	}
	e, err := datadir.EditConfig(f.Data)
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(e.Want.Tenants, func(t datadir.TenantConfig) bool { return t.Name == f.Name })
	if i < 0 {
		return nil, 0, term.ExitWith(term.ExitNo, fmt.Errorf("there is no tenant %q: list the tenants with: muniment tenant list --data %s", f.Name, f.Data))
	}
	return e, i, nil
}

// toApply returns the advice how to apply a changed configuration.
func toApply(dir string) string {
	return "If a server is running: muniment reload --data " + dir
}

type tenantAddCmd struct {
	Name string `arg:"" help:"1 to 63 of a-z, 0-9 and -."`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
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
	if slices.ContainsFunc(d.Config.Tenants, func(t datadir.TenantConfig) bool { return t.Name == c.Name }) {
		return term.ExitWith(term.ExitNo, fmt.Errorf("tenant %q already exists", c.Name))
	}
	e, err := datadir.EditConfig(c.Data)
	if err != nil {
		return err
	}
	lines, again, err := addOrRestoreTenant(c.Data, c.Name)
	if err != nil {
		return err
	}
	added, err := datadir.DecodeConfig([]byte("tenants:\n" + lines))
	if err != nil {
		return err
	}
	e.Want.Tenants = append(e.Want.Tenants, added.Tenants...)
	if err := errors.Join(e.Add("tenants", lines), e.Write()); err != nil {
		return fmt.Errorf("%w\nadd this to the tenants in %s by hand:\n\n%s", err, datadir.ConfigFile, lines)
	}
	verb := "Added"
	if again {
		verb = "Restored"
	}
	fmt.Fprintf(a.Stdout, "%s tenant %s:\n  %s\n  %s\n%s\n", verb, c.Name,
		filepath.Join(c.Data, datadir.TokenDir, c.Name+".token"), filepath.Join(c.Data, datadir.StreamDir, c.Name+".key"), toApply(c.Data))
	return nil
}

// addOrRestoreTenant makes the files of a tenant. again reports that the tenant
// was removed before, and gets its old stream.
func addOrRestoreTenant(dir, name string) (lines string, again bool, err error) {
	if err := entry.CheckTenantName(name); err != nil {
		return "", false, fmt.Errorf("tenant %q: %w", name, err)
	}
	path := filepath.Join(dir, datadir.StreamDir, name+".key")
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
	e, i, err := f.edit()
	if err != nil {
		return err
	}
	state, value := "in force", ""
	if suspended {
		state, value = "suspended", "true"
	}
	if e.Want.Tenants[i].Suspended == suspended {
		fmt.Fprintf(a.Stdout, "Tenant %s is already %s.\n", f.Name, state)
		return nil
	}
	e.Want.Tenants[i].Suspended = suspended
	if err := errors.Join(e.Set("tenants", "name", f.Name, "suspended", value), e.Write()); err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, "Tenant %s is %s.\n%s\n", f.Name, state, toApply(f.Data))
	return nil
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
	e, i, err := c.edit()
	if err != nil {
		return err
	}
	e.Want.Tenants = slices.Delete(e.Want.Tenants, i, i+1)
	if len(e.Want.Tenants) == 0 {
		e.Want.Tenants = nil
	}
	if err := errors.Join(e.Remove("tenants", "name", c.Name), e.Write()); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.Data, datadir.TokenDir, c.Name+".token")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fmt.Fprintf(a.Stdout, "Removed tenant %s. Its stream key stays in %s.\n%s\n", c.Name, filepath.Join(c.Data, datadir.StreamDir, c.Name+".key"), toApply(c.Data))
	return nil
}

type tenantListCmd struct {
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	JSON bool   `help:"Print one JSON object for each tenant."`
}

func (tenantListCmd) Help() string {
	return `Example:
  muniment tenant list --data ./data`
}

func (c *tenantListCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	for _, t := range d.Tenants {
		if c.JSON {
			o := struct {
				Name      string `json:"name"`
				StreamID  string `json:"streamId"`
				Tokens    int    `json:"tokens"`
				Suspended bool   `json:"suspended"`
			}{t.Name, t.Stream.ID.String(), len(t.Tokens), t.Suspended}
			if err := term.WriteJSON(a.Stdout, o); err != nil {
				return err
			}
			continue
		}
		state := ""
		if t.Suspended {
			state = "  suspended"
		}
		fmt.Fprintf(a.Stdout, "%-24s stream %s  tokens %d%s\n", t.Name, t.Stream.ID, len(t.Tokens), state)
	}
	if len(d.Tenants) == 0 && !c.JSON {
		fmt.Fprintln(a.Stdout, "no tenants: add one with: muniment tenant add NAME --data "+c.Data)
	}
	return nil
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
	if err := entry.CheckTenantName(name); err != nil {
		return "", fmt.Errorf("tenant %q: %w", name, err)
	}
	if err := owner.MkdirAll(filepath.Join(dir, datadir.StreamDir), 0o700); err != nil {
		return "", err
	}
	if err := datadir.WriteNew(filepath.Join(dir, datadir.StreamDir, name+".key"), string(key.File()), 0o600); err != nil {
		return "", err
	}
	return issueFirstToken(dir, name, role)
}

// issueFirstToken makes the first token of a tenant whose stream key exists,
// and returns the tenant's lines for the configuration.
func issueFirstToken(dir, name, role string) (string, error) {
	token, hash := muniment.NewToken(name)
	if err := owner.MkdirAll(filepath.Join(dir, datadir.TokenDir), 0o700); err != nil {
		return "", err
	}
	if err := datadir.WriteNew(filepath.Join(dir, datadir.TokenDir, name+".token"), token+"\n", 0o600); err != nil {
		return "", err
	}
	return fmt.Sprintf("  - name: %s\n    stream_key: %s/%s.key\n    tokens:\n      - id: %s\n        role: %s\n        sha256: %x\n", name, datadir.StreamDir, name, name, role, hash), nil
}

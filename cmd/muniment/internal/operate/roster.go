package operate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/term"
)

// A roster is a list in muniment.yaml whose members have a token in the data
// folder: tenants or operators.
type roster[T any] struct {
	noun  string // of a member; the list has its plural
	field string // that names a member
	list  func(*datadir.Config) *[]T
	name  func(*T) string
	token func(name string) string // path of the first token in the folder
}

var (
	tenants = roster[datadir.TenantConfig]{
		noun: "tenant", field: "name",
		list:  func(c *datadir.Config) *[]datadir.TenantConfig { return &c.Tenants },
		name:  func(t *datadir.TenantConfig) string { return t.Name },
		token: tenantToken,
	}
	operators = roster[datadir.OperatorConfig]{
		noun: "operator", field: "id",
		list:  func(c *datadir.Config) *[]datadir.OperatorConfig { return &c.Operators },
		name:  func(o *datadir.OperatorConfig) string { return o.ID },
		token: OperatorToken,
	}
)

func (r *roster[T]) section() string { return r.noun + "s" }

// edit begins to edit the configuration of a data folder, and returns the index
// of the member, or -1.
func (r *roster[T]) edit(dir, name string) (*datadir.ConfigEdit, int, error) {
	d, err := datadir.Load(dir)
	if err != nil {
		return nil, 0, err
	}
	e, err := datadir.EditConfig(dir)
	if err != nil {
		return nil, 0, err
	}
	at := slices.IndexFunc(*r.list(&d.Config), func(m T) bool { return r.name(&m) == name })
	return e, at, nil
}

// existing is edit for a member that must exist.
func (r *roster[T]) existing(dir, name string) (*datadir.ConfigEdit, *T, error) {
	e, at, err := r.edit(dir, name)
	if err != nil {
		return nil, nil, err
	}
	if at < 0 {
		return nil, nil, term.ExitWith(term.ExitNo, fmt.Errorf("there is no %s %q: list the %s with: muniment %s list --data %s", r.noun, name, r.section(), r.noun, dir))
	}
	return e, &(*r.list(&e.Want))[at], nil
}

// add adds a member. files makes its files and returns its lines for the
// configuration.
func (r *roster[T]) add(dir, name string, files func() (lines string, err error)) error {
	e, at, err := r.edit(dir, name)
	if err != nil {
		return err
	}
	if at >= 0 {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s %q already exists", r.noun, name))
	}
	lines, err := files()
	if err != nil {
		return err
	}
	added, err := datadir.DecodeConfig([]byte(r.section() + ":\n" + lines))
	if err != nil {
		return err
	}
	want := r.list(&e.Want)
	*want = append(*want, *r.list(&added)...)
	if err := errors.Join(e.Add(r.section(), lines), e.Write()); err != nil {
		return fmt.Errorf("%w\nadd this to the %s in %s by hand:\n\n%s", err, r.section(), datadir.ConfigFile, lines)
	}
	return nil
}

// remove removes a member and its first token.
func (r *roster[T]) remove(dir, name string) error {
	e, _, err := r.existing(dir, name)
	if err != nil {
		return err
	}
	want := r.list(&e.Want)
	*want = slices.DeleteFunc(*want, func(m T) bool { return r.name(&m) == name })
	if len(*want) == 0 {
		*want = nil
	}
	if err := errors.Join(e.Remove(r.section(), r.field, name), e.Write()); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, r.token(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// none returns the text of an empty list.
func (r *roster[T]) none(dir string) string {
	return fmt.Sprintf("no %s: add one with: muniment %s add NAME --data %s", r.section(), r.noun, dir)
}

// warnOfShared warns if the members in the folder are not those in force.
func (r *roster[T]) warnOfShared(a *term.App, d *datadir.Dir, inForce func(*datadir.Members) []string) error {
	m, err := d.SharedDiffers()
	if err == nil && m != nil {
		a.Warn(fmt.Sprintf("these are the %s of the folder, which are not in force: the servers share another configuration, in %s, with the %s: %s",
			r.section(), filepath.Join(d.Path, datadir.SharedText), r.section(), strings.Join(inForce(m), ", ")))
	}
	return err
}

// A memberResult is the result of a command that changes a member.
type memberResult struct {
	Tenant    string `json:"tenant,omitempty"`
	Operator  string `json:"operator,omitempty"`
	State     string `json:"state"`
	TokenFile string `json:"tokenFile,omitempty"`
	StreamKey string `json:"streamKeyFile,omitempty"`

	text string
}

// Text implements term.Result.
func (r *memberResult) Text() string { return r.text }

// toApply returns how to apply a changed configuration.
func toApply(dir string) string {
	return "If a server is running: muniment reload --data " + dir
}

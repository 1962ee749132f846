package operate

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/owner"
)

type operatorCmd struct {
	Add    operatorAddCmd    `cmd:"" help:"Add an operator with a token."`
	Remove operatorRemoveCmd `cmd:"" help:"Remove an operator and its token."`
	List   operatorListCmd   `cmd:"" help:"List the operators."`
}

// FirstOperator is the ID of the operator that init makes.
const FirstOperator = "operator"

// OperatorToken returns the path of an operator's token in the data folder.
func OperatorToken(id string) string { return filepath.Join(datadir.OperatorDir, id+".token") }

// addOperator makes an operator's token and returns its lines for the
// configuration.
func addOperator(dir, id string) (string, error) {
	if !datadir.GrantID.MatchString(id) {
		return "", fmt.Errorf("operator %q: must be 1 to 63 of a-z, 0-9, dot, _ and -, with a letter or digit at both ends", id)
	}
	var secret [32]byte
	rand.Read(secret[:])
	token := datadir.OperatorPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(secret[:])
	if err := owner.MkdirAll(filepath.Join(dir, datadir.OperatorDir), 0o700); err != nil {
		return "", err
	}
	if err := datadir.WriteNew(filepath.Join(dir, OperatorToken(id)), token+"\n", 0o600); err != nil {
		return "", err
	}
	return fmt.Sprintf("  - id: %s\n    sha256: %x\n", id, sha256.Sum256([]byte(token))), nil
}

type operatorAddCmd struct {
	ID      string `arg:"" help:"1 to 63 of a-z, 0-9, dot, _ and -."`
	Expires string `help:"Expiry of the token: a duration such as 90d, a date, a time in RFC 3339, or 'never'." default:"never"`
	Data    string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
}

func (operatorAddCmd) Help() string {
	return `An operator's token grants access to /metrics and the details of /readyz, and to no evidence.

Exit code: 0 added; 1 the operator exists; 2 failed.

Examples:
  muniment operator add prometheus --data ./data && muniment reload --data ./data
  curl -H "Authorization: Bearer $(cat data/operators/prometheus.token)" http://127.0.0.1:7480/metrics`
}

func (c *operatorAddCmd) Run(a *term.App) error {
	expires, err := remote.ParseExpiry(c.Expires, time.Now())
	if err != nil {
		return err
	}
	if _, err := datadir.Load(c.Data); err != nil {
		return err
	}
	e, err := datadir.EditConfig(c.Data)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(e.Want.Operators, func(o datadir.OperatorConfig) bool { return o.ID == c.ID }) {
		return term.ExitWith(term.ExitNo, fmt.Errorf("operator %q already exists", c.ID))
	}
	lines, err := addOperator(c.Data, c.ID)
	if err != nil {
		return err
	}
	if !expires.IsZero() {
		lines += "    expires: " + expires.UTC().Format(time.RFC3339) + "\n"
	}
	added, err := datadir.DecodeConfig([]byte("operators:\n" + lines))
	if err != nil {
		return err
	}
	e.Want.Operators = append(e.Want.Operators, added.Operators...)
	if err := errors.Join(e.Add("operators", lines), e.Write()); err != nil {
		return fmt.Errorf("%w\nadd this to the operators in %s by hand:\n\n%s", err, datadir.ConfigFile, lines)
	}
	fmt.Fprintf(a.Stdout, "Added operator %s:\n  %s\n%s\n", c.ID, filepath.Join(c.Data, OperatorToken(c.ID)), toApply(c.Data))
	return nil
}

type operatorRemoveCmd struct {
	ID   string `arg:"" help:"The operator."`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
}

func (operatorRemoveCmd) Help() string {
	return `Exit code: 0 removed; 1 there is no such operator; 2 failed.

Example:
  muniment operator remove prometheus --data ./data && muniment reload --data ./data`
}

func (c *operatorRemoveCmd) Run(a *term.App) error {
	if _, err := datadir.Load(c.Data); err != nil {
		return err
	}
	e, err := datadir.EditConfig(c.Data)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(e.Want.Operators, func(o datadir.OperatorConfig) bool { return o.ID == c.ID })
	if i < 0 {
		return term.ExitWith(term.ExitNo, fmt.Errorf("there is no operator %q: list the operators with: muniment operator list --data %s", c.ID, c.Data))
	}
	if e.Want.Operators = slices.Delete(e.Want.Operators, i, i+1); len(e.Want.Operators) == 0 {
		e.Want.Operators = nil
	}
	if err := errors.Join(e.Remove("operators", "id", c.ID), e.Write()); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.Data, OperatorToken(c.ID))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fmt.Fprintf(a.Stdout, "Removed operator %s.\n%s\n", c.ID, toApply(c.Data))
	return nil
}

type operatorListCmd struct {
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	JSON bool   `help:"Print one JSON object for each operator."`
}

func (operatorListCmd) Help() string {
	return `Example:
  muniment operator list --data ./data`
}

func (c *operatorListCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	for _, o := range d.Operators {
		expires := "does not expire"
		if !o.Expires.IsZero() {
			expires = "expires " + o.Expires.UTC().Format(time.RFC3339)
		}
		if c.JSON {
			row := struct {
				ID      string     `json:"id"`
				Expires *time.Time `json:"expires,omitempty"`
			}{ID: o.ID}
			if !o.Expires.IsZero() {
				row.Expires = &o.Expires
			}
			if err := term.WriteJSON(a.Stdout, row); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(a.Stdout, "%-24s %s\n", o.ID, expires)
	}
	if len(d.Operators) == 0 && !c.JSON {
		fmt.Fprintln(a.Stdout, "no operators: add one with: muniment operator add NAME --data "+c.Data)
	}
	return nil
}

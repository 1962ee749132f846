package operate

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/term"
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
	term.ResultFlags
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
	err = operators.add(c.Data, c.ID, func() (string, error) {
		lines, err := addOperator(c.Data, c.ID)
		if err == nil && !expires.IsZero() {
			lines += "    expires: " + expires.UTC().Format(time.RFC3339) + "\n"
		}
		return lines, err
	})
	if err != nil {
		return err
	}
	res := &memberResult{Operator: c.ID, State: "added", TokenFile: filepath.Join(c.Data, OperatorToken(c.ID))}
	res.text = fmt.Sprintf("Added operator %s:\n  %s\n%s\n", c.ID, res.TokenFile, toApply(c.Data))
	return c.Print(a, res)
}

type operatorRemoveCmd struct {
	ID   string `arg:"" help:"The operator." predictor:"operator"`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags
}

func (operatorRemoveCmd) Help() string {
	return `Exit code: 0 removed; 1 there is no such operator; 2 failed.

Example:
  muniment operator remove prometheus --data ./data && muniment reload --data ./data`
}

func (c *operatorRemoveCmd) Run(a *term.App) error {
	if err := operators.remove(c.Data, c.ID); err != nil {
		return err
	}
	res := &memberResult{Operator: c.ID, State: "removed"}
	res.text = fmt.Sprintf("Removed operator %s.\n%s\n", c.ID, toApply(c.Data))
	return c.Print(a, res)
}

type operatorListCmd struct {
	Data             string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags `set:"json=Print one JSON object for each operator."`
}

func (operatorListCmd) Help() string {
	return `The operators are those of the data folder. With servers that share a configuration, those in force can be others, which is then a warning.

Exit code: 0 listed; 2 failed.

Example:
  muniment operator list --data ./data`
}

func (c *operatorListCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	var rows []operatorRow
	for _, o := range d.Operators {
		rows = append(rows, operatorRow{o.ID, o.Expires.UTC()})
	}
	if err := operators.warnOfShared(a, d, func(m *datadir.Members) []string { return m.Operators }); err != nil {
		return err
	}
	return term.PrintRows(a, c.ResultFlags, rows, operators.none(c.Data))
}

type operatorRow struct {
	ID      string    `json:"id"`
	Expires time.Time `json:"expires,omitzero"`
}

func (r operatorRow) Text() string {
	expires := "does not expire"
	if !r.Expires.IsZero() {
		expires = "expires " + r.Expires.Format(time.RFC3339)
	}
	return fmt.Sprintf("%-24s %s\n", r.ID, expires)
}

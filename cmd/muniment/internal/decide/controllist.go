package decide

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/similar"
	"muniment.dev/muniment/internal/term"
)

// errNoControls is the answer of commands about controls if there are none.
var errNoControls = errors.New("no control set is in force: put one in force with 'muniment control apply'")

// readableControls returns the control set in force, or an error with the exit
// code of an answer if there is none that can be applied.
func readableControls(a *term.App, f *remote.Flags) (*controlsInForce, error) {
	client, err := f.Client(nil, nil)
	if err != nil {
		return nil, err
	}
	in, err := readControls(a.Ctx, client)
	switch {
	case err != nil:
		return nil, err
	case in == nil:
		return nil, term.ExitWith(term.ExitNo, errNoControls)
	case in.set == nil:
		return nil, term.ExitWith(term.ExitNo, fmt.Errorf("the control set of entry %d cannot be applied, so every decision is undecided: %w", in.index, in.why))
	}
	return in, nil
}

type controlListCmd struct {
	remote.Flags
	term.ResultFlags
}

func (controlListCmd) Help() string {
	return `Lists the controls in force for the tenant, in the order of the set: ID, severity, modes and title. The version
of the set, and the entry that put it in force, go to standard error.

Exit code: 0 listed; 1 no control set is in force, or it cannot be applied; 2 no answer.

Examples:
  muniment control list
  muniment control list --json | jq -r 'select(.severity == "critical").id'`
}

type controlRow struct {
	ID         string        `json:"id"`
	Title      string        `json:"title"`
	Severity   string        `json:"severity"`
	Owner      string        `json:"owner,omitempty"`
	Frameworks []string      `json:"frameworks,omitempty"`
	Modes      []controlMode `json:"modes"`
	Index      uint64        `json:"index"`
}

type controlMode struct {
	Stage        string   `json:"stage"`
	Environments []string `json:"environments,omitempty"`
	Mode         string   `json:"mode"`
}

func (m controlMode) String() string {
	s := m.Mode + " at " + m.Stage
	if len(m.Environments) > 0 {
		s += " in " + strings.Join(m.Environments, ", ")
	}
	return s
}

func rowOf(c *catalog.Control, index uint64) controlRow {
	r := controlRow{ID: c.Id, Title: c.Title, Severity: c.Severity, Owner: c.Owner, Frameworks: c.Frameworks, Index: index}
	for _, m := range c.Modes {
		r.Modes = append(r.Modes, controlMode{m.Stage, m.Environments, m.Mode})
	}
	return r
}

// Text implements term.Result.
func (r controlRow) Text() string {
	modes := make([]string, len(r.Modes))
	for i, m := range r.Modes {
		modes[i] = m.String()
	}
	return fmt.Sprintf("%-24s %-9s %s\n  %s\n", term.Quoted(r.ID), r.Severity, term.Quoted(r.Title), term.Quoted(strings.Join(modes, "; ")))
}

func (c *controlListCmd) Run(a *term.App) error {
	in, err := readableControls(a, &c.Flags)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "version %s, in force since entry %d: %s\n", term.Quoted(in.set.Version), in.index, in.digest)
	var rows []controlRow
	for _, control := range in.set.Controls {
		rows = append(rows, rowOf(control, in.entries[control.Id]))
	}
	return term.PrintRows(a, c.ResultFlags, rows, "")
}

type controlShowCmd struct {
	ID string `arg:"" help:"ID of the control."`
	remote.Flags
	JSON bool `help:"Print the control's document as it is in the ledger."`
}

func (controlShowCmd) Help() string {
	return `Shows a control in force: what it requires, where it applies, and which exceptions it allows.

Exit code: 0 shown; 1 the control is not in force; 2 no answer.

Examples:
  muniment control show SLSA-BUILD-L3
  muniment control show SLSA-BUILD-L3 --json | jq .check`
}

func (c *controlShowCmd) Run(a *term.App) error {
	in, err := readableControls(a, &c.Flags)
	if err != nil {
		return err
	}
	control := in.set.Control(c.ID)
	if control == nil {
		var ids []string
		for _, other := range in.set.Controls {
			ids = append(ids, other.Id)
		}
		return term.ExitWith(term.ExitNo, fmt.Errorf("control %s is not in force%s", c.ID, similar.DidYouMean(c.ID, ids)))
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, protoJSON{control})
	}
	p := term.NewPage("control %s", c.ID)
	showControl(p, control, in.entries[c.ID])
	_, err = fmt.Fprint(a.Stdout, p.String())
	return err
}

// protoJSON encodes a control as its entry does.
type protoJSON struct{ *catalog.Control }

// MarshalJSON implements json.Marshaler.
func (p protoJSON) MarshalJSON() ([]byte, error) { return protojson.Marshal(p.Control) }

func showControl(p *term.Page, c *catalog.Control, index uint64) {
	line := func(label string, values ...string) {
		for _, v := range values {
			if v != "" {
				p.Line(label, "%s", term.Quoted(v))
				label = ""
			}
		}
	}
	line("title", c.Title)
	line("text", c.Description)
	line("entry", fmt.Sprint(index))
	line("severity", c.Severity)
	line("owner", c.Owner)
	line("frameworks", c.Frameworks...)
	line("applies to", strings.Join(append(c.GetAppliesTo().GetTypes(), c.GetAppliesTo().GetNames()...), ", "))
	for _, r := range c.GetCheck().GetRequire() {
		line("requires", requirementText(r))
	}
	line("condition", c.GetCheck().GetCondition())
	line("includes", strings.Join(c.Includes, ", "))
	for _, m := range rowOf(c, index).Modes {
		line("mode", m.String())
	}
	line("exceptions", exceptionText(c))
}

func requirementText(r *catalog.Requirement) string {
	s := r.Name + ":"
	if r.Optional {
		s += " optional"
	}
	if len(r.Kinds) > 0 {
		s += " " + strings.Join(r.Kinds, " or ")
	} else {
		s += " attestation"
	}
	if len(r.PredicateTypes) > 0 {
		s += " of type " + strings.Join(r.PredicateTypes, " or ")
	}
	if n := r.GetMinSigners(); n > 1 {
		s += fmt.Sprintf(" by %d of", n)
	} else {
		s += " by"
	}
	if r.Unsigned {
		s += " any submitter"
	} else {
		s += " " + strings.Join(r.Signers, " or ")
	}
	if age := r.GetMaxAgeSeconds(); age > 0 {
		s += fmt.Sprintf(", at most %s old", time.Duration(age)*time.Second)
	}
	return s
}

func exceptionText(c *catalog.Control) string {
	l := exception.LimitsOf(c.Exceptions)
	if l.MaxDays == 0 {
		return "none allowed"
	}
	return fmt.Sprintf("at most %s, with %s", term.Count(l.MaxDays, "day"), term.Count(l.Approvers, "approver"))
}

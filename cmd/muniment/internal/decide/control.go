package decide

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
)

type controlCmd struct {
	Init     controlInitCmd     `cmd:"" help:"Write a starter set of controls to a file."`
	Validate controlValidateCmd `cmd:"" help:"Report mistakes in control sets."`
	Test     controlTestCmd     `cmd:"" help:"Decide about example evidence with a control set, and compare with what is expected."`
	Replay   controlReplayCmd   `cmd:"" help:"Show what a control set would have decided, before it is put in force."`
	Apply    controlApplyCmd    `cmd:"" help:"Put a control set in force for the tenant."`
	List     controlListCmd     `cmd:"" help:"List the controls in force."`
	Show     controlShowCmd     `cmd:"" help:"Show a control in force."`
}

// readControlFile reads the file of a control set.
func readControlFile(path string) ([]byte, error) {
	return readFile(path, catalog.MaxSize, "a control set", datadir.SecretKind)
}

type controlInitCmd struct {
	Template string `help:"Starter set: seed (everything that ships is attested), slsa (the Build track), ssdf (NIST SP 800-218), or backfill (cutovers of column backfills)." enum:"seed,slsa,ssdf,backfill" required:"" placeholder:"seed|slsa|ssdf|backfill"`
	Output   string `short:"o" help:"File to write to, or - for standard output." default:"controls.yaml" placeholder:"FILE" predictor:"file"`
	JSON     bool   `help:"Print one JSON object."`
}

func (controlInitCmd) Help() string {
	return `Writes a starter set of controls, and beside it a test file for 'muniment control test'. Replace its signers by your own, then put it in force with
'muniment control apply'. Needs no server. An existing file is not overwritten.

Exit code: 0 written; 2 not written.

Examples:
  muniment control init --template slsa
  muniment control init --template seed -o - | less`
}

func (c *controlInitCmd) Run(a *term.App) error {
	text, err := catalog.Template(c.Template)
	if err != nil {
		return err
	}
	if c.Output == "-" {
		return a.WriteOutput("-", text)
	}
	test, err := catalog.TemplateTest(c.Template)
	if err != nil {
		return err
	}
	testFile := strings.TrimSuffix(strings.TrimSuffix(c.Output, ".yaml"), ".yml") + testSuffix
	test = append([]byte("controls: "+strconv.Quote(filepath.Base(c.Output))+"\n"), test...)
	for _, out := range []struct {
		path string
		text []byte
	}{{c.Output, text}, {testFile, test}} {
		if err := c.write(a, out.path, out.text); err != nil {
			return err
		}
	}
	set, err := catalog.Parse(text)
	if err != nil {
		return err
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, struct {
			File     string `json:"file"`
			Template string `json:"template"`
			Controls int    `json:"controls"`
		}{c.Output, c.Template, len(set.Controls)})
	}
	_, err = fmt.Fprintf(a.Stdout, "wrote %s with %s\n\nNext:\n  %[4]s\n  muniment control test %[3]s\n  muniment control validate %[1]s\n  muniment control apply %[1]s\n", term.Quoted(c.Output), term.Count(len(set.Controls), "control"), term.Quoted(testFile), catalog.TemplateHint(c.Template))
	return err
}

func (c *controlInitCmd) write(a *term.App, path string, text []byte) error {
	err := a.CreateOutput(path, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
	if errors.Is(err, wholefile.ErrExists) {
		return fmt.Errorf("--output: %s exists and is not overwritten: choose another file", path)
	} else if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}

type controlValidateCmd struct {
	Sets []string `arg:"" help:"Control set files." predictor:"file"`
	JSON bool     `help:"Print one JSON object per file."`
}

func (controlValidateCmd) Help() string {
	return `Reports all mistakes in control sets, with line, column and field: unknown members, names that do not
exist, cycles, CEL errors, and controls that can never be satisfied. Needs no server.

Exit code: 0 no mistakes; 1 mistakes found; 2 no answer.

Examples:
  muniment control validate controls.yaml
  muniment control validate controls/*.yaml --json`
}

func (c *controlValidateCmd) Run(a *term.App) error {
	bad := false
	for _, path := range c.Sets {
		ok, err := c.validate(a, path)
		if err != nil {
			return err
		}
		bad = bad || !ok
	}
	if bad {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

func (c *controlValidateCmd) validate(a *term.App, path string) (bool, error) {
	text, err := readControlFile(path)
	if err != nil {
		return false, err
	}
	set, err := catalog.Parse(text)
	var wrong *catalog.Error
	if err != nil && !errors.As(err, &wrong) {
		return false, err
	}
	o := struct {
		File     string            `json:"file"`
		Version  string            `json:"version,omitempty"`
		Digest   string            `json:"digest,omitempty"`
		OK       bool              `json:"ok"`
		Problems []catalog.Problem `json:"problems,omitempty"`
	}{File: path, OK: wrong == nil}
	if wrong != nil {
		o.Problems = wrong.Problems
	} else {
		entries, err := set.Entries()
		if err != nil {
			return false, err
		}
		o.Version, o.Digest = set.Version, entries[len(entries)-1].Digest
	}
	if c.JSON {
		return o.OK, term.WriteJSON(a.Stdout, o)
	}
	for _, problem := range o.Problems {
		fmt.Fprintf(a.Stdout, "%s: %s\n", term.Quoted(path), term.Indented(problem.String()))
	}
	if o.OK {
		fmt.Fprintf(a.Stdout, "%s: valid, version %s, %s, %s\n", term.Quoted(path), term.Quoted(o.Version), term.Count(len(set.Controls), "control"), o.Digest)
	}
	return o.OK, nil
}

package term

import (
	"fmt"
	"io"
	"strings"
)

// A Result is what a command prints at its end: its JSON encoding with --json,
// and otherwise its text, which ends with a line feed.
type Result interface{ Text() string }

// ResultFlags is the flag of a command that prints a Result. The variable json
// of the embedding command replaces its help.
type ResultFlags struct {
	JSON bool `help:"${json=Print one JSON object.}"`
}

// Print prints the result.
func (f ResultFlags) Print(a *App, r Result) error {
	if f.JSON {
		return WriteJSON(a.Stdout, r)
	}
	_, err := io.WriteString(a.Stdout, r.Text())
	return err
}

// PrintRows prints a list: with --json an object for each row, and otherwise
// the texts of the rows, or the text none if there are no rows.
func PrintRows[R Result](a *App, f ResultFlags, rows []R, none string) error {
	for _, r := range rows {
		if err := f.Print(a, r); err != nil {
			return err
		}
	}
	if len(rows) == 0 && none != "" && !f.JSON {
		_, err := fmt.Fprintln(a.Stdout, none)
		return err
	}
	return nil
}

// Made is the result of a command that makes files in a folder.
type Made struct {
	Title  string     `json:"-"`
	Origin string     `json:"origin,omitempty"`
	Folder string     `json:"folder"`
	Files  []MadeFile `json:"files"`
	Next   []string   `json:"next,omitempty"` // steps, such as commands
}

// A MadeFile is a file, relative to the folder, and its purpose.
type MadeFile struct {
	File    string `json:"file"`
	Purpose string `json:"purpose"`
}

// Text implements Result.
func (m *Made) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n\n", m.Title)
	width := 0
	for _, f := range m.Files {
		width = max(width, len(f.File))
	}
	for _, f := range m.Files {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, f.File, f.Purpose)
	}
	if len(m.Next) > 0 {
		b.WriteString("\nNext:\n")
	}
	for _, command := range m.Next {
		fmt.Fprintf(&b, "  %s\n", command)
	}
	return b.String()
}

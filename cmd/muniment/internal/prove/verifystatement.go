package prove

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/intoto"
)

type verifyStatementCmd struct {
	Statement string `arg:"" help:"In-toto statement, v0.1 or v1, or - for standard input." predictor:"file"`
	statementFlags
	JSON bool `help:"Print one JSON object."`
}

func (verifyStatementCmd) Help() string {
	return `Checks the structure of an unsigned statement, and its predicate against the published definition of its
type: SLSA provenance (v0.2, v1) and verification summaries, SPDX, CycloneDX, OpenVEX, test results,
cosign's vulnerability records, in-toto links, and the documents of this program's own kinds
(https://muniment.dev/predicate/<kind>/v1). Predicates of other types are not checked.

A JSON Lines file contains one statement per line. All must be well-formed, and one must match --subject
and --type.

A well-formed statement proves nothing: anyone can write one. For signed statements, use verify-bundle,
verify-envelope or verify-image.

Exit code: 0 well-formed; 1 not well-formed, or not as required; 2 no answer (usage, files).

Examples:
  muniment verify-statement provenance.json
  muniment verify-statement provenance.json --subject sha256:2cf24dba… --type slsaprovenance1 --json`
}

func (c *verifyStatementCmd) Run(a *term.App) error {
	expected, err := c.expect()
	if err != nil {
		return err
	}
	data, err := a.ReadInput(c.Statement, int64(format.Statement.MaxSize))
	if err != nil {
		return err
	}
	statements, err := documents.Split(data)
	if err != nil {
		return err
	}
	if len(statements) > 1 {
		return c.runLines(a, statements, expected)
	}
	v := checkStatement(c.Statement, data, expected)
	return printVerdict(a, c.JSON, v.WellFormed, v, v.printText)
}

// runLines checks each statement of a JSON Lines file. All must be well-formed,
// and one must meet the expectation: the others may be about other artifacts.
func (c *verifyStatementCmd) runLines(a *term.App, statements [][]byte, expected expectation) error {
	var all []*statementVerdict
	good, matching := 0, 0
	for i, data := range statements {
		v := checkStatement(term.LineName(c.Statement, i+1), data, expectation{})
		if v.WellFormed {
			good++
			if met := checkStatement(v.Path, data, expected); met.WellFormed {
				matching++
			} else if expected != (expectation{}) {
				v = met
			}
		}
		all = append(all, v)
	}
	ok := good == len(all) && matching > 0
	report := struct {
		Path       string              `json:"path"`
		WellFormed bool                `json:"wellFormed"`
		Signed     bool                `json:"signed"` // always false
		Statements []*statementVerdict `json:"statements"`
	}{c.Statement, ok, false, all}
	return printVerdict(a, c.JSON, ok, report, func(a *term.App) error {
		for _, v := range all {
			if err := v.printText(a); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(a.Stdout, "%d of %s as required\n", matching, term.Count(len(all), "statement"))
		return err
	})
}

func checkStatement(name string, data []byte, expected expectation) *statementVerdict {
	v := &statementVerdict{Path: name}
	s, err := readStatement(data)
	v.Malformed = err != nil
	if err == nil {
		v.Statement = describeStatement(s)
		err = expected.check(s)
	}
	if err == nil && s.Deviations.Count > 0 {
		v.Malformed, err = true, errors.New(strings.Join(s.Deviations.Strings(), "\n"))
	}
	v.WellFormed = err == nil
	if err != nil {
		v.Error = plain.FileErrors(err)
	}
	return v
}

// readStatement parses a statement and checks it against the definition of its
// type, which can be one of this program's own.
func readStatement(data []byte) (*intoto.Statement, error) {
	s, err := intoto.Read(data)
	if err != nil {
		return nil, err
	}
	checkPredicate(s)
	return s, nil
}

// checkPredicate checks a predicate against the definition of its type.
func checkPredicate(s *intoto.Statement) {
	s.Check()
	ingest.CheckPredicate(s, time.Now())
}

// statementVerdict is the JSON form of a check.
type statementVerdict struct {
	Path       string         `json:"path"`
	WellFormed bool           `json:"wellFormed"`
	Signed     bool           `json:"signed"` // always false
	Malformed  bool           `json:"malformed,omitempty"`
	Error      string         `json:"error,omitempty"`
	Statement  *statementFact `json:"statement,omitempty"`
}

func (v *statementVerdict) printText(a *term.App) error {
	if !v.WellFormed {
		p := term.NewPage("✗ NOT WELL-FORMED  %s", term.Quoted(v.Path))
		for line := range strings.Lines(v.Error) {
			p.WriteString("  " + term.Escape(strings.TrimSuffix(line, "\n")) + "\n")
		}
		_, err := io.WriteString(a.Stdout, p.String())
		return err
	}
	p := term.NewPage("✓ WELL-FORMED  %s", term.Quoted(v.Path))
	v.Statement.print(p)
	p.Line("signed", "by NO ONE: anyone can have made these claims")
	_, err := io.WriteString(a.Stdout, p.String())
	return err
}

// A statementFact is a statement as commands show it.
type statementFact struct {
	PredicateType string          `json:"predicateType"`
	Category      intoto.Category `json:"category"`
	// the predicate was checked against the definition of its type
	Checked    bool            `json:"checked"`
	Deviations []string        `json:"deviations,omitempty"`
	Subjects   []entry.Subject `json:"subjects"`
	Materials  []entry.Subject `json:"materials,omitempty"`
	// can exceed the number in Materials
	MaterialCount int               `json:"materialCount,omitempty"`
	Facts         map[string]string `json:"facts,omitempty"`
}

func describeStatement(s *intoto.Statement) *statementFact {
	return &statementFact{s.PredicateType, s.Category, s.Checked, s.Deviations.Strings(), s.Subjects, s.Materials, s.MaterialCount, s.Facts}
}

func (s *statementFact) print(p *term.Page) {
	p.Line("predicate", "%s", term.Quoted(s.PredicateType))
	switch {
	case !s.Checked:
		p.Line("", "not checked: this program has no definition of the type")
	case len(s.Deviations) == 0:
		p.Line("", "conforms to the definition of its type")
	}
	printDeviations(p, s.Deviations)
	for _, name := range slices.Sorted(maps.Keys(s.Facts)) {
		p.Line("", "%s: %s", name, term.Quoted(s.Facts[name]))
	}
	printSubjects(p, "about", s.Subjects, len(s.Subjects))
	printSubjects(p, "made from", s.Materials, s.MaterialCount)
}

func printDeviations(p *term.Page, deviations []string) {
	for i, d := range deviations {
		p.Line([]string{"deviates", ""}[min(i, 1)], "%s", term.Escape(d))
	}
}

// printSubjects prints the first five subjects.
func printSubjects(p *term.Page, label string, subjects []entry.Subject, count int) {
	for i, sub := range subjects {
		if i == 5 {
			break
		}
		for _, alg := range slices.Sorted(maps.Keys(sub.Digest)) {
			p.Line(label, "%s%s", term.Quoted(alg+":"+sub.Digest[alg]), term.Optional(" ", sub.Name))
			label = ""
		}
	}
	if count > 5 {
		p.Line("", "and %d more", count-5)
	}
}

package main

import (
	"io"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

type verifyStatementCmd struct {
	Statement string `arg:"" help:"In-toto statement, v0.1 or v1; - reads standard input." predictor:"file"`
	statementFlags
	JSON bool `help:"Print one JSON object."`
}

func (verifyStatementCmd) Help() string {
	return `Checks the structure of a statement that nobody has signed, and its predicate by the published definition of its type: SLSA provenance (v0.2, v1) and verification summaries, SPDX, CycloneDX, OpenVEX, test results, cosign's vulnerability records, in-toto links, and the documents of this program's own kinds (https://muniment.dev/predicate/<kind>/v1). Predicates of other types are not looked into.

A good structure is no proof: anybody can have written it. Signed statements are for verify-bundle, verify-envelope and verify-image.

Exit code: 0 well-formed; 1 not; 2 it could not be checked (usage, files).

Examples:
  muniment verify-statement provenance.json
  muniment verify-statement provenance.json --subject sha256:2cf24dba… --type slsaprovenance1 --json`
}

func (c *verifyStatementCmd) Run(a *app) error {
	predicateType, err := c.expect()
	if err != nil {
		return err
	}
	data, err := a.readInput(c.Statement, sigstore.MaxBundleSize)
	if err != nil {
		return err
	}
	v := statementVerdict{Path: c.Statement}
	s, err := parseStatement(data)
	v.Malformed = err != nil
	if err == nil {
		err = c.check(s, predicateType)
	}
	v.WellFormed = err == nil
	if err != nil {
		v.Error = err.Error()
	} else {
		v.Statement = describeStatement(s)
	}
	if c.JSON {
		err = writeJSON(a.stdout, v)
	} else {
		err = v.printText(a)
	}
	if err == nil && !v.WellFormed {
		return exitWith(exitNo, nil)
	}
	return err
}

// parseStatement reads a statement and checks its predicate, also of this program's own types.
func parseStatement(data []byte) (*intoto.Statement, error) {
	s, err := intoto.Parse(data)
	if err != nil {
		return nil, err
	}
	if intoto.KindOf(s.PredicateType) == "" {
		return s, nil
	}
	if err := ingest.CheckPredicate(s.PredicateType, s.Predicate, time.Now()); err != nil {
		return nil, err
	}
	s.Checked = true
	return s, nil
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

func (v *statementVerdict) printText(a *app) error {
	if !v.WellFormed {
		p := newPage("✗ NOT AS IT SHOULD BE  %s", quoted(v.Path))
		p.WriteString("  " + printable(v.Error) + "\n")
		_, err := io.WriteString(a.stdout, p.String())
		return err
	}
	p := newPage("✓ WELL-FORMED  %s", quoted(v.Path))
	v.Statement.print(p)
	p.line("signed", "by NOBODY: this says what is claimed, not who claims it")
	_, err := io.WriteString(a.stdout, p.String())
	return err
}

// A statementFact is a statement as commands show it.
type statementFact struct {
	PredicateType string            `json:"predicateType"`
	Category      intoto.Category   `json:"category"`
	Checked       bool              `json:"checked"` // the predicate, by its type's definition
	Subjects      []receipt.Subject `json:"subjects"`
	Materials     []receipt.Subject `json:"materials,omitempty"`
	MaterialCount int               `json:"materialCount,omitempty"` // may be more than are shown
	Facts         map[string]string `json:"facts,omitempty"`
}

func describeStatement(s *intoto.Statement) *statementFact {
	return &statementFact{s.PredicateType, s.Category, s.Checked, s.Subjects, s.Materials, s.MaterialCount, s.Facts}
}

func (s *statementFact) print(p *page) {
	p.line("predicate", "%s", quoted(s.PredicateType))
	if s.Checked {
		p.line("", "it is as that type is defined")
	} else {
		p.line("", "what it must hold is not known here, so it was not looked into")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Facts)) {
		p.line("", "%s: %s", name, quoted(s.Facts[name]))
	}
	printSubjects(p, "about", s.Subjects, len(s.Subjects))
	printSubjects(p, "made from", s.Materials, s.MaterialCount)
}

// printSubjects shows the first few.
func printSubjects(p *page, label string, subjects []receipt.Subject, count int) {
	for i, sub := range subjects {
		if i == 5 {
			break
		}
		for _, alg := range slices.Sorted(maps.Keys(sub.Digest)) {
			p.line(label, "%s%s", quoted(alg+":"+sub.Digest[alg]), optional(" ", sub.Name))
			label = ""
		}
	}
	if count > 5 {
		p.line("", "and %d more", count-5)
	}
}

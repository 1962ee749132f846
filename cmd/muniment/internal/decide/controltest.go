package decide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/trial"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/strictyaml"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/sigstore"
)

type controlTestCmd struct {
	Test   string `arg:"" optional:"" help:"Test file." default:"controls_test.yaml" predictor:"file"`
	Format string `help:"Output: text for people, json, or junit (JUnit XML)." enum:"text,json,junit" default:"text"`
	JSON   bool   `help:"The same as --format json."`
}

func (controlTestCmd) Help() string {
	return `Decides about example evidence with a control set, and compares the decisions with the expected ones. Evidence is read as the log reads it, and decided by the
same evaluator. Needs no server and no network. 'muniment control init' writes a test file for its set. docs/compliance.md has an example.

Exit code: 0 every case is as expected; 1 a case differs; 2 the file, its control set or its evidence cannot be read.

Examples:
  muniment control test
  muniment control test controls_test.yaml --format junit > controls.xml`
}

// A trialReport is the result of the command. Its JSON is stable.
type trialReport struct {
	File   string       `json:"file"`
	Passed int          `json:"passed"`
	Failed int          `json:"failed"`
	Cases  []*trialCase `json:"cases"`
}

type trialCase struct {
	Name        string          `json:"name"`
	OK          bool            `json:"ok"`
	Decision    string          `json:"decision"`
	Reason      string          `json:"reason,omitempty"`
	Differences []string        `json:"differences,omitempty"`
	Results     []answer.Result `json:"results"`
}

func (c *controlTestCmd) Run(a *term.App) error {
	if c.JSON {
		c.Format = "json"
	}
	report, err := c.test(a.Ctx)
	var wrong *strictyaml.Error
	if errors.As(err, &wrong) {
		return term.ExitWith(term.ExitFailed, fmt.Errorf("%s:\n%w", c.Test, err))
	} else if err != nil {
		return term.ExitWith(term.ExitFailed, err)
	}
	switch c.Format {
	case "json":
		err = term.WriteJSON(a.Stdout, report)
	case "junit":
		err = report.junit(a.Stdout)
	default:
		_, err = io.WriteString(a.Stdout, report.Text())
	}
	if err == nil && report.Failed > 0 {
		err = term.ExitWith(term.ExitNo, nil)
	}
	return err
}

// beside returns a path that a test file names, relative to its folder.
func (c *controlTestCmd) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.Test), path)
}

func (c *controlTestCmd) test(ctx context.Context) (*trialReport, error) {
	text, err := readFile(c.Test, trial.MaxSize, "a test file", datadir.SecretKind)
	if err != nil {
		return nil, err
	}
	file, err := trial.Parse(text, func(path string) ([]byte, error) {
		return bounded.ReadFile(c.beside(path), int64(format.Bundle.MaxSize))
	})
	if err != nil {
		return nil, err
	}
	set, err := c.controls(file)
	if err != nil {
		return nil, err
	}
	entries, err := set.Entries()
	if err != nil {
		return nil, err
	}
	read, err := c.reader(file)
	if err != nil {
		return nil, err
	}
	report := &trialReport{File: c.Test, Cases: []*trialCase{}}
	for _, one := range file.Cases {
		out, err := trial.Run(ctx, entries, one, read)
		if err != nil {
			return nil, fmt.Errorf("%s: case %q: %w", c.Test, one.Name, err)
		}
		report.add(one, out)
	}
	return report, nil
}

// controls returns the control set that the file tests: the one it names, or
// the one beside it.
func (c *controlTestCmd) controls(file *trial.File) (*catalog.Set, error) {
	path := c.beside(file.Controls)
	if file.Controls == "" {
		stem, ok := strings.CutSuffix(c.Test, testSuffix)
		if !ok {
			return nil, fmt.Errorf("%s: no control set specified: add the member controls", c.Test)
		}
		path = stem + ".yaml"
	}
	text, err := readControlFile(path)
	if err != nil {
		return nil, err
	}
	set, err := catalog.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: invalid:\n%w", path, err)
	}
	if err := file.Check(set); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Test, err)
	}
	return set, nil
}

// testSuffix ends the name of the test file for a control set.
const testSuffix = "_test.yaml"

// reader returns the function that reads evidence as the log does.
func (c *controlTestCmd) reader(file *trial.File) (trial.Reader, error) {
	var p *policy.AdmissionPolicy
	roots := policy.Roots{policy.DefaultRoot: {Name: policy.DefaultRoot, Trusted: sigstore.PublicGood()}}
	for name, path := range file.Roots {
		trusted, err := datadir.ReadTrustedRoot(c.beside(path))
		if err != nil {
			return nil, fmt.Errorf("trusted root %s: %w", name, err)
		}
		roots[name] = &evidence.Root{Name: name, Trusted: trusted}
	}
	if file.Policy != "" {
		text, err := readPolicy(c.beside(file.Policy))
		if err != nil {
			return nil, err
		}
		if p, err = ingest.ParseAdmissionPolicy(text); err != nil {
			return nil, fmt.Errorf("%s:\n%w", file.Policy, err)
		}
	}
	return func(ctx context.Context, s *trial.Submission) (*entry.Header, error) {
		sub := &ingest.Submission{Kind: s.Kind, MediaType: s.MediaType, Payload: s.Payload}
		if ingest.IsEvent(s.Kind) {
			sub.IdempotencyKey = "test"
		}
		verified := p
		if s.Declared() {
			verified = nil
		}
		return ingest.Preview(ctx, verified, roots, ingest.Submitter{Tenant: "test", Identity: s.Submitter}, sub, s.Recorded)
	}, nil
}

func (r *trialReport) add(c *trial.Case, out *trial.Outcome) {
	q := &c.Question
	m := decide.Message(out.Decision, q, &c.Artifact)
	one := &trialCase{Name: c.Name, OK: len(out.Differences) == 0, Decision: m.Decision, Reason: m.Reason, Differences: out.Differences, Results: pastResults(m.Results)}
	r.Cases = append(r.Cases, one)
	if one.OK {
		r.Passed++
	} else {
		r.Failed++
	}
}

// Text returns the report for people.
func (r *trialReport) Text() string {
	var b strings.Builder
	for _, c := range r.Cases {
		if c.OK {
			fmt.Fprintf(&b, "✓ %s\n", term.Quoted(c.Name))
			continue
		}
		fmt.Fprintf(&b, "✗ %s\n", term.Quoted(c.Name))
		for _, d := range c.Differences {
			fmt.Fprintf(&b, "    %s\n", term.Quoted(d))
		}
		for i := range c.Results {
			c.Results[i].Write(&b)
		}
	}
	fmt.Fprintf(&b, "%s: %d passed, %d failed\n", term.Count(len(r.Cases), "case"), r.Passed, r.Failed)
	return b.String()
}

// junit writes the report as JUnit XML.
func (r *trialReport) junit(w io.Writer) error {
	suite := junitSuite{Name: term.Escape(r.File)}
	for _, c := range r.Cases {
		one := junitCase{Name: term.Escape(c.Name), ClassName: "control test"}
		if !c.OK {
			text := term.Escape(strings.Join(c.Differences, "\n"))
			one.Failure = &junitMessage{Message: term.Escape(c.Differences[0]), Text: text}
		}
		suite.add(one)
	}
	return writeSuites(w, junitSuites{Suites: []junitSuite{suite}})
}

package decide

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/term"
)

// levels are the SARIF levels by mode of the control.
var levels = map[string]string{"enforce": "error", "warn": "warning", "audit": "note"}

// writeSARIF writes the report as SARIF 2.1.0
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html). Controls
// are rules, and results that are not satisfied are results.
func (r *gateReport) writeSARIF(w io.Writer) error {
	run := sarif.NewRunWithInformationURI("muniment gate", "https://muniment.dev")
	run.Tool.Driver.WithVersion(numeric(r.program))
	for i := range r.Subjects {
		s := &r.Subjects[i]
		if len(s.Results) == 0 && s.Decision != outcomePass {
			run.AddRule(s.Reason).WithName(camel(s.Reason)).WithShortDescription(sarif.NewMultiformatMessageString().WithText(answer.Explain(s.Reason)))
			run.AddResult(s.sarif(s.Reason, "error", answer.Explain(s.Reason)))
		}
		for _, g := range s.Results {
			rule := run.AddRule(g.Control)
			if g.Title != "" {
				rule.WithShortDescription(sarif.NewMultiformatMessageString().WithText(g.Title))
			}
			if g.Result != evaluate.NotSatisfied && g.Result != evaluate.Unclear {
				continue
			}
			text := g.Result + ": " + g.Reason
			if len(g.Missing) > 0 {
				text += "; missing: " + strings.Join(g.Missing, "; ")
			}
			run.AddResult(s.sarif(g.Control, levels[g.Mode], text))
		}
	}
	for _, u := range r.Unknown {
		const id = "unknown-image-field"
		run.AddRule(id).WithName(camel(id)).WithShortDescription(sarif.NewMultiformatMessageString().WithText("A field looks like an image, but it is in no known place"))
		level := "error"
		if r.warnUnknown {
			level = "warning"
		}
		run.AddResult(sarif.NewRuleResult(id).WithLevel(level).WithMessage(sarif.NewTextMessage(fmt.Sprintf("%s in %s: %s", u.Field, u.Resource, u.Reference))).
			WithLocations([]*sarif.Location{logical(u.Resource)}))
	}
	report := sarif.NewReport()
	report.AddRun(run)
	return writeWithoutUnset(w, report)
}

// numeric returns a version that begins with a number, as validators require,
// also for a build without a version.
func numeric(version string) string {
	version = strings.TrimPrefix(version, "v")
	if version == "" || version[0] < '0' || version[0] > '9' {
		return strings.TrimSuffix("0.0.0-"+strings.Trim(version, "()"), "-")
	}
	return version
}

// writeWithoutUnset writes a report without indexes of -1. They mean that there
// is no index, and validators ask for their removal. The library writes them
// always.
func writeWithoutUnset(w io.Writer, report *sarif.Report) error {
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return err
	}
	dropUnset(document)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}

func dropUnset(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			dropUnset(e)
		}
	case map[string]any:
		maps.DeleteFunc(v, func(name string, e any) bool {
			return e == float64(-1) && (name == "index" || strings.HasSuffix(name, "Index"))
		})
		for _, e := range v {
			dropUnset(e)
		}
	}
}

func (s *gateSubject) sarif(rule, level, text string) *sarif.Result {
	name := s.Name
	if name == "" {
		name = answer.DigestText(s.Digest)
	}
	return sarif.NewRuleResult(rule).WithLevel(level).WithMessage(sarif.NewTextMessage(name + ": " + text)).
		WithLocations([]*sarif.Location{logical(name + "@" + answer.DigestText(s.Digest))})
}

// logical returns the location of something that is not in a file.
func logical(name string) *sarif.Location {
	return sarif.NewLocation().WithLogicalLocations([]*sarif.LogicalLocation{sarif.NewLogicalLocation().WithFullyQualifiedName(name)})
}

// camel returns an ID as a name: UnknownStage of unknown-stage.
func camel(id string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(id, "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// The elements of JUnit's XML that readers agree on
// (https://github.com/testmoapp/junitxml).
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		ClassName string        `xml:"classname,attr"`
		Failure   *junitMessage `xml:"failure"`
		Error     *junitMessage `xml:"error"`
		Skipped   *junitMessage `xml:"skipped"`
		Output    string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes the report as JUnit XML: a suite for each artifact, and a
// case for each control.
func (r *gateReport) writeJUnit(w io.Writer) error {
	out := junitSuites{}
	for i := range r.Subjects {
		out.Suites = append(out.Suites, r.Subjects[i].junit())
	}
	if len(r.Unknown) > 0 {
		suite := junitSuite{Name: "fields that look like images"}
		for _, u := range r.Unknown {
			c := junitCase{Name: u.Field, ClassName: u.Resource}
			if !r.warnUnknown {
				c.Error = &junitMessage{Message: "in no known place: " + u.Reference}
			}
			suite.add(c)
		}
		out.Suites = append(out.Suites, suite)
	}
	return writeSuites(w, out)
}

func writeSuites(w io.Writer, out junitSuites) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *gateSubject) junit() junitSuite {
	name := s.Name
	if name == "" {
		name = answer.DigestText(s.Digest)
	}
	suite := junitSuite{Name: term.Escape(name)}
	if len(s.Results) == 0 && s.Decision != outcomePass {
		suite.add(junitCase{Name: s.Reason, ClassName: "gate", Error: &junitMessage{Message: answer.Explain(s.Reason)}})
	}
	for i := range s.Results {
		g := &s.Results[i]
		var text strings.Builder
		g.Write(&text)
		c := junitCase{Name: g.Control, ClassName: g.Mode, Output: text.String()}
		message := &junitMessage{Message: term.Escape(g.Reason), Text: text.String()}
		switch {
		case g.Result == evaluate.NotApplicable || g.Result == evaluate.Excepted:
			c.Skipped = message
		case g.Mode != "enforce":
		case g.Result == evaluate.NotSatisfied:
			c.Failure = message
		case g.Result == evaluate.Unclear:
			c.Error = message
		}
		suite.add(c)
	}
	return suite
}

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
}

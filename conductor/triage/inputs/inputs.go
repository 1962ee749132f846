// Package inputs reads the file that defines the signals in messages other than
// those of Alertmanager. See docs/spec/triage.md, section 12.
package inputs

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/strictyaml"
)

// MaxBytes is the size limit of the file.
const MaxBytes = 256 << 10

// Inputs are the inputs beside Alertmanager.
type Inputs struct {
	OTLP *signal.OTLP               // nil: not accepted
	JSON map[string]*signal.Mapping // by name
}

// severities are the lowest numbers of the severities of OpenTelemetry.
var severities = map[string]int{"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}

type reader = func(n *yaml.Node, field string)

type parser struct{ *strictyaml.Document }

// Parse reads a file of inputs. The error is a *strictyaml.Error with every
// problem of the file and its position.
func Parse(text []byte) (*Inputs, error) {
	p := &parser{&strictyaml.Document{Noun: "file of inputs", Columns: true}}
	in := &Inputs{JSON: map[string]*signal.Mapping{}}
	timed, places := false, map[string]*yaml.Node{}
	if root := p.ParseText(text, MaxBytes); root != nil {
		version := false
		p.Members(root, "", map[string]reader{
			"version":       func(n *yaml.Node, f string) { version = true; p.Number(n, f, 1, 1) },
			"require_times": func(n *yaml.Node, f string) { timed = p.Boolean(n, f) },
			"otlp":          func(n *yaml.Node, f string) { in.OTLP = p.otlp(n, f) },
			"json": func(n *yaml.Node, f string) {
				p.Each(n, f, 64, func(name string, key, n *yaml.Node, f string) {
					in.JSON[name], places[name] = p.mapping(name, key, n, f), n
				})
			},
		})
		if !version && len(p.Problems) == 0 {
			p.Wrong(root, "version", "must be specified")
		}
	}
	if timed {
		p.requireTimes(in, places)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return in, nil
}

// requireTimes makes the time of each signal one that its sender has given.
// Otherwise a message that is recorded and sent again is a new signal.
func (p *parser) requireTimes(in *Inputs, places map[string]*yaml.Node) {
	if in.OTLP != nil {
		in.OTLP.Timed = true
	}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		m := in.JSON[name]
		m.Timed = true
		switch {
		case places[name].Kind != yaml.MappingNode:
		case m.Starts == "":
			p.Wrong(places[name], "json."+name, "must have starts, because of require_times")
		case len(m.Resolved) > 0 && m.Ends == "":
			p.Wrong(places[name], "json."+name, "must have ends, because of require_times")
		}
	}
}

func (p *parser) otlp(n *yaml.Node, field string) *signal.OTLP {
	o := &signal.OTLP{Severity: severities["ERROR"], Quiet: 5 * time.Minute, Labels: map[string]string{}}
	p.Members(n, field, map[string]reader{
		"severity": func(n *yaml.Node, f string) {
			s := p.Text(n, f)
			if o.Severity = severities[s]; s != "" && o.Severity == 0 {
				p.Wrong(n, f, "must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL")
			}
		},
		"labels": p.labels(&o.Labels, nil),
		"quiet":  p.quiet(&o.Quiet),
	})
	return o
}

var inputName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

func (p *parser) mapping(name string, key, n *yaml.Node, field string) *signal.Mapping {
	if !inputName.MatchString(name) {
		p.Wrong(key, field, "must be 1 to 64 lowercase letters, digits and hyphens, the first a letter")
	}
	m := &signal.Mapping{Source: "json/" + name, Labels: map[string]string{}}
	state := func(to *[]string) reader {
		return func(n *yaml.Node, f string) {
			*to = p.Texts(n, f, 16, func(string) error { return nil })
		}
	}
	p.Members(n, field, map[string]reader{
		"items": p.pointer(&m.Items), "name": p.pointer(&m.Name), "state": p.pointer(&m.State), "firing": state(&m.Firing), "resolved": state(&m.Resolved),
		"labels": p.labels(&m.Labels, signal.CheckPointer), "starts": p.pointer(&m.Starts), "ends": p.pointer(&m.Ends), "trace": p.pointer(&m.Trace), "quiet": p.quiet(&m.Quiet),
	})
	switch {
	case n.Kind != yaml.MappingNode:
	case m.Name == "":
		p.Wrong(n, field, "must have name")
	case m.State == "" && m.Quiet == 0:
		p.Wrong(n, field, "must have state, or quiet: otherwise no episode ends")
	case (m.State == "") != (len(m.Firing)+len(m.Resolved) == 0) || m.State != "" && len(m.Firing) == 0:
		p.Wrong(n, field, "must have state and firing together, and resolved only with them")
	case m.State != "" && len(m.Resolved) == 0 && m.Quiet == 0:
		p.Wrong(n, field, "must have resolved, or quiet: otherwise no episode ends")
	}
	return m
}

func (p *parser) pointer(to *string) reader {
	return func(n *yaml.Node, field string) {
		if *to = p.Text(n, field); *to == "" {
			return
		}
		if err := signal.CheckPointer(*to); err != nil {
			p.Wrong(n, field, "%s", err)
		}
	}
}

func (p *parser) quiet(to *time.Duration) reader {
	return func(n *yaml.Node, field string) {
		*to = catalogue.Duration(p.Document, n, field, time.Second, 24*time.Hour)
	}
}

// labels reads where the labels are.
func (p *parser) labels(to *map[string]string, check func(string) error) reader {
	return func(n *yaml.Node, field string) {
		p.Each(n, field, signal.MaxLabels, func(label string, key, n *yaml.Node, f string) {
			from := p.Text(n, f)
			if label == "" || len(label) > signal.MaxLabelName {
				p.Wrong(key, f, "%s", errLabel)
			}
			if check != nil && from != "" {
				if err := check(from); err != nil {
					p.Wrong(n, f, "%s", err)
				}
			}
			(*to)[label] = from
		})
	}
}

var errLabel = errors.New("the name of a label has 1 to 256 bytes")

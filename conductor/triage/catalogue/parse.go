package catalogue

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/strictyaml"
)

// maxCondition is the size limit of a condition in bytes.
const maxCondition = 8 << 10

// Parse reads a catalogue. The error is a *strictyaml.Error with every problem
// of the file and its position.
func Parse(text []byte) (*Catalogue, error) {
	p := &parser{Document: &strictyaml.Document{Noun: "catalogue", Columns: true}, of: &Catalogue{
		Twins:    []string{"replica", "prometheus_replica", "__replica__"},
		Flapping: Flapping{Changes: 4, Within: 10 * time.Minute},
	}}
	if root := p.ParseText(text, MaxBytes); root != nil {
		p.read(root)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	slices.SortFunc(p.of.Types, func(a, b *Type) int { return strings.Compare(a.Name, b.Name) })
	p.of.index()
	return p.of, nil
}

type reader = func(n *yaml.Node, field string)

type parser struct {
	*strictyaml.Document
	of *Catalogue

	weight int // of the regular expressions
}

func (p *parser) read(root *yaml.Node) {
	seen := map[string]bool{}
	p.Members(root, "", map[string]reader{
		"version":  func(n *yaml.Node, f string) { seen["version"] = true; p.Number(n, f, 1, 1) },
		"twins":    func(n *yaml.Node, f string) { p.of.Twins = p.Texts(n, f, 16, checkLabel) },
		"flapping": p.flapping,
		"topology": p.topology,
		"types": func(n *yaml.Node, f string) {
			seen["types"] = true
			p.Each(n, f, 256, p.incidentType)
		},
	})
	for _, name := range []string{"version", "types"} {
		if !seen[name] && len(p.Problems) == 0 {
			p.Wrong(root, name, "must be specified")
		}
	}
	if len(p.Problems) > 0 {
		return
	}
	if len(p.of.Types) == 0 {
		p.Wrong(p.At("types"), "types", "must not be empty")
	}
	for _, t := range p.of.Types {
		if t.Topology && !slices.Contains(t.Correlate, p.of.Topology.Label) {
			p.Wrong(p.At("types."+t.Name+".topology"), "types."+t.Name+".topology", "requires the topology of the catalogue, and its label in correlate")
		}
	}
}

func (p *parser) flapping(n *yaml.Node, field string) {
	p.Members(n, field, map[string]reader{
		"changes": func(n *yaml.Node, f string) { p.of.Flapping.Changes = p.Number(n, f, 2, MaxChanges) },
		"within":  p.duration(&p.of.Flapping.Within, time.Second),
	})
}

// MaxChanges is the number of changes of an alert that are kept.
const MaxChanges = 16

func (p *parser) topology(n *yaml.Node, field string) {
	t := &p.of.Topology
	t.neighbours = map[string][]string{}
	join := func(a, b string) {
		if !slices.Contains(t.neighbours[a], b) {
			t.neighbours[a] = append(t.neighbours[a], b)
		}
	}
	p.Members(n, field, map[string]reader{
		"label": func(n *yaml.Node, f string) { t.Label = p.checked(n, f, checkLabel) },
		"depends_on": func(n *yaml.Node, f string) {
			p.Each(n, f, 1024, func(from string, key, n *yaml.Node, f string) {
				if err := checkValue(from); err != nil {
					p.Wrong(key, f, "%s", err)
				}
				for _, to := range p.Texts(n, f, 64, checkValue) {
					if to == from {
						p.Wrong(n, f, "%q cannot depend on itself", to)
						continue
					}
					join(from, to)
					join(to, from)
				}
			})
		},
	})
	for _, all := range t.neighbours {
		slices.Sort(all)
	}
	if t.Label == "" || len(t.neighbours) == 0 {
		p.Wrong(n, field, "must have label and depends_on")
	}
}

var typeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,127}$`)

// CheckTypeName returns an error for a name that no incident type can have.
func CheckTypeName(name string) error {
	if !typeName.MatchString(name) {
		return errors.New("must be 1 to 128 letters, digits, hyphens, dots and underscores, the first a letter")
	}
	return nil
}

func (p *parser) incidentType(name string, key, n *yaml.Node, field string) {
	if err := CheckTypeName(name); err != nil {
		p.Wrong(key, field, "%s", err)
	}
	t := &Type{Name: name, Window: 30 * time.Minute, Decay: 10 * time.Minute}
	p.Members(n, field, map[string]reader{
		"severity":  func(n *yaml.Node, f string) { t.Severity = p.severity(n, f) },
		"correlate": func(n *yaml.Node, f string) { t.Correlate = p.Texts(n, f, 8, checkLabel) },
		"topology":  func(n *yaml.Node, f string) { t.Topology = p.Boolean(n, f) },
		"traces":    func(n *yaml.Node, f string) { t.Traces = p.Boolean(n, f) },
		"signals": func(n *yaml.Node, f string) {
			p.List(n, f, 16, func(n *yaml.Node, f string) { p.requirement(t, n, f) })
		},
		"abstain": func(n *yaml.Node, f string) {
			p.List(n, f, 16, func(n *yaml.Node, f string) { p.reason(t, n, f) })
		},
		"window":   p.duration(&t.Window, time.Second),
		"decay":    p.duration(&t.Decay, time.Second),
		"priority": func(n *yaml.Node, f string) { t.Priority = p.Number(n, f, 0, 100) },
	})
	if n.Kind == yaml.MappingNode && (t.Severity == "" || len(t.Correlate) == 0 || len(t.Signals) == 0) {
		p.Wrong(n, field, "must have severity, correlate and signals")
	}
	for _, q := range t.Signals {
		if q.For >= t.Window {
			p.Wrong(n, field, "for of signal %s must be less than window, which is %s", q.Name, t.Window)
		}
	}
	p.of.Types = append(p.of.Types, t)
}

func (p *parser) severity(n *yaml.Node, field string) string {
	s := p.Text(n, field)
	if s != "" && s != "P1" && s != "P2" {
		p.Wrong(n, field, "must be P1 or P2")
	}
	return s
}

var requirementName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

func (p *parser) requirement(t *Type, n *yaml.Node, field string) {
	q := Requirement{Count: 1}
	p.Members(n, field, map[string]reader{
		"name": func(n *yaml.Node, f string) {
			if q.Name = p.Text(n, f); q.Name != "" && !requirementName.MatchString(q.Name) {
				p.Wrong(n, f, "must be 1 to 64 lowercase letters, digits and hyphens, the first a letter")
			}
		},
		"when":  p.condition(&q.When),
		"count": func(n *yaml.Node, f string) { q.Count = p.Number(n, f, 1, 1000) },
		"for":   p.duration(&q.For, 0),
	})
	if q.Name == "" || q.When.Source == "" {
		p.Wrong(n, field, "must have name and when")
	}
	if slices.ContainsFunc(t.Signals, func(o Requirement) bool { return o.Name == q.Name }) {
		p.Wrong(n, field, "duplicate name %q", q.Name)
	}
	t.Signals = append(t.Signals, q)
}

func (p *parser) reason(t *Type, n *yaml.Node, field string) {
	var r Reason
	p.Members(n, field, map[string]reader{
		"when": p.condition(&r.When),
		"reason": func(n *yaml.Node, f string) {
			if r.Reason = p.Text(n, f); utf8.RuneCountInString(r.Reason) > 256 {
				p.Wrong(n, f, "more than 256 characters")
			}
		},
	})
	if r.Reason == "" || r.When.Source == "" {
		p.Wrong(n, field, "must have when and reason")
	}
	t.Abstain = append(t.Abstain, r)
}

func (p *parser) condition(to *Condition) reader {
	return func(n *yaml.Node, field string) {
		to.Source = p.Text(n, field)
		switch {
		case to.Source == "":
			return
		case len(to.Source) > maxCondition:
			p.Wrong(n, field, "%d bytes, above the limit of %d", len(to.Source), maxCondition)
			return
		}
		env, err := environment()
		if err == nil {
			to.compiled, err = env.Compile(to.Source)
		}
		var at *condition.Error
		switch {
		case errors.As(err, &at):
			p.Wrong(p.Place(n, at.Line, max(1, at.Column)), field, "%s", at.Message)
			return
		case err != nil:
			p.Wrong(n, field, "%s", err)
			return
		}
		before := p.weight
		if p.weight += to.compiled.Weight(); p.weight > condition.MaxWeights && before <= condition.MaxWeights {
			p.Wrong(n, field, "the regular expressions of the catalogue are too large together: shorten counted repetitions")
		}
	}
}

func (p *parser) duration(to *time.Duration, low time.Duration) reader {
	return func(n *yaml.Node, field string) { *to = Duration(p.Document, n, field, low, 24*time.Hour) }
}

// Duration reads a duration within bounds.
func Duration(d *strictyaml.Document, n *yaml.Node, field string, low, high time.Duration) time.Duration {
	s := d.Text(n, field)
	v, err := time.ParseDuration(s)
	if s != "" && (err != nil || v < low || v > high) {
		d.Wrong(n, field, "must be a duration from %s to %s, such as 250ms, 30s or 12h", low, high)
	}
	return v
}

func (p *parser) checked(n *yaml.Node, field string, check func(string) error) string {
	s := p.Text(n, field)
	if s == "" {
		return ""
	}
	if err := check(s); err != nil {
		p.Wrong(n, field, "%s", err)
	}
	return s
}

// checkLabel refuses names that no label has.
func checkLabel(s string) error {
	switch {
	case len(s) > signal.MaxLabelName:
		return errors.New("a label has at most 256 bytes")
	case s == "alertname":
		return errors.New("alertname is the name of the alert, and no label")
	}
	return nil
}

func checkValue(s string) error {
	if s == "" || len(s) > signal.MaxLabelValue {
		return errors.New("must be the value of a label: 1 to 1024 bytes")
	}
	return nil
}

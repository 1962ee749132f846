package action

import (
	"errors"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/internal/strictyaml"
)

// Parse reads the file of actions. The error is a *strictyaml.Error with every
// problem of the file and its position.
func Parse(text []byte) (*Catalogue, error) {
	d := &strictyaml.Document{Noun: "file of actions", Columns: true}
	p := &parser{d, &Catalogue{
		Budgets: Budgets{IncidentsPerHour: 6, ActionsPerHour: 20}, Actions: map[string]*Action{}, document: d,
	}}
	if root := p.ParseText(text, MaxBytes); root != nil {
		p.read(root)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return p.of, nil
}

type reader = func(n *yaml.Node, field string)

type parser struct {
	*strictyaml.Document
	of *Catalogue
}

func (p *parser) read(root *yaml.Node) {
	version := false
	p.Members(root, "", map[string]reader{
		"version": func(n *yaml.Node, f string) { version = true; p.Number(n, f, 1, 1) },
		"budgets": p.members(map[string]reader{
			"incidents_per_hour": p.number(&p.of.Budgets.IncidentsPerHour), "actions_per_hour": p.number(&p.of.Budgets.ActionsPerHour),
		}),
		"approvers": func(n *yaml.Node, f string) { p.of.Approvers = p.Texts(n, f, 64, checkApprover) },
		"actions":   func(n *yaml.Node, f string) { p.Each(n, f, 256, p.action) },
	})
	if !version && len(p.Problems) == 0 {
		p.Wrong(root, "version", "must be specified")
	}
	if len(p.of.Actions) == 0 && len(p.Problems) == 0 {
		p.Wrong(root, "actions", "must be specified")
	}
	for _, name := range p.of.Names() {
		if field := "actions." + name + ".approval"; p.of.Actions[name].Approval && len(p.of.Approvers) == 0 {
			p.Wrong(p.At(field), field, "no person could approve it: list some in approvers")
		}
	}
}

// maxApprover is the size limit of an approver in bytes.
const maxApprover = 2048

func checkApprover(submitter string) error {
	if identity.Person(submitter) == "" || len(submitter) > maxApprover {
		return errors.New("must be a person: oidc:, the issuer, # and the subject. A token or certificate cannot be one")
	}
	return nil
}

var name = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

const notName = "must be 1 to 64 lowercase letters, digits and underscores, the first a letter"

func (p *parser) action(as string, key, n *yaml.Node, field string) {
	if !name.MatchString(as) {
		p.Wrong(key, field, notName)
	}
	a := &Action{Name: as, Parameters: map[string]Parameter{}, UndoAfter: 30 * time.Minute, Timeout: 5 * time.Second}
	approval := ""
	p.Members(n, field, map[string]reader{
		"connector": func(n *yaml.Node, f string) {
			if a.Connector = p.Text(n, f); a.Connector != "" && !name.MatchString(a.Connector) {
				p.Wrong(n, f, notName)
			}
		},
		"target":     func(n *yaml.Node, f string) { a.Target = p.Text(n, f) },
		"parameters": func(n *yaml.Node, f string) { p.Each(n, f, 16, p.parameterOf(a)) },
		"undo":       func(n *yaml.Node, f string) { a.Undo = p.oneOf(n, f, Restore, Lapse) },
		"undo_after": p.duration(&a.UndoAfter, time.Second, 24*time.Hour),
		"timeout":    p.duration(&a.Timeout, 10*time.Millisecond, time.Minute),
		"cooldown":   p.duration(&a.Cooldown, time.Second, 24*time.Hour),
		"per_target": p.members(map[string]reader{
			"actions": p.number(&a.PerTarget.Actions), "within": p.duration(&a.PerTarget.Within, time.Second, 24*time.Hour),
		}),
		"act_without_ledger": func(n *yaml.Node, f string) { a.ActWithoutLedger = p.Boolean(n, f) },
		"approval":           func(n *yaml.Node, f string) { approval = p.oneOf(n, f, "none", "person") },
	})
	a.Approval = approval == "person"
	p.of.Actions[as] = a
	if n.Kind == yaml.MappingNode {
		p.check(a, n, field)
	}
}

// check compares members with each other.
func (p *parser) check(a *Action, n *yaml.Node, field string) {
	switch {
	case a.Undo == "":
		p.Wrong(n, field+".undo", "must be specified: an action that cannot be undone is not allowed")
	case a.Connector == "" || a.Target == "" || a.Cooldown == 0:
		p.Wrong(n, field, "must have connector, target, cooldown and per_target")
	case a.PerTarget.Actions == 0 || a.PerTarget.Within == 0:
		p.Wrong(n, field+".per_target", "must have actions and within")
	case a.Approval && a.ActWithoutLedger:
		p.Wrong(n, field, "act_without_ledger and approval by a person exclude each other: an approval is an entry of the ledger")
	}
	for _, part := range pieces(a.Target) {
		switch _, ok := a.Parameters[part.text]; {
		case part.parameter && !ok:
			p.Wrong(p.At(field+".target"), field+".target", "%q is not a parameter of the action", part.text)
		case !part.parameter && strings.ContainsAny(part.text, "{}"):
			p.Wrong(p.At(field+".target"), field+".target", "a brace without its counterpart")
		}
	}
	if longest := a.longest(); longest > MaxTarget {
		p.Wrong(p.At(field+".target"), field+".target", "up to %d bytes, above the limit of %d", longest, MaxTarget)
	}
}

// longest returns the size of the longest name of a target.
func (a *Action) longest() (size int) {
	for _, part := range pieces(a.Target) {
		if !part.parameter {
			size += len(part.text)
			continue
		}
		p := a.Parameters[part.text]
		most := len("false")
		for _, v := range append([]string{strconv.FormatInt(p.Min, 10), strconv.FormatInt(p.Max, 10)}, p.Values...) {
			most = max(most, len(v))
		}
		size += most
	}
	return size
}

func (p *parser) parameterOf(a *Action) func(as string, key, n *yaml.Node, field string) {
	return func(as string, key, n *yaml.Node, field string) {
		if !name.MatchString(as) || as == "action" {
			p.Wrong(key, field, notName+", and not action")
		}
		q := Parameter{}
		var low, high, preset *yaml.Node
		p.Members(n, field, map[string]reader{
			"type":    func(n *yaml.Node, f string) { q.Type = p.oneOf(n, f, String, Integer, Boolean) },
			"values":  func(n *yaml.Node, f string) { q.Values = p.Texts(n, f, 256, func(string) error { return nil }) },
			"min":     func(n *yaml.Node, f string) { low = n; q.Min = p.integer(n, f) },
			"max":     func(n *yaml.Node, f string) { high = n; q.Max = p.integer(n, f) },
			"default": func(n *yaml.Node, f string) { preset = n; q.Default = ReadValue(p.Document, n, f) },
		})
		switch {
		case q.Type == "" && n.Kind == yaml.MappingNode:
			p.Wrong(n, field, "must have a type: string, integer or boolean")
		case (q.Type == String) != (len(q.Values) > 0):
			p.Wrong(n, field, "values are required for strings, and only for them")
		case (q.Type == Integer) != (low != nil && high != nil) || q.Type != Integer && (low != nil || high != nil):
			p.Wrong(n, field, "min and max are required for integers, and only for them")
		case q.Min > q.Max:
			p.Wrong(n, field, "min must be at most max")
		case q.Default.Given:
			if err := q.Check(q.Default); err != nil {
				p.Wrong(preset, field+".default", "%s", err)
			}
		}
		a.Parameters[as] = q
	}
}

// MaxValue is the size limit of a value in bytes.
const MaxValue = 1024

// ReadValue reads the value of a parameter.
func ReadValue(d *strictyaml.Document, n *yaml.Node, field string) Value {
	if !d.Is(n, field, yaml.ScalarNode, "a string, a whole number, true or false") {
		return Value{}
	}
	if len(n.Value) > MaxValue {
		d.Wrong(n, field, "%d bytes, above the limit of %d", len(n.Value), MaxValue)
		return Value{}
	}
	switch n.ShortTag() {
	case "!!bool":
		var v bool
		if n.Decode(&v) == nil {
			return Value{strconv.FormatBool(v), Boolean, true}
		}
	case "!!int":
		if v, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return Value{strconv.FormatInt(v, 10), Integer, true}
		}
	case "!!str":
		return Value{n.Value, String, true}
	}
	d.Wrong(n, field, "must be a string in quotes, a whole number, true or false")
	return Value{}
}

func (p *parser) integer(n *yaml.Node, field string) int64 {
	return int64(p.Number(n, field, math.MinInt64, math.MaxInt64))
}

func (p *parser) members(known map[string]reader) reader {
	return func(n *yaml.Node, f string) { p.Members(n, f, known) }
}

func (p *parser) number(to *int) reader {
	return func(n *yaml.Node, f string) { *to = p.Number(n, f, 1, 1000) }
}

func (p *parser) duration(to *time.Duration, low, high time.Duration) reader {
	return func(n *yaml.Node, f string) {
		s := p.Text(n, f)
		v, err := time.ParseDuration(s)
		if s != "" && (err != nil || v < low || v > high) {
			p.Wrong(n, f, "must be a duration from %s to %s, such as 250ms, 30s or 12h", low, high)
		}
		*to = v
	}
}

func (p *parser) oneOf(n *yaml.Node, field string, allowed ...string) string {
	s := p.Text(n, field)
	if s != "" && !slices.Contains(allowed, s) {
		p.Wrong(n, field, "must be one of %s", strings.Join(allowed, ", "))
	}
	return s
}

// Names returns the names of the actions, sorted.
func (c *Catalogue) Names() []string { return slices.Sorted(maps.Keys(c.Actions)) }

// Package action reads the catalogue of actions: what each may change, within
// which bounds and budgets. See docs/spec/triage.md, section 6.
package action

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/internal/safetext"
	"muniment.dev/muniment/internal/strictyaml"
)

// MaxBytes is the size limit of the file.
const MaxBytes = 256 << 10

// The two ways in which the effect of an action ends.
const (
	Restore = "restore" // the former state is written back
	Lapse   = "lapse"   // it ends by itself
)

// A Catalogue contains the actions.
type Catalogue struct {
	Budgets   Budgets
	Approvers []string // submitters who may make requests
	Actions   map[string]*Action

	document *strictyaml.Document // with the positions of the members
}

// Check calls a function with each action, in the order of their names. The
// error is a *strictyaml.Error with the problems that it reports. Each is one
// of a member of the action, or of the whole action if the member is empty.
func (c *Catalogue) Check(check func(a *Action, wrong func(member, format string, args ...any))) error {
	d := *c.document
	d.Problems = nil
	for _, name := range c.Names() {
		field := strictyaml.Join("actions", name)
		check(c.Actions[name], func(member, format string, args ...any) {
			f := field
			if member != "" {
				f = strictyaml.Join(field, member)
			}
			d.Wrong(d.At(f), f, format, args...)
		})
	}
	return d.Err()
}

// MayRequest reports whether a submitter is one of the approvers.
func (c *Catalogue) MayRequest(submitter string) bool {
	person := identity.Person(submitter)
	return person != "" && slices.ContainsFunc(c.Approvers, func(a string) bool { return identity.Person(a) == person })
}

// Budgets limit all types of incidents together.
type Budgets struct{ IncidentsPerHour, ActionsPerHour int }

// An Action is something that can be done to a target.
type Action struct {
	Name       string
	Connector  string
	Target     string // with parameters in braces
	Parameters map[string]Parameter
	Undo       string // Restore or Lapse
	UndoAfter  time.Duration
	Timeout    time.Duration
	Cooldown   time.Duration
	PerTarget  Budget

	ActWithoutLedger bool
	Approval         bool // by a person
}

// A Budget is a number of actions within a time.
type Budget struct {
	Actions int
	Within  time.Duration
}

// The types of parameters.
const (
	String  = "string"
	Integer = "integer"
	Boolean = "boolean"
)

// A Parameter has the bounds of a value.
type Parameter struct {
	Type     string
	Values   []string // of a string
	Min, Max int64    // of an integer
	Default  Value    // with Given false: none
}

// A Value is the value of a parameter, as text. "12" is also the text of a
// number.
type Value struct {
	Text  string
	Type  string // String, Integer or Boolean
	Given bool
}

// Check returns an error if a value is outside the bounds.
func (p *Parameter) Check(v Value) error {
	if v.Type != p.Type {
		return fmt.Errorf("must be of type %s", p.Type)
	}
	switch p.Type {
	case String:
		if !slices.Contains(p.Values, v.Text) {
			return fmt.Errorf("%s is not one of the values %s", safetext.Quoted(v.Text), safetext.Escape(strings.Join(p.Values, ", ")))
		}
	case Integer:
		if n, err := strconv.ParseInt(v.Text, 10, 64); err != nil || n < p.Min || n > p.Max {
			return fmt.Errorf("must be a whole number from %d to %d", p.Min, p.Max)
		}
	}
	return nil
}

// A Problem is a violation of the bounds of a parameter, or of the action as a
// whole if Parameter is empty.
type Problem struct{ Parameter, Message string }

// Fill returns the values of all parameters of the action, with the defaults
// for those that are not given.
func (a *Action) Fill(given map[string]Value) (map[string]Value, []Problem) {
	all := map[string]Value{}
	var wrong []Problem
	for name, v := range given {
		p, ok := a.Parameters[name]
		if !ok {
			wrong = append(wrong, Problem{name, "the action " + a.Name + " has no such parameter"})
			continue
		}
		if err := p.Check(v); err != nil {
			wrong = append(wrong, Problem{name, err.Error()})
		}
		all[name] = v
	}
	for name, p := range a.Parameters {
		switch _, ok := given[name]; {
		case ok:
		case p.Default.Given:
			all[name] = p.Default
		default:
			wrong = append(wrong, Problem{"", fmt.Sprintf("the action %s requires the parameter %s", a.Name, name)})
		}
	}
	slices.SortFunc(wrong, func(a, b Problem) int { return strings.Compare(a.Parameter+a.Message, b.Parameter+b.Message) })
	return all, wrong
}

// MaxTarget is the size limit of a target's name in bytes, which Parse enforces
// for all values.
const MaxTarget = 256

// TargetOf returns the name of the target for values of the parameters.
func (a *Action) TargetOf(values map[string]Value) string {
	var b strings.Builder
	for _, p := range pieces(a.Target) {
		if p.parameter {
			b.WriteString(values[p.text].Text)
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// A piece is a part of a target: a parameter, or literal text.
type piece struct {
	text      string
	parameter bool
}

// pieces splits a target. A brace without its counterpart is literal, which
// parsing refuses.
func pieces(target string) (all []piece) {
	for target != "" {
		before, rest, open := strings.Cut(target, "{")
		name, after, closed := strings.Cut(rest, "}")
		if open && !closed {
			return append(all, piece{text: target})
		}
		if before != "" {
			all = append(all, piece{text: before})
		}
		if open {
			all = append(all, piece{name, true})
		}
		target = after
	}
	return all
}

// Package playbook reads playbooks: the steps that are taken against each type
// of incident. See docs/spec/triage.md, section 5.
package playbook

import (
	"maps"
	"slices"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/internal/similar"
	"muniment.dev/muniment/internal/strictyaml"
)

// MaxBytes is the size limit of the file.
const MaxBytes = 256 << 10

// A Step is one action with its parameters.
type Step struct {
	Action     *action.Action
	Parameters map[string]action.Value // all of them, with defaults
	Target     string
}

// Playbooks maps incident types to their steps.
type Playbooks map[string][]Step

// Parse reads a file of playbooks, each for a type of the catalogue and with
// the actions. The error is a *strictyaml.Error with every problem of the file
// and its position.
func Parse(text []byte, types *catalogue.Catalogue, actions *action.Catalogue) (Playbooks, error) {
	p := &parser{Document: &strictyaml.Document{Noun: "file of playbooks", Columns: true}, types: types, actions: actions, all: Playbooks{}}
	if root := p.ParseText(text, MaxBytes); root != nil {
		p.Each(root, "", 256, p.playbook)
		for _, t := range types.Types {
			if _, ok := p.all[t.Name]; !ok {
				p.Wrong(root, t.Name, "the incident type has no playbook")
			}
		}
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return p.all, nil
}

type parser struct {
	*strictyaml.Document
	types   *catalogue.Catalogue
	actions *action.Catalogue
	all     Playbooks
}

func (p *parser) playbook(name string, key, n *yaml.Node, field string) {
	if p.types.Type(name) == nil {
		var names []string
		for _, t := range p.types.Types {
			names = append(names, t.Name)
		}
		p.Wrong(key, field, "the catalogue has no such incident type%s", similar.DidYouMean(name, names))
	}
	p.all[name] = nil
	p.List(n, field, 16, func(n *yaml.Node, field string) {
		if s := p.step(n, field); s != nil {
			p.all[name] = append(p.all[name], *s)
		}
	})
}

// step reads one step. All its members but action are parameters.
func (p *parser) step(n *yaml.Node, field string) *Step {
	name := ""
	var at *yaml.Node
	given, places := map[string]action.Value{}, map[string]*yaml.Node{}
	p.Each(n, field, 17, func(member string, key, n *yaml.Node, field string) {
		if member == "action" {
			name, at = p.Text(n, field), n
			return
		}
		given[member], places[member] = action.ReadValue(p.Document, n, field), key
	})
	switch {
	case n.Kind != yaml.MappingNode:
		return nil
	case at == nil:
		p.Wrong(n, field, "must have an action")
		return nil
	case name == "":
		return nil
	}
	a := p.actions.Actions[name]
	if a == nil {
		p.Wrong(at, strictyaml.Join(field, "action"), "unknown action %q%s", name, similar.DidYouMean(name, slices.Sorted(maps.Keys(p.actions.Actions))))
		return nil
	}
	values, wrong := a.Fill(given)
	for _, w := range wrong {
		if w.Parameter == "" {
			p.Wrong(n, field, "%s", w.Message)
		} else if given[w.Parameter].Given { // ReadValue has reported the others
			p.Wrong(places[w.Parameter], strictyaml.Join(field, w.Parameter), "%s", w.Message)
		}
	}
	return &Step{a, values, a.TargetOf(values)}
}

package connector

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/internal/strictyaml"
)

// settings are the members of one connector in the file. A type declares its
// members, calls read, and uses the values only then.
type settings struct {
	*strictyaml.Document
	n        *yaml.Node
	field    string
	known    map[string]reader
	required []string
}

// text declares a required string that check accepts.
func (s *settings) text(member string, check func(string) error) *string {
	s.required = append(s.required, member)
	return s.optional(member, check)
}

// optional declares a string that check accepts.
func (s *settings) optional(member string, check func(string) error) *string {
	v := new(string)
	s.known[member] = func(n *yaml.Node, f string) {
		*v = s.Text(n, f)
		if *v == "" {
			return
		}
		if err := check(*v); err != nil {
			s.Wrong(n, f, "%s", err)
		}
	}
	return v
}

// path accepts paths of files.
func path(s string) error {
	if strings.ContainsRune(s, 0) || len(s) > 4096 {
		return fmt.Errorf("must be the path of a file")
	}
	return nil
}

// read reads the declared members, and reports those that are missing.
func (s *settings) read() {
	given := map[string]bool{}
	for member, read := range s.known {
		s.known[member] = func(n *yaml.Node, f string) { given[member] = true; read(n, f) }
	}
	s.Members(s.n, s.field, s.known)
	for _, member := range s.required {
		if !given[member] {
			s.Wrong(s.n, s.field+"."+member, "must be specified")
		}
	}
}

// checkAction returns an error unless the targets of an action begin with the
// prefix, and its parameters are those that are required, optional, or part of
// its target.
func checkAction(a *action.Action, prefix string, required map[string]string, optional map[string]string) error {
	if !strings.HasPrefix(a.Target, prefix) {
		return fmt.Errorf("the target must begin with %s", prefix)
	}
	for _, name := range slices.Sorted(maps.Keys(required)) {
		if _, ok := a.Parameters[name]; !ok {
			return fmt.Errorf("requires the parameter %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Parameters)) {
		of := required[name] + optional[name]
		switch {
		case of == "" && !strings.Contains(a.Target, "{"+name+"}"):
			return fmt.Errorf("the parameter %s has no effect: remove it, or use it in the target", name)
		case of != "" && of != a.Parameters[name].Type:
			return fmt.Errorf("the parameter %s must be of type %s", name, of)
		}
	}
	return nil
}

// typesOf returns the types of an action's parameters.
func typesOf(a *action.Action) map[string]string {
	all := map[string]string{}
	for name, p := range a.Parameters {
		if !strings.Contains(a.Target, "{"+name+"}") {
			all[name] = p.Type
		}
	}
	return all
}

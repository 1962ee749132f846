package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Problem is an error at one place of a policy.
type Problem struct {
	Line    int    `json:"line,omitempty"`  // from 1; 0 if not at a certain line
	Field   string `json:"field,omitempty"` // such as rules[2].condition
	Message string `json:"message"`
}

func (p Problem) String() string {
	s := p.Message
	if p.Field != "" {
		s = p.Field + ": " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// An Error lists all problems of a policy.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	all := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		all[i] = p.String()
	}
	return strings.Join(all, "\n")
}

// A document reads a YAML tree and collects all problems, so that they can be
// fixed together.
type document struct{ problems []Problem }

func (d *document) wrong(n *yaml.Node, field, format string, args ...any) {
	p := Problem{Field: field, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		p.Line = n.Line
	}
	d.problems = append(d.problems, p)
}

func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{d.problems}
}

// parse returns the root of the one document in text, or nil.
func (d *document) parse(text []byte) *yaml.Node {
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var root, more yaml.Node
	if err := dec.Decode(&root); err != nil {
		p := Problem{Message: strings.TrimPrefix(err.Error(), "yaml: ")}
		if rest, ok := strings.CutPrefix(p.Message, "line "); ok {
			number, message, _ := strings.Cut(rest, ": ")
			if line, err := strconv.Atoi(number); err == nil {
				p.Line, p.Message = line, "invalid YAML: "+message
			}
		} else if p.Message == "EOF" {
			p.Message = "the policy is empty"
		}
		d.problems = append(d.problems, p)
		return nil
	}
	if dec.Decode(&more) == nil {
		d.wrong(&more, "", "more than one YAML document: a policy is a single document")
		return nil
	}
	return root.Content[0]
}

// members reads an object. It calls the function of each member's name, and
// reports members without one.
func (d *document) members(n *yaml.Node, field string, known map[string]func(n *yaml.Node, field string)) {
	if !d.is(n, field, yaml.MappingNode, "a map") {
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		read, ok := known[name]
		switch {
		case !ok:
			d.wrong(key, join(field, name), "unknown member: %s has %s", object(field), strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		case seen[name]:
			d.wrong(key, join(field, name), "duplicate member")
		default:
			seen[name] = true
			read(value, join(field, name))
		}
	}
}

func object(field string) string {
	if field == "" {
		return "a policy"
	}
	return field
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// each reads a map whose keys are names chosen by the user.
func (d *document) each(n *yaml.Node, field string, limit int, read func(name string, key, n *yaml.Node, field string)) {
	if !d.is(n, field, yaml.MappingNode, "a map") {
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case seen[key.Value]:
			d.wrong(key, join(field, key.Value), "duplicate name")
		case len(seen) == limit:
			d.wrong(key, field, "more than the limit of %d", limit)
			return
		default:
			seen[key.Value] = true
			read(key.Value, key, n.Content[i+1], join(field, key.Value))
		}
	}
}

func (d *document) list(n *yaml.Node, field string, limit int, read func(n *yaml.Node, field string)) {
	if !d.is(n, field, yaml.SequenceNode, "a list") {
		return
	}
	if len(n.Content) == 0 {
		d.wrong(n, field, "must not be empty: omit it instead")
	}
	if len(n.Content) > limit {
		d.wrong(n, field, "%d items, above the limit of %d", len(n.Content), limit)
		return
	}
	for i, c := range n.Content {
		read(c, fmt.Sprintf("%s[%d]", field, i))
	}
}

func (d *document) is(n *yaml.Node, field string, kind yaml.Kind, what string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.wrong(n, field, "anchors and aliases are not allowed")
	case n.Kind != kind:
		d.wrong(n, field, "must be %s", what)
	default:
		return true
	}
	return false
}

const maxText = 64 << 10

// text reads a non-empty string.
func (d *document) text(n *yaml.Node, field string) string {
	if !d.is(n, field, yaml.ScalarNode, "a string") {
		return ""
	}
	switch {
	case n.ShortTag() != "!!str" && n.ShortTag() != "!!int" && n.ShortTag() != "!!float" && n.ShortTag() != "!!timestamp":
		d.wrong(n, field, "must be a string: put it in quotes")
	case n.Value == "":
		d.wrong(n, field, "must not be empty")
	case len(n.Value) > maxText:
		d.wrong(n, field, "%d bytes, above the limit of %d", len(n.Value), maxText)
	default:
		return n.Value
	}
	return ""
}

func (d *document) texts(n *yaml.Node, field string, limit int, check func(string) error) (all []string) {
	d.list(n, field, limit, func(n *yaml.Node, field string) {
		s := d.text(n, field)
		if s == "" {
			return
		}
		if err := check(s); err != nil {
			d.wrong(n, field, "%s", err)
			return
		}
		if slices.Contains(all, s) {
			d.wrong(n, field, "duplicate value %q", s)
			return
		}
		all = append(all, s)
	})
	return all
}

func (d *document) boolean(n *yaml.Node, field string) (v bool) {
	if d.is(n, field, yaml.ScalarNode, "true or false") && (n.ShortTag() != "!!bool" || n.Decode(&v) != nil) {
		d.wrong(n, field, "must be true or false")
	}
	return v
}

func (d *document) number(n *yaml.Node, field string, low, high int) (v int) {
	if !d.is(n, field, yaml.ScalarNode, "a number") {
		return low
	}
	switch {
	case n.ShortTag() == "!!int" && n.Decode(&v) == nil && v >= low && v <= high:
		return v
	case low == high:
		d.wrong(n, field, "must be %d", low)
	default:
		d.wrong(n, field, "must be a whole number from %d to %d", low, high)
	}
	return low
}

var errEmptyPolicy = errors.New("missing: a policy without rules admits nothing, so add one, such as {name: everything, unsigned: true}")

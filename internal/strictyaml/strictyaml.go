// Package strictyaml reads YAML documents with a fixed set of members, and
// reports every problem with its position.
package strictyaml

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/similar"
)

// A Problem is an error at one position in a document.
type Problem struct {
	Line    int    `json:"line,omitempty"`   // from 1; 0: no particular line
	Column  int    `json:"column,omitempty"` // from 1, in characters; 0 if unknown
	Field   string `json:"field,omitempty"`  // such as rules[2].condition
	Message string `json:"message"`
}

func (p Problem) String() string {
	s := p.Message
	if p.Field != "" {
		s = p.Field + ": " + s
	}
	switch {
	case p.Column > 0:
		s = fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, s)
	case p.Line > 0:
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// An Error lists all problems of a document.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	all := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		all[i] = p.String()
	}
	return strings.Join(all, "\n")
}

// A Document reads a YAML tree and collects all problems, so that users can fix
// them together.
type Document struct {
	Noun    string // such as "policy"
	Columns bool   // report columns

	Problems []Problem

	text   string
	lines  []string
	places map[string]*yaml.Node // of the values, by field
}

// At returns the node of a field, or of its closest enclosing field.
func (d *Document) At(field string) *yaml.Node {
	for ; field != ""; field = field[:max(0, strings.LastIndexAny(field, ".["))] {
		if n := d.places[field]; n != nil {
			return n
		}
	}
	return d.places[""]
}

// Wrong adds a problem at a node, which can be nil.
func (d *Document) Wrong(n *yaml.Node, field, format string, args ...any) {
	p := Problem{Field: field, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		p.Line = n.Line
		if d.Columns {
			p.Column = n.Column
		}
	}
	d.Problems = append(d.Problems, p)
}

// Err returns an *Error with all problems in the order of their lines, or nil.
func (d *Document) Err() error {
	if len(d.Problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.Problems, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{d.Problems}
}

// ParseText is Parse for a file of at most limit bytes, which must be UTF-8.
func (d *Document) ParseText(text []byte, limit int) *yaml.Node {
	switch {
	case len(text) > limit:
		d.Wrong(nil, "", "%d bytes, above the limit of %d", len(text), limit)
	case !utf8.Valid(text):
		d.Wrong(nil, "", "not UTF-8")
	default:
		return d.Parse(text)
	}
	return nil
}

// Parse returns the root of the one document in text, or nil.
func (d *Document) Parse(text []byte) *yaml.Node {
	d.text = string(text)
	d.lines = lineBreak.Split(d.text, -1)
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var root, more yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		d.Wrong(nil, "", "the %s is empty", d.Noun)
		return nil
	case err != nil:
		d.invalid(err)
		return nil
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		d.Wrong(&more, "", "more than one YAML document: a %s is a single document", d.Noun)
		return nil
	case !errors.Is(err, io.EOF):
		d.invalid(err)
		return nil
	}
	return root.Content[0]
}

// lineBreak matches the line breaks of YAML 1.1, which node positions count.
var lineBreak = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// invalid adds an error of the YAML library.
func (d *Document) invalid(err error) {
	p := Problem{Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	if rest, ok := strings.CutPrefix(p.Message, "line "); ok {
		number, message, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			p.Line, p.Message = line, "invalid YAML: "+message
			if d.Columns {
				p.Column = 1
			}
		}
	}
	d.Problems = append(d.Problems, p)
}

// Members reads an object. It calls the function of each member's name, and
// reports members without one.
func (d *Document) Members(n *yaml.Node, field string, known map[string]func(n *yaml.Node, field string)) {
	if !d.Is(n, field, yaml.MappingNode, "a map") {
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		read, ok := known[name]
		switch {
		case !d.Is(key, field, yaml.ScalarNode, "a map with names as keys"):
		case !ok:
			names := slices.Sorted(maps.Keys(known))
			d.Wrong(key, Join(field, name), "unknown member: %s has %s%s", d.object(field), strings.Join(names, ", "), similar.DidYouMean(name, names))
		case seen[name]:
			d.Wrong(key, Join(field, name), "duplicate member")
		default:
			seen[name] = true
			read(value, Join(field, name))
		}
	}
}

func (d *Document) object(field string) string {
	if field == "" {
		return "a " + d.Noun
	}
	return field
}

// Join returns the name of a member.
func Join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// Each reads a map whose keys are names chosen by the user.
func (d *Document) Each(n *yaml.Node, field string, limit int, read func(name string, key, n *yaml.Node, field string)) {
	if !d.Is(n, field, yaml.MappingNode, "a map") {
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case !d.Is(key, field, yaml.ScalarNode, "a map with names as keys"):
		case seen[key.Value]:
			d.Wrong(key, Join(field, key.Value), "duplicate name")
		case len(seen) == limit:
			d.Wrong(key, field, "more than the limit of %d", limit)
			return
		default:
			seen[key.Value] = true
			read(key.Value, key, n.Content[i+1], Join(field, key.Value))
		}
	}
}

func (d *Document) List(n *yaml.Node, field string, limit int, read func(n *yaml.Node, field string)) {
	if !d.Is(n, field, yaml.SequenceNode, "a list") {
		return
	}
	if len(n.Content) == 0 {
		d.Wrong(n, field, "must not be empty: omit it instead")
	}
	if len(n.Content) > limit {
		d.Wrong(n, field, "%d items, above the limit of %d", len(n.Content), limit)
		return
	}
	for i, c := range n.Content {
		read(c, fmt.Sprintf("%s[%d]", field, i))
	}
}

func (d *Document) Is(n *yaml.Node, field string, kind yaml.Kind, what string) bool {
	if d.places == nil {
		d.places = map[string]*yaml.Node{}
	}
	if d.places[field] == nil {
		d.places[field] = n
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.Wrong(n, field, "anchors and aliases are not allowed")
	case n.Kind != kind:
		d.Wrong(n, field, "must be %s", what)
	default:
		return true
	}
	return false
}

// MaxText is the size limit of a string in bytes.
const MaxText = 64 << 10

// Text reads a non-empty string.
func (d *Document) Text(n *yaml.Node, field string) string {
	if !d.Is(n, field, yaml.ScalarNode, "a string") {
		return ""
	}
	switch {
	case n.ShortTag() != "!!str" && n.ShortTag() != "!!int" && n.ShortTag() != "!!float" && n.ShortTag() != "!!timestamp":
		d.Wrong(n, field, "must be a string: put it in quotes")
	case n.Value == "":
		d.Wrong(n, field, "must not be empty")
	case len(n.Value) > MaxText:
		d.Wrong(n, field, "%d bytes, above the limit of %d", len(n.Value), MaxText)
	default:
		return n.Value
	}
	return ""
}

func (d *Document) Texts(n *yaml.Node, field string, limit int, check func(string) error) (all []string) {
	d.List(n, field, limit, func(n *yaml.Node, field string) {
		s := d.Text(n, field)
		if s == "" {
			return
		}
		if err := check(s); err != nil {
			d.Wrong(n, field, "%s", err)
			return
		}
		if slices.Contains(all, s) {
			d.Wrong(n, field, "duplicate value %q", s)
			return
		}
		all = append(all, s)
	})
	return all
}

func (d *Document) Boolean(n *yaml.Node, field string) (v bool) {
	if d.Is(n, field, yaml.ScalarNode, "true or false") && (n.ShortTag() != "!!bool" || n.Decode(&v) != nil) {
		d.Wrong(n, field, "must be true or false")
	}
	return v
}

func (d *Document) Number(n *yaml.Node, field string, low, high int) (v int) {
	if !d.Is(n, field, yaml.ScalarNode, "a number") {
		return low
	}
	switch {
	case n.ShortTag() == "!!int" && n.Decode(&v) == nil && v >= low && v <= high:
		return v
	case low == high:
		d.Wrong(n, field, "must be %d", low)
	default:
		d.Wrong(n, field, "must be a whole number from %d to %d", low, high)
	}
	return low
}

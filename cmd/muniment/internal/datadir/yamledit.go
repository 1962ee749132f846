package datadir

import (
	"bytes"
	"errors"
	"strings"

	"gopkg.in/yaml.v3"
)

// A YamlEdit edits lists of a configuration file. It splices lines, and keeps
// comments, order and spelling of the rest. Callers decode the result and
// compare it with the intended one.
type YamlEdit struct {
	Lines []string // each with its line feed
}

// ErrEditByHand is the error for a file whose form a YamlEdit cannot splice.
var ErrEditByHand = errors.New("the file has a form that this command cannot edit")

// SplitLines returns the lines of a text, each with its line feed.
func SplitLines(text []byte) []string {
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(bytes.Clone(text), '\n')
	}
	lines := strings.SplitAfter(string(text), "\n")
	return lines[:len(lines)-1] // SplitAfter leaves an empty one
}

// Text returns the edited file.
func (e *YamlEdit) Text() string { return strings.Join(e.Lines, "") }

// A block is the place of a list in the file, by indexes of lines.
type block struct {
	key    int   // of the list's name, or -1
	starts []int // of the first line of each item
	to     int   // after the last item
	node   *yaml.Node
}

// list finds a top-level list in block style.
func (e *YamlEdit) list(name string) (block, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(e.Text()), &doc); err != nil {
		return block{}, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode || doc.Content[0].Style&yaml.FlowStyle != 0 {
		return block{}, ErrEditByHand
	}
	for fields := doc.Content[0].Content; len(fields) >= 2; fields = fields[2:] {
		key, value := fields[0], fields[1]
		if key.Value != name {
			continue
		}
		b := block{key: key.Line - 1, node: value, to: key.Line}
		switch {
		case value.Kind == yaml.ScalarNode && value.Tag == "!!null" && value.Value == "":
			return b, nil
		case value.Kind != yaml.SequenceNode || value.Style&yaml.FlowStyle != 0:
			return block{}, ErrEditByHand
		}
		for _, item := range value.Content {
			if item.Kind != yaml.MappingNode || item.Style&yaml.FlowStyle != 0 {
				return block{}, ErrEditByHand
			}
			b.starts = append(b.starts, item.Line-1)
		}
		b.to = lastLine(value)
		return b, nil
	}
	return block{key: -1, to: len(e.Lines)}, nil
}

// lastLine returns the number of a node's last line.
func lastLine(n *yaml.Node) int {
	last := n.Line
	if n.Style&yaml.LiteralStyle != 0 { // its text begins on the next line
		last += strings.Count(strings.TrimRight(n.Value, "\n"), "\n") + 1
	}
	for _, child := range n.Content {
		last = max(last, lastLine(child))
	}
	return last
}

func (e *YamlEdit) splice(from, to int, lines string) {
	var added []string
	if lines != "" {
		added = strings.SplitAfter(strings.TrimSuffix(lines, "\n"), "\n")
		added[len(added)-1] += "\n"
	}
	e.Lines = append(append(append([]string{}, e.Lines[:from]...), added...), e.Lines[to:]...)
}

// Add appends an item, whose lines are indented by two spaces, to a list, which
// it makes if necessary. The item gets the indentation of the list.
func (e *YamlEdit) Add(list, lines string) error {
	b, err := e.list(list)
	if err != nil {
		return err
	}
	switch {
	case b.key < 0:
		lines = "\n" + list + ":\n" + lines
	case len(b.starts) > 0:
		lines = indent(lines, 2, b.node.Column-1)
	}
	e.splice(b.to, b.to, lines)
	return nil
}

// indent replaces the indentation of each line.
func indent(lines string, from, to int) string {
	var out strings.Builder
	for line := range strings.Lines(lines) {
		out.WriteString(strings.Repeat(" ", to) + strings.TrimPrefix(line, strings.Repeat(" ", from)))
	}
	return out.String()
}

// field returns the value of a mapping's field, or nil.
func field(n *yaml.Node, name string) *yaml.Node {
	for f := n.Content; len(f) >= 2; f = f[2:] {
		if f[0].Value == name {
			return f[1]
		}
	}
	return nil
}

// item returns the range of lines of the item whose field has the value.
func (e *YamlEdit) item(list, field, value string) (from, to int, node *yaml.Node, err error) {
	b, err := e.list(list)
	if err != nil {
		return 0, 0, nil, err
	}
	if b.node != nil {
		for i, n := range b.node.Content {
			for f := n.Content; len(f) >= 2; f = f[2:] {
				if f[0].Value == field && f[1].Value == value {
					return b.starts[i], lastLine(n), n, nil
				}
			}
		}
	}
	return 0, 0, nil, ErrEditByHand
}

// Remove deletes the item whose field has the value.
func (e *YamlEdit) Remove(list, field, value string) error {
	from, to, _, err := e.item(list, field, value)
	if err != nil {
		return err
	}
	e.splice(from, to, "")
	return nil
}

// Set sets the field name of the item whose field has the value. An empty value
// to removes the field.
func (e *YamlEdit) Set(list, field, value, name, to string) error {
	from, _, node, err := e.item(list, field, value)
	if err != nil {
		return err
	}
	for f := node.Content; len(f) >= 2; f = f[2:] {
		if f[0].Value != name {
			continue
		}
		if f[1].Line != f[0].Line || f[0].Line-1 == from {
			return ErrEditByHand
		}
		e.splice(f[0].Line-1, f[0].Line, "")
	}
	if to != "" {
		e.splice(from+1, from+1, strings.Repeat(" ", node.Column-1)+name+": "+to+"\n")
	}
	return nil
}

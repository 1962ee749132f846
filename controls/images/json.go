package images

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"
)

// BytesPerNode is about the memory that Resource needs for each value and each
// name of a member.
const BytesPerNode = 192

// CountJSON returns the number of values and names in a JSON value, of which
// there are at most MaxNodes, nested at most MaxDepth deep.
func CountJSON(text []byte) (nodes int, err error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(text))
	for {
		tok, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return nodes, nil
		case err != nil:
			return 0, notJSON(err)
		case tok.Kind() == '}' || tok.Kind() == ']':
			continue
		}
		if nodes++; nodes > MaxNodes {
			return 0, fmt.Errorf("%w: more than %d values", ErrTooMuch, MaxNodes)
		}
		if dec.StackDepth() > MaxDepth {
			return 0, fmt.Errorf("%w: more than %d levels", ErrTooMuch, MaxDepth)
		}
	}
}

func notJSON(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) && syntax.Err != nil {
		return fmt.Errorf("not JSON: at byte %d: %w", syntax.ByteOffset, syntax.Err)
	}
	return fmt.Errorf("not JSON: %w", err)
}

// A Resource is one Kubernetes resource in JSON.
type Resource struct{ root *yaml.Node }

// ParseJSON reads a resource as an API server sends it. Its JSON is strict:
// names of members are unique, and texts valid UTF-8.
func ParseJSON(text []byte) (*Resource, error) {
	p := &jsonParser{dec: jsontext.NewDecoder(bytes.NewBuffer(text))}
	n, err := p.value()
	if err != nil {
		return nil, err
	}
	if n.Kind != yaml.MappingNode {
		return nil, errors.New("not a Kubernetes resource")
	}
	return &Resource{n}, nil
}

// Drop removes a member of the resource, such as metadata.managedFields.
func (r *Resource) Drop(path ...string) {
	n := r.root
	for i, name := range path {
		for k := 0; k+1 < len(n.Content) && n.Kind == yaml.MappingNode; k += 2 {
			if n.Content[k].Value != name {
				continue
			}
			if i == len(path)-1 {
				n.Content = append(n.Content[:k:k], n.Content[k+2:]...)
				return
			}
			n = n.Content[k+1]
			break
		}
	}
}

// Text returns a member that is a scalar, such as metadata.name, or "".
func (r *Resource) Text(path ...string) string {
	n := r.root
	for _, name := range path[:len(path)-1] {
		if n = child(n, name); n == nil {
			return ""
		}
	}
	return text(n, path[len(path)-1])
}

// Find returns the images of the resource.
func (r *Resource) Find(paths []Path) (*Found, error) {
	s := newScan(paths)
	return s.found, s.resource(r.root, 0)
}

// A jsonParser reads JSON as the nodes that a YAML parser would make.
type jsonParser struct {
	dec   *jsontext.Decoder
	nodes int
}

func (p *jsonParser) value() (*yaml.Node, error) {
	if p.nodes++; p.nodes > MaxNodes {
		return nil, fmt.Errorf("%w: more than %d values", ErrTooMuch, MaxNodes)
	}
	if p.dec.StackDepth() > MaxDepth {
		return nil, fmt.Errorf("%w: more than %d levels", ErrTooMuch, MaxDepth)
	}
	tok, err := p.dec.ReadToken()
	if err != nil {
		return nil, notJSON(err)
	}
	switch tok.Kind() {
	case '{':
		return p.members(yaml.MappingNode, '}')
	case '[':
		return p.members(yaml.SequenceNode, ']')
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: tok.String(), Tag: jsonTags[tok.Kind()]}
	return n, nil
}

var jsonTags = map[jsontext.Kind]string{'"': "!!str", '0': "!!float", 't': "!!bool", 'f': "!!bool", 'n': "!!null"}

func (p *jsonParser) members(kind yaml.Kind, end jsontext.Kind) (*yaml.Node, error) {
	n := &yaml.Node{Kind: kind, Tag: "!!seq"}
	if kind == yaml.MappingNode {
		n.Tag = "!!map"
	}
	for p.dec.PeekKind() != end {
		c, err := p.value()
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, c)
	}
	_, err := p.dec.ReadToken()
	return n, err
}

package pods

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"
	corev1 "k8s.io/api/core/v1"

	"muniment.dev/muniment/internal/bounded"
)

// Bounds of a dump.
const (
	MaxDump  = 1 << 30   // bytes of JSON, which is read Pod by Pod
	MaxYAML  = 128 << 20 // bytes of YAML, which is read as a whole
	maxPod   = 4 << 20   // bytes of one object; etcd stores less
	maxNodes = 1 << 23   // values of YAML
)

// ReadDump calls visit with each Pod of a dump: the JSON or YAML that kubectl
// get pods prints, once or several times. Objects of other kinds are skipped. A
// list that the API server has not sent completely is an error.
func ReadDump(r io.Reader, visit func(*corev1.Pod) error) error {
	head := make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	head = bytes.TrimPrefix(head[:n], []byte("\xef\xbb\xbf"))
	in := io.MultiReader(bytes.NewReader(head), r)
	if trimmed := bytes.TrimLeft(head, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		return readJSON(&capped{in, MaxDump}, visit)
	}
	text, err := bounded.ReadAll(in, MaxYAML)
	if err != nil {
		return err
	}
	converted, err := fromYAML(text)
	if err != nil {
		return err
	}
	return readJSON(bytes.NewReader(converted), visit)
}

// A capped reader fails beyond a limit.
type capped struct {
	io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("%w: a dump of more than %d bytes", ErrTooMuch, int64(MaxDump))
	}
	n, err := c.Reader.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// A head has what identifies an object.
type head struct {
	Kind     string
	Metadata struct{ Continue string }
}

// readJSON reads lists and objects, one after the other.
func readJSON(r io.Reader, visit func(*corev1.Pod) error) error {
	d, l := json.NewDecoder(r), &listing{visit: visit}
	for {
		t, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			if l.pods == 0 && l.others > 0 {
				return errNoPods
			}
			return nil
		case err != nil || t != json.Delim('{'):
			return malformed(errors.Join(err, errors.New("no object")))
		}
		if err := l.document(d); err != nil {
			return err
		}
	}
}

var errNoPods = errors.New("no Pods: dump them with kubectl get pods --all-namespaces --output json")

// document reads a list or one object after its brace. Its members can be in
// any order.
func (l *listing) document(d *json.Decoder) error {
	members, isList := map[string]json.RawMessage{}, false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return malformed(err)
		}
		if name == "items" {
			if isList {
				return malformed(errors.New("two members items"))
			}
			isList = true
			if err := l.items(d); err != nil {
				return err
			}
			continue
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return malformed(err)
		}
		if len(value) > maxPod {
			return fmt.Errorf("%w: a member of more than %d bytes", ErrTooMuch, maxPod)
		}
		if key := name.(string); key == "kind" || key == "metadata" || !isList {
			members[key] = value
		}
	}
	if _, err := d.Token(); err != nil {
		return malformed(err)
	}
	whole, err := json.Marshal(members)
	if err != nil {
		return malformed(err)
	}
	if isList {
		return l.complete(whole)
	}
	return l.object(whole, "")
}

func malformed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends early")
	}
	return fmt.Errorf("not the output of kubectl get pods: %w", err)
}

// A listing passes the Pods of a list on.
type listing struct {
	visit        func(*corev1.Pod) error
	pods, others int
}

func (l *listing) items(d *json.Decoder) error {
	t, err := d.Token()
	if t == nil && err == nil {
		return nil // null, as of an empty list
	}
	if err != nil || t != json.Delim('[') {
		return malformed(errors.Join(err, errors.New("items is not an array")))
	}
	for d.More() {
		var item json.RawMessage
		if err := d.Decode(&item); err != nil {
			return malformed(err)
		}
		if err := l.object(item, "Pod"); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return malformed(err)
	}
	return nil
}

// object passes an object on if it is a Pod. The elements of a PodList have no
// kind of their own.
func (l *listing) object(text []byte, kind string) error {
	if len(text) > maxPod {
		return fmt.Errorf("%w: an object of more than %d bytes", ErrTooMuch, maxPod)
	}
	h := head{Kind: kind}
	if err := json.Unmarshal(text, &h); err != nil {
		return malformed(err)
	}
	switch {
	case strings.HasSuffix(h.Kind, "List"):
		return malformed(errors.New("a list within a list"))
	case h.Kind != "Pod":
		l.others++
		return nil
	}
	p := &corev1.Pod{}
	if err := json.Unmarshal(text, p); err != nil {
		return malformed(err)
	}
	l.pods++
	return l.visit(p)
}

// complete returns an error if a list is one page of several.
func (l *listing) complete(text []byte) error {
	var h head
	if err := json.Unmarshal(text, &h); err != nil {
		return malformed(err)
	}
	if h.Metadata.Continue != "" {
		return errors.New("the list is one page of several: dump all Pods with kubectl get pods --all-namespaces --output json")
	}
	return nil
}

// fromYAML converts YAML documents to JSON, one after the other.
func fromYAML(text []byte) ([]byte, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var out []byte
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not the output of kubectl get pods: %w", err)
		}
		left := maxNodes
		v, err := plainValue(&n, &left)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		one, err := json.Marshal(v)
		if err != nil {
			return nil, malformed(err)
		}
		out = append(out, one...)
	}
	if len(out) == 0 {
		return nil, errNoPods
	}
	return out, nil
}

// plainValue returns the JSON value of a node. kubectl writes no aliases.
func plainValue(n *yaml.Node, left *int) (any, error) {
	if *left--; *left < 0 {
		return nil, fmt.Errorf("%w: more than %d values", ErrTooMuch, maxNodes)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) == 0 {
			return nil, nil
		}
		return plainValue(n.Content[0], left)
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := plainValue(n.Content[i+1], left)
			if err != nil {
				return nil, err
			}
			key := n.Content[i]
			if _, twice := m[key.Value]; twice || key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" || key.ShortTag() == "!!binary" {
				return nil, malformed(fmt.Errorf("line %d: a member that kubectl does not write", key.Line))
			}
			m[key.Value] = v
		}
		return m, nil
	case yaml.SequenceNode:
		all := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := plainValue(c, left)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, nil
	case yaml.ScalarNode:
		var v any
		if n.ShortTag() == "!!timestamp" { // kubectl quotes times, others may not
			return n.Value, nil
		}
		err := n.Decode(&v)
		return v, err
	}
	return nil, fmt.Errorf("line %d: aliases are not read", n.Line)
}

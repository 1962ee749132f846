package decide

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// gateIndex rewrites the index of a repository for Helm. Each address of a
// chart becomes absolute and begins with muniment+, and digests are removed,
// because Helm takes a chart with a known digest from its cache without asking.
// If confined, addresses on other hosts are removed too; left is their number.
// All other nodes are unchanged.
//
// Helm decodes the index as JSON, whose member names match in any case.
func gateIndex(text []byte, at *url.URL, confined bool) (index []byte, left int, err error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil || len(doc.Content) != 1 {
		return nil, 0, fmt.Errorf("%s: not the index of a repository of charts: not YAML", at.Redacted())
	}
	r := &indexRewriter{at: at, confined: confined}
	root := doc.Content[0]
	err = r.plain(root, 0)
	if err == nil {
		err = r.root(root)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s: index of the repository: %w", at.Redacted(), err)
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	if err := encoder.Encode(root); err != nil {
		return nil, 0, err
	}
	return out.Bytes(), r.left, encoder.Close()
}

type indexRewriter struct {
	at       *url.URL
	confined bool
	left     int
}

// maxIndexDepth is the depth of an index, which has six levels.
const maxIndexDepth = 32

// plain refuses aliases and merge keys, by which a member could be in another
// place than it seems, and tags, by which it could have another name.
func (r *indexRewriter) plain(n *yaml.Node, depth int) error {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge":
		return fmt.Errorf("line %d: anchors and aliases are not supported", n.Line)
	case n.Style&yaml.TaggedStyle != 0:
		return fmt.Errorf("line %d: tags such as !!binary are not supported", n.Line)
	case depth > maxIndexDepth:
		return fmt.Errorf("line %d: nested too deeply", n.Line)
	}
	for _, c := range n.Content {
		if err := r.plain(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (r *indexRewriter) root(n *yaml.Node) error {
	found := false
	err := eachMember(n, func(key, value *yaml.Node) error {
		if !strings.EqualFold(key.Value, "entries") {
			return nil
		}
		found = true
		return eachMember(value, func(_, versions *yaml.Node) error {
			if versions.Kind != yaml.SequenceNode {
				return wrongNode(versions, "a list of versions")
			}
			for _, version := range versions.Content {
				if err := r.version(version); err != nil {
					return err
				}
			}
			// Helm refuses a version without addresses.
			versions.Content = slices.DeleteFunc(versions.Content, func(v *yaml.Node) bool { return v.Kind == 0 })
			return nil
		})
	})
	if err == nil && !found {
		err = fmt.Errorf("entries: missing")
	}
	return err
}

// version rewrites one version of a chart. One without an address that is left
// becomes an empty node.
func (r *indexRewriter) version(n *yaml.Node) error {
	addresses := 0
	err := eachMember(n, func(key, value *yaml.Node) error {
		if !strings.EqualFold(key.Value, "urls") {
			return nil
		}
		if value.Kind != yaml.SequenceNode {
			return wrongNode(value, "a list of URLs")
		}
		for _, u := range value.Content {
			if err := r.address(u); err != nil {
				return err
			}
		}
		value.Content = slices.DeleteFunc(value.Content, func(u *yaml.Node) bool { return u.Kind == 0 })
		addresses += len(value.Content)
		return nil
	})
	if err != nil {
		return err
	}
	if addresses == 0 {
		*n = yaml.Node{}
		return nil
	}
	for i := len(n.Content) - 2; i >= 0; i -= 2 {
		if strings.EqualFold(n.Content[i].Value, "digest") {
			n.Content = slices.Delete(n.Content, i, i+2)
		}
	}
	return nil
}

// address makes one address absolute, with the prefix. One on another host
// becomes an empty node if credentials are confined.
func (r *indexRewriter) address(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		return wrongNode(n, "a URL")
	}
	u, err := url.Parse(strings.TrimPrefix(n.Value, munimentPrefix))
	if err != nil {
		return wrongNode(n, "a URL")
	}
	// as in a folder: the index is beside the charts
	u = r.at.ResolveReference(u)
	switch {
	case !slices.Contains([]string{"https", "http", "oci"}, u.Scheme):
		return wrongNode(n, "an address with https, http or oci")
	case r.confined && u.Host != r.at.Host:
		r.left++
		*n = yaml.Node{}
		return nil
	}
	if u.RawQuery == "" {
		u.RawQuery = r.at.RawQuery // as Helm does
	}
	u.User = nil
	n.Value, n.Style = munimentPrefix+u.String(), yaml.DoubleQuotedStyle
	return nil
}

func eachMember(n *yaml.Node, f func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return wrongNode(n, "a map")
	}
	for i := 0; i < len(n.Content); i += 2 {
		if err := f(n.Content[i], n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func wrongNode(n *yaml.Node, want string) error {
	return fmt.Errorf("line %d: must be %s", n.Line, want)
}

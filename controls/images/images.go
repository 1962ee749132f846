// Package images finds the images that rendered Kubernetes manifests run.
//
// It reads documents as the API server would receive them. Known places of
// images are those of pod specs, wherever a built-in type contains one, and
// those that are configured for other types. Every other field that looks like
// an image is reported as unknown, because a controller may run it.
package images

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of one input.
const (
	MaxBytes  = 16 << 20 // of all documents
	MaxNodes  = 1 << 20  // visited, with those that aliases repeat
	MaxDepth  = 128
	MaxImages = 10_000 // of known and unknown places
)

// ErrTooMuch is wrapped by errors about input that exceeds a bound.
var ErrTooMuch = errors.New("above the limit")

// A Path is a place of images in resources of one type.
type Path struct {
	APIVersion string // such as argoproj.io/v1alpha1
	Kind       string
	Path       string // such as spec.steps[].image
}

// PathsOf returns the places of images that a control set configures. The set
// can be nil.
func PathsOf(set *munimentv1.ControlSet) []Path {
	var paths []Path
	for _, p := range set.GetImagePaths() {
		paths = append(paths, Path{APIVersion: p.ApiVersion, Kind: p.Kind, Path: p.Path})
	}
	return paths
}

// An Image is one use of an image.
type Image struct {
	Reference string
	Resource  string // such as Deployment/web
	Field     string // such as spec.template.spec.containers[0].image
	Line      int    // in the input, from 1; 0 for JSON
}

// Found is the result of reading manifests.
type Found struct {
	Resources int
	Images    []Image // in known places, in the order of the input
	Unknown   []Image // values of fields that look like images
}

// Read returns the images in YAML or JSON documents. The image of a configured
// path is known, also if its value is not a valid reference.
func Read(r io.Reader, paths []Path) (*Found, error) {
	text, err := bounded.ReadAll(r, MaxBytes)
	if err != nil {
		return nil, err
	}
	s := newScan(paths)
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return s.found, nil
		} else if err != nil {
			return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		for _, root := range doc.Content {
			if err := s.resource(root, 0); err != nil {
				return nil, err
			}
		}
	}
}

// Split returns the steps of a path, in which [] stands for the elements of an
// array.
func Split(path string) []string {
	var steps []string
	for step := range strings.SplitSeq(path, ".") {
		name, rest := step, ""
		if i := strings.Index(step, "[]"); i >= 0 {
			name, rest = step[:i], step[i:]
		}
		if name != "" {
			steps = append(steps, name)
		}
		for ; strings.HasPrefix(rest, "[]"); rest = rest[2:] {
			steps = append(steps, "[]")
		}
	}
	return steps
}

// podSpecs are the paths of pod specs in built-in types, by kind.
var podSpecs = map[string][]string{
	"Pod":                   {"spec"},
	"PodTemplate":           {"template", "spec"},
	"Deployment":            {"spec", "template", "spec"},
	"ReplicaSet":            {"spec", "template", "spec"},
	"ReplicationController": {"spec", "template", "spec"},
	"StatefulSet":           {"spec", "template", "spec"},
	"DaemonSet":             {"spec", "template", "spec"},
	"Job":                   {"spec", "template", "spec"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template", "spec"},
}

// builtIn are the API groups of these types.
var builtIn = []string{"v1", "apps/v1", "batch/v1"}

// inPod are the places of images in a pod spec.
var inPod = [][]string{
	{"containers", "[]", "image"},
	{"initContainers", "[]", "image"},
	{"ephemeralContainers", "[]", "image"},
	{"volumes", "[]", "image", "reference"},
}

type scan struct {
	paths map[[2]string][][]string // of other types, by API version and kind
	found *Found
	nodes int
}

func newScan(paths []Path) *scan {
	s := &scan{paths: map[[2]string][][]string{}, found: &Found{}}
	for _, p := range paths {
		key := [2]string{p.APIVersion, p.Kind}
		s.paths[key] = append(s.paths[key], Split(p.Path))
	}
	return s
}

func (s *scan) resource(n *yaml.Node, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("lists of resources: %w: more than %d levels", ErrTooMuch, MaxDepth)
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return nil // an empty document
	case n.Kind != yaml.MappingNode:
		return fmt.Errorf("line %d: not a Kubernetes resource", n.Line)
	}
	apiVersion, kind := text(n, "apiVersion"), text(n, "kind")
	if items := child(n, "items"); items != nil && items.Kind == yaml.SequenceNode && (strings.HasSuffix(kind, "List") || holdsResources(items)) {
		if err := checkList(n); err != nil {
			return err
		}
		for _, item := range items.Content {
			if err := s.resource(item, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if apiVersion == "" || kind == "" {
		return fmt.Errorf("line %d: not a Kubernetes resource: it has no apiVersion or no kind", n.Line)
	}
	s.found.Resources++
	name := "(no name)"
	if m := child(n, "metadata"); m != nil {
		for _, member := range []string{"name", "generateName"} {
			if v := text(m, member); v != "" {
				name = v
				break
			}
		}
	}
	v := &visit{scan: s, resource: kind + "/" + name, known: s.paths[[2]string{apiVersion, kind}]}
	if pod, ok := podSpecs[kind]; ok && slices.Contains(builtIn, apiVersion) {
		for _, p := range inPod {
			v.known = append(v.known, slices.Concat(pod, p))
		}
		v.pod = pod
	}
	return v.node(n, nil, "", 0)
}

// checkList refuses members of a list by which clients could read other items.
func checkList(n *yaml.Node) error {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		for name.Kind == yaml.AliasNode {
			name = name.Alias
		}
		switch {
		case name.Kind != yaml.ScalarNode || isBinary(name) || name.ShortTag() == "!!merge":
			return fmt.Errorf("line %d: a list with a member whose name is not a text", n.Content[i].Line)
		case seen[name.Value]:
			return fmt.Errorf("line %d: a list with the duplicate member %q", n.Content[i].Line, name.Value)
		}
		seen[name.Value] = true
	}
	return nil
}

// holdsResources reports whether one of the items is a resource. Clients apply
// the items of every such document, whatever its kind.
func holdsResources(items *yaml.Node) bool {
	return slices.ContainsFunc(items.Content, func(item *yaml.Node) bool {
		for item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		return text(item, "apiVersion") != "" && text(item, "kind") != ""
	})
}

// A visit looks for images in one resource.
type visit struct {
	*scan
	resource string
	known    [][]string
	pod      []string // path of its pod spec; nil: none
}

// node visits a value. Path has its steps, and field is the path as text.
func (v *visit) node(n *yaml.Node, path []string, field string, depth int) error {
	if v.nodes++; v.nodes > MaxNodes {
		return fmt.Errorf("%s: %w: more than %d values", v.resource, ErrTooMuch, MaxNodes)
	}
	if depth > MaxDepth {
		return fmt.Errorf("%s: %w: more than %d levels", v.resource, ErrTooMuch, MaxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return v.node(n.Alias, path, field, depth+1)
	case yaml.SequenceNode:
		for i, c := range n.Content {
			if err := v.node(c, append(path, "[]"), fmt.Sprintf("%s[%d]", field, i), depth+1); err != nil {
				return err
			}
		}
	case yaml.MappingNode:
		if err := v.environment(n, field); err != nil {
			return err
		}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := n.Content[i], n.Content[i+1]
			for name.Kind == yaml.AliasNode {
				name = name.Alias
			}
			if name.Kind != yaml.ScalarNode || isBinary(name) {
				return fmt.Errorf("line %d: %s: the name of a member is not a text", n.Content[i].Line, v.resource)
			}
			key := name.Value
			if seen[key] {
				return fmt.Errorf("line %d: %s: duplicate member %q", n.Content[i].Line, v.resource, key)
			}
			seen[key] = true
			if name.ShortTag() == "!!merge" {
				if err := v.node(value, path, field, depth+1); err != nil {
					return err
				}
				continue
			}
			below := key
			if field != "" {
				below = field + "." + key
			}
			if err := v.member(key, value, append(path, key), below, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// isBinary reports whether a scalar is encoded, so that its text is not what
// clients read.
func isBinary(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!binary" }

// member visits a member of a map, which can be an image.
func (v *visit) member(key string, n *yaml.Node, path []string, field string, depth int) error {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if isBinary(n) {
		return fmt.Errorf("line %d: %s: the tag !!binary is not supported: clients decode what has it", n.Line, v.resource)
	}
	known := slices.ContainsFunc(v.known, func(p []string) bool { return slices.Equal(p, path) })
	switch {
	case known && n.Kind == yaml.ScalarNode:
		if n.ShortTag() == "!!null" || n.Value == "" {
			return nil
		}
		return v.add(&v.found.Images, n, field)
	case v.isBlockDevice(path):
		return nil
	case looksLikeImage(key) && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && n.Value != "":
		return v.add(&v.found.Unknown, n, field)
	case looksLikeImage(key) && n.Kind == yaml.MappingNode && (text(n, "repository") != "" || text(n, "reference") != "") && !v.holdsKnown(path):
		return v.add(&v.found.Unknown, n, field)
	}
	if looksLikeImage(strings.TrimSuffix(key, "s")) && n.Kind == yaml.SequenceNode {
		if err := v.listed(n, field); err != nil {
			return err
		}
	}
	return v.node(n, path, field, depth)
}

// listed reports the texts in a list whose name suggests images, such as
// images.
func (v *visit) listed(n *yaml.Node, field string) error {
	for i, e := range n.Content {
		for e.Kind == yaml.AliasNode {
			e = e.Alias
		}
		if e.Kind == yaml.ScalarNode && e.ShortTag() == "!!str" && e.Value != "" {
			if err := v.add(&v.found.Unknown, e, fmt.Sprintf("%s[%d]", field, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdsKnown reports whether a known image is below the path.
func (v *visit) holdsKnown(path []string) bool {
	return slices.ContainsFunc(v.known, func(p []string) bool { return len(p) > len(path) && slices.Equal(p[:len(path)], path) })
}

// isBlockDevice reports whether a path is that of a Ceph block device, which
// Kubernetes calls an image, too.
func (v *visit) isBlockDevice(path []string) bool {
	if strings.HasPrefix(v.resource, "PersistentVolume/") {
		return slices.Equal(path, []string{"spec", "rbd", "image"})
	}
	return v.pod != nil && slices.Equal(path, slices.Concat(v.pod, []string{"volumes", "[]", "rbd", "image"}))
}

// environment reports the value of a variable whose name looks like that of an
// image, such as RELATED_IMAGE_PROXY, from which operators take images.
func (v *visit) environment(n *yaml.Node, field string) error {
	name, value := text(n, "name"), child(n, "value")
	if value == nil || value.Kind != yaml.ScalarNode || value.Value == "" || !slices.Contains(strings.Split(strings.ToUpper(name), "_"), "IMAGE") {
		return nil
	}
	return v.add(&v.found.Unknown, value, field+".value")
}

// looksLikeImage reports whether a field's name suggests an image: image,
// sidecarImage, image_name, and annotations such as example.com/proxy-image.
func looksLikeImage(key string) bool {
	key = strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(key))
	for _, end := range []string{"image", "imagename", "imageref", "imagereference", "imageurl", "imageuri", "containerimages"} {
		if strings.HasSuffix(key, end) {
			return true
		}
	}
	return false
}

func (v *visit) add(to *[]Image, n *yaml.Node, field string) error {
	if len(v.found.Images)+len(v.found.Unknown) == MaxImages {
		return fmt.Errorf("%s: %w: more than %d images", v.resource, ErrTooMuch, MaxImages)
	}
	value := n.Value
	if n.Kind == yaml.MappingNode {
		if value = text(n, "reference"); value == "" {
			value = text(n, "repository")
			if tag := text(n, "tag"); tag != "" {
				value += ":" + tag
			}
		}
	}
	*to = append(*to, Image{Reference: value, Resource: v.resource, Field: field, Line: n.Line})
	return nil
}

// child returns a member of a map, or nil.
func child(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		key := n.Content[i]
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Value == name {
			c := n.Content[i+1]
			for c.Kind == yaml.AliasNode {
				c = c.Alias
			}
			return c
		}
	}
	return nil
}

// text returns a member of a map that is a scalar, or "".
func text(n *yaml.Node, name string) string {
	if c := child(n, name); c != nil && c.Kind == yaml.ScalarNode && c.ShortTag() != "!!null" {
		return c.Value
	}
	return ""
}

// pinning are the algorithms by which container runtimes identify images.
var pinning = []string{"sha256", "sha384", "sha512"}

// Pinned returns the name and the digest of a reference, such as
// registry.example.com/app:1.7@sha256:…. Without a valid digest it reports
// false: what a tag stands for can change.
func Pinned(reference string) (name, digest string, ok bool) {
	name, at, found := strings.Cut(strings.TrimPrefix(reference, "oci://"), "@")
	d, err := entry.ParseDigest(at)
	if !found || name == "" || err != nil || !slices.Contains(pinning, d.Algorithm()) {
		return name, "", false
	}
	return name, d.String(), true
}

package connector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/conductor/triage/action"
)

// httpObject sets members of a JSON object that an HTTP API returns for GET and
// replaces for PUT. The settings determine the path and the members. Parameters
// are only values in them.
//
// With compare: etag the API has a compare-and-set by ETag and If-Match. With
// compare: read, Set reads directly before it writes, so a change by another
// program in between is lost.
type httpObject struct {
	*remote
	target  *targetPattern
	path    *pathTemplate
	members map[string]*valueTemplate
	names   []string // of the members, sorted
	types   map[string]string
	etag    bool
}

func readHTTP(s *settings) Connector {
	api := s.remote("", "", "")
	address := s.templates()
	h := &httpObject{members: map[string]*valueTemplate{}, types: map[string]string{}}
	s.required = append(s.required, "set")
	s.known["set"] = func(n *yaml.Node, f string) {
		s.Each(n, f, 16, func(name string, key, n *yaml.Node, f string) { s.member(h, name, n, f) })
		if len(h.members) == 0 && len(s.Problems) == 0 {
			s.Wrong(n, f, "must have a member")
		}
	}
	compare := s.optional("compare", func(v string) error {
		if v != "etag" && v != "read" {
			return errors.New("must be etag or read")
		}
		return nil
	})
	s.read()
	h.remote, h.etag = api(), *compare != "read"
	h.target, h.path = address(s, "path")
	h.names = slices.Sorted(maps.Keys(h.members))
	return h
}

// templates declares the settings target and path, and optionally further paths
// of the same targets. The function parses them.
func (s *settings) templates(more ...string) func(s *settings, path string) (*targetPattern, *pathTemplate) {
	ok := func(string) error { return nil }
	target, paths := s.text("target", ok), map[string]*string{}
	for _, name := range append([]string{"path"}, more...) {
		paths[name] = s.text(name, ok)
	}
	return func(s *settings, name string) (*targetPattern, *pathTemplate) {
		if *target == "" || *paths[name] == "" {
			return nil, nil // reported
		}
		pattern, err := parsePattern(*target)
		if err != nil {
			s.Wrong(s.At(s.field+".target"), s.field+".target", "%s", err)
			return nil, nil
		}
		path, err := parsePath(*paths[name], pattern)
		if err != nil {
			s.Wrong(s.At(s.field+"."+name), s.field+"."+name, "%s", err)
		}
		return pattern, path
	}
}

// member reads the template of one member.
func (s *settings) member(h *httpObject, name string, n *yaml.Node, field string) {
	problems := len(s.Problems)
	text, err := protojson.Marshal(s.Value(n, field, 8, 256))
	if len(s.Problems) > problems {
		return
	}
	t := &valueTemplate{literal: text}
	types, failed := t.parameters()
	if err = errors.Join(err, failed); err != nil {
		s.Wrong(n, field, "%s", err)
		return
	}
	for parameter, of := range types {
		if other, ok := h.types[parameter]; ok && other != of {
			s.Wrong(n, field, "the parameter %s has two types, %s and %s", parameter, other, of)
		}
		h.types[parameter] = of
	}
	h.members[name] = t
}

// CheckAction implements Checker.
func (h *httpObject) CheckAction(a *action.Action) error {
	return checkAction(a, h.target.prefix, h.types, nil)
}

// Undo implements Connector.
func (h *httpObject) Undo() string { return action.Restore }

// Read implements Connector. The image is a JSON object with the members that
// can be set.
func (h *httpObject) Read(ctx context.Context, target string) (Image, error) {
	d, err := h.read(ctx, target)
	if err != nil {
		return nil, err
	}
	return imageOf(d.members, h.names)
}

// A document is an object of the API.
type document struct {
	path, etag string
	text       []byte
	members    []member
}

func (h *httpObject) read(ctx context.Context, target string) (*document, error) {
	values, err := h.target.match(target)
	if err != nil {
		return nil, err
	}
	d := &document{path: h.path.render(values)}
	res, err := h.do(ctx, request{method: http.MethodGet, path: d.path})
	if err != nil {
		return nil, err
	}
	d.text, d.etag = res.body, res.etag()
	if h.etag && d.etag == "" {
		return nil, fmt.Errorf("%w: use compare: read if the API has none", errNoETag)
	}
	d.members, err = members(d.text)
	return d, err
}

// Plan implements Connector.
func (h *httpObject) Plan(_ context.Context, _ string, parameters map[string]string, _ Image) (Image, error) {
	values := map[string]jsontext.Value{}
	for _, name := range h.names {
		var err error
		if values[name], err = h.members[name].render(parameters); err != nil {
			return nil, err
		}
	}
	return objectOf(h.names, values)
}

// Set implements Connector.
func (h *httpObject) Set(ctx context.Context, target string, before, after Image) error {
	d, err := h.read(ctx, target)
	if err != nil {
		return err
	}
	now, err := imageOf(d.members, h.names)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return ErrChanged
	}
	body, err := replace(d.text, d.members, after)
	if err != nil {
		return err
	}
	q := request{method: http.MethodPut, path: d.path, body: body}
	if h.etag {
		q.header = map[string]string{"If-Match": d.etag}
	}
	_, err = h.do(ctx, q)
	return changed(err, http.StatusPreconditionFailed)
}

package connector

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/internal/safetext"
	"muniment.dev/muniment/internal/strictyaml"
)

// rateLimit changes limits in a configuration file of Envoy's rate limit
// service, which reads changed files at once
// (https://github.com/envoyproxy/ratelimit#configuration). The target limit/
// KEY=VALUE is the limit of a descriptor, and further KEY=VALUE follow after
// slashes for nested ones. =VALUE is omitted for a descriptor without value.
// The parameter requests_per_unit is the new limit. All other bytes of the file
// stay as they are.
//
// Set has the same gap as that of Flagd.
type rateLimit struct{ file }

func readRateLimit(s *settings) Connector {
	name := s.text("file", path)
	s.read()
	return &rateLimit{file{path: *name}}
}

const requests = "requests_per_unit"

// CheckAction implements Checker.
func (r *rateLimit) CheckAction(a *action.Action) error {
	return checkAction(a, "limit/", map[string]string{requests: action.Integer}, nil)
}

// Undo implements Connector.
func (r *rateLimit) Undo() string { return action.Restore }

// Read implements Connector. The image is the number as the file has it.
func (r *rateLimit) Read(ctx context.Context, target string) (Image, error) {
	text, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	at, err := r.find(text, target)
	return at.image, err
}

// Plan implements Connector.
func (r *rateLimit) Plan(_ context.Context, _ string, parameters map[string]string, _ Image) (Image, error) {
	n, err := strconv.ParseUint(parameters[requests], 10, 32)
	if err != nil {
		return nil, errors.New(requests + " must be a whole number from 0 to 4294967295")
	}
	return strconv.AppendUint(nil, n, 10), nil
}

// Set implements Connector.
func (r *rateLimit) Set(ctx context.Context, target string, before, after Image) error {
	return r.set(ctx, before, after, func(text []byte) (place, error) { return r.find(text, target) })
}

// find finds the limit of a target in the text of the file.
func (r *rateLimit) find(text []byte, target string) (place, error) {
	path, ok := strings.CutPrefix(target, "limit/")
	if !ok || path == "" {
		return place{}, fmt.Errorf("target %s is not a limit: it must begin with limit/", safetext.Quoted(target))
	}
	d := &strictyaml.Document{Noun: "configuration"}
	at := d.ParseText(text, maxFile)
	if err := d.Err(); err != nil {
		return place{}, fmt.Errorf("%s: %w", r.path, err)
	}
	for name := range strings.SplitSeq(path, "/") {
		if at = descriptor(at, name); at == nil {
			return place{}, fmt.Errorf("%s: not exactly one descriptor %s", r.path, safetext.Quoted(name))
		}
	}
	n := child(child(at, "rate_limit"), requests)
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Anchor != "" {
		return place{}, fmt.Errorf("%s: %s has no %s", r.path, safetext.Quoted(target), requests)
	}
	offset := d.Offset(n)
	if !strings.HasPrefix(string(text[offset:]), n.Value) {
		return place{}, fmt.Errorf("%s: %s of %s must be a number without quotes and tag", r.path, requests, safetext.Quoted(target))
	}
	return place{Image(n.Value), offset}, nil
}

// descriptor returns the one descriptor below a node with this name, or nil.
func descriptor(of *yaml.Node, name string) (found *yaml.Node) {
	all := child(of, "descriptors")
	if all == nil || all.Kind != yaml.SequenceNode {
		return nil
	}
	for _, d := range all.Content {
		has := scalar(child(d, "key"))
		if value := scalar(child(d, "value")); value != "" {
			has += "=" + value
		}
		if has != name {
			continue
		}
		if found != nil {
			return nil
		}
		found = d
	}
	return found
}

// child returns the value of a member, or nil.
func child(of *yaml.Node, name string) *yaml.Node {
	if of == nil || of.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(of.Content); i += 2 {
		if of.Content[i].Value == name {
			return of.Content[i+1]
		}
	}
	return nil
}

func scalar(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

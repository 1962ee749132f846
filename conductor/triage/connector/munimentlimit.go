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

// munimentLimit changes limits of tenants in the file of limits of a Muniment
// server, which applies a changed file within seconds (docs/access.md). The
// target limit/TENANT/NAME is a limit that the file has, and the parameter
// value its new value. All other bytes of the file stay as they are. The file
// grants no access, as muniment.yaml does.
//
// Set has the same gap as that of Flagd.
type munimentLimit struct{ file }

func readMunimentLimit(s *settings) Connector {
	name := s.text("file", path)
	s.read()
	return &munimentLimit{file{path: *name}}
}

const limitValue = "value"

// CheckAction implements Checker.
func (m *munimentLimit) CheckAction(a *action.Action) error {
	if err := checkAction(a, "limit/", map[string]string{limitValue: action.Integer}, nil); err != nil {
		return err
	}
	if a.Parameters[limitValue].Min < 1 {
		return errors.New("the parameter value must have a min of at least 1: 0 would be no limit")
	}
	return nil
}

// Undo implements Connector.
func (m *munimentLimit) Undo() string { return action.Restore }

// Read implements Connector. The image is the number as the file has it.
func (m *munimentLimit) Read(ctx context.Context, target string) (Image, error) {
	text, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	at, err := m.find(text, target)
	return at.image, err
}

// Plan implements Connector.
func (m *munimentLimit) Plan(_ context.Context, _ string, parameters map[string]string, _ Image) (Image, error) {
	n, err := strconv.ParseUint(parameters[limitValue], 10, 31)
	if err != nil || n == 0 {
		return nil, errors.New("value must be a whole number from 1 to 2147483647: 0 would be no limit")
	}
	return strconv.AppendUint(nil, n, 10), nil
}

// Set implements Connector.
func (m *munimentLimit) Set(ctx context.Context, target string, before, after Image) error {
	return m.set(ctx, before, after, func(text []byte) (place, error) { return m.find(text, target) })
}

// find finds the limit of a target in the text of the file.
func (m *munimentLimit) find(text []byte, target string) (place, error) {
	parts := strings.Split(target, "/")
	if len(parts) != 3 || parts[0] != "limit" {
		return place{}, fmt.Errorf("target %s is not a limit: it must be limit/TENANT/NAME", safetext.Quoted(target))
	}
	d := &strictyaml.Document{Noun: "file of limits"}
	root := d.ParseText(text, maxFile)
	if err := d.Err(); err != nil {
		return place{}, fmt.Errorf("%s: %w", m.path, err)
	}
	var found *yaml.Node
	if all := child(root, "tenants"); all != nil && all.Kind == yaml.SequenceNode {
		for _, tenant := range all.Content {
			if scalar(child(tenant, "name")) == parts[1] {
				found = child(child(tenant, "limits"), parts[2])
				break // a server refuses a file that lists a tenant twice
			}
		}
	}
	if found == nil || found.Kind != yaml.ScalarNode || found.ShortTag() != "!!int" || found.Anchor != "" {
		return place{}, fmt.Errorf("%s: no whole number %s of the tenant %s", m.path, safetext.Quoted(parts[2]), safetext.Quoted(parts[1]))
	}
	offset := d.Offset(found)
	if !strings.HasPrefix(string(text[offset:]), found.Value) {
		return place{}, fmt.Errorf("%s: %s must be a number without quotes and tag", m.path, safetext.Quoted(target))
	}
	return place{Image(found.Value), offset}, nil
}

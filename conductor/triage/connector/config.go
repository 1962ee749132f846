package connector

import (
	"maps"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/internal/similar"
	"muniment.dev/muniment/internal/strictyaml"
)

// MaxBytes is the size limit of the file of connectors.
const MaxBytes = 256 << 10

// types are the types of connectors. Each function reads the settings of one.
var types = map[string]func(*settings) Connector{
	"cache":              readCache,
	"cache_flush":        readCacheFlush,
	"flagd":              readFlagd,
	"http":               readHTTP,
	"http_retry":         readHTTPRetry,
	"kubernetes_job":     readKubernetesJob,
	"kubernetes_restart": readKubernetesRestart,
	"kubernetes_scale":   readKubernetesScale,
	"muniment_limit":     readMunimentLimit,
	"ratelimit":          readRateLimit,
	"toxiproxy":          readToxiproxy,
}

// Types returns the names of the types, sorted.
func Types() []string { return slices.Sorted(maps.Keys(types)) }

// Load reads the file of connectors, and returns them by name. It opens no
// other file and no connection. The error is a *strictyaml.Error with every
// problem of the file and its position.
func Load(text []byte) (map[string]Connector, error) {
	d := &strictyaml.Document{Noun: "file of connectors", Columns: true}
	all := map[string]Connector{}
	if root := d.ParseText(text, MaxBytes); root != nil {
		version := false
		d.Members(root, "", map[string]reader{
			"version": func(n *yaml.Node, f string) { version = true; d.Number(n, f, 1, 1) },
			"connectors": func(n *yaml.Node, f string) {
				d.Each(n, f, 64, func(as string, key, n *yaml.Node, f string) { all[as] = load(d, as, key, n, f) })
			},
		})
		if !version && len(d.Problems) == 0 {
			d.Wrong(root, "version", "must be specified")
		}
		if len(all) == 0 && len(d.Problems) == 0 {
			d.Wrong(root, "connectors", "must be specified")
		}
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

type reader = func(n *yaml.Node, field string)

var name = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// load reads one connector. It returns nil if the file is not valid.
func load(d *strictyaml.Document, as string, key, n *yaml.Node, field string) Connector {
	if !name.MatchString(as) {
		d.Wrong(key, field, "must be 1 to 64 lowercase letters, digits and underscores, the first a letter")
	}
	if !d.Is(n, field, yaml.MappingNode, "a map") {
		return nil
	}
	// The type determines the other members, wherever it is.
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "type" {
			continue
		}
		of := d.Text(n.Content[i+1], field+".type")
		if of == "" {
			return nil
		}
		read, ok := types[of]
		if !ok {
			d.Wrong(n.Content[i+1], field+".type", "unknown type %q%s", of, similar.DidYouMean(of, Types()))
			return nil
		}
		return read(&settings{Document: d, n: n, field: field, known: map[string]reader{"type": func(*yaml.Node, string) {}}})
	}
	d.Wrong(n, field+".type", "must be specified")
	return nil
}

// A Checker is a connector that can refuse an action before it is ever taken.
type Checker interface {
	// CheckAction returns an error if no step with this action could succeed,
	// because of its parameters or its target.
	CheckAction(a *action.Action) error
}

// Check returns an error unless each action has a connector that can carry it
// out and end its effect as the action requires. The error is a
// *strictyaml.Error with positions in the file of actions.
func Check(actions *action.Catalogue, connectors map[string]Connector) error {
	names := slices.Sorted(maps.Keys(connectors))
	return actions.Check(func(a *action.Action, wrong func(member, format string, args ...any)) {
		c := connectors[a.Connector]
		if c == nil {
			wrong("connector", "unknown connector %q%s", a.Connector, similar.DidYouMean(a.Connector, names))
			return
		}
		if undo := c.Undo(); undo != a.Undo {
			wrong("undo", "must be %s, because that is how effects of connector %s end", undo, a.Connector)
		}
		if c, ok := c.(Checker); ok {
			if err := c.CheckAction(a); err != nil {
				wrong("", "connector %s: %s", a.Connector, err)
			}
		}
	})
}

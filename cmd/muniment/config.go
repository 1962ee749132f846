package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/similar"
	"muniment.dev/muniment/internal/term"
)

// A client's configuration file has defaults for flags: a YAML map from a
// flag's name (server, token-file, policy, …) to its value. The command line
// and the environment override it.

type configFlag string

// BeforeResolve loads the file that --config names.
func (c configFlag) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(configFlag))
	if path == "" {
		return nil
	}
	ctx.AddResolver(&configResolver{path: expandPath(path)})
	return nil
}

func defaultConfigPath() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "muniment", "config.yaml")
}

// also are environment variables that stand in for a flag without being its
// value.
var also = map[string][]string{"token-file": {"MUNIMENT_TOKEN"}}

// A configResolver gets the values of flags from a file.
type configResolver struct {
	path     string
	optional bool         // whether the file is the default one
	warn     func(string) // set if optional

	loaded bool
	values map[string]any
}

// A configError is an error in the configuration file, not on the command line.
type configError struct{ error }

// Validate implements kong.Resolver. It refuses keys that are not flags.
func (r *configResolver) Validate(app *kong.Application) error {
	if err := r.load(); err != nil {
		return err
	}
	if err := r.checkKeys(app); err != nil {
		return configError{err}
	}
	return nil
}

func (r *configResolver) checkKeys(app *kong.Application) error {
	flags := map[string]*kong.Flag{}
	_ = kong.Visit(app, func(n kong.Visitable, next kong.Next) error {
		if f, ok := n.(*kong.Flag); ok {
			if old := flags[f.Name]; old == nil || f.IsSlice() {
				flags[f.Name] = f
			}
		}
		return next(nil)
	})
	var names []string
	for name := range flags {
		names = append(names, name)
	}
	slices.Sort(names)
	for key, value := range r.values {
		f := flags[strings.ReplaceAll(key, "_", "-")]
		if f == nil || key == "config" || key == "help" || key == "version" {
			return fmt.Errorf("%s: unknown key %s%s", r.path, datadir.ShownKey(key), similar.DidYouMean(key, names))
		}
		if _, list := value.([]any); list && !f.IsSlice() {
			return fmt.Errorf("%s: %s: must be one value", r.path, key)
		}
	}
	return nil
}

// load reads the file once. A default file that does not exist has no values.
func (r *configResolver) load() error {
	if r.loaded || r.path == "" {
		return nil
	}
	if err := r.read(); err != nil {
		return configError{err}
	}
	return nil
}

func (r *configResolver) read() error {
	data, err := bounded.ReadFile(r.path, bounded.Config)
	if err != nil && r.optional {
		// Services often have no readable home.
		if _, missing := os.Lstat(r.path); missing == nil {
			r.warn(fmt.Sprintf("%s cannot be read and is not used: %v", r.path, term.Cause(err)))
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOTDIR) {
			return err
		}
		r.loaded = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	root, err := datadir.ParseYAML(data)
	if err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	if r.values, err = flagDefaults(root); err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	r.loaded = true
	return nil
}

// flagDefaults returns the values of a map as text or lists of text, as on a
// command line.
func flagDefaults(root *yaml.Node) (map[string]any, error) {
	if root == nil {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: must be a map of flags and values", root.Line)
	}
	values := map[string]any{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, v := root.Content[i].Value, root.Content[i+1]
		switch {
		case v.Kind == yaml.ScalarNode && v.ShortTag() == "!!null":
		case v.Kind == yaml.ScalarNode:
			values[key] = v.Value
		case v.Kind == yaml.SequenceNode:
			list := []any{}
			for _, item := range v.Content {
				if item.Kind != yaml.ScalarNode {
					return nil, fmt.Errorf("line %d: %s: must be a list of values", item.Line, datadir.ShownKey(key))
				}
				list = append(list, home(item.Value))
			}
			values[key] = list
		default:
			return nil, fmt.Errorf("line %d: %s: must be a value or a list of values", v.Line, datadir.ShownKey(key))
		}
	}
	return values, nil
}

// Resolve implements kong.Resolver.
func (r *configResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if err := r.load(); err != nil {
		return nil, err
	}
	for _, env := range append(flag.Envs, also[flag.Name]...) {
		if os.Getenv(env) != "" {
			return nil, nil
		}
	}
	v, ok := r.values[flag.Name]
	if !ok {
		v, ok = r.values[strings.ReplaceAll(flag.Name, "-", "_")]
	}
	if !ok || v == nil {
		return nil, nil
	}
	if s, ok := v.(string); ok {
		return home(s), nil
	}
	return v, nil
}

// home expands a path that begins with ~/.
func home(s string) string {
	if rest, ok := strings.CutPrefix(s, "~/"); ok {
		if dir, err := os.UserHomeDir(); err == nil {
			return filepath.Join(dir, rest)
		}
	}
	return s
}

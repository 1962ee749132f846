package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/bounded"
)

// A client's configuration file gives defaults for flags: a YAML map from a flag's name (server, token-file, policy, …) to its value.
// What is on the command line or in the environment goes before it.

type configFlag string

// BeforeResolve loads the file that --config names.
func (c configFlag) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(configFlag))
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	ctx.AddResolver(newConfigResolver(path))
	return nil
}

func defaultConfigPath() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "muniment", "config.yaml")
}

// also are environment variables that stand in for a flag without being its value.
var also = map[string][]string{"token-file": {"MUNIMENT_TOKEN"}}

// newConfigResolver reads the file when the first flag is looked up. A file that isn't there has no values.
func newConfigResolver(path string) kong.Resolver {
	var values map[string]any
	loaded := false
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if !loaded {
			data, err := bounded.ReadFile(path, bounded.Config)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				return nil, err
			}
			if err := yaml.Unmarshal(data, &values); err != nil {
				return nil, fmt.Errorf("%s: not a YAML map of flags: %w", path, err)
			}
			loaded = true
		}
		for _, env := range append(flag.Envs, also[flag.Name]...) {
			if os.Getenv(env) != "" {
				return nil, nil
			}
		}
		v, ok := values[flag.Name]
		if !ok {
			v, ok = values[strings.ReplaceAll(flag.Name, "-", "_")]
		}
		if !ok || v == nil {
			return nil, nil
		}
		if s, ok := v.(string); ok && strings.HasPrefix(s, "~/") {
			if home, err := os.UserHomeDir(); err == nil {
				v = filepath.Join(home, s[2:])
			}
		}
		return v, nil
	})
}

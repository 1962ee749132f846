package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
)

// poll is how often a gateway reads its files.
const poll = 50 * time.Millisecond

// noShedding is the limit of requests per second that are admitted for the sake
// of the origin, before anybody changes it. It has no effect.
const noShedding = 1000

// Files are the settings of a gateway that actions change: a file of flagd with
// the feature flags, and one of Envoy's rate limit service with the limits.
type Files struct {
	Flags, Limits string // paths

	gateway *Gateway
	mu      sync.Mutex
	last    state
	changes []Change
}

// A Change is one that neither the pattern nor the start has made.
type Change struct {
	At     time.Time
	Target string
}

// state is the content of the files.
type state struct {
	flags  map[string]bool
	limits map[string]float64
}

// flagKeys are the feature flags.
var flagKeys = []string{"gateway.rules", "quota.policy"}

// NewFiles writes the files of a gateway into a folder.
func NewFiles(dir string, g *Gateway) (*Files, error) {
	f := &Files{Flags: filepath.Join(dir, "flags.json"), Limits: filepath.Join(dir, "limits.yaml"), gateway: g}
	g.cache.flushed = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changes = append(f.changes, Change{time.Now(), "cache/assets"})
	}
	flags := map[string]any{}
	for _, key := range flagKeys {
		flags[key] = map[string]any{"state": "ENABLED", "variants": map[string]bool{"on": true, "off": false}, "defaultVariant": "on"}
	}
	text, err := json.MarshalIndent(map[string]any{"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": flags}, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := wholefile.ReplacePath(f.Flags, append(text, '\n'), 0o600); err != nil {
		return nil, err
	}
	if err := f.writeLimits(normalLimit); err != nil {
		return nil, err
	}
	return f, f.read(true)
}

func (f *Files) writeLimits(perSecond float64) error {
	text := fmt.Sprintf("domain: gateway\ndescriptors:\n"+
		"  - key: gateway\n    rate_limit: {unit: second, requests_per_unit: %.0f}\n"+
		"  - key: origin\n    rate_limit: {unit: second, requests_per_unit: %d}\n", perSecond, noShedding)
	return wholefile.ReplacePath(f.Limits, []byte(text), 0o600)
}

// setLimit changes the limit as a person would who edits the file.
func (f *Files) setLimit(perSecond float64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.writeLimits(perSecond); err != nil {
		return err
	}
	return f.use(true)
}

// Watch applies changes of the files until the context ends.
func (f *Files) Watch(ctx context.Context) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := f.read(false); err != nil {
				return err
			}
		}
	}
}

// Changes returns the changes so far.
func (f *Files) Changes() []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Change(nil), f.changes...)
}

func (f *Files) read(expected bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.use(expected)
}

// use applies the content of the files. The caller holds the lock.
func (f *Files) use(expected bool) error {
	now, err := f.content()
	if err != nil {
		return err
	}
	change := func(target string) {
		if !expected {
			f.changes = append(f.changes, Change{time.Now(), target})
		}
	}
	for key, on := range now.flags {
		if f.last.flags[key] != on {
			change("flag/" + key)
		}
	}
	for key, n := range now.limits {
		if f.last.limits[key] != n {
			change("limit/" + key)
		}
	}
	f.last = now
	f.gateway.use(now)
	return nil
}

func (f *Files) content() (s state, err error) {
	text, err := bounded.ReadFile(f.Flags, bounded.Config)
	if err != nil {
		return s, err
	}
	var flags struct {
		Flags map[string]struct{ DefaultVariant string }
	}
	if err := json.Unmarshal(text, &flags); err != nil {
		return s, fmt.Errorf("%s: %w", f.Flags, err)
	}
	if text, err = bounded.ReadFile(f.Limits, bounded.Config); err != nil {
		return s, err
	}
	var limits struct {
		Descriptors []struct {
			Key       string
			RateLimit struct {
				RequestsPerUnit float64 `yaml:"requests_per_unit"`
			} `yaml:"rate_limit"`
		}
	}
	if err := yaml.Unmarshal(text, &limits); err != nil {
		return s, fmt.Errorf("%s: %w", f.Limits, err)
	}
	s = state{flags: map[string]bool{}, limits: map[string]float64{}}
	for key, flag := range flags.Flags {
		s.flags[key] = flag.DefaultVariant == "on"
	}
	for _, d := range limits.Descriptors {
		s.limits[d.Key] = d.RateLimit.RequestsPerUnit
	}
	if len(s.flags) != len(flagKeys) || len(s.limits) != 2 {
		return s, errors.New("the files of the gateway lack flags or limits")
	}
	return s, nil
}

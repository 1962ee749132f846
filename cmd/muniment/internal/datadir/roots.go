package datadir

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Trusted roots are files of the data folder, trusted-roots/NAME.json. Those
// that muniment.yaml says nothing about are in force for all tenants.
const (
	RootsDir    = "trusted-roots"
	RootSuffix  = ".json"
	defaultWarn = 90 * 24 * time.Hour
)

// A rootConfig is one of trusted_roots in muniment.yaml.
type rootConfig struct {
	Name        string   `yaml:"name"`
	File        string   `yaml:"file"`
	WarnAfter   string   `yaml:"warn_after"`
	RefuseAfter string   `yaml:"refuse_after"`
	Tenants     []string `yaml:"tenants"`
}

// parseAge reads a duration in days or in what Go has for durations: 90d, 36h.
func parseAge(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days >= 0 && days <= 36525 {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is not an age, such as 90d or 36h", s)
}

// ages returns from when on the log warns, and from when on nothing is verified
// with the root; 0 is never.
func (r *rootConfig) ages() (warn, refuse time.Duration, err error) {
	if r.RefuseAfter != "" {
		if refuse, err = parseAge(r.RefuseAfter); err != nil {
			return 0, 0, fmt.Errorf("refuse_after: %w", err)
		}
	}
	if r.WarnAfter == "" {
		if warn = defaultWarn; refuse > 0 {
			warn = min(warn, refuse)
		}
		return warn, refuse, nil
	}
	if warn, err = parseAge(r.WarnAfter); err != nil {
		return 0, 0, fmt.Errorf("warn_after: %w", err)
	}
	if refuse > 0 && warn > refuse {
		return 0, 0, errors.New("warn_after: more than refuse_after")
	}
	return warn, refuse, nil
}

func (c *Config) checkRoots() error {
	seen := map[string]bool{}
	for i, r := range c.TrustedRoots {
		if err := policy.CheckRootName(r.Name); err != nil {
			return fmt.Errorf("trusted_roots[%d].name: %w", i, err)
		}
		if seen[r.Name] {
			return fmt.Errorf("trusted_roots[%d].name: %q is there twice", i, r.Name)
		}
		seen[r.Name] = true
		if _, _, err := r.ages(); err != nil {
			return fmt.Errorf("trusted_roots[%d].%w", i, err)
		}
		for j, name := range r.Tenants {
			if !slices.ContainsFunc(c.Tenants, func(t TenantConfig) bool { return t.Name == name }) {
				return fmt.Errorf("trusted_roots[%d].tenants[%d]: there is no tenant %q", i, j, name)
			}
		}
	}
	return nil
}

// RootPath is where the trusted root of the name is.
func (d *Dir) RootPath(name string) string {
	for _, r := range d.Config.TrustedRoots {
		if r.Name == name && r.File != "" {
			return d.Rel(r.File)
		}
	}
	return filepath.Join(d.Path, RootsDir, name+RootSuffix)
}

// LoadRoots reads the trusted roots that are in force.
func (d *Dir) LoadRoots() ([]*ingest.RootFile, error) {
	var names []string
	for _, r := range d.Config.TrustedRoots {
		names = append(names, r.Name)
	}
	found, err := os.ReadDir(filepath.Join(d.Path, RootsDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, f := range found {
		if name, ok := strings.CutSuffix(f.Name(), RootSuffix); ok && !f.IsDir() && !slices.Contains(names, name) {
			if err := policy.CheckRootName(name); err != nil {
				return nil, fmt.Errorf("%s: %w", filepath.Join(d.Path, RootsDir, f.Name()), err)
			}
			names = append(names, name)
		}
	}
	var files []*ingest.RootFile
	for _, name := range names {
		f, err := d.loadRoot(name)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func (d *Dir) loadRoot(name string) (*ingest.RootFile, error) {
	path := d.RootPath(name)
	data, err := bounded.ReadFile(path, sigstore.MaxTrustedRootSize)
	if err != nil {
		return nil, fmt.Errorf("trusted root %s: %w", name, err)
	}
	f := &ingest.RootFile{Name: name, Document: data, WarnAfter: defaultWarn}
	if f.Confirmed, err = d.confirmed(name); err != nil {
		return nil, err
	}
	if f.Trusted, err = sigstore.ParseTrustedRoot(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, r := range d.Config.TrustedRoots {
		if r.Name != name {
			continue
		}
		f.Tenants = r.Tenants
		if f.WarnAfter, f.RefuseAfter, err = r.ages(); err != nil {
			return nil, fmt.Errorf("trusted root %s: %w", name, err)
		}
	}
	return f, nil
}

// ConfirmedPath is the file that holds the time at which the root was last put
// in force or confirmed. (The time of the root's own file says when this copy
// of it was made, which may be by restoring a backup.)
func (d *Dir) ConfirmedPath(name string) string {
	return filepath.Join(d.Path, RootsDir, name+".confirmed")
}

func (d *Dir) confirmed(name string) (time.Time, error) {
	text, err := bounded.ReadFile(d.ConfirmedPath(name), bounded.Config)
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, nil // never since the log was made
	} else if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: not a time; confirm the root again with: muniment trusted-root update --confirm", d.ConfirmedPath(name))
	}
	return t.Truncate(time.Millisecond), nil // as entries have it
}

// LoadDefaultPolicy reads the admission policy of tenants that have none of
// their own; nil is the built-in one.
func (d *Dir) LoadDefaultPolicy() (*policy.AdmissionPolicy, error) {
	if d.Config.DefaultPolicy == "" {
		return nil, nil
	}
	path := d.Rel(d.Config.DefaultPolicy)
	text, err := bounded.ReadFile(path, policy.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("default_policy: %w", err)
	}
	p, err := ingest.ParseAdmissionPolicy(text)
	if err != nil {
		return nil, fmt.Errorf("default_policy: %s:\n%w", path, err)
	}
	return p, nil
}

// NewAdmission returns the admission of a ledger, with the default policy and
// the trusted roots of the data folder.
func NewAdmission(d *Dir, l *ledger.Ledger, log *slog.Logger) (*ingest.Admission, error) {
	files, err := d.LoadRoots()
	if err != nil {
		return nil, err
	}
	fallback, err := d.LoadDefaultPolicy()
	if err != nil {
		return nil, err
	}
	return ingest.NewAdmission(ingest.AdmissionConfig{Ledger: l, Roots: files, Default: fallback, Logger: log})
}

// RootsState changes when one of the files does.
func (d *Dir) RootsState() string {
	paths, _ := filepath.Glob(filepath.Join(d.Path, RootsDir, "*.*"))
	for _, r := range d.Config.TrustedRoots {
		paths = append(paths, d.RootPath(r.Name))
	}
	var b strings.Builder
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", p, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

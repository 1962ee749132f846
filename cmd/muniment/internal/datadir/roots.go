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

// Trusted roots are files of the data folder, trusted-roots/NAME.json. A root
// that muniment.yaml does not name is in force for all tenants.
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

// ParseAge parses a duration in days or in Go's units, such as 90d or 36h.
func ParseAge(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days >= 0 && days <= 36525 {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is not an age, such as 90d or 36h", s)
}

// ages returns the ages from which on the server warns about the root, and
// stops using it. Zero is never.
func (r *rootConfig) ages() (warn, refuse time.Duration, err error) {
	if r.RefuseAfter != "" {
		if refuse, err = ParseAge(r.RefuseAfter); err != nil {
			return 0, 0, fmt.Errorf("refuse_after: %w", err)
		}
	}
	if r.WarnAfter == "" {
		if warn = defaultWarn; refuse > 0 {
			warn = min(warn, refuse)
		}
		return warn, refuse, nil
	}
	if warn, err = ParseAge(r.WarnAfter); err != nil {
		return 0, 0, fmt.Errorf("warn_after: %w", err)
	}
	if refuse > 0 && warn > refuse {
		return 0, 0, errors.New("warn_after: must be at most refuse_after")
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
			return fmt.Errorf("trusted_roots[%d].name: %q is listed twice", i, r.Name)
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

// RootPath returns the path of a trusted root.
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

// ConfirmedPath returns the path of the file with the time at which the root
// was last updated or confirmed. (The modification time of the root's own file
// can come from a restored backup.)
func (d *Dir) ConfirmedPath(name string) string {
	return filepath.Join(d.Path, RootsDir, name+".confirmed")
}

func (d *Dir) confirmed(name string) (time.Time, error) {
	text, err := bounded.ReadFile(d.ConfirmedPath(name), bounded.Config)
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, nil // never since init
	} else if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: not a time: confirm the root again with: muniment trusted-root update --confirm", d.ConfirmedPath(name))
	}
	return t.Truncate(time.Millisecond), nil // the resolution of entries
}

// LoadDefaultPolicy reads the admission policy of tenants that have set none.
// It returns nil if the configuration names no file.
func (d *Dir) LoadDefaultPolicy() (*policy.AdmissionPolicy, error) {
	if d.Config.DefaultPolicy == "" {
		return nil, nil
	}
	path := d.Rel(d.Config.DefaultPolicy)
	text, err := d.read(d.Config.DefaultPolicy, func(path string) ([]byte, error) { return bounded.ReadFile(path, policy.MaxSize) })
	if err != nil {
		return nil, fmt.Errorf("default_policy: %w", err)
	}
	p, err := ingest.ParseAdmissionPolicy(text)
	if err != nil {
		return nil, fmt.Errorf("default_policy: %s:\n%w", path, err)
	}
	return p, nil
}

// NewAdmission returns the admission of a ledger with the data folder's default
// policy and trusted roots.
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

// RootsState returns a text that changes when the file of a trusted root does.
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

package datadir

import (
	"cmp"
	"fmt"
	"slices"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/entry"
)

// A limitsFile is the content of the file that limits.file names. A program
// that may write it can change limits, but not who has access, which is in
// muniment.yaml.
type limitsFile struct {
	Tenants []tenantLimits `yaml:"tenants"`
}

// tenantLimits are the limits of a tenant in place of those in muniment.yaml.
type tenantLimits struct {
	Name   string       `yaml:"name"`
	Limits TenantLimits `yaml:"limits"`
}

// readLimits returns the limits in the file of limits, by tenant, and keeps the
// hash of the text that it has read.
func (d *Dir) readLimits() (map[string]*TenantLimits, error) {
	if d.Config.Limits.File == "" {
		return nil, nil
	}
	path := d.Rel(d.Config.Limits.File)
	text, err := d.readConfig(d.Config.Limits.File)
	if err != nil {
		return nil, fmt.Errorf("limits.file: %w", err)
	}
	d.limitsRead = entry.SHA256(text)
	var f limitsFile
	if err := DecodeYAML(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := map[string]*TenantLimits{}
	for i := range f.Tenants {
		t := &f.Tenants[i]
		switch known := slices.ContainsFunc(d.Config.Tenants, func(c TenantConfig) bool { return c.Name == t.Name }); {
		case !known:
			return nil, fmt.Errorf("%s: tenants[%d].name: there is no tenant %q", path, i, t.Name)
		case all[t.Name] != nil:
			return nil, fmt.Errorf("%s: tenants[%d].name: %q is listed twice", path, i, t.Name)
		}
		if err := t.Limits.check(); err != nil {
			return nil, fmt.Errorf("%s: tenants[%d].limits.%w", path, i, err)
		}
		all[t.Name] = &t.Limits
	}
	return all, nil
}

// limitsOf returns the limits of a tenant: those of the file, of muniment.yaml,
// or the default.
func (d *Dir) limitsOf(t *TenantConfig, file map[string]*TenantLimits) limit.TenantLimits {
	return limit.TenantLimits(*cmp.Or(file[t.Name], t.Limits, &d.Config.Limits.Tenant))
}

// LimitsChanged reports whether the file of limits differs from what the folder
// has read. One that cannot be read differs. A shared configuration contains
// the file, and never differs.
func (d *Dir) LimitsChanged() bool {
	if d.Config.Limits.File == "" || d.shared != nil {
		return false
	}
	text, err := bounded.ReadFile(d.Rel(d.Config.Limits.File), bounded.Config)
	return err != nil || entry.SHA256(text) != d.limitsRead
}

// WithLimits returns the folder with the limits that their file has now.
func (d *Dir) WithLimits() (*Dir, error) {
	now := *d
	file, err := now.readLimits()
	if err != nil {
		return nil, err
	}
	now.Tenants = slices.Clone(d.Tenants)
	for i := range now.Tenants {
		now.Tenants[i].Limits = d.limitsOf(&d.Config.Tenants[i], file)
	}
	return &now, nil
}

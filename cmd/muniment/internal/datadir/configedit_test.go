package datadir

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each edit leaves every other line as it was.
func TestConfigEdit(t *testing.T) {
	const config = `# the log
origin: ledger.test

operators:
  # for the monitoring
  - id: one
    sha256: 00
# about tenants
tenants:
  - name: acme # the first
    stream_key: streams/acme.key
    # its limits
    limits: {requests_per_second: 5}
    tokens:
      - id: ci
        sha256: 0000000000000000000000000000000000000000000000000000000000000000
        role: reader # of gates
      - id: acme
        role: admin

  - name: globex
    suspended: true
    stream_key: streams/globex.key
  - name: initech
    stream_key: |
      streams/initech.key
# the end
log_level: info
`
	tenant := func(name string) TenantConfig { return TenantConfig{Name: name, StreamKey: "k"} }
	for _, c := range []struct {
		name         string
		edit         func(*ConfigEdit) error
		gone, added  string
		want         func(*Config)
		wantByAnHand bool
	}{
		{name: "append a tenant", edit: func(e *ConfigEdit) error { return e.Add("tenants", "  - name: new\n    stream_key: k\n") },
			added: "  - name: new\n    stream_key: k\n", want: func(c *Config) { c.Tenants = append(c.Tenants, tenant("new")) }},
		{name: "remove the first", edit: func(e *ConfigEdit) error { return e.Remove("tenants", "name", "acme") },
			gone: "  - name: acme # the first\n    stream_key: streams/acme.key\n    # its limits\n    limits: {requests_per_second: 5}\n    tokens:\n      - id: ci\n        sha256: " + strings.Repeat("00", 32) + "\n        role: reader # of gates\n      - id: acme\n        role: admin\n",
			want: func(c *Config) { c.Tenants = slices.Delete(c.Tenants, 0, 1) }},
		{name: "remove the last", edit: func(e *ConfigEdit) error { return e.Remove("tenants", "name", "initech") },
			gone: "  - name: initech\n    stream_key: |\n      streams/initech.key\n",
			want: func(c *Config) { c.Tenants = slices.Delete(c.Tenants, 2, 3) }},
		{name: "suspend", edit: func(e *ConfigEdit) error { return e.Set("tenants", "name", "acme", "suspended", "true") },
			added: "    suspended: true\n", want: func(c *Config) { c.Tenants[0].Suspended = true }},
		{name: "resume", edit: func(e *ConfigEdit) error { return e.Set("tenants", "name", "globex", "suspended", "") },
			gone: "    suspended: true\n", want: func(c *Config) { c.Tenants[1].Suspended = false }},
		{name: "remove the only operator", edit: func(e *ConfigEdit) error { return e.Remove("operators", "id", "one") },
			gone: "  - id: one\n    sha256: 00\n", want: func(c *Config) { c.Operators = nil }},
		{name: "replace a token", edit: func(e *ConfigEdit) error { return setToken(e, "acme", "ci", 1) },
			gone: "        sha256: " + strings.Repeat("00", 32) + "\n", added: "        sha256: " + strings.Repeat("01", 32) + "\n", want: func(*Config) {}},
		{name: "add a token", edit: func(e *ConfigEdit) error { return setToken(e, "acme", "new", 2) },
			added: "      - id: new\n        role: reader\n        sha256: " + strings.Repeat("02", 32) + "\n", want: func(*Config) {}},
		{name: "a tenant without tokens", edit: func(e *ConfigEdit) error { return setToken(e, "globex", "new", 2) }, wantByAnHand: true},
		{name: "a token without a hash", edit: func(e *ConfigEdit) error { return setToken(e, "acme", "acme", 1) }, wantByAnHand: true},
		{name: "no such tenant", edit: func(e *ConfigEdit) error { return e.Remove("tenants", "name", "none") }, wantByAnHand: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, ConfigFile)
			if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			e, err := EditConfig(dir)
			if err != nil {
				t.Fatal(err)
			}
			if c.want != nil {
				c.want(&e.Want)
			}
			if err := c.edit(e); c.wantByAnHand {
				if !errors.Is(err, ErrEditByHand) {
					t.Fatalf("error %v", err)
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
			if err := e.Write(); err != nil {
				t.Fatalf("%v\n%s", err, e.Text())
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, have := strings.Replace(config, c.gone, "", 1), string(got)
			if c.added != "" {
				have = strings.Replace(have, c.added, "", 1)
			}
			if have != want {
				t.Errorf("the file is now\n%s", got)
			}
		})
	}
}

// setToken is SetToken for a hash of equal bytes.
func setToken(e *ConfigEdit, tenant, id string, b byte) error {
	changed, err := e.SetToken(tenant, id, "reader", [sha256.Size]byte(bytes.Repeat([]byte{b}, sha256.Size)))
	if err == nil && !changed {
		return errors.New("nothing has changed")
	}
	return err
}

// Files that cannot be spliced are left alone.
func TestConfigEditRefuses(t *testing.T) {
	for _, config := range []string{
		"{origin: ledger.test, tenants: [{name: acme, stream_key: k}]}\n",
		"origin: ledger.test\ntenants: [{name: acme, stream_key: k}]\n",
		"origin: ledger.test\ntenants:\n  - {name: acme, stream_key: k}\n",
		"origin: ledger.test\ntenants: &t\n  - &a\n    name: acme\n    stream_key: k\n",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, ConfigFile)
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := EditConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		e.Want.Tenants[0].Suspended = true
		err = errors.Join(e.Set("tenants", "name", "acme", "suspended", "true"), e.Write())
		got, readErr := os.ReadFile(path)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if err != nil && string(got) != config {
			t.Errorf("refused, but changed:\n%s", got)
		}
		if err == nil {
			after, err := EditConfig(dir)
			if err != nil || !after.Want.Tenants[0].Suspended {
				t.Errorf("changed to something else: %v\n%s", err, got)
			}
		}
	}
}

package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/entry"
)

// Names in the data folder of a server that shares its log.
const (
	SharedBase = "shared.json" // see SharedVersion
	SharedText = "shared.yaml" // the settings in force, for people
)

// sharedSettings are those of muniment.yaml that are the same on all servers of
// a log.
type sharedSettings struct {
	PublicTlog      bool             `yaml:"public_tlog"`
	MetricsByTenant bool             `yaml:"metrics_by_tenant"`
	CoverageStage   string           `yaml:"coverage_stage"`
	Limits          LimitsConfig     `yaml:"limits"`
	DefaultPolicy   string           `yaml:"default_policy"`
	Identity        identitySection  `yaml:"identity"`
	Operators       []OperatorConfig `yaml:"operators"`
	Webhooks        []webhookConfig  `yaml:"webhooks"`
	Tenants         []TenantConfig   `yaml:"tenants"`
}

func sharedOf(c *Config) sharedSettings {
	return sharedSettings{c.PublicTlog, c.MetricsByTenant, c.CoverageStage, c.Limits, c.DefaultPolicy, c.Identity, c.Operators, c.Webhooks, c.Tenants}
}

// into replaces the shared settings of a configuration.
func (s *sharedSettings) into(c *Config) {
	c.PublicTlog, c.MetricsByTenant, c.CoverageStage, c.Limits, c.DefaultPolicy = s.PublicTlog, s.MetricsByTenant, s.CoverageStage, s.Limits, s.DefaultPolicy
	c.Identity, c.Operators, c.Webhooks, c.Tenants = s.Identity, s.Operators, s.Webhooks, s.Tenants
}

// A Shared is the configuration that the servers of a log have in common: the
// shared settings, and the files that they name. It contains secrets.
type Shared struct {
	Settings string            `json:"settings"` // YAML
	Files    map[string][]byte `json:"files"`    // by the path in the settings
}

// sharedFormat is the first line of an encoded Shared.
const sharedFormat = "muniment.dev/shared-configuration/v1\n"

// Encode returns the text that DecodeShared decodes. Equal configurations have
// equal texts.
func (s *Shared) Encode() ([]byte, error) {
	text, err := json.Marshal(s)
	return append([]byte(sharedFormat), text...), err
}

// DecodeShared decodes a shared configuration, which WithShared checks.
func DecodeShared(text []byte) (*Shared, error) {
	body, ok := bytes.CutPrefix(text, []byte(sharedFormat))
	if !ok {
		return nil, errors.New("the shared configuration has a format that this program does not read: use a newer one")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	s := &Shared{}
	if err := dec.Decode(s); err != nil {
		return nil, errors.New("the shared configuration cannot be decoded: use the program that has published it, or a newer one")
	}
	return s, nil
}

// Shared returns what the folder has of a shared configuration.
func (d *Dir) Shared() (*Shared, error) {
	if d.shared != nil {
		return d.shared, nil
	}
	if _, err := d.LoadDefaultPolicy(); err != nil {
		return nil, err
	}
	var settings yaml.Node
	if err := settings.Encode(sharedOf(&d.Config)); err != nil {
		return nil, err
	}
	dropEmpty(&settings)
	text, err := yaml.Marshal(&settings)
	return &Shared{Settings: string(text), Files: d.files}, err
}

// SharedDiffers returns the tenants and the operators in force on a server that
// shares its configuration, if the folder's own configuration is another one,
// as after a change through another server. It returns nil otherwise.
func (d *Dir) SharedDiffers() (*Members, error) {
	path := filepath.Join(d.Path, SharedText)
	text, err := bounded.ReadFile(path, bounded.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	own, err := d.Shared()
	if err != nil || d.Config.Store == "" || own.Settings == string(text) {
		return nil, err
	}
	s := sharedSettings{}
	if err := DecodeYAML(text, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m := &Members{}
	for _, t := range s.Tenants {
		name := t.Name
		if t.Suspended {
			name += " (suspended)"
		}
		m.Tenants = append(m.Tenants, name)
	}
	for _, o := range s.Operators {
		m.Operators = append(m.Operators, o.ID)
	}
	return m, nil
}

// Members are the names of tenants and operators.
type Members struct{ Tenants, Operators []string }

// dropEmpty removes empty lists and absent values, so that they are decoded as
// from a file that does not have them.
func dropEmpty(n *yaml.Node) {
	if n.Kind == yaml.MappingNode {
		var kept []*yaml.Node
		for i := 0; i < len(n.Content); i += 2 {
			if v := n.Content[i+1]; v.Tag != "!!null" && (v.Kind == yaml.ScalarNode || len(v.Content) > 0) {
				kept = append(kept, n.Content[i], v)
			}
		}
		n.Content = kept
	}
	for _, v := range n.Content {
		dropEmpty(v)
	}
}

// WithShared returns the folder with the shared configuration in place of its
// own, after the checks of Load. What else the folder has is not read again.
func (d *Dir) WithShared(s *Shared) (*Dir, error) {
	now := *d
	now.shared, now.files = s, nil
	now.Tenants, now.Operators, now.webhooks, now.identities, now.Warnings = nil, nil, nil, nil, nil
	settings := sharedSettings{}
	if err := DecodeYAML([]byte(s.Settings), &settings); err != nil {
		return nil, err
	}
	settings.into(&now.Config)
	if err := now.Config.check(); err != nil {
		return nil, err
	}
	if err := now.loadGrants(); err != nil {
		return nil, err
	}
	_, err := now.LoadDefaultPolicy()
	return &now, err
}

// read reads a file that a shared setting names, from the shared configuration
// if there is one.
func (d *Dir) read(path string, read func(path string) ([]byte, error)) ([]byte, error) {
	if d.shared != nil {
		text, ok := d.shared.Files[path]
		if !ok {
			return nil, fmt.Errorf("%s: %w in the shared configuration", path, fs.ErrNotExist)
		}
		return text, nil
	}
	text, err := read(d.Rel(path))
	if err != nil {
		return nil, err
	}
	if d.files == nil {
		d.files = map[string][]byte{}
	}
	d.files[path] = text
	return text, nil
}

func (d *Dir) readConfig(path string) ([]byte, error) {
	return d.read(path, func(path string) ([]byte, error) { return bounded.ReadFile(path, bounded.Config) })
}

func (d *Dir) readSecret(path string) ([]byte, error) { return d.read(path, bounded.ReadSecret) }

// A SharedVersion identifies a version of the shared configuration. The file
// SharedBase has the one that the folder's own configuration is based on.
type SharedVersion struct {
	Version uint64 `json:"version"`          // 0: none was published
	SHA256  string `json:"sha256,omitempty"` // of its text, or "" if it is unknown
}

// ReadSharedBase returns the version that the folder's configuration is based
// on, or nil if that is not recorded.
func ReadSharedBase(dir string) (*SharedVersion, error) {
	path := filepath.Join(dir, SharedBase)
	text, err := bounded.ReadFile(path, bounded.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	v := &SharedVersion{}
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: cannot be decoded: delete it, and give the version with: muniment reload --based-on N", path)
	}
	return v, nil
}

// WriteSharedBase records the version that the folder's configuration is based
// on.
func WriteSharedBase(dir string, v SharedVersion) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return ReplaceOwned(filepath.Join(dir, SharedBase), append(text, '\n'))
}

// SharedDigest returns the SHA-256 of an encoded shared configuration.
func SharedDigest(text []byte) string { return fmt.Sprintf("%x", entry.SHA256(text)) }

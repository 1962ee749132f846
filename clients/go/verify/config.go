package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/sigstore"
)

// MaxConfigSize is the size limit of a configuration in bytes.
const MaxConfigSize = 1 << 20

// The codes of errors in configurations. See docs/spec/verify.md, section 1.
const (
	CodeConfigurationUnreadable = "configuration-unreadable"
	CodeConfigurationMalformed  = "configuration-malformed"
	CodeConfigurationUnknown    = "configuration-unknown"
	CodeConfigurationInvalid    = "configuration-invalid"
	CodeIdentityMissing         = "identity-missing"
	CodeRequirementMalformed    = "requirement-malformed"
	CodeKeyMalformed            = "key-malformed"
	CodeTrustedRootMalformed    = "trusted-root-malformed"
	CodePolicyMalformed         = "policy-malformed"
	CodeStreamKeyMalformed      = "stream-key-malformed"
	CodeRekorUnknown            = "rekor-unknown"
)

// A ConfigError is the first fault of a configuration.
type ConfigError struct {
	Code    string // one of the constants above
	Message string // for people
	cause   error  // can be nil
}

// Error returns the message and the code.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("configuration: %s (%s)", e.Message, e.Code)
}

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.cause }

func configFault(code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &ConfigError{code, plain.DecodeError(err).Error(), errors.Unwrap(err)}
}

// A Config is a loaded configuration: keys, identities, trusted roots, policies
// and requirements. It does not change, and no file is read again.
type Config struct {
	keys         []*dsse.Key // their names are their paths
	policies     []*receipt.TrustPolicy
	streamKey    *entry.StreamKey
	requirements export.Parsed

	byIdentity, byKey *sigstore.Trust // nil: no identities, no keys
}

// An Opener opens the file for a path in a configuration, which is as it was
// written there. Its result is read up to the limit of the file's format, and
// closed.
type Opener func(path string) (io.ReadCloser, error)

// LoadConfig reads a configuration and all files that it names. Their paths are
// relative to its folder. The error is a *ConfigError.
func LoadConfig(path string) (*Config, error) {
	text, err := bounded.ReadFile(path, MaxConfigSize)
	switch {
	case errors.Is(err, bounded.ErrTooLarge):
		return nil, configFault(CodeConfigurationMalformed, "more than %d bytes", MaxConfigSize)
	case err != nil:
		return nil, configFault(CodeConfigurationUnreadable, "%w", err)
	}
	folder := filepath.Dir(path)
	return ParseConfig(text, func(path string) (io.ReadCloser, error) {
		if path = filepath.FromSlash(path); !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		return interrupt.Open(path)
	})
}

// ParseConfig reads a configuration whose files open opens. The error is a
// *ConfigError.
func ParseConfig(text []byte, open Opener) (*Config, error) {
	if len(text) > MaxConfigSize {
		return nil, configFault(CodeConfigurationMalformed, "more than %d bytes", MaxConfigSize)
	}
	tree, err := strictjson.Members(text)
	if err != nil {
		return nil, configFault(CodeConfigurationMalformed, "%w", err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, configFault(CodeConfigurationMalformed, "%w", err)
	}
	d := &document{tree: tree}
	if err := d.read(); err != nil {
		return nil, err
	}
	c := &Config{}
	if c.requirements, err = export.ParseRequirements(export.Requirements{Licenses: raw["licenses"], Residency: raw["residency"], Epsilon: raw["epsilon"]}); err != nil {
		return nil, configFault(CodeRequirementMalformed, "%w", err)
	}
	l := &loader{open: open, document: d, config: c}
	for _, load := range []func() error{l.keys, l.roots, l.policies, l.streamKey, l.trust} {
		if err := load(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// A loader reads the files of a configuration.
type loader struct {
	open     Opener
	document *document
	config   *Config
	keyTexts [][]byte
	rootText [][]byte
}

// read returns the content of a file of at most limit bytes. A longer one has
// the given code.
func (l *loader) read(path string, limit int64, code string) ([]byte, error) {
	r, err := l.open(path)
	if err != nil {
		return nil, configFault(CodeConfigurationUnreadable, "%s: %w", path, err)
	}
	defer r.Close()
	data, err := bounded.ReadAll(r, limit)
	switch {
	case errors.Is(err, bounded.ErrTooLarge):
		return nil, configFault(code, "%s: %w", path, err)
	case err != nil:
		return nil, configFault(CodeConfigurationUnreadable, "%s: %w", path, err)
	}
	return data, nil
}

func (l *loader) keys() error {
	for _, path := range l.document.keys {
		text, err := l.read(path, sigstore.MaxKeySize, CodeKeyMalformed)
		if err != nil {
			return err
		}
		k, err := sigstore.ParsePublicKey(path, text)
		if err != nil {
			return configFault(CodeKeyMalformed, "%s: %w", path, err)
		}
		l.config.keys, l.keyTexts = append(l.config.keys, k), append(l.keyTexts, text)
	}
	return nil
}

func (l *loader) roots() error {
	if l.document.roots == nil {
		l.rootText = [][]byte{sigstore.PublicGoodJSON()}
	}
	for _, path := range l.document.roots {
		text, err := l.read(path, sigstore.MaxTrustedRootSize, CodeTrustedRootMalformed)
		if err != nil {
			return err
		}
		if err := sigstore.CheckTrustedRoot(text); err != nil {
			return configFault(CodeTrustedRootMalformed, "%s: %w", path, err)
		}
		l.rootText = append(l.rootText, text)
	}
	return nil
}

const maxPolicySize = 1 << 20 // bytes

func (l *loader) policies() error {
	for _, path := range l.document.policies {
		text, err := l.read(path, maxPolicySize, CodePolicyMalformed)
		if err != nil {
			return err
		}
		p, err := receipt.ParseTrustPolicy(path, text)
		if err != nil {
			return configFault(CodePolicyMalformed, "%w", err)
		}
		l.config.policies = append(l.config.policies, p)
	}
	return nil
}

const maxStreamKeySize = 1 << 10 // bytes; longer ones are malformed

func (l *loader) streamKey() error {
	path := l.document.streamKey
	if path == "" {
		return nil
	}
	text, err := l.read(path, maxStreamKeySize, CodeStreamKeyMalformed)
	if err != nil {
		return err
	}
	if l.config.streamKey, err = receipt.ParseStreamKey(text); err != nil {
		return configFault(CodeStreamKeyMalformed, "%s: %w", path, err)
	}
	return nil
}

// trust selects the transparency logs, and combines roots with signers.
func (l *loader) trust() (err error) {
	if l.document.rekor != "" {
		var selected [][]byte
		for _, root := range l.rootText {
			one, err := sigstore.SelectLogs(root, l.document.rekor)
			if err != nil {
				return configFault(CodeTrustedRootMalformed, "%w", err)
			}
			if one != nil {
				selected = append(selected, one)
			}
		}
		if len(selected) == 0 {
			return configFault(CodeRekorUnknown, "sigstore.rekorUrl: no trusted root has the log %s: add its trusted root to trustedRoot", l.document.rekor)
		}
		l.rootText = selected
	}
	if len(l.document.identities) > 0 {
		if l.config.byIdentity, err = sigstore.NewTrust(l.rootText, l.document.identities, nil); err != nil {
			return trustFault(err)
		}
	}
	if len(l.keyTexts) > 0 {
		if l.config.byKey, err = sigstore.NewTrust(l.rootText, nil, l.keyTexts); err != nil {
			return trustFault(err)
		}
	}
	return nil
}

func trustFault(err error) error {
	var r *sigstore.Refusal
	if errors.As(err, &r) {
		return configFault(string(r.Code), "%w", r.Err)
	}
	return configFault(CodeConfigurationInvalid, "%w", err)
}

// PolicyNames returns the paths of the trust policies, as they were written.
func (c *Config) PolicyNames() []string {
	var all []string
	for _, p := range c.policies {
		all = append(all, p.Name)
	}
	return all
}

// HasStreamKey reports whether the configuration has a stream key.
func (c *Config) HasStreamKey() bool { return c.streamKey != nil }

// KeyIDs returns the IDs of the trusted keys: sha256: and the SHA-256 of their
// DER form.
func (c *Config) KeyIDs() []string {
	var all []string
	for _, k := range c.keys {
		all = append(all, k.ID)
	}
	return slices.Clip(all)
}

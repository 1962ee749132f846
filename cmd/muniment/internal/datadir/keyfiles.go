package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/logkey"
)

// Names in a data folder whose keys were rotated.
const (
	KeysFile  = "keys.yaml"
	KeysDir   = "keys"     // key files that rotations made
	PolicyDir = "policies" // a policy for each key that verifiers can trust
)

const keysHeader = `# The keys that sign this log, oldest first. Written by 'muniment keys'; the server reads it when it starts.
`

// A KeyRecord is the record of a key in keys.yaml.
type KeyRecord struct {
	Key     string     `yaml:"key" json:"key"`       // verifier key
	Source  string     `yaml:"source" json:"source"` // as in logkey.Open
	From    *time.Time `yaml:"from,omitempty" json:"from,omitempty"`
	Retired *time.Time `yaml:"retired,omitempty" json:"retired,omitempty"` // nil while it signs
}

// ID returns the key's ID, NAME+HASH.
func (r *KeyRecord) ID() string {
	name, rest, _ := strings.Cut(r.Key, "+")
	hash, _, _ := strings.Cut(rest, "+")
	return name + "+" + hash
}

// PolicyPath returns the path of the key's policy, relative to the data folder.
func (r *KeyRecord) PolicyPath() string {
	id := r.ID()
	return filepath.Join(PolicyDir, id[strings.LastIndex(id, "+")+1:])
}

// LoadKeys opens the keys that sign, newest first, and returns the records of
// all keys, oldest first.
func LoadKeys(dir, origin string) (open []*logkey.Key, records []KeyRecord, err error) {
	records, err = ReadKeyRecords(dir)
	if err != nil {
		return nil, nil, err
	}
	if records == nil {
		k, err := logkey.Open("file:"+KeyFile, dir, origin)
		if err != nil {
			return nil, nil, err
		}
		return []*logkey.Key{k}, []KeyRecord{{Key: k.Verifier, Source: "file:" + KeyFile}}, nil
	}
	path := filepath.Join(dir, KeysFile)
	for i := len(records) - 1; i >= 0; i-- {
		r := &records[i]
		if r.Retired != nil {
			continue
		}
		k, err := logkey.Open(r.Source, dir, origin)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: keys[%d]: %w", path, i, err)
		}
		if k.Verifier != r.Key {
			return nil, nil, fmt.Errorf("%s: keys[%d]: %s contains the key %s, not %s", path, i, r.Source, k.ID(), r.ID())
		}
		open = append(open, k)
	}
	if len(open) == 0 {
		return nil, nil, fmt.Errorf("%s: every key is retired", path)
	}
	return open, records, nil
}

// ReadKeyRecords returns the records in keys.yaml, oldest first, or nil if no
// key was rotated yet. It opens no key.
func ReadKeyRecords(dir string) ([]KeyRecord, error) {
	path := filepath.Join(dir, KeysFile)
	text, err := bounded.ReadFile(path, bounded.Config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var file struct {
		Keys []KeyRecord `yaml:"keys"`
	}
	if err := DecodeYAML(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(file.Keys) == 0 {
		return nil, fmt.Errorf("%s: it lists no key", path)
	}
	return file.Keys, nil
}

// Settle finishes a rotation or retirement of a key that was interrupted.
// Commands that change keys or policies call it before they do so. Load does
// not: it changes nothing.
func Settle(dir string) error {
	if err := settleRekorKey(dir); err != nil {
		return err
	}
	records, err := ReadKeyRecords(dir)
	if err != nil || records == nil {
		return err
	}
	return SettlePolicies(dir, records)
}

// SettlePolicies finishes a rotation or retirement that was interrupted after
// keys.yaml was written. Afterwards the log's policy is the newest key's, and
// no retired key without a witness quorum has a trusted policy.
func SettlePolicies(dir string, records []KeyRecord) error {
	newest := &records[len(records)-1] // never retired: see keysRetireCmd
	policy := filepath.Join(dir, PolicyFile)
	if p, err := ReadPolicyFile(policy); err != nil {
		return err
	} else if logkey.ID(p.LogKey()) != newest.ID() {
		text, err := bounded.ReadFile(filepath.Join(dir, newest.PolicyPath()), bounded.Config)
		if err != nil {
			return fmt.Errorf("%s is for the key %s, not for the newest, %s: %w", policy, logkey.ID(p.LogKey()), newest.ID(), err)
		}
		if err := ReplaceOwned(policy, text); err != nil {
			return err
		}
	}
	for i := range records {
		path := filepath.Join(dir, records[i].PolicyPath())
		if records[i].Retired == nil {
			continue
		}
		p, err := ReadPolicyFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if !p.RequiresWitness() {
			if err := os.Rename(path, path+UntrustedSuffix); err != nil {
				return err
			}
		}
	}
	return nil
}

// UntrustedSuffix is appended to the name of a retired key's policy if its
// receipts must no longer be trusted.
const UntrustedSuffix = ".untrusted"

// WriteKeys replaces keys.yaml.
func WriteKeys(dir string, records []KeyRecord) error {
	text, err := yaml.Marshal(map[string][]KeyRecord{"keys": records})
	if err != nil {
		return err
	}
	return ReplaceOwned(filepath.Join(dir, KeysFile), append([]byte(keysHeader), text...))
}

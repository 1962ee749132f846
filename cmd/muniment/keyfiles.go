package main

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

const (
	keysFile  = "keys.yaml"
	keysDir   = "keys"     // of the keys that rotations made
	policyDir = "policies" // one file for each key that verifiers may trust
)

const keysHeader = `# The keys that sign this log, oldest first. Written by 'muniment keys'; the server reads it when it starts.
`

// A keyRecord is a key in keys.yaml.
type keyRecord struct {
	Key     string     `yaml:"key" json:"key"`       // verifier key
	Source  string     `yaml:"source" json:"source"` // as in logkey.Open
	From    *time.Time `yaml:"from,omitempty" json:"from,omitempty"`
	Retired *time.Time `yaml:"retired,omitempty" json:"retired,omitempty"` // absent: it signs
}

func (r *keyRecord) id() string {
	name, rest, _ := strings.Cut(r.Key, "+")
	hash, _, _ := strings.Cut(rest, "+")
	return name + "+" + hash
}

// policyPath is where the key's policy is, relative to the data folder.
func (r *keyRecord) policyPath() string {
	id := r.id()
	return filepath.Join(policyDir, id[strings.LastIndex(id, "+")+1:])
}

// loadKeys opens the keys that sign, the newest first, and returns the records
// of all.
func loadKeys(dir, origin string) (open []*logkey.Key, records []keyRecord, err error) {
	path := filepath.Join(dir, keysFile)
	text, err := bounded.ReadFile(path, bounded.Config)
	if errors.Is(err, os.ErrNotExist) {
		k, err := logkey.Open("file:"+keyFile, dir, origin)
		if err != nil {
			return nil, nil, err
		}
		return []*logkey.Key{k}, []keyRecord{{Key: k.Verifier, Source: "file:" + keyFile}}, nil
	} else if err != nil {
		return nil, nil, err
	}
	var file struct {
		Keys []keyRecord `yaml:"keys"`
	}
	if err := decodeYAML(text, &file); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := len(file.Keys) - 1; i >= 0; i-- {
		r := &file.Keys[i]
		if r.Retired != nil {
			continue
		}
		k, err := logkey.Open(r.Source, dir, origin)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: keys[%d]: %w", path, i, err)
		}
		if k.Verifier != r.Key {
			return nil, nil, fmt.Errorf("%s: keys[%d]: %s holds the key %s, not %s", path, i, r.Source, k.ID(), r.id())
		}
		open = append(open, k)
	}
	if len(open) == 0 {
		return nil, nil, fmt.Errorf("%s: no key that signs", path)
	}
	return open, file.Keys, settlePolicies(dir, file.Keys)
}

// settlePolicies finishes what a rotation or retirement that was interrupted
// after keys.yaml was written has left: the policy is the newest key's, and no
// retired key without a witness quorum has one that may be trusted.
func settlePolicies(dir string, records []keyRecord) error {
	newest := &records[len(records)-1] // never retired: see keysRetireCmd
	policy := filepath.Join(dir, policyFile)
	if p, err := readPolicyFile(policy); err != nil {
		return err
	} else if logkey.ID(p.LogKey()) != newest.id() {
		text, err := bounded.ReadFile(filepath.Join(dir, newest.policyPath()), bounded.Config)
		if err != nil {
			return fmt.Errorf("%s is for the key %s, not for the newest, %s: %w", policy, logkey.ID(p.LogKey()), newest.id(), err)
		}
		if err := replaceOwned(policy, text); err != nil {
			return err
		}
	}
	for i := range records {
		path := filepath.Join(dir, records[i].policyPath())
		if records[i].Retired == nil {
			continue
		}
		p, err := readPolicyFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if !p.RequiresWitness() {
			if err := os.Rename(path, path+untrustedSuffix); err != nil {
				return err
			}
		}
	}
	return nil
}

// untrustedSuffix is added to the policy of a retired key whose receipts nobody
// should trust any more.
const untrustedSuffix = ".untrusted"

func writeKeys(dir string, records []keyRecord) error {
	text, err := yaml.Marshal(map[string][]keyRecord{"keys": records})
	if err != nil {
		return err
	}
	return replaceOwned(filepath.Join(dir, keysFile), append([]byte(keysHeader), text...))
}

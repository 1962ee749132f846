package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/logkey"
	"muniment.dev/muniment/ledger/receipt"
)

// LoadPolicies returns the log's policies, policy and, if there is one,
// policy.pq, and its own cosigner keys.
func (d *Dir) LoadPolicies() (policies []*receipt.TrustPolicy, signers []note.Signer, err error) {
	p, err := d.loadPolicy(PolicyFile, d.Signer)
	if err != nil {
		return nil, nil, err
	}
	if p.PostQuantum() {
		return nil, nil, fmt.Errorf("%s: post-quantum keys belong in %s", filepath.Join(d.Path, PolicyFile), PQPolicyFile)
	}
	policies = append(policies, p)
	if _, err := os.Stat(filepath.Join(d.Path, PQPolicyFile)); errors.Is(err, os.ErrNotExist) {
		return policies, nil, nil
	}
	key, err := bounded.ReadSecret(filepath.Join(d.Path, PQKeyFile))
	if err != nil {
		return nil, nil, fmt.Errorf("%s requires the log's cosignature: %w", PQPolicyFile, err)
	}
	signer, err := fnote.NewMLDSASigner(strings.TrimSpace(string(key)))
	if err != nil {
		// the cause could show parts of the key
		return nil, nil, fmt.Errorf("%s: not an ML-DSA-44 cosigner key", filepath.Join(d.Path, PQKeyFile))
	}
	if p, err = d.loadPolicy(PQPolicyFile, signer); err != nil {
		return nil, nil, err
	}
	return append(policies, p), []note.Signer{signer}, nil
}

// loadPolicy reads a policy file whose log key must be the given one.
func (d *Dir) loadPolicy(name string, key note.Signer) (*receipt.TrustPolicy, error) {
	path := filepath.Join(d.Path, name)
	text, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return nil, fmt.Errorf("the log's policy: %w", err)
	}
	p, err := ParsePolicy(path, text)
	if err != nil {
		return nil, err
	}
	if name == PolicyFile && logkey.ID(p.LogKey()) != logkey.ID(key) && len(d.Keys) > 0 {
		// A rotation was interrupted, and nothing has settled it yet.
		if own, err := ReadPolicyFile(filepath.Join(d.Path, d.Keys[len(d.Keys)-1].PolicyPath())); err == nil {
			p = own
		}
	}
	if k := p.LogKey(); k.Name() != key.Name() || k.KeyHash() != key.KeyHash() {
		return nil, fmt.Errorf("policy %s: it is for the log key %s+%08x, but the log's key is %s+%08x", path, k.Name(), k.KeyHash(), key.Name(), key.KeyHash())
	}
	return p, nil
}

// Outside resolves the path of a file that must not lie in the data folder.
func (d *Dir) Outside(path string) (string, error) {
	path = d.Rel(path)
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	folder, err := filepath.EvalSymlinks(d.Path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(folder, dir)
	if err != nil || rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("%s is in the data folder and would be restored with it: choose a path elsewhere", path)
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/internal/bounded"
)

// RekorKeyNew is the new key of a Rekor log during a rotation.
const RekorKeyNew = RekorKeyFile + ".new"

// Names in a data folder that has a Rekor log.
const (
	RekorKeyFile  = "rekor.key"       // signs its checkpoints
	RekorKeysFile = "rekor.keys.json" // its public keys and their periods of validity
	RekorStoreDir = "rekor-store"
	TSAKeyFile    = "tsa.key"
	TSAChainFile  = "tsa-chain.pem"
)

// CheckRekorOrigin returns an error unless the origin can be a Rekor log's:
// Sigstore's clients derive it from the host of the log's URL.
func CheckRekorOrigin(origin string) error {
	if err := CheckOrigin(origin); err != nil {
		return err
	}
	if strings.ContainsAny(origin, "/:") {
		return fmt.Errorf("%q must be the host of the log's URL, without port and path: Sigstore's clients derive the name from it", origin)
	}
	return nil
}

// LoadRekorKeys returns the key that signs the Rekor log, and all public keys,
// past and present. A rotation that was interrupted after its list was written
// counts as done.
func LoadRekorKeys(dir string) (note.Signer, []rekor.Key, error) {
	path := filepath.Join(dir, RekorKeyFile)
	text, err := bounded.ReadSecret(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s has no Rekor log: make one with: muniment init %s --rekor-origin HOST", dir, dir)
	} else if err != nil {
		return nil, nil, err
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		// the cause could show parts of the key
		return nil, nil, fmt.Errorf("%s: not a note signing key", path)
	}
	path = filepath.Join(dir, RekorKeysFile)
	text, err = bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return nil, nil, err
	}
	var keys []rekor.Key
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := rekor.CheckKeys(keys, signer); err != nil {
		if fresh := newRekorKey(dir, keys); fresh != nil {
			return fresh, keys, nil
		}
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return signer, keys, nil
}

// newRekorKey returns the key of a rotation that was interrupted after its list
// was written, or nil.
func newRekorKey(dir string, keys []rekor.Key) note.Signer {
	text, err := bounded.ReadSecret(filepath.Join(dir, RekorKeyNew))
	if err != nil {
		return nil
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil || rekor.CheckKeys(keys, signer) != nil {
		return nil
	}
	return signer
}

// settleRekorKey finishes a rotation that was interrupted after its list was
// written: its key takes the place of the old one.
func settleRekorKey(dir string) error {
	fresh := filepath.Join(dir, RekorKeyNew)
	if _, err := os.Stat(fresh); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	signer, keys, err := LoadRekorKeys(dir)
	if err != nil {
		return err
	}
	if taken := newRekorKey(dir, keys); taken == nil || taken.KeyHash() != signer.KeyHash() {
		return nil // the list was not written
	}
	return os.Rename(fresh, filepath.Join(dir, RekorKeyFile))
}

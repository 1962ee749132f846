package datadir

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/ledger/cosereceipt"
)

// SCITTKeyFile is the key that signs COSE receipts. The server has a SCITT
// endpoint if its data folder has this file.
const SCITTKeyFile = "scitt.key"

// loadSCITTKey returns the key that signs COSE receipts, or nil if the folder
// has none.
func loadSCITTKey(dir string) (*cosereceipt.Key, error) {
	path := filepath.Join(dir, SCITTKeyFile)
	signer, err := ReadPrivateKey(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	ec, ok := signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an ECDSA key", path)
	}
	key, err := cosereceipt.NewKey(ec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ReadPrivateKey reads a private key in PEM. Errors contain no part of it.
func ReadPrivateKey(path string) (crypto.Signer, error) {
	data, err := bounded.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	signer, err := pemfile.PrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return signer, nil
}

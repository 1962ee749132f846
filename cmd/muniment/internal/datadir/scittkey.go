package datadir

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
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
	signer, err := readOptionalKey(path)
	if signer == nil {
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

// readOptionalKey is ReadPrivateKey for a file that can be absent. The key is
// then nil.
func readOptionalKey(path string) (crypto.Signer, error) {
	signer, err := ReadPrivateKey(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return signer, err
}

// NewECDSAKey makes a key on P-256 and returns it with its PEM.
func NewECDSAKey() (key *ecdsa.PrivateKey, text string, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, "", err
	}
	text, err = EncodePrivateKey(key)
	return key, text, err
}

// EncodePrivateKey returns a private key in PEM, as ReadPrivateKey reads it.
func EncodePrivateKey(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
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

package datadir

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"

	"muniment.dev/muniment/controls/attest"
)

// GateKeyFile is the key that signs the attestations of decisions, and
// GatePublicKeyFile its public key, for those who verify them.
const (
	GateKeyFile       = "gate.key"
	GatePublicKeyFile = "gate.pub"
)

// GateFiles returns the files of a new gate key.
func GateFiles() ([]File, error) {
	key, private, err := NewECDSAKey()
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return []File{
		{Name: GateKeyFile, Content: private, Mode: 0o600},
		{Name: GatePublicKeyFile, Content: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), Mode: 0o644},
	}, nil
}

// loadGateKey returns the key that signs attestations, or nil if the folder has
// none.
func loadGateKey(dir string) (*attest.Signer, error) {
	path := filepath.Join(dir, GateKeyFile)
	key, err := readOptionalKey(path)
	if key == nil {
		return nil, err
	}
	if ec, ok := key.(*ecdsa.PrivateKey); !ok || ec.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s: must be an ECDSA key on P-256", path)
	}
	return attest.NewSigner(key)
}

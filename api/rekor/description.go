package rekor

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// DescriptionPath is the path of a listener's Description.
const DescriptionPath = "/.well-known/muniment/sigstore.json"

// A Description contains what Sigstore client configuration files specify about
// a listener.
type Description struct {
	Origin string `json:"origin"` // first line of the checkpoints
	Keys   []Key  `json:"keys"`   // the last one is the signing key
	// TimestampChain is the certificate chain of the timestamp authority in
	// PEM, leaf first; "" if there is none.
	TimestampChain string `json:"timestampChain,omitempty"`
}

// A Key is a public key of the log with the period in which it is trusted.
type Key struct {
	PublicKey []byte `json:"publicKey"` // Ed25519, PKIX in DER
	// SHA-256 whose first bytes are the key hash of the signed notes
	LogID      []byte     `json:"logId"`
	ValidFrom  time.Time  `json:"validFrom"`
	ValidUntil *time.Time `json:"validUntil,omitempty"`
}

// NewKey returns the key for a note verifier key
// (https://c2sp.org/signed-note), which must be Ed25519.
func NewKey(vkey string, from time.Time) (Key, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Key{}, err
	}
	parts := strings.SplitN(vkey, "+", 3) // name, hash, key; names have no +
	data, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(data) != 1+ed25519.PublicKeySize || data[0] != algEd25519 {
		return Key{}, errors.New("not an Ed25519 key of a log")
	}
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(data[1:]))
	if err != nil {
		return Key{}, err
	}
	return Key{PublicKey: der, LogID: logID(v.Name(), data), ValidFrom: from.UTC()}, nil
}

const algEd25519 = 1 // https://c2sp.org/signed-note#signature-types

// logID returns the full hash whose first four bytes are the key hash of signed
// notes. data is the algorithm and the key.
func logID(name string, data []byte) []byte {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write(data)
	return h.Sum(nil)
}

// check returns an error unless the key belongs to the log.
func (k *Key) check(origin string) error {
	pub, err := x509.ParsePKIXPublicKey(k.PublicKey)
	if err != nil {
		return fmt.Errorf("publicKey: %w", err)
	}
	ed, ok := pub.(ed25519.PublicKey)
	if !ok {
		return errors.New("publicKey: not an Ed25519 key")
	}
	if string(k.LogID) != string(logID(origin, append([]byte{algEd25519}, ed...))) {
		return fmt.Errorf("logId: does not match the key and the origin %q", origin)
	}
	return nil
}

// CheckKeys returns an error unless all keys belong to the signer's log and the
// last one is the signer's.
func CheckKeys(keys []Key, signer note.Signer) error {
	if len(keys) == 0 {
		return errors.New("no keys")
	}
	for i := range keys {
		if err := keys[i].check(signer.Name()); err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
	}
	if binary.BigEndian.Uint32(keys[len(keys)-1].LogID) != signer.KeyHash() {
		return errors.New("the last key must be the log's signing key")
	}
	return nil
}

// ParseDescription parses the description of a listener.
func ParseDescription(data []byte) (*Description, error) {
	var d Description
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("not the description of a Rekor log: %w", err)
	}
	if d.Origin == "" || len(d.Keys) == 0 {
		return nil, errors.New("not the description of a Rekor log: it has no origin or no keys")
	}
	for i := range d.Keys {
		if err := d.Keys[i].check(d.Origin); err != nil {
			return nil, fmt.Errorf("keys[%d].%w", i, err)
		}
	}
	return &d, nil
}

func (s *server) description(w http.ResponseWriter, _ *http.Request) {
	d := Description{Origin: s.cfg.Ledger.Origin(), Keys: s.cfg.Keys}
	if s.cfg.TSA != nil {
		d.TimestampChain = s.cfg.TSA.ChainPEM()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	_ = json.NewEncoder(w).Encode(d) // an error means that the client is gone
}

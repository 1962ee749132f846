// Package seal encrypts what a group of processes keeps where others can read
// it, with a key that each of the group has in a file.
//
// It is AES-256-GCM with random nonces. Each sealed text is bound to a context,
// and opens in no other one.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"muniment.dev/muniment/internal/bounded"
)

// KeySize is the size of a key in bytes.
const KeySize = 32

// ErrOpen is returned for what the key has not sealed, or not in this context.
var ErrOpen = errors.New("it was sealed with another key, or was changed")

// A Key seals and opens.
type Key struct{ aead cipher.AEAD }

// New returns the key of KeySize bytes.
func New(key []byte) (*Key, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the key has %d bytes: it must have %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Key{aead}, err
}

// Generate returns the text of a new key, as Load reads it.
func Generate() string {
	var key [KeySize]byte
	rand.Read(key[:]) // never fails: see crypto/rand
	return hex.EncodeToString(key[:]) + "\n"
}

// Load reads a key from a file, as hexadecimal digits.
func Load(path string) (*Key, error) {
	text, err := bounded.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("%s: must have %d hexadecimal digits, such as of openssl rand -hex %d", path, 2*KeySize, KeySize)
	}
	return New(key)
}

// Seal encrypts a text for a context.
func (k *Key) Seal(context string, text []byte) []byte {
	return k.aead.Seal(nil, nil, text, []byte(context))
}

// Open decrypts what Seal has returned for the same context.
func (k *Key) Open(context string, sealed []byte) ([]byte, error) {
	text, err := k.aead.Open(nil, nil, sealed, []byte(context))
	if err != nil {
		return nil, ErrOpen
	}
	return text, nil
}

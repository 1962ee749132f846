package execute

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"muniment.dev/muniment/internal/bounded"
)

const (
	// maxSealed is the size limit of both images of a step together.
	maxSealed = 64 << 10
	// sealContext separates sealed images from other uses of the key.
	sealContext = "muniment triage images, version 1"
	// sealKeySize is that of AES-256.
	sealKeySize = 32
)

// A Seal encrypts the images in entries, so that only the executors that share
// its key can read them. Images can contain secrets.
type Seal struct{ aead cipher.AEAD }

// NewSeal returns the seal of a key of 32 bytes.
func NewSeal(key []byte) (*Seal, error) {
	if len(key) != sealKeySize {
		return nil, fmt.Errorf("the key has %d bytes: it must have %d", len(key), sealKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Seal{aead}, err
}

// LoadSeal reads the key from a file, as hexadecimal digits.
func LoadSeal(path string) (*Seal, error) {
	text, err := bounded.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != sealKeySize {
		return nil, fmt.Errorf("%s: must have 64 hexadecimal digits, such as of openssl rand -hex 32", path)
	}
	return NewSeal(key)
}

// images are those of a step.
type images struct {
	Before []byte `json:"before"`
	After  []byte `json:"after"`
}

// close encrypts the images of a step for the entry with a key. The result is
// empty if they are too large.
func (s *Seal) close(key, target string, of images) (string, error) {
	if len(of.Before)+len(of.After) > maxSealed {
		return "", nil
	}
	text, err := json.Marshal(of)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(s.aead.Seal(nil, nil, text, sealed(key, target))), nil
}

// open decrypts what close returns. Nothing that was changed, or that belongs
// to another entry or target, is opened.
func (s *Seal) open(key, target, text string) (of images, err error) {
	if s == nil || text == "" {
		return of, errors.New("no sealed images")
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return of, errors.New("the sealed images are not Base64")
	}
	plain, err := s.aead.Open(nil, nil, raw, sealed(key, target))
	if err != nil {
		return of, errors.New("the sealed images do not have the key of this executor")
	}
	return of, json.Unmarshal(plain, &of)
}

// sealed returns what is authenticated with the images.
func sealed(key, target string) []byte { return []byte(sealContext + "\n" + key + "\n" + target) }

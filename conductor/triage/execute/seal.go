package execute

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"muniment.dev/muniment/internal/seal"
)

const (
	// maxSealed is the size limit of both images of a step together.
	maxSealed = 64 << 10
	// sealContext separates sealed images from other uses of the key.
	sealContext = "muniment triage images, version 1"
)

// A Seal encrypts the images in entries, so that only the executors that share
// its key can read them. Images can contain secrets.
type Seal struct{ key *seal.Key }

// NewSeal returns the seal of a key of 32 bytes.
func NewSeal(key []byte) (*Seal, error) {
	k, err := seal.New(key)
	if err != nil {
		return nil, err
	}
	return &Seal{k}, nil
}

// LoadSeal reads the key from a file, as hexadecimal digits.
func LoadSeal(path string) (*Seal, error) {
	k, err := seal.Load(path)
	if err != nil {
		return nil, err
	}
	return &Seal{k}, nil
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
	return base64.StdEncoding.EncodeToString(s.key.Seal(sealed(key, target), text)), nil
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
	plain, err := s.key.Open(sealed(key, target), raw)
	if err != nil {
		return of, errors.New("the sealed images do not have the key of this executor")
	}
	return of, json.Unmarshal(plain, &of)
}

// sealed returns what is authenticated with the images.
func sealed(key, target string) string { return sealContext + "\n" + key + "\n" + target }

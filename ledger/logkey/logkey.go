// Package logkey opens the keys that sign a log's checkpoints.
//
// A key is stored in a file, in an environment variable, or in an SSH agent,
// which does not reveal it to the server. Keys implement note.Signer
// (https://c2sp.org/signed-note).
package logkey

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/bounded"
)

// A Key is an open signing key.
type Key struct {
	note.Signer
	Verifier string // verifier key: NAME+HASH+KEY
}

// ID returns the key's ID in messages and files: NAME+HASH.
func (k *Key) ID() string { return ID(k.Signer) }

// ID returns NAME+HASH of a signer or verifier.
func ID(k interface {
	Name() string
	KeyHash() uint32
}) string {
	return fmt.Sprintf("%s+%08x", k.Name(), k.KeyHash())
}

// Open opens a log's key. The source has one of these forms:
//
//	file:PATH              a note signing key; PATH is relative to dir
//	env:NAME               the same, in an environment variable
//	ssh-agent:SHA256:HASH  the Ed25519 key with this fingerprint in the agent at SSH_AUTH_SOCK
//
// The key's name must be the log's origin. Errors never contain a part of a
// secret.
func Open(source, dir, origin string) (*Key, error) {
	where, what, ok := strings.Cut(source, ":")
	if !ok || what == "" {
		return nil, fmt.Errorf("key %q: not file:PATH, env:NAME or ssh-agent:SHA256:HASH", source)
	}
	var k *Key
	var err error
	switch where {
	case "file":
		if !filepath.IsAbs(what) {
			what = filepath.Join(dir, what)
		}
		var text []byte
		if text, err = bounded.ReadSecret(what); err == nil {
			k, err = parse(string(text))
		}
	case "env":
		text, ok := os.LookupEnv(what)
		if !ok {
			err = fmt.Errorf("the environment variable %s is not set", what)
		} else {
			k, err = parse(text)
		}
	case "ssh-agent":
		k, err = openAgent(os.Getenv("SSH_AUTH_SOCK"), what, origin)
	default:
		err = errors.New("not file:PATH, env:NAME or ssh-agent:SHA256:HASH")
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", source, err)
	}
	if k.Name() != origin {
		return nil, fmt.Errorf("key %s: for the origin %q instead of %q", source, k.Name(), origin)
	}
	return k, nil
}

// parse reads a note signing key: PRIVATE+KEY+NAME+HASH+DATA, where DATA is the
// algorithm and the seed. It drops the errors of package note, which could
// contain parts of the key.
func parse(text string) (*Key, error) {
	const algEd25519 = 1
	text = strings.TrimSpace(text)
	s, err := note.NewSigner(text)
	if err != nil {
		return nil, errors.New("not a note signing key")
	}
	parts := strings.SplitN(text, "+", 5)
	data, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(data) != 1+ed25519.SeedSize || data[0] != algEd25519 {
		return nil, errors.New("not an Ed25519 note signing key")
	}
	public := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	verifier, err := note.NewEd25519VerifierKey(s.Name(), public)
	if err != nil {
		return nil, errors.New("not a note signing key")
	}
	return &Key{s, verifier}, nil
}

package logkey

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/mod/sumdb/note"
)

// An agentSigner signs with an Ed25519 key in an SSH agent. As in a signed
// note, the agent signs the message itself (RFC 8709).
type agentSigner struct {
	name   string
	hash   uint32
	socket string
	key    ssh.PublicKey

	mu   sync.Mutex
	conn net.Conn // nil: not connected
}

// agentTimeout limits the time for one response of the agent.
const agentTimeout = 10 * time.Second

// openAgent finds the key with the fingerprint, and checks that it can sign.
func openAgent(socket, fingerprint, name string) (*Key, error) {
	if socket == "" {
		return nil, errors.New("SSH_AUTH_SOCK is not set: start an SSH agent and add the key to it")
	}
	if !strings.HasPrefix(fingerprint, "SHA256:") {
		return nil, fmt.Errorf("%q is not a fingerprint of the form SHA256:…; see ssh-add -l", fingerprint)
	}
	s := &agentSigner{name: name, socket: socket}
	var public ed25519.PublicKey
	err := s.use(func(a agent.Agent) (err error) {
		s.key, public, err = findKey(a, fingerprint)
		return err
	})
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return nil, err
	}
	s.hash = v.KeyHash()
	probe := []byte("muniment key probe\n") // too few lines for a checkpoint
	sig, err := s.Sign(probe)
	if err != nil {
		return nil, err
	}
	if !v.Verify(probe, sig) {
		return nil, errors.New("the agent's signature does not verify")
	}
	return &Key{s, verifier}, nil
}

// findKey returns the agent's Ed25519 key with the fingerprint.
func findKey(a agent.Agent, fingerprint string) (ssh.PublicKey, ed25519.PublicKey, error) {
	keys, err := a.List()
	if err != nil {
		return nil, nil, err
	}
	for _, k := range keys {
		if ssh.FingerprintSHA256(k) != fingerprint {
			continue
		}
		parsed, err := ssh.ParsePublicKey(k.Blob)
		if err != nil {
			return nil, nil, err
		}
		crypto, ok := parsed.(ssh.CryptoPublicKey)
		if !ok {
			break
		}
		public, ok := crypto.CryptoPublicKey().(ed25519.PublicKey)
		if !ok {
			return nil, nil, fmt.Errorf("the key %s is a %s key: a log requires Ed25519", fingerprint, k.Type())
		}
		return parsed, public, nil
	}
	return nil, nil, fmt.Errorf("the agent has no key %s; see ssh-add -l", fingerprint)
}

// Name implements note.Signer.
func (s *agentSigner) Name() string { return s.name }

// KeyHash implements note.Signer.
func (s *agentSigner) KeyHash() uint32 { return s.hash }

// Sign implements note.Signer.
func (s *agentSigner) Sign(msg []byte) (sig []byte, err error) {
	err = s.use(func(a agent.Agent) error {
		got, err := a.Sign(s.key, msg)
		if err != nil {
			return err
		}
		if got.Format != ssh.KeyAlgoED25519 || len(got.Blob) != ed25519.SignatureSize {
			return fmt.Errorf("it returned a signature of type %q", got.Format)
		}
		sig = got.Blob
		return nil
	})
	return sig, err
}

// use calls f with the agent. If an existing connection turns out to be broken,
// it calls f again over a new one.
func (s *agentSigner) use(f func(agent.Agent) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for range 2 {
		fresh := s.conn == nil
		if fresh {
			if s.conn, err = net.DialTimeout("unix", s.socket, agentTimeout); err != nil {
				s.conn = nil
				break
			}
		}
		if err = s.conn.SetDeadline(time.Now().Add(agentTimeout)); err == nil {
			// Without a Close method, the agent client reads no
			// responses in the background, where a deadline would
			// end it.
			err = f(agent.NewClient(struct{ io.ReadWriter }{s.conn}))
		}
		if err == nil {
			return nil
		}
		s.conn.Close()
		s.conn = nil
		if fresh {
			break
		}
	}
	return fmt.Errorf("SSH agent: %w", err)
}

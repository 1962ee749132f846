package execute

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/wholefile"
)

// ErrSpool reports that an entry of the spool is not as it was signed. Somebody
// has changed the state, so the executor must stop.
var ErrSpool = errors.New("an entry of the spool does not have the signature of the executor's key")

// spoolContext separates these signatures from others of the key.
var spoolContext = &ed25519.Options{Context: "muniment triage spool, version 1"}

// LoadKey reads the executor's key from a file in PEM, or creates the file. The
// key must be an Ed25519 key.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	text, err := bounded.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the executor: %w", err)
	}
	key, err := pemfile.PrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("key of the executor: %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key of the executor: %s: must be an Ed25519 key, such as of openssl genpkey -algorithm ed25519", path)
	}
	return private, nil
}

func createKey(path string) (ed25519.PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	if err := wholefile.CreatePath(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, fmt.Errorf("create the key of the executor: %w", err)
	}
	return private, nil
}

// sign signs an entry of the spool with its idempotency key. An executor
// without a key, as in tests, does not sign.
func (e *Executor) sign(key string, payload []byte) ([]byte, error) {
	if e.Key == nil {
		return nil, nil
	}
	signature, err := e.Key.Sign(nil, spooled(key, payload), spoolContext)
	if err != nil {
		return nil, fmt.Errorf("sign entry %s: %w", key, err)
	}
	return signature, nil
}

// verify checks an entry that was read from the spool.
func (e *Executor) verify(key string, entry *Entry) error {
	if e.Key == nil {
		return nil
	}
	public, ok := e.Key.Public().(ed25519.PublicKey)
	if !ok || ed25519.VerifyWithOptions(public, spooled(key, entry.Payload), entry.Signature, spoolContext) != nil {
		return fmt.Errorf("%w: %s", ErrSpool, key)
	}
	return nil
}

// spooled returns the signed text. A key has no line break.
func spooled(key string, payload []byte) []byte { return append([]byte(key+"\n"), payload...) }

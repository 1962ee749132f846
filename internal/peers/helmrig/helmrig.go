// Package helmrig makes signed charts with the real helm, for tests.
package helmrig

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"muniment.dev/muniment/internal/peers"
)

// A Workshop is a folder for the real helm and cosign, with a PGP key.
type Workshop struct {
	T      *testing.T
	Dir    string
	Signer *openpgp.Entity
}

// New returns a workshop with a new key.
func New(t *testing.T) *Workshop {
	t.Helper()
	w := &Workshop{T: t, Dir: t.TempDir()}
	w.Signer = NewEntity(t, "Release", "release@acme.example", nil)
	var secret bytes.Buffer
	if err := w.Signer.SerializePrivate(&secret, nil); err != nil {
		t.Fatal(err)
	}
	w.Write("secring.gpg", secret.Bytes())
	return w
}

// NewEntity returns a new PGP key pair.
func NewEntity(t testing.TB, name, email string, config *packet.Config) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", email, config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Write writes a file in the folder and returns its path.
func (w *Workshop) Write(name string, data []byte) string {
	w.T.Helper()
	path := filepath.Join(w.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.T.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.T.Fatal(err)
	}
	return path
}

// Read returns the content of a file in the folder.
func (w *Workshop) Read(name string) []byte {
	w.T.Helper()
	data, err := os.ReadFile(filepath.Join(w.Dir, name))
	if err != nil {
		w.T.Fatal(err)
	}
	return data
}

// Run runs a peer in the folder and returns its output.
func (w *Workshop) Run(peer string, args ...string) string {
	w.T.Helper()
	cmd := exec.CommandContext(w.T.Context(), peers.Path(w.T, peer), args...)
	cmd.Dir, cmd.Env = w.Dir, append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+w.Dir, "XDG_CONFIG_HOME="+w.Dir, "XDG_CACHE_HOME="+w.Dir, "XDG_DATA_HOME="+w.Dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.T.Fatalf("%s %s: %v\n%s", peer, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Pack creates NAME-VERSION.tgz and its signed .prov.
func (w *Workshop) Pack(name, version, description string) {
	w.T.Helper()
	w.Write(name+"/Chart.yaml", []byte("apiVersion: v2\nname: "+name+"\nversion: "+version+"\ndescription: "+description+"\n"))
	w.Write(name+"/templates/config.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"))
	w.Run("helm", "package", "--sign", "--key", "Release", "--keyring", "secring.gpg", name)
}

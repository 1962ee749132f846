package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A tufRepository is a TUF repository on loopback with one target,
// trusted_root.json.
type tufRepository struct {
	t   *testing.T
	dir string
	url string
	key ed25519.PrivateKey
}

func newTUFRepository(t *testing.T) *tufRepository {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &tufRepository{t: t, dir: t.TempDir(), key: key}
	s := httptest.NewServer(http.FileServer(http.Dir(r.dir)))
	t.Cleanup(s.Close)
	r.url = s.URL
	root := metadata.Root(time.Now().Add(time.Hour))
	pub, err := metadata.KeyFromPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
		if err := root.Signed.AddKey(pub, role); err != nil {
			t.Fatal(err)
		}
	}
	write(r, root, "1.root.json")
	return r
}

// write signs metadata into a file of the repository.
func write[T metadata.Roles](r *tufRepository, m *metadata.Metadata[T], name string) {
	r.t.Helper()
	signer, err := signature.LoadSigner(r.key, crypto.Hash(0))
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := m.Sign(signer); err != nil {
		r.t.Fatal(err)
	}
	if err := m.ToFile(filepath.Join(r.dir, name), false); err != nil {
		r.t.Fatal(err)
	}
}

// publish makes the next version of the repository, with the target.
func (r *tufRepository) publish(version int64, target []byte) {
	r.t.Helper()
	expires := time.Now().Add(time.Hour)
	targets := metadata.Targets(expires)
	targets.Signed.Version = version
	info, err := metadata.TargetFile().FromBytes("trusted_root.json", target, "sha256")
	if err != nil {
		r.t.Fatal(err)
	}
	targets.Signed.Targets["trusted_root.json"] = info
	write(r, targets, fmt.Sprintf("%d.targets.json", version))
	snapshot := metadata.Snapshot(expires)
	snapshot.Signed.Version = version
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(version)
	write(r, snapshot, fmt.Sprintf("%d.snapshot.json", version))
	timestamp := metadata.Timestamp(expires)
	timestamp.Signed.Version = version
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(version)
	write(r, timestamp, "timestamp.json")
	if err := os.MkdirAll(filepath.Join(r.dir, "targets"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "targets", fmt.Sprintf("%x.trusted_root.json", sha256.Sum256(target))), target, 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// A trusted root from a TUF repository must be signed by the authorized keys,
// complete, and not older than the present one.
func TestTrustedRootFromTUF(t *testing.T) {
	c := newCompany(t, "acme")
	r := newTUFRepository(t)
	trustAnchor := filepath.Join(r.dir, "1.root.json")
	file := filepath.Join(c.data, "trusted-roots", "ours.json")
	update := []string{"trusted-root", "update", "--data", c.data, "--name", "ours", "--tuf", r.url}
	first := sigstore.PublicGoodJSON()
	second := append(bytes.Clone(first), '\n')

	r.publish(1, first)
	if out, code := c.run(update...); code != term.ExitFailed || !strings.Contains(out, "--tuf-root: required the first time: specify the repository's root.json") {
		t.Fatalf("without a trust anchor: exit code %d\n%s", code, out)
	}
	c.must(append(update, "--tuf-root", trustAnchor)...)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, first) {
		t.Fatalf("the root is not the repository's: %v", err)
	}
	r.publish(2, second)
	if out := c.must(update...); !strings.Contains(out, "replaced") {
		t.Errorf("%s", out)
	}
	if got, _ := os.ReadFile(file); !bytes.Equal(got, second) {
		t.Fatal("the root was not replaced")
	}

	refused := func(what string, args ...string) {
		t.Helper()
		if out, code := c.run(append(update, args...)...); code == term.ExitOK {
			t.Errorf("%s: taken\n%s", what, out)
		}
		if got, _ := os.ReadFile(file); !bytes.Equal(got, second) {
			t.Fatalf("%s: the root was changed", what)
		}
	}
	r.publish(1, first)
	refused("an older state of the repository")
	r.publish(3, []byte("{}"))
	refused("what is no trusted root")
	r.publish(4, first)
	if err := os.WriteFile(filepath.Join(r.dir, "targets", fmt.Sprintf("%x.trusted_root.json", sha256.Sum256(first))), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a changed target")
	_, r.key, _ = ed25519.GenerateKey(rand.Reader)
	r.publish(5, first)
	refused("a repository that somebody else has signed")
	refused("another trust anchor", "--tuf-root", filepath.Join(r.dir, "timestamp.json"))
}

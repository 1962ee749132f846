// Package tufrig runs a TUF repository on loopback, from which clients of
// Sigstore get trusted roots (https://theupdateframework.github.io/specification/).
package tufrig

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// lifetime of the metadata.
const lifetime = time.Hour

// A Repository is a running TUF repository. One key signs all its metadata.
type Repository struct {
	URL string
	Key ed25519.PrivateKey

	dir    string
	server *httptest.Server
}

// Start makes a repository without targets in a folder, and serves it. The
// caller must stop it.
func Start(dir string) (*Repository, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	r := &Repository{Key: key, dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, "targets"), 0o755); err != nil {
		return nil, err
	}
	root := metadata.Root(time.Now().Add(lifetime))
	public, err := metadata.KeyFromPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
		if err := root.Signed.AddKey(public, role); err != nil {
			return nil, err
		}
	}
	if err := write(r, root, r.Root()); err != nil {
		return nil, err
	}
	r.server = httptest.NewServer(http.FileServer(http.Dir(dir)))
	r.URL = r.server.URL
	return r, nil
}

// Stop stops the server.
func (r *Repository) Stop() { r.server.Close() }

// Root is the path of the first root.json, the trust anchor of clients.
func (r *Repository) Root() string { return filepath.Join(r.dir, "1.root.json") }

// Target is the path of a target.
func (r *Repository) Target(name string, content []byte) string {
	return filepath.Join(r.dir, "targets", fmt.Sprintf("%x.%s", sha256.Sum256(content), name))
}

// Publish makes a version of the repository with the targets, by name.
func (r *Repository) Publish(version int64, contents map[string][]byte) error {
	expires := time.Now().Add(lifetime)
	targets := metadata.Targets(expires)
	targets.Signed.Version = version
	for name, content := range contents {
		info, err := metadata.TargetFile().FromBytes(name, content, "sha256")
		if err != nil {
			return err
		}
		targets.Signed.Targets[name] = info
		if err := os.WriteFile(r.Target(name, content), content, 0o644); err != nil {
			return err
		}
	}
	if err := write(r, targets, filepath.Join(r.dir, fmt.Sprintf("%d.targets.json", version))); err != nil {
		return err
	}
	snapshot := metadata.Snapshot(expires)
	snapshot.Signed.Version = version
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(version)
	if err := write(r, snapshot, filepath.Join(r.dir, fmt.Sprintf("%d.snapshot.json", version))); err != nil {
		return err
	}
	timestamp := metadata.Timestamp(expires)
	timestamp.Signed.Version = version
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(version)
	return write(r, timestamp, filepath.Join(r.dir, "timestamp.json"))
}

// write signs metadata into a file.
func write[T metadata.Roles](r *Repository, m *metadata.Metadata[T], path string) error {
	signer, err := signature.LoadSigner(r.Key, crypto.Hash(0))
	if err != nil {
		return err
	}
	if _, err := m.Sign(signer); err != nil {
		return err
	}
	return m.ToFile(path, false)
}

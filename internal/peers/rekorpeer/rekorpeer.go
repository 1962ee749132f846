// Package rekorpeer starts the real Rekor v2 server on POSIX files, for tests
// and benchmarks that compare it with Muniment's log for Sigstore clients.
package rekorpeer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"

	"muniment.dev/muniment/internal/peers"
)

// Files in the folder of a server.
const (
	keyFile       = "log.pem"
	publicKeyFile = "log.pub"
	tiles         = "log"
)

// A Server is a running Rekor v2. The origin of its log is 127.0.0.1.
type Server struct {
	URL           string // of its API
	Key           ed25519.PublicKey
	PublicKeyFile string // Key, in PEM
	Folder        string // of its tiles: checkpoint, tile/…

	process *peers.Process
}

// Start runs a server on files in dir, with additional flags, and waits until
// it is ready.
func Start(ctx context.Context, dir string, flags ...string) (*Server, error) {
	public, err := writeKeys(dir)
	if err != nil {
		return nil, err
	}
	ports, err := peers.FreePorts(3)
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL: "http://127.0.0.1:" + ports[0], Key: public,
		PublicKeyFile: filepath.Join(dir, publicKeyFile), Folder: filepath.Join(dir, tiles),
	}
	program := peers.Program{
		Name: "rekor-server", Dir: dir, Probe: s.URL + "/healthz",
		Args: append([]string{
			"serve", "--hostname", "127.0.0.1", "--http-address", "127.0.0.1", "--grpc-address", "127.0.0.1",
			"--http-port", ports[0], "--grpc-port", ports[1], "--http-metrics-port", ports[2],
			"--signer-filepath", filepath.Join(dir, keyFile), "--storage-dir", s.Folder,
		}, flags...),
	}
	if s.process, err = program.Start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Stop kills the server.
func (s *Server) Stop() { s.process.Stop() }

// writeKeys generates the log's key and writes both halves to dir.
func writeKeys(dir string) (ed25519.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	for name, block := range map[string]*pem.Block{
		keyFile:       {Type: "PRIVATE KEY", Bytes: privateDER},
		publicKeyFile: {Type: "PUBLIC KEY", Bytes: publicDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	return public, nil
}

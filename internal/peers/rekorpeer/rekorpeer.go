// Package rekorpeer starts the real Rekor v2 server, on POSIX files, for tests
// and benchmarks that compare our log for Sigstore's clients with it.
package rekorpeer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"muniment.dev/muniment/internal/peers"
)

// A Server is a running Rekor v2.
type Server struct {
	URL    string // of its API
	Key    ed25519.PublicKey
	Folder string // of its tiles: checkpoint, tile/…

	cmd *exec.Cmd
	log *os.File
}

// Start runs the server on files below dir, with the flags added, and waits
// until it answers. The origin of its log is 127.0.0.1.
func Start(ctx context.Context, dir string, flags ...string) (*Server, error) {
	bin, err := peers.Find("rekor-server")
	if err != nil {
		return nil, err
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	keyFile := filepath.Join(dir, "log.pem")
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s := &Server{URL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), Key: pub, Folder: filepath.Join(dir, "log")}
	if s.log, err = os.Create(filepath.Join(dir, "rekor.log")); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, bin, append([]string{"serve", "--hostname", "127.0.0.1", "--http-address", "127.0.0.1", "--grpc-address", "127.0.0.1",
		"--http-port", fmt.Sprint(ports[0]), "--grpc-port", fmt.Sprint(ports[1]), "--http-metrics-port", fmt.Sprint(ports[2]),
		"--signer-filepath", keyFile, "--storage-dir", s.Folder}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// await waits until the server answers, for at most a minute.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/healthz", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(s.log.Name())
			return fmt.Errorf("the Rekor server does not answer: %w\n%s", ctx.Err(), text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
	return s.log.Close()
}

// freePorts returns ports that were free a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

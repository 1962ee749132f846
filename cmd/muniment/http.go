package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"muniment.dev/muniment/api/edge"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/pemfile"
)

// A listener is an HTTP server that listens.
type listener struct {
	url      string
	srv      *http.Server
	accepted *edge.Listener
	failed   chan error // receives the error that ended it
}

// A certificate is a server's TLS configuration, which a reload replaces.
// Without one there is no TLS.
type certificate struct {
	config atomic.Pointer[tls.Config]
}

// load reads the certificate of a configuration, whose files rel finds.
// Clients may show certificates of the authorities, if there are any.
func (c *certificate) load(config tlsConfig, rel func(string) string, authorities *x509.CertPool) error {
	read, err := readTLS(config, rel, authorities)
	if err == nil {
		c.set(read)
	}
	return err
}

// set replaces the configuration, unless it is nil: a reload does not switch
// TLS off.
func (c *certificate) set(config *tls.Config) {
	if config != nil {
		c.config.Store(config)
	}
}

// readTLS returns the TLS configuration, or nil if there is none.
func readTLS(config tlsConfig, rel func(string) string, authorities *x509.CertPool) (*tls.Config, error) {
	if config.Cert == "" {
		return nil, nil
	}
	cert, err := bounded.ReadFile(rel(config.Cert), bounded.Config)
	if err != nil {
		return nil, fmt.Errorf("tls.cert: %w", err)
	}
	key, err := bounded.ReadSecret(rel(config.Key))
	if err != nil {
		return nil, fmt.Errorf("tls.key: %w", err)
	}
	pair, err := pemfile.KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if authorities != nil {
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, authorities
	}
	return c, nil
}

// listen serves on the address, over TLS if there is a certificate. On this
// machine it is reached by its own names, and by hosts.
func listen(address string, srv *http.Server, connections int, cert *certificate, hosts ...string) (*listener, error) {
	edge.Harden(srv, hosts)
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l := &listener{url: "http://" + ln.Addr().String(), srv: srv, accepted: edge.Bound(ln, connections), failed: make(chan error, 1)}
	accepting := &firstAccept{Listener: l.accepted, begun: make(chan struct{})}
	serve := func() error { return srv.Serve(accepting) }
	if cert != nil && cert.config.Load() != nil {
		l.url = "https://" + ln.Addr().String()
		srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return cert.config.Load(), nil }}
		serve = func() error { return srv.ServeTLS(accepting, "", "") }
	}
	go func() { l.failed <- serve() }()
	select {
	case <-accepting.begun:
		// a server that is shut down before it has begun would not know that it
		// was
		return l, nil
	case err := <-l.failed:
		return nil, errors.Join(fmt.Errorf("serve: %w", err), ln.Close())
	}
}

// A firstAccept says when its server has begun to accept connections.
type firstAccept struct {
	net.Listener
	once  sync.Once
	begun chan struct{}
}

// Accept implements net.Listener.
func (f *firstAccept) Accept() (net.Conn, error) {
	f.once.Do(func() { close(f.begun) })
	return f.Listener.Accept()
}

// shutdown finishes the requests under way, for as long as they may take after
// a signal, and cuts the others off.
func (l *listener) shutdown() (cut bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if l.srv.Shutdown(ctx) == nil {
		return false, nil
	}
	return true, l.srv.Close()
}

// hostOf returns the host of an origin, without port and path.
func hostOf(origin string) string {
	host, _, _ := strings.Cut(origin, "/")
	host, _, _ = strings.Cut(host, ":")
	return host
}

// serviceLogger returns the logger of a command that runs until a signal. It
// also has the warnings, so that every line has the format.
func (a *app) serviceLogger(format string) *slog.Logger {
	log := a.logger(format)
	a.log.Store(log)
	return log
}

// warnExposed warns of a secret that other users of the machine can read.
func (a *app) warnExposed(path string, mode fs.FileMode) {
	remedy := "chmod 600 " + path
	if log := a.log.Load(); log != nil {
		log.Warn("other users can read a secret", "file", path, "mode", fmt.Sprintf("%04o", mode), "remedy", remedy)
		return
	}
	a.warn(fmt.Sprintf("other users can read %s, a secret (mode %04o): run: %s", path, mode, remedy))
}

// makeDataFolder makes a folder that nobody else reads. It must not exist, or
// be empty.
func makeDataFolder(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty, and init overwrites nothing; choose another folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := owner.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) // it may have been there
}

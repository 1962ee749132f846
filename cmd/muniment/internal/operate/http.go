package operate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"muniment.dev/muniment/api/edge"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
)

// A listener is an HTTP server and the address that it listens on.
type listener struct {
	url      string
	srv      *http.Server
	accepted *edge.Listener
	failed   chan error // receives the error that ended it
}

// A certificate is a server's TLS configuration, which a reload replaces. It is
// empty if the server speaks plain HTTP.
type certificate struct {
	config atomic.Pointer[tls.Config]
}

// load reads the certificate of a configuration, whose paths rel resolves. If
// there are authorities, their client certificates are accepted.
func (c *certificate) load(config datadir.TLSConfig, rel func(string) string, authorities *x509.CertPool) error {
	read, err := readTLS(config, rel, authorities)
	if err == nil {
		c.set(read)
	}
	return err
}

// set replaces the configuration, unless it is nil: a reload does not disable
// TLS.
func (c *certificate) set(config *tls.Config) {
	if config != nil {
		c.config.Store(config)
	}
}

// readTLS returns the TLS configuration, or nil if there is none.
func readTLS(config datadir.TLSConfig, rel func(string) string, authorities *x509.CertPool) (*tls.Config, error) {
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

// listen serves on the address, over TLS if there is a certificate. On
// addresses of this machine, requests must be for localhost or one of the
// hosts.
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
		// Without waiting, a shutdown could come before Serve and be missed.
		return l, nil
	case err := <-l.failed:
		return nil, errors.Join(fmt.Errorf("serve: %w", err), ln.Close())
	}
}

// allHTTP returns HTTP/1.1 and HTTP/2, the latter also without TLS.
func allHTTP() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// A firstAccept signals that its server has begun to accept connections.
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

// shutdown waits at most shutdownTime for the requests under way, and cuts off
// the rest.
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

// HTTPErrors returns the logger for an http.Server. Panics are logged as
// errors, failures to accept a connection as warnings, and errors of callers at
// level debug.
func HTTPErrors(log *slog.Logger) *stdlog.Logger {
	return stdlog.New(httpErrorWriter{log}, "", 0)
}

type httpErrorWriter struct{ log *slog.Logger }

// Write implements io.Writer. Package log writes one message at a time.
func (w httpErrorWriter) Write(p []byte) (int, error) {
	text := string(bytes.TrimSpace(p))
	switch {
	case bytes.Contains(p, []byte("panic serving ")):
		w.log.Error(text)
	case bytes.HasPrefix(p, []byte("http: Accept error: ")):
		w.log.Warn(text)
	default:
		w.log.Debug(text)
	}
	return len(p), nil
}

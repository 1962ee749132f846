package operate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	stdlog "log"
	"log/slog"
	"strings"
	"sync/atomic"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
)

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

// source returns the source of TLS configurations for a listener, or nil if the
// server speaks plain HTTP.
func (c *certificate) source() func() *tls.Config {
	if c.config.Load() == nil {
		return nil
	}
	return c.config.Load
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

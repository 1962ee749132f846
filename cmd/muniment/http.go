package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/netutil"
)

// A listener is an HTTP server that listens.
type listener struct {
	url    string
	srv    *http.Server
	failed chan error // gets the error that ended it
}

// listen serves on the address, over TLS if there is a certificate, whose files rel finds.
func listen(address string, srv *http.Server, connections int, tls tlsConfig, rel func(string) string) (*listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l := &listener{url: "http://" + ln.Addr().String(), srv: srv, failed: make(chan error, 1)}
	limited := netutil.LimitListener(ln, connections)
	if tls.Cert == "" {
		go func() { l.failed <- srv.Serve(limited) }()
		return l, nil
	}
	l.url = "https://" + ln.Addr().String()
	go func() { l.failed <- srv.ServeTLS(limited, rel(tls.Cert), rel(tls.Key)) }()
	return l, nil
}

// shutdown finishes the requests under way, for as long as they may take after a signal, and cuts the others off.
func (l *listener) shutdown() (cut bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if l.srv.Shutdown(ctx) == nil {
		return false, nil
	}
	return true, l.srv.Close()
}

// logger returns the logger of a server: to standard error, as text or json.
func (a *app) logger(format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, nil))
	}
	return slog.New(slog.NewTextHandler(a.stderr, nil))
}

// makeDataFolder makes a folder that nobody else reads. It must not exist, or be empty.
func makeDataFolder(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty, and init overwrites nothing; choose another folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) // it may have been there
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/net/netutil"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/pebblestore"
)

type serveCmd struct {
	Data        string `help:"Data folder, made by 'muniment init'." required:"" type:"path" env:"MUNIMENT_DATA"`
	Listen      string `help:"Address to listen on; port 0 takes a free one. Default: from muniment.yaml." placeholder:"HOST:PORT" env:"MUNIMENT_LISTEN"`
	RekorListen string `help:"Also serve the Rekor log, made by 'muniment init --rekor-origin', on this address. Default: from muniment.yaml; without it the log is off." placeholder:"HOST:PORT" env:"MUNIMENT_REKOR_LISTEN"`
	AcceptClock bool   `help:"Append although the clock is far ahead of the last entry. Check that it is right first: times never decrease again."`
	LogFormat   string `help:"text or json." enum:"text,json" default:"text"`
}

func (serveCmd) Help() string {
	return `The API, /tlog/, /healthz, /readyz and /metrics are all on one address. On SIGTERM or SIGINT the appends under way are finished first.

Examples:
  muniment serve --data ./data
  muniment serve --data ./data --listen 0.0.0.0:7480 --log-format json
  muniment serve --data ./data --rekor-listen 127.0.0.1:7481`
}

// shutdownTime is how long calls under way may take after a signal.
const shutdownTime = 30 * time.Second

// The collector runs less often than Go's default would have it, since most of what an append makes is gone when it is answered, until memory gets
// near a limit. The operator's GOGC and GOMEMLIMIT go before these.
const (
	gcPercent   = 300
	memoryLimit = 320 << 20 // of Go's heap; Pebble's caches lie beside it
)

func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

func (c *serveCmd) Run(a *app) error {
	tuneMemory()
	d, err := loadDataDir(c.Data)
	if err != nil {
		return err
	}
	var handler slog.Handler = slog.NewTextHandler(a.stderr, nil)
	if c.LogFormat == "json" {
		handler = slog.NewJSONHandler(a.stderr, nil)
	}
	log := slog.New(handler)
	store, err := pebblestore.Open(filepath.Join(c.Data, storeDir), pebblestore.Options{Logger: log})
	if err != nil {
		return err
	}
	metrics := api.NewMetrics()
	cfg := ledger.Config{
		Store: store, Signer: d.signer, Logger: log, Observe: metrics.Observer(),
		MaxPendingEntries: d.config.Limits.PendingEntries, ReserveBytes: d.config.Limits.DiskReserveBytes,
		Fatal: func(err error) {
			log.Error("ending the process: restart it to reopen what is on disk", "err", err)
			os.Exit(exitNo)
		},
	}
	if c.AcceptClock {
		cfg.MaxClockGap = 1 << 62
	}
	l, err := ledger.Open(a.ctx, cfg)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	metrics.Watch(l, store.FreeBytes)
	s := api.New(api.Config{Ledger: l, Tenants: d.tenants, Logger: log, Metrics: metrics, MaxPayload: d.config.Limits.PayloadBytes, PublicTlog: d.config.PublicTlog, SCITTKey: d.scitt})
	var second *rekorServer
	if address := cmp.Or(c.RekorListen, d.config.Rekor.Listen); address != "" {
		if second, err = startRekor(a, d, address, cfg, metrics); err != nil {
			l.Close()
			return errors.Join(err, store.Close())
		}
	}
	err = c.serve(a, d, log, l, s, second)
	if second != nil {
		err = errors.Join(err, second.stop())
	}
	l.Close()
	return errors.Join(err, store.Close())
}

// serve answers requests until the context ends, then finishes those under way.
func (c *serveCmd) serve(a *app, d *dataDir, log *slog.Logger, l *ledger.Ledger, s *api.Server, second *rekorServer) error {
	address := d.config.Listen
	if c.Listen != "" {
		address = c.Listen
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	scheme := "http"
	if d.config.TLS.Cert != "" {
		scheme = "https"
	}
	p := l.Published()
	log.Info("the log is open", "origin", l.Origin(), "size", p.Size, "root", p.Root.Base64(), "tenants", len(d.tenants))
	log.Warn("rollback is not detectable: there is no witness and no anchor, so a restored backup would fork the log unseen")
	if err := l.Ready(); err != nil {
		log.Warn("appends are refused", "reason", err)
	}
	fmt.Fprintf(a.stdout, "listening on %s://%s\n", scheme, ln.Addr())

	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: s.Handler(), Protocols: &protocols, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	failed := make(chan error, 1)
	limited := netutil.LimitListener(ln, d.config.Limits.Connections)
	go func() {
		if scheme == "https" {
			failed <- srv.ServeTLS(limited, d.rel(d.config.TLS.Cert), d.rel(d.config.TLS.Key))
			return
		}
		failed <- srv.Serve(limited)
	}()
	var secondFailed chan error
	if second != nil {
		secondFailed = second.failed
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case err := <-secondFailed:
		return fmt.Errorf("serve the Rekor log: %w", err)
	case <-a.ctx.Done():
	}
	log.Info("shutting down: finishing the calls under way")
	s.Drain()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		log.Warn("some calls did not end in time; they are cut off", "after", shutdownTime)
		return srv.Close()
	}
	return nil
}

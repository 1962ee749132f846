package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/pebblestore"
	"muniment.dev/muniment/ledger/witness"
)

type serveCmd struct {
	Data              string `help:"Data folder, made by 'muniment init'." required:"" type:"path" env:"MUNIMENT_DATA"`
	Listen            string `help:"Address to listen on; port 0 takes a free one. Default: from muniment.yaml." placeholder:"HOST:PORT" env:"MUNIMENT_LISTEN"`
	HealthListen      string `help:"Also serve health checks and metrics on this address, which needs no connection of the others. Default: from muniment.yaml; without it they are on the address of the API alone." placeholder:"HOST:PORT" env:"MUNIMENT_HEALTH_LISTEN"`
	RekorListen       string `help:"Also serve the Rekor log, made by 'muniment init --rekor-origin', on this address. Default: from muniment.yaml; without it the log is off." placeholder:"HOST:PORT" env:"MUNIMENT_REKOR_LISTEN"`
	AcceptClock       bool   `help:"Append although the clock is far ahead of the last entry. Check that it is right first: times never decrease again."`
	AcceptUnconfirmed bool   `help:"Append although the witnesses have not confirmed that this is the latest state of the log. If it is not, the log forks, and is lost."`
	LogFormat         string `help:"text or json." enum:"text,json" default:"text"`
	LogLevel          string `help:"debug, info, warn or error. Default: from muniment.yaml, or info." enum:",debug,info,warn,error" default:""`
}

func (serveCmd) Help() string {
	return `The API, /tlog/, /healthz, /readyz and /metrics are all on one address; --health-listen serves the last three on an address of their own, too. On SIGTERM or SIGINT the appends under way are finished first.

Before it takes appends, the server has its checkpoint cosigned by the witnesses of its policy file, and compares it with its anchor files: so it notices
that the data folder is an old copy. While too few witnesses can be reached, it serves reads only; /readyz says so. It does the same, for good, if an
anchor or a witness has a newer checkpoint than the data folder.

Exit codes: 0 stopped by a signal; 1 a write failed; 2 could not start; 3 the log has forked, or was rolled back and can't be proven whole.

Examples:
  muniment serve --data ./data
  muniment serve --data ./data --listen 0.0.0.0:7480 --log-format json
  muniment serve --data ./data --rekor-listen 127.0.0.1:7481`
}

// shutdownTime is how long calls under way may take after a signal.
const shutdownTime = 30 * time.Second

// The collector runs less often than Go's default would have it, since most of
// what an append makes is gone when it is answered, until memory gets near a
// limit. The operator's GOGC and GOMEMLIMIT go before these.
const (
	gcPercent   = 300
	memoryLimit = 320 << 20 // of Go's heap; Pebble's caches lie beside it
)

func tuneMemory() { datadir.TuneMemoryTo(gcPercent, memoryLimit) }

func (c *serveCmd) Run(a *term.App) error {
	tuneMemory()
	log := a.ServiceLogger(c.LogFormat)
	d, reload, err := c.load(a, log)
	if err != nil {
		return err
	}
	if d.Replica != nil {
		return c.serveReplica(a, d, log, reload)
	}
	s := &logServer{cmd: c, app: a, dir: d, log: log, reload: reload, metrics: api.NewMetrics(a.Version)}
	err = s.open()
	if err == nil {
		err = s.serve()
		return errors.Join(err, s.close())
	}
	if err = errors.Join(err, s.close()); isRolledBack(err) {
		return c.serveRolledBack(a, d, log, reload, err)
	}
	return err
}

// load reads the data folder, and prepares what a reload changes.
func (c *serveCmd) load(a *term.App, log *slog.Logger) (*datadir.Dir, *reloader, error) {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return nil, nil, err
	}
	if err := datadir.Settle(c.Data); err != nil {
		return nil, nil, err
	}
	reload := &reloader{app: a, log: log, inForce: d, started: d.Config, cert: &certificate{}, withRekor: c.RekorListen != "" || d.Config.Rekor.Listen != "", health: cmp.Or(c.HealthListen, d.Config.HealthListen)}
	if err := limitConnections(d, reload.withRekor, reload.health != ""); err != nil {
		return nil, nil, err
	}
	reload.startLevel(c.LogLevel)
	return d, reload, reload.cert.load(d.Config.TLS, d.Rel, d.ClientCA)
}

// A logServer serves a log that takes appends, and its Rekor log.
type logServer struct {
	cmd     *serveCmd
	app     *term.App
	dir     *datadir.Dir
	log     *slog.Logger
	reload  *reloader
	metrics *api.Metrics
	store   *pebblestore.Store
	ledger  *ledger.Ledger
	watch   *watch
	closers []func() error // of what is open, in the order of opening
}

// close closes what is open, in the reverse order.
func (s *logServer) close() error {
	var err error
	for _, closer := range slices.Backward(s.closers) {
		err = errors.Join(err, closer())
	}
	s.closers = nil
	return err
}

func (s *logServer) onClose(closer func()) {
	s.closers = append(s.closers, func() error { closer(); return nil })
}

// closeLast closes a log file after everything else: calls that were cut off
// may still write to it.
func (s *logServer) closeLast(l *auditLog) {
	s.closers = slices.Insert(s.closers, 0, l.Close)
}

// open opens the log, and compares it with its anchors.
func (s *logServer) open() error {
	store, err := datadir.OpenStore(s.app.Ctx, s.dir.Path, s.dir.LogStore(), s.log)
	if err != nil {
		return refuseFork(err)
	}
	s.store, s.closers = store, append(s.closers, store.Close)
	policies, signers, err := s.dir.LoadPolicies()
	if err != nil {
		return err
	}
	cfg := s.ledgerConfig()
	cfg.Quorum = witness.Quorum(policies)
	if s.ledger, err = ledger.Open(s.app.Ctx, cfg); err != nil {
		return err
	}
	s.onClose(s.ledger.Close)
	if s.watch, err = s.cmd.startWatch(s.app, s.dir, s.ledger, s.log, policies, signers); err != nil {
		return err
	}
	s.onClose(s.watch.close)
	s.metrics.Watch(s.ledger, store.FreeBytes)
	s.metrics.WatchWitnesses(s.ledger, s.watch.collector, s.watch.anchors)
	return nil
}

// ledgerConfig returns the configuration of the log. The Rekor log replaces
// store, signers and observer.
func (s *logServer) ledgerConfig() ledger.Config {
	limits := s.dir.Config.Limits
	cfg := ledger.Config{
		Store: s.store, Signer: s.dir.Signer, Overlap: s.dir.Overlap, Logger: s.log, Observe: s.metrics.Observer(),
		MaxPendingEntries: limits.PendingEntries, ReserveBytes: limits.DiskReserveBytes,
		Fatal: func(err error) {
			s.log.Error("ending the process: restart it to reopen what is on disk", "err", err)
			os.Exit(term.ExitNo)
		},
	}
	if s.cmd.AcceptClock {
		cfg.MaxClockGap = 1 << 62
	}
	return cfg
}

// serve serves the log, and its Rekor log if that is on, until a signal.
func (s *logServer) serve() error {
	server, err := s.newAPI()
	if err != nil {
		return err
	}
	rekor, err := s.startRekor()
	if err != nil {
		return refuseFork(err)
	}
	s.reload.server, s.reload.ledgers = server, append(s.reload.ledgers, s.ledger)
	if rekor != nil {
		s.closers = append(s.closers, rekor.stop)
		s.reload.ledgers = append(s.reload.ledgers, rekor.ledger)
		s.reload.listeners = append(s.reload.listeners, rekor.accepted)
		s.reload.rekorCert = rekor.cert
	}
	return s.cmd.serve(s.app, s.dir, s.log, s.ledger, server, rekor, s.watch, s.reload)
}

// newAPI returns the server of the API, with its audit and access logs.
func (s *logServer) newAPI() (*api.Server, error) {
	audit, err := openAuditLog(s.dir, s.log, s.app.Stderr)
	if err != nil {
		return nil, err
	}
	s.closeLast(audit)
	for _, warning := range s.dir.Warnings {
		s.log.Warn(warning)
	}
	admission, err := datadir.NewAdmission(s.dir, s.ledger, s.log)
	if err != nil {
		return nil, err
	}
	access, err := openAccessLog(s.dir, s.app.Stderr)
	if err != nil {
		return nil, err
	}
	s.closeLast(access)
	traces, err := startTraces(s.app.Ctx, s.dir, s.app.Version, s.log)
	if err != nil {
		return nil, err
	}
	s.onClose(func() { stopTraces(traces, s.log) })
	s.reload.admission, s.reload.files = admission, append(audit.files, access.files...)
	return api.New(s.app.Ctx, api.Config{Ledger: s.ledger, Admission: admission, Settings: s.dir.Settings(), FreeBytes: s.store.FreeBytes, Version: s.app.Version, Logger: s.log, Audit: audit.logger, Metrics: s.metrics,
		SCITTKey: s.dir.SCITT, Access: access.logger, Traces: tracerProvider(traces)})
}

// startRekor serves the Rekor log, and returns nil if that is off.
func (s *logServer) startRekor() (*rekorServer, error) {
	address := cmp.Or(s.cmd.RekorListen, s.dir.Config.Rekor.Listen)
	if address == "" {
		return nil, nil
	}
	return startRekor(s.app, s.dir, address, s.ledgerConfig(), s.metrics)
}

// serve answers requests until the context ends, then finishes those under way.
// A replica has no watch, and only some logs have a Rekor log.
func (c *serveCmd) serve(a *term.App, d *datadir.Dir, log *slog.Logger, l *ledger.Ledger, s *api.Server, second *rekorServer, w *watch, reload *reloader) error {
	srv := &http.Server{
		Handler: s.Handler(), Protocols: allHTTP(), ErrorLog: HTTPErrors(log),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	first, err := listen(cmp.Or(c.Listen, d.Config.Listen), srv, d.Config.Limits.Connections, reload.cert, append(d.Config.Hosts, hostOf(d.Config.Origin))...)
	if err != nil {
		return err
	}
	reload.listeners = append(reload.listeners, first.accepted)
	if reload.health != "" {
		health, err := listenForHealth(a, d, log, s, reload)
		if err != nil {
			_, stopped := first.shutdown()
			return errors.Join(fmt.Errorf("--health-listen: %w", err), stopped)
		}
		// It serves until the calls under way have ended: its last answer is
		// that the server is shutting down.
		defer health.srv.Close()
	}
	p := l.Published()
	log.Info("the log is open", "origin", l.Origin(), "size", p.Size, "root", p.Root.Base64(), "tenants", len(d.Tenants))
	if err := l.Ready(); err != nil {
		log.Warn("appends are refused", "reason", err)
	}
	fmt.Fprintf(a.Stdout, "listening on %s\n", first.url)
	if err := waitForEnd(a.Ctx, l, first, second, w, reload); err != nil {
		return err
	}
	log.Info("shutting down: finishing the calls under way")
	s.Drain()
	cut, err := first.shutdown()
	if cut {
		log.Warn("some calls did not end in time and were cut off", "after", shutdownTime)
	}
	return err
}

// waitForEnd reloads on request, and asks the witnesses to confirm the log. It
// returns nil when the context ends, or the error that ended a listener or the
// log.
func waitForEnd(ctx context.Context, l *ledger.Ledger, first *listener, second *rekorServer, w *watch, reload *reloader) error {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { reload.follow(ctx) })
	refused := make(chan error, 1)
	if w != nil {
		running.Go(func() {
			if err := w.confirm(ctx, l); err != nil && !w.heldBack(l, err) {
				refused <- err
			}
		})
	}
	var secondFailed chan error
	if second != nil {
		secondFailed = second.failed
	}
	select {
	case err := <-first.failed:
		return fmt.Errorf("serve: %w", err)
	case err := <-refused:
		return errors.Join(err, first.srv.Close())
	case err := <-secondFailed:
		return fmt.Errorf("serve the Rekor log: %w", err)
	case <-ctx.Done():
		return nil
	}
}

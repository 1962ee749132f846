package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/notify"
	"muniment.dev/muniment/api/portal"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/offload"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/witness"
)

type serveCmd struct {
	Data              string         `help:"Data folder, made by 'muniment init'." required:"" type:"path" env:"MUNIMENT_DATA"`
	Listen            string         `help:"Address to listen on. Port 0 takes a free one. Default: listen in muniment.yaml." placeholder:"HOST:PORT" env:"MUNIMENT_LISTEN"`
	HealthListen      string         `help:"Also serve health checks and metrics on this address, which has connections of its own. Default: health_listen in muniment.yaml. Without either they are served on the address of the API only." placeholder:"HOST:PORT" env:"MUNIMENT_HEALTH_LISTEN"`
	RekorListen       string         `help:"Also serve the Rekor log, made by 'muniment init --rekor-origin', on this address. Default: rekor.listen in muniment.yaml. Without either the log is off." placeholder:"HOST:PORT" env:"MUNIMENT_REKOR_LISTEN"`
	TLSCert           string         `help:"Certificate in PEM to serve HTTPS with. Default: tls.cert in muniment.yaml. The server reads changed files again." placeholder:"FILE" type:"path" and:"tls" env:"MUNIMENT_TLS_CERT"`
	TLSKey            string         `help:"Key of the certificate, in PEM. Default: tls.key in muniment.yaml." placeholder:"FILE" type:"path" and:"tls" env:"MUNIMENT_TLS_KEY"`
	Advertise         string         `help:"URL of this server in servers.urls of muniment.yaml. Default: the one with the address that the server listens on." placeholder:"URL" env:"MUNIMENT_ADVERTISE"`
	ShutdownDelay     *time.Duration `help:"How long to go on answering calls after a signal, while /readyz reports that the server is shutting down, so that balancers send their calls elsewhere. Default: 1s with several servers, and otherwise 0s." placeholder:"DURATION" env:"MUNIMENT_SHUTDOWN_DELAY"`
	AcceptClock       bool           `help:"Accept appends although the clock is far ahead of the last entry. Check the clock first: the times of entries never decrease."`
	AcceptUnconfirmed bool           `help:"Accept appends although the witnesses have not confirmed that this is the latest state of the log. If it is not, the log forks and is lost."`
	followFlags
	LogFormat string `help:"text or json." enum:"text,json" default:"text"`
	LogLevel  string `help:"debug, info, warn or error. Default: log_level in muniment.yaml, or info." enum:",debug,info,warn,error" default:""`
}

func (serveCmd) Help() string {
	return `The API, /tlog/, /healthz, /readyz, /metrics and /caches/ are served on one address. --health-listen also serves the last four on an address of their own.
On SIGTERM or SIGINT the server finishes the calls under way. Before that, it gives up the lease of a log that it shares, reports on /readyz that it is
shutting down, and goes on answering for the time of --shutdown-delay.

Before it accepts appends, the server has its checkpoint cosigned by the witnesses in its policy file, and compares it with its anchor files. This detects
a data folder that is an old copy. While too few witnesses answer, the server is read-only, and /readyz reports that. If an anchor or a witness has a newer
checkpoint than the data folder, it stays read-only.

Exit codes: 0 stopped by a signal; 1 a write failed; 2 could not start; 3 the log has forked, or was rolled back and cannot be proven whole.

Examples:
  muniment serve --data ./data
  muniment serve --data ./data --listen 0.0.0.0:7480 --log-format json
  muniment serve --data ./data --rekor-listen 127.0.0.1:7481
  muniment serve --data ./data --listen 0.0.0.0:7480 --advertise https://ledger-0.example.com:7480`
}

const (
	// shutdownTime limits the calls under way when a server ends.
	shutdownTime = 30 * time.Second
	// maxShutdownDelay limits how long it answers calls after a signal.
	maxShutdownDelay = 10 * time.Minute
)

// Until the heap nears the limit, the collector runs less often than by
// default: most memory of an append is free once it is answered. The operator's
// GOGC and GOMEMLIMIT override these.
const (
	gcPercent   = 300
	memoryLimit = 256 << 20 // of Go's heap, without Pebble's caches
)

func tuneMemory() { datadir.TuneMemoryTo(gcPercent, memoryLimit) }

func (c *serveCmd) Run(a *term.App) error {
	if err := c.followFlags.check(); err != nil {
		return err
	}
	if c.ShutdownDelay != nil && (*c.ShutdownDelay < 0 || *c.ShutdownDelay > maxShutdownDelay) {
		return fmt.Errorf("--shutdown-delay: must be from 0s to %s", maxShutdownDelay)
	}
	tuneMemory()
	log := a.ServiceLogger(c.LogFormat)
	d, reload, err := c.load(a, log)
	if err != nil {
		return err
	}
	if d.Replica != nil {
		return c.serveReplica(a, d, log, reload)
	}
	if c.Follow != "" {
		return errors.New("--follow: a log follows no server: only a replica does, which 'muniment replica init' makes")
	}
	s := &logServer{cmd: c, app: a, dir: d, log: log, reload: reload, metrics: api.NewMetrics(a.Version)}
	defer func() { _ = s.close() }() // after a panic; otherwise it is closed already
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

// load reads the data folder and prepares the parts that a reload replaces.
func (c *serveCmd) load(a *term.App, log *slog.Logger) (*datadir.Dir, *reloader, error) {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return nil, nil, err
	}
	if err := datadir.Settle(c.Data); err != nil {
		return nil, nil, err
	}
	c.useTLS(d)
	reload := &reloader{app: a, log: log, inForce: d, started: d.Config, cert: &certificate{}, useTLS: c.useTLS, withRekor: c.RekorListen != "" || d.Config.Rekor.Listen != "", health: cmp.Or(c.HealthListen, d.Config.HealthListen)}
	if err := limitConnections(d, reload.withRekor, reload.health != ""); err != nil {
		return nil, nil, err
	}
	reload.startLevel(c.LogLevel)
	return d, reload, reload.cert.load(d.Config.TLS, d.Rel, d.ClientCA)
}

// useTLS makes the flags override the configuration.
func (c *serveCmd) useTLS(d *datadir.Dir) {
	if c.TLSCert != "" {
		d.Config.TLS.Cert, d.Config.TLS.Key = c.TLSCert, c.TLSKey
	}
}

// A logServer serves a log that takes appends, and its Rekor log.
type logServer struct {
	cmd     *serveCmd
	app     *term.App
	dir     *datadir.Dir
	log     *slog.Logger
	reload  *reloader
	metrics *api.Metrics
	store   store.Store
	policy  *receipt.TrustPolicy
	ledger  *ledger.Ledger
	watch   *watch
	cluster cluster
	copier  *offload.Copier // nil: there is no bucket for tiles
	ahead   time.Duration   // of the clock; see testClock
	closers []func() error  // in the order of opening
}

func (s *logServer) clock() offsetClock { return offsetClock{ledger.SystemClock(), s.ahead} }

// close closes all parts in the reverse order of opening.
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

// closeLast makes close close a log file after everything else: calls that were
// cut off may still write to it.
func (s *logServer) closeLast(l *auditLog) {
	s.closers = slices.Insert(s.closers, 0, l.Close)
}

// open opens the log, compares it with its anchors and begins to ask its
// witnesses.
func (s *logServer) open() error {
	var err error
	if s.ahead, err = clockOffset(); err != nil {
		return err
	}
	opened, err := datadir.OpenStore(s.app.Ctx, s.dir.Path, s.dir.LogStore(), s.log)
	if err != nil {
		return refuseFork(err)
	}
	s.store, s.closers = opened, append(s.closers, opened.Close)
	if err := s.openSharing(); err != nil {
		return err
	}
	if err := s.openCluster(); err != nil {
		return err
	}
	policies, signers, err := s.dir.LoadPolicies()
	if err != nil {
		return err
	}
	cfg := s.ledgerConfig()
	cfg.Quorum, s.policy = witness.Quorum(policies), policies[0]
	if s.ledger, err = ledger.Open(s.app.Ctx, cfg); err != nil {
		return err
	}
	s.onClose(s.ledger.Close)
	if s.watch, err = s.cmd.startWatch(s.app, s.dir, s.ledger, s.log, policies, signers, s.cluster.idle); err != nil {
		return err
	}
	s.onClose(s.watch.close)
	s.metrics.Watch(s.ledger, opened.FreeBytes)
	s.metrics.WatchWitnesses(s.ledger, s.watch.collector, s.watch.anchors)
	return nil
}

// followEvery is the interval at which a database is asked for the commits of
// other servers.
const followEvery = 200 * time.Millisecond

// ledgerConfig returns the configuration of the log. For the Rekor log, store,
// signers and observer are replaced.
func (s *logServer) ledgerConfig() ledger.Config {
	limits := s.dir.Config.Limits
	cfg := ledger.Config{
		Store: s.store, Signer: s.dir.Signer, Overlap: s.dir.Overlap, Logger: s.log, Observe: s.metrics.Observer(),
		MaxPendingEntries: limits.PendingEntries, ReserveBytes: limits.DiskReserveBytes,
		Governs: ingest.Governs, EntryCache: ledger.DefaultEntryCache,
		Fatal: func(err error) {
			s.log.Error("ending the process: restart it to reopen what is on disk", "err", err)
			os.Exit(term.ExitNo)
		},
	}
	if s.dir.Config.Store != "" {
		cfg.FollowEvery = followEvery
	}
	if s.ahead != 0 {
		cfg.Clock = s.clock()
	}
	if s.cmd.AcceptClock {
		cfg.MaxClockGap = 1 << 62
	}
	return cfg
}

// serve serves the log, and the Rekor log if it is on, until a signal.
func (s *logServer) serve() error {
	if err := s.openCopy(); err != nil {
		return err
	}
	server, err := s.newAPI()
	if err != nil {
		return err
	}
	s.runCopy(server)
	rekor, err := s.startRekor()
	if err != nil {
		return refuseFork(err)
	}
	if s.ledger.Shared() {
		s.reload.cluster = &s.cluster
	}
	s.reload.deliveries, _ = s.store.(store.Deliveries)
	s.reload.server, s.reload.ledgers = server, append(s.reload.ledgers, s.ledger)
	if rekor != nil {
		s.closers = append(s.closers, rekor.stop)
		s.reload.ledgers = append(s.reload.ledgers, rekor.ledger)
		s.reload.listeners = append(s.reload.listeners, rekor.server.Connections)
		s.reload.rekorCert = rekor.cert
	}
	return s.cmd.serve(s.app, s.dir, s.log, s.ledger, server, rekor, s.watch, s.reload)
}

// newAPI makes the API, with its audit log, access log and traces.
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
	traces, stopTraces, err := startTraces(s.app.Ctx, s.dir, s.app.Version, s.log)
	if err != nil {
		return nil, err
	}
	s.onClose(stopTraces)
	cluster, err := s.apiCluster()
	if err != nil {
		return nil, err
	}
	s.reload.admission, s.reload.files = admission, append(audit.files, access.files...)
	var tiles ledger.TileSource
	if s.copier != nil {
		tiles = s.copier
	}
	return api.New(s.app.Ctx, api.Config{Ledger: s.ledger, Tiles: tiles, Admission: admission, Settings: s.dir.Settings(), Portal: s.dir.Portal(), FreeBytes: s.store.FreeBytes, Version: s.app.Version, Logger: s.log, Audit: audit.logger, Metrics: s.metrics,
		Now: s.clock().time, Cluster: cluster, SCITTKey: s.dir.SCITT, GateKey: s.dir.Gate, Policy: s.policy, Access: access.logger, Traces: traces})
}

// startRekor serves the Rekor log, or returns nil if it is off.
func (s *logServer) startRekor() (*rekorServer, error) {
	address := cmp.Or(s.cmd.RekorListen, s.dir.Config.Rekor.Listen)
	if address == "" {
		return nil, nil
	}
	return startRekor(s.app, s.dir, address, s.ledgerConfig(), s.metrics)
}

// serve answers requests until the context ends, then finishes those under way.
// The watch is nil for logs that take no appends, and second is nil without a
// Rekor log.
func (c *serveCmd) serve(a *term.App, d *datadir.Dir, log *slog.Logger, l *ledger.Ledger, s *api.Server, second *rekorServer, w *watch, reload *reloader) error {
	site := sites["api"]
	site.Handler, site.Hosts, site.TLS, site.Errors = s.Handler(), append(d.Config.Hosts, hostOf(d.Config.Origin)), reload.cert.source(), HTTPErrors(log)
	site.Connections = d.Config.Limits.Connections
	first, err := edge.Listen(cmp.Or(c.Listen, d.Config.Listen), site)
	if err != nil {
		return err
	}
	if err := setPortalURL(d, s, first.URL); err != nil {
		return errors.Join(err, first.Close())
	}
	reload.listeners = append(reload.listeners, first.Connections)
	if reload.health != "" {
		health := reload.early
		if health == nil {
			if health, err = listenForHealth(a, d, log, reload); err != nil {
				_, stopped := first.Shutdown(shutdownTime)
				return errors.Join(err, stopped)
			}
		}
		health.setHandler(s.HealthHandler())
		// It is closed last: until then it reports that the server is shutting
		// down.
		defer health.Close()
	}
	p := l.Published()
	log.Info("the log is open", "origin", l.Origin(), "size", p.Size, "root", p.Root.Base64(), "tenants", len(d.Tenants))
	if err := l.Ready(); err != nil {
		log.Warn("appends are refused", "reason", err)
	}
	a.Listening("api", "listening on", first.URL)
	if d.Config.Portal.Enabled {
		a.Listening("portal", "portal at", strings.TrimSuffix(cmp.Or(d.Config.Portal.URL, first.URL), "/")+portal.Path)
	}
	if err := c.waitForEnd(a.Ctx, l, first, second, w, reload); err != nil {
		return err
	}
	log.Info("shutting down: finishing the calls under way")
	s.Drain()
	cut, err := first.Shutdown(shutdownTime)
	if cut {
		log.Warn("some calls did not end in time and were cut off", "after", shutdownTime)
	}
	return err
}

// setPortalURL sets the address that people are sent back to after a sign-in
// with a provider. The address of a listener will do if it is one of this
// machine. Otherwise it can differ from the name that browsers use, which the
// certificate and the provider name.
func setPortalURL(d *datadir.Dir, s *api.Server, listening string) error {
	u, err := url.Parse(listening)
	if err != nil {
		return err
	}
	ip := net.ParseIP(u.Hostname())
	if d.Config.Portal.URL == "" && (ip == nil || !ip.IsLoopback()) {
		if d.Config.Portal.Enabled && d.SignsIn() {
			return errors.New("portal.url: missing: set it to the address of this server in browsers, to which providers send people back")
		}
		return nil
	}
	return s.SetPortalURL(listening)
}

// waitForEnd reloads on request, and waits for the witnesses to confirm the
// log. It returns nil when the server was announced to end after the end of the
// context, or the error that ended a listener or contradicts the log.
func (c *serveCmd) waitForEnd(ctx context.Context, l *ledger.Ledger, first *edge.Server, second *rekorServer, w *watch, reload *reloader) error {
	signal := ctx.Done()
	// What follows other servers goes on while calls are answered.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		defer crash.Report()
		reload.follow(ctx)
	})
	running.Go(func() {
		defer crash.Report()
		reload.server.WatchCoverage(ctx)
	})
	if reload.cluster != nil {
		running.Go(func() {
			defer crash.Report()
			reload.cluster.run(ctx, reload.server)
		})
	}
	refused := make(chan error, 2)
	if reload.admission != nil { // a replica reports nothing
		running.Go(func() {
			defer crash.Report()
			// A signal also interrupts the reading of the state.
			deliveries, err := reload.openDeliveries()
			if err == nil {
				reload.server.Webhooks(ctx, deliveries)
			} else if interrupt.Err() == nil {
				refused <- err
			}
		})
	}
	if w != nil {
		running.Go(func() {
			defer crash.Report()
			if err := w.confirm(ctx, l); err != nil && !w.heldBack(l, err) {
				refused <- err
			}
		})
	}
	var secondFailed chan error
	if second != nil {
		secondFailed = second.server.Failed
	}
	var ended <-chan time.Time
	for {
		select {
		case err := <-first.Failed:
			return fmt.Errorf("serve: %w", err)
		case err := <-refused:
			return errors.Join(err, first.Close())
		case err := <-secondFailed:
			return fmt.Errorf("serve the Rekor log: %w", err)
		case <-signal:
			delay := c.leave(reload)
			if delay == 0 {
				return nil
			}
			signal, ended = nil, time.After(delay)
		case <-ended:
			return nil
		}
	}
}

// openDeliveries opens what the server remembers of deliveries to webhooks.
func (r *reloader) openDeliveries() (notify.Deliveries, error) {
	file, err := notify.OpenFile(filepath.Join(r.inForce.Path, datadir.WebhookState))
	if err != nil || r.deliveries == nil {
		return file, err
	}
	return notify.NewShared(r.deliveries, file), nil
}

// leaveTime is the default time between a signal and the end of a server of
// several: long enough for another one to take the lease, and for the others to
// see that.
const leaveTime = time.Second

// leave announces the end of the server, and returns how long it is to go on
// answering calls.
func (c *serveCmd) leave(reload *reloader) time.Duration {
	delay := time.Duration(0)
	if reload.cluster.resign() {
		delay = leaveTime
	}
	if c.ShutdownDelay != nil {
		delay = *c.ShutdownDelay
	}
	if reload.server.Leave(); delay > 0 {
		reload.log.Info("shutting down: calls are still answered, so that they can be sent elsewhere", "for", delay)
	}
	return delay
}

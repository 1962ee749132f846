package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/ledger"
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
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if err := datadir.Settle(c.Data); err != nil {
		return err
	}
	reload := &reloader{app: a, log: log, inForce: d, started: d.Config, cert: &certificate{}, withRekor: c.RekorListen != "" || d.Config.Rekor.Listen != "", health: cmp.Or(c.HealthListen, d.Config.HealthListen)}
	if err := limitConnections(d, reload.withRekor, reload.health != ""); err != nil {
		return err
	}
	reload.startLevel(c.LogLevel)
	if err := reload.cert.load(d.Config.TLS, d.Rel, d.ClientCA); err != nil {
		return err
	}
	if d.Replica != nil {
		return c.serveReplica(a, d, log, reload)
	}
	store, err := datadir.OpenStore(a.Ctx, c.Data, d.LogStore(), log)
	if isRolledBack(err) {
		return c.serveRolledBack(a, d, log, reload, err)
	}
	if err != nil {
		return refuseFork(err)
	}
	policies, signers, err := d.LoadPolicies()
	if err != nil {
		return errors.Join(err, store.Close())
	}
	metrics := api.NewMetrics(a.Version)
	cfg := ledger.Config{
		Store: store, Signer: d.Signer, Overlap: d.Overlap, Logger: log, Observe: metrics.Observer(),
		MaxPendingEntries: d.Config.Limits.PendingEntries, ReserveBytes: d.Config.Limits.DiskReserveBytes,
		Fatal: func(err error) {
			log.Error("ending the process: restart it to reopen what is on disk", "err", err)
			os.Exit(term.ExitNo)
		},
	}
	if c.AcceptClock {
		cfg.MaxClockGap = 1 << 62
	}
	own := cfg
	own.Quorum = witness.Quorum(policies)
	l, err := ledger.Open(a.Ctx, own)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	w, err := c.startWatch(a, d, l, log, policies, signers)
	if err != nil {
		l.Close()
		if err = errors.Join(err, store.Close()); isRolledBack(err) {
			return c.serveRolledBack(a, d, log, reload, err)
		}
		return err
	}
	metrics.Watch(l, store.FreeBytes)
	metrics.WatchWitnesses(l, w.collector, w.anchors)
	audit, err := openAuditLog(d, log, a.Stderr)
	if err != nil {
		w.close()
		l.Close()
		return errors.Join(err, store.Close())
	}
	defer audit.Close()
	for _, warning := range d.Warnings {
		log.Warn(warning)
	}
	admission, err := datadir.NewAdmission(d, l, log)
	if err != nil {
		w.close()
		l.Close()
		return errors.Join(err, store.Close())
	}
	access, err := openAccessLog(d, a.Stderr)
	if err != nil {
		w.close()
		l.Close()
		return errors.Join(err, store.Close())
	}
	defer access.Close()
	traces, err := startTraces(a.Ctx, d, a.Version, log)
	if err != nil {
		w.close()
		l.Close()
		return errors.Join(err, store.Close())
	}
	defer stopTraces(traces, log)
	s, err := api.New(a.Ctx, api.Config{Ledger: l, Admission: admission, Settings: d.Settings(), FreeBytes: store.FreeBytes, Version: a.Version, Logger: log, Audit: audit.logger, Metrics: metrics,
		SCITTKey: d.SCITT, Access: access.logger, Traces: tracerProvider(traces)})
	if err != nil {
		w.close()
		l.Close()
		return errors.Join(err, store.Close())
	}
	var second *rekorServer
	if address := cmp.Or(c.RekorListen, d.Config.Rekor.Listen); address != "" {
		if second, err = startRekor(a, d, address, cfg, metrics); err != nil {
			err = refuseFork(err)
			w.close()
			l.Close()
			return errors.Join(err, store.Close())
		}
	}
	reload.ledgers = append(reload.ledgers, l)
	if second != nil {
		reload.ledgers = append(reload.ledgers, second.ledger)
		reload.listeners = append(reload.listeners, second.accepted)
		reload.rekorCert = second.cert
	}
	reload.server, reload.admission, reload.files = s, admission, append(audit.files, access.files...)
	err = c.serve(a, d, log, l, s, second, w, reload)
	if second != nil {
		err = errors.Join(err, second.stop())
	}
	w.close()
	l.Close()
	return errors.Join(err, store.Close())
}

// serve answers requests until the context ends, then finishes those under way.
func (c *serveCmd) serve(a *term.App, d *datadir.Dir, log *slog.Logger, l *ledger.Ledger, s *api.Server, second *rekorServer, w *watch, reload *reloader) error {
	address := d.Config.Listen
	if c.Listen != "" {
		address = c.Listen
	}
	srv := &http.Server{
		Handler: s.Handler(), Protocols: new(http.Protocols), ErrorLog: HTTPErrors(log),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	first, err := listen(address, srv, d.Config.Limits.Connections, reload.cert, append(d.Config.Hosts, hostOf(d.Config.Origin))...)
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
	confirmed := make(chan error, 1)
	ctx, stop := context.WithCancel(a.Ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		reload.follow(ctx)
	}()
	defer func() {
		stop()
		<-followed
	}()
	go func() {
		if w == nil { // a replica
			return
		}
		if err := w.confirm(ctx, l); err != nil && !w.heldBack(l, err) {
			confirmed <- err
		}
	}()
	var secondFailed chan error
	if second != nil {
		secondFailed = second.failed
	}
	select {
	case err := <-first.failed:
		return fmt.Errorf("serve: %w", err)
	case err := <-confirmed:
		return errors.Join(err, srv.Close())
	case err := <-secondFailed:
		return fmt.Errorf("serve the Rekor log: %w", err)
	case <-a.Ctx.Done():
	}
	log.Info("shutting down: finishing the calls under way")
	s.Drain()
	cut, err := first.shutdown()
	if cut {
		log.Warn("some calls did not end in time; they were cut off", "after", shutdownTime)
	}
	return err
}

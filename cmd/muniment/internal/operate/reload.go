package operate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/store"
)

// A reloader applies a changed data folder while the server runs. It belongs to
// the goroutine that runs follow.
type reloader struct {
	app       *term.App
	log       *slog.Logger
	inForce   *datadir.Dir // as last applied
	started   datadir.Config
	pending   []string // settings whose change needs a restart
	server    *api.Server
	admission *ingest.Admission // nil in a replica
	cluster   *cluster          // nil: no other server shares the log
	sharing   *sharing          // nil: no other server shares the configuration
	// deliveries are what the servers of a log share of webhooks; nil: none
	deliveries store.Deliveries
	ledgers    []*ledger.Ledger // those that accept appends
	files      []*logFile       // to be reopened
	listeners  []*edge.Listener
	withRekor  bool               // whether a Rekor log is served
	health     string             // address of the health listener, or ""
	early      *healthListener    // if it was started before the server; otherwise nil
	cert       *certificate       // of the API
	rekorCert  *certificate       // of the Rekor log; nil without one
	useTLS     func(*datadir.Dir) // applies --tls-cert
	level      string             // from --log-level; "" for that of the configuration
	unlimited  string             // why the changed file of limits is not in force; "" if it is
}

// filesInterval is the time between two checks for replaced trusted roots and
// certificates.
const filesInterval = 2 * time.Second

// follow reloads on SIGHUP until the context ends. Replaced trusted roots,
// certificates and limits of tenants are applied without a signal. A folder
// that cannot be read changes nothing.
func (r *reloader) follow(ctx context.Context) {
	hup, stop := onReload()
	defer stop()
	tick := time.NewTicker(filesInterval)
	defer tick.Stop()
	var share <-chan time.Time
	if r.sharing != nil {
		shared := time.NewTicker(shareEvery)
		defer shared.Stop()
		share = shared.C
	}
	for last, lastTLS := r.inForce.RootsState(), r.tlsState(); ; {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			version, err := r.reload(ctx)
			r.report(version, err)
			last, lastTLS = r.inForce.RootsState(), r.tlsState()
		case <-share:
			r.followShared(ctx)
		case <-tick.C:
			if state := r.inForce.RootsState(); state != last && r.admission != nil {
				last = state
				r.reloadRoots()
			}
			if state := r.tlsState(); state != lastTLS {
				lastTLS = state
				r.reloadCertificate()
			}
			r.reloadLimits(ctx, r.server.Reload)
		}
	}
}

func (r *reloader) reloadRoots() {
	files, err := r.inForce.LoadRoots()
	if err != nil {
		r.log.Error("trusted roots not replaced", "err", err)
		return
	}
	r.admission.SetRoots(files)
	r.logRoots(files)
}

// tlsState returns a value that changes when the certificate, its key or the
// authorities of clients are replaced, as a renewal does.
func (r *reloader) tlsState() string {
	tls, paths := r.inForce.Config.TLS, []string(nil)
	for _, path := range []string{tls.Cert, tls.Key, tls.ClientCA} {
		if path != "" {
			paths = append(paths, r.inForce.Rel(path))
		}
	}
	return filesState(paths...)
}

// reloadCertificate applies a renewed certificate. While only one of its files
// is replaced, they do not match, and the old pair stays in force.
func (r *reloader) reloadCertificate() {
	d := r.inForce
	authorities, err := d.ReadClientCA()
	if err == nil {
		err = r.cert.load(d.Config.TLS, d.Rel, authorities)
	}
	if err != nil {
		r.log.Error("certificate not replaced", "err", err)
		return
	}
	if r.rekorCert != nil {
		if err := r.rekorCert.load(d.Config.TLS, d.Rel, nil); err != nil {
			r.log.Error("certificate not replaced", "err", err)
			return
		}
	}
	r.log.Info("certificate in force", "file", d.Config.TLS.Cert)
}

// reloadLimits applies the file of limits if it differs from what is in force,
// which is retried until it succeeds. Only another error is logged again.
func (r *reloader) reloadLimits(ctx context.Context, apply func(context.Context, api.Settings) error) {
	if !r.inForce.LimitsChanged() {
		r.unlimited = ""
		return
	}
	d, err := r.inForce.WithLimits()
	if err == nil {
		err = apply(ctx, d.Settings())
	}
	if err != nil {
		if text := err.Error(); text != r.unlimited {
			r.unlimited = text
			r.log.Error("limits of tenants not replaced; the previous ones stay in force", "err", err)
		}
		return
	}
	r.inForce, r.unlimited = d, ""
	r.log.Info("limits of tenants in force", "file", d.Config.Limits.File)
}

func (r *reloader) logRoots(files []*ingest.RootFile) {
	for _, f := range files {
		r.log.Info("trusted root in force", "root", f.Name, "digest", f.Trusted.Digest())
	}
}

// reload applies the data folder. If the servers of the log share their
// configuration, it publishes that of a changed folder, and returns the version
// that is in force.
func (r *reloader) reload(ctx context.Context) (version uint64, err error) {
	d, err := datadir.Load(r.inForce.Path)
	if err != nil {
		return 0, err
	}
	r.useTLS(d)
	if r.sharing == nil {
		return 0, r.apply(ctx, d)
	}
	p, err := r.sharing.settle(ctx, d)
	if err != nil {
		return 0, err
	}
	previous := r.inForce
	if err := r.apply(ctx, p.folder); err != nil {
		return 0, err
	}
	// What this server cannot apply is not published.
	if err := r.sharing.publish(ctx, p); err != nil {
		return 0, errors.Join(err, r.apply(ctx, previous))
	}
	r.sharing.inForce(p.folder, p.version, p.shared)
	return p.version, nil
}

// apply applies a folder. It reads everything before it changes anything.
func (r *reloader) apply(ctx context.Context, d *datadir.Dir) error {
	var err error
	if d.Config.Origin != r.inForce.Config.Origin || d.Config.Replica != r.inForce.Config.Replica {
		return errors.New("origin and replica cannot change: make another data folder")
	}
	var roots []*ingest.RootFile
	change := func() error { return nil }
	if r.admission != nil {
		if roots, err = d.LoadRoots(); err != nil {
			return err
		}
		fallback, err := d.LoadDefaultPolicy()
		if err != nil {
			return err
		}
		change = func() error { return r.admission.Set(roots, fallback) }
	}
	if err := limitConnections(d, r.withRekor, r.health != ""); err != nil {
		return err
	}
	cert, err := readTLS(d.Config.TLS, d.Rel, d.ClientCA)
	if err != nil {
		return err
	}
	rekorCert, err := readTLS(d.Config.TLS, d.Rel, nil)
	if err != nil {
		return err
	}
	if err := r.server.Reload(ctx, d.Settings()); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	r.cert.set(cert)
	if r.rekorCert != nil {
		r.rekorCert.set(rekorCert)
	}
	for _, l := range r.listeners {
		l.SetMax(d.Config.Limits.Connections)
	}
	for _, l := range r.ledgers {
		l.SetLimits(d.Config.Limits.PendingEntries, d.Config.Limits.DiskReserveBytes)
	}
	r.logRoots(roots)
	r.setLevel(d)
	for _, f := range r.files {
		if err := f.reopen(); err != nil {
			r.log.Error("log file not reopened: lines go to the old file", "err", err)
		}
	}
	if r.pending = needRestart(&r.started, &d.Config); len(r.pending) > 0 {
		r.log.Warn("a change of the configuration needs a restart", "settings", r.pending)
	}
	for _, warning := range d.Warnings {
		r.log.Warn(warning)
	}
	r.inForce = d
	return nil
}

// startLevel sets the level of the log. The flag overrides the configuration,
// also after a reload.
func (r *reloader) startLevel(flag string) {
	r.level = flag
	r.setLevel(r.inForce)
}

func (r *reloader) setLevel(d *datadir.Dir) {
	if level, err := datadir.ParseLevel(cmp.Or(r.level, d.Config.LogLevel)); err == nil {
		// both are valid
		r.app.Level.Set(level)
	}
}

// reloadable contains the settings of muniment.yaml that a reload applies. A
// change of the others needs a restart.
var reloadable = map[string]bool{
	"tenants": true, "operators": true, "identity": true, "default_policy": true, "trusted_roots": true, "log_level": true, "tls": true,
	"public_tlog": true, "limits": true, "metrics_by_tenant": true, "coverage_stage": true, "webhooks": true,
}

// needRestart returns the settings that differ between two configurations and
// that a reload does not apply.
func needRestart(was, is *datadir.Config) []string {
	var names []string
	a, b := reflect.ValueOf(*was), reflect.ValueOf(*is)
	for i := range a.NumField() {
		name := a.Type().Field(i).Tag.Get("yaml")
		if !reloadable[name] && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}

// A reloadOutcome is the content of the file in which the server reports to
// 'muniment reload'.
type reloadOutcome struct {
	Time          time.Time `json:"time"`
	Configuration string    `json:"configurationSha256"`     // of muniment.yaml
	Shared        uint64    `json:"sharedVersion,omitempty"` // of the configuration of all servers
	Error         string    `json:"error,omitempty"`
	Tenants       int       `json:"tenants"`               // including suspended ones
	Suspended     int       `json:"suspended,omitempty"`   // tenants
	NeedRestart   []string  `json:"needRestart,omitempty"` // settings
}

// Text implements term.Result.
func (o *reloadOutcome) Text() string {
	text := fmt.Sprintf("Reloaded: %s in force", term.Count(o.Tenants-o.Suspended, "tenant"))
	if o.Suspended > 0 {
		text += fmt.Sprintf(", %d suspended", o.Suspended)
	}
	text += ".\n"
	if o.Shared > 0 {
		text += fmt.Sprintf("Version %d of the configuration of all servers.\n", o.Shared)
	}
	if len(o.NeedRestart) > 0 {
		text += fmt.Sprintf("Changed, and in force after a restart: %s.\n", strings.Join(o.NeedRestart, ", "))
	}
	return text
}

const reloadFile = "reload.json"

// report logs the outcome of a reload and leaves it in the data folder.
func (r *reloader) report(version uint64, err error) {
	o := reloadOutcome{Time: time.Now().UTC(), Shared: version, Configuration: datadir.ConfigDigest(r.inForce.Path), Tenants: len(r.inForce.Tenants), NeedRestart: r.pending}
	for _, t := range r.inForce.Tenants {
		if t.Suspended {
			o.Suspended++
		}
	}
	if err != nil {
		o.Error = plain.FileErrors(err)
		r.log.Error("configuration not reloaded; the old one stays in force", "err", err)
	} else {
		r.log.Info("configuration reloaded", "tenants", o.Tenants, "configuration_sha256", o.Configuration)
	}
	line, err := json.Marshal(o)
	if err == nil {
		err = wholefile.ReplaceOwnedPath(filepath.Join(r.inForce.Path, reloadFile), append(line, '\n'), 0o600)
	}
	if err != nil {
		r.log.Warn("outcome of the reload not written", "err", err)
	}
}

type reloadCmd struct {
	Data    string        `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	BasedOn *uint64       `help:"The folder has the settings of this version of the shared configuration. The next one is published if this is still the newest." placeholder:"VERSION"`
	Timeout time.Duration `help:"How long to wait for the server." default:"30s"`
	term.ResultFlags
}

func (reloadCmd) Help() string {
	return `Checks muniment.yaml, asks the folder's running server to read it again (SIGHUP), and waits for the outcome. Tenants, operators, issuers, limits, the
default policy, trusted roots, TLS certificates, public_tlog and the log level change without a restart. The server logs a warning for a change that needs
one. It reopens its log files, so that they can be rotated. If there is an error, the old configuration stays in force.

With servers that share a store, the changed configuration becomes a new version of the one that all of them have. If another server has published a version
since, the change is refused. With --based-on it is published nevertheless.

Exit code: 0 in force; 1 no server is running; 2 refused, or no answer.

Example:
  muniment tenant add globex --data ./data && muniment reload --data ./data`
}

func (c *reloadCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if d.Replica == nil {
		_, err = d.LoadRoots()
		if _, policyErr := d.LoadDefaultPolicy(); err != nil || policyErr != nil {
			return cmp.Or(err, policyErr)
		}
	}
	pid, err := lockHolder(filepath.Join(c.Data, datadir.StoreDir, "LOCK"))
	if err != nil {
		return err
	}
	if pid == 0 {
		return term.ExitWith(term.ExitNo, fmt.Errorf("no server is running on %s: the configuration is read when one starts", c.Data))
	}
	if c.BasedOn != nil {
		if d.Config.Store == "" {
			return errNotShared
		}
		if err := datadir.WriteSharedBase(c.Data, datadir.SharedVersion{Version: *c.BasedOn}); err != nil {
			return err
		}
	}
	path := filepath.Join(c.Data, reloadFile)
	before, _ := bounded.ReadFile(path, bounded.Config) // it may not exist
	if err := askToReload(pid); err != nil {
		return fmt.Errorf("signal the server, process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(a.Ctx, c.Timeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server, process %d, has not reloaded within %s: see its log for the reason", pid, c.Timeout)
		case <-tick.C:
		}
		after, err := bounded.ReadFile(path, bounded.Config)
		var o reloadOutcome
		if err != nil || string(after) == string(before) || json.Unmarshal(after, &o) != nil {
			continue
		}
		if o.Error != "" {
			return fmt.Errorf("the server refused the configuration, and the old one stays in force: %s", o.Error)
		}
		return c.Print(a, &o)
	}
}

// A logFile is a file of log lines that can be reopened after it was renamed.
type logFile struct {
	path string
	file atomic.Pointer[os.File]
}

func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.reopen()
}

func (l *logFile) reopen() error {
	f, err := owner.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	// A writer may still use the old file. The collector closes it.
	l.file.Store(f)
	return nil
}

func (l *logFile) Write(p []byte) (int, error) { return l.file.Load().Write(p) }

func (l *logFile) Close() error { return l.file.Load().Close() }

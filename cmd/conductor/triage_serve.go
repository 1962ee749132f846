package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/otel/trace"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/inputs"
	"muniment.dev/muniment/conductor/triage/intake"
	"muniment.dev/muniment/conductor/triage/route"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/telemetry"
	"muniment.dev/muniment/internal/term"
)

type serveCmd struct {
	configFlags
	Connectors string `help:"Connectors, which reach the targets." default:"connectors.yaml" type:"path" predictor:"file" placeholder:"FILE"`
	Senders    string `help:"Names of the senders of alerts with their tokens, as YAML. Other users must not be able to read it." default:"senders.yaml" type:"path" predictor:"file" placeholder:"FILE"`
	Operator   string `name:"operator-token-file" help:"File with the token of operators, who may read the state with conductor triage explain. It has at least 16 characters, or is sha256: and its SHA-256. Default: no one may." type:"path" predictor:"file" placeholder:"FILE"`
	Inputs     string `help:"Definition of the signals in messages of OpenTelemetry and in JSON documents. Default: only webhooks of Alertmanager are accepted." type:"path" predictor:"file" placeholder:"FILE"`
	State      string `help:"Folder of the state. One process has it open at a time." default:"state" type:"path" placeholder:"DIR"`

	Listen  string `help:"Address that receives alerts. Port 0 takes a free one. Other addresses than those of this machine require TLS." default:"127.0.0.1:9482" placeholder:"HOST:PORT"`
	TLSCert string `name:"tls-cert" help:"Certificate of the listener, in PEM." placeholder:"FILE" predictor:"file" type:"path"`
	TLSKey  string `name:"tls-key" help:"Key of the certificate, in PEM." placeholder:"FILE" predictor:"file" type:"path"`

	Server    string `help:"URL of the ledger." required:"" placeholder:"URL" env:"MUNIMENT_SERVER"`
	Tenant    string `help:"Tenant of the ledger. Default: that of the token." env:"MUNIMENT_TENANT"`
	TokenFile string `help:"File with the token for the ledger. The token itself can be given in MUNIMENT_TOKEN." placeholder:"FILE" env:"MUNIMENT_TOKEN_FILE" predictor:"file" type:"path"`
	ReadToken string `name:"read-token-file" help:"File with a token of the role reader, with which the requests of persons are read: approvals, undo, the kill switch. Without it none is applied." placeholder:"FILE" env:"MUNIMENT_READ_TOKEN_FILE" predictor:"file" type:"path"`
	Policy    string `help:"Trust policy that receipts of the ledger are verified against." required:"" placeholder:"FILE" env:"MUNIMENT_POLICY" predictor:"file" type:"path"`
	CA        string `name:"ca" help:"Certificates of the authorities to verify the ledger's certificate with, in PEM. Default: the system's." placeholder:"FILE" env:"MUNIMENT_CA" predictor:"file" type:"path"`
	Key       string `help:"Private key in PEM (Ed25519) that signs the entries that wait for the ledger. Default: executor.key in the folder of the state, which is created." placeholder:"FILE" predictor:"file" type:"path"`
	DryRun    bool   `help:"Plan the steps against new incidents, and log them: nothing is changed or recorded."`
	Standby   bool   `help:"Take no step without the ledger: another executor does."`
	Takeover  string `name:"takeover-key-file" help:"File with a key of 64 hexadecimal digits that this executor shares with another one. Each takes over the incidents that the other one has left. Requires --read-token-file." placeholder:"FILE" predictor:"file" type:"path"`
	Name      string `help:"Name of this executor in entries, before @ and the name of the host." default:"conductor"`

	Traces       string  `help:"Send traces of each decision to this OpenTelemetry collector, by OTLP over HTTP. Its headers are those in OTEL_EXPORTER_OTLP_HEADERS." placeholder:"URL"`
	TracesSample float64 `help:"Share of the decisions to trace, from 0 to 1." default:"1" placeholder:"SHARE"`
	LogFormat    string  `help:"text or json." enum:"text,json" default:"text"`
}

func (serveCmd) Help() string {
	return `Receives alerts over HTTP, correlates and classifies them by the catalogue, and takes the steps of the playbooks. Each step is recorded in the ledger before it
is taken, and undone when the alerts have been resolved for a minute. An alert is acknowledged once it is stored, so none is lost when the process ends.

  POST /alertmanager              webhook of Alertmanager, version 4
  POST /v1/logs, /v1/traces       OTLP over HTTP, in protobuf or JSON; OTLP over gRPC on the same port
  POST /json/NAME                 JSON documents with the mapping NAME
  GET /healthz, /readyz           the process runs; it accepts alerts
  GET /metrics                    for callers on this machine, and for senders
  GET /explain                    the state, for conductor triage explain with the token of operators

SIGHUP loads the files again, all or none of them. They must keep what incidents need that are not closed, also at the start: types, actions and connectors.
--state, --listen and the flags of the ledger need a restart.

Exit code: 0 stopped by a signal; 2 could not start, or the state cannot be written.

Examples:
  conductor triage serve --server https://ledger.example --token-file ledger.token --policy ledger.policy
  conductor triage serve --server https://ledger.example --token-file ledger.token --policy ledger.policy \
    --listen 0.0.0.0:9482 --tls-cert tls.crt --tls-key tls.key --state /var/lib/triage --log-format json`
}

// A triageServer is a running process.
type triageServer struct {
	*serveCmd
	app     *term.App
	log     *slog.Logger
	metrics *route.Metrics
	cert    atomic.Pointer[tls.Config]
	router  *route.Router
	intake  *intake.Intake
	reads   atomic.Pointer[intake.Operator] // who may read the state; nil: no one
	poller  *execute.Poller                 // nil: no requests are read
	watcher *execute.Watcher                // nil: the entries are not read
	ready   atomic.Bool
}

// Limits of the listener.
const (
	triageConnections = 256
	triageHeader      = 16 << 10
	shutdownTime      = 10 * time.Second
)

func (c *serveCmd) Run(a *term.App) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	s := &triageServer{serveCmd: c, app: a, log: a.ServiceLogger(c.LogFormat), metrics: route.NewMetrics(a.Version)}
	files, err := s.load()
	if err != nil {
		return err
	}
	s.cert.Store(files.tls)
	s.reads.Store(files.reads)
	traces, stop, err := c.startTraces(a, s.log)
	if err != nil {
		return err
	}
	defer stop()
	store, err := c.open(files, traces, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.router.Close(), store.Close()) }()
	return s.serve()
}

func (c *serveCmd) check() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return errors.New("--listen: must be HOST:PORT, or :PORT for 127.0.0.1")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	c.Listen = net.JoinHostPort(host, port)
	ip, err := netip.ParseAddr(host)
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("--tls-cert, --tls-key: must be given together")
	case c.TLSCert == "" && host != "localhost" && (err != nil || !ip.Unmap().IsLoopback()):
		return fmt.Errorf("--listen: %s is not an address of this machine only, and tokens would be sent in plain text: add --tls-cert and --tls-key", host)
	case !(c.TracesSample >= 0 && c.TracesSample <= 1):
		return errors.New("--traces-sample: must be from 0 to 1")
	case c.Takeover != "" && c.ReadToken == "":
		return errors.New("--takeover-key-file: requires --read-token-file, with which the entries of the other executor are read")
	case c.Name == "" || len(c.Name) > 64:
		return errors.New("--name: must have 1 to 64 bytes")
	}
	return nil
}

// triageFiles is what the files contain that are loaded again.
type triageFiles struct {
	config  *triage.Config
	senders *intake.Senders
	inputs  *inputs.Inputs   // nil: none
	reads   *intake.Operator // nil: none
	tls     *tls.Config      // nil: plain HTTP
}

// load reads the files.
func (s *triageServer) load() (*triageFiles, error) {
	config, err := s.configFlags.load()
	if err != nil {
		return nil, err
	}
	if err := readConnectors(config, s.Connectors); err != nil {
		return nil, err
	}
	files := &triageFiles{config: config}
	text, err := bounded.ReadSecret(s.Senders)
	if err != nil {
		return nil, fmt.Errorf("--senders: %w", err)
	}
	if files.senders, err = intake.ParseSenders(text); err != nil {
		return nil, fmt.Errorf("%s:\n%w", s.Senders, err)
	}
	if s.Operator != "" {
		if text, err = bounded.ReadSecret(s.Operator); err != nil {
			return nil, fmt.Errorf("--operator-token-file: %w", err)
		}
		if files.reads, err = intake.ParseOperator(text); err != nil {
			return nil, fmt.Errorf("--operator-token-file: %s: %w", s.Operator, err)
		}
	}
	if s.Inputs != "" {
		if text, err = bounded.ReadFile(s.Inputs, bounded.Config); err != nil {
			return nil, fmt.Errorf("--inputs: %w", err)
		}
		if files.inputs, err = inputs.Parse(text); err != nil {
			return nil, fmt.Errorf("%s:\n%w", s.Inputs, err)
		}
	}
	files.tls, err = s.certificate()
	return files, err
}

// certificate returns the configuration of TLS, or nil without a certificate.
func (c *serveCmd) certificate() (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	cert, err := bounded.ReadFile(c.TLSCert, maxCertificates)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	key, err := bounded.ReadSecret(c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-key: %w", err)
	}
	pair, err := pemfile.KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}, nil
}

func (c *serveCmd) startTraces(a *term.App, log *slog.Logger) (trace.TracerProvider, func(), error) {
	if c.Traces == "" {
		return nil, func() {}, nil
	}
	if err := telemetry.CheckURL(c.Traces); err != nil {
		return nil, nil, fmt.Errorf("--traces: %w", err)
	}
	return telemetry.Start(a.Ctx, telemetry.Traces{URL: c.Traces, Sample: c.TracesSample, Service: "muniment-triage", Version: a.Version, Log: log})
}

// open opens both parts of the state. The caller closes the store and the
// router.
func (c *serveCmd) open(files *triageFiles, traces trace.TracerProvider, s *triageServer) (*execute.Store, error) {
	options, err := c.ledger(traces)
	if err != nil {
		return nil, err
	}
	recorder, err := execute.NewRecorder(options)
	if err != nil {
		return nil, err
	}
	if err := owner.MkdirAll(c.State, 0o700); err != nil {
		return nil, fmt.Errorf("--state: %w", err)
	}
	store, err := execute.OpenStore(filepath.Join(c.State, "executor"), vfs.Default)
	if err != nil {
		return nil, fmt.Errorf("--state: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	executor := &execute.Executor{
		Store: store, Ledger: recorder, Connectors: files.config.Connectors, Actions: files.config.Actions, Actor: c.Name + "@" + host, Now: time.Now, Log: s.log, DryRun: c.DryRun, Standby: c.Standby,
	}
	if executor.Key, err = execute.LoadKey(cmp.Or(c.Key, filepath.Join(c.State, "executor.key"))); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if err := s.follow(executor, recorder, options); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s.router, err = route.Open(route.Options{
		Config: files.config, Dir: filepath.Join(c.State, "router"), Executor: executor, Metrics: s.metrics, Now: time.Now, Log: s.log, Traces: traces,
	})
	if err != nil {
		return nil, errors.Join(stateError(err), store.Close())
	}
	s.intake = intake.New(intake.Options{Router: s.router, Senders: files.senders, Inputs: files.inputs, Metrics: s.metrics, Now: time.Now, Log: s.log})
	return store, nil
}

// stateError returns an error of the router's state.
func stateError(err error) error {
	if errors.Is(err, execute.ErrNeeded) {
		return err // the files are wrong, and not the state
	}
	return fmt.Errorf("--state: %w", err)
}

// ledger returns the options of the recorder of entries.
func (c *serveCmd) ledger(traces trace.TracerProvider) (muniment.Options, error) {
	o, err := trust(c.Server, c.Tenant, c.Policy, c.CA)
	if err != nil {
		return o, err
	}
	if o.Token, err = token(c.TokenFile); err != nil {
		return o, err
	}
	if traces != nil {
		traced, err := otelconnect.NewInterceptor(otelconnect.WithTracerProvider(traces), otelconnect.WithoutMetrics())
		if err != nil {
			return o, err
		}
		o.Interceptors = []connect.Interceptor{traced}
	}
	return o, nil
}

// serve serves until a signal.
func (s *triageServer) serve() error {
	site := edge.Site{
		Handler: s.handler(), Connections: triageConnections, Body: 10 * time.Second, Read: 20 * time.Second, Write: 45 * time.Second, Idle: 2 * time.Minute, HeaderBytes: triageHeader,
		PlainHTTP2: true, Errors: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if s.TLSCert != "" {
		site.TLS = s.cert.Load
	}
	server, err := edge.Listen(s.Listen, site)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer server.Close()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		var polling sync.WaitGroup
		if s.poller != nil {
			polling.Go(func() { s.poller.Run(ctx) })
		}
		if s.watcher != nil {
			polling.Go(func() { s.watcher.Run(ctx) })
		}
		err := s.router.Run(ctx)
		cancel()
		polling.Wait()
		ended <- err
	}()
	s.ready.Store(true)
	s.app.Listening("triage", "triage listening on", server.URL)
	_ = s.app.Stdout.Flush() // runLine reports it
	for {
		select {
		case <-reload:
			s.reload()
			continue
		case err = <-ended:
		case err = <-server.Failed:
			cancel()
			err = errors.Join(err, <-ended)
		case <-s.app.Ctx.Done():
			s.ready.Store(false)
			s.log.Info("stopping")
			_, err = server.Shutdown(shutdownTime)
			cancel()
			err = errors.Join(err, <-ended)
		}
		return err
	}
}

// handler serves everything on the listener.
func (s *triageServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /", s.intake.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /explain", intake.Explain(s.router, s.reads.Load))
	metrics := s.metrics.Handler()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !s.intake.Allowed(r) {
			http.Error(w, "only for callers on this machine, and for senders with their token", http.StatusForbidden)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	return mux
}

// reload applies the files, or keeps what is in force. It ends with the
// command.
func (s *triageServer) reload() {
	files, err := s.load()
	if err == nil {
		err = s.router.Reload(s.app.Ctx, files.config)
	}
	s.metrics.Reload(err)
	if err != nil {
		s.log.Error("configuration not loaded; the previous one stays in force", "err", err)
		return
	}
	s.intake.Set(files.senders, files.inputs)
	s.cert.Store(files.tls)
	s.reads.Store(files.reads)
	s.log.Info("configuration loaded")
}

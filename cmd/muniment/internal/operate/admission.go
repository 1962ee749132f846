package operate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/admission"
	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type admissionCmd struct {
	Serve     admissionServeCmd     `cmd:"" default:"withargs" help:"Answer the admission webhooks of a cluster."`
	Reconcile admissionReconcileCmd `cmd:"" help:"Record each use of the break-glass label in a cluster."`
}

// clusterFlags are the flags of all processes of a cluster.
type clusterFlags struct {
	AdmissionConfig string   `help:"admission.yaml, which maps namespaces to environments." required:"" placeholder:"FILE" env:"MUNIMENT_ADMISSION_CONFIG" predictor:"file" type:"path"`
	Server          []string `help:"URL of a replica or a server. May be repeated: if one gives no answer, the next is asked." required:"" placeholder:"URL" env:"MUNIMENT_SERVER" sep:","`
	remote.Credentials
	LogFormat string `help:"text or json." enum:"text,json" default:"text"`
}

type admissionServeCmd struct {
	clusterFlags
	Listen       string        `help:"Address of the webhooks. Port 0 takes a free one." default:"127.0.0.1:8443" placeholder:"HOST:PORT"`
	HealthListen string        `help:"Also serve /healthz, /readyz and /metrics on this address, in plain HTTP." placeholder:"HOST:PORT"`
	TLSCert      string        `name:"tls-cert" help:"Certificate of the server, in PEM. It is read again when it changes." required:"" placeholder:"FILE" predictor:"file" type:"path"`
	TLSKey       string        `name:"tls-key" help:"Key of the certificate, in PEM." required:"" placeholder:"FILE" predictor:"file" type:"path"`
	ClientCA     string        `name:"client-ca" help:"Certificates of the authorities of the API server's client certificate, in PEM. With it, the webhooks require such a certificate." placeholder:"FILE" predictor:"file" type:"path"`
	ClientName   []string      `help:"With --client-ca: common name or DNS name of the client certificate. May be repeated." placeholder:"NAME"`
	MaxAge       time.Duration `help:"Oldest state of the log that decides. Beyond it Pods are denied, or their creators warned where the configuration allows it." default:"5m" placeholder:"DURATION"`
	Refresh      time.Duration `help:"Longest use of an answer. A revocation takes effect within this time after it has reached the replica." default:"5s" placeholder:"DURATION"`
	Timeout      time.Duration `help:"Longest wait for an answer. The timeout of the webhook is never exceeded." default:"8s" placeholder:"DURATION"`
	CacheEntries int           `help:"Largest number of answers in memory." default:"20000" placeholder:"N"`
	CacheBytes   int64         `help:"Largest memory of the answers, in bytes." default:"33554432" placeholder:"N"`
}

func (admissionServeCmd) Help() string {
	return `Answers the webhooks /validate, /ephemeralcontainers, /workloads and /mutate (AdmissionReview v1) over TLS. It asks a replica or a server whether images may
run, and keeps the answers for --refresh. It holds no store and no key, so several can run side by side. What it cannot establish is denied: an image without
a digest, a namespace without a row in the configuration, no answer, or one from a state of the log older than --max-age, or earlier than that of an answer before.

'muniment admission' is short for 'muniment admission serve'. The configuration, the certificates, and the files with its
own credentials are read again when they change.

Exit codes: 0 stopped by a signal; 2 could not start, or the listener failed.

Examples:
  muniment admission --admission-config admission.yaml --server https://replica:7480 --token-file acme.token --tls-cert tls.crt --tls-key tls.key
  muniment admission --admission-config admission.yaml --server https://a:7480 --server https://b:7480 --token-file acme.token \
    --tls-cert tls.crt --tls-key tls.key --client-ca front-proxy-ca.crt --listen 0.0.0.0:8443 --health-listen 0.0.0.0:8081`
}

// Memory of Go's heap in the process, which GOMEMLIMIT overrides.
const admissionMemory = 112 << 20

func (c *admissionServeCmd) check() error {
	switch {
	case c.Refresh < 100*time.Millisecond || c.Refresh > time.Hour:
		return errors.New("--refresh: must be 100ms to 1h")
	case c.MaxAge < c.Refresh:
		return errors.New("--max-age: must be at least --refresh")
	case c.Timeout < 100*time.Millisecond || c.Timeout > 30*time.Second:
		return errors.New("--timeout: must be 100ms to 30s")
	case c.CacheEntries < 1 || c.CacheBytes < 1<<20:
		return errors.New("--cache-entries, --cache-bytes: must be at least 1, and 1048576")
	case len(c.ClientName) > 0 && c.ClientCA == "":
		return errors.New("--client-name: requires --client-ca")
	}
	return nil
}

// An admissionServer is a running process.
type admissionServer struct {
	*admissionServeCmd
	app    *term.App
	log    *slog.Logger
	cert   certificate
	config atomic.Pointer[admission.Config]
	read   string // digest of the files as last applied
	*admission.Handler
	metrics *admission.Metrics
	servers []*connection
}

func (c *admissionServeCmd) Run(a *term.App) error {
	if err := c.check(); err != nil {
		return err
	}
	datadir.TuneMemoryTo(100, admissionMemory)
	s := &admissionServer{admissionServeCmd: c, app: a, log: a.ServiceLogger(c.LogFormat), metrics: admission.NewMetrics()}
	if err := s.load(); err != nil {
		return err
	}
	var err error
	if s.servers, err = c.connect(a.Ctx, s.log); err != nil {
		return err
	}
	s.Handler = admission.New(a.Ctx, admission.Options{
		Servers: gates(s.servers), Config: s.config.Load(), Resolver: s.resolveTag, MaxAge: c.MaxAge, Refresh: c.Refresh, Timeout: c.Timeout,
		CacheEntries: c.CacheEntries, CacheBytes: c.CacheBytes, Now: time.Now, Logger: s.log, Metrics: s.metrics,
	})
	defer s.Close()
	return s.serve()
}

// callPing is the time after which a connection that is silent is probed.
const callPing = 10 * time.Second

// connect returns the connections to the servers, in the order of the flags.
func (c *clusterFlags) connect(ctx context.Context, log *slog.Logger) ([]*connection, error) {
	var all []*connection
	for _, server := range c.Server {
		one := &connection{server: server, files: c.Files(), log: log, open: func(ctx context.Context) (*upstream, error) {
			return dial(ctx, &remote.Flags{Server: server, Credentials: c.Credentials}, muniment.Options{}, callPing, nil)
		}}
		if _, err := one.refresh(ctx); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// gates returns the servers that admission asks.
func gates(connections []*connection) []*admission.Server {
	var all []*admission.Server
	for _, c := range connections {
		name := c.server
		if u, err := url.Parse(c.server); err == nil {
			name = u.Host
		}
		all = append(all, &admission.Server{Name: name, Tenant: c.current.Load().Tenant, Gate: gate{c}})
	}
	return all
}

// A gate is that of the server of a connection.
type gate struct{ *connection }

// Decide implements admission.Gate.
func (g gate) Decide(ctx context.Context, req *connect.Request[munimentv1.DecideRequest]) (*connect.Response[munimentv1.DecideResponse], error) {
	return g.current.Load().Gate.Decide(ctx, req)
}

// GetControlSet implements admission.Gate.
func (g gate) GetControlSet(ctx context.Context, req *connect.Request[munimentv1.GetControlSetRequest]) (*connect.Response[munimentv1.GetControlSetResponse], error) {
	return g.current.Load().Gate.GetControlSet(ctx, req)
}

// readConfig reads admission.yaml.
func (c *clusterFlags) readConfig() (*admission.Config, error) {
	text, err := bounded.ReadFile(c.AdmissionConfig, admission.MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("--admission-config: %w", err)
	}
	config, err := admission.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.AdmissionConfig, err)
	}
	return config, nil
}

// load reads the configuration and the certificates.
func (s *admissionServer) load() error {
	config, err := s.readConfig()
	if err != nil {
		return err
	}
	var authorities *x509.CertPool
	if s.ClientCA != "" {
		if authorities, err = datadir.ReadCertificates(s.ClientCA); err != nil {
			return fmt.Errorf("--client-ca: %w", err)
		}
	}
	read, err := readTLS(datadir.TLSConfig{Cert: s.TLSCert, Key: s.TLSKey}, func(path string) string { return path }, authorities)
	if err != nil {
		return fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	s.cert.set(read)
	s.config.Store(config)
	s.read = s.digest()
	return nil
}

// digest returns a value that changes with the content of the files.
func (s *admissionServer) digest() string {
	return filesState(s.AdmissionConfig, s.TLSCert, s.TLSKey, s.ClientCA)
}

// changesInterval is the time between two checks for changed files.
const changesInterval = 2 * time.Second

// follow applies changed files until the context ends.
func (s *admissionServer) follow(ctx context.Context) {
	tick := time.NewTicker(changesInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range s.servers {
			_, _ = c.refresh(ctx) // it logs what it cannot apply
		}
		s.reload()
	}
}

// reload applies changed files. Those that cannot be applied change nothing.
func (s *admissionServer) reload() {
	now := s.digest()
	if now == s.read {
		return
	}
	if err := s.load(); err != nil {
		s.read = now
		s.log.Error("changed files not applied; the old ones stay in force", "err", err)
		return
	}
	s.SetConfig(s.config.Load())
	s.log.Info("changed files applied")
}

// resolveTag returns the digest that the registry has for a tag.
func (s *admissionServer) resolveTag(ctx context.Context, reference string) (string, error) {
	c := s.config.Load().Registry
	registry, err := (&remote.RegistryFlags{AllowAddress: c.AllowAddresses, PlainHTTP: c.PlainHTTP}).Open(reference)
	if err != nil {
		return "", err
	}
	return registry.Digest(ctx)
}

// handler returns the handler of a listener, with the webhooks or without.
func (s *admissionServer) handler(webhooks bool) http.Handler {
	mux, handle := health("admission", s.metrics.Handler(), func() string {
		if s.Reached() {
			return ""
		}
		return "no replica has answered yet"
	})
	if webhooks {
		for _, path := range admission.Paths {
			handle("POST "+path, s.fromAPIServer(s.Webhook(path)))
		}
	}
	return mux
}

// health returns the handler of a process of a cluster: its health checks and
// metrics. waits returns why it is not ready, or "". More patterns are added by
// handle.
func health(site string, metrics http.Handler, waits func() string) (h http.Handler, handle func(pattern string, h http.Handler)) {
	mux, door := http.NewServeMux(), doors(site)
	handle = func(pattern string, h http.Handler) { mux.Handle(pattern, door(pattern, h)) }
	handle("GET /healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	handle("GET /readyz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if why := waits(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	}))
	handle("GET /metrics", metrics)
	return mux, handle
}

// fromAPIServer requires a client certificate, if the flags do.
func (s *admissionServer) fromAPIServer(next http.Handler) http.Handler {
	if s.ClientCA == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "a client certificate is required", http.StatusUnauthorized)
			return
		}
		leaf := r.TLS.VerifiedChains[0][0]
		if len(s.ClientName) > 0 && !slices.ContainsFunc(s.ClientName, func(n string) bool { return n == leaf.Subject.CommonName || slices.Contains(leaf.DNSNames, n) }) {
			http.Error(w, "the client certificate has another name", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve answers until the context ends, then finishes the requests under way.
func (s *admissionServer) serve() error {
	a := s.app
	site := sites["admission"]
	site.Handler, site.TLS, site.Errors = s.handler(true), s.cert.source(), HTTPErrors(s.log)
	site.Hosts = namesOf(s.cert.config.Load())
	l, err := edge.Listen(s.Listen, site)
	if err != nil {
		return err
	}
	var failed chan error
	if s.HealthListen != "" {
		health := sites["health"]
		health.Handler, health.Errors, health.Hosts = s.handler(false), HTTPErrors(s.log), site.Hosts
		second, err := edge.Listen(s.HealthListen, health)
		if err != nil {
			_, stopped := l.Shutdown(shutdownTime)
			return errors.Join(fmt.Errorf("--health-listen: %w", err), stopped)
		}
		defer second.Close()
		failed = second.Failed
		a.Listening("health", "health checks on", second.URL)
	}
	a.Listening("admission", "listening on", l.URL)
	ctx, stop := context.WithCancel(a.Ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		defer crash.Report()
		s.follow(ctx)
	})
	select {
	case err := <-l.Failed:
		return fmt.Errorf("serve: %w", err)
	case err := <-failed:
		return errors.Join(fmt.Errorf("serve: %w", err), l.Close())
	case <-a.Ctx.Done():
	}
	cut, err := l.Shutdown(shutdownTime)
	if cut {
		s.log.Warn("some requests did not end in time and were cut off", "after", shutdownTime)
	}
	return err
}

// namesOf returns the DNS names of a server's certificate.
func namesOf(config *tls.Config) []string {
	if leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0]); err == nil {
		return leaf.DNSNames
	}
	return nil
}

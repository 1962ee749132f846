// Package api serves a log over HTTP. It authenticates, limits and validates
// requests, passes them to ingest or ledger, and encodes the answers.
//
// It makes no decisions about entries and keeps no state of the log.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/notify"
	"muniment.dev/muniment/api/portal"
	"muniment.dev/muniment/api/rpc"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/api/scitt"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/controls/views"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ingest/retention"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/ledger/receipt"
)

// A Config configures a Server.
type Config struct {
	Settings
	Ledger  *ledger.Ledger
	Logger  *slog.Logger
	Metrics *Metrics // made with NewMetrics
	// Admission holds the admission policies. Nil accepts everything and
	// verifies no signatures.
	Admission *ingest.Admission
	// SCITTKey signs COSE receipts. Nil disables the SCITT endpoint.
	SCITTKey *cosereceipt.Key
	// GateKey signs the attestations of passes. Nil: they are not published.
	GateKey *attest.Signer
	// Policy is the trust policy of the log, for bundles. Nil: it creates none.
	Policy *receipt.TrustPolicy
	// Spool keeps the decisions of a replica's gate. Nil: it makes only those
	// that are not to be recorded.
	Spool *spool.Spool
	// RequestTimeout bounds how long a request may take to arrive and an
	// answer, or one message of a stream, to leave; 0: two minutes.
	RequestTimeout time.Duration
	// LimitWait is how long a call waits at a limit of its tenant before it is
	// refused. 0 means half a second; if negative, calls are refused at once.
	LimitWait time.Duration
	// FreeBytes returns how much space the store has left; nil: unknown.
	FreeBytes func() (uint64, error)
	Version   string // of the program, for operators
	// Audit receives a line for each administrative act and each refused
	// access. It may be nil.
	Audit *slog.Logger
	// Access receives a line for each request. It may be nil.
	Access *slog.Logger
	// Traces creates a span for each call. It may be nil.
	Traces trace.TracerProvider
	// WebhookInterval is the time between two searches for events; 0: 15
	// seconds.
	WebhookInterval time.Duration
	// CoverageInterval is the time between two looks for entries that can
	// change the coverage in the metrics; 0: 5 seconds.
	CoverageInterval time.Duration
	// Cluster is the other servers of the log. Nil: there are none.
	Cluster *Cluster
	// Tiles is a copy of the log from which full tiles are served. Nil: there
	// is none.
	Tiles ledger.TileSource
	// Portal configures the web page for people.
	Portal portal.Config
	// Now is the clock for the expiry of credentials; nil: time.Now.
	Now func() time.Time
}

// A Server is the HTTP side of one log.
type Server struct {
	cfg       Config
	now       func() time.Time
	log       *slog.Logger
	ledger    *ledger.Ledger
	ingest    *ingest.Ingester
	keeper    *retention.Keeper
	decider   *decide.Decider
	findings  *finding.Projection
	posture   *posture.Reader
	views     *views.Reader
	inventory *inventory.Reader
	coverage  *coverage
	notifier  *notify.Notifier // nil until Webhooks is called; guarded by reloading
	auth      *auth.Authenticator
	settings  atomic.Pointer[Settings] // complete with defaults
	audit     *auditLog
	limits    *limit.Limiter
	appends   *rpc.Appends
	watches   *rpc.Watches
	errors    *connect.ErrorWriter
	handlers  sync.Map       // tenantHandler to http.Handler
	portal    *portal.Portal // nil: there is none

	reloading sync.Mutex // held by Reload

	leaving   atomic.Bool   // set by Leave
	drain     chan struct{} // closed by Drain
	drainOnce sync.Once
}

// New returns the server. Its handler serves until Drain is called. It reads
// the grants in force from the ledger.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 2 * time.Minute
	}
	if cfg.LimitWait == 0 {
		cfg.LimitWait = limit.MaxWait
	}
	if cfg.CoverageInterval == 0 {
		cfg.CoverageInterval = coverageInterval
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{
		cfg: cfg, now: cfg.Now, log: cfg.Logger, ledger: cfg.Ledger, ingest: &ingest.Ingester{Ledger: cfg.Ledger, Admission: cfg.Admission, Decided: cfg.Metrics.decision, Now: cfg.Now},
		audit: newAuditLog(cfg.Audit), errors: connect.NewErrorWriter(), drain: make(chan struct{}),
	}
	s.limits = limit.New(s.limiting(), cfg.Settings.sizes())
	s.apply(cfg.Settings)
	exceptions := &exception.Projection{Log: cfg.Ledger, Now: cfg.Now}
	s.findings = &finding.Projection{Log: cfg.Ledger}
	s.decider = &decide.Decider{Log: cfg.Ledger, Facts: decide.StoredFacts{Log: cfg.Ledger}, Exceptions: exceptions, Now: cfg.Now}
	s.inventory = &inventory.Reader{Decider: s.decider, Projection: &inventory.Projection{Log: cfg.Ledger}}
	s.posture = &posture.Reader{Decider: s.decider, Exceptions: exceptions, Findings: s.findings, Now: cfg.Now}
	s.views = &views.Reader{Log: cfg.Ledger, Decider: s.decider, Exceptions: exceptions, Findings: s.findings, Now: cfg.Now, Message: rpc.EntryMessage(cfg.Ledger)}
	s.ingest.Referee = &referee{cfg.Ledger.Origin(), exceptions, s.findings, s.decider}
	s.ingest.Recorded = s.recorded
	s.keeper = &retention.Keeper{Ingester: s.ingest, Reliance: retention.Any{s.decider, s.inventory.Projection}, Headers: s.inventory.Projection, Now: cfg.Now}
	s.appends = &rpc.Appends{Ledger: cfg.Ledger, Ingest: s.ingest, Limits: s.limits, Drain: s.drain, MayAppend: mayAppend, Public: s.publicOf,
		Refused: func(ctx context.Context, err error) { s.audit.refused(ctx, s.now(), err) }}
	s.watches = rpc.NewWatches(cfg.Ledger, s.limits, s.drain, s.public)
	var err error
	s.auth, err = auth.New(ctx, auth.Config{Ledger: cfg.Ledger, Ingest: s.ingest, Limits: s.limits, Log: cfg.Logger, Now: cfg.Now, Refuse: s.refuse, Browser: s.browser}, cfg.Directory)
	if err != nil {
		return nil, err
	}
	if err := s.openPortal(); err != nil {
		return nil, err
	}
	cfg.Metrics.book.Store(s.limits.Book())
	s.watchBreakGlass()
	s.coverage = newCoverage(s)
	cfg.Metrics.registry.MustRegister(compliance{s}, coverageCollector{s.coverage})
	recorded := s.limits.Recorded
	cfg.Metrics.recorded.Store(&recorded)
	return s, nil
}

// Drain ends the streams, which would otherwise keep the HTTP server from
// shutting down. Calls in progress finish.
func (s *Server) Drain() { s.drainOnce.Do(func() { close(s.drain) }) }

// tracing returns the interceptor that creates spans, if there is a provider. A
// span is linked to the caller's, but sampling is decided here: callers must
// not be able to force work.
func (s *Server) tracing() []connect.Interceptor {
	if s.cfg.Traces == nil {
		return nil
	}
	i, err := otelconnect.NewInterceptor(otelconnect.WithTracerProvider(s.cfg.Traces), otelconnect.WithPropagator(propagation.TraceContext{}),
		otelconnect.WithoutMetrics())
	if err != nil {
		panic(err) // of the options above, which are fixed
	}
	return []connect.Interceptor{i}
}

// limiting returns the configuration of the server's limits.
func (s *Server) limiting() limit.Config {
	m := s.cfg.Metrics
	return limit.Config{
		RequestTimeout: s.cfg.RequestTimeout, Wait: s.cfg.LimitWait, Now: s.now, Drain: s.drain, Refuse: s.refuse,
		Observer: limit.Observer{
			Limited: func(label string) { m.limited.WithLabelValues(label).Inc() },
			Waiting: func(change int) { m.waiting.Add(float64(change)) },
			Delayed: m.Delayed,
		},
	}
}

// Book returns the book of what callers hold.
func (s *Server) Book() *limit.Book { return s.limits.Book() }

// refuse writes the error in the protocol of the request.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err *connect.Error) {
	s.audit.refused(r.Context(), s.now(), err)
	s.cfg.Metrics.turned.WithLabelValues(err.Code().String()).Inc()
	err = rpcerr.Short(err)
	if err.Code() == connect.CodeUnauthenticated {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if scitt.Is(r) {
		scitt.Problem(w, err)
		return
	}
	if s.errors.IsSupported(r) {
		_ = s.errors.Write(w, r, err) // the client has gone
		return
	}
	for k, v := range err.Meta() {
		w.Header()[k] = v
	}
	http.Error(w, err.Message(), rpcerr.Status(err.Code()))
}

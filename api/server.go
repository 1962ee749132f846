// Package api speaks HTTP: it authenticates, limits and checks what comes in, hands it to ingest or ledger, and words the answers.
//
// It decides nothing about entries, and holds no state of the log.
package api

import (
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/validate"
	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A Config says what to serve.
type Config struct {
	Ledger     *ledger.Ledger
	Tenants    []Tenant
	Logger     *slog.Logger
	Metrics    *Metrics // made with NewMetrics
	MaxPayload int64    // bytes of one payload
	PublicTlog bool     // /tlog/ needs no token
	// MaxInFlight bounds the bytes of requests that are being read or worked on at once; 0: 512 MiB.
	MaxInFlight int64
	// RequestTimeout bounds how long a request may take to arrive and an answer to leave; streams are exempt; 0: two minutes.
	RequestTimeout time.Duration
}

// A Server is the HTTP side of one log.
type Server struct {
	cfg      Config
	log      *slog.Logger
	ledger   *ledger.Ledger
	ingest   *ingest.Ingester
	tenants  map[string]*Tenant
	inFlight *semaphore.Weighted
	errors   *connect.ErrorWriter

	drain     chan struct{} // closed by Drain
	drainOnce sync.Once
}

// largeRequest is the size from which a request's bytes count against MaxInFlight; smaller ones are bounded by the number of connections.
const largeRequest = 256 << 10

// maxBatchBytes bounds a call of AppendBatch, unless one payload may be larger.
const maxBatchBytes = 64 << 20

// New returns the server. Its handler serves until Drain is called.
func New(cfg Config) *Server {
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = 512 << 20
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 2 * time.Minute
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, ledger: cfg.Ledger, ingest: &ingest.Ingester{Ledger: cfg.Ledger, MaxPayload: cfg.MaxPayload},
		tenants: map[string]*Tenant{}, inFlight: semaphore.NewWeighted(max(cfg.MaxInFlight, cfg.maxRequest())),
		errors: connect.NewErrorWriter(), drain: make(chan struct{}),
	}
	for i := range cfg.Tenants {
		s.tenants[cfg.Tenants[i].Name] = &cfg.Tenants[i]
	}
	return s
}

// maxRequest is the largest request: base64 in JSON makes a payload a third larger.
func (c *Config) maxRequest() int64 { return max(c.MaxPayload*3/2+64<<10, maxBatchBytes) }

// Drain ends the streams, which would otherwise keep the HTTP server from shutting down. Calls under way are finished.
func (s *Server) Drain() { s.drainOnce.Do(func() { close(s.drain) }) }

func (s *Server) draining() bool {
	select {
	case <-s.drain:
		return true
	default:
		return false
	}
}

// Handler returns the handler of everything that the server serves, for HTTP/1.1 and HTTP/2.
func (s *Server) Handler() http.Handler {
	opts := []connect.HandlerOption{
		connect.WithInterceptors(s.cfg.Metrics.interceptor(), validate.NewInterceptor()),
		connect.WithReadMaxBytes(int(min(s.cfg.maxRequest(), math.MaxInt32))),
		connect.WithRecover(s.recover),
		// Receipts and proofs are hashes, which don't compress; lists do.
		connect.WithConditionalHandlerOptions(func(spec connect.Spec) []connect.HandlerOption {
			switch spec.Procedure {
			case munimentv1connect.LedgerServiceListEntriesProcedure, munimentv1connect.LedgerServiceWatchEntriesProcedure, munimentv1connect.LedgerServiceGetEntryProcedure:
				return []connect.HandlerOption{connect.WithCompressMinBytes(1024)}
			}
			return []connect.HandlerOption{connect.WithCompressMinBytes(math.MaxInt32)}
		}),
	}
	mux := http.NewServeMux()
	path, h := munimentv1connect.NewLedgerServiceHandler(&service{s}, opts...)
	mux.Handle(path, s.authenticate(s.bound(h)))

	mux.Handle(grpchealth.NewHandler(healthChecker{s}))
	reflector := grpcreflect.NewStaticReflector(munimentv1connect.LedgerServiceName, grpchealth.HealthV1ServiceName)
	for _, mount := range []func(*grpcreflect.Reflector, ...connect.HandlerOption) (string, http.Handler){grpcreflect.NewHandlerV1, grpcreflect.NewHandlerV1Alpha} {
		path, h := mount(reflector)
		mux.Handle(path, s.operator(h))
	}
	mux.Handle("GET /metrics", s.operator(s.cfg.Metrics.handler()))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	var tlog http.Handler = http.HandlerFunc(s.tlog)
	if !s.cfg.PublicTlog {
		tlog = s.authenticate(tlog)
	}
	mux.Handle("/tlog/", tlog)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such path; the API is at /"+munimentv1connect.LedgerServiceName+"/, the public log at /tlog/checkpoint", http.StatusNotFound)
	})
	return s.deadline(mux)
}

// isStream says whether the request is for a call that has no end.
func isStream(r *http.Request) bool {
	return r.URL.Path == munimentv1connect.LedgerServiceWatchEntriesProcedure
}

// deadline bounds how long a request may trickle in and how long its answer may take to be read. Streams have no end. Every request sets its
// own deadlines, because over HTTP/1.1 those of the request before on the same connection would still hold.
func (s *Server) deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		until := time.Time{} // none
		if !isStream(r) {
			until = time.Now().Add(s.cfg.RequestTimeout)
		}
		c := http.NewResponseController(w)
		// A connection that can't have deadlines is bounded by the server's own timeouts.
		_ = c.SetReadDeadline(until)
		_ = c.SetWriteDeadline(until)
		next.ServeHTTP(w, r)
	})
}

// bound refuses a request that is too large, or that would bring the bytes at work above their limit, before it is read.
func (s *Server) bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := r.ContentLength
		if size > s.cfg.maxRequest() {
			s.refuse(w, r, fieldError(connect.CodeInvalidArgument, "submission.payload", "the request has %d bytes; a payload may have %d", size, s.cfg.MaxPayload))
			return
		}
		if isStream(r) { // holds no bytes for the time that it lasts
			r.Body = http.MaxBytesReader(w, r.Body, largeRequest)
			next.ServeHTTP(w, r)
			return
		}
		if size < 0 && r.Method != http.MethodGet {
			size = largeRequest // of unknown length, as a gRPC call has; the reader's limit holds
		}
		if size >= largeRequest {
			if !s.inFlight.TryAcquire(size) {
				s.refuse(w, r, retryLater(errors.New("too many large requests are being worked on; retry later"), time.Second))
				return
			}
			defer s.inFlight.Release(size)
		}
		next.ServeHTTP(w, r)
	})
}

// operator lets callers on this machine in, and whoever has a token.
func (s *Server) operator(next http.Handler) http.Handler {
	authenticated := s.authenticate(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		ip := net.ParseIP(host)
		proxied := r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != ""
		if ip != nil && ip.IsLoopback() && !proxied {
			next.ServeHTTP(w, r)
			return
		}
		authenticated.ServeHTTP(w, r)
	})
}

// refuse writes the error in the protocol of the request.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err *connect.Error) {
	if err.Code() == connect.CodeUnauthenticated {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if s.errors.IsSupported(r) {
		_ = s.errors.Write(w, r, err) // the client has gone
		return
	}
	status := http.StatusInternalServerError
	switch err.Code() {
	case connect.CodeUnauthenticated:
		status = http.StatusUnauthorized
	case connect.CodeResourceExhausted:
		status = http.StatusTooManyRequests
	case connect.CodeInvalidArgument:
		status = http.StatusBadRequest
	}
	for k, v := range err.Meta() {
		w.Header()[k] = v
	}
	http.Error(w, err.Message(), status)
}

package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ledger"
)

// Health is what /readyz answers to operators, as JSON.
type Health struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why appends are refused

	Origin        string `json:"origin"`
	Size          uint64 `json:"size"`          // of the published tree
	WitnessedSize uint64 `json:"witnessedSize"` // of the newest checkpoint that meets the quorum
	Pending       int    `json:"pending"`       // entries that wait to be sequenced
	Unpurged      int    `json:"unpurged"`      // erased entries whose bytes may still lie in files
	FreeBytes     uint64 `json:"freeBytes,omitempty"`
	Tenants       int    `json:"tenants"`
	Suspended     int    `json:"suspended"` // tenants
	Version       string `json:"version"`
}

// HealthHandler returns the handler of a separate listener for health checks
// and metrics. Its requests need no place, so they are answered whatever other
// callers hold.
func (s *Server) HealthHandler() http.Handler {
	mux := http.NewServeMux()
	s.mountHealth(mux, func(h http.Handler) http.Handler { return h })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such path; this listener serves /healthz, /readyz and /metrics", http.StatusNotFound)
	})
	return identifyRequest(s.logAccess(s.limits.Deadline(mux)))
}

// mountHealth serves the state of the server. Handlers that cost more than a
// line of text are wrapped in place.
func (s *Server) mountHealth(mux *http.ServeMux, place func(http.Handler) http.Handler) {
	path, health := grpchealth.NewHandler(healthChecker{s}, connect.WithReadMaxBytes(limit.MaxHealthBytes), limit.GzipUpTo(limit.Fixed(limit.MaxHealthBytes), connect.Spec{}), connect.WithInterceptors(rpcerr.Interceptor{}))
	mux.Handle(path, place(health))
	mux.Handle("GET /metrics", place(s.admit(seeOperations, s.cfg.Metrics.handler())))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
}

// healthz reports that the process is alive.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz reports whether appends are accepted, or the reason why not. Operators
// get the details.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	failure := s.ledger.Ready()
	status := http.StatusOK
	if failure != nil {
		status = http.StatusServiceUnavailable
	}
	if o, _ := s.auth.Operator(r); o != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(s.health(failure)) // the client may be gone
		return
	}
	if failure == nil {
		fmt.Fprintln(w, "ready")
		return
	}
	if errors.Is(failure, ledger.ErrFailed) {
		failure = ledger.ErrFailed // the cause is for operators
	}
	http.Error(w, "appends are refused: "+failure.Error(), status)
}

func (s *Server) health(failure error) Health {
	tenants, suspended := s.auth.Count()
	h := Health{Ready: failure == nil, Origin: s.ledger.Origin(), Size: s.ledger.Published().Size, Pending: s.ledger.Pending(),
		Unpurged: s.ledger.Unpurged(), Tenants: tenants, Suspended: suspended, Version: s.cfg.Version}
	if failure != nil {
		h.Reason = failure.Error()
	}
	if w := s.ledger.Witnessed(); w != nil {
		h.WitnessedSize = w.Size
	}
	if s.cfg.FreeBytes != nil {
		if n, err := s.cfg.FreeBytes(); err == nil {
			h.FreeBytes = n
		}
	}
	return h
}

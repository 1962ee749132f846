package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/clients/go/adaptivecache/cacheswitch"
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

	AsOf        string `json:"asOf,omitempty"`        // of a replica, see Ledger.AsOf
	FollowError string `json:"followError,omitempty"` // why a replica cannot follow its log

	// SharedVersion is the version in force of the configuration that servers
	// of a log share; 0: none was published.
	SharedVersion uint64 `json:"sharedVersion,omitempty"`
	SharedError   string `json:"sharedError,omitempty"` // why a newer one is not in force

	TilesSize  *uint64 `json:"tilesSize,omitempty"`  // entries in the bucket for tiles
	TilesError string  `json:"tilesError,omitempty"` // why that is not up to date
}

// mountHealth serves the state of the server. Handlers that cost more than a
// line of text are wrapped in place.
func (s *Server) mountHealth(rs *routes, place func(http.Handler) http.Handler) {
	placed := func(c capability, h http.Handler) http.Handler { return place(s.admit(c, h)) }
	path, health := grpchealth.NewHandler(healthChecker{s}, connect.WithReadMaxBytes(limit.MaxHealthBytes), limit.GzipUpTo(withoutCredentials, limit.Fixed(limit.MaxHealthBytes), connect.Spec{}), connect.WithInterceptors(rpcerr.Interceptor{}))
	rs.mount(path, placed, health)
	rs.mount("GET /metrics", placed, s.cfg.Metrics.handler())
	rs.mount(cachesPath+"/", placed, http.StripPrefix(cachesPath, cacheswitch.New(s.caches())))
	rs.mount("GET /healthz", s.admit, http.HandlerFunc(s.healthz))
	rs.mount("GET /readyz", s.admit, http.HandlerFunc(s.readyz))
}

// cachesPath is the path below which operators switch caches off and on.
const cachesPath = "/caches"

// caches returns the server's caches by their names.
func (s *Server) caches() map[string]cacheswitch.Cache {
	all := map[string]cacheswitch.Cache{}
	if _, c := s.ledger.Cache(); c != nil {
		all[ledger.EntryCache] = c
	}
	return all
}

// healthz reports that the process is alive.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

var errLeaving = errors.New("the server is shutting down")

// Leave makes /readyz report that the server is about to shut down, so that
// balancers stop sending it calls. Those that come are answered as before.
func (s *Server) Leave() { s.leaving.Store(true) }

// ready returns the reason why no calls should be sent to this server, or nil.
func (s *Server) ready() error {
	if s.leaving.Load() {
		return errLeaving
	}
	return s.ledger.Ready()
}

// readyz reports whether appends are accepted, or the reason why not. Operators
// get the details.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	failure := s.ready()
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
	switch {
	case errors.Is(failure, errLeaving):
		http.Error(w, "not ready: "+failure.Error(), status)
		return
	case errors.Is(failure, ledger.ErrFailed):
		failure = ledger.ErrFailed // the cause is for operators
	}
	http.Error(w, "appends are refused: "+failure.Error(), status)
}

func (s *Server) health(failure error) Health {
	tenants, suspended := s.auth.Count()
	h := Health{Ready: failure == nil, Origin: s.ledger.Origin(), Size: s.ledger.Published().Size, Pending: s.ledger.Pending(),
		Unpurged: s.ledger.Unpurged(), Tenants: tenants, Suspended: suspended, Version: s.cfg.Version}
	if s.ledger.IsReplica() {
		h.AsOf = s.ledger.AsOf().Format(time.RFC3339)
		if reason := s.cfg.Metrics.followError.Load(); reason != nil {
			h.FollowError = *reason
		}
	}
	if c := s.cfg.Metrics.shared.Load(); c != nil {
		h.SharedVersion, h.SharedError = c.version, c.failure
	}
	if status := s.cfg.Metrics.copied.Load(); status != nil {
		c := (*status)()
		h.TilesSize, h.TilesError = &c.Size, c.Err
	}
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

package api

import (
	"net/http"
	"slices"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/validate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpc"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/api/scitt"
	"muniment.dev/muniment/internal/fieldrules"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// routes registers the handlers of a listener. It serves a route only if the
// table has a row for it.
type routes struct {
	mux      *http.ServeMux
	table    map[string]capability
	patterns []string // as registered
	// forward serves a route by another server, if that is to be; nil: never.
	forward func(pattern string, c capability, here http.Handler) http.Handler
}

// An admission admits callers that have the capability.
type admission func(capability, http.Handler) http.Handler

func (rs *routes) mount(pattern string, admit admission, h http.Handler) {
	c := capabilityOf(rs.table, pattern)
	if rs.forward != nil {
		h = rs.forward(pattern, c, h)
	}
	rs.mux.Handle(pattern, admit(c, h))
	rs.patterns = append(rs.patterns, pattern)
}

// service mounts each RPC of a service.
func (rs *routes) service(name string, admit admission, h http.Handler) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		panic(err) // the service is compiled in
	}
	methods := d.(protoreflect.ServiceDescriptor).Methods()
	for i := range methods.Len() {
		rs.mount("/"+name+"/"+string(methods.Get(i).Name()), admit, h)
	}
}

// Handler returns the handler of the whole server, for HTTP/1.1 and HTTP/2.
func (s *Server) Handler() http.Handler { return s.serve(s.routes()) }

// HealthHandler returns the handler of a separate listener for health checks
// and metrics. Its requests need no place, so they are answered whatever other
// callers hold.
func (s *Server) HealthHandler() http.Handler {
	rs := &routes{mux: http.NewServeMux(), table: apiRoutes}
	s.mountHealth(rs, func(h http.Handler) http.Handler { return h })
	rs.mount("/", s.admit, noPath("this listener serves /healthz, /readyz, /metrics and /caches/"))
	return s.serve(rs)
}

// serve returns the handler of a listener.
func (s *Server) serve(rs *routes) http.Handler {
	return identifyRequest(s.logAccess(s.limits.Deadline(s.parting(s.upToDate(rs.mux)))))
}

// parting asks clients to close their connections while the server is about to
// shut down, so that their next requests do not find them closed.
func (s *Server) parting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func noPath(hint string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such path; "+hint, http.StatusNotFound)
	})
}

// routes mounts everything that the server serves.
func (s *Server) routes() *routes {
	rs := &routes{mux: http.NewServeMux(), table: apiRoutes, forward: s.forward}
	s.mountServices(rs)
	s.mountSCITT(rs)
	s.mountHealth(rs, func(h http.Handler) http.Handler { return s.limits.Place(limit.Public, h) })
	s.mountReflection(rs)
	rs.mount("/tlog/", s.admitToLog, s.tlog())
	s.mountPortal(rs)
	rs.mount("/", s.admit, s.root("the API is at /"+munimentv1connect.LedgerServiceName+"/, the public log at /tlog/checkpoint"))
	return rs
}

// withoutCredentials owns the turns of callers that no tenant has. Their
// requests are small and need none.
const withoutCredentials = "without credentials" // no tenant has such a name

// A tenantHandler is the key of a service's handler for a tenant.
type tenantHandler struct{ service, tenant string }

// perTenant serves each tenant with a handler of its own. Codecs and
// decompressors take turns that belong to a tenant, but Connect does not pass
// them the caller.
func (s *Server) perTenant(service string, build func(owner string) http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		owner := withoutCredentials
		if id := auth.Caller(r.Context()); id != nil {
			owner = id.Tenant.Name
		}
		key := tenantHandler{service, owner}
		h, ok := s.handlers.Load(key)
		if !ok {
			h, _ = s.handlers.LoadOrStore(key, build(owner))
		}
		h.(http.Handler).ServeHTTP(w, r)
	})
}

func (s *Server) mountServices(rs *routes) {
	shared := []connect.HandlerOption{
		connect.WithInterceptors(append(s.tracing(), limit.Endings{}, rpcerr.Interceptor{}, s.cfg.Metrics.interceptor(), auditing{s}, validate.NewInterceptor(validate.WithValidator(fieldrules.Validator{})), inTenant{s})...),
		connect.WithRecover(s.recover),
	}
	options := func(owner string) connect.HandlerOption {
		return connect.WithHandlerOptions(slices.Concat(shared, []connect.HandlerOption{
			connect.WithCodec(strictProto{owner}),
			connect.WithCodec(strictJSON{"json", owner}),
			connect.WithCodec(strictJSON{"json; charset=utf-8", owner}),
			connect.WithConditionalHandlerOptions(func(spec connect.Spec) []connect.HandlerOption { return s.limits.Options(owner, spec) }),
		})...)
	}
	public, log, drain := rpc.Public(s.public), s.log, rpc.Drain(s.drain)
	mount := func(name string, build func(connect.HandlerOption) (string, http.Handler)) {
		h := s.perTenant(name, func(owner string) http.Handler {
			_, h := build(options(owner))
			return h
		})
		rs.service(name, s.admitBrowserCall, s.limits.Priced(s.limits.Bound(h)))
	}
	entries := &rpc.Ledger{
		Appends: s.appends,
		Entries: &rpc.Entries{Ledger: s.ledger, Limits: s.limits, Drain: drain, Public: public},
		Watches: s.watches,
		Proofs:  &rpc.Proofs{Ledger: s.ledger, Public: public},
	}
	identities := &rpc.Identities{Auth: s.auth, Log: log, Public: public, Replica: s.ledger.IsReplica()}
	administration := &rpc.Admin{
		Tokens:   &rpc.Tokens{Auth: s.auth, CheckKinds: CheckKinds, Now: s.now, Public: public},
		Policies: &rpc.Policies{Admission: s.cfg.Admission, Log: log, Public: public},
		Erasures: &rpc.Erasures{Keeper: s.keeper, Log: log, Public: public},
	}
	exports := &rpc.Exports{Ledger: s.ledger, Drain: drain, Public: public, Key: s.cfg.GateKey}
	gates := &rpc.Gates{Ledger: s.ledger, Ingest: s.ingest, Decider: s.decider, Inventory: s.inventory, Limits: s.limits, Public: public, Drain: drain, Key: s.cfg.GateKey, Spool: s.cfg.Spool, Decided: s.cfg.Metrics.gateDecision}
	mount(munimentv1connect.LedgerServiceName, func(o connect.HandlerOption) (string, http.Handler) {
		return munimentv1connect.NewLedgerServiceHandler(entries, o)
	})
	mount(munimentv1connect.IdentityServiceName, func(o connect.HandlerOption) (string, http.Handler) {
		return munimentv1connect.NewIdentityServiceHandler(identities, o)
	})
	mount(munimentv1connect.AdminServiceName, func(o connect.HandlerOption) (string, http.Handler) {
		return munimentv1connect.NewAdminServiceHandler(administration, o)
	})
	mount(munimentv1connect.ExportServiceName, func(o connect.HandlerOption) (string, http.Handler) {
		return munimentv1connect.NewExportServiceHandler(exports, o)
	})
	bundles := &rpc.Bundles{Ledger: s.ledger, Decider: s.decider, Inventories: s.inventory.Projection, Policy: s.cfg.Policy, Key: s.cfg.GateKey, Drain: drain, Public: public}
	mount(munimentv1connect.BundleServiceName, func(o connect.HandlerOption) (string, http.Handler) {
		return munimentv1connect.NewBundleServiceHandler(bundles, o)
	})
	mount(munimentv1connect.GateServiceName, func(o connect.HandlerOption) (string, http.Handler) {
		return munimentv1connect.NewGateServiceHandler(gates, o)
	})
	pages := &rpc.Portal{Ledger: s.ledger, Reader: s.views, Health: s.logHealth, Coverage: s.coverageOf, Now: s.now, Public: public, Drain: drain}
	mount(munimentv1connect.PortalServiceName, func(o connect.HandlerOption) (string, http.Handler) {
		return munimentv1connect.NewPortalServiceHandler(pages, o)
	})
}

// mountSCITT mounts the SCITT endpoint, if it has a key.
func (s *Server) mountSCITT(rs *routes) {
	if s.cfg.SCITTKey == nil {
		return
	}
	h := &scitt.Handler{Ledger: s.ledger, Limits: s.limits, Key: s.cfg.SCITTKey, Log: s.log, MayAppend: mayAppend, Record: s.appends.Record, Public: s.public, Refuse: s.refuse}
	call := func(f http.HandlerFunc) http.Handler { return s.limits.PricedByStatus(s.limits.Bound(f)) }
	rs.mount("POST "+limit.SCITTEntries, s.admitCall, call(h.Register))
	rs.mount("GET "+limit.SCITTEntries+"/{index}", s.admitCall, call(h.Resolve))
	rs.mount("GET "+scitt.KeysPath, s.admit, http.HandlerFunc(h.Keys))
}

// mountReflection mounts gRPC reflection, by which tools find the services.
func (s *Server) mountReflection(rs *routes) {
	reflector := grpcreflect.NewStaticReflector(munimentv1connect.LedgerServiceName, munimentv1connect.IdentityServiceName, munimentv1connect.AdminServiceName, munimentv1connect.ExportServiceName, munimentv1connect.BundleServiceName, munimentv1connect.GateServiceName, munimentv1connect.PortalServiceName, grpchealth.HealthV1ServiceName)
	for _, handler := range []func(*grpcreflect.Reflector, ...connect.HandlerOption) (string, http.Handler){grpcreflect.NewHandlerV1, grpcreflect.NewHandlerV1Alpha} {
		path, h := handler(reflector, connect.WithReadMaxBytes(limit.MaxReflectionBytes), limit.GzipUpTo(withoutCredentials, limit.Fixed(limit.MaxReflectionBytes), connect.Spec{}), connect.WithInterceptors(rpcerr.Interceptor{}))
		rs.mount(path, func(c capability, h http.Handler) http.Handler { return s.limits.Place(limit.Public, s.admit(c, h)) }, h)
	}
}

// admitToLog admits everybody to a public log.
func (s *Server) admitToLog(c capability, next http.Handler) http.Handler {
	public, private := s.admit(readPublicLog, next), s.admit(c, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.settings.Load().PublicTlog {
			public.ServeHTTP(w, r)
			return
		}
		private.ServeHTTP(w, r)
	})
}

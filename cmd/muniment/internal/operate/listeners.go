package operate

import (
	"net"
	"net/http"
	"time"

	"muniment.dev/muniment/api/admission"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/edge"
)

// sites lists the listeners of all commands with their limits. What the
// configuration decides is added to a row: connections, names and certificates.
var sites = map[string]edge.Site{
	"api":     {PlainHTTP2: true}, // its handler sets the deadlines of each request
	"health":  {Body: 5 * time.Second, Read: 10 * time.Second, Write: 30 * time.Second, Idle: 30 * time.Second, HeaderBytes: 16 << 10, Connections: 64, PlainHTTP2: true},
	"rekor":   {Body: 10 * time.Second, Read: time.Minute, Write: time.Minute},
	"witness": {Body: 5 * time.Second, Read: 10 * time.Second, Write: 20 * time.Second, Idle: 5 * time.Minute, HeaderBytes: 16 << 10},
	"mirror":  {Body: 5 * time.Second, Read: time.Minute, Write: 2 * time.Minute, HeaderBytes: 16 << 10, Connections: 4096},
	// its handler ends each request before the API server stops waiting, which
	// takes 30 seconds at most
	"admission": {Body: 10 * time.Second, Read: 20 * time.Second, Write: 45 * time.Second, Idle: 2 * time.Minute, HeaderBytes: 16 << 10, Connections: 512},
	"monitor":   {Body: 5 * time.Second, Read: time.Minute, Write: time.Minute, Idle: time.Minute, HeaderBytes: 16 << 10, Connections: 64},
}

// A route is a row of the table of a listener. Everybody may call it.
type route struct {
	body  int64 // largest body of a request; 0: none
	local bool  // only for callers on this machine, not for those of a proxy
	free  bool  // needs no place, because it costs next to nothing
}

// routes lists what the listeners serve that package api does not make, in the
// form of http.ServeMux.
var routes = map[string]map[string]route{
	"witness": {
		// 63 hashes take 3 KB, and so does an ML-DSA-44 signature
		"POST /add-checkpoint": {body: 32 << 10},
		"GET /{id}/checkpoint": {},
		"GET /healthz":         {free: true},
		"GET /metrics":         {local: true},
	},
	"mirror": {
		"/": {},
	},
	"monitor": {
		"GET /metrics": {},
	},
	"starting": {
		"GET /healthz": {free: true},
		"GET /readyz":  {free: true},
	},
	"reconcile": {
		"GET /healthz": {free: true},
		"GET /readyz":  {free: true},
		"GET /metrics": {},
	},
	"admission": {
		"POST " + admission.PathValidate:  {body: admission.MaxReview},
		"POST " + admission.PathEphemeral: {body: admission.MaxReview},
		"POST " + admission.PathWorkloads: {body: admission.MaxReview},
		"POST " + admission.PathMutate:    {body: admission.MaxReview},
		"GET /healthz":                    {free: true},
		"GET /readyz":                     {free: true},
		"GET /metrics":                    {},
	},
}

// publicHolds limits the requests under way, in total and of one address.
var publicHolds = limit.HeldLimits{limit.Public: {Total: 1024, Owner: 128}}

// doors returns the function that puts a listener's limits before the handler
// of a route. A route without a row is a mistake in the program, and must not
// be served.
func doors(listener string) func(pattern string, next http.Handler) http.Handler {
	book := limit.NewBook(publicHolds)
	return func(pattern string, next http.Handler) http.Handler {
		rt, ok := routes[listener][pattern]
		if !ok {
			panic("operate: listeners.go has no row for the route " + pattern + " of a " + listener)
		}
		return rt.door(book, next)
	}
}

func (rt route) door(book *limit.Book, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rt.local && !isLocal(r) {
			http.Error(w, "only for callers on this machine", http.StatusForbidden)
			return
		}
		r.Body = edge.MaxBytes(w, r.Body, rt.body)
		if !rt.free {
			hold := book.Open("address " + edge.Address(r.RemoteAddr))
			defer hold.Release()
			if err := hold.Take(limit.Public, 1); err != nil {
				w.Header().Set("Retry-After", "1")
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isLocal reports whether the caller is on this machine.
func isLocal(r *http.Request) bool {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() && !edge.Forwarded(r)
}

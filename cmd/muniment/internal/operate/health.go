package operate

import (
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/term"
)

// A healthListener serves health checks and metrics on their own address. Until
// it is given the handler of a server, it reports that the process is alive but
// has nothing to serve.
type healthListener struct {
	*edge.Server
	handler atomic.Pointer[http.Handler]
}

func listenForHealth(a *term.App, d *datadir.Dir, log *slog.Logger, reload *reloader) (*healthListener, error) {
	l := &healthListener{}
	l.setHandler(startingHandler())
	site := sites["health"]
	site.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*l.handler.Load()).ServeHTTP(w, r) })
	site.Hosts, site.TLS, site.Errors = append(d.Config.Hosts, hostOf(d.Config.Origin)), reload.cert.source(), HTTPErrors(log)
	var err error
	if l.Server, err = edge.Listen(reload.health, site); err != nil {
		return nil, fmt.Errorf("--health-listen: %w", err)
	}
	a.Listening("health", "health checks on", l.URL)
	return l, nil
}

func (l *healthListener) setHandler(h http.Handler) { l.handler.Store(&h) }

// startingHandler answers for a replica that has no state of its log yet.
func startingHandler() http.Handler {
	mux, door := http.NewServeMux(), doors("starting")
	for pattern, next := range map[string]http.HandlerFunc{
		"GET /healthz": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") },
		"GET /readyz": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the replica has no state of the log yet", http.StatusServiceUnavailable)
		},
	} {
		mux.Handle(pattern, door(pattern, next))
	}
	return mux
}

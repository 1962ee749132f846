package operate

import (
	"log/slog"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/edge"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
)

// listenForHealth serves health checks and metrics on their own address.
func listenForHealth(a *term.App, d *datadir.Dir, log *slog.Logger, s *api.Server, reload *reloader) (*edge.Server, error) {
	site := sites["health"]
	site.Handler, site.Hosts, site.TLS, site.Errors = s.HealthHandler(), append(d.Config.Hosts, hostOf(d.Config.Origin)), reload.cert.source(), HTTPErrors(log)
	l, err := edge.Listen(reload.health, site)
	if err != nil {
		return nil, err
	}
	a.Listening("health", "health checks on", l.URL)
	return l, nil
}

package operate

import (
	"fmt"
	"log/slog"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/edge"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
)

// healthConnections limits the connections of the health listener.
const healthConnections = 64

// listenForHealth serves health checks and metrics on their own address.
func listenForHealth(a *term.App, d *datadir.Dir, log *slog.Logger, s *api.Server, reload *reloader) (*edge.Server, error) {
	l, err := edge.Listen(reload.health, edge.Site{
		Handler: s.HealthHandler(), Hosts: append(d.Config.Hosts, hostOf(d.Config.Origin)), Connections: healthConnections, TLS: reload.cert.source(),
		Read: 10 * time.Second, Write: 30 * time.Second, Idle: 30 * time.Second, HeaderBytes: 16 << 10, PlainHTTP2: true, Errors: HTTPErrors(log),
	})
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.Stdout, "health checks on %s\n", l.URL)
	return l, nil
}

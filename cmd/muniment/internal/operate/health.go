package operate

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
)

// healthConnections limits the connections of the health listener.
const healthConnections = 64

// listenForHealth serves health checks and metrics on their own address.
func listenForHealth(a *term.App, d *datadir.Dir, log *slog.Logger, s *api.Server, reload *reloader) (*listener, error) {
	srv := &http.Server{
		Handler: s.HealthHandler(), Protocols: allHTTP(), ErrorLog: HTTPErrors(log),
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	l, err := listen(reload.health, srv, healthConnections, reload.cert, append(d.Config.Hosts, hostOf(d.Config.Origin))...)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.Stdout, "health checks on %s\n", l.url)
	return l, nil
}

package term

import (
	"log/slog"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
)

// Logger returns the logger of a server: to standard error, as text or json.
// It also becomes the logger of the libraries.
func (a *App) Logger(format string) *slog.Logger {
	log := a.NewLogger(format == "json")
	slog.SetDefault(log) // and that of package log
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	return log
}

func (a *App) NewLogger(json bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: &a.Level}
	if json {
		return slog.New(slog.NewJSONHandler(a.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(a.Stderr, opts))
}

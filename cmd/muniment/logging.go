package main

import (
	"log/slog"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
)

// logger returns the logger of a server: to standard error, as text or json.
// It becomes that of the libraries, too.
func (a *app) logger(format string) *slog.Logger {
	log := a.newLogger(format == "json")
	slog.SetDefault(log) // and that of package log
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	return log
}

func (a *app) newLogger(json bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: &a.level}
	if json {
		return slog.New(slog.NewJSONHandler(a.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(a.stderr, opts))
}

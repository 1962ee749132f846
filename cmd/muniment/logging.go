package main

import (
	"bytes"
	stdlog "log"
	"log/slog"
	"slices"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
)

const logFormatFlag = "log-format"

// asksForJSON reports whether the arguments set --log-format json. It serves
// messages that come before the flags are parsed, or because they can't be.
func asksForJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	for i, arg := range args {
		if arg == "--"+logFormatFlag+"=json" || arg == "--"+logFormatFlag && i+1 < len(args) && args[i+1] == "json" {
			return true
		}
	}
	return false
}

// wantsJSON reports whether the command has --log-format json, from the
// arguments or the configuration.
func wantsJSON(k *kong.Context) bool {
	for _, f := range k.Flags() {
		if f.Name == logFormatFlag && k.FlagValue(f) == "json" {
			return true
		}
	}
	return false
}

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

// httpErrors returns what an http.Server reports to: a panic is an error, a
// connection that can't be accepted a warning, and what callers do wrong is of
// level debug.
func httpErrors(log *slog.Logger) *stdlog.Logger {
	return stdlog.New(httpErrorWriter{log}, "", 0)
}

type httpErrorWriter struct{ log *slog.Logger }

// Write implements io.Writer. Package log writes one message at a time.
func (w httpErrorWriter) Write(p []byte) (int, error) {
	text := string(bytes.TrimSpace(p))
	switch {
	case bytes.Contains(p, []byte("panic serving ")):
		w.log.Error(text)
	case bytes.HasPrefix(p, []byte("http: Accept error: ")):
		w.log.Warn(text)
	default:
		w.log.Debug(text)
	}
	return len(p), nil
}

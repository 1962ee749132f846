package term

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"

	"muniment.dev/muniment/internal/plain"
)

// Logger returns the logger of a server: to standard error, as text or json.
// It also becomes the logger of the libraries.
func (a *App) Logger(format string) *slog.Logger {
	log := a.NewLogger(format == "json")
	slog.SetDefault(log) // and that of package log
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	return log
}

// NewLogger returns a logger to standard error, with the level of the program.
func (a *App) NewLogger(json bool) *slog.Logger { return newLogger(a.Stderr, &a.Level, json) }

// StoreLogger returns the logger for the store that a command opens. It writes
// text from the given level on.
func (a *App) StoreLogger(level slog.Level) *slog.Logger { return newLogger(a.Stderr, level, false) }

// Listening prints the URL of a listener to standard output, in the format of
// the log. Text begins with the introduction.
func (a *App) Listening(server, introduction, url string) {
	if a.JSON {
		newLogger(a.Stdout, slog.LevelInfo, true).Info("listening", "server", server, "url", url)
		return
	}
	fmt.Fprintln(a.Stdout, introduction, url)
}

func newLogger(w io.Writer, level slog.Leveler, json bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: errorText}
	if json {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// errorText replaces an error by its text. The text handler would format it
// with %+v, for which some libraries print a stack trace.
func errorText(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		a.Value = slog.StringValue(plain.FileErrors(err))
	}
	return a
}

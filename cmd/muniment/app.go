package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"

	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
)

// writeJSON writes v on one line.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeOutput writes bytes that are the result of a command to the file, or to
// standard output if path is "" or "-". On a terminal they are escaped.
func (a *app) writeOutput(path string, data []byte) error {
	if path == "" || path == "-" {
		_, err := a.rawOutput().Write(data)
		return err
	}
	return wholefile.Output(path, 0o666, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// rawOutput returns standard output for bytes: as they are, unless it is a
// terminal.
func (a *app) rawOutput() io.Writer {
	if a.stdout.Terminal() {
		return a.stdout
	}
	return a.stdout.Raw()
}

// stderrFile returns the file that standard error is.
func (a *app) stderrFile() (*os.File, bool) {
	if a.json {
		return nil, false // a bar is no line of JSON
	}
	w := a.stderr
	if e, ok := w.(*term.Escaper); ok {
		w = e.Unwrap()
	}
	f, ok := w.(*os.File)
	return f, ok
}

// quoted is Escape for one field: lines don't stay lines either.
func quoted(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

// buffered returns a buffered standard output, to be flushed by the caller.
func (a *app) buffered() *bufio.Writer { return bufio.NewWriter(a.stdout) }

// serviceLogger returns the logger of a command that runs until a signal. It
// also has the warnings, so that every line has the format.
func (a *app) serviceLogger(format string) *slog.Logger {
	log := a.logger(format)
	a.log.Store(log)
	return log
}

// warnExposed warns of a secret that other users of the machine can read.
func (a *app) warnExposed(path string, mode fs.FileMode) {
	remedy := "chmod 600 " + path
	if log := a.log.Load(); log != nil {
		log.Warn("other users can read a secret", "file", path, "mode", fmt.Sprintf("%04o", mode), "remedy", remedy)
		return
	}
	a.warn(fmt.Sprintf("other users can read %s, a secret (mode %04o): run: %s", path, mode, remedy))
}

// An app is what commands work with besides their flags.
type app struct {
	ctx     context.Context
	stdin   io.Reader
	stdout  *term.Output
	stderr  io.Writer
	level   slog.LevelVar               // of the logger
	log     atomic.Pointer[slog.Logger] // of a service; nil in other commands
	version string
	json    bool // standard error is for lines of JSON
}

// cause returns the system's own words for an error of a file.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// complain prints why the program ends.
func (a *app) complain(msg string) {
	if a.json {
		a.newLogger(true).Error(msg)
		return
	}
	fmt.Fprintln(a.stderr, "muniment:", term.Escape(msg))
}

// warn prints a warning of before the flags are parsed.
func (a *app) warn(msg string) {
	if a.json {
		a.newLogger(true).Warn(msg)
		return
	}
	fmt.Fprintln(a.stderr, "muniment: warning:", term.Escape(msg))
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(path string, limit int64) ([]byte, error) {
	if path != "-" {
		return bounded.ReadFile(path, limit)
	}
	data, err := io.ReadAll(io.LimitReader(a.stdin, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("standard input has more than %d bytes", limit)
	}
	return data, err
}

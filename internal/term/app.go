package term

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync/atomic"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/safetext"
	"muniment.dev/muniment/internal/wholefile"
)

// An App is the environment of a command: context, standard streams, logger and
// version.
type App struct {
	Ctx     context.Context
	Stdin   io.Reader
	Stdout  *Output
	Stderr  io.Writer
	Level   slog.LevelVar               // of the logger
	log     atomic.Pointer[slog.Logger] // of a service; nil in other commands
	Version string
	Program string // prefix of messages; "" is muniment
	JSON    bool   // whether standard error is lines of JSON
}

// WriteJSON writes v on one line.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// WriteOutput writes the result of a command to a file, or to standard output
// if path is "" or "-". On a terminal it is escaped.
func (a *App) WriteOutput(path string, data []byte) error {
	return a.StreamOutput(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// StreamOutput is WriteOutput with content written by a function. Commands
// write results to files only by these methods and CreateOutput, which spare
// the folders of logs and witnesses.
func (a *App) StreamOutput(path string, write func(io.Writer) error) error {
	if path == "" || path == "-" {
		return write(a.RawOutput())
	}
	if err := ownfolder.CheckFile(path); err != nil {
		return err
	}
	return wholefile.Output(path, 0o666, write)
}

// CreateOutput writes a result to a new file, with mode 0600. The function can
// also read the file. If it fails, no file is created.
func (a *App) CreateOutput(path string, write func(*os.File) error) error {
	if err := ownfolder.CheckFile(path); err != nil {
		return err
	}
	return wholefile.CreateFile(path, 0o600, write)
}

// RawOutput returns standard output for bytes, which are escaped only on a
// terminal.
func (a *App) RawOutput() io.Writer {
	if a.Stdout.Terminal() {
		return a.Stdout
	}
	return a.Stdout.Raw()
}

// stderrFile returns standard error if it is a file.
func (a *App) stderrFile() (*os.File, bool) {
	if a.JSON {
		return nil, false // a progress bar is not JSON
	}
	w := a.Stderr
	if e, ok := w.(*Escaper); ok {
		w = e.Unwrap()
	}
	f, ok := w.(*os.File)
	return f, ok
}

// Quoted is Escape for one field: it also escapes line feeds and tabs.
func Quoted(s string) string { return safetext.Quoted(s) }

// Indented is Escape for messages of several lines. It indents all lines but
// the first, so that text from outside can't be taken for a line of this
// program.
func Indented(s string) string {
	first, rest, more := strings.Cut(Escape(s), "\n")
	if !more {
		return first
	}
	return first + "\n" + indented.ReplaceAllString(rest, "  $0")
}

// indented matches the beginnings of lines that are not empty.
var indented = regexp.MustCompile(`(?m)^.`)

// Buffered returns buffered standard output. The caller flushes it.
func (a *App) Buffered() *bufio.Writer { return bufio.NewWriter(a.Stdout) }

// ServiceLogger returns the logger of a command that runs until a signal.
// Warnings and panics of goroutines then go to that logger, so that every line
// has its format.
func (a *App) ServiceLogger(format string) *slog.Logger {
	log := a.Logger(format)
	a.log.Store(log)
	crash.OnPanic(func(value any, stack []byte) {
		log.Error("internal error, please report it", "panic", fmt.Sprint(value), "stack", string(stack))
		os.Exit(ExitFailed)
	})
	return log
}

// WarnExposed warns of a secret that other users of the machine can read.
func (a *App) WarnExposed(path string, mode fs.FileMode) {
	remedy := "chmod 600 " + path
	if log := a.log.Load(); log != nil {
		log.Warn("other users can read a secret", "file", path, "mode", fmt.Sprintf("%04o", mode), "remedy", remedy)
		return
	}
	a.Warn(fmt.Sprintf("other users can read %s, a secret (mode %04o): run: %s", path, mode, remedy))
}

// Cause returns the cause of an error about a file, without the path.
func Cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Complain prints why the program ends. The attributes are for JSON only.
func (a *App) Complain(msg string, attrs ...any) {
	if a.JSON {
		a.NewLogger(true).Error(msg, attrs...)
		return
	}
	fmt.Fprintln(a.Stderr, a.program()+":", Indented(msg))
}

func (a *App) program() string { return cmp.Or(a.Program, "muniment") }

// Warn prints a warning.
func (a *App) Warn(msg string) {
	if a.JSON {
		a.NewLogger(true).Warn(msg)
		return
	}
	fmt.Fprintln(a.Stderr, a.program()+": warning:", Indented(msg))
}

// ReadInput reads a file, or standard input for "-".
func (a *App) ReadInput(path string, limit int64) ([]byte, error) {
	if path != "-" {
		return bounded.ReadFile(path, limit)
	}
	data, err := io.ReadAll(io.LimitReader(a.Stdin, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("standard input is larger than %d bytes", limit)
	}
	return data, err
}

// Package term is the terminal side of commands: output, messages, progress and
// exit codes. It keeps write errors, so that lost output fails the command, and
// escapes characters that must not reach a terminal.
package term

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// An Output is a command's standard output. It keeps the first error of a
// write, which the program reports when the command ends. Commands may
// therefore print without checking each call. Write escapes unsafe characters.
// Raw is for results that are bytes.
type Output struct {
	w      io.Writer
	failed func()
	text   *Escaper

	mu  sync.Mutex
	err error
}

// NewOutput returns an output that writes to w. It calls failed once, when a
// write fails, to end commands that would keep printing.
func NewOutput(w io.Writer, failed func()) *Output {
	o := &Output{w: w, failed: failed}
	o.text = NewEscaper(raw{o})
	return o
}

// Write implements io.Writer. After an error it writes nothing.
func (o *Output) Write(p []byte) (int, error) { return o.text.Write(p) }

// Flush writes the rest of an incomplete character.
func (o *Output) Flush() error { return o.text.Flush() }

// Raw returns the output without escapes.
func (o *Output) Raw() io.Writer { return raw{o} }

type raw struct{ o *Output }

func (r raw) Write(p []byte) (int, error) { return r.o.write(p) }

func (o *Output) write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if o.err = err; err != nil && o.failed != nil {
		o.failed()
	}
	return n, err
}

// Terminal reports whether the output is a terminal.
func (o *Output) Terminal() bool {
	f, ok := o.w.(*os.File)
	return ok && IsTerminal(f)
}

// Width returns the columns of the terminal, or 0 if the output is none.
func (o *Output) Width() int {
	f, ok := o.w.(*os.File)
	if !ok || !IsTerminal(f) {
		return 0
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80
	}
	return w
}

// Err returns the first error of a write.
func (o *Output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// Closed reports whether the reader of the output went away, as head does after
// its lines. That is not a failure.
func (o *Output) Closed() bool {
	return isClosedPipe(o.Err()) || errors.Is(o.Err(), io.ErrClosedPipe)
}

// IsTerminal reports whether the file is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Package bounded reads files and streams of untrusted length into memory.
//
// No other package reads whole inputs, as a test enforces. Callers pass the
// size limit of the format. A longer input is an error, whatever size its
// metadata claims. At most one byte above the limit is read.
package bounded

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"muniment.dev/muniment/internal/interrupt"
)

// Limits in bytes of files whose format has no limit of its own.
const (
	Config   = 4 << 20   // a configuration, policy or list of keys
	Document = 16 << 20  // a signed document, bundle or state
	Receipt  = 256 << 20 // a receipt, which can contain its payload in base64
)

// ErrTooLarge is wrapped by errors about input above its limit.
var ErrTooLarge = errors.New("too large")

// ErrNotRegular is wrapped by errors about anything but regular files.
var ErrNotRegular = errors.New("not a regular file")

// ReadAll reads at most limit bytes, up to the end of r.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	return read(r, limit, 0)
}

func read(r io.Reader, limit, hint int64) ([]byte, error) {
	var b bytes.Buffer
	if hint > 0 {
		b.Grow(int(min(hint, limit)) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return b.Bytes(), nil
}

// ReadFile reads a file of at most limit bytes. The path is given by the user
// and can be a pipe or device. An interrupt ends the read.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := interrupt.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readNamed(f, path, limit)
}

// readNamed reads a file opened by package interrupt.
func readNamed(f *os.File, path string, limit int64) ([]byte, error) {
	data, err := readFile(f, path, limit)
	if cause := interrupt.Err(); err != nil && cause != nil {
		return nil, fmt.Errorf("read %s: %w", path, cause)
	}
	return data, err
}

// ReadFileIn reads a regular file of at most limit bytes in a folder that other
// users can write to. It neither follows links out of the folder nor opens
// pipes and devices.
func ReadFileIn(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := OpenIn(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readFile(f, name, limit)
}

// OpenIn opens a regular file for reading, under the rules of ReadFileIn.
func OpenIn(root *os.Root, name string) (*os.File, error) {
	// A pipe without a writer would block the open.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func readFile(f *os.File, name string, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && info.Size() > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes, more than %d", name, ErrTooLarge, info.Size(), limit)
	}
	data, err := read(f, limit, info.Size())
	if err != nil {
		if errors.Is(err, ErrTooLarge) {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return nil, err
	}
	return data, nil
}

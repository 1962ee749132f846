// Package bounded reads files and streams of untrusted length into memory.
//
// Nothing else in the module reads one whole, which a test enforces. A caller
// names the largest size that the format allows, and a longer input is an
// error, whatever its metadata claim: a sparse file of terabytes costs no more
// than one byte over the limit.
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

// Limits of files that have no format of their own, in bytes.
const (
	Config   = 4 << 20   // a configuration, policy or list of keys
	Document = 16 << 20  // a signed document, bundle or state
	Receipt  = 256 << 20 // a receipt, which can contain its payload in base64
)

// ErrTooLarge is wrapped by the errors for input over its limit.
var ErrTooLarge = errors.New("too large")

// ErrNotRegular is wrapped by the errors for what is no regular file.
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

// ReadFile reads a file of at most limit bytes. The name is the user's: it may
// be that of a pipe or device. An interrupt ends the reading.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := interrupt.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readNamed(f, path, limit)
}

// readNamed reads a file that interrupt has opened.
func readNamed(f *os.File, path string, limit int64) ([]byte, error) {
	data, err := readFile(f, path, limit)
	if cause := interrupt.Err(); err != nil && cause != nil {
		return nil, fmt.Errorf("read %s: %w", path, cause)
	}
	return data, err
}

// ReadFileIn reads a regular file of at most limit bytes in a folder of
// others. Links that lead out of the folder are not followed, and pipes and
// devices are not opened.
func ReadFileIn(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := OpenIn(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readFile(f, name, limit)
}

// OpenIn opens a regular file in a folder of others for reading, as ReadFileIn
// does.
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

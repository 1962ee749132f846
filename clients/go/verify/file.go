package verify

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/plain"
)

// A File is a file to verify, or another input. It is read in parts, so that
// large files need little memory.
type File struct {
	name    string
	content io.ReaderAt
	size    int64 // bytes
	closer  io.Closer
	err     error // why it cannot be read
}

// NewFile returns a file with a name for reports and a content of size bytes.
func NewFile(name string, content io.ReaderAt, size int64) *File {
	return &File{name: name, content: content, size: size}
}

// Bytes returns a file with the given content.
func Bytes(name string, content []byte) *File {
	return NewFile(name, bytes.NewReader(content), int64(len(content)))
}

// maxPipe is the limit in bytes of what is read from a pipe.
const maxPipe = bounded.Receipt

// Open opens a file. The caller closes it. An error is reported by the
// verification, as CodeUnreadable. The content of a pipe is read into memory,
// up to 268,435,456 bytes.
func Open(path string) *File {
	f := &File{name: path}
	opened, err := interrupt.Open(path)
	if err != nil {
		f.err = err
		return f
	}
	info, err := opened.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s is a folder", path)
	case info.Mode().IsRegular():
		f.content, f.size, f.closer = opened, info.Size(), opened
		return f
	default:
		var content []byte
		if content, err = bounded.ReadAll(opened, maxPipe); err == nil {
			f.content, f.size = bytes.NewReader(content), int64(len(content))
		}
	}
	opened.Close()
	f.err = err
	return f
}

// Name returns the name of the file in reports.
func (f *File) Name() string { return f.name }

// Close closes the file if Open has opened it.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// SHA256 returns the digest of the file's content.
func (f *File) SHA256() ([32]byte, error) {
	h := sha256.New()
	if f.err != nil {
		return [32]byte{}, f.err
	}
	if _, err := io.Copy(h, io.NewSectionReader(f.content, 0, f.size)); err != nil {
		return [32]byte{}, err
	}
	return [32]byte(h.Sum(nil)), nil
}

// read returns the content of a file of at most limit bytes.
func (f *File) read(limit int64) ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	if f.size > limit {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", bounded.ErrTooLarge, f.size, limit)
	}
	return f.head(limit)
}

// head returns the first limit bytes of the content.
func (f *File) head(limit int64) ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	b := make([]byte, min(f.size, limit))
	n, err := f.content.ReadAt(b, 0)
	switch {
	case n == len(b), errors.Is(err, io.EOF):
		return b[:n], nil
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// reason returns the text of an error about a file, without its path twice.
func reason(err error) string { return plain.FileErrors(err) }

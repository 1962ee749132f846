package bundle

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
)

const blockSize = 512

// The fields of the header of a member. Everything else is fixed.
const (
	nameSize     = 100
	sizeOffset   = 124
	sizeDigits   = 11
	sumOffset    = 148
	sumSize      = 8
	deviceOffset = 329
)

// header returns the header of a member.
func header(name string, size int64) [blockSize]byte {
	var h [blockSize]byte
	copy(h[:nameSize], name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[sizeOffset:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00        0")
	copy(h[257:], "ustar\x0000")
	copy(h[deviceOffset:], "0000000\x000000000\x00")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[sumOffset:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// parseHeader returns the name and size in a header. Only the headers that
// header returns are valid.
func parseHeader(h *[blockSize]byte) (name string, size int64, err error) {
	text, rest, _ := bytes.Cut(h[:nameSize], []byte{0})
	name = string(text)
	if !isName(name) || len(bytes.Trim(rest, "\x00")) > 0 {
		return "", 0, fmt.Errorf("%.100q is not a name of a member", name)
	}
	for _, c := range h[sizeOffset : sizeOffset+sizeDigits] {
		if c < '0' || c > '7' {
			return "", 0, fmt.Errorf("%s: the size is not an octal number", name)
		}
		size = size<<3 | int64(c-'0')
	}
	if *h != header(name, size) {
		return "", 0, fmt.Errorf("%s: the header has other bytes than the format specifies", name)
	}
	return name, size, nil
}

// isName reports whether a member can have the name. It stays in the folder
// into which an archive is extracted.
func isName(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return len(name) <= nameSize && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-/") == ""
}

// padding returns the number of bytes after a member of a size.
func padding(size int64) int64 { return -size & (blockSize - 1) }

// A file is a member of an archive.
type file struct {
	name   string
	offset int64 // of the content
	size   int64 // bytes
}

// readArchive returns the members of an archive, and checks everything in it
// but their content.
func readArchive(r io.ReaderAt, size int64) ([]file, error) {
	var all []file
	var block, zeros [blockSize]byte
	last := ""
	for at := int64(0); ; {
		if at+2*blockSize > size {
			return nil, fail(ArchiveMalformed, "the archive ends too early, after %d bytes", size)
		}
		if err := readAt(r, block[:], at); err != nil {
			return nil, err
		}
		if block == zeros {
			return all, readEnd(r, at, size)
		}
		name, length, err := parseHeader(&block)
		if err != nil {
			return nil, fail(ArchiveMalformed, "the header at offset %d: %w", at, err)
		}
		switch at += blockSize; {
		case name <= last:
			return nil, fail(ArchiveMalformed, "%s: the members are not sorted, or it occurs twice", name)
		case length > size-at || padding(length) > size-at-length:
			return nil, fail(ArchiveMalformed, "%s: the archive ends within it", name)
		case len(all) == MaxMembers:
			return nil, fail(ArchiveMalformed, "more than %d members", MaxMembers)
		}
		pad := block[:padding(length)]
		if err := readAt(r, pad, at+length); err != nil {
			return nil, err
		}
		if !bytes.Equal(pad, zeros[:len(pad)]) {
			return nil, fail(ArchiveMalformed, "%s: the bytes after it are not zero", name)
		}
		all, last = append(all, file{name, at, length}), name
		at += length + int64(len(pad))
	}
}

// readEnd checks the end of an archive, of which the first block is zero.
func readEnd(r io.ReaderAt, at, size int64) error {
	var block [blockSize]byte
	if err := readAt(r, block[:], at+blockSize); err != nil {
		return err
	}
	switch {
	case block != [blockSize]byte{}:
		return fail(ArchiveMalformed, "one block of zero bytes at offset %d, want two", at)
	case at+2*blockSize != size:
		return fail(ArchiveMalformed, "%d bytes after the end of the archive", size-at-2*blockSize)
	case at == 0:
		return fail(ArchiveMalformed, "the archive has no members")
	}
	return nil
}

func readAt(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		return fail(Unreadable, "read the bundle: %w", err)
	}
	return nil
}

// A Writer writes the archive of a bundle. The names of the members must be
// sorted.
type Writer struct {
	w    *bufio.Writer
	last string
	left int64 // bytes of the current member
	pad  int64
	n    int
	err  error
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 256<<10)} }

// Next begins the next member.
func (w *Writer) Next(name string, size int64) error {
	w.finish()
	switch {
	case w.err != nil:
		return w.err
	case !isName(name) || name <= w.last:
		return fmt.Errorf("member %q: not a name after %q", name, w.last)
	case size < 0 || size > MaxMemberSize:
		return fmt.Errorf("member %s: %d bytes, more than %d", name, size, int64(MaxMemberSize))
	case w.n == MaxMembers:
		return fmt.Errorf("more than %d members", MaxMembers)
	}
	h := header(name, size)
	_, w.err = w.w.Write(h[:])
	w.last, w.left, w.pad = name, size, padding(size)
	w.n++
	return w.err
}

// Write writes content of the current member.
func (w *Writer) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(b)) > w.left {
		return 0, fmt.Errorf("member %s: more content than its size", w.last)
	}
	n, err := w.w.Write(b)
	w.left, w.err = w.left-int64(n), err
	return n, err
}

// finish ends the current member.
func (w *Writer) finish() {
	if w.err == nil && w.left > 0 {
		w.err = fmt.Errorf("member %s: %d bytes are missing", w.last, w.left)
	}
	if w.err == nil && w.pad > 0 {
		_, w.err = w.w.Write(make([]byte, w.pad))
	}
	w.pad = 0
}

// Close ends the archive. It does not close the underlying writer.
func (w *Writer) Close() error {
	w.finish()
	if w.err == nil {
		_, w.err = w.w.Write(make([]byte, 2*blockSize))
	}
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

// Package documents splits evidence files into their documents: either one, or
// several in the form of JSON Lines (https://jsonlines.org), the output format
// of gh attestation download.
//
// No other package decides whether a file contains several documents. An object
// that spans several lines is one document.
package documents

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a file of several documents.
const (
	Max     = 1024     // documents
	MaxLine = 64 << 20 // bytes of one document; Find holds one in memory
)

// ErrTooMany is returned for a file of more than Max documents.
var ErrTooMany = fmt.Errorf("more than %d documents in one file of JSON Lines: split it", Max)

// A Section is the position of a document in its file, in bytes.
type Section struct{ Offset, Size int64 }

// Split returns the documents of a file: the lines of JSON Lines that are not
// blank, or else the file itself as the only document.
func Split(data []byte) ([][]byte, error) {
	rest, read := data, int64(0)
	sections, err := find(func() ([]byte, int64, error) {
		if len(rest) == 0 {
			return nil, 0, io.EOF
		}
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		line, offset := rest[:end], read
		rest, read = rest[end:], read+int64(end)
		return line, offset, nil
	}, nil)
	if err != nil {
		return nil, err
	}
	if sections == nil {
		return [][]byte{data}, nil
	}
	out := make([][]byte, len(sections))
	for i, s := range sections {
		out[i] = data[s.Offset : s.Offset+s.Size : s.Offset+s.Size]
	}
	return out, nil
}

// Find locates the documents of a file that is too large to hold in memory. It
// returns nil if the file is a single document. That includes files with a line
// above MaxLine, and files with a line that accept rejects. A nil accept
// accepts every line.
func Find(r io.Reader, accept func(line []byte) bool) ([]Section, error) {
	return find((&lines{r: bufio.NewReader(r), max: MaxLine}).next, accept)
}

// find locates the documents among the lines and offsets that next returns, up
// to io.EOF.
func find(next func() ([]byte, int64, error), accept func([]byte) bool) ([]Section, error) {
	var sections []Section
	for {
		line, offset, err := next()
		switch {
		case err == io.EOF && len(sections) > 1:
			return sections, nil
		case err == io.EOF || errors.Is(err, errLongLine):
			return nil, nil
		case err != nil:
			return nil, err
		}
		trimmed := bytes.Trim(line, space)
		switch {
		case len(trimmed) == 0:
			continue
		case !isObject(trimmed) || accept != nil && !accept(trimmed):
			return nil, nil
		case len(sections) == Max:
			return nil, ErrTooMany
		}
		before := int64(len(line) - len(bytes.TrimLeft(line, space)))
		sections = append(sections, Section{offset + before, int64(len(trimmed))})
	}
}

// space is the white space of JSON.
const space = " \t\r\n"

// isObject reports whether a line is one whole JSON object. It accepts
// duplicate names and invalid UTF-8, which the document's reader refuses.
func isObject(line []byte) bool {
	return line[0] == '{' && line[len(line)-1] == '}' &&
		jsontext.Value(line).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

var errLongLine = errors.New("line too long")

// lines reads a file line by line.
type lines struct {
	r    *bufio.Reader
	max  int
	read int64 // bytes before the next line
	buf  []byte
}

// next returns the next line, including its line ending, and its offset. The
// line is valid until the next call.
func (l *lines) next() (line []byte, offset int64, err error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, part...)
		switch {
		case len(l.buf) > l.max:
			return nil, 0, errLongLine
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(l.buf) == 0, err != nil && err != io.EOF:
			return nil, 0, err
		}
		offset = l.read
		l.read += int64(len(l.buf))
		return l.buf, offset, nil
	}
}

package shape

import (
	"encoding/binary"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// A wide decodes a document whose first brace is followed by a zero byte. It is
// in UTF-16 or UTF-32, or it is not text.
type wide struct {
	brace int // offset of the first brace
	zeros int // that follow it
	width int // bytes of a code unit; 0 until the encoding is known
	order binary.ByteOrder
	unit  []byte // the next code unit, as far as it has arrived
}

var errNotText = errors.New("not text")

// decode decodes the next byte. It passes each complete character to next, byte
// by byte in UTF-8.
func (w *wide) decode(c byte, next func(byte)) error {
	if w.width == 0 {
		if c == 0 {
			w.zeros++
			return nil
		}
		if err := w.recognize(); err != nil {
			return err
		}
	}
	if w.unit = append(w.unit, c); len(w.unit) < w.width {
		return nil
	}
	var r rune
	if w.width == 2 {
		r = rune(w.order.Uint16(w.unit))
	} else {
		r = rune(w.order.Uint32(w.unit))
	}
	w.unit = w.unit[:0]
	if utf16.IsSurrogate(r) {
		r = utf8.RuneError // of a character that no compared text contains
	}
	if !utf8.ValidRune(r) {
		return errNotText
	}
	for _, b := range utf8.AppendRune(nil, r) {
		next(b)
	}
	return nil
}

// recognize determines the encoding when the zeros after the brace have ended.
// They belong to the brace in little-endian text, and otherwise to the
// character after it, which is ASCII in JSON.
func (w *wide) recognize() error {
	if w.zeros != 1 && w.zeros != 3 {
		return errNotText
	}
	w.width = w.zeros + 1
	switch w.brace % w.width {
	case 0:
		w.order = binary.LittleEndian
	case w.zeros:
		w.order = binary.BigEndian
		w.unit = make([]byte, w.zeros, w.width)
	default:
		return errNotText
	}
	return nil
}

// Package delta reads and writes delta files, which carry the growth of a log
// and the records of some of its streams to a machine without a network. The
// format is specified in docs/spec/delta.md.
//
// The package checks the file and its frames. Package ledger checks their
// content against a log.
package delta

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/ledger/receipt"
)

var (
	// ErrDamaged is the error of a file that is truncated, changed, or signed
	// by another key.
	ErrDamaged = errors.New("the delta is damaged")
	// ErrFormat is the error of a file that is intact, but violates the
	// specification.
	ErrFormat = errors.New("not a delta of this format")
)

// Preamble is the first line of every delta.
const Preamble = "muniment.dev/delta/v2\n"

const (
	blockMark = 0x01
	endMark   = 0x02

	maxRaw     = 1 << 20
	maxStored  = maxRaw + 64<<10
	maxNote    = receipt.MaxCheckpointSize
	maxFrame   = maxRaw + 64<<10
	maxStreams = 1 << 16
	maxProof   = 64

	// PartSize is the largest part of a payload.
	PartSize = 512 << 10

	blockHead = 1 + 4 + 4 + entry.HashSize
	frameHead = 1 + 4
)

// The types of frames.
const (
	headerFrame      = 'H'
	checkpointFrame  = 'C'
	consistencyFrame = 'K'
	bundleFrame      = 'B'
	recordFrame      = 'R'
	partFrame        = 'P'
	endFrame         = 'Z'
)

// A Header describes the content of a delta.
type Header struct {
	Origin  string
	From    uint64 // size of the log that the delta continues
	To      uint64 // size of the log after the delta
	Streams []Stream
}

// A Stream is a stream whose records with First ≤ seq < End are in the delta.
type Stream struct {
	ID    entry.Hash
	First uint64
	End   uint64
}

func (h *Header) marshal() ([]byte, error) {
	w := strictjson.Writer{Text: []byte{'{'}}
	w.Member("origin", h.Origin)
	w.Integer("from", h.From)
	w.Integer("to", h.To)
	if len(h.Streams) > 0 {
		w.Name("streams")
		w.Open('[')
		for i := range h.Streams {
			s := &h.Streams[i]
			w.Open('{')
			w.Member("id", s.ID.String())
			w.Integer("first", s.First)
			w.Integer("end", s.End)
			w.Close('}')
		}
		w.Close(']')
	}
	w.Close('}')
	return w.Text, w.Err
}

func (h *Header) read(o *strictjson.Object) error {
	h.Origin = o.String("origin")
	h.From = o.Integer("from")
	h.To = o.Integer("to")
	o.Objects("streams", func(o *strictjson.Object) error {
		s := Stream{First: o.Integer("first"), End: o.Integer("end")}
		var err error
		if id := o.String("id"); o.Err() == nil {
			s.ID, err = entry.ParseHash(id)
		}
		h.Streams = append(h.Streams, s)
		return err
	})
	return nil
}

func (h *Header) check() error {
	if h.Origin == "" || h.From >= h.To || h.To > 1<<53-1 {
		return fmt.Errorf("origin %q, from %d to %d", h.Origin, h.From, h.To)
	}
	if len(h.Streams) > maxStreams {
		return fmt.Errorf("%d streams, more than %d", len(h.Streams), maxStreams)
	}
	seen := map[entry.Hash]bool{}
	for i, s := range h.Streams {
		if s.First > s.End || s.End-s.First > h.To-h.From || seen[s.ID] {
			return fmt.Errorf("streams[%d]: %s, %d to %d", i, s.ID, s.First, s.End)
		}
		seen[s.ID] = true
	}
	return nil
}

// A Record is an entry without its tag, which is in the leaf.
type Record struct {
	Index      uint64
	LinkSalt   entry.Salt
	StreamID   entry.Hash
	Seq        uint64
	Prev       entry.Hash
	Time       uint64 // Unix milliseconds
	HeaderHash entry.Hash

	Header  *receipt.HeaderOpening // nil: erased
	Payload *Payload               // nil: erased
}

// A Payload is the salt and size of the payload, whose parts follow the record.
type Payload struct {
	Salt entry.Salt
	Size uint64 // bytes
}

const (
	hasHeader  = 1
	hasPayload = 2
)

func (r *Record) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.Index)
	var flags byte
	if r.Header != nil {
		flags |= hasHeader
	}
	if r.Payload != nil {
		flags |= hasPayload
	}
	b = append(b, flags)
	b = append(b, r.LinkSalt[:]...)
	b = append(b, r.StreamID[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Seq)
	b = append(b, r.Prev[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Time)
	b = append(b, r.HeaderHash[:]...)
	if r.Header != nil {
		b = append(b, r.Header.Salt[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(r.Header.Content)))
		b = append(b, r.Header.Content...)
	}
	if r.Payload != nil {
		b = append(b, r.Payload.Salt[:]...)
		b = binary.BigEndian.AppendUint64(b, r.Payload.Size)
	}
	return b
}

// parseRecord reads the body of a record. The header's content uses the memory
// of b.
func parseRecord(b []byte) (*Record, error) {
	const fixed = 8 + 1 + 4*entry.HashSize + 2*8
	if len(b) < fixed {
		return nil, fmt.Errorf("a record of %d bytes", len(b))
	}
	r := &Record{Index: binary.BigEndian.Uint64(b)}
	flags := b[8]
	b = b[9:]
	b = b[copy(r.LinkSalt[:], b):]
	b = b[copy(r.StreamID[:], b):]
	r.Seq, b = binary.BigEndian.Uint64(b), b[8:]
	b = b[copy(r.Prev[:], b):]
	r.Time, b = binary.BigEndian.Uint64(b), b[8:]
	b = b[copy(r.HeaderHash[:], b):]
	bad := fmt.Errorf("the record of entry %d is malformed", r.Index)
	if flags > hasHeader|hasPayload || flags == hasPayload {
		return nil, bad
	}
	if flags&hasHeader != 0 {
		if len(b) < entry.HashSize+4 {
			return nil, bad
		}
		r.Header = &receipt.HeaderOpening{Salt: entry.Salt(b[:entry.HashSize])}
		n := binary.BigEndian.Uint32(b[entry.HashSize:])
		b = b[entry.HashSize+4:]
		if uint64(n) > uint64(len(b)) {
			return nil, bad
		}
		r.Header.Content, b = b[:n:n], b[n:]
	}
	if flags&hasPayload != 0 {
		if len(b) < entry.HashSize+8 {
			return nil, bad
		}
		r.Payload = &Payload{entry.Salt(b[:entry.HashSize]), binary.BigEndian.Uint64(b[entry.HashSize:])}
		b = b[entry.HashSize+8:]
	}
	if len(b) > 0 {
		return nil, bad
	}
	return r, nil
}

// noteText returns the text that the log signs.
func noteText(h *Header, length uint64, digest [entry.HashSize]byte) string {
	return Preamble + h.Origin + "\n" + strconv.FormatUint(h.From, 10) + " " + strconv.FormatUint(h.To, 10) + "\n" +
		strconv.FormatUint(length, 10) + "\n" + base64.StdEncoding.EncodeToString(digest[:]) + "\n"
}

package delta

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"filippo.io/torchwood"
	"github.com/klauspost/compress/zstd"

	"muniment.dev/muniment/ledger/entry"
)

// A Writer writes a delta. Its methods must be called in the order of
// docs/spec/delta.md, section 3. It does not check the content against the log.
// After an error all methods return that error.
type Writer struct {
	w       io.Writer
	err     error
	header  Header
	digest  hash.Hash // of everything written
	written uint64
	zstd    *zstd.Encoder
	content []byte // not yet in a block; less than maxRaw bytes
	scratch []byte
	end     [3]uint64 // entries, records, bytes of payload
}

// NewWriter returns a Writer and writes the first three frames.
func NewWriter(w io.Writer, h Header, checkpoint []byte, proof []entry.Hash) (*Writer, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxRaw), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	d := &Writer{w: w, header: h, digest: sha256.New(), zstd: enc, content: make([]byte, 0, maxRaw)}
	d.write([]byte(Preamble))
	body, err := h.marshal()
	if err != nil {
		return nil, err
	}
	d.frame(headerFrame, body)
	d.frame(checkpointFrame, checkpoint)
	body = body[:0]
	for i := range proof {
		body = append(body, proof[i][:]...)
	}
	d.frame(consistencyFrame, body)
	return d, d.err
}

// Bundle writes the leaf data of entries, the first of which has the index
// first.
func (d *Writer) Bundle(first uint64, leaves [][]byte) error {
	b := binary.BigEndian.AppendUint64(d.scratch[:0], first)
	for _, l := range leaves {
		var err error
		if b, err = torchwood.AppendTileEntry(b, l); err != nil && d.err == nil {
			d.err = fmt.Errorf("bundle of entry %d: %w", first, err)
		}
	}
	d.scratch = b
	d.end[0] += uint64(len(leaves))
	d.frame(bundleFrame, b)
	return d.err
}

// Record writes a record and its payload, if it has one.
func (d *Writer) Record(r *Record, payload io.Reader) error {
	d.scratch = r.append(d.scratch[:0])
	d.end[1]++
	d.frame(recordFrame, d.scratch)
	if r.Payload == nil {
		return d.err
	}
	d.end[2] += r.Payload.Size
	if cap(d.scratch) < PartSize {
		d.scratch = make([]byte, PartSize)
	}
	for left := r.Payload.Size; left > 0 && d.err == nil; {
		part := d.scratch[:min(left, PartSize)]
		if _, err := io.ReadFull(payload, part); err != nil {
			d.err = fmt.Errorf("payload of entry %d: %w", r.Index, err)
			break
		}
		d.frame(partFrame, part)
		left -= uint64(len(part))
	}
	return d.err
}

// Close ends the delta with the note that sign returns for a text.
func (d *Writer) Close(sign func(text string) ([]byte, error)) error {
	var body []byte
	for _, n := range d.end {
		body = binary.BigEndian.AppendUint64(body, n)
	}
	d.frame(endFrame, body)
	d.flush()
	if d.err != nil {
		return d.err
	}
	note, err := sign(noteText(&d.header, d.written, [entry.HashSize]byte(d.digest.Sum(nil))))
	if err != nil {
		return fmt.Errorf("sign the delta: %w", err)
	}
	d.write(append(binary.BigEndian.AppendUint32([]byte{endMark}, uint32(len(note))), note...))
	return d.err
}

func (d *Writer) frame(kind byte, body []byte) {
	if len(body) > maxFrame && d.err == nil {
		d.err = fmt.Errorf("frame %c: %d bytes, more than %d", kind, len(body), maxFrame)
	}
	var head [frameHead]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	d.add(head[:])
	d.add(body)
}

func (d *Writer) add(b []byte) {
	for len(b) > 0 && d.err == nil {
		n := min(len(b), maxRaw-len(d.content))
		d.content, b = append(d.content, b[:n]...), b[n:]
		if len(d.content) == maxRaw {
			d.flush()
		}
	}
}

// flush writes the buffered content as a block.
func (d *Writer) flush() {
	if len(d.content) == 0 || d.err != nil {
		return
	}
	block := append(make([]byte, 0, blockHead+len(d.content)/2), make([]byte, blockHead)...)
	block = d.zstd.EncodeAll(d.content, block)
	data := block[blockHead:]
	block[0] = blockMark
	binary.BigEndian.PutUint32(block[1:], uint32(len(data)))
	binary.BigEndian.PutUint32(block[5:], uint32(len(d.content)))
	sum := sha256.Sum256(data)
	copy(block[9:], sum[:])
	d.content = d.content[:0]
	d.write(block)
}

func (d *Writer) write(b []byte) {
	if d.err != nil {
		return
	}
	d.digest.Write(b)
	d.written += uint64(len(b))
	_, d.err = d.w.Write(b)
}

package delta

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"filippo.io/torchwood"
	"github.com/klauspost/compress/zstd"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/ledger/receipt"
)

// A Reader reads the content of a checked file, frame by frame. All errors
// except read errors wrap ErrFormat, or ErrDamaged if the file changed after it
// was checked.
type Reader struct {
	Header     Header
	Checkpoint []byte
	Proof      []entry.Hash

	file   *File
	in     *blockReader
	frame  []byte
	peeked bool // kind and frame were read, but not used
	kind   byte

	bundle *Bundle // last returned by Next
	read   [3]uint64
	next   uint64 // index of the next bundle
}

// A Bundle contains the leaf data of up to 256 entries. It is valid until the
// next one is read.
type Bundle struct {
	First  uint64
	Leaves [][]byte
}

// Open reads the first three frames. The reader must be closed.
func (f *File) Open() (*Reader, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRaw))
	if err != nil {
		return nil, err
	}
	r := &Reader{file: f, in: &blockReader{file: f, zstd: dec, r: bufio.NewReaderSize(io.NewSectionReader(f.r, int64(len(Preamble)), int64(f.length)-int64(len(Preamble))), 1<<20)}}
	if err := r.open(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Start returns the header, the signed checkpoint and the consistency proof.
func (r *Reader) Start() (*Header, []byte, []entry.Hash) { return &r.Header, r.Checkpoint, r.Proof }

// Close releases the decompressor.
func (r *Reader) Close() { r.in.zstd.Close() }

func (r *Reader) open() error {
	body, err := r.expect(headerFrame)
	if err != nil {
		return err
	}
	if err := strictjson.Parse(body, r.Header.read); err != nil {
		return fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	if err := r.Header.check(); err != nil {
		return fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	if r.Header.From != r.file.from || r.Header.To != r.file.to {
		return fmt.Errorf("%w: the header is for %d to %d, the signature for %d to %d", ErrFormat, r.Header.From, r.Header.To, r.file.from, r.file.to)
	}
	if body, err = r.expect(checkpointFrame); err != nil {
		return err
	}
	if len(body) > receipt.MaxCheckpointSize {
		return fmt.Errorf("%w: the checkpoint has %d bytes", ErrFormat, len(body))
	}
	r.Checkpoint = append([]byte(nil), body...)
	if body, err = r.expect(consistencyFrame); err != nil {
		return err
	}
	if len(body)%entry.HashSize != 0 || len(body) > maxProof*entry.HashSize {
		return fmt.Errorf("%w: the consistency proof has %d bytes", ErrFormat, len(body))
	}
	for ; len(body) > 0; body = body[entry.HashSize:] {
		r.Proof = append(r.Proof, entry.Hash(body[:entry.HashSize]))
	}
	r.next = r.Header.From
	return nil
}

// Next returns the next bundle. The records of the previous one must have been
// read. After the end frame, whose numbers it checks, Next returns io.EOF.
func (r *Reader) Next() (*Bundle, error) {
	if r.next == r.Header.To {
		return nil, r.finish()
	}
	body, err := r.expect(bundleFrame)
	if err != nil {
		return nil, err
	}
	if len(body) < 8 || binary.BigEndian.Uint64(body) != r.next {
		return nil, fmt.Errorf("%w: a bundle does not begin at entry %d", ErrFormat, r.next)
	}
	end := min(r.next|255+1, r.Header.To)
	if r.bundle == nil {
		r.bundle = &Bundle{}
	}
	b := &Bundle{First: r.next, Leaves: r.bundle.Leaves[:0]}
	for body = append([]byte(nil), body[8:]...); r.next < end; r.next++ {
		leaf, rest, err := torchwood.ReadTileEntry(body)
		if err != nil {
			return nil, fmt.Errorf("%w: the bundle of entry %d ends too early", ErrFormat, b.First)
		}
		b.Leaves, body = append(b.Leaves, leaf), rest
	}
	if len(body) > 0 {
		return nil, fmt.Errorf("%w: data after the entries of the bundle of entry %d", ErrFormat, b.First)
	}
	r.read[0] += uint64(len(b.Leaves))
	r.bundle = b
	return b, nil
}

// Record returns the next record of the last bundle, or nil if there is none
// left. Its payload must be read before the next call.
func (r *Reader) Record() (*Record, error) {
	if err := r.peek(); err != nil {
		return nil, err
	}
	if r.kind != recordFrame {
		return nil, nil
	}
	r.peeked = false
	rec, err := parseRecord(append([]byte(nil), r.frame...))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	r.read[1]++
	return rec, nil
}

// Payload calls f with the parts of the record's payload, in order.
func (r *Reader) Payload(rec *Record, f func(part []byte) error) error {
	for left := rec.Payload.Size; left > 0; {
		part, err := r.expect(partFrame)
		if err != nil {
			return err
		}
		if len(part) == 0 || len(part) > PartSize || uint64(len(part)) > left {
			return fmt.Errorf("%w: a part of the payload of entry %d has %d bytes", ErrFormat, rec.Index, len(part))
		}
		left -= uint64(len(part))
		if err := f(part); err != nil {
			return err
		}
	}
	r.read[2] += rec.Payload.Size
	return nil
}

func (r *Reader) finish() error {
	body, err := r.expect(endFrame)
	if err != nil {
		return err
	}
	var want []byte
	for _, n := range r.read {
		want = binary.BigEndian.AppendUint64(want, n)
	}
	if string(body) != string(want) {
		return fmt.Errorf("%w: the end frame does not match the %d entries, %d records and %d bytes of payload", ErrFormat, r.read[0], r.read[1], r.read[2])
	}
	if err := r.in.end(); err != nil {
		return err
	}
	return io.EOF
}

// expect returns the body of the next frame, which must be of the given type.
// The body is valid until the next frame is read.
func (r *Reader) expect(kind byte) ([]byte, error) {
	if err := r.peek(); err != nil {
		return nil, err
	}
	if r.kind != kind {
		return nil, fmt.Errorf("%w: a frame has the type %q, want %q", ErrFormat, r.kind, kind)
	}
	r.peeked = false
	return r.frame, nil
}

func (r *Reader) peek() error {
	if r.peeked {
		return nil
	}
	var head [frameHead]byte
	if err := r.in.full(head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return fmt.Errorf("%w: a frame has %d bytes", ErrFormat, n)
	}
	if uint32(cap(r.frame)) < n {
		r.frame = make([]byte, n)
	}
	r.kind, r.frame = head[0], r.frame[:n]
	if err := r.in.full(r.frame); err != nil {
		return err
	}
	r.peeked = true
	return nil
}

// A blockReader decompresses the blocks in order.
type blockReader struct {
	file *File
	r    *bufio.Reader
	zstd *zstd.Decoder
	n    int // blocks read
	data []byte
	raw  []byte // the last block, decompressed
	left []byte // its unread part
}

// full fills b from the content.
func (b *blockReader) full(out []byte) error {
	for len(out) > 0 {
		if len(b.left) == 0 {
			if err := b.block(); err != nil {
				return err
			}
		}
		n := copy(out, b.left)
		out, b.left = out[n:], b.left[n:]
	}
	return nil
}

func (b *blockReader) block() error {
	if b.n == len(b.file.blocks) {
		return fmt.Errorf("%w: the content ends within a frame", ErrFormat)
	}
	changed := fmt.Errorf("%w: block %d changed after the file was checked", ErrDamaged, b.n)
	mark, err := b.r.ReadByte()
	if err != nil {
		return damaged("truncated after the check", err)
	}
	stored, raw, sum, err := readBlockHead(plain{b.r}, mark)
	if err != nil {
		return damaged("changed after the check", err)
	}
	if cap(b.data) < stored {
		b.data = make([]byte, maxStored)
	}
	if _, err := io.ReadFull(b.r, b.data[:stored]); err != nil {
		return damaged("truncated after the check", err)
	}
	if sum != b.file.blocks[b.n] || sha256.Sum256(b.data[:stored]) != sum {
		return changed
	}
	b.n++
	if b.raw, err = b.zstd.DecodeAll(b.data[:stored], b.raw[:0]); err != nil || len(b.raw) != raw {
		return fmt.Errorf("%w: block %d does not decompress to %d bytes (%v)", ErrFormat, b.n-1, raw, err)
	}
	b.left = b.raw
	return nil
}

func (b *blockReader) end() error {
	if len(b.left) > 0 || b.n < len(b.file.blocks) {
		return fmt.Errorf("%w: data after the last frame", ErrFormat)
	}
	return nil
}

type plain struct{ io.Reader }

func (p plain) full(b []byte) error {
	_, err := io.ReadFull(p.Reader, b)
	return err
}

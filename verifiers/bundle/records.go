package bundle

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/ledger/receipt"
)

// A State is that of the payload of an entry in a bundle.
type State string

// The states of payloads.
const (
	Included State = "included"
	Omitted  State = "omitted"
	Erased   State = "erased"
)

// A Record is an entry of the stream. Its place in the stream and its leaf are
// not in the file, and are set by the reader.
type Record struct {
	Index      uint64
	Time       uint64 // Unix milliseconds
	LinkSalt   entry.Salt
	Opening    *receipt.HeaderOpening // nil: erased
	HeaderHash entry.Hash
	Payload    State
	// PayloadSalt is set if the payload is included.
	PayloadSalt entry.Salt

	Seq    uint64
	Prev   entry.Hash
	Tag    entry.Hash
	Header *entry.Header // nil: erased
}

// AppendLine appends the record's line to b.
func (r *Record) AppendLine(b []byte) ([]byte, error) {
	w := &strictjson.Writer{Text: append(b, '{')}
	w.Integer("index", r.Index)
	w.Integer("time", r.Time)
	w.Base64("linkSalt", r.LinkSalt[:])
	if r.Opening != nil {
		w.Base64("headerSalt", r.Opening.Salt[:])
		w.Member("header", string(r.Opening.Content))
	} else {
		w.Base64("headerHash", r.HeaderHash[:])
	}
	w.Member("payload", string(r.Payload))
	if r.Payload == Included {
		w.Base64("payloadSalt", r.PayloadSalt[:])
	}
	w.Close('}')
	return append(w.Text, '\n'), w.Err
}

func (r *Record) read(o *strictjson.Object) error {
	r.Index = o.Integer("index")
	r.Time = o.Integer("time")
	o.Base64Fixed("linkSalt", r.LinkSalt[:])
	if o.Has("header") {
		r.Opening = &receipt.HeaderOpening{}
		o.Base64Fixed("headerSalt", r.Opening.Salt[:])
		r.Opening.Content = []byte(o.String("header"))
	} else {
		o.Base64Fixed("headerHash", r.HeaderHash[:])
	}
	r.Payload = State(o.String("payload"))
	switch r.Payload {
	case Included:
		o.Base64Fixed("payloadSalt", r.PayloadSalt[:])
	case Omitted, Erased:
	default:
		if o.Err() == nil {
			return fmt.Errorf("payload: %q is not a state", string(r.Payload))
		}
	}
	return nil
}

// skeleton returns the skeleton of the record's entry.
func (r *Record) skeleton(stream entry.Hash) entry.Skeleton {
	return entry.Skeleton{Tag: r.Tag, LinkSalt: r.LinkSalt, StreamID: stream, Seq: r.Seq, Prev: r.Prev, Time: r.Time, HeaderHash: r.HeaderHash}
}

// LeafHash returns the leaf hash of a record that EachRecord has read.
func (b *Bundle) LeafHash(r *Record) entry.Hash {
	sk := r.skeleton(b.Manifest.Stream.ID)
	return sk.LeafHash(entry.HashOrigin(b.Manifest.Origin))
}

// EachRecord calls visit with each record, in the order of the stream, after
// checking it as step 6 of docs/spec/bundle.md, section 5, specifies. The
// record is valid until visit returns.
func (b *Bundle) EachRecord(ctx context.Context, visit func(*Record) error) error {
	s := &recordScan{b: b, leaves: leafReader{b: b}, origin: entry.HashOrigin(b.Manifest.Origin), visit: visit}
	short := ""
	for i := range b.Manifest.Members {
		m := &b.Manifest.Members[i]
		if m.Role != RoleEntries {
			continue
		}
		if short != "" {
			return fail(RecordMalformed, "%s: it ends before it reaches %d bytes, and other records follow", short, EntriesSize)
		}
		if err := s.member(ctx, i); err != nil {
			return err
		}
		if m.Size < EntriesSize {
			short = m.Name
		}
	}
	return s.end()
}

// A recordScan is the progress of reading the records.
type recordScan struct {
	b      *Bundle
	leaves leafReader
	origin entry.OriginHash
	visit  func(*Record) error

	n    uint64 // records read
	prev Record // the last one
	last entry.Hash
}

// member reads the records of a member.
func (s *recordScan) member(ctx context.Context, i int) error {
	m := &s.b.Manifest.Members[i]
	bad := func(format string, args ...any) error {
		return fail(RecordMalformed, "%s: %w", m.Name, fmt.Errorf(format, args...))
	}
	in := bufio.NewReaderSize(s.b.section(i), 64<<10)
	read, name := int64(0), ""
	for read < m.Size {
		if name != "" && read >= EntriesSize {
			return bad("a record follows the one with which it reaches %d bytes", EntriesSize)
		}
		line, err := readLine(in)
		if errors.Is(err, errLine) {
			return bad("%w", err)
		}
		if err != nil {
			return fail(Unreadable, "%s: %w", m.Name, err)
		}
		read += int64(len(line))
		r := &Record{Seq: s.n, Prev: s.last}
		if err := strictjson.Parse(line, r.read); err != nil {
			return bad("record %d of the stream: %w", s.n, err)
		}
		if name == "" {
			if name = EntriesName(r.Index); name != m.Name {
				return bad("its first record is that of entry %d", r.Index)
			}
		}
		if err := s.record(r); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if name == "" {
		return bad("it has no records")
	}
	return nil
}

var errLine = errors.New("a line is too long, or does not end with a line feed")

// readLine returns a line with its line feed.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxRecordLine, err == io.EOF:
			return nil, errLine
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// record checks a record.
func (s *recordScan) record(r *Record) error {
	m := s.b.Manifest
	at := fmt.Sprintf("entry %d", r.Index)
	switch {
	case r.Index >= m.Size:
		return fail(RecordOrder, "%s: beyond the tree of size %d", at, m.Size)
	case s.n > 0 && r.Index <= s.prev.Index:
		return fail(RecordOrder, "%s: its record follows that of entry %d", at, s.prev.Index)
	case s.n > 0 && r.Time < s.prev.Time:
		return fail(RecordOrder, "%s: its time is before that of entry %d", at, s.prev.Index)
	}
	if r.Opening != nil {
		h, err := entry.ParseHeader(r.Opening.Content)
		if err != nil {
			return fail(HeaderMalformed, "%s: %w", at, err)
		}
		if h.Origin != m.Origin || h.Tenant != m.Tenant {
			return fail(HeaderForeign, "%s: its header names the log %q and the tenant %q", at, h.Origin, h.Tenant)
		}
		r.Header, r.HeaderHash = h, entry.HeaderHash(r.Opening.Salt, r.Opening.Content)
	}
	leaf, err := s.leaves.at(r.Index)
	if err != nil {
		return err
	}
	r.Tag = entry.Hash(leaf[1 : 1+entry.HashSize])
	sk := r.skeleton(m.Stream.ID)
	if data := sk.LeafData(s.origin); r.Seq > r.Index || !bytes.Equal(data[:], leaf) {
		return fail(RecordLeaf, "%s: its record does not open its leaf as entry %d of the stream", at, r.Seq)
	}
	s.n, s.prev, s.last = s.n+1, Record{Index: r.Index, Time: r.Time}, entry.LeafHash(leaf)
	return s.visit(r)
}

// end checks the end of the stream.
func (s *recordScan) end() error {
	m := s.b.Manifest
	switch {
	case s.n != m.Stream.Entries:
		return fail(StreamMismatch, "%d records, but the manifest counts %d", s.n, m.Stream.Entries)
	case s.last != m.Stream.Last:
		return fail(StreamMismatch, "the last record is not the last entry that the manifest names")
	case m.Time < s.prev.Time:
		return fail(StreamMismatch, "the time of the bundle is before that of entry %d", s.prev.Index)
	}
	return nil
}

// A leafReader reads leaf data from the entry bundles, best in the order of
// indexes.
type leafReader struct {
	b      *Bundle
	loaded bool
	tile   uint64
	data   []byte
}

// at returns the leaf data of an entry, which is valid until the next call.
func (l *leafReader) at(index uint64) ([]byte, error) {
	if n := index / tileWidth; !l.loaded || n != l.tile {
		data, err := l.b.leaves(n)
		if err != nil {
			return nil, err
		}
		l.loaded, l.tile, l.data = true, n, data
	}
	i := index % tileWidth * leafSize
	return l.data[i+2 : i+leafSize], nil
}

// leaves returns an entry bundle. Its size is checked when the bundle is
// opened.
func (b *Bundle) leaves(n uint64) ([]byte, error) {
	t := Tile{-1, n, int(min(tileWidth, b.Manifest.Size-n*tileWidth))}
	data, err := b.read(t.Name())
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(data); i += leafSize {
		if data[i] != 0 || data[i+1] != entry.LeafSize || entry.CheckLeaf(data[i+2:i+leafSize]) != nil {
			return nil, fail(LeavesMalformed, "%s: leaf %d is not that of an entry", t.Name(), n*tileWidth+uint64(i/leafSize))
		}
	}
	return data, nil
}

// EachLeaf calls visit with the data of each leaf of the tree, in order. The
// data is valid until visit returns.
func (b *Bundle) EachLeaf(ctx context.Context, visit func(index uint64, data []byte) error) error {
	leaves := leafReader{b: b}
	for i := range b.Manifest.Size {
		data, err := leaves.at(i)
		if err == nil && i%tileWidth == 0 {
			err = ctx.Err()
		}
		if err == nil {
			err = visit(i, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Leaves returns the data of up to 256 leaves, from index 256·n on.
func (b *Bundle) Leaves(n uint64) ([][]byte, error) {
	data, err := b.leaves(n)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for i := 0; i < len(data); i += leafSize {
		all = append(all, data[i+2:i+leafSize])
	}
	return all, nil
}

package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/facts"
)

// ErrOmitted reports that a bundle does not contain the payload of an entry.
var ErrOmitted = errors.New("its payload is not in the bundle")

// A Growth has the content of a verified bundle in the form that replicas
// import. It implements ledger.Growth.
type Growth struct {
	bundle     *bundlefile.Bundle
	header     delta.Header
	checkpoint []byte
	tile       uint64             // the next entry bundle
	ahead      *bundlefile.Record // read, but not returned; nil: none
	last       *bundlefile.Record
	next       func() (*bundlefile.Record, error, bool)
	stop       func()
}

// OpenGrowth opens the content of a bundle. The growth must be closed.
func OpenGrowth(ctx context.Context, b *bundlefile.Bundle) (*Growth, error) {
	m := b.Manifest
	g := &Growth{bundle: b, header: delta.Header{Origin: m.Origin, To: m.Size, Streams: []delta.Stream{{ID: m.Stream.ID, End: m.Stream.Entries}}}}
	var err error
	if g.checkpoint, err = bounded.ReadAll(b.Open(bundlefile.CheckpointName), bounded.Config); err != nil {
		return nil, err
	}
	g.next, g.stop = iter.Pull2(records(ctx, b))
	return g, nil
}

var errStop = errors.New("stop")

// records returns the records of a bundle.
func records(ctx context.Context, b *bundlefile.Bundle) iter.Seq2[*bundlefile.Record, error] {
	return func(yield func(*bundlefile.Record, error) bool) {
		err := b.EachRecord(ctx, func(r *bundlefile.Record) error {
			if !yield(r, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// Close ends the reading of records.
func (g *Growth) Close() { g.stop() }

// Start implements ledger.Growth.
func (g *Growth) Start() (*delta.Header, []byte, []entry.Hash) { return &g.header, g.checkpoint, nil }

// Next implements ledger.Growth.
func (g *Growth) Next() (*delta.Bundle, error) {
	if g.tile*256 >= g.header.To {
		return nil, io.EOF
	}
	leaves, err := g.bundle.Leaves(g.tile)
	if err != nil {
		return nil, err
	}
	g.tile++
	return &delta.Bundle{First: (g.tile - 1) * 256, Leaves: leaves}, nil
}

// Record implements ledger.Growth.
func (g *Growth) Record() (*delta.Record, error) {
	if g.ahead == nil {
		r, err, ok := g.next()
		if err != nil || !ok {
			return nil, err
		}
		g.ahead = r
	}
	r := g.ahead
	if r.Index >= g.tile*256 {
		return nil, nil
	}
	g.ahead, g.last = nil, r
	out := &delta.Record{
		Index: r.Index, LinkSalt: r.LinkSalt, StreamID: g.bundle.Manifest.Stream.ID, Seq: r.Seq, Prev: r.Prev, Time: r.Time, HeaderHash: r.HeaderHash, Header: r.Opening,
	}
	if r.Payload == bundlefile.Included {
		out.Payload = &delta.Payload{Salt: r.PayloadSalt, Size: r.Header.Payload.Size}
	}
	return out, nil
}

// Payload implements ledger.Growth.
func (g *Growth) Payload(_ *delta.Record, f func(part []byte) error) error {
	name := bundlefile.PayloadName(g.last.Index, g.last.Header.MediaType)
	content := g.bundle.Open(name)
	if content == nil {
		return fmt.Errorf("entry %d: %w", g.last.Index, ErrOmitted)
	}
	part := make([]byte, delta.PartSize)
	for {
		n, err := content.Read(part)
		if n > 0 {
			if err := f(bytes.Clone(part[:n])); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// A Log is the replica of a bundle. Reading a payload that the bundle omits is
// an error, so that it is not mistaken for an erased one.
type Log struct {
	*ledger.Ledger
	bundle *bundlefile.Bundle
	erased map[uint64]bool // entries whose payload was erased
}

// NewLog returns the log of a replica with the content of a verified bundle.
func NewLog(ctx context.Context, replica *ledger.Ledger, b *bundlefile.Bundle) (*Log, error) {
	l := &Log{Ledger: replica, bundle: b, erased: map[uint64]bool{}}
	stream, next := &ledger.Stream{ID: b.Manifest.Stream.ID}, uint64(0)
	for e, err := range exception.Entries(ctx, l, replica.Published(), stream, ledger.Filter{Kind: ledger.ErasureKind}, &next) {
		if err != nil {
			return nil, err
		}
		index, err := ledger.ErasedBy(e)
		if err != nil {
			return nil, err
		}
		l.erased[index] = true
	}
	return l, nil
}

func (l *Log) check(e *ledger.Entry) error {
	if e.Header != nil && !l.erased[e.Index] && l.bundle.Open(bundlefile.PayloadName(e.Index, e.Header.MediaType)) == nil {
		return fmt.Errorf("entry %d: %w, which was created for other artifacts: create one for these", e.Index, ErrOmitted)
	}
	return nil
}

// Payload returns the payload of an entry, or nil if it was erased.
func (l *Log) Payload(ctx context.Context, e *ledger.Entry) (*receipt.PayloadOpening, error) {
	if err := l.check(e); err != nil {
		return nil, err
	}
	return l.Ledger.Payload(ctx, e)
}

// Facts returns the encoded facts of an entry, or nil if it has none or its
// payload was erased.
func (l *Log) Facts(ctx context.Context, e *ledger.Entry) ([]byte, error) {
	if facts.Expected(e.Header) {
		if err := l.check(e); err != nil {
			return nil, err
		}
	}
	return l.Ledger.Facts(ctx, e)
}

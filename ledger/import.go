package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

var (
	// ErrGap reports that a delta begins after the replica's end.
	ErrGap = errors.New("a delta is missing before this one")
	// ErrReplay reports that the replica already has some of the delta's
	// entries, and lacks the others.
	ErrReplay = errors.New("the delta was imported before")
	// ErrForked reports that a delta continues a different history. The error
	// is a *Fork.
	ErrForked = errors.New("the log is forked")
	// ErrDelta reports that a delta's content does not match its checkpoint and
	// header.
	ErrDelta = errors.New("the delta does not verify")
)

// A Fork is a pair of contradictory checkpoints, both signed by the log.
type Fork struct {
	Kept    []byte // signed note; the replica's
	Offered []byte // the delta's
	cause   error
}

// NewFork returns the error of two contradictory checkpoints.
func NewFork(kept, offered []byte, cause error) *Fork {
	return &Fork{Kept: kept, Offered: offered, cause: cause}
}

func (f *Fork) Error() string {
	return fmt.Sprintf("%v: the delta's checkpoint does not continue the replica's (%v); both are signed by the log: keep the file as evidence, and show it to others", ErrForked, f.cause)
}

// Unwrap returns ErrForked.
func (f *Fork) Unwrap() error { return ErrForked }

// ImportOptions configures an import.
type ImportOptions struct {
	Policy       *receipt.TrustPolicy
	Streams      []*Stream // streams with known keys, whose completeness is checked
	ReserveBytes uint64    // free disk space below which nothing is written
	Derive       Derive    // nil: no entry has facts
	// Progress is called with the bytes read in the first pass over the file.
	// It may be nil.
	Progress func(done, total uint64)

	// tags of earlier imports by stream, which this one extends; may be nil
	tables map[entry.Hash]*entry.TagTable
}

// An ImportReport describes the content of an imported delta.
type ImportReport struct {
	Origin       string     `json:"origin"`
	From         uint64     `json:"from"`
	To           uint64     `json:"to"`
	Root         entry.Hash `json:"-"`
	Records      uint64     `json:"records"`
	PayloadBytes uint64     `json:"payloadBytes"`
	Streams      int        `json:"streams"`
	// entries that an interrupted import had already written
	Resumed uint64     `json:"resumed"`
	Digest  entry.Hash `json:"-"`
	// Already reports that the replica had everything in the delta before, and
	// has verified that.
	Already bool `json:"alreadyImported"`
}

// A Growth is the growth of a log, with the records of some of its streams, as
// a delta file carries it. A *delta.Reader is a Growth.
type Growth interface {
	// Start returns the header, the signed checkpoint, and the consistency
	// proof.
	Start() (*delta.Header, []byte, []entry.Hash)
	// Next returns the next bundle of leaves, or io.EOF. The records of the
	// previous one have been read.
	Next() (*delta.Bundle, error)
	// Record returns the next record of the last bundle, or nil.
	Record() (*delta.Record, error)
	// Payload calls f with the parts of the last record's payload.
	Payload(rec *delta.Record, f func(part []byte) error) error
	Close()
}

// Import adds a delta to a replica's store. It verifies everything before the
// first write, by docs/spec/delta.md section 4. The last write publishes the
// new size. An interrupted import leaves the published state unchanged, and the
// same import continues it. A delta that the replica has already is verified
// against it, and changes nothing. Memory grows by 32 bytes per MiB of the
// file.
//
// Errors: ErrDamaged and ErrFormat of package delta, ErrGap, ErrReplay,
// ErrForked, ErrDelta; ErrDiskFull.
func Import(ctx context.Context, s store.Store, file io.ReaderAt, size int64, o ImportOptions) (*ImportReport, error) {
	report, streams, err := importFile(ctx, s, file, size, o)
	if err != nil {
		return nil, err
	}
	return report, eraseImported(ctx, s, report, streams)
}

// ImportGrowth is Import from another source, which open opens once for each
// pass over it.
func ImportGrowth(ctx context.Context, s store.Store, open func() (Growth, error), o ImportOptions) (*ImportReport, error) {
	im, err := newImporter(ctx, s, o)
	if err != nil {
		return nil, err
	}
	report, streams, err := im.run(ctx, open, &ImportReport{})
	if err != nil {
		return nil, err
	}
	return report, eraseImported(ctx, s, report, streams)
}

// eraseImported repeats the erasures that imported streams record.
func eraseImported(ctx context.Context, s store.Store, report *ImportReport, streams []store.StreamHead) error {
	// Opening the replica repeats erasures as well, but only this removes their
	// bytes from the disk.
	st, err := s.Follow(ctx, 0)
	size := report.To
	if err == nil && report.Already { // and the process may have ended before
		_, size, err = lastCheckpoint(ctx, s, st.Size)
	}
	if err == nil {
		err = erase(ctx, s, &store.State{Size: size, Secret: st.Secret}, streams)
	}
	if err != nil {
		return fmt.Errorf("the delta is imported, but openings that it records as erased are still on disk: %w; start the server to erase them", err)
	}
	return nil
}

// importFile imports a delta, except for the erasures recorded in its streams.
func importFile(ctx context.Context, s store.Store, file io.ReaderAt, size int64, o ImportOptions) (*ImportReport, []store.StreamHead, error) {
	im, err := newImporter(ctx, s, o)
	if err != nil {
		return nil, nil, err
	}
	f, err := delta.Check(file, size, o.Policy.LogKey(), o.Progress)
	if err != nil {
		return nil, nil, err
	}
	open := func() (Growth, error) { return f.Open() }
	return im.run(ctx, open, &ImportReport{Digest: f.Digest})
}

func newImporter(ctx context.Context, s store.Store, o ImportOptions) (*importer, error) {
	im := &importer{store: s, o: o, tables: o.tables}
	if im.tables == nil {
		im.tables = map[entry.Hash]*entry.TagTable{}
	}
	var err error
	if im.state, err = s.Follow(ctx, 0); err != nil {
		return nil, err
	}
	if !im.state.Raw {
		return nil, errors.New("not the store of a replica: deltas are imported into a folder made by muniment replica init")
	}
	if im.heads, err = s.StreamHeads(ctx); err != nil {
		return nil, indexDamage(err, true)
	}
	im.kept, im.from, err = lastCheckpoint(ctx, s, im.state.Size)
	return im, err
}

// run reads the growth twice: to check it, and to write it.
func (im *importer) run(ctx context.Context, open func() (Growth, error), report *ImportReport) (*ImportReport, []store.StreamHead, error) {
	defer func() {
		for _, w := range im.large { // in no commit
			w.Discard()
		}
	}()
	report.Resumed = im.state.Size - im.from
	for _, write := range []bool{false, true} {
		if err := im.read(ctx, open, write, report); err != nil {
			return nil, nil, err
		}
		if report.Already {
			break
		}
	}
	var streams []store.StreamHead
	for id := range im.streams {
		streams = append(streams, store.StreamHead{StreamID: id})
	}
	return report, streams, nil
}

// An importer is one import. The fields from write on belong to one pass over
// the file.
type importer struct {
	store store.Store
	o     ImportOptions
	state *store.State // its size exceeds from after an interrupted import
	heads []store.StreamHead
	kept  []byte // the replica's checkpoint
	from  uint64 // and its size; that at which the delta begins, if it is there already
	again bool   // the replica has the whole delta

	write      bool
	r          Growth
	header     *delta.Header
	checkpoint []byte // signed
	proof      []entry.Hash
	tree       *tree
	streams    map[entry.Hash]*importedStream
	keyed      []*importedStream // streams with known keys

	commit *store.Commit // the next commit; nil: empty
	bytes  int
	large  []store.PayloadWriter // of the commit
	facts  []store.FactsAt       // of the bundle that is read

	tables map[entry.Hash]*entry.TagTable // by stream; made by the first pass
}

// An importedStream is the progress of one stream.
type importedStream struct {
	id        entry.Hash
	next, end uint64
	last      entry.Hash // leaf hash of the entry before next

	// tags of all sequence numbers below the new size; nil without the key
	tags *entry.TagTable
	seen uint64 // sequence number of the next leaf of the stream
}

var importEntries = 4096 // of one commit; a variable for tests

const (
	importBytes = 16 << 20 // of one commit
	importLarge = 1 << 20  // largest payload that is held in memory
)

// read makes one pass over the delta. It checks everything, and writes if write
// is set.
func (im *importer) read(ctx context.Context, open func() (Growth, error), write bool, report *ImportReport) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	im.r, im.write, im.commit, im.bytes = r, write, nil, 0
	im.header, im.checkpoint, im.proof = r.Start()
	head, err := im.checkPlace(ctx)
	if err != nil {
		return err
	}
	if im.tree, err = loadTree(ctx, im.store, &store.State{Raw: true, Size: im.from}, im.origin()); err != nil {
		return fmt.Errorf("load the tree: %w", err)
	}
	if err := im.openStreams(ctx); err != nil {
		return err
	}
	*report = ImportReport{
		Origin: im.header.Origin, From: im.from, To: head.Size, Root: head.Root, Streams: len(im.header.Streams),
		Resumed: report.Resumed, Digest: report.Digest, Already: im.again,
	}
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := im.bundle(ctx, b, report); err != nil {
			return err
		}
	}
	if root := im.tree.root(); root != head.Root {
		return fmt.Errorf("%w: its leaves have the root %s, its checkpoint has %s", ErrDelta, root.Base64(), head.Root.Base64())
	}
	if err := im.checkEnds(); err != nil {
		return err
	}
	if im.again {
		return im.checkKept(ctx)
	}
	if !write {
		return nil
	}
	im.commit.Checkpoint = &store.Checkpoint{Size: head.Size, Signed: im.checkpoint}
	return im.flush(ctx)
}

// checkEnds checks that the delta contained every record of its streams.
func (im *importer) checkEnds() error {
	for _, s := range im.streams {
		if s.next != s.end {
			return fmt.Errorf("%w: its records of the stream %s end before entry %d, want %d entries", ErrDelta, s.id, s.next, s.end)
		}
		if s.tags != nil && s.seen != s.end {
			return fmt.Errorf("%w: the stream %s has %d entries in the log, but %d in the delta", ErrDelta, s.id, s.seen, s.end)
		}
	}
	return nil
}

// checkPlace checks that the delta belongs to the log, and continues the
// replica or is a part of it.
func (im *importer) checkPlace(ctx context.Context) (receipt.Checkpoint, error) {
	h, none := im.header, receipt.Checkpoint{}
	if origin := im.o.Policy.Origin(); h.Origin != origin {
		return none, fmt.Errorf("%w: its origin is %q, the policy's is %q", ErrDelta, h.Origin, origin)
	}
	again := h.To <= im.from
	switch {
	case again:
	case h.From < im.from:
		return none, fmt.Errorf("%w in part: it begins at size %d, but this replica has %d entries: make one with muniment export --since %d", ErrReplay, h.From, im.from, im.from)
	case h.From > im.from:
		return none, fmt.Errorf("%w: it begins at size %d, but this replica has %d entries: import the delta between them first, or make one with muniment export --since %d", ErrGap, h.From, im.from, im.from)
	case h.To < im.state.Size:
		return none, fmt.Errorf("%w: the import of a larger delta was interrupted: finish it first", ErrDelta)
	}
	head, _, err := im.o.Policy.VerifyCheckpoint(im.checkpoint)
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrDelta, err)
	}
	if head.Size != h.To {
		return none, fmt.Errorf("%w: its checkpoint has size %d, but its header has %d", ErrDelta, head.Size, h.To)
	}
	if again {
		return head, im.beginAgain(ctx, head)
	}
	if im.from == 0 {
		return head, nil
	}
	kept, err := receipt.ParseCheckpointUnverified(im.kept)
	if err != nil {
		return none, fmt.Errorf("the replica's checkpoint: %w", err)
	}
	if err := receipt.VerifyConsistency(kept.Size, head.Size, kept.Root, head.Root, im.proof); err != nil {
		return none, &Fork{Kept: im.kept, Offered: im.checkpoint, cause: err}
	}
	return head, nil
}

// beginAgain checks that the replica has had the state that the delta ends
// with, and makes the pass over the file begin where the delta does.
func (im *importer) beginAgain(ctx context.Context, head receipt.Checkpoint) error {
	t, err := loadTree(ctx, im.store, &store.State{Raw: true, Size: head.Size}, im.origin())
	if err != nil {
		return fmt.Errorf("load the tree: %w", err)
	}
	if t.root() != head.Root {
		return &Fork{Kept: im.kept, Offered: im.checkpoint, cause: fmt.Errorf("this replica had another root at size %d", head.Size)}
	}
	im.from, im.again = im.header.From, true
	return nil
}

// checkKept checks that the replica has the records of the delta. The pass over
// the file has compared its leaves with the replica's.
func (im *importer) checkKept(ctx context.Context) error {
	for _, s := range im.streams {
		end, last, err := streamEnd(ctx, im.store, im.origin(), s.id, im.header.To)
		if err != nil {
			return err
		}
		if end != s.end || last != s.last {
			return fmt.Errorf("%w: it has %d records of the stream %s, but this replica has %d of them: export from size 0, and import into a new folder", ErrDelta, s.end, s.id, end)
		}
	}
	return nil
}

// openStreams looks up the ends of the replica's streams.
func (im *importer) openStreams(ctx context.Context) error {
	im.streams, im.keyed = map[entry.Hash]*importedStream{}, nil
	for _, d := range im.header.Streams {
		s := &importedStream{id: d.ID, end: d.End}
		var err error
		if s.next, s.last, err = streamEnd(ctx, im.store, im.origin(), d.ID, im.from); err != nil {
			return err
		}
		if s.next != d.First {
			return fmt.Errorf("%w: its records of the stream %s begin at %d, but this replica has %d: export from size 0, and import into a new folder", ErrDelta, d.ID, d.First, s.next)
		}
		im.streams[d.ID] = s
	}
	for _, h := range im.heads {
		if im.streams[h.StreamID] == nil {
			return fmt.Errorf("%w: it lacks the stream %s, which this replica has: export it for that tenant, too", ErrDelta, h.StreamID)
		}
	}
	for _, known := range im.o.Streams {
		s := im.streams[known.ID]
		if s == nil {
			return fmt.Errorf("%w: it lacks the stream %s, whose key was given: export it for that tenant, too", ErrDelta, known.ID)
		}
		s.seen = s.next
		var err error
		if s.tags, err = im.table(ctx, known); err != nil {
			return err
		}
		im.keyed = append(im.keyed, s)
	}
	return nil
}

// table returns the tags of all sequence numbers below the new size.
func (im *importer) table(ctx context.Context, s *Stream) (*entry.TagTable, error) {
	t := im.tables[s.ID]
	if t == nil {
		t = entry.NewTagTable(&s.Key)
		im.tables[s.ID] = t
	}
	t.Reserve(im.header.To)
	const step = 1 << 16 // between checks of the context
	for t.Len() < im.header.To {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("interrupted before anything was written: %w; import the same file again", err)
		}
		t.Extend(min(t.Len()+step, im.header.To))
	}
	return t, nil
}

func (im *importer) origin() entry.OriginHash { return entry.HashOrigin(im.header.Origin) }

package ledger

import (
	"bytes"
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
	// ErrReplay reports that the replica already has the delta's entries.
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

func (f *Fork) Error() string {
	return fmt.Sprintf("%v: the delta's checkpoint does not continue the one of this replica (%v); keep the file: both are signed by the log, and show it to others", ErrForked, f.cause)
}

// Unwrap returns ErrForked.
func (f *Fork) Unwrap() error { return ErrForked }

// ImportOptions configures an import.
type ImportOptions struct {
	Policy       *receipt.TrustPolicy
	Streams      []*Stream // streams with known keys, whose completeness is checked
	ReserveBytes uint64    // free disk space below which nothing is written
	// Progress is called with the bytes read in the first pass over the file.
	// It may be nil.
	Progress func(done, total uint64)
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
}

// Import adds a delta to a replica's store. It verifies everything before the
// first write, by docs/spec/delta.md section 4. The last write publishes the
// new size. An interrupted import leaves the published state unchanged, and the
// same import continues it. Memory grows by 32 bytes per MiB of the file.
//
// Errors: ErrDamaged and ErrFormat of package delta, ErrGap, ErrReplay,
// ErrForked, ErrDelta; ErrDiskFull.
func Import(ctx context.Context, s store.Store, file io.ReaderAt, size int64, o ImportOptions) (*ImportReport, error) {
	im := &importer{store: s, o: o, tables: map[entry.Hash]*entry.TagTable{}}
	var err error
	if im.state, err = s.Load(ctx); err != nil {
		return nil, err
	}
	if !im.state.Raw {
		return nil, errors.New("a delta is imported into a replica, and this is a log's own store")
	}
	if im.kept, im.from, err = lastCheckpoint(ctx, s); err != nil {
		return nil, err
	}
	f, err := delta.Check(file, size, o.Policy.LogKey(), o.Progress)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, w := range im.large { // not in a commit
			w.Discard()
		}
	}()
	report := &ImportReport{Resumed: im.state.Size - im.from, Digest: f.Digest}
	for _, write := range []bool{false, true} {
		if err := im.read(ctx, f, write, report); err != nil {
			return nil, err
		}
	}
	// Opening the replica repeats erasures, too. Here their bytes leave the
	// disk.
	imported := &store.State{Size: report.To, Secret: im.state.Secret}
	for id := range im.streams {
		imported.Streams = append(imported.Streams, store.StreamHead{StreamID: id})
	}
	if err := erase(ctx, s, imported); err != nil {
		return nil, fmt.Errorf("the delta is imported, but openings that it records as erased are still on the disk: %w: start the server to erase them", err)
	}
	return report, nil
}

// An importer is one import. The fields from write on belong to one pass over
// the file.
type importer struct {
	store store.Store
	o     ImportOptions
	state *store.State // its size exceeds from after an interrupted import
	kept  []byte       // the replica's checkpoint
	from  uint64       // and its size

	write   bool
	r       *delta.Reader
	tree    *tree
	streams map[entry.Hash]*importedStream
	keyed   []*importedStream // streams with known keys

	commit *store.Commit // the next commit; nil: empty
	bytes  int
	large  []store.PayloadWriter // of the commit

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
func (im *importer) read(ctx context.Context, f *delta.File, write bool, report *ImportReport) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	im.r, im.write, im.commit, im.bytes = r, write, nil, 0
	head, err := im.checkPlace()
	if err != nil {
		return err
	}
	if im.tree, err = loadTree(ctx, im.store, &store.State{Raw: true, Size: im.from}, im.origin(), newTileCache(im.store, 256)); err != nil {
		return fmt.Errorf("load the tree: %w", err)
	}
	if err := im.openStreams(ctx); err != nil {
		return err
	}
	*report = ImportReport{Origin: r.Header.Origin, From: im.from, To: head.Size, Root: head.Root, Streams: len(r.Header.Streams), Resumed: report.Resumed, Digest: report.Digest}
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
		return fmt.Errorf("%w: its leaves give the root %s, its checkpoint has %s", ErrDelta, root.Base64(), head.Root.Base64())
	}
	for _, s := range im.streams {
		if s.next != s.end {
			return fmt.Errorf("%w: the stream %s should have the records up to %d, and those from %d on are not there", ErrDelta, s.id, s.end, s.next)
		}
		if s.tags != nil && s.seen != s.end {
			return fmt.Errorf("%w: the stream %s has %d entries in the log, but %d in the delta", ErrDelta, s.id, s.seen, s.end)
		}
	}
	if write {
		im.commit.Checkpoint = &store.Checkpoint{Size: head.Size, Signed: r.Checkpoint}
		return im.flush(ctx)
	}
	return nil
}

// checkPlace checks that the delta belongs to the log and continues the
// replica.
func (im *importer) checkPlace() (receipt.Checkpoint, error) {
	h, none := &im.r.Header, receipt.Checkpoint{}
	if origin := im.o.Policy.Origin(); h.Origin != origin {
		return none, fmt.Errorf("%w: it is of the log %q, the policy of %q", ErrDelta, h.Origin, origin)
	}
	switch {
	case h.To <= im.from:
		return none, fmt.Errorf("%w: it ends at size %d, and this replica has %d entries", ErrReplay, h.To, im.from)
	case h.From < im.from:
		return none, fmt.Errorf("%w in part: it begins at size %d, and this replica has %d entries; make one with: muniment export --since %d", ErrReplay, h.From, im.from, im.from)
	case h.From > im.from:
		return none, fmt.Errorf("%w: it begins at size %d, and this replica has %d entries; import the one between first, or make one with: muniment export --since %d", ErrGap, h.From, im.from, im.from)
	case h.To < im.state.Size:
		return none, fmt.Errorf("%w: the import of a larger one was interrupted; finish that first", ErrDelta)
	}
	head, _, err := im.o.Policy.VerifyCheckpoint(im.r.Checkpoint)
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrDelta, err)
	}
	if head.Size != h.To {
		return none, fmt.Errorf("%w: its checkpoint has size %d, but its header has %d", ErrDelta, head.Size, h.To)
	}
	if im.from == 0 {
		return head, nil
	}
	kept, err := receipt.ParseCheckpointUnverified(im.kept)
	if err != nil {
		return none, fmt.Errorf("the replica's checkpoint: %w", err)
	}
	if err := receipt.VerifyConsistency(kept.Size, head.Size, kept.Root, head.Root, im.r.Proof); err != nil {
		return none, &Fork{Kept: im.kept, Offered: im.r.Checkpoint, cause: err}
	}
	return head, nil
}

// openStreams looks up the ends of the replica's streams.
func (im *importer) openStreams(ctx context.Context) error {
	im.streams, im.keyed = map[entry.Hash]*importedStream{}, nil
	for _, d := range im.r.Header.Streams {
		s := &importedStream{id: d.ID, end: d.End}
		var err error
		if s.next, s.last, err = streamEnd(ctx, im.store, im.origin(), d.ID, im.from); err != nil {
			return err
		}
		if s.next != d.First {
			return fmt.Errorf("%w: its records of the stream %s begin at %d, and this replica has %d; make one that has them all, from size 0, for a new folder", ErrDelta, d.ID, d.First, s.next)
		}
		im.streams[d.ID] = s
	}
	for _, h := range im.state.Streams {
		if im.streams[h.StreamID] == nil {
			return fmt.Errorf("%w: this replica has the stream %s, and the delta has not; export it for that tenant, too", ErrDelta, h.StreamID)
		}
	}
	for _, known := range im.o.Streams {
		s := im.streams[known.ID]
		if s == nil {
			return fmt.Errorf("%w: the stream %s is not in it, and its key was given: export the delta for that tenant, too", ErrDelta, known.ID)
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
	t.Reserve(im.r.Header.To)
	const step = 1 << 16 // between checks of the context
	for t.Len() < im.r.Header.To {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("interrupted before anything was written; import the same file again: %w", err)
		}
		t.Extend(min(t.Len()+step, im.r.Header.To))
	}
	return t, nil
}

func (im *importer) origin() entry.OriginHash { return entry.HashOrigin(im.r.Header.Origin) }

// owner returns the stream of a leaf among those with known keys, or nil. The
// leaf must be the stream's next. A repeated or later tag would hide an entry
// from readers of the stream.
func (im *importer) owner(index uint64, leaf []byte) (*importedStream, error) {
	if len(leaf) != entry.LeafSize {
		return nil, nil
	}
	for _, s := range im.keyed {
		seq, ok := s.tags.Find(entry.Hash(leaf[1:]))
		switch {
		case !ok:
			continue
		case seq < s.seen:
			return nil, fmt.Errorf("%w: entry %d of the log has the tag of entry %d of the stream %s, which is there before: the log forked the stream", ErrDelta, index, seq, s.id)
		case seq >= s.end:
			return nil, fmt.Errorf("%w: entry %d of the log is entry %d of the stream %s, which ends before by the delta", ErrDelta, index, seq, s.id)
		case seq > s.seen:
			return nil, fmt.Errorf("%w: entry %d of the log is entry %d of the stream %s, where entry %d belongs", ErrDelta, index, seq, s.id, s.seen)
		}
		s.seen++
		return s, nil
	}
	return nil, nil
}

// bundle imports leaves and their records.
func (im *importer) bundle(ctx context.Context, b *delta.Bundle, report *ImportReport) error {
	// entries that need a record, by the known keys
	owed := map[uint64]*importedStream{}
	for i, leaf := range b.Leaves {
		index := b.First + uint64(i)
		if len(leaf) == 0 {
			return fmt.Errorf("%w: the leaf of entry %d is empty", ErrDelta, index)
		}
		im.tree.append(entry.LeafHash(leaf))
		switch s, err := im.owner(index, leaf); {
		case err != nil:
			return err
		case s != nil:
			owed[index] = s
		}
	}
	leaves := make([]store.Leaf, len(b.Leaves))
	for i := range leaves {
		leaves[i].Data = b.Leaves[i]
	}
	var postings []store.PostingAt
	for after := b.First; ; {
		rec, err := im.r.Record()
		if err != nil {
			return err
		}
		if rec == nil {
			break
		}
		at := rec.Index - b.First
		if rec.Index < after || at >= uint64(len(b.Leaves)) {
			return fmt.Errorf("%w: the record of entry %d is not in its place", ErrDelta, rec.Index)
		}
		after = rec.Index + 1
		terms, err := im.record(ctx, rec, &leaves[at])
		if err != nil {
			return err
		}
		delete(owed, rec.Index)
		for _, t := range terms {
			postings = append(postings, store.PostingAt{Term: t, Index: rec.Index})
		}
		report.Records++
		if rec.Payload != nil {
			report.PayloadBytes += rec.Payload.Size
		}
	}
	for index, s := range owed {
		return fmt.Errorf("%w: entry %d of the log is of the stream %s, and its record is not there", ErrDelta, index, s.id)
	}
	if !im.write {
		im.tree.takeFull()
		return nil
	}
	return im.put(ctx, b.First, leaves, postings)
}

// record checks a record against its leaf, and adds it to the leaf.
func (im *importer) record(ctx context.Context, rec *delta.Record, leaf *store.Leaf) ([]store.Term, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: the record of entry %d: %s", ErrDelta, rec.Index, fmt.Sprintf(format, args...))
	}
	s := im.streams[rec.StreamID]
	switch {
	case s == nil:
		return nil, bad("it is of the stream %s, which the header does not name", rec.StreamID)
	case rec.Seq != s.next || s.next == s.end:
		return nil, bad("it is entry %d of the stream %s, where %d of %d belongs", rec.Seq, rec.StreamID, s.next, s.end)
	case rec.Seq > rec.Index:
		return nil, bad("its sequence number %d is greater than its index", rec.Seq)
	case rec.Prev != s.last:
		return nil, bad("it does not follow the entry before it in the stream %s", rec.StreamID)
	}
	if err := entry.CheckLeaf(leaf.Data); err != nil {
		return nil, bad("%v", err)
	}
	r := &store.Record{Header: rec.Header}
	r.Skeleton = entry.Skeleton{Tag: entry.Hash(leaf.Data[1:]), LinkSalt: rec.LinkSalt, StreamID: rec.StreamID, Seq: rec.Seq, Prev: rec.Prev, Time: rec.Time, HeaderHash: rec.HeaderHash}
	if data := r.Skeleton.LeafData(im.origin()); !bytes.Equal(data[:], leaf.Data) {
		return nil, bad("it does not open its leaf")
	}
	leaf.Time, leaf.Record = rec.Time, r
	s.next, s.last = s.next+1, entry.LeafHash(leaf.Data)
	if rec.Header == nil {
		return []store.Term{streamTerm(rec.StreamID)}, nil
	}
	if rec.Header.Salt == (entry.Salt{}) || entry.HeaderHash(rec.Header.Salt, rec.Header.Content) != rec.HeaderHash {
		return nil, bad("its header is another")
	}
	h, err := entry.ParseHeader(rec.Header.Content)
	if err != nil {
		return nil, bad("%v", err)
	}
	if h.Origin != im.r.Header.Origin {
		return nil, bad("its header is of the log %q", h.Origin)
	}
	terms := headerTerms(rec.StreamID, h)
	if rec.Payload == nil {
		return terms, nil
	}
	if rec.Payload.Salt == (entry.Salt{}) || rec.Payload.Size != h.Payload.Size {
		return nil, bad("its payload has %d bytes, but its header has %d", rec.Payload.Size, h.Payload.Size)
	}
	c, err := im.payload(ctx, rec, r)
	if err != nil {
		return nil, err
	}
	if c != h.Payload.Commitment {
		return nil, bad("its payload is another")
	}
	return terms, nil
}

// payload reads the record's payload and returns its commitment. A large
// payload goes directly to the store, because it may not fit into memory.
func (im *importer) payload(ctx context.Context, rec *delta.Record, r *store.Record) (sum entry.Hash, err error) {
	h := entry.NewCommitment(rec.Payload.Salt)
	r.Payload = &receipt.PayloadOpening{Salt: rec.Payload.Salt}
	keep := func([]byte) error { return nil }
	switch {
	case !im.write || rec.Index < im.state.Size:
	case rec.Payload.Size <= importLarge:
		r.Payload.Content = make([]byte, 0, rec.Payload.Size)
		keep = func(part []byte) error {
			r.Payload.Content = append(r.Payload.Content, part...)
			return nil
		}
	default:
		w, err := im.store.CreatePayload(ctx)
		if err != nil {
			return sum, err
		}
		im.large = append(im.large, w)
		keep = func(part []byte) error {
			_, err := w.Write(part)
			return err
		}
		defer func() {
			if err == nil {
				var l store.LargePayload
				l, err = w.Finish()
				r.Large = &l
			}
		}()
	}
	err = im.r.Payload(rec, func(part []byte) error {
		h.Write(part)
		return keep(part)
	})
	return entry.Hash(h.Sum(nil)), err
}

// put adds leaves to the next commit, without those that an interrupted import
// has written.
func (im *importer) put(ctx context.Context, first uint64, leaves []store.Leaf, postings []store.PostingAt) error {
	if there := im.state.Size; first < there {
		n := min(there-first, uint64(len(leaves)))
		if err := im.compare(ctx, first, leaves[:n]); err != nil {
			return err
		}
		if n == uint64(len(leaves)) {
			im.tree.takeFull() // written with these
			return nil
		}
		first, leaves = first+n, leaves[n:]
		for len(postings) > 0 && postings[0].Index < first {
			postings = postings[1:]
		}
	}
	if im.commit == nil {
		im.commit = &store.Commit{From: first}
	}
	c := im.commit
	c.Leaves, c.Postings = append(c.Leaves, leaves...), append(c.Postings, postings...)
	for i := range leaves {
		im.bytes += len(leaves[i].Data)
		if r := leaves[i].Record; r != nil && r.Header != nil {
			im.bytes += len(r.Header.Content)
		}
		if r := leaves[i].Record; r != nil && r.Payload != nil {
			im.bytes += len(r.Payload.Content)
		}
	}
	if first+uint64(len(leaves)) < im.r.Header.To && (len(c.Leaves) >= importEntries || im.bytes >= importBytes) {
		return im.flush(ctx)
	}
	return nil
}

// compare checks that an interrupted import wrote entries of the same delta.
func (im *importer) compare(ctx context.Context, first uint64, leaves []store.Leaf) error {
	written, err := im.store.Leaves(ctx, first, first+uint64(len(leaves)))
	if err != nil {
		return err
	}
	for i := range leaves {
		same := bytes.Equal(written[i], leaves[i].Data)
		if same && leaves[i].Record != nil {
			_, err := im.store.Header(ctx, first+uint64(i))
			same = !errors.Is(err, store.ErrNotFound)
		}
		if !same {
			return fmt.Errorf("%w: an interrupted import of another one has written entry %d; finish that first", ErrDelta, first+uint64(i))
		}
	}
	return nil
}

// flush writes the next commit.
func (im *importer) flush(ctx context.Context) error {
	c := im.commit
	free, err := im.store.FreeBytes()
	if err != nil {
		return err
	}
	if free < im.o.ReserveBytes {
		return fmt.Errorf("%w: %d MiB are free and %d MiB are kept in reserve; make room, and import the same file again: it goes on from entry %d", ErrDiskFull, free>>20, im.o.ReserveBytes>>20, c.From)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted before entry %d; import the same file again to go on: %w", c.From, err)
	}
	c.Tiles, c.Root = im.tree.takeFull(), im.tree.root()
	for _, s := range im.streams {
		if s.next > 0 {
			c.Heads = append(c.Heads, store.StreamHead{StreamID: s.id, Next: s.next, Last: s.last})
		}
	}
	if err := im.store.Commit(ctx, c); err != nil {
		return fmt.Errorf("import entries %d to %d: %w", c.From, c.From+uint64(c.Len())-1, err)
	}
	im.commit, im.bytes, im.large = nil, 0, nil
	if c.Checkpoint == nil {
		return nil
	}
	return im.store.Mark(c.Checkpoint)
}

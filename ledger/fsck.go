package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A check reads the whole store and compares it with the tree and its head:
//
//	leaves       skeletons or raw leaves lead to the tiles of all levels and the root
//	checkpoints  signed by the log, with the roots of the tree
//	entries      header and payload match the skeleton; streams and times are in order
//	erasures     exactly the openings recorded as erased are missing
//	projections  the index matches the entries
//
// It continues after damage and reports every damaged part. In memory it keeps
// about one bit per entry and one head per stream.

// A Remedy is a way to repair damage.
type Remedy string

// The remedies, the easiest first.
const (
	Restart Remedy = "restart" // starting the server repairs it
	Rebuild Remedy = "rebuild" // muniment reindex recomputes it from the entries
	Restore Remedy = "restore" // only a backup has it
	// Reimport is the remedy for all damage to a replica: importing the log's
	// deltas into a new folder.
	Reimport Remedy = "reimport"
	Lost     Remedy = "lost" // it was recorded with the error
)

// A Finding describes one damaged part.
type Finding struct {
	Kind    string  `json:"kind"`             // one of FindingKinds, or the caller's own
	File    string  `json:"file,omitempty"`   // beside or in the store's folder
	Entry   *uint64 `json:"entry,omitempty"`  // index
	To      *uint64 `json:"to,omitempty"`     // the last of several entries with the same damage
	Tenant  string  `json:"tenant,omitempty"` // of the entry, if it is known
	Problem string  `json:"problem"`          // without the entry's index
	Remedy  Remedy  `json:"remedy"`           //
}

// FindingKinds lists the kinds of findings that CheckStore reports.
var FindingKinds = []string{"state", "tree", "tile", "skeleton", "leaf", "stream", "time", "header", "payload", "erasure", "checkpoint", "cosignature", "index", "stream head"}

// A KnownStream is a stream with its tenant.
type KnownStream struct {
	Tenant string
	*Stream
}

// A StoreCheck configures CheckStore.
type StoreCheck struct {
	Store   store.Store
	State   *store.State // the readable part
	Replica bool
	Origin  string
	// Verify returns an error unless the log's key has signed the checkpoint.
	// With cosigned, cosignatures by known keys must verify, too.
	Verify func(signed []byte, cosigned bool) error
	// Published are checkpoints from files outside the store.
	Published []PublishedCheckpoint
	Streams   []KnownStream
	Derive    Derive // nil: no entry has facts
	Report    func(Finding)
	Progress  func(done, total uint64) // may be nil
}

// A PublishedCheckpoint is a checkpoint that was kept outside the store.
type PublishedCheckpoint struct {
	File   string
	Signed []byte
}

// A StoreSummary counts what was checked.
type StoreSummary struct {
	Entries     uint64 `json:"entries"`
	Streams     int    `json:"streams"`
	Checkpoints uint64 `json:"checkpoints"`
	Tiles       uint64 `json:"tiles"`
	Payloads    uint64 `json:"payloads"`
	Bytes       uint64 `json:"bytes"` // of payloads
	Erased      uint64 `json:"erased"`
	Keys        uint64 `json:"keys"`
	Postings    uint64 `json:"postings"`
	Facts       uint64 `json:"facts"` // entries that have them
}

// CheckStore checks a store, which may be read-only. It returns an error only
// if it cannot continue.
func CheckStore(ctx context.Context, c StoreCheck) (*StoreSummary, error) {
	k := &checker{StoreCheck: c, log: entry.HashOrigin(c.Origin), ids: newIdentifier(&c.State.Secret), heads: map[entry.Hash]*checkedStream{}, known: map[entry.Hash]KnownStream{}}
	for _, s := range c.Streams {
		k.known[s.ID] = s
	}
	k.sum.Entries = c.State.Size
	if err := k.readHeads(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{k.establishTrust, k.readCheckpoints, k.checkEntries, k.checkErasures, k.checkProjections} {
		if err := step(ctx); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	k.sum.Streams = len(k.heads)
	return &k.sum, nil
}

// readHeads reads the stored stream heads.
func (k *checker) readHeads(ctx context.Context) (err error) {
	k.storedHeads, err = k.Store.StreamHeads(ctx)
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	k.unreadableHeads = true
	k.Report(Finding{Kind: "stream head", Problem: err.Error(), Remedy: Rebuild})
	return nil
}

// A checker is a check in progress.
type checker struct {
	StoreCheck
	log   entry.OriginHash
	ids   *identifier
	known map[entry.Hash]KnownStream
	sum   StoreSummary

	trust   trust
	tree    *tree
	broken  bool // a leaf is unknown, so the tree cannot be computed from there on
	tileErr map[tileID]bool
	rows    [2]checkpointRows // of published and of cosigned checkpoints
	outside []expectedRoot    // of Published
	older   bool              // a checkpoint of a larger tree was published
	// Sizes of the last checkpoint that agreed with the tree and of the first
	// later one that did not, and the findings since.
	agreed, disagreed uint64
	doubtful          []Finding

	storedHeads     []store.StreamHead // the readable ones
	unreadableHeads bool               // there are others

	heads    map[entry.Hash]*checkedStream
	time     uint64
	suspects []Finding // skeletons not followed by the next entry of their stream
	bad      bitset    // entries whose skeletons are damaged or unknown
	opaque   bitset    // entries with unknown projections
	erased   erasedSets

	want projectionSums
}

// A checkedStream is the current end of a stream.
type checkedStream struct {
	store.StreamHead
	index   uint64
	pending *uint64 // an entry not followed by the last one
	named   bool    // the last entry is a suspect
	tagger  *tagger
}

// report reports a finding about an entry.
func (k *checker) report(kind string, index uint64, stream *entry.Hash, remedy Remedy, format string, args ...any) {
	k.Report(k.finding(kind, index, stream, remedy, format, args...))
}

func (k *checker) finding(kind string, index uint64, stream *entry.Hash, remedy Remedy, format string, args ...any) Finding {
	f := Finding{Kind: kind, Entry: &index, Remedy: remedy, Problem: fmt.Sprintf(format, args...)}
	if stream != nil {
		f.Tenant = k.known[*stream].Tenant
	}
	return f
}

// damageOnly returns nil if the error is damage, and otherwise the error that
// ends the check.
func damageOnly(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	return nil
}

// checkEntry checks an entry, or a replica's record of one, whose skeleton is
// not known to be wrong.
func (k *checker) checkEntry(ctx context.Context, index uint64, sk *entry.Skeleton) error {
	s := k.checkStream(index, sk)
	if sk.Time < k.time && !k.Replica {
		k.report("time", index, &sk.StreamID, Lost, "it is dated before an earlier entry")
	}
	k.time = max(k.time, sk.Time)
	header, err := k.checkHeader(ctx, index, sk)
	if err != nil {
		return err
	}
	if err := k.checkPayload(ctx, index, sk, header); err != nil {
		return err
	}
	s.StreamHead = store.StreamHead{StreamID: sk.StreamID, Next: sk.Seq + 1, Last: sk.LeafHash(k.log)}
	s.index = index
	return nil
}

// checkStream checks that an entry follows the previous one of its stream.
func (k *checker) checkStream(index uint64, sk *entry.Skeleton) *checkedStream {
	s := k.heads[sk.StreamID]
	if s == nil {
		s = &checkedStream{StreamHead: store.StreamHead{StreamID: sk.StreamID}}
		if known, ok := k.known[sk.StreamID]; ok {
			s.tagger = newTagger(&known.Key)
		}
		k.heads[sk.StreamID] = s
	}
	if sk.Seq > index {
		k.report("stream", index, &sk.StreamID, Lost, "its number in the stream, %d, is above its index", sk.Seq)
	}
	if s.tagger != nil && s.tagger.tag(sk.Seq) != sk.Tag {
		k.report("stream", index, &sk.StreamID, Lost, "its tag is not that of number %d of the stream", sk.Seq)
	}
	follows := sk.Seq == s.Next && sk.Prev == s.Last
	switch {
	case !follows && k.bad.any() && sk.Seq > s.Next: // the entries between are damaged
		s.pending = nil
	case !follows && k.trust != trustNone:
		k.report("stream", index, &sk.StreamID, Lost, "it does not follow the stream's entry before it: it has number %d, and %d is next", sk.Seq, s.Next)
	case k.trust == trustNone && s.Next == 0 && !follows:
		k.suspect(index, &sk.StreamID)
		s.named = true
	case k.trust == trustNone && s.Next > 0:
		k.link(s, follows)
	}
	return s
}

// link decides which of two entries is damaged if the second does not follow
// the first. It is the second if the third does not follow it either.
func (k *checker) link(s *checkedStream, follows bool) {
	named := s.named
	s.named = false
	switch {
	case named: // the last entry is reported already
	case follows && s.pending != nil:
		k.suspect(*s.pending, &s.StreamID)
		s.pending = nil
	case !follows && s.pending != nil:
		k.suspect(s.index, &s.StreamID)
		s.pending = nil
	case !follows:
		index := s.index
		s.pending = &index
	}
}

// maxSuspects limits the findings kept until the root is known.
const maxSuspects = 1000

// suspect keeps a finding that is reported if the tree turns out to be wrong.
func (k *checker) suspect(index uint64, stream *entry.Hash) {
	if len(k.suspects) < maxSuspects {
		k.suspects = append(k.suspects, k.finding("skeleton", index, stream, Restore, "the entries of its stream before and after it do not fit"))
	}
}

// checkHeader returns the header, or nil if it is erased or damaged.
func (k *checker) checkHeader(ctx context.Context, index uint64, sk *entry.Skeleton) (*entry.Header, error) {
	opening, err := k.Store.Header(ctx, index)
	if err != nil {
		k.opaque.set(index)
		k.report("header", index, &sk.StreamID, Restore, "it can't be read: %s", reason(err))
		return nil, damageOnly(ctx, err)
	}
	if opening == nil {
		k.erased.header.set(index)
		return nil, nil
	}
	if checkHeader(index, sk, opening) != nil {
		k.opaque.set(index)
		k.report("header", index, &sk.StreamID, Restore, "it is not that of its skeleton")
		return nil, nil
	}
	h, err := entry.ParseHeader(opening.Content)
	if err != nil {
		k.opaque.set(index)
		k.report("header", index, &sk.StreamID, Lost, "it was recorded with an error: %v", err)
		return nil, nil
	}
	return h, k.recordErasure(ctx, index, sk, h)
}

// checkPayload checks a payload against its header, which is nil if it is
// erased or damaged. It adds the entry's projections.
func (k *checker) checkPayload(ctx context.Context, index uint64, sk *entry.Skeleton, h *entry.Header) error {
	payload, err := k.Store.OpenPayload(ctx, index)
	if err != nil {
		k.opaque.set(index)
		k.report("payload", index, &sk.StreamID, Restore, "it can't be read: %s", reason(err))
		return damageOnly(ctx, err)
	}
	if payload == nil {
		k.sum.Erased++
		k.erased.payload.set(index)
	} else {
		defer payload.Close()
		// detached receipts use it instead of the payload
		info, err := payloadInfo(ctx, k.Store, index, sk)
		if want := (store.PayloadInfo{Salt: payload.Salt, Size: payload.Size, Seal: info.Seal}); err != nil || info != want {
			k.report("payload", index, &sk.StreamID, Restore, "its salt or size is not in its other row")
		}
	}
	if h == nil {
		if payload != nil && k.erased.header.has(index) {
			k.report("erasure", index, &sk.StreamID, Restart, "its header is erased, and its payload is there")
			k.opaque.set(index)
		}
		if !k.opaque.has(index) {
			k.want.add(&store.Projection{Posting: &store.PostingAt{Term: streamTerm(sk.StreamID), Index: index}})
		}
		return nil
	}
	if payload != nil {
		key, ok := k.readPayload(index, sk, h, payload)
		if err := ctx.Err(); err != nil || !ok {
			k.opaque.set(index)
			return err
		}
		if !k.Replica {
			k.want.add(&store.Projection{Key: &store.KeyAt{Key: key, Index: index}})
		}
		row, err := k.Derive.stored(ctx, k.Store, index, sk.HeaderHash, h)
		if err != nil {
			k.opaque.set(index)
			k.report("payload", index, &sk.StreamID, Restore, "its facts can't be derived: %s", reason(err))
			return damageOnly(ctx, err)
		}
		if row != nil {
			k.want.add(&store.Projection{Facts: &store.FactsAt{Index: index, Facts: row}})
		}
	}
	for _, t := range headerTerms(sk.StreamID, h) {
		k.want.add(&store.Projection{Posting: &store.PostingAt{Term: t, Index: index}})
	}
	return nil
}

// readPayload reads a whole payload and returns its deduplication key. ok is
// false if the payload is damaged.
func (k *checker) readPayload(index uint64, sk *entry.Skeleton, h *entry.Header, p *store.PayloadReader) (key store.Key, ok bool) {
	k.sum.Payloads++
	k.sum.Bytes += p.Size
	commitment := entry.NewCommitment(p.Salt)
	both := io.TeeReader(p, commitment)
	key, err := k.ids.keyOf(sk.StreamID, h, p.Size, both)
	if err == nil { // the key of an event does not depend on the payload
		_, err = io.Copy(io.Discard, both)
	}
	switch {
	case err != nil:
		k.report("payload", index, &sk.StreamID, Restore, "it can't be read: %s", reason(err))
	case p.Size != h.Payload.Size:
		k.report("payload", index, &sk.StreamID, Restore, "it has %d bytes, and its header has %d", p.Size, h.Payload.Size)
	case entry.Hash(commitment.Sum(nil)) != h.Payload.Commitment:
		k.report("payload", index, &sk.StreamID, Restore, "it is not that of its header")
	default:
		return key, true
	}
	return key, false
}

// erasedSets are the entries that are erased and those recorded as erased.
type erasedSets struct{ payload, header, payloadRecorded, headerRecorded bitset }

// recordErasure notes the erasure that an entry records.
func (k *checker) recordErasure(ctx context.Context, index uint64, sk *entry.Skeleton, h *entry.Header) error {
	target, err := strconv.ParseUint(h.Attributes["entry"], 10, 64)
	if h.Kind != ErasureKind || err != nil || target >= index {
		return nil
	}
	of, err := k.Store.Skeletons(ctx, target, target+1)
	if err != nil || of[0].StreamID != sk.StreamID {
		return damageOnly(ctx, err)
	}
	k.erased.payloadRecorded.set(target)
	if h.Attributes["scope"] == ScopeHeaderAndPayload {
		k.erased.headerRecorded.set(target)
	}
	return nil
}

// checkErasures compares the missing openings with the recorded erasures.
func (k *checker) checkErasures(ctx context.Context) error {
	e := &k.erased
	for _, c := range []struct {
		kind           string
		gone, recorded *bitset
	}{{"payload", &e.payload, &e.payloadRecorded}, {"header", &e.header, &e.headerRecorded}} {
		for i := range c.recorded.all() {
			if !c.gone.has(i) && !k.bad.has(i) && !k.opaque.has(i) {
				k.report("erasure", i, k.streamOf(ctx, i), Restart, "its %s is recorded as erased, and is there", c.kind)
			}
		}
		if k.Replica || k.older { // the erasure may be recorded after the last entry
			continue
		}
		for i := range c.gone.all() {
			if !c.recorded.has(i) && !k.unreadableAfter(i) {
				k.report(c.kind, i, k.streamOf(ctx, i), Restore, "it is missing, and no entry records its erasure")
			}
		}
	}
	return ctx.Err()
}

// unreadableAfter reports whether an entry after the index cannot be read. It
// could record an erasure.
func (k *checker) unreadableAfter(index uint64) bool {
	for _, b := range []*bitset{&k.bad, &k.opaque, &k.erased.header} {
		if last, ok := b.last(); ok && last > index {
			return true
		}
	}
	return false
}

func (k *checker) streamOf(ctx context.Context, index uint64) *entry.Hash {
	sk, err := k.Store.Skeletons(ctx, index, index+1)
	if err != nil {
		return nil
	}
	return &sk[0].StreamID
}

// reason returns the text of an error of the store, for a finding.
func reason(err error) string {
	if errors.Is(err, store.ErrNotFound) {
		return "it is missing"
	}
	return err.Error()
}

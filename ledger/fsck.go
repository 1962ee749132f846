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

// A check reads everything that a store holds and compares it with the tree,
// whose root the tree head has:
//
//	leaves       skeletons, or raw leaves, give the tiles of all levels and the root
//	checkpoints  signed by the log, with the roots that the tree had
//	entries      header and payload are those of the skeleton; streams and times are in order
//	erasures     what an entry records as erased is not there, and nothing else is missing
//	projections  the index is the one that the entries give
//
// It goes on after damage, and reports each part that is damaged. It holds a
// bit or so for each entry, and a head for each stream.

// A Remedy is what can be done about damage.
type Remedy string

// The remedies, from the easiest on.
const (
	Restart Remedy = "restart" // the server mends it when it starts
	Rebuild Remedy = "rebuild" // muniment reindex computes it from the entries
	Restore Remedy = "restore" // it is in a backup or lost
	Lost    Remedy = "lost"    // it was written like this
)

// A Finding is something that is damaged.
type Finding struct {
	Kind    string  `json:"kind"`             // one of FindingKinds, or the caller's own
	File    string  `json:"file,omitempty"`   // beside or in the store's folder
	Entry   *uint64 `json:"entry,omitempty"`  // index
	To      *uint64 `json:"to,omitempty"`     // the last of several entries with the same damage
	Tenant  string  `json:"tenant,omitempty"` // of the entry, if it is known
	Problem string  `json:"problem"`          // without the entry's index
	Remedy  Remedy  `json:"remedy"`           //
}

// FindingKinds are the kinds of findings that CheckStore reports.
var FindingKinds = []string{"state", "tree", "tile", "skeleton", "leaf", "stream", "time", "header", "payload", "erasure", "checkpoint", "cosignature", "index", "stream head"}

// A KnownStream is one whose tenant is known.
type KnownStream struct {
	Tenant string
	*Stream
}

// A StoreCheck is a store to check, and what is known of it.
type StoreCheck struct {
	Store   store.Store
	State   *store.State // as far as it can be read
	Replica bool
	Origin  string
	// Verify returns an error unless the log's key has signed the checkpoint.
	// With cosigned it must have good cosignatures where their keys are known.
	Verify func(signed []byte, cosigned bool) error
	// Published are checkpoints from outside the store, each with the name of
	// its file.
	Published []PublishedCheckpoint
	Streams   []KnownStream
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
}

// CheckStore checks a store, which may be open for reading only. It returns an
// error only if it can't go on.
func CheckStore(ctx context.Context, c StoreCheck) (*StoreSummary, error) {
	k := &checker{StoreCheck: c, log: entry.HashOrigin(c.Origin), ids: newIdentifier(&c.State.Secret), heads: map[entry.Hash]*checkedStream{}, known: map[entry.Hash]KnownStream{}}
	for _, s := range c.Streams {
		k.known[s.ID] = s
	}
	k.sum.Entries = c.State.Size
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

// A checker is a check that is under way.
type checker struct {
	StoreCheck
	log   entry.OriginHash
	ids   *identifier
	known map[entry.Hash]KnownStream
	sum   StoreSummary

	trust   trust
	tree    *tree
	broken  bool // a leaf is unknown, so that the tree can't be computed from there on
	tileErr map[tileID]bool
	rows    [2]checkpointRows // of published and of cosigned checkpoints
	outside []expectedRoot    // of Published
	// The sizes of the last checkpoint that agreed with the tree, and of the
	// first that did not since, and the findings since.
	agreed, disagreed uint64
	doubtful          []Finding

	heads    map[entry.Hash]*checkedStream
	time     uint64
	suspects []Finding // skeletons that the next entry of their stream does not follow
	bad      bitset    // entries whose skeletons are damaged or unknown
	opaque   bitset    // entries whose projections are not known
	erased   erasedSets

	want projectionSums
}

// A checkedStream is the end of a stream so far.
type checkedStream struct {
	store.StreamHead
	index   uint64
	pending *uint64 // an entry that the last one does not follow
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

// damageOnly returns an error that ends the check, and nil for damage.
func damageOnly(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	return nil
}

// checkEntry checks an entry, or the record of one in a replica, whose skeleton
// is not known to be wrong.
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

// checkStream checks that an entry follows the one before in its stream.
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
	case !follows && k.bad.any() && sk.Seq > s.Next: // those between are damaged
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
// the first: the second, if the third does not follow it either.
func (k *checker) link(s *checkedStream, follows bool) {
	named := s.named
	s.named = false
	switch {
	case named: // the last one, which explains it
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

// maxSuspects bounds what is kept until the root is known.
const maxSuspects = 1000

// suspect keeps a skeleton that is damaged if the tree turns out to be wrong.
func (k *checker) suspect(index uint64, stream *entry.Hash) {
	if len(k.suspects) < maxSuspects {
		k.suspects = append(k.suspects, k.finding("skeleton", index, stream, Restore, "the entries of its stream before and after it do not fit"))
	}
}

// checkHeader returns the header, or nil if it was erased or is damaged.
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

// checkPayload checks a payload by its header, which is nil if that was erased
// or is damaged. It counts the entry's projections.
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
		// receipts are made from it, without the payload
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
	}
	for _, t := range headerTerms(sk.StreamID, h) {
		k.want.add(&store.Projection{Posting: &store.PostingAt{Term: t, Index: index}})
	}
	return nil
}

// readPayload reads a payload to its end, and returns its deduplication key.
// It returns false if the payload is damaged.
func (k *checker) readPayload(index uint64, sk *entry.Skeleton, h *entry.Header, p *store.PayloadReader) (key store.Key, ok bool) {
	k.sum.Payloads++
	k.sum.Bytes += p.Size
	commitment := entry.NewCommitment(p.Salt)
	both := io.TeeReader(p, commitment)
	key, err := k.ids.keyOf(sk.StreamID, h, p.Size, both)
	if err == nil { // the key of an event is not made of the payload
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

// erasedSets are which entries are erased, and which the log records as erased.
type erasedSets struct{ payload, header, payloadRecorded, headerRecorded bitset }

// recordErasure takes note of what an entry records as erased.
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

// checkErasures compares what is erased with what the log records.
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
		if k.Replica { // the erasure may be recorded after the replica's last entry
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

// unreadableAfter reports whether an entry after the index could be the record
// of an erasure that can't be read any more.
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

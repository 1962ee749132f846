package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
	"muniment.dev/muniment/ledger/store"
)

// EntryCache is the name of the cache of entries, as a resolver.
const EntryCache = "entries"

// known has entries that were read, verified and parsed, so that traces,
// explanations and decisions about an artifact do this once. Entries don't
// change, but can be erased: then they leave memory before the erasure is
// published.
type known struct {
	member *adaptivecache.Member
	cache  *adaptivecache.Cache[uint64, *Entry]
}

// DefaultEntryCache is the memory that servers give to the cache of entries.
const DefaultEntryCache = 16 << 20

// parsedFactor is the memory of an entry, in sizes of its header's content.
const parsedFactor = 4

// errNotKept is the error of entries that the cache does not keep.
var errNotKept = errors.New("not kept in memory")

// newKnown returns the cache of the ledger's entries. It is nil for a size of
// 0, and for a raw log, which is not searched.
func newKnown(l *Ledger, bytes uint64) (*known, error) {
	if bytes == 0 || l.raw && !l.replica {
		return nil, nil
	}
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{Slots: 4096})
	if err != nil {
		return nil, err
	}
	k := &known{member: member}
	k.cache, err = adaptivecache.New(member, adaptivecache.Options[uint64, *Entry]{
		Resolver: EntryCache, MaxWeight: bytes, Entries: int(bytes >> 12), Beta: -1, NegativeTTL: -1, Inline: true,
		MinTTL: time.Hour, InitialTTL: time.Hour, MaxTTL: time.Hour,
		Key: func(index uint64) string {
			return adaptivecache.Name(EntryCache, "", strconv.FormatUint(index, 10))
		},
		Weigh: func(_ uint64, e *Entry) uint32 {
			return uint32(min(math.MaxUint32, 512+parsedFactor*len(e.Opening.Content)))
		},
		Load: func(ctx context.Context, index uint64) (r adaptivecache.Result[uint64, *Entry], err error) {
			r.Value, err = l.loadKnown(ctx, index)
			return r, err
		},
	})
	return k, err
}

// loadKnown reads an entry of any stream.
func (l *Ledger) loadKnown(ctx context.Context, index uint64) (*Entry, error) {
	e, err := l.entryAt(ctx, l.Published(), nil, index)
	if err == nil && e.Opening == nil {
		err = fmt.Errorf("entry %d was erased: %w", index, errNotKept)
	}
	return e, err
}

// recall is entryAt through the cache, for reads that come again. The header
// and opening of the result must not be changed.
func (l *Ledger) recall(ctx context.Context, p *Published, s *Stream, index uint64) (*Entry, error) {
	if l.known != nil && index < p.Size && l.known.cache.Enabled() {
		if e, err := l.known.cache.Get(ctx, index); err == nil && e.Skeleton.StreamID == s.ID {
			own := *e
			return &own, nil
		}
		// The direct read returns the error, if there is one.
	}
	return l.entryAt(ctx, p, s, index)
}

// forget drops entries whose erasure is in the store from memory.
func (k *known) forget(erased []store.Erasure) {
	if k == nil || len(erased) == 0 {
		return
	}
	indexes := make([]uint64, len(erased))
	for i := range erased {
		indexes[i] = erased[i].Index
	}
	k.cache.Remove(indexes...)
}

// forgetAll drops all entries from memory.
func (k *known) forgetAll() {
	if k != nil {
		k.cache.RemoveAll()
	}
}

// Cache returns the cache of entries and its member, or nil if there is none.
func (l *Ledger) Cache() (*adaptivecache.Member, *adaptivecache.Cache[uint64, *Entry]) {
	if l.known == nil {
		return nil, nil
	}
	return l.known.member, l.known.cache
}

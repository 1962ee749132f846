package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"sync"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// An identifier computes the deduplication keys of submissions. It may be used
// from many goroutines. It keeps nothing of a submission between calls, because
// the submission may be erased.
type identifier struct {
	macs sync.Pool // of *keyedMAC: setting up an HMAC costs more than a small payload
}

type keyedMAC struct {
	hash.Hash
	scratch []byte
}

func newIdentifier(secret *[32]byte) *identifier {
	key := *secret
	return &identifier{sync.Pool{New: func() any { return &keyedMAC{hmac.New(sha256.New, key[:]), make([]byte, 0, 512)} }}}
}

// key returns the key of a submission. Evidence is identified by its content,
// and an event by its idempotency key. The HMAC under the store's secret
// prevents the key from revealing an erased payload. Every part is preceded by
// its length.
func (id *identifier) key(stream entry.Hash, h *entry.Header, payload []byte) store.Key {
	m := id.macs.Get().(*keyedMAC)
	defer id.macs.Put(m)
	if m.begin(stream, h, uint64(len(payload))) {
		m.Write(payload)
	}
	return m.key()
}

// keyOf is key for a payload from a reader. It reads the payload only if the
// key depends on it.
func (id *identifier) keyOf(stream entry.Hash, h *entry.Header, size uint64, payload io.Reader) (store.Key, error) {
	m := id.macs.Get().(*keyedMAC)
	defer id.macs.Put(m)
	defer m.clear() // after an error
	if m.begin(stream, h, size) {
		if n, err := io.Copy(m.Hash, payload); err != nil {
			return store.Key{}, err
		} else if uint64(n) != size {
			return store.Key{}, fmt.Errorf("read %d bytes of %d", n, size)
		}
	}
	return m.key(), nil
}

// begin writes all but the payload, and reports whether that must follow.
func (m *keyedMAC) begin(stream entry.Hash, h *entry.Header, size uint64) bool {
	b := m.scratch[:0]
	evidence := h.IdempotencyKey == ""
	if evidence {
		b = append(b, "muniment/evidence/v1\n"...)
		b = append(b, stream[:]...)
		b = appendFramed(b, h.Tenant, h.Submitter, h.Kind, h.MediaType, h.AdmissionPolicy)
		b = binary.BigEndian.AppendUint64(b, size)
	} else {
		b = append(b, "muniment/event/v1\n"...)
		b = append(b, stream[:]...)
		b = appendFramed(b, h.Tenant, h.Submitter, h.IdempotencyKey)
	}
	m.Write(b)
	m.scratch = b
	return evidence
}

// key returns the key of the bytes written, and clears them.
func (m *keyedMAC) key() store.Key {
	k := store.Key(m.Sum(m.scratch[:0]))
	m.clear()
	return k
}

func (m *keyedMAC) clear() {
	m.Reset()
	clear(m.scratch[:cap(m.scratch)])
}

// leafKey returns the key of a raw leaf.
func (id *identifier) leafKey(leaf []byte) store.Key {
	m := id.macs.Get().(*keyedMAC)
	defer id.macs.Put(m)
	m.scratch = append(m.scratch[:0], "muniment/leaf/v1\n"...)
	m.Write(m.scratch)
	m.Write(leaf)
	return m.key()
}

func appendFramed(b []byte, parts ...string) []byte {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// compare reports whether a pending entry equals the recorded entry with the
// same key. Errors: ErrErased if that entry was erased.
func (l *Ledger) compare(ctx context.Context, p *pending) (bool, error) {
	opening, err := l.store.Header(ctx, p.index)
	if err != nil {
		return false, err
	}
	sk, err := l.store.Skeletons(ctx, p.index, p.index+1)
	if err != nil {
		return false, err
	}
	payload, err := payloadInfo(ctx, l.store, p.index, &sk[0])
	if err != nil {
		return false, err
	}
	if opening == nil || payload.Erased {
		return false, erasedMeanwhile(p.index)
	}
	was, err := parseHeader(p.index, opening)
	if err != nil {
		return false, err
	}
	is := p.draft.Header
	if was.Tenant != is.Tenant || was.Submitter != is.Submitter || was.Kind != is.Kind || was.MediaType != is.MediaType ||
		was.IdempotencyKey != is.IdempotencyKey || was.AdmissionPolicy != is.AdmissionPolicy && is.IdempotencyKey == "" {
		return false, nil
	}
	commitment := entry.Hash{}
	if p.draft.Large != nil {
		commitment, err = p.draft.Large.commitTo(payload.Salt)
	} else {
		commitment = entry.Commitment(payload.Salt, p.draft.Payload.Content)
	}
	return was.Payload.Commitment == commitment, err
}

// recentKeys holds the keys of the latest entries, which spares the sequencer
// most look-ups in the store. It belongs to the sequencer.
type recentKeys struct {
	from     uint64 // every later entry is in new or old
	newFrom  uint64
	new, old map[store.Key]uint64
}

const recentGeneration = 1 << 15

func (r *recentKeys) init(size uint64) {
	r.from, r.newFrom = size, size
	r.new, r.old = map[store.Key]uint64{}, map[store.Key]uint64{}
}

// startBatch drops the older half when the newer one is full.
func (r *recentKeys) startBatch(size uint64) {
	if len(r.new) >= recentGeneration {
		r.old, r.from = r.new, r.newFrom
		r.new, r.newFrom = make(map[store.Key]uint64, recentGeneration), size
	}
}

func (r *recentKeys) find(k store.Key) (uint64, bool) {
	if i, ok := r.new[k]; ok {
		return i, true
	}
	i, ok := r.old[k]
	return i, ok
}

// remove drops the key of an entry, unless a later entry has taken it. It
// reports whether the key was there.
func (r *recentKeys) remove(k store.Key, index uint64) bool {
	i, ok := r.find(k)
	if !ok || i != index {
		return false
	}
	delete(r.new, k)
	delete(r.old, k)
	return true
}

func (r *recentKeys) add(k store.Key, index uint64) { r.new[k] = index }

// A tagger computes the tags of one stream without setting up the HMAC each
// time. It belongs to the sequencer.
type tagger struct {
	mac hash.Hash
	in  []byte
	out entry.Hash
}

func newTagger(k *entry.StreamKey) *tagger {
	return &tagger{mac: hmac.New(sha256.New, k[:]), in: append([]byte("muniment/tag/v1\n"), make([]byte, 8)...)}
}

func (t *tagger) tag(seq uint64) entry.Hash {
	binary.BigEndian.PutUint64(t.in[len(t.in)-8:], seq)
	t.mac.Reset()
	t.mac.Write(t.in)
	t.mac.Sum(t.out[:0])
	return t.out
}

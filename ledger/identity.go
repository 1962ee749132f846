package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// identity returns the key under which the same submission is found again. Evidence is known by its content; an event, which has an
// idempotency key, by that. The HMAC under the store's secret keeps the key from saying anything about an erased payload.
func identity(secret *[32]byte, h *receipt.Header, payload []byte) store.Key {
	m := hmac.New(sha256.New, secret[:])
	frame := func(data []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(data)))
		m.Write(n[:])
		m.Write(data)
	}
	if h.IdempotencyKey != "" {
		m.Write([]byte("muniment/event/v1\n"))
		frame([]byte(h.Tenant))
		frame([]byte(h.Submitter))
		frame([]byte(h.IdempotencyKey))
	} else {
		m.Write([]byte("muniment/evidence/v1\n"))
		frame([]byte(h.Tenant))
		frame([]byte(h.Submitter))
		frame([]byte(h.Kind))
		frame([]byte(h.MediaType))
		frame([]byte(h.AdmissionPolicy))
		frame(payload)
	}
	return store.Key(m.Sum(nil))
}

// sameSubmission compares a pending entry with the recorded one that has its key.
func (l *Ledger) sameSubmission(ctx context.Context, p *pending) (bool, error) {
	opening, err := l.store.Header(ctx, p.index)
	if err != nil || opening == nil {
		return false, err
	}
	was, err := receipt.ParseHeader(opening.Content)
	if err != nil {
		return false, err
	}
	payload, err := l.store.Payload(ctx, p.index)
	if err != nil || payload == nil {
		return false, err
	}
	is := p.draft.Header
	return was.Tenant == is.Tenant && was.Submitter == is.Submitter && was.Kind == is.Kind && was.MediaType == is.MediaType &&
		was.IdempotencyKey == is.IdempotencyKey && (was.AdmissionPolicy == is.AdmissionPolicy || is.IdempotencyKey != "") &&
		was.Payload.Commitment == receipt.Commitment(payload.Salt, p.draft.Payload.Content), nil
}

// recentKeys knows the keys of the entries from a certain index on, so that the sequencer seldom asks the store. It belongs to the sequencer.
type recentKeys struct {
	from     uint64 // every entry since is in new or old
	newFrom  uint64
	new, old map[store.Key]uint64
}

const recentGeneration = 1 << 15

func (r *recentKeys) init(size uint64) {
	r.from, r.newFrom = size, size
	r.new, r.old = map[store.Key]uint64{}, map[store.Key]uint64{}
}

// startBatch forgets the older half when the newer one is full.
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

func (r *recentKeys) add(k store.Key, index uint64) { r.new[k] = index }

// A tagger computes the tags of one stream without setting up the HMAC each time. It belongs to the sequencer.
type tagger struct {
	mac hash.Hash
	in  []byte
	out receipt.Hash
}

func newTagger(k *receipt.StreamKey) *tagger {
	return &tagger{mac: hmac.New(sha256.New, k[:]), in: append([]byte("muniment/tag/v1\n"), make([]byte, 8)...)}
}

func (t *tagger) tag(seq uint64) receipt.Hash {
	binary.BigEndian.PutUint64(t.in[len(t.in)-8:], seq)
	t.mac.Reset()
	t.mac.Write(t.in)
	t.mac.Sum(t.out[:0])
	return t.out
}

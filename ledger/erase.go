package ledger

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// An erasure permanently deletes openings and is itself an entry. The draft of
// that entry carries the erasure, and one commit does both. The skeleton stays,
// so every proof still verifies. When the store is opened, recorded erasures
// are repeated if the erased openings are back, such as after a restore.

// ErasureKind is the kind of the entries that record an erasure. Their headers
// have the attributes entry and scope.
const ErasureKind = kindname.Erasure

// Values of the attribute scope.
const (
	ScopePayload          = "payload"
	ScopeHeaderAndPayload = "header-and-payload"
)

// An Erasure specifies what to delete of one entry. PlanErasure returns it.
type Erasure struct {
	Index  uint64
	Header bool // delete the header, too
	erase  store.Erasure
	sums   []sum
}

// Scope returns the scope of the erasure.
func (e *Erasure) Scope() string {
	if e.Header {
		return ScopeHeaderAndPayload
	}
	return ScopePayload
}

// Betrays reports whether the text contains an unsalted digest of the payload
// to be erased.
func (e *Erasure) Betrays(text string) bool { return holds([]byte(text), e.sums) }

// PlanErasure returns the erasure of an entry of the stream. If the header
// contains an unsalted digest of the payload, the erasure always includes the
// header, because the digest would confirm a guess of the payload. Errors: as
// Entry; ErrErased if nothing is left to erase.
func (l *Ledger) PlanErasure(ctx context.Context, s *Stream, index uint64, header bool) (*Erasure, error) {
	of, err := l.Entry(ctx, s, index)
	if err != nil {
		return nil, err
	}
	e, err := planErasure(ctx, l.store, l.ids, of, header)
	if err == nil && e == nil {
		err = WrongField(FieldIndex, "entry %d is already %w", index, ErrErased)
	}
	return e, err
}

// planStored is planErasure for an entry that is read from the store. It does
// not look for damage if nothing is left to erase.
func planStored(ctx context.Context, st store.Store, ids *identifier, index uint64, header bool) (*Erasure, error) {
	opening, err := st.Header(ctx, index)
	if err != nil {
		return nil, notThere(err)
	}
	info, err := st.PayloadInfo(ctx, index)
	if err != nil {
		return nil, notThere(err)
	}
	if info.Erased && (opening == nil || !header) {
		return nil, nil
	}
	sk, err := st.Skeletons(ctx, index, index+1)
	if err != nil {
		return nil, notThere(err)
	}
	e := &Entry{Index: index, Skeleton: sk[0], Opening: opening}
	if err := checkHeader(index, &e.Skeleton, opening); err != nil {
		return nil, err
	}
	if err := e.parse(); err != nil {
		return nil, err
	}
	return planErasure(ctx, st, ids, e, header)
}

// planErasure returns the erasure, or nil if nothing is left to erase. A
// damaged payload is an error, because the rows to delete are derived from it.
func planErasure(ctx context.Context, st store.Store, ids *identifier, of *Entry, header bool) (*Erasure, error) {
	index, stream := of.Index, of.Skeleton.StreamID
	payload, err := st.OpenPayload(ctx, index)
	if err != nil {
		return nil, notThere(err)
	}
	if payload != nil {
		defer payload.Close()
	}
	if payload == nil && (of.Header == nil || !header) {
		return nil, nil
	}
	e := &Erasure{Index: index, Header: header, erase: store.Erasure{Index: index}}
	if h := of.Header; h != nil {
		if payload != nil {
			digests, content := newDigests(), checkedPayload(index, h, payload)
			key, err := ids.keyOf(stream, h, payload.Size, io.TeeReader(content, digests))
			if err != nil {
				return nil, fmt.Errorf("payload of entry %d: %w", index, err)
			}
			if h.IdempotencyKey != "" {
				// the key does not depend on the payload, which is still unread
				if _, err := io.Copy(digests, content); err != nil {
					return nil, fmt.Errorf("payload of entry %d: %w", index, err)
				}
			}
			e.erase.Keys = []store.Key{key}
			e.sums = digests.sums()
			e.Header = header || h.External != nil || holds(revealing(h, of.Opening.Content), e.sums)
		}
		if e.Header {
			any := streamTerm(stream)
			e.erase.Terms = slices.DeleteFunc(headerTerms(stream, h), func(t store.Term) bool { return t == any })
		}
	}
	e.erase.Header = e.Header
	return e, nil
}

// revealing returns the part of a header that can reveal the payload: all but
// the digest of an export manifest, which is its own last subject.
func revealing(h *entry.Header, text []byte) []byte {
	if h.Kind != kindname.ExportManifest || h.PredicateType == "" || len(h.Subjects) == 0 {
		return text
	}
	own := h.Subjects[len(h.Subjects)-1].Digest["sha256"]
	return bytes.Replace(text, []byte(own), nil, 1)
}

// digests computes the common digests of a payload.
type digests struct {
	io.Writer
	all []hash.Hash
}

func newDigests() *digests {
	d := &digests{all: []hash.Hash{md5.New(), sha1.New(), sha256.New224(), sha256.New(), sha512.New384(), sha512.New512_256(), sha512.New()}}
	writers := make([]io.Writer, len(d.all))
	for i, h := range d.all {
		writers[i] = h
	}
	d.Writer = io.MultiWriter(writers...)
	return d
}

// A sum is a digest in the spellings to search for: lower-case hexadecimal, and
// base64 in both alphabets without padding.
type sum struct{ hex, std, url []byte }

func (d *digests) sums() []sum {
	var out []sum
	for _, h := range d.all {
		b := h.Sum(nil)
		out = append(out, sum{[]byte(hex.EncodeToString(b)), []byte(base64.RawStdEncoding.EncodeToString(b)), []byte(base64.RawURLEncoding.EncodeToString(b))})
	}
	return out
}

func holds(text []byte, sums []sum) bool {
	lower := bytes.ToLower(text)
	return slices.ContainsFunc(sums, func(s sum) bool {
		return bytes.Contains(lower, s.hex) || bytes.Contains(text, s.std) || bytes.Contains(text, s.url)
	})
}

// undoneErasures returns the erasures recorded by the entries from ≤ index <
// size whose openings are in the store.
func (l *Ledger) undoneErasures(ctx context.Context, streams []store.StreamHead, from, size uint64) (again []store.Erasure, err error) {
	for _, h := range streams {
		list, err := l.store.Postings(ctx, term(h.StreamID, kindField, ErasureKind))
		if err != nil {
			return nil, indexDamage(err, l.replica)
		}
		again, err = l.undone(ctx, again, h.StreamID, list, from, size)
		if err := errors.Join(err, list.Close()); err != nil {
			return nil, err
		}
	}
	return again, nil
}

// reapplyErasures repeats the erasures recorded by the entries from ≤ index <
// size whose openings are in the store.
func (l *Ledger) reapplyErasures(ctx context.Context, streams []store.StreamHead, from, size uint64) error {
	again, err := l.undoneErasures(ctx, streams, from, size)
	if err != nil || len(again) == 0 {
		return err
	}
	if l.replica {
		l.log.Info("erasing what the log has erased", "entries", len(again))
	} else {
		l.log.Warn("openings recorded as erased are in the store; erasing them again", "entries", len(again))
	}
	if err := l.store.Erase(ctx, again); err != nil {
		return err
	}
	l.known.forget(again)
	return nil
}

// undone appends the erasures recorded by the listed entries whose openings are
// in the store.
func (l *Ledger) undone(ctx context.Context, out []store.Erasure, stream entry.Hash, list store.Postings, from, size uint64) ([]store.Erasure, error) {
	for at := from; ; at++ {
		var ok bool
		var err error
		if at, ok, err = list.SeekGE(at); err != nil || !ok || at >= size {
			return out, indexDamage(err, l.replica)
		}
		target, header, ok, err := l.erasureAt(ctx, stream, at)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", at, err)
		}
		if !ok {
			continue
		}
		e, err := planStored(ctx, l.store, l.ids, target, header)
		if err != nil {
			return nil, fmt.Errorf("entry %d, erased by entry %d: %w", target, at, err)
		}
		if e != nil {
			out = append(out, e.erase)
		}
	}
}

// ErasedBy returns the index of the entry that an entry of kind ErasureKind
// erases.
func ErasedBy(e *Entry) (uint64, error) {
	index, err := strconv.ParseUint(e.Header.Attributes["entry"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("entry %d: invalid entry %q", e.Index, e.Header.Attributes["entry"])
	}
	return index, nil
}

// erasureAt returns the target of a recorded erasure. ok is false unless the
// entry records an erasure of an earlier entry of its own stream.
func (l *Ledger) erasureAt(ctx context.Context, stream entry.Hash, index uint64) (target uint64, header, ok bool, err error) {
	opening, err := l.store.Header(ctx, index)
	if err != nil {
		return 0, false, false, err
	}
	h, err := parseHeader(index, opening)
	if err != nil || h == nil {
		return 0, false, false, err
	}
	target, perr := strconv.ParseUint(h.Attributes["entry"], 10, 64)
	if h.Kind != ErasureKind || perr != nil || target >= index {
		return 0, false, false, nil
	}
	sk, err := l.store.Skeletons(ctx, index, index+1)
	if err != nil || sk[0].StreamID != stream {
		// terms are truncated hashes, so the entry can be another stream's
		return 0, false, false, err
	}
	if sk, err = l.store.Skeletons(ctx, target, target+1); err != nil || sk[0].StreamID != stream {
		return 0, false, false, err
	}
	return target, h.Attributes["scope"] == ScopeHeaderAndPayload, true, nil
}

// purgeRetry is the delay after a failed purge.
const purgeRetry = time.Minute

// runPurge removes erased bytes from the disk after each erasure.
func (l *Ledger) runPurge(ctx context.Context) {
	defer close(l.purged)
	for {
		var again <-chan time.Time
		if n := l.store.Unpurged(); n > 0 {
			start := time.Now()
			err := l.store.Purge(ctx)
			switch left := l.store.Unpurged(); {
			case ctx.Err() != nil:
				return
			case err != nil:
				l.log.Error("erased bytes may still be on disk", "entries", n, "err", err, "retry", purgeRetry)
				again = time.After(purgeRetry)
			case left > 0: // erased during the purge
				continue
			default:
				l.log.Info("erased bytes removed from disk", "entries", n, "took", time.Since(start).Round(time.Millisecond))
			}
		}
		select {
		case <-l.purge:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// Unpurged returns the number of erased entries that may still have bytes on
// disk.
func (l *Ledger) Unpurged() int { return l.store.Unpurged() }

// erasedMeanwhile returns the error of a duplicate whose original was erased
// after it was found.
func erasedMeanwhile(index uint64) error {
	return fmt.Errorf("entry %d had the same content, but was just %w: send it again", index, ErrErased)
}

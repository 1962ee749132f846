package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/internal/turns"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/verifiers/boundedjson"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sigstore"
)

const (
	// inlineBytes is the size of the largest streamed payload held in memory.
	// Larger payloads are written to disk as they arrive.
	inlineBytes = 1 << 20
	// maxParsed is the size of the largest evidence that is parsed. Larger
	// evidence is recorded with its declared media type.
	maxParsed = 64 << 20
)

// A Stream is a submission whose payload is read as it arrives and can be too
// large to hold in memory.
type Stream struct {
	Kind           string
	MediaType      string // "": detect it
	IdempotencyKey string
	Size           *uint64 // size of the payload in bytes; nil: unknown
	// SHA-256 of the payload, as "sha256:" and hexadecimal digits; "": unknown
	Digest  string
	Payload io.Reader
	// Hold reserves memory on the submitter's account before a large payload is
	// parsed. It returns an error if that exceeds the account. Nil: no
	// accounting.
	Hold func(bytes int64) error
}

// AppendStream records one submission. The error is a *FieldError if the
// submission is invalid, a *Refusal if the admission policy refuses it, an
// error from the payload's reader, or one of ledger.Append's. After an error,
// nothing of the payload remains on disk.
func (in *Ingester) AppendStream(ctx context.Context, who Submitter, s *Stream) (ledger.Result, error) {
	sizes := in.sizes()
	if err := checkStream(s, sizes.stream); err != nil {
		return ledger.Result{}, err
	}
	p := &incoming{from: s.Payload, declared: s.Size, max: sizes.stream, sum: sha256.New()}
	// Read one byte more than fits in memory, to detect a larger payload.
	start, err := p.next(make([]byte, min(inlineBytes, sizes.payload)+1))
	if err != nil {
		return ledger.Result{}, err
	}
	sub := Submission{Kind: s.Kind, MediaType: s.MediaType, IdempotencyKey: s.IdempotencyKey}
	if p.done {
		sub.Payload = start
		if err := p.check(s.Digest); err != nil {
			return ledger.Result{}, err
		}
		c, err := in.accept(&sub)
		return in.one(ctx, who, &sub, &c, err)
	}
	is, err := in.checkLarge(s)
	if err != nil {
		return ledger.Result{}, err
	}
	spool, err := in.spool(ctx, who, s, p, start, is)
	if err != nil {
		return ledger.Result{}, err
	}
	defer spool.Discard() // no effect once an entry refers to it
	sub.spool = spool
	if spool.Size() > maxParsed {
		return in.one(ctx, who, &sub, &contents{mediaType: is, unread: true}, nil)
	}
	if s.Hold != nil {
		if err := s.Hold(2 * int64(spool.Size())); err != nil { // the payload and its parsed form
			return ledger.Result{}, err
		}
	}
	release, err := in.parsing.acquire(ctx, int64(spool.Size()))
	if err != nil {
		return ledger.Result{}, err
	}
	defer release() // once the parsed form is no longer needed
	c, err := in.readSpool(ctx, who, &sub)
	return in.one(ctx, who, &sub, &c, err)
}

// one appends a single submission, or returns the error found while reading it.
func (in *Ingester) one(ctx context.Context, who Submitter, sub *Submission, c *contents, wrong error) (ledger.Result, error) {
	results, err := in.appendRead(ctx, who, []Submission{*sub}, []contents{*c}, []error{wrong})
	if err != nil {
		return ledger.Result{}, err
	}
	return results[0], results[0].Err
}

// checkStream checks the description of a payload before the payload arrives.
func checkStream(s *Stream, largest int64) error {
	if WrittenByLog(s.Kind) {
		return errWrittenByLog(s.Kind)
	}
	if err := checkKind(s.Kind, s.IdempotencyKey); err != nil {
		return err
	}
	if s.Size == nil {
		return nil
	}
	k := table[s.Kind]
	switch size := *s.Size; {
	case size == 0:
		return fieldErrorf(FieldSize, "must be at least 1: an empty payload is not evidence")
	case size > uint64(largest):
		return fieldErrorf(FieldSize, "%d bytes, above the limit of %d: keep it elsewhere and append a reference to it", size, largest)
	case k.MaxBytes > 0 && size > uint64(k.MaxBytes):
		return errKindSize(FieldSize, size, k.Kind)
	case size > maxParsed:
		_, err := checkUnparsed(s.MediaType)
		return err
	}
	return nil
}

// checkLarge checks whether a payload above inlineBytes is allowed, before all
// of it has arrived. It returns the canonical media type.
func (in *Ingester) checkLarge(s *Stream) (string, error) {
	if k := table[s.Kind]; k.Typed() {
		return "", fieldErrorf(FieldPayload, "above the limit of %d bytes for kind %s", k.MaxBytes, s.Kind)
	}
	is, err := canonicalType(s.MediaType)
	if err == nil {
		err = checkCompressed(is)
	}
	return is, err
}

// checkUnparsed checks whether the media type is allowed for evidence above
// maxParsed, and returns its canonical spelling.
func checkUnparsed(mediaType string) (string, error) {
	is, err := canonicalType(mediaType)
	switch {
	case err != nil:
		return "", err
	case is == "":
		return "", fieldErrorf(FieldMediaType, "no media type specified: evidence above %d bytes is not parsed, so specify its type, such as application/spdx+json", maxParsed)
	case format.Of(is) != nil:
		return "", fieldErrorf(FieldPayload, "above the limit of %d bytes for %s, which is parsed", maxParsed, is)
	}
	return is, nil
}

// checkHidden refuses a payload above maxParsed whose content is of a parsed
// format. Otherwise padding could hide signed evidence from the policy's rules.
func checkHidden(shown shape.Set) error {
	is, err := mediaTypeOf(format.OfShape(shown))
	if err == nil && is != "" {
		err = fieldErrorf(FieldPayload, "above the limit of %d bytes for %s, which is parsed", maxParsed, is)
	}
	return err
}

// A scan checks a large payload as it arrives.
type scan struct {
	is     string     // the canonical media type
	check  *jsonCheck // nil unless the media type is that of JSON
	shown  shape.Scanner
	values *boundedjson.Counter // for bundles
	size   int64
}

func newScan(is string) *scan {
	s := &scan{is: is, values: sigstore.NewCounter()}
	if isJSON(is) {
		s.check = &jsonCheck{}
	}
	return s
}

// inTurn checks the next bytes in pieces, taking turns with other tenants.
func (s *scan) inTurn(ctx context.Context, who Submitter, p []byte) error {
	turn, err := turns.CPU.For(ctx, who.Tenant, int64(len(p)))
	if err != nil {
		return err
	}
	defer turn.End()
	for piece := range slices.Chunk(p, turns.Free) {
		if err := s.write(piece); err != nil {
			return err
		}
		if err := turn.Pass(ctx, len(piece)); err != nil {
			return err
		}
	}
	return nil
}

// write checks the next bytes. It returns an error as soon as the payload turns
// out to be invalid.
func (s *scan) write(p []byte) error {
	s.shown.Write(p)
	s.size += int64(len(p))
	if _, err := s.values.Write(p); err != nil && s.isBundle() {
		return fieldErrorf(FieldPayload, "sigstore bundle: %s", err)
	}
	if s.check != nil {
		if _, err := s.check.Write(p); err != nil {
			return s.notJSON(err)
		}
	}
	if s.size <= maxParsed {
		return nil
	}
	if _, err := checkUnparsed(s.is); err != nil {
		return err
	}
	return checkHidden(s.shown.Set())
}

// isBundle reports whether the payload will be read as a bundle.
func (s *scan) isBundle() bool {
	return format.Of(s.is) == format.Bundle || format.Of(s.is) == nil && s.shown.Set() == shape.Bundle
}

func (s *scan) end() error {
	if s.check == nil {
		return nil
	}
	if err := s.check.Close(); err != nil {
		return s.notJSON(err)
	}
	return nil
}

func (s *scan) notJSON(err error) error {
	return fieldErrorf(FieldPayload, "not JSON, as the media type %s requires: %s", s.is, err)
}

// spool writes the payload to disk as it arrives, until it is complete or turns
// out to be invalid.
func (in *Ingester) spool(ctx context.Context, who Submitter, s *Stream, p *incoming, start []byte, is string) (_ *ledger.Spool, err error) {
	scan := newScan(is)
	if err := scan.inTurn(ctx, who, start); err != nil {
		return nil, err // no file exists yet
	}
	expect := uint64(0)
	if s.Size != nil {
		expect = *s.Size
	}
	spool, err := in.Ledger.NewSpool(ctx, expect)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			spool.Discard()
		}
	}()
	for chunk := start; ; {
		if _, err := spool.Write(chunk); err != nil {
			return nil, err
		}
		if p.done {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if chunk, err = p.next(start[:len(start)-1]); err != nil {
			return nil, err
		}
		if err := scan.inTurn(ctx, who, chunk); err != nil {
			return nil, err
		}
	}
	if err := scan.end(); err != nil {
		return nil, err
	}
	if err := p.check(s.Digest); err != nil {
		return nil, err
	}
	return spool, spool.Finish()
}

// readSpool reads a payload of at most maxParsed bytes.
func (in *Ingester) readSpool(ctx context.Context, who Submitter, s *Submission) (contents, error) {
	r, err := s.spool.Open()
	if err != nil {
		return contents{}, err
	}
	defer r.Close()
	payload := bytes.NewBuffer(make([]byte, 0, s.spool.Size()+bytes.MinRead))
	if _, err := payload.ReadFrom(r); err != nil {
		return contents{}, fmt.Errorf("read a large payload: %w", err)
	}
	turn, err := turns.CPU.For(ctx, who.Tenant, int64(payload.Len()))
	if err != nil {
		return contents{}, err
	}
	defer turn.End()
	k := table[s.Kind]
	c, err := k.check(s.MediaType, payload.Bytes(), in.now())
	if err != nil {
		return contents{}, asFieldError(err)
	}
	return c, nil
}

// incoming counts and hashes a payload as it arrives.
type incoming struct {
	from     io.Reader
	declared *uint64 // bytes
	max      int64   // bytes
	size     uint64
	sum      hash.Hash
	done     bool // the payload has ended
}

// next returns the next bytes of the payload. It fills the buffer unless the
// payload ends before.
func (p *incoming) next(b []byte) ([]byte, error) {
	n, err := io.ReadFull(p.from, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		p.done, err = true, nil
	}
	p.size += uint64(n)
	p.sum.Write(b[:n])
	switch {
	case err != nil:
		return nil, err
	case p.declared != nil && p.size > *p.declared:
		return nil, fieldErrorf(FieldSize, "%d bytes declared, but more received", *p.declared)
	case p.size > uint64(p.max):
		return nil, fieldErrorf(FieldPayload, "above the limit of %d bytes: keep it elsewhere and append a reference to it", p.max)
	}
	return b[:n], nil
}

// check compares the payload's size and digest with the declared ones.
func (p *incoming) check(digest string) error {
	got := fmt.Sprintf("sha256:%x", p.sum.Sum(nil))
	switch {
	case p.declared != nil && p.size != *p.declared:
		return fieldErrorf(FieldSize, "%d bytes declared, but %d received", *p.declared, p.size)
	case digest != "" && strings.ToLower(digest) != got:
		return fieldErrorf(FieldDigest, "%s declared, but %s received", digest, got)
	}
	return nil
}

// A parseBudget limits how many bytes of large evidence are parsed at once.
type parseBudget struct {
	once sync.Once
	sem  *semaphore.Weighted
}

// acquire waits until the budget has room for the bytes, which are at most
// maxParsed.
func (b *parseBudget) acquire(ctx context.Context, bytes int64) (release func(), err error) {
	b.once.Do(func() { b.sem = semaphore.NewWeighted(maxParsed) })
	if err := b.sem.Acquire(ctx, bytes); err != nil {
		return nil, err
	}
	return func() { b.sem.Release(bytes) }, nil
}

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
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sigstore"
)

const (
	// inlineBytes is up to which size a streamed payload is kept like any
	// other. A larger one is written to the disk as it arrives.
	inlineBytes = 1 << 20
	// maxParsed is up to which size evidence is parsed. Larger evidence is kept
	// as the document that its media type says it is.
	maxParsed = 64 << 20
)

// A Stream is a submission whose payload arrives bit by bit, and may be too
// large to be held in memory.
type Stream struct {
	Kind           string
	MediaType      string // "": recognise it
	IdempotencyKey string
	Size           *uint64 // bytes of the payload, if they are known
	Digest         string  // "sha256:" and hexadecimal digits, if it is known
	Payload        io.Reader
	// Hold takes memory on the submitter's account before a large payload is
	// read to be parsed, or refuses it. Nil: nothing is counted.
	Hold func(bytes int64) error
}

// AppendStream records one submission. The error is a *FieldError (of Stream's
// fields, named as in the proto message AppendStreamHeader, or "payload") or a
// *Refusal if it is wrong, and else as in ledger.Append or what reading the
// payload returned. After an error nothing is left of it.
func (in *Ingester) AppendStream(ctx context.Context, who Submitter, s *Stream) (ledger.Result, error) {
	sizes := in.sizes()
	if err := checkStream(s, sizes.stream); err != nil {
		return ledger.Result{}, err
	}
	p := &incoming{from: s.Payload, declared: s.Size, max: sizes.stream, sum: sha256.New()}
	// one byte more than are kept like any other payload
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
	defer spool.Discard() // which is nothing if an entry has it
	sub.spool = spool
	if spool.Size() > maxParsed {
		return in.one(ctx, who, &sub, &contents{mediaType: is, unread: true}, nil)
	}
	if s.Hold != nil {
		if err := s.Hold(2 * int64(spool.Size())); err != nil { // as it is, and what is read of it
			return ledger.Result{}, err
		}
	}
	release, err := in.parsing.acquire(ctx, int64(spool.Size()))
	if err != nil {
		return ledger.Result{}, err
	}
	defer release() // when what was read of the payload is no longer needed
	c, err := in.readSpool(ctx, who, &sub)
	return in.one(ctx, who, &sub, &c, err)
}

// one appends a submission that was read, or was found to be wrong.
func (in *Ingester) one(ctx context.Context, who Submitter, sub *Submission, c *contents, wrong error) (ledger.Result, error) {
	results, err := in.appendRead(ctx, who, []Submission{*sub}, []contents{*c}, []error{wrong})
	if err != nil {
		return ledger.Result{}, err
	}
	return results[0], results[0].Err
}

// checkStream checks what is known before the payload arrives.
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

// checkLarge checks what can be said of a payload above inlineBytes before all
// of it is there. It returns the media type in one spelling.
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

// checkUnparsed says whether evidence above maxParsed may have the media type,
// which is returned in one spelling.
func checkUnparsed(mediaType string) (string, error) {
	is, err := canonicalType(mediaType)
	switch {
	case err != nil:
		return "", err
	case is == "":
		return "", fieldErrorf(FieldMediaType, "no media type specified: evidence above %d bytes is not parsed, so specify its type, such as application/spdx+json", maxParsed)
	case isRead(is):
		return "", fieldErrorf(FieldPayload, "above the limit of %d bytes for %s, which is parsed", maxParsed, is)
	}
	return is, nil
}

// checkHidden refuses what shows itself to be of a format that rules look into,
// and is too large for that: padding would hide it from them.
func checkHidden(shown shape.Set) error {
	is, err := mediaTypeOf(shown)
	if err == nil && is != "" {
		err = fieldErrorf(FieldPayload, "above the limit of %d bytes for %s, which is parsed", maxParsed, is)
	}
	return err
}

// A scan looks into a large payload as it arrives.
type scan struct {
	is     string     // the media type, in one spelling
	check  *jsonCheck // nil unless the media type is one of JSON
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

// inTurn looks at the next bytes, piece by piece, when it is the submitter's
// turn.
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

// write looks at the next bytes. It returns an error as soon as the payload can
// no longer be one that is recorded.
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
	return strings.HasPrefix(s.is, sigstore.MediaTypePrefix) || !isRead(s.is) && s.shown.Set() == shape.Bundle
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

// spool writes the payload to the disk as it arrives, as far as it may be
// recorded.
func (in *Ingester) spool(ctx context.Context, who Submitter, s *Stream, p *incoming, start []byte, is string) (_ *ledger.Spool, err error) {
	scan := newScan(is)
	if err := scan.inTurn(ctx, who, start); err != nil {
		return nil, err // and there is no file yet
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

// incoming is a payload that arrives, and is measured.
type incoming struct {
	from     io.Reader
	declared *uint64 // bytes
	max      int64   // bytes
	size     uint64
	sum      hash.Hash
	done     bool // there is no more
}

// next fills the buffer, unless the payload ends before.
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

// check compares what has arrived with what was declared.
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

// A parseBudget bounds the bytes of large evidence that are parsed at once.
type parseBudget struct {
	once sync.Once
	sem  *semaphore.Weighted
}

// acquire waits until there is room for so many bytes, at most maxParsed.
func (b *parseBudget) acquire(ctx context.Context, bytes int64) (release func(), err error) {
	b.once.Do(func() { b.sem = semaphore.NewWeighted(maxParsed) })
	if err := b.sem.Acquire(ctx, bytes); err != nil {
		return nil, err
	}
	return func() { b.sem.Release(bytes) }, nil
}

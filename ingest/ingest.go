// Package ingest turns a submission into an entry that lacks only its place in the log: it knows the kinds, reads the payload, builds the
// header and draws the salts.
//
// It is not for authentication (package api has done that) nor for sequencing (package ledger does that next).
package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
)

// A FieldError says which field of a submission is wrong.
type FieldError struct {
	Field   string // as in the proto message, such as "media_type"
	Message string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

func fieldErrorf(field, format string, args ...any) error {
	return &FieldError{Field: field, Message: fmt.Sprintf(format, args...)}
}

// A Submission is what a client hands in.
type Submission struct {
	Kind           string
	MediaType      string // "": recognise it
	Payload        []byte // kept byte for byte; not to be changed until Append has returned
	IdempotencyKey string
}

// A Submitter is who hands it in, as authenticated.
type Submitter struct {
	Tenant   string
	Identity string // such as "token:acme"; recorded in the header
	Stream   *ledger.Stream
}

// An Ingester takes submissions for one log.
type Ingester struct {
	Ledger     *ledger.Ledger
	MaxPayload int64            // bytes
	Now        func() time.Time // nil: time.Now
}

// Append records the submissions in their order and returns a result for each. A submission that is wrong gets a *FieldError in its
// result, and does not keep the others from being recorded. The error is for all of them, as in ledger.Append.
func (in *Ingester) Append(ctx context.Context, who Submitter, subs []Submission) ([]ledger.Result, error) {
	results := make([]ledger.Result, len(subs))
	drafts := make([]ledger.Draft, 0, len(subs))
	place := make([]int, 0, len(subs)) // of each draft among the submissions
	for i := range subs {
		d, err := in.draft(who, &subs[i])
		if err != nil {
			results[i].Err = err
			continue
		}
		drafts = append(drafts, d)
		place = append(place, i)
	}
	if len(drafts) == 0 {
		return results, nil
	}
	appended, err := in.Ledger.Append(ctx, drafts)
	if err != nil {
		return nil, err
	}
	for i, r := range appended {
		results[place[i]] = r
	}
	return results, nil
}

// draft checks a submission and makes an entry of it.
func (in *Ingester) draft(who Submitter, s *Submission) (ledger.Draft, error) {
	if WrittenByLog(s.Kind) {
		return ledger.Draft{}, fieldErrorf("kind", "entries of kind %s are recorded by the server alone; submit one of %s", s.Kind, strings.Join(clientKinds(), ", "))
	}
	return in.entry(who, s)
}

// entry is draft for all kinds.
func (in *Ingester) entry(who Submitter, s *Submission) (ledger.Draft, error) {
	c, err := in.read(s)
	if err != nil {
		var f *FieldError
		if !errors.As(err, &f) {
			err = fieldErrorf("payload", "%s", err)
		}
		return ledger.Draft{}, err
	}
	d := ledger.Draft{Stream: who.Stream, Payload: receipt.PayloadOpening{Content: s.Payload}}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = receipt.NewSalts()
	d.Header = &receipt.Header{
		Origin: in.Ledger.Origin(), Tenant: who.Tenant, Kind: s.Kind, MediaType: c.mediaType, Subjects: c.subjects, PredicateType: c.predicateType,
		Signers: c.signers, Materials: c.materials, Controls: c.controls, Attributes: c.attributes, Submitter: who.Identity, IdempotencyKey: s.IdempotencyKey, Verification: receipt.Verification{Result: receipt.Unverified},
		Payload: receipt.PayloadRef{Commitment: receipt.Commitment(d.Payload.Salt, s.Payload), Size: uint64(len(s.Payload))},
	}
	if d.Opening.Content, err = d.Header.AppendJSON(make([]byte, 0, 768)); err != nil {
		return ledger.Draft{}, fieldErrorf("payload", "it can't be described: %s", err)
	}
	return d, nil
}

func (in *Ingester) read(s *Submission) (contents, error) {
	k, ok := kinds[s.Kind]
	switch {
	case s.Kind == "":
		return contents{}, fieldErrorf("kind", "missing; it is one of %s", strings.Join(clientKinds(), ", "))
	case !ok:
		return contents{}, fieldErrorf("kind", "%q is not a kind; it is one of %s", s.Kind, strings.Join(clientKinds(), ", "))
	case len(s.Payload) == 0:
		return contents{}, fieldErrorf("payload", "empty")
	case int64(len(s.Payload)) > in.MaxPayload:
		return contents{}, fieldErrorf("payload", "%d bytes, more than the limit of %d", len(s.Payload), in.MaxPayload)
	case k.class == event && s.IdempotencyKey == "":
		return contents{}, fieldErrorf("idempotency_key", "missing; kind %s records events, and without a key a retry would record the event twice", s.Kind)
	case k.class == evidence && s.IdempotencyKey != "":
		return contents{}, fieldErrorf("idempotency_key", "not allowed; kind %s is evidence, which is recognised by its content", s.Kind)
	}
	if s.Kind != "attestation" && len(s.Payload) > maxTyped && k.author != server {
		return contents{}, fieldErrorf("payload", "%d bytes, more than the %d that a document of kind %s may have", len(s.Payload), maxTyped, s.Kind)
	}
	return k.read(s.MediaType, s.Payload, in.now())
}

func (in *Ingester) now() time.Time {
	if in.Now != nil {
		return in.Now()
	}
	return time.Now()
}

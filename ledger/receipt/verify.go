package receipt

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"muniment.dev/muniment/ledger/entry"
)

// Options are the inputs of a verification besides the receipt and the
// policies. The zero value requires the payload and expects nothing. Gates
// should always expect a tenant, a kind and a subject.
type Options struct {
	// Payload is the payload, if the receipt does not contain it. nil means
	// that none is given.
	Payload []byte
	// PayloadReader is used instead of Payload if it is not nil. It is read to
	// its end, and need not fit in memory.
	PayloadReader io.Reader
	// External is the evidence that an entry by reference refers to. It is read
	// to its end. nil means that the evidence is not checked.
	External io.Reader
	// HeaderOnly verifies the receipt without requiring the payload.
	HeaderOnly bool

	// Expectations. nil and false expect nothing. An empty string is an error,
	// so that an unset variable does not disable a check.
	Tenant          *string
	Kind            *string
	Subject         *string // algorithm:value
	PredicateType   *string
	Control         *string          // one of the header's controls
	Signer          *string          // identity or key ID of a signer; implies RequireVerified
	Issuer          *string          // issuer of the same signer; implies RequireVerified
	RequireVerified bool             // the log verified the evidence's signatures
	Admitted        bool             // by the admission policy
	StreamID        *entry.Hash      // the stream that the tenant pinned
	StreamKey       *entry.StreamKey // also checks the tag
}

// A Statement is the result of a verified receipt. It is proven, except where a
// field is documented as a claim. See docs/spec/receipt.md, section 4.
type Statement struct {
	Form     Form // a claim: any holder of a receipt can write the erased forms
	Origin   string
	Index    uint64
	Size     uint64
	Root     entry.Hash
	LeafHash entry.Hash
	Tag      entry.Hash
	Time     uint64 // Unix milliseconds; a claim of the log's operator

	Link *LinkOpening // nil in the shared form

	HeaderHash  entry.Hash
	HeaderBytes []byte        // nil if erased
	Header      *entry.Header // nil if erased; the log's claim

	PayloadSHA256  *entry.Hash // nil if the payload was not checked
	ExternalSHA256 *entry.Hash // nil if the external evidence was not checked

	Signers    []string // keys of the policy that signed the checkpoint, name+hash, sorted
	Policy     string   // name of the accepting policy
	Witnessed  bool     // whether the policy's quorum requires a witness
	TagChecked bool     // whether the tag was checked with the stream key
}

// Verify checks a receipt offline, as specified in docs/spec/receipt.md,
// section 4. Every error is an *Error. An error wraps ErrNotVerified if it is a
// verdict about the receipt. It does not if the call is wrong, or if the
// payload or the external evidence cannot be read.
func Verify(data []byte, policies []*TrustPolicy, opts Options) (*Statement, error) {
	s, err := verify(data, policies, &opts)
	if e, ok := errors.AsType[*Error](err); ok && e.Step > 0 {
		verdict := *e
		verdict.prefix = ErrNotVerified.Error() + ": "
		return nil, &verdict
	}
	return s, err
}

// verify performs the steps in order. The first failure decides.
func verify(data []byte, policies []*TrustPolicy, opts *Options) (*Statement, error) {
	expect, err := opts.check(policies)
	if err != nil {
		return nil, err
	}
	r, err := Parse(data)
	if err != nil {
		return nil, err
	}
	p, err := ParseProof(string(r.Proof))
	if err != nil {
		return nil, fail(ProofMalformed, "proof: %w", err)
	}
	signed, err := parseSigned(string(p.Checkpoint))
	if err != nil {
		return nil, fail(ProofMalformed, "proof: checkpoint: %w", err)
	}
	s := &Statement{Form: r.Form, Tag: r.Tag, Time: r.Time, Index: p.Index, HeaderHash: r.HeaderHash}
	payload, err := measurePayload(r, opts)
	if err != nil {
		return nil, err
	}
	if err := s.openHeader(r, payload); err != nil {
		return nil, err
	}
	link, err := s.openLink(r)
	if err != nil {
		return nil, err
	}
	leaf := entry.LeafData(r.Tag, entry.EntryHash(entry.HashOrigin(signed.Origin), link, r.Time, s.HeaderHash))
	s.LeafHash = entry.LeafHash(leaf[:])
	if err := s.accept(signed, policies); err != nil {
		return nil, err
	}
	if err := VerifyInclusion(p.Index, s.Size, s.LeafHash, p.Path, s.Root); err != nil {
		return nil, fail(Inclusion, "%w", err)
	}
	if s.Header != nil && s.Header.Origin != s.Origin {
		return nil, fail(OriginMismatch, "header: origin %q, but the checkpoint is from %q", s.Header.Origin, s.Origin)
	}
	if err := expect.met(s); err != nil {
		return nil, err
	}
	return s, nil
}

// A measure is what verification needs of a payload.
type measure struct {
	size       uint64
	sha256     entry.Hash
	commitment entry.Hash
}

// measurePayload performs steps 2 and 3. It returns the measure of the payload
// to check, or nil if there is none and none is required.
func measurePayload(r *Receipt, opts *Options) (*measure, error) {
	given := opts.PayloadReader
	if opts.Payload != nil {
		given = bytes.NewReader(opts.Payload)
	}
	if r.Payload == nil {
		switch {
		case given != nil:
			return nil, fail(PayloadUnexpected, "payload: one was given, but a receipt of form %s has none to compare it with", r.Form)
		case !opts.HeaderOnly:
			return nil, fail(PayloadIsErased, "payload: erased (form %s); the rest verifies with --header-only", r.Form)
		}
		return nil, nil
	}
	var embedded io.Reader
	if r.Payload.Content != nil {
		embedded = bytes.NewReader(r.Payload.Content)
	}
	switch {
	case embedded != nil && given != nil:
		in, err := measureOf(embedded, r.Payload.Salt)
		if err != nil {
			return nil, err
		}
		if other, err := measureOf(given, r.Payload.Salt); err != nil {
			return nil, err
		} else if *other != *in {
			return nil, fail(PayloadDiffers, "payload: the given payload differs from the one in the receipt")
		}
		return in, nil
	case embedded != nil:
		return measureOf(embedded, r.Payload.Salt)
	case given != nil:
		return measureOf(given, r.Payload.Salt)
	case !opts.HeaderOnly:
		return nil, fail(PayloadMissing, "payload: not in the receipt; give it with --payload, or check the rest with --header-only")
	}
	return nil, nil
}

func measureOf(payload io.Reader, salt entry.Salt) (*measure, error) {
	plain, salted := sha256.New(), entry.NewCommitment(salt)
	n, err := io.Copy(io.MultiWriter(plain, salted), payload)
	if err != nil {
		return nil, fail(Unreadable, "read the payload: %w", err)
	}
	return &measure{uint64(n), entry.Hash(plain.Sum(nil)), entry.Hash(salted.Sum(nil))}, nil
}

// openHeader performs step 4.
func (s *Statement) openHeader(r *Receipt, payload *measure) error {
	if payload != nil {
		s.PayloadSHA256 = &payload.sha256
	}
	if r.Header == nil {
		return nil
	}
	h, err := entry.ParseHeader(r.Header.Content)
	if err != nil {
		return fail(HeaderMalformed, "%w", err)
	}
	if payload != nil {
		if payload.size != h.Payload.Size {
			return fail(PayloadMismatch, "payload: %d bytes, but the header specifies %d", payload.size, h.Payload.Size)
		}
		if payload.commitment != h.Payload.Commitment {
			return fail(PayloadMismatch, "payload: not the recorded one (its commitment differs)")
		}
	}
	s.Header, s.HeaderBytes = h, r.Header.Content
	s.HeaderHash = entry.HeaderHash(r.Header.Salt, r.Header.Content)
	return nil
}

// openLink performs step 5. It returns L.
func (s *Statement) openLink(r *Receipt) (entry.Hash, error) {
	if r.Link == nil {
		return r.LinkHash, nil
	}
	if (r.Link.Seq == 0) != (r.Link.Prev == entry.Hash{}) {
		return entry.Hash{}, fail(LinkPrev, "link.prev: must be zero for the first entry of a stream, and only for it")
	}
	if r.Link.Seq > s.Index {
		return entry.Hash{}, fail(LinkSeq, "link.seq: %d is greater than the entry's index %d; an audit of the stream would miss the entry", r.Link.Seq, s.Index)
	}
	s.Link = r.Link
	return entry.LinkHash(r.Link.Salt, r.Link.StreamID, r.Link.Seq, r.Link.Prev), nil
}

// accept performs step 7. The first policy that accepts is reported.
func (s *Statement) accept(signed *signedCheckpoint, policies []*TrustPolicy) error {
	var messages []error
	var furthest Code
	for _, policy := range policies {
		keys, err := policy.verify(signed)
		var e *Error
		if errors.As(err, &e) {
			messages = append(messages, fmt.Errorf("policy %s: %s", policy.Name, e.Message))
			if codes := steps[7]; furthest == "" || slices.Index(codes, e.Code) > slices.Index(codes, furthest) {
				furthest = e.Code
			}
			continue
		}
		s.Origin, s.Size, s.Root = signed.Origin, signed.Size, signed.Root
		s.Signers, s.Policy, s.Witnessed = keys, policy.Name, policy.RequiresWitness()
		return nil
	}
	return fail(furthest, "%w", errors.Join(messages...))
}

// VerifyInclusion checks an RFC 6962 inclusion proof.
func VerifyInclusion(index, size uint64, leaf entry.Hash, path []entry.Hash, root entry.Hash) error {
	err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], entry.ByteSlices(path), root[:])
	if err != nil {
		return fmt.Errorf("inclusion proof of entry %d in the tree of size %d: %w", index, size, rootMismatch(err))
	}
	return nil
}

// VerifyConsistency checks an RFC 6962 consistency proof between two trees of
// the same log.
func VerifyConsistency(size1, size2 uint64, root1, root2 entry.Hash, path []entry.Hash) error {
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, size1, size2, entry.ByteSlices(path), root1[:], root2[:])
	if err != nil {
		return fmt.Errorf("consistency proof from size %d to %d: %w", size1, size2, rootMismatch(err))
	}
	return nil
}

// rootMismatch explains the library's most frequent error.
func rootMismatch(err error) error {
	var m proof.RootMismatchError
	if errors.As(err, &m) {
		return fmt.Errorf("it yields the root %s, but the checkpoint has %s: the receipt does not match the log's record",
			base64.StdEncoding.EncodeToString(m.CalculatedRoot), base64.StdEncoding.EncodeToString(m.ExpectedRoot))
	}
	return err
}

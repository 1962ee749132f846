package receipt

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// ErrNotVerified is wrapped by every error of Verify that is a verdict about the receipt.
var ErrNotVerified = errors.New("not verified")

// Options say what a receipt must show beyond being genuine. The zero value asks for the payload and expects nothing else; gates should
// always expect a tenant, a kind and a subject.
type Options struct {
	Payload       []byte    // the payload, if it comes from elsewhere; nil: it doesn't
	PayloadReader io.Reader // the same as a stream, read to its end, for what need not fit into memory; nil: there is none
	HeaderOnly    bool      // the payload need not be there

	Tenant    string     // "" expects nothing; so below
	Kind      string     // header's kind
	Subject   string     // algorithm:value
	StreamID  *Hash      // the stream that the tenant pinned
	StreamKey *StreamKey // checks the tag, too
}

// A Statement is what a verified receipt has proven. See docs/spec/receipt.md, section 4.
type Statement struct {
	Origin   string
	Index    uint64
	Size     uint64
	Root     Hash
	LeafHash Hash
	Tag      Hash
	Time     uint64 // Unix milliseconds; the operator's claim

	Link *LinkOpening // nil in the shared form

	HeaderHash  Hash
	HeaderBytes []byte  // nil if erased
	Header      *Header // nil if erased; the log's claim

	PayloadSHA256 *Hash // nil if the payload was not checked

	Signers    []string // keys of the policy that signed the checkpoint, name+hash, sorted
	Policy     string   // name of the policy that accepted
	Witnessed  bool     // the policy's quorum asked for a witness, and got it
	TagChecked bool     // against the stream key
}

// Verify checks a receipt offline by docs/spec/receipt.md, section 4. It returns an error that wraps ErrNotVerified if the receipt is
// malformed, does not verify under any of the policies, or does not meet the options. An error of PayloadReader is returned as it is: it is no
// verdict.
func Verify(data []byte, policies []*Policy, opts Options) (*Statement, error) {
	s, err := verify(data, policies, opts)
	var unread *readError
	if errors.As(err, &unread) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotVerified, err)
	}
	return s, nil
}

// A readError is a failure to read the payload.
type readError struct{ err error }

func (e *readError) Error() string { return "read the payload: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func verify(data []byte, policies []*Policy, opts Options) (*Statement, error) {
	r, err := Parse(data)
	if err != nil {
		return nil, err
	}
	p, err := ParseProof(string(r.Proof))
	if err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	s := &Statement{Tag: r.Tag, Time: r.Time, Index: p.Index, HeaderHash: r.HeaderHash}

	payload, err := measurePayload(r, opts)
	if err != nil {
		return nil, err
	}
	if payload != nil {
		s.PayloadSHA256 = &payload.sha256
	}
	if r.Header != nil {
		if s.Header, err = ParseHeader(r.Header.Content); err != nil {
			return nil, err
		}
		s.HeaderBytes = r.Header.Content
		s.HeaderHash = HeaderHash(r.Header.Salt, r.Header.Content)
		if payload != nil {
			if payload.size != s.Header.Payload.Size {
				return nil, fmt.Errorf("payload: %d bytes, the header says %d", payload.size, s.Header.Payload.Size)
			}
			if payload.commitment != s.Header.Payload.Commitment {
				return nil, errors.New("payload: not the one that was recorded (its commitment differs)")
			}
		}
	}
	link := r.LinkHash
	if r.Link != nil {
		if (r.Link.Seq == 0) != (r.Link.Prev == Hash{}) {
			return nil, errors.New("link.prev: must be zero for the first entry of a stream, and only for it")
		}
		s.Link = r.Link
		link = LinkHash(r.Link.Salt, r.Link.StreamID, r.Link.Seq, r.Link.Prev)
	}
	leaf := LeafData(r.Tag, EntryHash(link, r.Time, s.HeaderHash))
	s.LeafHash = LeafHash(leaf[:])

	if err := s.verifyCheckpoint(p, policies); err != nil {
		return nil, err
	}
	if err := VerifyInclusion(p.Index, s.Size, s.LeafHash, p.Path, s.Root); err != nil {
		return nil, err
	}
	if s.Header != nil && s.Header.Origin != s.Origin {
		return nil, fmt.Errorf("header: origin %q, but the checkpoint is of %q", s.Header.Origin, s.Origin)
	}
	if err := s.meet(opts); err != nil {
		return nil, err
	}
	return s, nil
}

// A measure is all that verification needs to know of a payload.
type measure struct {
	size       uint64
	sha256     Hash
	commitment Hash
}

// measurePayload returns the measure of the payload to check, or nil if there is none and none is needed.
func measurePayload(r *Receipt, opts Options) (*measure, error) {
	given := opts.PayloadReader
	if opts.Payload != nil {
		given = bytes.NewReader(opts.Payload)
	}
	if r.Payload == nil {
		switch {
		case given != nil:
			return nil, fmt.Errorf("payload: one was given, but this receipt can't be checked against it (form %s)", r.Form)
		case !opts.HeaderOnly:
			return nil, fmt.Errorf("payload: erased (form %s); what is left verifies with --header-only", r.Form)
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
			return nil, errors.New("payload: the one given is not the one in the receipt")
		}
		return in, nil
	case embedded != nil:
		return measureOf(embedded, r.Payload.Salt)
	case given != nil:
		return measureOf(given, r.Payload.Salt)
	case !opts.HeaderOnly:
		return nil, errors.New("payload: it is not in the receipt; give it with --payload, or check the rest with --header-only")
	}
	return nil, nil
}

func measureOf(payload io.Reader, salt Salt) (*measure, error) {
	plain, salted := sha256.New(), NewCommitment(salt)
	n, err := io.Copy(io.MultiWriter(plain, salted), payload)
	if err != nil {
		return nil, &readError{err}
	}
	return &measure{uint64(n), Hash(plain.Sum(nil)), Hash(salted.Sum(nil))}, nil
}

func (s *Statement) verifyCheckpoint(p *Proof, policies []*Policy) error {
	if len(policies) == 0 {
		return errors.New("no policy given")
	}
	var errs []error
	for _, policy := range policies {
		c, keys, err := policy.VerifyCheckpoint(p.Checkpoint)
		if err != nil {
			errs = append(errs, fmt.Errorf("policy %s: %w", policy.Name, err))
			continue
		}
		slices.Sort(keys)
		s.Origin, s.Size, s.Root = c.Origin, c.Size, c.Root
		s.Signers, s.Policy, s.Witnessed = keys, policy.Name, policy.RequiresWitness()
		return nil
	}
	return errors.Join(errs...)
}

// VerifyInclusion checks an RFC 6962 inclusion proof.
func VerifyInclusion(index, size uint64, leaf Hash, path []Hash, root Hash) error {
	err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], byteSlices(path), root[:])
	if err != nil {
		return fmt.Errorf("inclusion proof of entry %d in the tree of size %d: %w", index, size, rootMismatch(err))
	}
	return nil
}

// VerifyConsistency checks an RFC 6962 consistency proof between two trees of the same log.
func VerifyConsistency(size1, size2 uint64, root1, root2 Hash, path []Hash) error {
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, size1, size2, byteSlices(path), root1[:], root2[:])
	if err != nil {
		return fmt.Errorf("consistency proof from size %d to %d: %w", size1, size2, rootMismatch(err))
	}
	return nil
}

// rootMismatch words the library's commonest error for people.
func rootMismatch(err error) error {
	var m proof.RootMismatchError
	if errors.As(err, &m) {
		return fmt.Errorf("it leads to the root %s, but the checkpoint says %s: what the receipt says is not what the log recorded",
			base64.StdEncoding.EncodeToString(m.CalculatedRoot), base64.StdEncoding.EncodeToString(m.ExpectedRoot))
	}
	return err
}

func byteSlices(path []Hash) [][]byte {
	out := make([][]byte, len(path))
	for i := range path {
		out[i] = path[i][:]
	}
	return out
}

// meet checks the caller's expectations.
func (s *Statement) meet(o Options) error {
	if s.Header == nil && (o.Tenant != "" || o.Kind != "" || o.Subject != "") {
		return errors.New("tenant, kind and subject can't be checked: the header is erased")
	}
	if o.Tenant != "" && s.Header.Tenant != o.Tenant {
		return fmt.Errorf("tenant: the entry is of %q, not of %q", s.Header.Tenant, o.Tenant)
	}
	if o.Kind != "" && s.Header.Kind != o.Kind {
		return fmt.Errorf("kind: the entry is of kind %q, not %q", s.Header.Kind, o.Kind)
	}
	if o.Subject != "" && !s.Header.HasSubject(o.Subject) {
		return fmt.Errorf("subject: %s is not among the entry's subjects (%s)", o.Subject, s.Header.subjectList())
	}
	if o.StreamKey == nil && o.StreamID == nil {
		return nil
	}
	if s.Link == nil {
		return errors.New("stream: can't be checked, a shared receipt hides it")
	}
	if o.StreamID != nil && s.Link.StreamID != *o.StreamID {
		return errors.New("stream: the entry is of another stream")
	}
	if o.StreamKey != nil {
		if s.Link.StreamID != o.StreamKey.StreamID() {
			return errors.New("stream: the entry is of another stream than the key's")
		}
		tag := o.StreamKey.Tag(s.Link.Seq)
		if subtle.ConstantTimeCompare(tag[:], s.Tag[:]) != 1 {
			return fmt.Errorf("tag: not that of entry %d of the stream; the log filed the entry where an audit would miss it", s.Link.Seq)
		}
		s.TagChecked = true
	}
	return nil
}

func (h *Header) subjectList() string {
	var all []string
	for _, s := range h.Subjects {
		for alg, v := range s.Digest {
			all = append(all, alg+":"+v)
		}
	}
	slices.Sort(all)
	switch {
	case len(all) == 0:
		return "it has none"
	case len(all) > 3:
		return strings.Join(all[:3], ", ") + fmt.Sprintf(" and %d more", len(all)-3)
	}
	return strings.Join(all, ", ")
}

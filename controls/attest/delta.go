package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/sigstore"
)

// DeltaPredicate is the predicate type of the attestation of a delta.
// docs/spec/delta.md, section 5, specifies it.
const DeltaPredicate = "https://muniment.dev/predicate/delta/v1"

// MaxDeltaAttestation is the size limit of the attestation of a delta in bytes.
// A delta lists at most 65,536 streams.
const MaxDeltaAttestation = 16 << 20

var (
	// ErrNoKey reports that a log has no gate key, which signs attestations.
	ErrNoKey = errors.New("the log has no gate key, which signs attestations")
	// ErrAttestation reports that an attestation does not vouch for a delta.
	ErrAttestation = errors.New("the attestation does not vouch for the delta")
)

// A deltaPredicate is the predicate of a delta's attestation.
type deltaPredicate struct {
	Log     string       `json:"log"`
	From    *uint64      `json:"from"`
	To      *uint64      `json:"to"`
	Streams []entry.Hash `json:"streams,omitempty"`
	Created time.Time    `json:"created"`
}

// DeltaName returns the usual name of a delta's file.
func DeltaName(h *delta.Header) string { return fmt.Sprintf("%s-%d-%d.delta", h.Origin, h.From, h.To) }

// Delta returns the attestation of a delta with the header, whose file has the
// digest: a Sigstore bundle. The error is ErrNoKey if the signer is nil.
func (s *Signer) Delta(h *delta.Header, digest [32]byte, created time.Time) ([]byte, error) {
	if s == nil {
		return nil, ErrNoKey
	}
	p := deltaPredicate{Log: h.Origin, From: &h.From, To: &h.To, Created: created.UTC()}
	for _, stream := range h.Streams {
		p.Streams = append(p.Streams, stream.ID)
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	subject := entry.Subject{Name: DeltaName(h), Digest: map[string]string{"sha256": fmt.Sprintf("%x", digest)}}
	return s.Bundle(Statement([]entry.Subject{subject}, DeltaPredicate, body))
}

// VerifyDelta returns nil if the attestation is signed by the key and is about
// the file, as a delta of the log with the origin. Errors: ErrAttestation;
// those of reading the file.
func VerifyDelta(attestation []byte, key *dsse.Key, file io.ReadSeeker, origin string) error {
	b, err := sigstore.Parse(attestation)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	need := sigstore.ForKeys
	need.LogEntries = sigstore.None // the machine may have no trusted root
	v, err := sigstore.NewKeyVerifier([]*dsse.Key{key}, nil, need)
	if err != nil {
		return err
	}
	artifact, err := sigstore.ReadArtifact(file)
	if err != nil {
		return err
	}
	verified, err := v.Verify(b, artifact)
	if errors.Is(err, sigstore.ErrNotVerified) {
		return fmt.Errorf("%w: %w", ErrAttestation, err)
	} else if err != nil {
		return err
	}
	if verified.PredicateType != DeltaPredicate {
		return fmt.Errorf("%w: its predicate type is %q, want %q", ErrAttestation, verified.PredicateType, DeltaPredicate)
	}
	p, err := readDeltaPredicate(verified.Payload)
	switch {
	case err != nil:
		return fmt.Errorf("%w: its predicate: %w", ErrAttestation, err)
	case p.Log != origin:
		return fmt.Errorf("%w: it is about the log %q, not %q", ErrAttestation, p.Log, origin)
	}
	return nil
}

// readDeltaPredicate reads the predicate of a statement that was verified.
func readDeltaPredicate(statement []byte) (*deltaPredicate, error) {
	var s struct {
		Predicate deltaPredicate `json:"predicate"`
	}
	if err := json.Unmarshal(statement, &s); err != nil {
		return nil, err
	}
	if p := &s.Predicate; p.From == nil || p.To == nil || p.Log == "" {
		return nil, errors.New("log, from and to are required")
	}
	return &s.Predicate, nil
}

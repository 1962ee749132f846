package sigstore

import (
	intoto1 "github.com/in-toto/attestation/go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"muniment.dev/muniment/verifiers/boundedjson"
	"muniment.dev/muniment/verifiers/sniff"
)

// An entity is a bundle in the form that sigstore-go's verifier requires. It is
// immutable after parsing, so goroutines can share it.
type entity struct {
	*bundle.Bundle
	content verify.SignatureContent
	entries []*tlog.Entry
}

// Limits of a bundle. Genuine bundles with 32 log entries, inclusion proofs,
// certificate chains and timestamps are far smaller.
const (
	maxValues = 20_000
	maxDepth  = 32
)

// NewCounter returns a counter for the values of a bundle, with Parse's limits.
func NewCounter() *boundedjson.Counter { return boundedjson.NewCounter(maxValues, maxDepth) }

func newEntity(data []byte) (*entity, error) {
	if err := boundedjson.Check(data, maxValues, maxDepth); err != nil {
		return nil, err
	}
	if err := sniff.JSON(data); err != nil {
		return nil, err
	}
	e := &entity{Bundle: &bundle.Bundle{Bundle: new(protobundle.Bundle)}}
	if err := e.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	var err error
	if e.content, err = e.Bundle.SignatureContent(); err != nil {
		return nil, err
	}
	if env, ok := e.content.(*bundle.Envelope); ok {
		e.content = &envelope{env}
	}
	e.entries, err = e.Bundle.TlogEntries()
	return e, err
}

func (e *entity) SignatureContent() (verify.SignatureContent, error) { return e.content, nil }
func (e *entity) TlogEntries() ([]*tlog.Entry, error)                { return e.entries, nil }

// withEntry returns the bundle with one of its log entries only.
func (e *entity) withEntry(entry *tlog.Entry) *entity {
	return &entity{Bundle: e.Bundle, content: e.content, entries: []*tlog.Entry{entry}}
}

// An envelope keeps sigstore-go from reading the payload. Package intoto reads
// the payload instead, strictly and once, so that the same interpretation is
// compared with the artifact and returned to the caller. It also allows
// payloads other than statements to be verified.
type envelope struct{ *bundle.Envelope }

func (e *envelope) EnvelopeContent() verify.EnvelopeContent { return e }
func (e *envelope) Statement() (*intoto1.Statement, error)  { return &intoto1.Statement{}, nil }

package format

import (
	"bytes"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/cose"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/external"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A Document is a parsed document. Its contents are claims, because no
// signature was verified.
type Document struct {
	Format     *Format
	MediaType  string // in headers
	Subjects   []entry.Subject
	Signers    []entry.Signer
	Attributes map[string]string
	// Statement is the in-toto statement that the document is or contains, or
	// nil. Its predicate is not checked.
	Statement *intoto.Statement
	// Unread is the reason that a signed payload with the type of statements is
	// not one.
	Unread   error
	External *entry.External // nil unless the evidence is stored elsewhere

	// Signed is the form in which the format's package verifies the document:
	// a *sigstore.Bundle, *dsse.Envelope, *cose.Statement or helm.Signed. It is
	// nil if the format has no signatures.
	Signed any
}

func readBundle(payload []byte) (*Document, error) {
	b, err := sigstore.Parse(payload)
	if err != nil {
		return nil, err
	}
	d := &Document{MediaType: b.MediaType, Subjects: b.Subjects, Signers: b.Signers, Statement: b.Statement, Signed: b}
	if b.Unread != nil {
		d.Unread = fmt.Errorf("dsseEnvelope.payload: %w", b.Unread)
	}
	return d, nil
}

func readEnvelope(payload []byte) (*Document, error) {
	e, err := dsse.Parse(payload)
	if err != nil {
		return nil, err
	}
	d := &Document{Signers: e.Signers, Signed: e}
	inner := shape.Of(e.Payload)
	switch {
	case inner&^shape.Statement != 0:
		return nil, errors.New("DSSE envelope: payload: must not be an envelope or bundle: submit the one that has the signatures")
	case e.PayloadType != intoto.MediaType && inner == shape.None:
		return d, nil // the payload is not a statement, whatever its type claims
	}
	d.Statement, err = intoto.Read(e.Payload)
	switch {
	case errors.Is(err, intoto.ErrOtherType):
		// such as a layout or a link, whose signatures are verified all the
		// same
		d.Unread = fmt.Errorf("payload: %w", err)
	case err != nil:
		return nil, fmt.Errorf("DSSE envelope: payload: %w", err)
	}
	return d, nil
}

// readStatement refuses a statement with missing members. It is not signed, so
// its author can still correct it.
func readStatement(payload []byte) (*Document, error) {
	s, err := intoto.Read(payload)
	switch {
	case err != nil:
		return nil, err
	case s.Incomplete:
		return nil, fmt.Errorf("in-toto statement: %s", s.Deviations.List[0])
	}
	return &Document{Statement: s}, nil
}

// readCOSE reads a signed statement, which must be in the form that is
// registered.
func readCOSE(payload []byte) (*Document, error) {
	s, err := cose.Parse(payload)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(s.Bytes, payload) {
		return nil, errors.New("the signed statement has an unprotected header or is not in the deterministic encoding: register it with 'muniment scitt register', which removes the header and re-encodes it")
	}
	d := &Document{Attributes: map[string]string{"issuer": s.Issuer, "subject": s.Subject}, Signed: s}
	if s.ContentType != "" {
		d.Attributes["contentType"] = s.ContentType
	}
	if s.KeyID != "" {
		d.Signers = []entry.Signer{{KeyID: s.KeyID}}
	}
	if s.Digest != nil {
		d.Subjects = []entry.Subject{*s.Digest}
	}
	return d, nil
}

func readProvenance(payload []byte) (*Document, error) {
	p, err := helm.Parse(payload)
	if err != nil {
		return nil, err
	}
	return &Document{Subjects: p.Subjects(), Attributes: map[string]string{"chart": p.Chart, "version": p.Version}, Signed: helm.Signed(payload)}, nil
}

func readExternal(payload []byte) (*Document, error) {
	x, err := external.Parse(payload)
	if err != nil {
		return nil, err
	}
	return &Document{Subjects: []entry.Subject{{Digest: x.Digest}}, External: x}, nil
}

package ingest

import (
	"bytes"

	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/cose"
)

// MaxStatement is the size limit of a SCITT signed statement in bytes.
const MaxStatement = cose.MaxSize

// StatementSubmission returns the submission that registers a SCITT signed
// statement, and the statement's sub claim. See docs/spec/scitt.md.
func StatementSubmission(data []byte) (sub Submission, subject string, err error) {
	st, err := cose.Parse(data)
	if err != nil {
		return Submission{}, "", fieldErrorf(FieldStatement, "%s", err)
	}
	return Submission{Kind: kindname.Attestation, MediaType: cose.MediaType, Payload: st.Bytes}, st.Subject, nil
}

// readStatement reads a signed statement, which must be in the form that is
// registered.
func readStatement(payload []byte) (contents, error) {
	st, err := cose.Parse(payload)
	if err != nil {
		return contents{}, err
	}
	if !bytes.Equal(st.Bytes, payload) {
		return contents{}, fieldErrorf(FieldPayload, "the signed statement has an unprotected header or is not in the deterministic encoding: register it with 'muniment scitt register', which removes the header and re-encodes it")
	}
	c := contents{mediaType: cose.MediaType, signed: policy.Statement(st), attributes: map[string]string{"issuer": st.Issuer, "subject": st.Subject}}
	if st.ContentType != "" {
		c.attributes["contentType"] = st.ContentType
	}
	if st.KeyID != "" {
		c.signers = []entry.Signer{{KeyID: st.KeyID}}
	}
	if st.Digest != nil {
		c.subjects = []entry.Subject{*st.Digest}
	}
	return c, nil
}

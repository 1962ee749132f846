package ingest

import (
	"muniment.dev/muniment/internal/kindname"
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

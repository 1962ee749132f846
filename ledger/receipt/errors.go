package receipt

import (
	"errors"
	"fmt"
)

// ErrNotVerified is wrapped by every error that is a verdict about a receipt.
// Errors of the caller, such as a malformed policy, do not wrap it.
var ErrNotVerified = errors.New("not verified")

// A Code is the reason why a receipt was not verified. Codes are stable. They
// are listed in docs/spec/receipt.md, section 5.
type Code string

// The codes, in the order of the checks.
const (
	PolicyMissing        Code = "policy-missing"
	PolicyMalformed      Code = "policy-malformed"
	StreamKeyMalformed   Code = "stream-key-malformed"
	ExpectationMalformed Code = "expectation-malformed"
	Unreadable           Code = "unreadable"

	ReceiptMalformed Code = "receipt-malformed"
	ReceiptVersion   Code = "receipt-version"
	ProofMalformed   Code = "proof-malformed"

	PayloadUnexpected Code = "payload-unexpected"
	PayloadIsErased   Code = "payload-erased"
	PayloadMissing    Code = "payload-missing"
	PayloadDiffers    Code = "payload-differs"

	HeaderMalformed Code = "header-malformed"
	PayloadMismatch Code = "payload-mismatch"

	LinkPrev Code = "link-prev"
	LinkSeq  Code = "link-seq"

	CheckpointOrigin    Code = "checkpoint-origin"
	CheckpointSignature Code = "checkpoint-signature"
	CheckpointUnsigned  Code = "checkpoint-unsigned"
	CheckpointQuorum    Code = "checkpoint-quorum"

	Inclusion      Code = "inclusion"
	OriginMismatch Code = "origin-mismatch"

	HeaderIsErased        Code = "header-erased"
	TenantMismatch        Code = "tenant-mismatch"
	KindMismatch          Code = "kind-mismatch"
	SubjectMismatch       Code = "subject-mismatch"
	PredicateTypeMismatch Code = "predicate-type-mismatch"
	ControlMismatch       Code = "control-mismatch"
	SignatureUnverified   Code = "signature-unverified"
	SignerMismatch        Code = "signer-mismatch"
	NotAdmitted           Code = "not-admitted"
	LinkHidden            Code = "link-hidden"
	StreamMismatch        Code = "stream-mismatch"
	TagMismatch           Code = "tag-mismatch"
	ExternalUnexpected    Code = "external-unexpected"
	ExternalMismatch      Code = "external-mismatch"
)

// steps contains the codes of each step of docs/spec/receipt.md, section 4, in
// the order of the checks. A step without codes cannot fail.
var steps = map[int][]Code{
	0: {PolicyMissing, PolicyMalformed, StreamKeyMalformed, ExpectationMalformed, Unreadable},
	1: {ReceiptMalformed, ReceiptVersion, ProofMalformed},
	2: {PayloadUnexpected, PayloadIsErased, PayloadMissing, PayloadDiffers},
	4: {HeaderMalformed, PayloadMismatch},
	5: {LinkPrev, LinkSeq},
	7: {CheckpointOrigin, CheckpointSignature, CheckpointUnsigned, CheckpointQuorum},
	8: {Inclusion},
	9: {OriginMismatch},
	10: {HeaderIsErased, TenantMismatch, KindMismatch, SubjectMismatch, PredicateTypeMismatch, ControlMismatch, SignatureUnverified, SignerMismatch,
		NotAdmitted, LinkHidden, StreamMismatch, TagMismatch, ExternalUnexpected, ExternalMismatch},
}

var stepOf = func() map[Code]int {
	m := map[Code]int{}
	for step, codes := range steps {
		for _, c := range codes {
			m[c] = step
		}
	}
	return m
}()

// An Error is the reason why a receipt was not verified. An error of step 0 is
// the caller's. It is not a verdict, and does not wrap ErrNotVerified.
type Error struct {
	Step    int // of docs/spec/receipt.md, section 4
	Code    Code
	Message string // for people

	cause  error // may be nil
	prefix string
}

// fail returns an error with the code. The message is formatted as by
// fmt.Errorf, and %w wraps an error.
func fail(code Code, format string, args ...any) *Error {
	step, ok := stepOf[code]
	if !ok {
		panic("receipt: no step has the code " + string(code))
	}
	err := fmt.Errorf(format, args...)
	return &Error{Step: step, Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// Error returns the message. If the error is a verdict returned by Verify, the
// message begins with the text of ErrNotVerified.
func (e *Error) Error() string { return e.prefix + e.Message }

// Unwrap returns ErrNotVerified if the error is a verdict, and the cause.
func (e *Error) Unwrap() []error {
	var all []error
	if e.Step > 0 {
		all = append(all, ErrNotVerified)
	}
	if e.cause != nil {
		all = append(all, e.cause)
	}
	return all
}

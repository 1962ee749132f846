package bundle

import (
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/receipt"
)

// ErrNotVerified is wrapped by every error that is a verdict about a bundle.
// Errors of the caller, such as a malformed policy, do not wrap it.
var ErrNotVerified = errors.New("not verified")

// A Code is the reason why a bundle was not verified. Codes are stable. They
// are specified in docs/spec/bundle.md, section 5.
type Code string

// The codes, in the order of the checks.
const (
	PolicyMissing        Code = "policy-missing"
	PolicyMalformed      Code = "policy-malformed"
	StreamKeyMalformed   Code = "stream-key-malformed"
	ExpectationMalformed Code = "expectation-malformed"
	Unreadable           Code = "unreadable"

	ArchiveMalformed Code = "archive-malformed"

	ManifestMissing   Code = "manifest-missing"
	ManifestMalformed Code = "manifest-malformed"
	ManifestVersion   Code = "manifest-version"
	MembersDiffer     Code = "members-differ"

	MemberDigest Code = "member-digest"

	CheckpointMalformed Code = "checkpoint-malformed"
	CheckpointOrigin    Code = "checkpoint-origin"
	CheckpointSignature Code = "checkpoint-signature"
	CheckpointUnsigned  Code = "checkpoint-unsigned"
	CheckpointQuorum    Code = "checkpoint-quorum"
	CheckpointMismatch  Code = "checkpoint-mismatch"

	LeavesMalformed Code = "leaves-malformed"
	TreeRoot        Code = "tree-root"
	TileMismatch    Code = "tile-mismatch"

	RecordMalformed Code = "record-malformed"
	RecordOrder     Code = "record-order"
	HeaderMalformed Code = "header-malformed"
	HeaderForeign   Code = "header-foreign"
	RecordLeaf      Code = "record-leaf"
	StreamMismatch  Code = "stream-mismatch"

	ErasureMismatch Code = "erasure-mismatch"

	PayloadOmitted    Code = "payload-omitted"
	PayloadMissing    Code = "payload-missing"
	PayloadUnexpected Code = "payload-unexpected"
	PayloadMismatch   Code = "payload-mismatch"
	ReceiptMismatch   Code = "receipt-mismatch"

	StreamKeyMismatch Code = "stream-key-mismatch"
	StreamIncomplete  Code = "stream-incomplete"

	IdentityMismatch Code = "identity-mismatch"
	TenantMismatch   Code = "tenant-mismatch"

	ReportMismatch Code = "report-mismatch"
)

// steps has the codes of each step of docs/spec/bundle.md, section 5.
var steps = [][]Code{
	0:  {PolicyMissing, PolicyMalformed, StreamKeyMalformed, ExpectationMalformed, Unreadable},
	1:  {ArchiveMalformed},
	2:  {ManifestMissing, ManifestMalformed, ManifestVersion, MembersDiffer},
	3:  {MemberDigest},
	4:  {CheckpointMalformed, CheckpointOrigin, CheckpointSignature, CheckpointUnsigned, CheckpointQuorum, CheckpointMismatch},
	5:  {LeavesMalformed, TreeRoot, TileMismatch},
	6:  {RecordMalformed, RecordOrder, HeaderMalformed, HeaderForeign, RecordLeaf, StreamMismatch},
	7:  {ErasureMismatch},
	8:  {PayloadOmitted, PayloadMissing, PayloadUnexpected, PayloadMismatch, ReceiptMismatch},
	9:  {StreamKeyMismatch, StreamIncomplete},
	10: {IdentityMismatch, TenantMismatch},
	11: {ReportMismatch},
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

// An Error is the reason why a bundle was not verified. An error of step 0 is
// the caller's. It is not a verdict, and does not wrap ErrNotVerified.
type Error struct {
	Step    int // of docs/spec/bundle.md, section 5
	Code    Code
	Message string // for people
	cause   error  // can be nil
}

func fail(code Code, format string, args ...any) *Error {
	step, ok := stepOf[code]
	if !ok {
		panic("bundle: no step has the code " + string(code))
	}
	err := fmt.Errorf(format, args...)
	return &Error{Step: step, Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// Error returns the message.
func (e *Error) Error() string {
	if e.Step > 0 {
		return ErrNotVerified.Error() + ": " + e.Message
	}
	return e.Message
}

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

// checkpointError returns the error of a policy that refuses a checkpoint.
func checkpointError(err error) *Error {
	var e *receipt.Error
	if errors.As(err, &e) {
		if code := Code(e.Code); stepOf[code] == 4 {
			return fail(code, "%s: %w", CheckpointName, err)
		}
	}
	return fail(CheckpointMalformed, "%s: %w", CheckpointName, err)
}

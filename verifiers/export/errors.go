package export

import (
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/bundle"
)

// ErrNotVerified is wrapped by errors that are a verdict about a manifest.
var ErrNotVerified = errors.New("not verified")

// A Code identifies the check that failed. See docs/spec/export-manifest.md,
// section 7. Receipts and streams fail with the codes of their own packages.
type Code string

// The codes, by step.
const (
	TrustMissing         Code = "trust-missing"
	PolicyMissing        Code = "policy-missing"
	PolicyMalformed      Code = "policy-malformed" // of callers that parse the policies
	ReceiptMissing       Code = "receipt-missing"
	StreamKeyMissing     Code = "stream-key-missing"
	StreamKeyMalformed   Code = "stream-key-malformed" // of callers that parse the key
	ExpectationMalformed Code = "expectation-malformed"
	RequirementMalformed Code = "requirement-malformed"
	Unreadable           Code = "unreadable"

	ManifestMalformed Code = "manifest-malformed"
	PayloadType       Code = "payload-type"

	SignatureUnverified Code = "signature-unverified"

	StatementMalformed Code = "statement-malformed"
	StatementVersion   Code = "statement-version"
	OtherPredicate     Code = "predicate-type"
	NumberMalformed    Code = "number-malformed"
	NumberRange        Code = "number-range"
	NameUnsafe         Code = "name-unsafe"
	NameDuplicate      Code = "name-duplicate"
	SubjectsDiffer     Code = "subjects-differ"

	TenantMismatch Code = "tenant-mismatch"
	ExportMismatch Code = "export-mismatch"

	RegionUnknown         Code = "region-unknown"
	RegionContradiction   Code = "region-contradiction"
	ClaimSigner           Code = "claim-signer"
	ResidencyMissing      Code = "residency-missing"
	StorageNotAllowed     Code = "storage-not-allowed"
	StorageForbidden      Code = "storage-forbidden"
	ProcessingNotIncluded Code = "processing-not-included"
	ProcessingExcluded    Code = "processing-excluded"

	LicenseMalformed  Code = "license-malformed"
	LicenseUnknown    Code = "license-unknown"
	LicenseNotAllowed Code = "license-not-allowed"

	PrivacyMissing     Code = "privacy-missing"
	FlavorUnsupported  Code = "flavor-unsupported"
	PrivacyParameters  Code = "privacy-parameters"
	RhoUnderstated     Code = "rho-understated"
	EpsilonUnderstated Code = "epsilon-understated"
	SpentUnderstated   Code = "spent-understated"
	BudgetExceeded     Code = "budget-exceeded"
	BudgetMismatch     Code = "budget-mismatch"
	EpsilonNotAllowed  Code = "epsilon-not-allowed"

	FileMissing Code = "file-missing"
	FileExtra   Code = "file-extra"
	FileSize    Code = "file-size"
	FileDigest  Code = "file-digest"

	EntryMissing    Code = "entry-missing"
	EntryDiffers    Code = "entry-differs"
	EvidenceMissing Code = "evidence-missing"
	SpendUnreadable Code = "spend-unreadable"
	SpendDiffers    Code = "spend-differs"
)

// steps has the codes of each step. A code can belong to several.
var steps = [][]Code{
	stepCaller:      {TrustMissing, PolicyMissing, PolicyMalformed, ReceiptMissing, StreamKeyMissing, StreamKeyMalformed, ExpectationMalformed, RequirementMalformed, Unreadable},
	stepEnvelope:    {ManifestMalformed, PayloadType},
	stepSignature:   {SignatureUnverified},
	stepStatement:   {StatementMalformed, StatementVersion, OtherPredicate, NumberMalformed, NumberRange, NameUnsafe, NameDuplicate, SubjectsDiffer},
	stepExpectation: {TenantMismatch, ExportMismatch},
	stepResidency:   {RegionUnknown, RegionContradiction, ClaimSigner, ResidencyMissing, StorageNotAllowed, StorageForbidden, ProcessingNotIncluded, ProcessingExcluded},
	stepLicences:    {LicenseMalformed, LicenseUnknown, LicenseNotAllowed},
	stepPrivacy:     {PrivacyMissing, FlavorUnsupported, PrivacyParameters, ClaimSigner, RhoUnderstated, EpsilonUnderstated, SpentUnderstated, BudgetExceeded, BudgetMismatch, EpsilonNotAllowed},
	stepFiles:       {FileMissing, FileExtra, FileSize, FileDigest},
	stepReceipt:     {},
	stepStream:      {EntryMissing, EntryDiffers, EvidenceMissing, SpendUnreadable, SpendDiffers, SpentUnderstated},
}

// The steps of docs/spec/export-manifest.md, section 7.
const (
	stepCaller = iota
	stepEnvelope
	stepSignature
	stepStatement
	stepExpectation
	stepResidency
	stepLicences
	stepPrivacy
	stepFiles
	stepReceipt
	stepStream
)

// An Error is the reason why a manifest was not verified. An error of step 0 is
// the caller's. It is not a verdict, and does not wrap ErrNotVerified.
type Error struct {
	Step    int
	Code    Code
	Message string // for people
	cause   error  // can be nil
}

// fail returns an error of a step. The caller of a step sets it.
func fail(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// callerError is fail for faults of the inputs.
func callerError(code Code, format string, args ...any) *Error { return fail(code, format, args...) }

// Reason returns the message of an error without the verdict, and its code.
func Reason(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return fmt.Sprintf("%s (%s)", e.Message, e.Code)
	}
	return err.Error()
}

// Error returns the message.
func (e *Error) Error() string {
	if e.Step > stepCaller {
		return ErrNotVerified.Error() + ": " + e.Message
	}
	return e.Message
}

// Unwrap returns ErrNotVerified if the error is a verdict, and the cause.
func (e *Error) Unwrap() []error {
	var all []error
	if e.Step > stepCaller {
		all = append(all, ErrNotVerified)
	}
	if e.cause != nil {
		all = append(all, e.cause)
	}
	return all
}

// at returns the error with its step. Errors that are not this package's are
// those of contexts, and are returned unchanged. Unreadable inputs are the
// caller's.
func at(step int, err error) error {
	var own *Error
	var ofReceipt *receipt.Error
	var ofStream *bundle.Error
	switch {
	case errors.As(err, &own):
		own.Step = step
		if own.Code == Unreadable {
			own.Step = stepCaller
		}
		return own
	case errors.As(err, &ofReceipt):
		e := &Error{Step: step, Code: Code(ofReceipt.Code), Message: "receipt: " + ofReceipt.Error(), cause: err}
		if ofReceipt.Step == 0 {
			e.Step = stepCaller
		}
		return e
	case errors.As(err, &ofStream):
		e := &Error{Step: step, Code: Code(ofStream.Code), Message: "stream: " + ofStream.Error(), cause: err}
		if ofStream.Step == 0 {
			e.Step = stepCaller
		}
		return e
	}
	return err
}

package ingest

import (
	"errors"
	"fmt"
)

// A Field names a field of a submission or a Stream for error messages. Callers
// map it to the corresponding field of their own interface.
type Field string

// The fields that a FieldError of this package names.
const (
	FieldKind           Field = "kind"
	FieldMediaType      Field = "media type"
	FieldPayload        Field = "payload"
	FieldIdempotencyKey Field = "idempotency key"
	FieldSize           Field = "size"      // as declared for a Stream
	FieldDigest         Field = "digest"    // as declared for a Stream
	FieldStatement      Field = "statement" // of StatementSubmission
)

// Fields lists every Field, for the tables that map them.
var Fields = []Field{FieldKind, FieldMediaType, FieldPayload, FieldIdempotencyKey, FieldSize, FieldDigest, FieldStatement}

// A FieldError reports that a field of a submission is invalid.
type FieldError struct {
	Field Field
	// Path locates the first invalid value within the payload, such as
	// files[3].sizeBytes. It can be empty.
	Path   string
	Reason string
}

func (e *FieldError) Error() string { return string(e.Field) + ": " + e.Message() }

// Message returns the path and the reason, without the field.
func (e *FieldError) Message() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

func fieldErrorf(field Field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// payloadErrorf returns an error about the value at a path in the payload.
func payloadErrorf(path, format string, args ...any) error {
	return &FieldError{Field: FieldPayload, Path: path, Reason: fmt.Sprintf(format, args...)}
}

// asFieldError returns the *FieldError that err wraps, or a new one about the
// payload.
func asFieldError(err error) error {
	var f *FieldError
	if errors.As(err, &f) {
		return f
	}
	return fieldErrorf(FieldPayload, "%s", err)
}

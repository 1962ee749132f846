package plain

// Malformed returns the error for a malformed document. It names the document,
// and its text is the cause as reworded by DecodeError. It wraps the cause and
// the sentinel, whose text is omitted.
func Malformed(sentinel error, document string, cause error) error {
	return &malformedError{sentinel, document, cause}
}

type malformedError struct {
	sentinel error
	document string
	cause    error
}

func (e *malformedError) Error() string   { return e.document + ": " + DecodeError(e.cause).Error() }
func (e *malformedError) Unwrap() []error { return []error{e.sentinel, e.cause} }

package plain

// Malformed returns the error of a document that is malformed. It names the
// document and reads like the cause, reworded by DecodeError. It wraps the
// cause and the sentinel, whose text is left out.
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

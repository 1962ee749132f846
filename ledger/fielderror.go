package ledger

import "fmt"

// A Field names an argument of the ledger's methods. The values are for
// people: an interface above the ledger maps a Field to the name of its own
// field.
type Field string

// The fields that a FieldError can name.
const (
	FieldIndex     Field = "index"      // of an entry
	FieldTreeSize  Field = "tree size"  // of a checkpoint, or the tree of a proof
	FieldFromSize  Field = "from size"  // of a consistency proof
	FieldToSize    Field = "to size"    // of a consistency proof
	FieldSince     Field = "since"      // of an export
	FieldWitnessed Field = "witnessed"  // whether a checkpoint must be witnessed
	FieldPageToken Field = "page token" // of a query
	FieldWait      Field = "wait"       // for what an append waits
	FieldHold      Field = "hold"       // the name of a legal hold
)

// Fields lists every Field, for the tables that map them.
var Fields = []Field{
	FieldIndex, FieldTreeSize, FieldFromSize, FieldToSize, FieldSince,
	FieldWitnessed, FieldPageToken, FieldWait, FieldHold,
}

// A FieldError reports that an argument of a call is wrong. It wraps the
// reason, which is or wraps one of this package's sentinel errors.
type FieldError struct {
	Field  Field
	Reason error
}

func (e *FieldError) Error() string { return string(e.Field) + ": " + e.Reason.Error() }

func (e *FieldError) Unwrap() error { return e.Reason }

// WrongField returns a *FieldError whose reason is formatted as by fmt.Errorf.
func WrongField(f Field, format string, args ...any) error {
	return &FieldError{Field: f, Reason: fmt.Errorf(format, args...)}
}

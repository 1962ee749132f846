package condition

import (
	"fmt"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// MaxJSON is the size limit in bytes of JSON that conditions can read. Parsing
// takes many times as much memory.
const MaxJSON = 2 << 20

// CostOfJSON is the cost of a variable that is parsed by JSON.
const CostOfJSON = "1 for each 8 bytes, once for a decision"

// Failed returns the value of a variable that cannot be read.
func Failed(format string, args ...any) ref.Val { return types.NewErr(format, args...) }

// Value returns the value of strings, numbers, and of slices and maps of them.
func Value(v any) ref.Val { return types.DefaultTypeAdapter.NativeToValue(v) }

// JSON charges the meter for parsing a document, and returns its value. Absent
// JSON is null.
func JSON(m *Meter, what string, data []byte) ref.Val {
	switch {
	case data == nil:
		return types.NullValue
	case len(data) > MaxJSON:
		return types.NewErr("the %s has %d bytes, above the limit of %d for conditions", what, len(data), MaxJSON)
	}
	if err := m.Charge(len(data)/8 + 1); err != nil {
		return types.WrapErr(err)
	}
	v, err := parseJSON(data)
	if err != nil {
		return types.WrapErr(fmt.Errorf("cannot parse the %s: %w", what, err))
	}
	return v
}

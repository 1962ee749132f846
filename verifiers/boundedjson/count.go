package boundedjson

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Check returns an error if a document has too many values or is nested too
// deeply. Member names count as values. Use it before decoding into structs: an
// empty object can take a hundred times its bytes there. Check accepts
// documents that are not JSON and leaves them to the decoder to refuse.
func Check(document []byte, values, depth int) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(document), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for n := 0; ; n++ {
		if err := check(n, dec.StackDepth(), values, depth); err != nil {
			return err
		}
		if _, err := dec.ReadToken(); err != nil {
			return nil // the end, or a syntax error for the decoder to report
		}
	}
}

// check returns an error if the number of tokens or levels exceeds its limit.
func check(tokens, open, values, depth int) error {
	if tokens > 2*values { // the ends of objects and arrays are tokens too
		return fmt.Errorf("more than %d values", values)
	}
	if open > depth {
		return fmt.Errorf("values are nested more than %d levels deep", depth)
	}
	return nil
}

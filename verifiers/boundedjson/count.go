package boundedjson

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Check returns an error if a document has more values than it may, or goes
// deeper. Member names count as values. It is for documents that a decoder
// makes structs of, which can take a hundred times the bytes of an empty
// object. A document that is no JSON passes, and is left to the decoder.
func Check(document []byte, values, depth int) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(document), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for n := 0; ; n++ {
		if err := check(n, dec.StackDepth(), values, depth); err != nil {
			return err
		}
		if _, err := dec.ReadToken(); err != nil {
			return nil // its end, or for the decoder to refuse
		}
	}
}

// check returns an error if so many tokens, or levels, are too many.
func check(tokens, open, values, depth int) error {
	if tokens > 2*values { // the ends of objects and arrays are tokens, too
		return fmt.Errorf("more than %d values", values)
	}
	if open > depth {
		return fmt.Errorf("values lie more than %d deep in each other", depth)
	}
	return nil
}

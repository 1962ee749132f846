// Package boundedjson reads JSON arrays of untrusted length.
//
// It does not limit a document's size or depth. Its callers do.
package boundedjson

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ReadArray reads an array's elements one by one and appends them to list. It
// appends at most limit+1 elements and skips the rest, so a longer list means
// that there were too many.
func ReadArray[T any](dec *jsontext.Decoder, limit int, list *[]T) error {
	if dec.PeekKind() != '[' {
		var none []struct{}
		return json.UnmarshalDecode(dec, &none) // to get its error message
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for k := dec.PeekKind(); k != ']' && k != 0; k = dec.PeekKind() {
		if len(*list) > limit {
			if err := dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		var v T
		if err := json.UnmarshalDecode(dec, &v); err != nil {
			return err
		}
		*list = append(*list, v)
	}
	_, err := dec.ReadToken()
	return err
}

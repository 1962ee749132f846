// Package boundedjson reads JSON arrays of untrusted length.
//
// The reader of a document bounds its size and depth.
package boundedjson

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ReadArray reads an array's elements one by one and appends them to list. It
// skips all after the first limit+1, which show that there are too many.
func ReadArray[T any](dec *jsontext.Decoder, limit int, list *[]T) error {
	if dec.PeekKind() != '[' {
		var none []struct{}
		return json.UnmarshalDecode(dec, &none) // for the message
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

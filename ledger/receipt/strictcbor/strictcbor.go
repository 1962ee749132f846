// Package strictcbor reads and writes the CBOR of COSE messages (RFC 9052).
//
// It refuses duplicate keys, indefinite lengths and deep nesting, so that all
// readers see the same message. It writes the deterministic encoding of RFC
// 8949, section 4.2.1. It is not a COSE library: of a COSE_Sign1 message it
// reads only the structure.
package strictcbor

import (
	"errors"

	"github.com/fxamacker/cbor/v2"
)

var encode, decode = func() (cbor.EncMode, cbor.DecMode) {
	e, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	d, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels: 8, MaxArrayElements: 1024, MaxMapPairs: 1024,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return e, d
}()

// Marshal writes v.
func Marshal(v any) ([]byte, error) { return encode.Marshal(v) }

// Unmarshal reads exactly one item into v.
func Unmarshal(data []byte, v any) error { return decode.Unmarshal(data, v) }

// sign1Tag is the CBOR tag of a COSE_Sign1 message.
const sign1Tag = 18

var errNotSign1 = errors.New("not a COSE_Sign1 message: an array of four with the CBOR tag 18")

// A Sign1 contains the parts of a COSE_Sign1 message, in CBOR, verbatim.
type Sign1 struct {
	_           struct{} `cbor:",toarray"`
	Protected   cbor.RawMessage
	Unprotected cbor.RawMessage
	Payload     cbor.RawMessage
	Signature   cbor.RawMessage
}

// ParseSign1 splits a tagged message into its parts.
func ParseSign1(data []byte) (*Sign1, error) {
	var tagged cbor.RawTag
	if err := Unmarshal(data, &tagged); err != nil || tagged.Number != sign1Tag {
		return nil, errNotSign1
	}
	m := &Sign1{}
	if err := Unmarshal(tagged.Content, m); err != nil {
		return nil, errNotSign1
	}
	return m, nil
}

// Marshal returns the tagged message.
func (m *Sign1) Marshal() ([]byte, error) {
	return Marshal(cbor.Tag{Number: sign1Tag, Content: m})
}

// Bytes returns the content of a byte string.
func Bytes(item cbor.RawMessage) ([]byte, error) {
	if len(item) == 0 || item[0]>>5 != 2 { // the major type
		return nil, errors.New("not a byte string")
	}
	var b []byte
	return b, Unmarshal(item, &b)
}

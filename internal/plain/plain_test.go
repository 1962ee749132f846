package plain

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"google.golang.org/protobuf/encoding/protojson"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

func TestDecodeError(t *testing.T) {
	for doc, want := range map[string]string{
		`{"tenant":7}`:                    `(line 1:11): not a string, in the field tenant: 7`,
		`{"pageSize":0.5}`:                `(line 1:13): not a whole number in range, in the field pageSize: 0.5`,
		`{"filter":{"from":"yesterday"}}`: `(line 1:19): not a time such as "2026-01-31T12:00:00Z": "yesterday"`,
		`{"order":[]}`:                    `(line 1:10): not one of the values of the field order: [`,
	} {
		cause := protojson.Unmarshal([]byte(doc), &munimentv1.ListEntriesRequest{})
		err := DecodeError(cause)
		if err == nil || err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("%s: got %v, want %s", doc, err, want)
		}
	}
	for doc, want := range map[string]string{
		`{"a":1}`:      `"/a": wrong type`,
		`{"a":"x`:      `unexpected EOF`,
		`{"b":"x"}`:    `unknown member "b"`,
		`{"a":"x"}{}`:  `invalid character '{' after top-level value`,
		`[]`:           `wrong type`,
		`{"list":{}}`:  `"/list": wrong type`,
		`{"list":[0]}`: `"/list/0": wrong type`,
	} {
		var to struct {
			A    string   `json:"a"`
			List []string `json:"list"`
		}
		cause := json.Unmarshal([]byte(doc), &to, json.RejectUnknownMembers(true))
		if err := DecodeError(cause); err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, cause) {
			t.Errorf("%s: got %v, want %s", doc, err, want)
		}
	}
	if other := errors.New("other"); DecodeError(other) != other || DecodeError(nil) != nil {
		t.Error("an error without such words changes")
	}
}

func TestOtherLibraries(t *testing.T) {
	for text, want := range map[string]string{
		"asn1: structure error: tags don't match (16 vs {class:0 tag:13 length:45 isCompound:true}) {optional:false} publicKeyInfo @2": "not valid DER",
		"leaf: x509: certificate signed by unknown authority":                                                                          "leaf: certificate signed by unknown authority",
		"cbor: cannot unmarshal byte string into Go value of type string":                                                              "wrong type",
		"a: cbor: invalid length": "a: invalid length",
		"json: cannot unmarshal string into Go struct field .SignedEntryTimestamp of type []uint8": "wrong type",
		"body: illegal base64 data at input byte 4":                                                "body: not base64 from byte 4",
		"encoding/hex: invalid byte: U+0078 'x'":                                                   "not hexadecimal",
		`strconv.ParseInt: parsing "x": invalid syntax`:                                            `not a number in range: "x"`,
	} {
		if got := DecodeError(errors.New(text)).Error(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestMalformed(t *testing.T) {
	sentinel, cause := errors.New("malformed"), errors.New("jsontext: unexpected EOF")
	err := Malformed(sentinel, "bundle", cause)
	if !errors.Is(err, sentinel) || !errors.Is(err, cause) || err.Error() != "bundle: unexpected EOF" {
		t.Errorf("got %v", err)
	}
}

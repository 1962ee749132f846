// Package sniff explains why a file cannot be read as one JSON document: it has
// another encoding, an older format or several documents.
package sniff

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/verifiers/documents"
)

var (
	errUTF8BOM  = errors.New("it begins with a UTF-8 byte order mark, which JSON forbids: save it as UTF-8 without BOM")
	errUTF16    = errors.New("it is encoded in UTF-16, as older versions of PowerShell write it: convert it to UTF-8 without BOM, and check that its signature was made over the result")
	errLines    = errors.New("it is JSON Lines, several documents in one file: give each a file of its own")
	errOldTerms = errors.New("it is cosign's bundle format of before Sigstore bundles (base64Signature, cert, rekorBundle): convert it with 'cosign bundle create', or sign with cosign's --new-bundle-format")
)

// Encoding returns an error if the text begins with a byte order mark or is
// encoded in UTF-16.
func Encoding(data []byte) error {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return errUTF8BOM
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")),
		len(data) >= 2 && (data[0] == '{' && data[1] == 0 || data[0] == 0 && data[1] == '{'):
		return errUTF16
	}
	return nil
}

// maxDepth is the depth to which JSON checks. Decoders refuse deeper documents.
const maxDepth = 1000

// JSON returns an error if the text is not one JSON value. The error contains
// no part of the text, which could be a key or token given by mistake. Decoders
// of protocol buffers quote it.
func JSON(data []byte) error {
	if err := Encoding(data); err != nil {
		return err
	}
	dec := Decoder(data)
	for values := 0; ; {
		_, err := dec.ReadToken()
		switch {
		case err == io.EOF && values == 1, err == nil && dec.StackDepth() > maxDepth:
			return nil
		case err == io.EOF:
			return errors.New("not JSON: it is empty")
		case err != nil:
			return fmt.Errorf("not JSON: syntax error at byte %d", dec.InputOffset())
		case dec.StackDepth() == 0:
			values++
		}
		if values > 1 {
			return errors.New("not JSON: text follows the value")
		}
	}
}

// Explain returns an error that names the form of a file which could not be
// read as one JSON document, or nil if it finds none.
func Explain(data []byte) error {
	if err := Encoding(data); err != nil {
		return err
	}
	if several, err := documents.Split(data); err != nil || len(several) > 1 {
		return errLines
	}
	names := Members(data)
	if names["base64Signature"] && (names["cert"] || names["rekorBundle"]) {
		return errOldTerms
	}
	return nil
}

// Members returns the names of the members of an object, up to the first error.
// Other values have none.
func Members(data []byte) map[string]bool {
	names := map[string]bool{}
	dec := Decoder(data)
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return names
	}
	for dec.PeekKind() == '"' && len(names) < maxMembers {
		name, err := dec.ReadToken()
		if err != nil {
			break
		}
		names[name.String()] = true
		if dec.SkipValue() != nil {
			break
		}
	}
	return names
}

// maxMembers limits the names that Members returns.
const maxMembers = 1024

// Decoder returns a decoder of all JSON that RFC 8259 allows. It also accepts
// text that is not UTF-8, which the caller must check.
func Decoder(data []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// Package sniff names files that are in another form than the one that is read:
// in another encoding, of an older format, or several documents in one.
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

// maxDepth is how deep JSON looks. Decoders refuse what goes deeper.
const maxDepth = 1000

// JSON returns an error if the text is not one JSON value. Decoders of protocol
// buffers quote what they cannot read, which may be a key or token that was
// given by mistake; this error has no part of the text.
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

// Explain returns an error that names what the file is if a reader of one JSON
// document could not read it, and nil if it has nothing to add.
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

// Members returns the names of the members of an object, as far as it can be
// read. Of anything else there are none.
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

// maxMembers bounds the names that are kept.
const maxMembers = 1024

// Decoder returns a decoder of all JSON that RFC 8259 allows, and of text that
// is not UTF-8: the caller checks that.
func Decoder(data []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

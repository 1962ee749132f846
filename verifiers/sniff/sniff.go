// Package sniff explains why a file cannot be read as one JSON document:
// because of its encoding, an older format, or several documents in one file.
package sniff

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/internal/charset"
	"muniment.dev/muniment/verifiers/documents"
)

var (
	errUTF8BOM = errors.New("it begins with a UTF-8 byte order mark, which JSON forbids: save it as UTF-8 without BOM")
	errUTF16   = errors.New("it is encoded in UTF-16, as older versions of PowerShell write it: convert it to UTF-8 without BOM, and check that its signature was made over the result")
	errUTF32   = errors.New("it is encoded in UTF-32: convert it to UTF-8 without BOM, and check that its signature was made over the result")
	errLines   = errors.New("it is JSON Lines, several documents in one file: give each a file of its own")
)

// others lists the files that cosign writes and that are easily taken for
// bundles, by members that they have.
var others = []struct {
	members []string
	err     error
}{
	{[]string{"base64Signature", "cert"}, errOldBundle},
	{[]string{"base64Signature", "rekorBundle"}, errOldBundle},
	{[]string{"Base64Signature", "Payload"}, errors.New("it is a signature as 'cosign download signature' prints it, without the artifact's bundle: use muniment verify-image, which also reads signatures under cosign's older tags")},
	{[]string{"SignedEntryTimestamp", "Payload"}, errors.New("it is only the log entry of a signature in cosign's format of before Sigstore bundles, without the signature: convert both with 'cosign bundle create'")},
}

var errOldBundle = errors.New("it is cosign's bundle format of before Sigstore bundles (base64Signature, cert, rekorBundle): convert it with 'cosign bundle create', or sign with cosign's --new-bundle-format")

// encodings maps encodings other than plain UTF-8 to their errors.
var encodings = map[string]error{charset.UTF8BOM: errUTF8BOM, charset.UTF16: errUTF16, charset.UTF32: errUTF32}

// Encoding returns an error if the text begins with a byte order mark, or with
// a brace in UTF-16 or UTF-32.
func Encoding(data []byte) error {
	return encodings[charset.Of(data, "{")]
}

// maxDepth is the depth to which JSON checks syntax. Decoders refuse deeper
// documents.
const maxDepth = 1000

// JSON returns an error if the text is not one JSON value. The error quotes no
// part of the text, which could be a key or token specified by mistake.
// Protobuf decoders do quote it.
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

// Explain returns an error that names the form of a file that could not be read
// as one JSON document. It returns nil if it does not recognize the form.
func Explain(data []byte) error {
	if err := Encoding(data); err != nil {
		return err
	}
	if several, err := documents.Split(data); err != nil || len(several) > 1 {
		return errLines
	}
	names := Members(data)
	for _, o := range others {
		if !slices.ContainsFunc(o.members, func(name string) bool { return !names[name] }) {
			return o.err
		}
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

// Decoder returns a decoder for all JSON that RFC 8259 allows. It also accepts
// text that is not UTF-8, so the caller must check that.
func Decoder(data []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

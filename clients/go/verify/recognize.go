package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/sigstore"
)

const (
	maxRecognized = 16 << 20 // bytes of JSON files whose kind is recognized
	magicAt       = 257      // of an archive
	magic         = "ustar"

	receiptPrefix  = receipt.MediaTypePrefix
	manifestPrefix = "https://muniment.dev/predicate/export-manifest/"
)

// Recognize returns the kind of a file by docs/spec/verify.md, section 3. It
// never returns Stream. The file is not verified.
func Recognize(f *File) (Kind, error) {
	head, err := f.head(magicAt + int64(len(magic)))
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(string(head), magic) && len(head) == magicAt+len(magic) {
		return EvidenceBundle, nil
	}
	if f.size > maxRecognized {
		return "", errUnknown
	}
	data, err := f.read(maxRecognized)
	if err != nil {
		return "", err
	}
	o, err := membersOf(data)
	if err != nil {
		return "", errUnknown
	}
	_, hasType := o["mediaType"]
	_, hasMaterial := o["verificationMaterial"]
	_, hasPayloadType := o["payloadType"]
	mediaType := textOf(o["mediaType"])
	switch {
	case strings.HasPrefix(mediaType, receiptPrefix):
		return Receipt, nil
	case (hasType || hasMaterial) && hasManifest(o["dsseEnvelope"]):
		return Export, nil
	case strings.HasPrefix(mediaType, sigstore.MediaTypePrefix), hasMaterial:
		return SigstoreBundle, nil
	case hasPayloadType:
		return Export, nil
	}
	return "", errUnknown
}

var errUnknown = errors.New("neither a receipt, nor a Sigstore bundle, an export manifest or an evidence bundle")

// recognize is Recognize. The report is that of the error.
func recognize(f *File) (Kind, *Report) {
	kind, err := Recognize(f)
	switch {
	case err == nil:
		return kind, nil
	case errors.Is(err, errUnknown):
		return "", failure(f, "", CodeKindUnknown, fmt.Sprintf("%v: name its kind if it is one", err))
	}
	return "", failure(f, "", CodeUnreadable, reason(err))
}

// hasManifest reports whether an envelope has an export manifest of any version
// as payload.
func hasManifest(envelope json.RawMessage) bool {
	o, err := membersOf(envelope)
	if err != nil {
		return false
	}
	payload, err := strictjson.ParseBase64(textOf(o["payload"]))
	if err != nil {
		return false
	}
	statement, err := membersOf(payload)
	return err == nil && strings.HasPrefix(textOf(statement["predicateType"]), manifestPrefix)
}

// membersOf returns the members of a strict JSON object.
func membersOf(data []byte) (map[string]json.RawMessage, error) {
	if err := strictjson.CheckObject(data); err != nil {
		return nil, err
	}
	var o map[string]json.RawMessage
	return o, json.Unmarshal(data, &o)
}

// textOf returns the value of a string, or "" for anything else.
func textOf(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

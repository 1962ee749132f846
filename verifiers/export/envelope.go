package export

import (
	"errors"
	"fmt"

	"encoding/json"
	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// An envelope is the signed part of a manifest's file.
type envelope struct {
	payloadType string
	payload     []byte
	signatures  [][]byte
	bundle      bool // the file is a Sigstore bundle
}

const maxSignatures = 64

// parseEnvelope reads the file of a manifest, as step 1 specifies.
func parseEnvelope(file []byte) (*envelope, error) {
	e, err := readEnvelope(file)
	if err != nil {
		return nil, fail(ManifestMalformed, "%w", err)
	}
	if e.payloadType != payloadType {
		return nil, fail(PayloadType, "payloadType: %q, want %q", e.payloadType, payloadType)
	}
	return e, nil
}

func readEnvelope(file []byte) (*envelope, error) {
	if len(file) > MaxSize {
		return nil, fmt.Errorf("more than %d bytes", MaxSize)
	}
	if err := strictjson.CheckObject(file); err != nil {
		return nil, err
	}
	members, err := membersOf(file)
	if err != nil {
		return nil, err
	}
	e := &envelope{}
	_, hasType := members["mediaType"]
	_, hasMaterial := members["verificationMaterial"]
	if e.bundle = hasType || hasMaterial; e.bundle {
		inner, ok := members["dsseEnvelope"]
		if !ok {
			return nil, errors.New("the Sigstore bundle has no dsseEnvelope")
		}
		if members, err = membersOf(inner); err != nil {
			return nil, fmt.Errorf("dsseEnvelope: %w", err)
		}
	}
	return e, e.read(members)
}

// membersOf returns the members of an object that strictjson.CheckObject has
// checked.
func membersOf(v []byte) (map[string]json.RawMessage, error) {
	if jsontext.Value(v).Kind() != '{' {
		return nil, errors.New("not an object")
	}
	out := map[string]json.RawMessage{}
	return out, plain.DecodeError(json.Unmarshal(v, &out))
}

// read reads the members of the envelope.
func (e *envelope) read(members map[string]json.RawMessage) (err error) {
	if e.payloadType, err = text(members, "payloadType"); err != nil {
		return err
	}
	if e.payload, err = base64Of(members, "payload"); err != nil {
		return err
	}
	var list []json.RawMessage
	if jsontext.Value(members["signatures"]).Kind() != '[' {
		return errors.New("signatures: not an array")
	}
	if err := json.Unmarshal(members["signatures"], &list); err != nil {
		return fmt.Errorf("signatures: %w", plain.DecodeError(err))
	}
	if len(list) == 0 || len(list) > maxSignatures {
		return fmt.Errorf("%d signatures, want 1 to %d", len(list), maxSignatures)
	}
	for i, one := range list {
		m, err := membersOf(one)
		if err != nil {
			return fmt.Errorf("signatures[%d]: %w", i, err)
		}
		sig, err := base64Of(m, "sig")
		if err != nil {
			return fmt.Errorf("signatures[%d].%w", i, err)
		}
		e.signatures = append(e.signatures, sig)
		if _, ok := m["keyid"]; !ok {
			continue
		}
		if _, err := text(m, "keyid"); err != nil {
			return fmt.Errorf("signatures[%d].%w", i, err)
		}
	}
	return nil
}

func text(members map[string]json.RawMessage, name string) (string, error) {
	v, ok := members[name]
	if !ok {
		return "", fmt.Errorf("%s: missing", name)
	}
	if jsontext.Value(v).Kind() != '"' {
		return "", fmt.Errorf("%s: not a string", name)
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(b), nil
}

// base64Of returns the bytes of a string that is not empty.
func base64Of(members map[string]json.RawMessage, name string) ([]byte, error) {
	s, err := text(members, name)
	if err != nil {
		return nil, err
	}
	b, err := strictjson.ParseBase64(s)
	if err == nil && len(b) == 0 {
		err = errors.New("empty")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

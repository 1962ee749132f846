package wire

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// errSyntax quotes nothing of the document.
var errSyntax = errors.New("syntax error: not JSON")

// CheckJSON is Check for a message in JSON.
func CheckJSON(data []byte, md protoreflect.MessageDescriptor) error {
	// Duplicate names are counted instead.
	dec := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true))
	if err := checkObject(dec, rulesOf(md), 0); err != nil {
		if errors.Is(err, errSyntax) && !utf8.Valid(data) {
			return errors.New("syntax error: invalid UTF-8")
		}
		return err
	}
	if len(bytes.TrimSpace(data[dec.InputOffset():])) > 0 {
		return errors.New("syntax error: trailing data after the JSON value")
	}
	return nil
}

func checkObject(dec *jsontext.Decoder, r *rules, depth int) error {
	if depth > maxDepth {
		return errors.New("objects are nested too deeply")
	}
	if dec.PeekKind() != '{' {
		// This is null, a value for the decoder to refuse, or a message that
		// JSON represents as a string.
		return skip(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return errSyntax
	}
	var count counter
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return errSyntax
		}
		f := r.names[name.String()]
		if f == nil {
			return fmt.Errorf("unknown field %.64q", name.String())
		}
		if err := checkValue(dec, f, &count, depth); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return errSyntax
	}
	return nil
}

// checkValue checks the value of a member.
func checkValue(dec *jsontext.Decoder, f *field, count *counter, depth int) error {
	kind := dec.PeekKind()
	switch {
	case kind == 'n':
		return skip(dec)
	case f.isMap && kind == '{':
		return checkMap(dec, f, count)
	case f.repeats && kind == '[':
		return checkArray(dec, f, count, depth)
	case f.repeats:
		return fmt.Errorf("%s: not a list", f.name)
	}
	if err := count.add(f); err != nil {
		return err
	}
	return checkElement(dec, f, depth)
}

func checkArray(dec *jsontext.Decoder, f *field, count *counter, depth int) error {
	if _, err := dec.ReadToken(); err != nil {
		return errSyntax
	}
	for k := dec.PeekKind(); k != ']' && k != 0; k = dec.PeekKind() {
		if err := count.add(f); err != nil {
			return err
		}
		if err := checkElement(dec, f, depth); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return errSyntax
	}
	return nil
}

// checkMap counts the members of a map. No request has a map of messages.
func checkMap(dec *jsontext.Decoder, f *field, count *counter) error {
	if _, err := dec.ReadToken(); err != nil {
		return errSyntax
	}
	for dec.PeekKind() == '"' {
		if err := count.add(f); err != nil {
			return err
		}
		if err := errors.Join(skip(dec), skip(dec)); err != nil {
			return errSyntax
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return errSyntax
	}
	return nil
}

// checkElement checks one value of a field.
func checkElement(dec *jsontext.Decoder, f *field, depth int) error {
	if f.message == nil {
		switch dec.PeekKind() {
		case '{', '[':
			return fmt.Errorf("%s: not a single value", f.name)
		}
		return skip(dec)
	}
	if err := checkObject(dec, f.message, depth+1); err != nil {
		return fmt.Errorf("%s.%w", f.name, err)
	}
	return nil
}

func skip(dec *jsontext.Decoder) error {
	if err := dec.SkipValue(); err != nil {
		return errSyntax
	}
	return nil
}

package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// CheckObject checks rules 1, 2, 3, 6, 9 and 10 of docs/spec/entry.md, section
// 7, for documents whose numbers and members others define.
func CheckObject(data []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(data)) // refuses duplicate names and invalid UTF-8
	limits := &limits{dec: dec, maxValues: MaxValues}
	for first := true; ; first = false {
		t, err := dec.ReadToken()
		switch {
		case err == io.EOF && first:
			return errors.New("empty")
		case err != nil:
			return syntaxError(err)
		case first && t.Kind() != '{':
			return errors.New("not a JSON object")
		}
		if err := limits.check(t); err != nil {
			return err
		}
		if dec.StackDepth() > 0 {
			continue
		}
		if _, err := dec.ReadToken(); err != io.EOF {
			return errors.New("data after the JSON object")
		}
		return nil
	}
}

// CheckValues checks rule 10 for valid JSON, with another limit.
func CheckValues(data []byte, maxValues int) error {
	return checkTokens(data, maxValues)
}

// limits checks the nesting and the number of values of a document, token by
// token.
type limits struct {
	dec       *jsontext.Decoder
	maxValues int
	values    int
}

// check checks the limits after a token.
func (l *limits) check(t jsontext.Token) error {
	depth := l.dec.StackDepth()
	if depth > maxDepth {
		return fmt.Errorf("more than %d levels of nesting", maxDepth)
	}
	if !l.isValue(t.Kind(), depth) {
		return nil
	}
	if l.values++; l.values > l.maxValues+1 { // the outermost object does not count
		return fmt.Errorf("more than %d values", l.maxValues)
	}
	return nil
}

// isValue reports whether a token begins a value, and is no name.
func (l *limits) isValue(kind jsontext.Kind, depth int) bool {
	switch kind {
	case '}', ']':
		return false
	case '"':
		parent, read := l.dec.StackIndex(depth)
		return parent != '{' || read%2 == 0
	}
	return true
}

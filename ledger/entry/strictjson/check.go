package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// CheckObject checks rules 1, 2, 3, 6 and 9 of docs/spec/entry.md, section 7,
// for documents whose numbers and members others define.
func CheckObject(data []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(data)) // refuses duplicate names and invalid UTF-8
	for first := true; ; first = false {
		t, err := dec.ReadToken()
		switch {
		case err == io.EOF && first:
			return errors.New("empty")
		case err != nil:
			return syntaxError(err)
		case first && t.Kind() != '{':
			return errors.New("not a JSON object")
		case dec.StackDepth() > maxDepth:
			return fmt.Errorf("more than %d levels of nesting", maxDepth)
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

package boundedjson

import "fmt"

// CheckDepth returns an error if arrays and objects are nested deeper than
// limit. It is for documents that a recursive reader reads next, and does not
// check their syntax.
func CheckDepth(document []byte, limit int) error {
	depth, quoted := 0, false
	for i := 0; i < len(document); i++ {
		switch c := document[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return fmt.Errorf("nested deeper than %d", limit)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

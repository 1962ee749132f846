package boundedjson

import "bytes"

// A Counter is [Check] for a document that arrives in pieces. It stores no part
// of the document. It counts input that is not JSON as if it were.
type Counter struct {
	values, depth int // limits

	tokens, open    int
	quoted, escaped bool
	scalar          bool // in a number or literal
}

// NewCounter returns a counter for one document.
func NewCounter(values, depth int) *Counter { return &Counter{values: values, depth: depth} }

// Write counts the next bytes. It returns the same error as Check, and repeats
// it on every later call.
func (c *Counter) Write(p []byte) (int, error) {
	for i := 0; i < len(p); i++ {
		if c.quoted {
			i += c.inString(p[i:]) - 1
			continue
		}
		c.outside(p[i])
		if err := check(c.tokens, c.open, c.values, c.depth); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// inString consumes bytes of a string and returns their number.
func (c *Counter) inString(p []byte) int {
	if c.escaped {
		c.escaped = false
		return 1
	}
	end := bytes.IndexByte(p, '"')
	if end < 0 {
		end = len(p)
	}
	if i := bytes.IndexByte(p[:end], '\\'); i >= 0 {
		c.escaped = true
		return i + 1
	}
	if end == len(p) {
		return end
	}
	c.quoted = false
	return end + 1
}

// outside consumes a byte outside of strings.
func (c *Counter) outside(b byte) {
	switch b {
	case ' ', '\t', '\r', '\n', ',', ':':
		c.scalar = false
	case '"':
		c.quoted, c.scalar = true, false
		c.tokens++
	case '{', '[':
		c.scalar = false
		c.tokens++
		c.open++
	case '}', ']':
		c.scalar = false
		c.tokens++
		c.open--
	default:
		if !c.scalar {
			c.scalar = true
			c.tokens++
		}
	}
}

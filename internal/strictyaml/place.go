package strictyaml

import (
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Place returns the node for a position in the text of a scalar, to pass to
// Wrong. The position is a line and a column in the text, both counted from 1
// in characters.
//
// YAML folds the lines of a text and removes their indentation. Place locates
// the lines in the document again. If an escape hides the position, it returns
// the nearest one before it.
func (d *Document) Place(n *yaml.Node, line, column int) *yaml.Node {
	target := offset(n.Value, line, column)
	at := &yaml.Node{Line: n.Line, Column: n.Column}
	if n.Kind != yaml.ScalarNode || n.Line < 1 || n.Line > len(d.lines) {
		return at
	}
	first, start := n.Line, n.Column-1
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		first, start = n.Line+1, 0 // the text starts below its header
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		start++
	}
	pos := 0 // in the text, in bytes
	for number := first; number <= len(d.lines) && pos <= target; number++ {
		source := d.lines[number-1]
		from := 0
		if number == first {
			from = bytesOf(source, start)
		}
		content := strings.TrimLeft(source[from:], " \t")
		from = len(source) - len(content)
		// Folding leaves one space or some line breaks between two lines.
		for pos < len(n.Value) && strings.IndexByte(" \n\t", n.Value[pos]) >= 0 {
			if pos == target {
				return at
			}
			pos++
		}
		same := common(n.Value[pos:], content)
		if same == 0 {
			continue
		}
		reach := min(target-pos, same)
		at = &yaml.Node{Line: number, Column: utf8.RuneCountInString(source[:from+reach]) + 1}
		pos += same
	}
	return at
}

// Offset returns the offset in bytes of a node in the document's text.
func (d *Document) Offset(n *yaml.Node) int {
	at := 0
	for _, b := range lineBreak.FindAllStringIndex(d.text, n.Line-1) {
		at = b[1]
	}
	if n.Line == 1 && strings.HasPrefix(d.text, byteOrderMark) {
		at = len(byteOrderMark) // columns do not count it
	}
	return at + bytesOf(d.text[at:], n.Column-1)
}

const byteOrderMark = "\ufeff"

// offset returns the byte offset of a line and column.
func offset(s string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		next := strings.IndexByte(s[at:], '\n')
		if next < 0 {
			return len(s)
		}
		at += next + 1
	}
	return at + bytesOf(s[at:], column-1)
}

// bytesOf returns the byte length of a text's first characters.
func bytesOf(s string, characters int) int {
	for i := range s {
		if characters--; characters < 0 {
			return i
		}
	}
	return len(s)
}

// common returns the length of the longest common prefix.
func common(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

package strictyaml

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestPlace checks that a place in a text of each style is found in the
// document. The place is that of the letter X.
func TestPlace(t *testing.T) {
	for name, text := range map[string]string{
		"plain":               "a: b X c",
		"plain, in a flow":    "q: [1, {a: b X}]",
		"plain over lines":    "a: b\n   c\n   d X e",
		"single quotes":       "a: 'b X c'",
		"double quotes":       "a: \"b X c\"",
		"quotes over lines":   "a: 'b\n   c\n   d X e'",
		"literal":             "a: |\n  b\n    c\n\n  d X e\n",
		"literal, indented":   "q:\n  a: |-\n      b\n      c X d\nz: 1\n",
		"folded":              "a: >-\n  b &&\n  c X d\n  e",
		"folded, more indent": "a: >\n  b\n    c\n    d X\n  e\n",
		"folded, empty line":  "a: >-\n  b\n\n\n  c X",
		"not ASCII":           "é: 'héé X c'",
		"CRLF":                "a: >-\r\n  b &&\r\n  c X d\r\n",
		"first":               "a: Xb",
	} {
		t.Run(name, func(t *testing.T) {
			d := Document{Noun: "test", Columns: true}
			root := d.Parse([]byte(text))
			if root == nil {
				t.Fatal(d.Err())
			}
			var scalar *yaml.Node
			var find func(n *yaml.Node)
			find = func(n *yaml.Node) {
				if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "X") {
					scalar = n
				}
				for _, c := range n.Content {
					find(c)
				}
			}
			find(root)
			before, _, _ := strings.Cut(scalar.Value, "X")
			lines := strings.Split(before, "\n")
			at := d.Place(scalar, len(lines), len([]rune(lines[len(lines)-1]))+1)
			source := strings.Split(text, "\n")
			if at.Line > len(source) || at.Column > len([]rune(source[at.Line-1])) || []rune(source[at.Line-1])[at.Column-1] != 'X' {
				t.Errorf("line %d, column %d of %q", at.Line, at.Column, text)
			}
		})
	}
}

// FuzzPlace checks that no document makes Place fail or leave it.
func FuzzPlace(f *testing.F) {
	f.Add("a: >-\n  b &&\n  c", 1, 3)
	f.Add("a: \"b\\n\\u00e9\"", 2, 1)
	f.Fuzz(func(t *testing.T, text string, line, column int) {
		d := Document{Noun: "test", Columns: true}
		root := d.Parse([]byte(text))
		if root == nil {
			return
		}
		var each func(n *yaml.Node)
		each = func(n *yaml.Node) {
			if at := d.Place(n, line, column); at.Line < 0 || at.Line > len(d.lines)+1 || at.Column < 0 {
				t.Errorf("line %d, column %d", at.Line, at.Column)
			}
			for _, c := range n.Content {
				each(c)
			}
		}
		each(root)
	})
}

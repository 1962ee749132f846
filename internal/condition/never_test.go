package condition

import (
	"strings"
	"testing"
)

// TestNever checks which conditions can never be true, given one variable.
func TestNever(t *testing.T) {
	env := environment(t)
	for source, want := range map[string]string{
		"false":                              "does not hold",
		"1 == 2":                             "does not hold",
		"kind == 'a' && false":               "does not hold",
		"false && kind == 'a'":               "does not hold",
		"kind == 'a' && predicate.level > 3": "does not hold",
		"predicate.level > 3 || predicate.level < 3":        "does not hold",
		"predicate.absent == 3":                             "no such key",
		"1 / 0 == 1":                                        "division by zero",
		"document.l.exists(x, false)":                       "does not hold",
		"document.exists(x, predicate.level == 4)":          "does not hold",
		"document.exists_one(x, false)":                     "does not hold",
		"document.filter(x, false).size() > 0":              "does not hold",
		"!document.l.all(x, true)":                          "does not hold",
		"(kind == 'a' ? false : true) && false":             "does not hold",
		"predicate.l.all(x, x > 1)":                         "does not hold",
		"[1, 2].map(x, [1].map(y, x + y)) == [[1]]":         "does not hold",
		"predicate.l.exists(x, predicate.l.all(y, x == y))": "does not hold",

		"true":                                   "",
		"kind == 'a'":                            "",
		"kind != kind":                           "", // not found
		"predicate.level == 3":                   "",
		"predicate.absent == 3 || kind == 'a'":   "",
		"has(predicate.absent) || kind == 'a'":   "",
		"document.l.all(x, false)":               "", // true for an empty list
		"document.l.exists(x, x == 1)":           "",
		"document.l.exists(x, true)":             "",
		"document.l.map(x, 1).size() == 2":       "",
		"document.l.filter(x, true).size() == 0": "",
		"kind == 'a' ? true : false":             "",
		"'x' in document":                        "",
		"document":                               "",
	} {
		c, err := env.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		err = c.Never(map[string]any{"predicate": map[string]any{"level": 3, "l": []int{1, 2}}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}

// TestLiterals checks which texts are compared with a member.
func TestLiterals(t *testing.T) {
	c, err := environment(t).Compile("subjects.exists(s,\n s.name == 'a' || 'b' == s.name || s.name in ['c', kind] || s.name != 'd' || kind == 'e')")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range c.ComparedWith("name") {
		got = append(got, l.Value)
		if l.Line != 2 || l.Column < 2 {
			t.Errorf("%q at line %d, column %d", l.Value, l.Line, l.Column)
		}
	}
	if strings.Join(got, " ") != "a b c" {
		t.Errorf("the condition compares %q", got)
	}
	if !c.Reads("subjects") || !c.Reads("kind") || c.Reads("name") {
		t.Error("the condition reads subjects and kind")
	}
}

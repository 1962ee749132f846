package helm

import (
	"maps"
	"testing"
)

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		text        string
		want        map[string]string // nil: an error
		all, strict string            // the errors of Texts and OnlyTexts
	}{
		{text: "name: a\nversion: 1.10\n", want: map[string]string{"name": "a", "version": "1.10"}},
		{text: "name: a\nversion: ~\n", want: map[string]string{"name": "a"}},
		{text: "name: a\nversion: 1\n---\nname: b\n", want: map[string]string{"name": "a", "version": "1"}, strict: "more than one document: split the file"},
		{text: "x: 1\nname: a\ny: 2\nz: 3\n", want: map[string]string{"name": "a"}, strict: `line 1: unknown member "x": must be one of name, version`},
		{text: "name: [a]\nversion: {}\n", all: "line 1: name: must be text, not a list"},
		{text: "- name\n", all: "line 1: must be a map, not a list"},
		{text: "name: a\nname: b\n", all: `line 2: duplicate member "name"`},
		{text: "# nothing\n", all: "empty"},
		{text: "", all: "empty"},
		{text: "name: \"\n", all: "line 2: not YAML"},
	} {
		for range 20 { // the order of a map would show
			got, err := Texts([]byte(c.text), "name", "version")
			if !maps.Equal(got, c.want) || text(err) != c.all {
				t.Fatalf("Texts of %q: %q, %v", c.text, got, err)
			}
			if c.strict == "" {
				c.strict = c.all
			}
			if _, err := OnlyTexts([]byte(c.text), "name", "version"); text(err) != c.strict {
				t.Fatalf("OnlyTexts of %q: %v", c.text, err)
			}
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

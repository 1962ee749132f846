package boundedjson

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestReadArray(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		kept int
		bad  bool
	}{
		"empty":                    {"[]", 0, false},
		"as many as the limit":     {"[1,2,3]", 3, false},
		"one more":                 {"[1,2,3,4]", 4, false},
		"far more":                 {"[" + strings.Repeat("1,", 10000) + "1]", 4, false},
		"null, as no array":        {"null", 0, false},
		"an object":                {"{}", 0, true},
		"a wrong element":          {`[1,"2"]`, 1, true},
		"an element that is cut":   {"[1,", 1, true},
		"broken among the skipped": {"[1,2,3,4,5,x]", 4, true},
	} {
		var list []int
		err := ReadArray(jsontext.NewDecoder(strings.NewReader(c.in)), 3, &list)
		if (err != nil) != c.bad || len(list) != c.kept {
			t.Errorf("%s: %d kept, %v", name, len(list), err)
		}
	}
}

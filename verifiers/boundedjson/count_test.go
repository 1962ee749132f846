package boundedjson

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		in  string
		bad bool
	}{
		"small":                      {`{"a":[1,2,{"b":null}]}`, false},
		"no JSON":                    {"x", false},
		"nothing":                    {"", false},
		"a long string":              {`"` + strings.Repeat("x", 1<<20) + `"`, false},
		"millions of objects":        {"[" + strings.Repeat("{},", 4<<20) + "{}]", true},
		"millions of numbers":        {"[" + strings.Repeat("1,", 4<<20) + "1]", true},
		"millions of members":        {"{" + strings.Repeat(`"a":1,`, 1<<20) + `"a":1}`, true},
		"deep":                       {strings.Repeat("[", 100) + strings.Repeat("]", 100), true},
		"objects, then no JSON":      {"[" + strings.Repeat("{},", 4<<20) + "x", true},
		"several values, one by one": {strings.Repeat("{}\n", 4<<20), true},
	} {
		if err := Check([]byte(c.in), 1000, 32); (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}

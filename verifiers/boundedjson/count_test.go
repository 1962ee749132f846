package boundedjson

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
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
		for _, piece := range []int{1, 100, 1 << 20} {
			counter, read := NewCounter(1000, 32), 0
			var err error
			for rest := []byte(c.in); len(rest) > 0 && err == nil; {
				n := min(piece, len(rest))
				_, err = counter.Write(rest[:n])
				rest, read = rest[n:], read+n
			}
			if (err != nil) != c.bad {
				t.Errorf("%s, in pieces of %d: %v", name, piece, err)
			}
			if err != nil && read > 10_000+piece {
				t.Errorf("%s, in pieces of %d: %d bytes were read", name, piece, read)
			}
		}
	}
}

// A counter agrees with Check on all JSON.
func FuzzCounter(f *testing.F) {
	f.Add([]byte(`{"a":[1,-2.5e3,"\u0022\"",true,null,{}]} `), uint8(3))
	f.Fuzz(func(t *testing.T, document []byte, values uint8) {
		if !jsontext.Value(document).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
			return
		}
		_, counted := NewCounter(int(values), 8).Write(document)
		if checked := Check(document, int(values), 8); (checked == nil) != (counted == nil) {
			t.Errorf("%q: Check %v, Counter %v", document, checked, counted)
		}
	})
}

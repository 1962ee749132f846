package ingest

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

var jsonCases = []string{
	``, ` `, `{}`, `[]`, `null`, `true`, `tru`, `truex`, `nullnull`, `0`, `00`, `-`, `-0`, `-01`, `1.`, `1.0`, `1.0e`, `1e+`, `1e+5`, `1E-05 `, `0e1`, `.5`, `+1`, `1 2`, `{"a":1,}`,
	`[1,]`, `[,1]`, `[1,,2]`, `{"a"}`, `{"a":}`, `{,}`, `{"a":1 "b":2}`, `{"a":1,"a":2}`, `{1:2}`, `[1}`, `{"a":[1,{"b":null}],"c":"d"}`, `]`, `"`, `"a`, `"a"b`, `"\n"`, "\"\n\"", "\"\x7f\"",
	`"\u00"`, `"\u00e9"`, `"\ud834\udd1e"`, `"\ud834"`, `"\ud834x"`, `"\ud834\n"`, `"\udd1e"`, `"\ud834\ud834"`, `"\ud834\u0041"`, `"\x"`, "\"\xc3\xa9\"", "\"\xc3\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"",
	"\"\xf0\x9f\x98\x80\"", "\"\xf0\x80\x80\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe0\x80\x80\"", "\"\xff\"", "\ufeff{}", "{}\x00", "\t\r\n {} \n", `{"a":tru}`, `[1.5e3,-2]`, `[0]`, `[-]`, `{"":{}}`, `"\u`, `"\`,
}

// checkJSON checks that jsonCheck agrees with jsontext, which needs the whole
// document in memory, for writes of any size.
func checkJSON(t *testing.T, doc string) {
	t.Helper()
	want := utf8.ValidString(doc) && jsontext.Value(doc).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for _, step := range []int{1, 2, 7, len(doc) + 1} {
		j := &jsonCheck{}
		var err error
		for rest := doc; rest != "" && err == nil; rest = rest[min(step, len(rest)):] {
			_, err = j.Write([]byte(rest[:min(step, len(rest))]))
		}
		if err == nil {
			err = j.Close()
		}
		if (err == nil) != want {
			t.Fatalf("%q in steps of %d: %v, want valid: %t", doc, step, err, want)
		}
	}
}

func TestJSONCheck(t *testing.T) {
	for _, doc := range jsonCases {
		checkJSON(t, doc)
		checkJSON(t, `{"a": `+doc+`}`)
		checkJSON(t, `[`+doc+`]`)
	}
	for _, n := range []int{maxJSONDepth - 1, maxJSONDepth, maxJSONDepth + 1} {
		checkJSON(t, strings.Repeat("[", n)+strings.Repeat("]", n))
	}
}

func FuzzJSONCheck(f *testing.F) {
	for _, doc := range jsonCases {
		f.Add(doc)
	}
	f.Fuzz(checkJSON)
}

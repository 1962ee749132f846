package intoto

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

func TestStatement(t *testing.T) {
	s, err := Parse([]byte(`{"predicate":{"a":1},"predicateType":"https://example.com/p","subject":[{"name":"a","uri":"x","digest":{"a":"aa","b":"bb"}},{"name":null,"digest":{"gitCommit":"cccccccccccccccccccccccccccccccccccccccc"}}],"_type":"` + TypeV01 + `","extra":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Type != TypeV01 || s.PredicateType != "https://example.com/p" || string(s.Predicate) != `{"a":1}` || len(s.Subjects) != 2 {
		t.Errorf("got %+v", s)
	}
	for digest, want := range map[string]bool{"a:aa": true, "b:bb": true, "gitCommit:cccccccccccccccccccccccccccccccccccccccc": true, "a:bb": false, "aa": false} {
		d, _ := entry.ParseDigest(digest)
		if s.HasSubject(d) != want {
			t.Errorf("HasSubject(%s) is %v", digest, !want)
		}
	}
}

func TestMalformedStatements(t *testing.T) {
	const types = `"_type":"` + TypeV1 + `","predicateType":"p"`
	for _, test := range []struct{ data, want string }{
		{``, "EOF"},
		{`{` + types, "EOF"},
		{`{` + types + `,"subject":[{"digest":{"a":"b"}}]} x`, "invalid character 'x'"},
		{`{` + types + `,"subject":[{"digest":{"a":"b"}}]}{}`, "trailing data"},
		{`[]`, "must be an object, not an array"},
		{`{"predicateType":"p","subject":[{"digest":{"a":"b"}}]}`, "_type: missing"},
		{`{"_type":"x","predicateType":"p","subject":[{"digest":{"a":"b"}}]}`, "_type: "},
		{`{"_type":"` + TypeV1 + `","_type":"` + TypeV1 + `"}`, "duplicate member"},
		{`{"_type":"` + TypeV1 + `","subject":[{"digest":{"a":"b"}}]}`, "predicateType: missing"},
		{`{` + types + `}`, "subject: missing"},
		{`{` + types + `,"subject":[]}`, "subject: empty"},
		{`{` + types + `,"subject":{}}`, "subject: must be an array"},
		{`{` + types + `,"subject":[{"digest":{"a":"b"}},{"name":"x"}]}`, "subject[1].digest: missing"},
		{`{` + types + `,"subject":[{"digest":{}}]}`, "subject[0].digest: missing"},
		{`{` + types + `,"subject":[{"digest":{"a":""}}]}`, "subject[0].digest.a: empty"},
		{`{` + types + `,"subject":[{"digest":{"":"b"}}]}`, "empty algorithm"},
		{`{` + types + `,"subject":[{"digest":{"a":"b"}}],"predicate":[]}`, "predicate: must be an object"},
		{"{" + types + ",\"subject\":[{\"name\":\"\xff\",\"digest\":{\"a\":\"b\"}}]}", "UTF-8"},
	} {
		if _, err := Parse([]byte(test.data)); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.data, err, test.want)
		}
	}
}

// These documents are designed to exhaust memory or stack. Each has ten million
// bytes.
func TestHostileDocuments(t *testing.T) {
	const size = 10_000_000
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for _, test := range []struct{ name, predicateType, predicate, want string }{
		{"nested arrays", "https://example.com/p", `{"a":` + fill(`[`) + fill(`]`) + `}`, "nested deeper than 256"},
		{"nested objects, never closed", "https://example.com/p", fill(`{"a":`), "nested deeper than 256"},
		{"nested components", CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","components":` + fill(`[{"type":"a","name":"a","components":`), "nested deeper than 256"},
		{"empty dependencies", SLSAProvenanceV1, `{"buildDefinition":{"resolvedDependencies":[` + fill(`{},`) + `{}]}}`, "resolvedDependencies[0]: must have a uri"},
		{"small materials", SLSAProvenanceV02, `{"builder":{"id":"a:b"},"buildType":"a:b","materials":[` + fill(`{"digest":{"a":"b"}},`) + `{}]}`, ""},
		{"nothing but digests", SLSAProvenanceV02, `{"builder":{"id":"a:b"},"buildType":"a:b","materials":[{"digest":{` + fill(`"a":"b",`) + `"c":"d"}}]}`, "two digests"},
		{"one long name", SLSAProvenanceV02, `{"builder":{"id":"a:b"},"buildType":"a:b","materials":[{"uri":"` + fill(`x`) + `","digest":{"a":"b"}}]}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := []byte(statement(test.predicateType, test.predicate))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s, err := Parse(data)
			runtime.ReadMemStats(&after)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("%.300v, want %q", err, test.want)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if err == nil && (len(s.Materials) > MaxMaterials || len(s.Materials[0].Name) > MaxFact || s.MaterialCount < len(s.Materials)) {
				t.Errorf("%d materials of %d", len(s.Materials), s.MaterialCount)
			}
			runtime.GC()
			var kept runtime.MemStats
			runtime.ReadMemStats(&kept)
			if live := int64(kept.HeapAlloc) - int64(before.HeapAlloc); live > 8<<20 {
				t.Errorf("%d bytes are still held", live)
			}
			runtime.KeepAlive(s)
			runtime.KeepAlive(data)
			t.Logf("%s allocated in all", fmt.Sprint(after.TotalAlloc-before.TotalAlloc))
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, d := range definitions {
		f.Add(statement(d.predicateType, d.predicate))
	}
	f.Fuzz(func(t *testing.T, data string) {
		s, err := Parse([]byte(data))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%v is no ErrMalformed", err)
			}
			return
		}
		if len(s.Subjects) == 0 || len(s.Materials) > MaxMaterials || s.Category == "" {
			t.Errorf("got %+v", s)
		}
	})
}

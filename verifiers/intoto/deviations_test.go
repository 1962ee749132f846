package intoto

import (
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

// A deviating predicate is listed member by member, and the rest of it is still
// read.
func TestDeviations(t *testing.T) {
	for _, test := range []struct {
		name, predicateType, predicate string
		want                           []string
	}{
		{"no scheme", SLSAProvenanceV02, `{"builder":{"id":"https://tekton.dev/chains/v2"},"buildType":"tekton.dev/v1beta1/TaskRun","materials":[{"uri":"git+https://x","digest":{"sha1":"0A1B"}}]}`,
			[]string{`predicate.buildType: "tekton.dev/v1beta1/TaskRun" is not a URI with a scheme`}},
		{"free text", SLSAProvenanceV1, `{"buildDefinition":{"buildType":"our own","externalParameters":[1,[2]]},"runDetails":{"builder":{"id":""},"metadata":{"startedOn":"now"}}}`,
			[]string{`predicate.buildDefinition.buildType: "our own" is not a URI with a scheme`, "predicate.buildDefinition.externalParameters: must be an object, not an array",
				`predicate.runDetails.builder.id: "" is not a URI with a scheme`, `predicate.runDetails.metadata.startedOn: "now" is not a time such as 2026-04-19T12:00:00Z`}},
		{"wrapped", CycloneDX, `{"Data":{"bomFormat":"CycloneDX"},"Timestamp":"2026-04-19T12:00:00Z"}`, []string{"predicate.bomFormat: missing", "predicate.specVersion: missing"}},
		{"wrapped text", SPDX, `{"Data":"SPDXVersion: SPDX-2.3","Timestamp":""}`, []string{"predicate.spdxVersion: missing", "predicate.SPDXID: missing", "predicate.name: missing",
			"predicate.dataLicense: missing", "predicate.documentNamespace: missing", "predicate.creationInfo: missing"}},
		{"not an object", SLSAProvenanceV1, `["a"]`, []string{"predicate: must be an object, not an array"}},
		{"counts as strings", SLSASummaryV1, `{"verifier":{"id":"https://v"},"resourceUri":"pkg:npm/x@1","policy":{"uri":"https://p"},"verificationResult":"PASSED","verifiedLevels":[],"dependencyLevels":{"A":"5","B":6,"C":"18446744073709551615"}}`, nil},
		{"no counts", SLSASummaryV1, `{"verifier":{"id":"https://v"},"resourceUri":"pkg:npm/x@1","policy":{"uri":"https://p"},"verificationResult":"PASSED","verifiedLevels":[],"dependencyLevels":{"A":"x","B":-6,"C":"+1"}}`,
			[]string{"predicate.dependencyLevels.A: x is not a whole number of at least 0", "predicate.dependencyLevels.B: -6 is not a whole number of at least 0", "predicate.dependencyLevels.C: +1 is not a whole number of at least 0"}},
		{"a member twice", SLSAProvenanceV02, `{"builder":{"id":"https://a"},"builder":{"id":"https://b"},"buildType":"a:b","materials":[{"digest":{"sha1":"0A"}}]}`, []string{"predicate.builder: duplicate member"}},
		{"a digest twice", SLSAProvenanceV02, `{"builder":{"id":"https://a"},"buildType":"a:b","materials":[{"digest":{"sha1":"0A","SHA1":"0b"}}]}`, []string{"predicate.materials[0].digest.SHA1: two digests of sha1"}},
		{"an unread member twice", SLSAProvenanceV02, `{"builder":{"id":"https://a","x":1,"x":2},"buildType":"a:b"}`, nil},
		{"half a surrogate pair", SLSAProvenanceV1, `{"buildDefinition":{"buildType":"a:b","externalParameters":{"file":"caf\udce9"}},"runDetails":{"builder":{"id":"https://\udce9"}}}`, nil},
		{"large numbers", SLSAProvenanceV1, `{"buildDefinition":{"buildType":"a:b","externalParameters":{"n":1e400,"m":` + strings.Repeat("7", 60) + `}},"runDetails":{"builder":{"id":"a:b"}}}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := Read([]byte(statement(test.predicateType, test.predicate)))
			if err != nil {
				t.Fatal(err)
			}
			s.Check()
			if got := s.Deviations.Strings(); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if s.Conforms() != (test.want == nil) {
				t.Errorf("it conforms: %v", s.Conforms())
			}
		})
	}
}

// A deviating part of a document does not affect the facts of other parts.
// Ambiguous parts are not used.
func TestReadBesideDeviations(t *testing.T) {
	read := func(predicate string) *Statement {
		s, err := Read([]byte(statement(SLSAProvenanceV02, predicate)))
		if err != nil {
			t.Fatal(err)
		}
		s.Check()
		return s
	}
	s := read(`{"builder":{"id":7},"buildType":"our own","materials":[7,{"uri":"git+https://x","digest":{"sha1":"0A1B"}}]}`)
	if len(s.Materials) != 1 || s.Facts["buildType"] != "our own" || s.Deviations.Count != 3 {
		t.Errorf("got %+v", s)
	}
	s = read(`{"buildType":"a:b","buildType":"a:c","materials":[{"uri":"git+https://x","digest":{"sha1":"0A1B"}}]}`)
	if len(s.Materials) != 0 || len(s.Facts) != 0 || s.Conforms() {
		t.Errorf("got %+v", s)
	}
}

// A statement whose own members deviate is read as far as possible.
func TestDeviatingStatements(t *testing.T) {
	const types = `"_type":"` + TypeV1 + `","predicateType":"https://example.com/p"`
	for _, test := range []struct{ data, want string }{
		{`{` + types + `}`, "subject: missing"},
		{`{` + types + `,"subject":[]}`, "subject: empty"},
		{`{` + types + `,"subject":[{"name":"a"},{"digest":{"sha256":7,"x":"y"}},7]}`, "subject[0].digest: missing;subject[1].digest.sha256: must be a string, not a number;subject[2]: must be an object, not a number"},
		{`{"_type":"` + TypeV1 + `","predicateType":7,"subject":[{"digest":{"a":"b"}}]}`, "predicateType: must be a string, not a number"},
		{`{` + types + `,"subject":[{"digest":{"a":"b"}}],"predicate":"x"}`, "predicate: must be an object, not a string"},
	} {
		s, err := Read([]byte(test.data))
		if err != nil {
			t.Errorf("%s: %v", test.data, err)
			continue
		}
		s.Check()
		if got := strings.Join(s.Deviations.Strings(), ";"); got != test.want {
			t.Errorf("%s: %s, want %s", test.data, got, test.want)
		}
	}
}

// The number and length of deviations are bounded, and so is the time to find
// them.
func TestDeviationsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	s, err := Read([]byte(statement(CycloneDX, `{"bomFormat":"`+long+`","specVersion":"`+long+`","components":[`+strings.Repeat(`{"hashes":7},`, 5_000)+`{}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	s.Check()
	lines := s.Deviations.Strings()
	if s.Deviations.Count < maxCounted || s.Deviations.Count > maxCounted+1 || len(lines) != MaxDeviations+1 {
		t.Errorf("%d deviations, of which %d are listed", s.Deviations.Count, len(lines))
	}
	for _, l := range lines {
		if len(l) > 2*maxDeviation+2 {
			t.Errorf("a deviation of %d bytes", len(l))
		}
	}
}

// Digests have one spelling, whatever their case in the document.
func TestDigestsAreFolded(t *testing.T) {
	hex := strings.Repeat("aB", 32)
	s, err := Parse([]byte(`{"_type":"` + TypeV1 + `","predicateType":"https://slsa.dev/provenance/v0.2","subject":[{"digest":{"SHA256":"` + hex + `","gitCommit":"` + hex[:40] + `","dirHash":"h1:AbC="}}],
		"predicate":{"builder":{"id":"a:b"},"buildType":"a:b","materials":[{"digest":{"sha256":"` + hex + `"}}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	lower := strings.ToLower(hex)
	equal(t, "subjects", s.Subjects, []entry.Subject{{Digest: map[string]string{"sha256": lower, "gitCommit": lower[:40], "dirHash": "h1:AbC="}}})
	equal(t, "materials", s.Materials, []entry.Subject{{Digest: map[string]string{"sha256": lower}}})
}

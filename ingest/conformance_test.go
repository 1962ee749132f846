package ingest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/intoto"
)

// field reads a small example of what programs in the field write.
func field(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "verifiers", "testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// withMaterials returns an envelope of provenance with a list of materials.
func withMaterials(list string) string {
	return envelope(intoto.MediaType, []byte(strings.Replace(build, `"externalParameters":{}`, `"externalParameters":{},`+list, 1)), "k")
}

func tektonPolicy(t *testing.T, rest string) string {
	return "version: 1\nmode: enforce\nsigners:\n  chains:\n    keys:\n      - |\n        " + strings.ReplaceAll(strings.TrimSpace(field(t, "uri-tekton/key.pub")), "\n", "\n        ") +
		"\n    require: {log_entries: 0}\nrules:\n" + rest
}

// TestConformance checks that validly signed evidence is recorded even if its
// predicate deviates, with the deviations in its header, unless a rule requires
// conformance.
func TestConformance(t *testing.T) {
	const layout = `{"_type":"layout","steps":[]}`
	const incomplete = `{"_type":"` + intoto.TypeV1 + `","predicateType":"https://example.com/p","subject":[{"name":"registry.globex.example/app"}]}`
	const repeated = `{"_type":"` + intoto.TypeV1 + `","predicateType":"https://example.com/harmless","predicateType":"https://example.com/p","subject":[{"digest":{"a":"b"}}]}`
	const kept = "  - {name: chains, kinds: [attestation], signers: [chains]}\n"
	const strict = "  - {name: chains, kinds: [attestation], signers: [chains], conformance: required}\n"
	const anything = "  - {name: anything, unsigned: true}\n"
	envelopes := map[string]string{"envelope": field(t, "uri-tekton/envelope.json"), "bundle": field(t, "uri-tekton/bundle.json"),
		"layout": envelope(intoto.MediaType, []byte(layout), "k"), "incomplete": envelope(intoto.MediaType, []byte(incomplete), "k"),
		"repeated": envelope(intoto.MediaType, []byte(repeated), "k"), "garbage": envelope(intoto.MediaType, []byte("garbage"), "k"),
		"many materials": withMaterials(`"resolvedDependencies":[` + strings.Repeat(`{"name":"a","digest":{"sha256":"`+strings.Repeat("ab", 32)+`"}},`, intoto.MaxMaterials) + `{"name":"last","digest":{"sha256":"` + strings.Repeat("cd", 32) + `"}}]`),
		"material twice": withMaterials(`"resolvedDependencies":[{"name":"last","digest":{"sha256":"` + strings.Repeat("cd", 32) + `"}}],"resolvedDependencies":[]`),
		"conforming":     field(t, "vsa-uint64/statement.json"), "surrogate": field(t, "lone-surrogate/statement.json")}
	for _, test := range []struct{ evidence, rules, refused, deviation string }{
		{"envelope", kept, "", "predicate.buildType: "},
		{"bundle", kept, "", "predicate.buildType: "},
		{"envelope", strict, "conformance is required, but the evidence deviates: predicate.buildType", ""},
		{"bundle", strict, "conformance is required, but the evidence deviates: predicate.buildType", ""},
		{"envelope", "  - {name: no deviations, deny: true, condition: 'deviations.size() > 0'}\n" + kept, "denies", ""},
		{"envelope", "  - {name: only this, unsigned: true, condition: 'deviations.all(d, d.startsWith(\"predicate.buildType: \"))'}\n", "", "predicate.buildType: "},
		{"conforming", "  - {name: a, unsigned: true, conformance: required}\n", "", ""},
		{"surrogate", "  - {name: a, unsigned: true, conformance: required}\n", "", ""},
		{"layout", anything, "", "payload: in-toto statement: neither v0.1 nor v1"},
		{"layout", "  - {name: a, unsigned: true, conformance: required}\n", "conformance is required", ""},
		{"repeated", anything, "", "payload: in-toto statement: "},
		{"repeated", "  - {name: a, unsigned: true, conformance: required}\n", "conformance is required", ""},
		{"repeated", "  - {name: harmless, unsigned: true, predicate_types: ['https://example.com/**']}\n", "no rule", ""},
		{"repeated", "  - {name: no p, deny: true, predicate_types: ['https://example.com/p']}\n" + anything, "denies", ""},
		{"repeated", "  - {name: not these, deny: true, condition: 'predicate_type == \"https://example.com/p\"'}\n" + anything, "denies", ""},
		{"repeated", "  - {name: not there, deny: true, condition: 'subjects.exists(s, s.name == \"x\")'}\n" + anything, "denies", ""},
		{"garbage", anything, "", "payload: in-toto statement: "},
		{"many materials", anything, "", ""},
		{"many materials", "  - {name: not this, deny: true, condition: 'materials.exists(m, m.name == \"last\")'}\n" + anything, "denies", ""},
		{"many materials", "  - {name: only these, unsigned: true, condition: 'materials.all(m, m.name != \"last\")'}\n", "no rule", ""},
		{"material twice", "  - {name: not this, deny: true, condition: 'materials.exists(m, m.name == \"last\")'}\n" + anything, "denies", ""},
		// Rules that deny apply in doubt, because other programs could read a
		// subject or a predicate type here.
		{"layout", "  - {name: no provenance, deny: true, predicate_types: ['https://slsa.dev/**']}\n" + anything, "denies", ""},
		{"layout", "  - {name: no levels, deny: true, condition: 'predicate.level > 3'}\n" + anything, "denies", ""},
		{"incomplete", anything, "", "subject[0].digest: missing"},
		{"incomplete", "  - {name: artifacts of others, deny: true, subjects: {names: ['registry.globex.example/**']}}\n" + anything, "denies", ""},
	} {
		in, who := withAdmission(t, AdmissionConfig{})
		_, err := in.Admission.SetPolicy(t.Context(), who, []byte(tektonPolicy(t, test.rules)), "test")
		if err != nil {
			t.Fatal(err)
		}
		r := appendOne(t, in, who, Submission{Kind: "attestation", Payload: []byte(envelopes[test.evidence])})
		var refusal *Refusal
		switch {
		case test.refused != "" && (!errors.As(r.Err, &refusal) || !strings.Contains(refusal.Error(), test.refused)):
			t.Errorf("%s, %s: %v, want %q", test.evidence, test.rules, r.Err, test.refused)
		case test.refused == "" && r.Err != nil:
			t.Errorf("%s, %s: %v", test.evidence, test.rules, r.Err)
		case test.refused == "":
			all := headers(t, in, who)
			h := all[len(all)-1]
			if (test.deviation == "") != (h.Attributes == nil) || !strings.HasPrefix(h.Attributes["deviation.1"], test.deviation) || test.deviation != "" && h.Attributes["conformance"] != "deviating" {
				t.Errorf("%s: attributes %v", test.evidence, h.Attributes)
			}
			if test.rules == kept && h.Verification.Result != entry.Verified {
				t.Errorf("%s: %+v", test.evidence, h.Verification)
			}
		}
	}
}

// TestDeviationsInHeaders checks that the deviations of any document fit into a
// header.
func TestDeviationsInHeaders(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{})
	long := strings.Repeat("x", 10_000)
	predicate := `{"bomFormat":"` + long + `","components":[` + strings.Repeat(`{"hashes":7},`, 500) + `{}]}`
	r := appendOne(t, in, who, Submission{Kind: "attestation", Payload: []byte(`{"_type":"` + intoto.TypeV1 + `","subject":[{"digest":{"a":"b"}}],"predicateType":"` + intoto.CycloneDX + `","predicate":` + predicate + `}`)})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	all := headers(t, in, who)
	size := 0
	for name, v := range all[len(all)-1].Attributes {
		size += len(name) + len(v)
	}
	if n := len(all[len(all)-1].Attributes); n != maxHeaderDeviations+1 || size > 8<<10 {
		t.Errorf("%d attributes with %d bytes", n, size)
	}
}

// TestAnyJSON checks that all JSON that RFC 8259 allows is accepted, in small
// and in large documents.
func TestAnyJSON(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{})
	in.MaxStream = 1 << 30
	for name, doc := range map[string]string{
		"half surrogate pairs": field(t, "lone-surrogate/sbom.spdx.json"), "statement": field(t, "lone-surrogate/statement.json"),
		"large numbers": `{"a":1e400,"b":-` + strings.Repeat("9", 60) + `,"c":1E-400}`, "a member twice": `{"a":1,"a":2}`, "no object": "7\n",
	} {
		mediaType := "application/spdx+json"
		if name == "statement" {
			mediaType = ""
		}
		if r := appendOne(t, in, who, Submission{Kind: "attestation", MediaType: mediaType, Payload: []byte(doc)}); r.Err != nil {
			t.Errorf("%s: %v", name, r.Err)
		}
		if name == "statement" {
			continue
		}
		large := strings.NewReader(doc + strings.Repeat(" ", 2*inlineBytes))
		if _, err := in.AppendStream(t.Context(), who, &Stream{Kind: "attestation", MediaType: mediaType, Payload: large}); err != nil {
			t.Errorf("%s, streamed: %v", name, err)
		}
	}
}

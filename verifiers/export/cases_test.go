package export

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

// A build makes a manifest. The functions change it at its stages.
type build struct {
	name   string
	reason string // "" if it verifies

	manifest  func(t testing.TB, m *Manifest)
	statement func(text []byte) []byte
	payload   string // payload type, if another
	signers   []string
	file      func(file []byte) []byte

	log    func(t testing.TB, items []*item) []*item
	inputs func(v *vector)
}

// bytes returns the file of the manifest, and the manifest.
func (b *build) bytes(t testing.TB) ([]byte, *Manifest) {
	t.Helper()
	m := newManifest(t)
	if b.manifest != nil {
		b.manifest(t, m)
	}
	text := statement(t, m)
	if b.statement != nil {
		changed := b.statement(bytes.Clone(text))
		if bytes.Equal(changed, text) {
			t.Fatalf("%s: the statement is unchanged", b.name)
		}
		text = changed
	}
	typ, signers := payloadType, b.signers
	if b.payload != "" {
		typ = b.payload
	}
	if signers == nil {
		signers = []string{"exporter"}
	}
	file := bundled(sign(t, typ, text, signers...))
	if b.file != nil {
		file = b.file(file)
	}
	return file, m
}

func replaced(old, new string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
}

func privacyOf(change func(p *Privacy)) func(testing.TB, *Manifest) {
	return func(_ testing.TB, m *Manifest) { change(m.Privacy) }
}

func pureOf(change func(p *Privacy)) func(testing.TB, *Manifest) {
	return func(_ testing.TB, m *Manifest) { pure(m); change(m.Privacy) }
}

// whole gives all inputs.
func whole(v *vector) {
	v.Files, v.Receipt, v.Stream, v.StreamKey, v.Policies = "good", v.Name, v.Name, "acme", []string{"log"}
	v.Licenses = json.RawMessage(`["CC-BY-4.0","CC0-1.0","MIT","Apache-2.0","GPL-2.0-only WITH Classpath-exception-2.0"]`)
	v.Residency = json.RawMessage(`{"storage-allowed":[{"country":"DE"},{"country":"FR"}],"processing-excluded":[{"country":"CN"}]}`)
	v.Epsilon = json.RawMessage(`{"budget":"acme-2026","epsilon":"5","delta":"0.000001"}`)
	v.Expect = &expectation{Tenant: "acme", Export: "embeddings-2026-11"}
}

func and(all ...func(v *vector)) func(*vector) {
	return func(v *vector) {
		for _, one := range all {
			one(v)
		}
	}
}

func folder(name string) func(*vector) { return func(v *vector) { v.Files = name } }

func allowing(texts ...string) func(*vector) {
	return func(v *vector) { v.Licenses, _ = json.Marshal(append([]string{}, texts...)) }
}

func residency(text string) func(*vector) {
	return func(v *vector) { v.Residency = json.RawMessage(text) }
}

func epsilon(text string) func(*vector) {
	return func(v *vector) { v.Epsilon = json.RawMessage(text) }
}

func licence(text string) func(testing.TB, *Manifest) {
	return func(_ testing.TB, m *Manifest) { m.Files[1].License = []string{text} }
}

func fileName(name string) func(testing.TB, *Manifest) {
	return func(_ testing.TB, m *Manifest) { m.Files[1].Name = name }
}

// folders are the folders of files of the vectors.
func folders() map[string]map[string][]byte {
	change := func(edit func(files map[string][]byte)) map[string][]byte {
		files := testFiles()
		edit(files)
		return files
	}
	return map[string]map[string][]byte{
		"good":              testFiles(),
		"missing":           change(func(f map[string][]byte) { delete(f, "schema.json") }),
		"extra":             change(func(f map[string][]byte) { f["assets/part-0001.csv"] = []byte("id,score\n") }),
		"renamed":           change(func(f map[string][]byte) { f["Schema.json"] = f["schema.json"]; delete(f, "schema.json") }),
		"changed":           change(func(f map[string][]byte) { f["assets/part-0000.csv"][3] ^= 1 }),
		"longer":            change(func(f map[string][]byte) { f["empty.txt"] = []byte("\n") }),
		"shorter":           change(func(f map[string][]byte) { f["schema.json"] = f["schema.json"][1:] }),
		"missing and extra": change(func(f map[string][]byte) { f["x"] = nil; delete(f, "schema.json") }),
	}
}

// builds are the cases.
func builds() []build {
	all := []build{
		{name: "good"},
		{name: "good with everything", inputs: whole},
		{name: "good envelope", file: func(f []byte) []byte { return f[bytes.Index(f, []byte(`"dsseEnvelope":`))+15 : len(f)-1] }},
		{name: "good with pure differential privacy", manifest: pureOf(func(*Privacy) {})},
		{name: "good without privacy", manifest: func(_ testing.TB, m *Manifest) { m.Privacy = nil }},
		{name: "good without limits on places", manifest: func(_ testing.TB, m *Manifest) { m.Use = nil }},
		{name: "good with two signers", signers: []string{"exporter", "platform"}, manifest: func(t testing.TB, m *Manifest) { m.Claims[0].ClaimedBy = signerOf(t, "platform") }, inputs: func(v *vector) { v.Keys = []string{"platform", "exporter"} }},
		{name: "good with white space", statement: replaced(`{"_type"`, " {\n\t\"_type\"")},
		{name: "good with evidence", manifest: withEvidence(0), inputs: whole, log: func(_ testing.TB, items []*item) []*item { return items }},
		{name: "evidence without a stream", manifest: withEvidence(0)},
		{name: "written for another version of the list", manifest: func(_ testing.TB, m *Manifest) { m.SPDXListVersion = "3.28.0" }},
		{name: "one of the keys signed", inputs: func(v *vector) { v.Keys = []string{"other", "exporter"} }},
		{name: "exactly the loss", manifest: pureOf(func(p *Privacy) { p.Mechanisms = p.Mechanisms[:1]; p.Parameters.Epsilon = decimal("0.5") })},
		{name: "no noise loss of budget left", manifest: pureOf(func(p *Privacy) { p.BudgetEpsilon = decimal("0.75") })},

		// Step 0.
		{name: "no key", reason: "trust-missing", inputs: func(v *vector) { v.Keys = []string{} }},
		{name: "a receipt without a policy", reason: "policy-missing", inputs: and(whole, func(v *vector) { v.Policies = nil })},
		{name: "a malformed policy", reason: "policy-malformed", inputs: and(whole, func(v *vector) { v.Policies = []string{"malformed"} })},
		{name: "a stream without a receipt", reason: "receipt-missing", inputs: and(whole, func(v *vector) { v.Receipt = "" })},
		{name: "a stream without its key", reason: "stream-key-missing", inputs: and(whole, func(v *vector) { v.StreamKey = "" })},
		{name: "a malformed stream key", reason: "stream-key-malformed", inputs: and(whole, func(v *vector) { v.StreamKey = "malformed" })},
		{name: "an empty tenant", reason: "expectation-malformed", inputs: func(v *vector) { v.Expect = &expectation{emptyTenant: true} }},
		{name: "an unknown licence in the allow-list", reason: "requirement-malformed", inputs: allowing("Apache 2.0")},
		{name: "an expression in the allow-list", reason: "requirement-malformed", inputs: allowing("MIT OR Apache-2.0")},
		{name: "a required place outside of the list", reason: "requirement-malformed", inputs: residency(`{"storage-allowed":[{"country":"XX"}]}`)},
		{name: "a required delta of 0", reason: "requirement-malformed", inputs: epsilon(`{"epsilon":"1","delta":"0"}`)},
		{name: "a required epsilon that is no number", reason: "requirement-malformed", inputs: epsilon(`{"epsilon":"NaN","delta":"0.1"}`)},

		// Step 1.
		{name: "empty", reason: "manifest-malformed", file: func([]byte) []byte { return nil }},
		{name: "an array", reason: "manifest-malformed", file: func(f []byte) []byte { return slices.Concat([]byte("["), f, []byte("]")) }},
		{name: "compressed", reason: "manifest-malformed", file: gzipped},
		{name: "data after the end", reason: "manifest-malformed", file: func(f []byte) []byte { return append(f, '{', '}') }},
		{name: "a byte order mark", reason: "manifest-malformed", file: func(f []byte) []byte { return slices.Concat([]byte("\ufeff"), f) }},
		{name: "a member twice", reason: "manifest-malformed", file: replaced(`{"mediaType"`, `{"mediaType":"","mediaType"`)},
		{name: "invalid UTF-8", reason: "manifest-malformed", file: replaced(`"hint":""`, "\"hint\":\"\xff\"")},
		{name: "a lone surrogate", reason: "manifest-malformed", file: replaced(`"hint":""`, `"hint":"\ud800"`)},
		{name: "nested too deep", reason: "manifest-malformed", file: replaced(`"hint":""`, `"hint":`+strings.Repeat("[", 16)+strings.Repeat("]", 16))},
		{name: "a bundle without an envelope", reason: "manifest-malformed", file: replaced(`"dsseEnvelope"`, `"messageSignature"`)},
		{name: "no signature", reason: "manifest-malformed", file: signatures(func([]any) []any { return []any{} })},
		{name: "65 signatures", reason: "manifest-malformed", file: signatures(func(s []any) []any { return slices.Repeat(s, 65) })},
		{name: "64 signatures", file: signatures(func(s []any) []any { return slices.Repeat(s, 64) })},
		{name: "a payload in base64url", reason: "manifest-malformed", statement: replaced(`"User-level"`, `"?>?>?>User-level"`), file: func(f []byte) []byte {
			return bytes.ReplaceAll(bytes.ReplaceAll(f, []byte("/"), []byte("_")), []byte("_vnd"), []byte("/vnd"))
		}},
		{name: "a payload without padding", reason: "manifest-malformed", file: inEnvelope("payload", func(s string) string { return strings.TrimRight(s, "=") + "\n" })},
		{name: "no payload", reason: "manifest-malformed", file: inEnvelope("payload", func(string) string { return "" })},
		{name: "an envelope that is null", reason: "manifest-malformed", file: func([]byte) []byte {
			return []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":null}`)
		}},
		{name: "a payload type that lies", reason: "payload-type", payload: "application/json"},
		{name: "a payload type in upper case", reason: "payload-type", payload: "application/vnd.in-toto+JSON"},

		// Step 2.
		{name: "signed by another key", reason: "signature-unverified", signers: []string{"other"}},
		{name: "a changed signature", reason: "signature-unverified", file: inSignature(func(s []byte) { s[7] ^= 1 })},
		{name: "a changed statement", reason: "signature-unverified", file: inPayload(replaced(`"acme"`, `"acmf"`))},
		{name: "another payload type than signed", reason: "signature-unverified", payload: "application/json", file: replaced(`"application/json"`, `"application/vnd.in-toto+json"`)},

		// Step 3.
		{name: "a statement that is not JSON", reason: "statement-malformed", statement: func([]byte) []byte { return []byte("{") }},
		{name: "a payload that is not a statement", reason: "statement-malformed", statement: func([]byte) []byte { return []byte("{}") }},
		{name: "a statement with invalid UTF-8", reason: "statement-malformed", statement: replaced("User-level", "User\xff")},
		{name: "a member of the predicate twice", reason: "statement-malformed", statement: replaced(`"tenant":"acme"`, `"tenant":"acme","tenant":"acme"`)},
		{name: "a duplicate in another spelling", reason: "statement-malformed", statement: replaced(`"tenant":"acme"`, `"tenant":"acme","ten\u0061nt":"globex"`)},
		{name: "__proto__", reason: "statement-malformed", statement: replaced(`"tenant":"acme"`, `"__proto__":{"tenant":"globex"},"tenant":"acme"`)},
		{name: "__proto__ in a file", reason: "statement-malformed", statement: replaced(`"mediaType":"text/csv"`, `"__proto__":{"size":0},"mediaType":"text/csv"`)},
		{name: "constructor", reason: "statement-malformed", statement: replaced(`"spdxListVersion"`, `"constructor":{"prototype":{"x":1}},"spdxListVersion"`)},
		{name: "an unknown member", reason: "statement-malformed", statement: replaced(`"exportId"`, `"x":"y","exportId"`)},
		{name: "an unknown member of a subject", reason: "statement-malformed", statement: replaced(`"subject":[{`, `"subject":[{"uri":"x",`)},
		{name: "a second digest", reason: "statement-malformed", statement: replaced(`"digest":{`, `"digest":{"sha512":"00",`)},
		{name: "null", reason: "statement-malformed", statement: replaced(`"tenant":"acme"`, `"tenant":null`)},
		{name: "a number with an exponent", reason: "statement-malformed", statement: replaced(`"rows":2`, `"rows":2e0`)},
		{name: "a negative size", reason: "statement-malformed", statement: replaced(`"size":0`, `"size":-0`)},
		{name: "NaN as JSON", reason: "statement-malformed", statement: replaced(`"epsilon":"2.7"`, `"epsilon":NaN`)},
		{name: "1e400 as JSON", reason: "statement-malformed", statement: replaced(`"epsilon":"2.7"`, `"epsilon":1e400`)},
		{name: "epsilon as a JSON number", reason: "statement-malformed", statement: replaced(`"epsilon":"2.7"`, `"epsilon":2`)},
		{name: "another version of statements", reason: "statement-version", statement: replaced("Statement/v1", "Statement/v0.1")},
		{name: "the predicate of version 1", reason: "predicate-type", statement: replaced("export-manifest/v2", "export-manifest/v1")},
		{name: "another version and another predicate", reason: "statement-version", statement: func(s []byte) []byte {
			return replaced("Statement/v1", "Statement/v2")(replaced("manifest/v2", "manifest/v3")(s))
		}},
		{name: "no type", reason: "statement-malformed", statement: replaced(`"_type":"https://in-toto.io/Statement/v1",`, ``)},
		{name: "no files", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Files = nil }},
		{name: "no claims", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Claims = nil }},
		{name: "no limit", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Use = &Use{} }},
		{name: "a tenant in upper case", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Tenant = "Acme" }},
		{name: "an export ID with a slash", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.ExportID = "a/b" }},
		{name: "30 February", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Created = "2026-02-30T00:00:00Z" }},
		{name: "29 February of a year that is not a leap year", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Created = "2100-02-29T00:00:00Z" }},
		{name: "a leap second", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Created = "2026-12-31T23:59:60Z" }},
		{name: "a time with a fraction", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Created = "2026-11-29T06:00:00.0Z" }},
		{name: "a time before 1970", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Created = "1969-12-31T23:59:59Z" }},
		{name: "a media type with a parameter", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Files[0].MediaType = "text/csv; charset=utf-8" }},
		{name: "an unknown activity", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Claims[0].Activity = "transit" }},
		{name: "a signer with a key and an identity", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) {
			m.Claims[0].ClaimedBy.Identity = "x"
			m.Claims[0].ClaimedBy.Issuer = "y"
		}},
		{name: "an identity without its issuer", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Claims[0].ClaimedBy = entry.Signer{Identity: "x"} }},
		{name: "a PGP key", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) {
			m.Claims[0].ClaimedBy = entry.Signer{KeyID: "pgp:" + strings.Repeat("0", 40)}
		}},
		{name: "an unknown mechanism", reason: "statement-malformed", manifest: privacyOf(func(p *Privacy) { p.Mechanisms[0].Name = "gaussian" })},
		{name: "a count of 0", reason: "statement-malformed", manifest: privacyOf(func(p *Privacy) { p.Mechanisms[0].Count = 0 })},
		{name: "a count above the limit", reason: "statement-malformed", manifest: privacyOf(func(p *Privacy) { p.Mechanisms[0].Count = 1_000_001 })},
		{name: "an unknown relation", reason: "statement-malformed", manifest: privacyOf(func(p *Privacy) { p.Relation = "add-remove" })},
		{name: "65 locations", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Claims[0].Locations = slices.Repeat(m.Claims[0].Locations[:1], 65) }},
		{name: "64 locations", manifest: func(_ testing.TB, m *Manifest) { m.Claims[0].Locations = slices.Repeat(m.Claims[0].Locations[:1], 64) }},
		{name: "17 licences", reason: "statement-malformed", manifest: func(_ testing.TB, m *Manifest) { m.Files[1].License = slices.Repeat([]string{"MIT"}, 17) }},
		{name: "an expression of 1,025 bytes", reason: "statement-malformed", manifest: licence(strings.Repeat("MIT AND ", 127) + "LicenseRef")},
		{name: "a privacy unit of 257 bytes", reason: "statement-malformed", manifest: privacyOf(func(p *Privacy) { p.Unit = strings.Repeat("ä", 128) + "x" })},
		{name: "a mechanism without sensitivity", reason: "number-range", manifest: privacyOf(func(p *Privacy) { p.Mechanisms[0].Sensitivity = rational("0.0") })},
		{name: "noise of scale 0", reason: "number-range", manifest: privacyOf(func(p *Privacy) { p.Mechanisms[0].Scale = rational("0/7") })},
		{name: "a delta of 0", reason: "number-range", manifest: privacyOf(func(p *Privacy) { p.Parameters.Delta = optional("0.0") })},
		{name: "a delta of 1", reason: "number-range", manifest: privacyOf(func(p *Privacy) { p.BudgetDelta = optional("1") })},
		{name: "names that differ in case", reason: "name-duplicate", manifest: fileName("Assets/PART-0000.csv")},
		{name: "subjects in another order", reason: "subjects-differ", statement: swapSubjects},
		{name: "a subject too few", reason: "subjects-differ", statement: func(s []byte) []byte {
			i := bytes.Index(s, []byte(`,{"name":"empty.txt"`))
			j := i + bytes.IndexByte(s[i:], ']')
			return slices.Concat(s[:i], s[j:])
		}},
		{name: "a subject with another digest", reason: "subjects-differ", statement: replaced(`e3b0c442`, `e3b0c443`)},

		// Step 4.
		{name: "another tenant", reason: "tenant-mismatch", inputs: func(v *vector) { v.Expect = &expectation{Tenant: "globex"} }},
		{name: "another export", reason: "export-mismatch", inputs: func(v *vector) { v.Expect = &expectation{Export: "embeddings-2026-12"} }},
	}
	for _, bad := range []string{"NaN", "nan", "Infinity", "-1", "-0", "+1", "1e400", "1e-400", "1E2", "01", "1.", ".5", "", " 1", "1 ", "1,5", "0x1", "1_0", "½", "１", "1234567890123456789", "0." + strings.Repeat("1", 31), "1/2"} {
		all = append(all, build{name: fmt.Sprintf("epsilon %q", bad), reason: "number-malformed", statement: replaced(`"epsilon":"2.7"`, `"epsilon":"`+bad+`"`)})
	}
	for _, bad := range []string{"1/0", "1/01", "1/-2", "1/2/3", "/2", "1/", "1.5/2", "NaN", "-1", "1e400", "1234567890123456789/1"} {
		all = append(all, build{name: fmt.Sprintf("a scale of %q", bad), reason: "number-malformed", statement: replaced(`"scale":"10/3"`, `"scale":"`+bad+`"`)})
	}
	for _, bad := range []string{"../secret", "a/../../b", "/etc/passwd", "a//b", "a/", ".", "..", "a/./b", `a\b`, `..\b`, "C:/x", "a\x00b", "a\nb", "a ", " a", "a.", "a/b./c", "ü", "u\u0308", "a*", strings.Repeat("a", 1025)} {
		all = append(all, build{name: fmt.Sprintf("a file %.40q", bad), reason: "name-unsafe", manifest: fileName(bad)})
	}
	// Devices of Windows, and names that resemble them.
	for _, bad := range []string{"CON", "nul", "Aux.csv", "prn.tar.gz", "a/com1.csv", "LPT9/part.csv", "COM0", "CONIN$", "conout$.txt", "nul .txt", "NUL  .a", "C:", "a:b", "NUL.", "CON "} {
		all = append(all, build{name: fmt.Sprintf("a file %.40q", bad), reason: "name-unsafe", manifest: fileName(bad)})
	}
	for _, good := range []string{"CONSOLE.csv", "com.csv", "COM10.csv", "LPTX", "a.nul", "nul-.csv", "conin", "my CON", "aux_1/lpt.txt"} {
		all = append(all, build{name: fmt.Sprintf("a file %.40q", good), manifest: fileName(good)})
	}
	all = append(all, residencyBuilds()...)
	all = append(all, licenceBuilds()...)
	all = append(all, privacyBuilds()...)
	return append(all, outsideBuilds()...)
}

func residencyBuilds() []build {
	place := func(claim int, l Location) func(testing.TB, *Manifest) {
		return func(_ testing.TB, m *Manifest) { m.Claims[claim].Locations[0] = l }
	}
	at := func(country, state, region string) Location { return Location{Geography{country, state}, region} }
	return []build{
		{name: "a country outside of the list", reason: "region-unknown", manifest: place(0, at("XX", "", ""))},
		{name: "a country in lower case", reason: "region-unknown", manifest: place(0, at("de", "", ""))},
		{name: "a country by its name", reason: "region-unknown", manifest: place(0, at("Germany", "", ""))},
		{name: "a state outside of the list", reason: "region-unknown", manifest: place(0, at("DE", "DE-XX", ""))},
		{name: "a state without its country", reason: "region-unknown", manifest: place(0, at("DE", "HE", ""))},
		{name: "a state of another country", reason: "region-unknown", manifest: place(0, at("DE", "FR-75C", ""))},
		{name: "a cloud region outside of the list", reason: "region-unknown", manifest: place(0, at("DE", "", "aws:eu-central-9"))},
		{name: "a cloud region without its cloud", reason: "region-unknown", manifest: place(0, at("DE", "", "eu-central-1"))},
		{name: "a cloud region that an object inherits", reason: "region-unknown", manifest: place(0, at("DE", "", "constructor"))},
		{name: "a country that an object inherits", reason: "region-unknown", manifest: place(0, at("__proto__", "", ""))},
		{name: "an unknown country in a limit", reason: "region-unknown", manifest: func(_ testing.TB, m *Manifest) { m.Use.ProcessingExcluded[0].Country = "EU" }},
		{name: "a cloud region of another country", reason: "region-contradiction", manifest: place(0, at("DE", "", "aws:us-east-1"))},
		{name: "a cloud region of another state", reason: "region-contradiction", manifest: place(1, at("DE", "DE-BY", "aws:eu-central-1"))},
		{name: "a cloud region with its state", manifest: place(1, at("DE", "DE-HE", "aws:eu-central-1"))},
		{name: "a claim by somebody who has not signed", reason: "claim-signer", manifest: func(t testing.TB, m *Manifest) { m.Claims[1].ClaimedBy = signerOf(t, "platform") }},
		{name: "a claim by an identity that has not signed", reason: "claim-signer", manifest: func(_ testing.TB, m *Manifest) {
			m.Claims[1].ClaimedBy = entry.Signer{Identity: "ci@acme.example", Issuer: "https://login.example"}
		}},
		{name: "a claim by a signer whose key is not given", reason: "claim-signer", signers: []string{"exporter", "platform"}, manifest: func(t testing.TB, m *Manifest) { m.Claims[1].ClaimedBy = signerOf(t, "platform") }},
		{name: "no claim about storage, which is required", reason: "residency-missing", manifest: func(_ testing.TB, m *Manifest) { m.Claims = m.Claims[1:] }, inputs: residency(`{"storage-forbidden":[{"country":"CN"}]}`)},
		{name: "no claim about processing, which is not required", manifest: func(_ testing.TB, m *Manifest) { m.Claims = m.Claims[:1] }, inputs: residency(`{"storage-forbidden":[{"country":"CN"}]}`)},
		{name: "stored where it is not allowed", reason: "storage-not-allowed", manifest: place(0, at("AT", "", ""))},
		{name: "stored where the tenant does not allow it", reason: "storage-not-allowed", inputs: residency(`{"storage-allowed":[{"country":"DE"}]}`)},
		{name: "stored in a state that is not allowed", reason: "storage-not-allowed", inputs: residency(`{"storage-allowed":[{"country":"DE","state":"DE-HE"},{"country":"FR"}]}`)},
		{name: "stored in a forbidden country", reason: "storage-forbidden", manifest: func(_ testing.TB, m *Manifest) {
			m.Use.StorageAllowed = nil
			m.Claims[0].Locations[0] = Location{Geography{"US", "US-VA"}, ""}
		}},
		{name: "stored where the tenant forbids it", reason: "storage-forbidden", inputs: residency(`{"storage-forbidden":[{"country":"DE","state":"DE-BE"}]}`)},
		{name: "perhaps stored in a forbidden state", reason: "storage-forbidden", inputs: residency(`{"storage-forbidden":[{"country":"FR","state":"FR-13"}]}`)},
		{name: "not stored in a forbidden state", inputs: residency(`{"storage-forbidden":[{"country":"DE","state":"DE-BY"}]}`)},
		{name: "not allowed and forbidden", reason: "storage-not-allowed", manifest: place(0, at("US", "", ""))},
		{name: "processed in a country of which only a state is included", reason: "processing-not-included", manifest: place(1, at("DE", "", ""))},
		{name: "processed in an excluded country", reason: "processing-excluded", manifest: func(_ testing.TB, m *Manifest) {
			m.Use.ProcessingIncluded = nil
			m.Claims[1].Locations[0] = Location{Geography{"US", ""}, "gcp:us-east4"}
		}},
		{name: "processed where the tenant excludes it", reason: "processing-excluded", inputs: residency(`{"processing-excluded":[{"country":"DE"}]}`)},
		{name: "Hong Kong is not China", manifest: func(_ testing.TB, m *Manifest) {
			m.Use = nil
			m.Claims[0].Locations[0] = Location{Geography{"HK", ""}, "azure:eastasia"}
		}, inputs: residency(`{"storage-forbidden":[{"country":"CN"}]}`)},
	}
}

func licenceBuilds() []build {
	allow := allowing("CC-BY-4.0", "CC0-1.0", "MIT", "Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0")
	return []build{
		{name: "allowed licences", inputs: allow},
		{name: "the other alternative is allowed", inputs: allowing("CC-BY-4.0", "CC0-1.0", "LicenseRef-acme-export", "GPL-2.0-only WITH Classpath-exception-2.0")},
		{name: "a malformed expression", reason: "license-malformed", manifest: licence("MIT AND")},
		{name: "operators in lower case", reason: "license-malformed", manifest: licence("MIT and Apache-2.0")},
		{name: "an unknown licence", reason: "license-unknown", manifest: licence("Acme-1.0")},
		{name: "a licence in another case", reason: "license-unknown", manifest: licence("mit")},
		{name: "an unknown exception", reason: "license-unknown", manifest: licence("MIT WITH Acme-exception")},
		{name: "NOASSERTION", reason: "license-unknown", manifest: licence("NOASSERTION")},
		{name: "a licence that an object inherits", reason: "license-unknown", manifest: licence("constructor")},
		{name: "a licence that is not allowed", reason: "license-not-allowed", manifest: licence("AGPL-3.0-only"), inputs: allow},
		{name: "a licence of a field set that is not allowed", reason: "license-not-allowed", inputs: allowing("CC-BY-4.0", "CC0-1.0", "MIT", "GPL-2.0-only WITH Classpath-exception-2.0")},
		{name: "without the exception it is not the same", reason: "license-not-allowed", manifest: licence("GPL-2.0-only"), inputs: allow},
		{name: "a later version is another licence", reason: "license-not-allowed", manifest: licence("GPL-2.0-or-later WITH Classpath-exception-2.0"), inputs: allow},
		{name: "nothing is allowed", reason: "license-not-allowed", inputs: allowing()},
	}
}

func privacyBuilds() []build {
	return []build{
		{name: "no privacy loss, which is required", reason: "privacy-missing", manifest: func(_ testing.TB, m *Manifest) { m.Privacy = nil }, inputs: epsilon(`{"epsilon":"1","delta":"0.1"}`)},
		{name: "another flavor", reason: "flavor-unsupported", manifest: privacyOf(func(p *Privacy) { p.Flavor = "Approximate DP" })},
		{name: "a flavor in another case", reason: "flavor-unsupported", manifest: privacyOf(func(p *Privacy) { p.Flavor = "Zero-Concentrated DP" })},
		{name: "no rho", reason: "privacy-parameters", manifest: privacyOf(func(p *Privacy) { p.Parameters.Rho = nil })},
		{name: "no delta", reason: "privacy-parameters", manifest: privacyOf(func(p *Privacy) { p.Parameters.Delta = nil })},
		{name: "no rho that is spent", reason: "privacy-parameters", manifest: privacyOf(func(p *Privacy) { p.SpentRho, p.SpentEpsilon = nil, optional("1") })},
		{name: "a delta with pure differential privacy", reason: "privacy-parameters", manifest: pureOf(func(p *Privacy) { p.Parameters.Delta = optional("0.1") })},
		{name: "Gaussian noise with pure differential privacy", reason: "privacy-parameters", manifest: pureOf(func(p *Privacy) { p.Mechanisms[0].Name = Gaussian })},
		{name: "a sensitivity that nobody signed for", reason: "claim-signer", manifest: func(t testing.TB, m *Manifest) { m.Privacy.SensitivityBy = signerOf(t, "platform") }},
		{name: "a sampler that nobody signed for", reason: "claim-signer", manifest: func(t testing.TB, m *Manifest) { m.Privacy.SamplerBy = signerOf(t, "platform") }},
		{name: "an epsilon that does not add up", reason: "epsilon-understated", manifest: pureOf(func(p *Privacy) { p.Parameters.Epsilon = decimal("0.749999999999999999999999999999") })},
		{name: "a rho that does not add up", reason: "rho-understated", manifest: privacyOf(func(p *Privacy) { p.Parameters.Rho = optional("0.119999999999999999999999999999") })},
		{name: "a sensitivity that is rounded down", reason: "rho-understated", manifest: privacyOf(func(p *Privacy) { p.Mechanisms[1].Sensitivity = rational("0.333333333333333333333333333334") })},
		{name: "an epsilon below rho", reason: "epsilon-understated", manifest: privacyOf(func(p *Privacy) { p.Parameters.Epsilon = decimal("0.1") })},
		{name: "an epsilon just too small", reason: "epsilon-understated", manifest: privacyOf(func(p *Privacy) {
			p.Parameters.Epsilon = SmallestEpsilon(*p.Parameters.Delta, *p.Parameters.Rho, 20).minus(1, 20)
		})},
		{name: "the smallest epsilon", manifest: privacyOf(func(p *Privacy) { p.Parameters.Epsilon = SmallestEpsilon(*p.Parameters.Delta, *p.Parameters.Rho, 20) })},
		{name: "an epsilon for another delta", reason: "epsilon-understated", manifest: privacyOf(func(p *Privacy) { p.Parameters.Delta = optional("0.000000001") })},
		{name: "less spent than by this export", reason: "spent-understated", manifest: privacyOf(func(p *Privacy) { p.SpentRho = optional("0.119") })},
		{name: "a budget that is exceeded", reason: "budget-exceeded", manifest: privacyOf(func(p *Privacy) { p.SpentRho = optional("0.3") })},
		{name: "a pure budget that is exceeded", reason: "budget-exceeded", manifest: pureOf(func(p *Privacy) { p.SpentEpsilon = optional("1.000000000000000000000000000001") })},
		{name: "another budget", reason: "budget-mismatch", inputs: epsilon(`{"budget":"acme-2025","epsilon":"9","delta":"0.000001"}`)},
		{name: "more than the tenant allows", reason: "epsilon-not-allowed", inputs: epsilon(`{"epsilon":"3","delta":"0.000001"}`)},
		{name: "as much as the tenant allows", inputs: epsilon(`{"epsilon":"4","delta":"0.000001"}`)},
		{name: "more than the tenant allows at its delta", reason: "epsilon-not-allowed", inputs: epsilon(`{"epsilon":"4","delta":"0.000000000001"}`)},
		{name: "more pure epsilon than the tenant allows", reason: "epsilon-not-allowed", manifest: pureOf(func(*Privacy) {}), inputs: epsilon(`{"epsilon":"0.7","delta":"0.1"}`)},
		{name: "tiny numbers", manifest: privacyOf(func(p *Privacy) {
			p.Mechanisms = []Mechanism{{Gaussian, rational("1/1000000"), rational("999999999999999999"), 1}}
			p.Parameters = Parameters{decimal("0.0000000000001"), optional("0.000000000000000000000000000001"), optional("0.000000000000000000000000000001")}
		})},
		{name: "huge numbers", reason: "rho-understated", manifest: privacyOf(func(p *Privacy) {
			p.Mechanisms = []Mechanism{{Gaussian, rational("999999999999999999"), rational("1/999999999999999999"), 1_000_000}}
		})},
	}
}

// outsideBuilds are the cases of steps 8 to 10.
func outsideBuilds() []build {
	spend := func(change func(a map[string]string)) func(testing.TB, []*item) []*item {
		return func(_ testing.TB, items []*item) []*item { change(items[2].attributes); return items }
	}
	seven, nine := uint64(7), uint64(5)
	return []build{
		{name: "the files", inputs: folder("good")},
		{name: "a missing file", reason: "file-missing", inputs: folder("missing")},
		{name: "an extra file", reason: "file-extra", inputs: folder("extra")},
		{name: "a file with a name in another case", reason: "file-missing", inputs: folder("renamed")},
		{name: "a changed file", reason: "file-digest", inputs: folder("changed")},
		{name: "a longer file", reason: "file-size", inputs: folder("longer")},
		{name: "a shorter file", reason: "file-size", inputs: folder("shorter")},
		{name: "a missing and an extra file", reason: "file-missing", inputs: folder("missing and extra")},
		{name: "the receipt", inputs: func(v *vector) { v.Receipt, v.Policies = "good with everything", []string{"log"} }},
		{name: "the receipt of another manifest", reason: "payload-mismatch", inputs: func(v *vector) { v.Receipt, v.Policies = "good with evidence", []string{"log"} }},
		{name: "a receipt that another log signed", reason: "checkpoint-unsigned", inputs: and(whole, func(v *vector) { v.Policies = []string{"other"} })},
		{name: "another tenant's stream key", reason: "stream-mismatch", inputs: and(whole, func(v *vector) { v.StreamKey = "globex" })},
		{name: "a manifest recorded as another kind", reason: "kind-mismatch", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[ownEntry].kind = "attestation"; return items }},
		{name: "a manifest recorded with another predicate type", reason: "predicate-type-mismatch", inputs: whole, log: func(_ testing.TB, items []*item) []*item {
			items[ownEntry].predicateType = "https://example.com"
			return items
		}},
		{name: "a stream that is no bundle", reason: "archive-malformed", inputs: and(whole, func(v *vector) { v.Stream = "truncated" })},
		{name: "a stream that hides an entry", reason: "stream-incomplete", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[6].hidden = &nine; return items }},
		{name: "a stream that hides an entry far ahead", reason: "stream-incomplete", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[6].hidden = &seven; return items }},
		{name: "a stream from before the manifest", reason: "entry-missing", inputs: and(whole, func(v *vector) { v.Stream = "short" })},
		{name: "another log of the same origin", reason: "entry-missing", inputs: and(whole, func(v *vector) { v.Stream = "good with evidence" })},
		{name: "a header with another amount", reason: "entry-differs", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[ownEntry].attributes["rho"] = "0.01"; return items }},
		{name: "evidence that does not exist", reason: "evidence-missing", manifest: withEvidence(1), inputs: whole},
		{name: "a spend whose header was erased", reason: "spend-unreadable", inputs: whole, log: func(_ testing.TB, items []*item) []*item {
			items[2].erased = true
			items[4] = &item{tenant: "acme", kind: "erasure", attributes: map[string]string{"entry": "2", "scope": "header-and-payload"}}
			return items
		}},
		{name: "a spend of another kind", reason: "spend-unreadable", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[2].kind = "attestation"; return items }},
		{name: "a spend without an amount", reason: "spend-unreadable", inputs: whole, log: spend(func(a map[string]string) { a["rho"] = "NaN" })},
		{name: "a spend of another flavor", reason: "spend-differs", inputs: whole, log: spend(func(a map[string]string) { a["flavor"] = PureDP })},
		{name: "a spend for another privacy unit", reason: "spend-differs", inputs: whole, log: spend(func(a map[string]string) { a["privacyUnit"] = "Event-level" })},
		{name: "a spend for another relation", reason: "spend-differs", inputs: whole, log: spend(func(a map[string]string) { a["neighboringRelation"] = "bounded" })},
		{name: "a spend that was left out", reason: "spent-understated", inputs: whole, log: spend(func(a map[string]string) { a["rho"] = "0.050000000000000000000000000001" })},
		{name: "everything without privacy", manifest: func(_ testing.TB, m *Manifest) { m.Privacy = nil }, inputs: and(whole, func(v *vector) { v.Epsilon = nil })},
		{name: "everything with pure differential privacy", manifest: pureOf(func(p *Privacy) {
			p.Parameters.Epsilon, p.SpentEpsilon, p.BudgetEpsilon = decimal("0.75"), optional("2.25"), decimal("3")
		}), inputs: and(whole, func(v *vector) { v.Epsilon = nil })},
	}
}

// withEvidence adds an evidence entry to the first claim: the first entry of
// the usual log, or one that does not exist.
func withEvidence(wrong byte) func(testing.TB, *Manifest) {
	return func(t testing.TB, m *Manifest) {
		l := newLog(t, logItems(t, nil, m)[:1])
		e := EvidenceEntry{0, l.leaves[0]}
		e.LeafHash[0] ^= wrong
		m.Claims[0].Evidence = []EvidenceEntry{e}
	}
}

func swapSubjects(s []byte) []byte {
	var st struct {
		Type          string            `json:"_type"`
		Subject       []json.RawMessage `json:"subject"`
		PredicateType string            `json:"predicateType"`
		Predicate     json.RawMessage   `json:"predicate"`
	}
	if err := json.Unmarshal(s, &st); err != nil {
		panic(err)
	}
	st.Subject[0], st.Subject[1] = st.Subject[1], st.Subject[0]
	text, _ := json.Marshal(st)
	return text
}

func gzipped(f []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(f)
	w.Close()
	return out.Bytes()
}

// inEnvelope changes a text of the envelope.
func inEnvelope(member string, change func(string) string) func([]byte) []byte {
	return func(f []byte) []byte {
		var file map[string]any
		if err := json.Unmarshal(f, &file); err != nil {
			panic(err)
		}
		env := file["dsseEnvelope"].(map[string]any)
		env[member] = change(env[member].(string))
		text, _ := json.Marshal(file)
		return text
	}
}

func inPayload(change func([]byte) []byte) func([]byte) []byte {
	return inEnvelope("payload", func(s string) string {
		b, _ := base64.StdEncoding.DecodeString(s)
		return base64.StdEncoding.EncodeToString(change(b))
	})
}

func signatures(change func([]any) []any) func([]byte) []byte {
	return func(f []byte) []byte {
		var file map[string]any
		if err := json.Unmarshal(f, &file); err != nil {
			panic(err)
		}
		env := file["dsseEnvelope"].(map[string]any)
		env["signatures"] = change(env["signatures"].([]any))
		text, _ := json.Marshal(file)
		return text
	}
}

func inSignature(change func([]byte)) func([]byte) []byte {
	return signatures(func(all []any) []any {
		one := all[0].(map[string]any)
		b, _ := base64.StdEncoding.DecodeString(one["sig"].(string))
		change(b)
		one["sig"] = base64.StdEncoding.EncodeToString(b)
		return all
	})
}

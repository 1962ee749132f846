package bundle

import (
	"bytes"
	"compress/gzip"
	"strings"
)

// ofIncident returns a change to a bundle about an incident, with a further
// change. Nil: none.
func ofIncident(further func(b *build)) func(b *build) {
	return func(b *build) {
		entry := func(incident string) *item {
			return &item{tenant: "acme", kind: "triage-action", payload: "{}", attributes: map[string]string{"incident": incident}}
		}
		b.items[2], b.items[3] = entry("T/0123456789ab-1"), entry("T/0123456789ab-2")
		b.items[3].omit = true
		b.manifest = func(m *Manifest) { m.Selection, m.Artifacts = Selection{Incident: "T/0123456789ab-1"}, nil }
		if further != nil {
			further(b)
		}
	}
}

// adversarial are bundles for which the specification is easily misread. A
// bundle without a reason verifies.
var adversarial = []struct {
	name   string
	reason Code
	change func(b *build)
}{
	{"compressed", ArchiveMalformed, func(b *build) { b.archive = gzipped }},
	{"a size with a space", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { a[134] = ' '; return a } }},
	{"a name of 101 characters", ArchiveMalformed, func(b *build) {
		b.archive = func(a []byte) []byte { copy(a, strings.Repeat("a", 101)); return a }
	}},
	{"a manifest with an empty release", ManifestMalformed, func(b *build) { b.text = replaced(`"selection":{`, `"selection":{"release":"",`) }},
	{"a manifest with an empty subject", ManifestMalformed, func(b *build) { b.text = replaced(`"subjects":[`, `"subjects":["",`) }},
	{"a manifest with no subjects", ManifestMalformed, func(b *build) {
		b.manifest = func(m *Manifest) { m.Selection.Subjects = []string{"x"} }
		b.text = replaced(`"subjects":["x"]`, `"subjects":[]`)
	}},
	{"a manifest with a subject that is no digest", "", func(b *build) { b.manifest = func(m *Manifest) { m.Selection.Subjects = []string{"x"} } }},
	{"a manifest whose selection has another time", ManifestMalformed, func(b *build) { b.text = replaced(`"selection":{`, `"since":1,"selection":{"since":2,`) }},
	{"a manifest with a time that is selected only", ManifestMalformed, func(b *build) { b.text = replaced(`"selection":{`, `"selection":{"since":0,`) }},
	{"a manifest with a time that is not selected", "", func(b *build) { b.text = replaced(`"selection":{`, `"since":1,"selection":{`) }},
	{"a manifest without artifacts in its array", ManifestMalformed, func(b *build) {
		b.manifest = func(m *Manifest) { m.Artifacts = nil }
		b.text = replaced(`"members":[`, `"artifacts":[],"members":[`)
	}},
	{"a manifest with an artifact of an empty type", ManifestMalformed, func(b *build) { b.text = replaced(`"artifacts":[{`, `"artifacts":[{"type":"",`) }},
	{"a manifest with an empty part", ManifestMalformed, func(b *build) { b.text = replaced(`"artifacts":[{`, `"artifacts":[{"parts":[],`) }},
	{"a manifest with an empty algorithm", ManifestMalformed, func(b *build) { b.text = replaced(`"digest":{`, `"digest":{"":"x",`) }},
	{"an incident", "", ofIncident(nil)},
	{"an incident whose entry is omitted", PayloadOmitted, ofIncident(func(b *build) { b.items[2].omit = true })},
	{"an incident without a request about all incidents", PayloadOmitted, ofIncident(func(b *build) { b.items[3].attributes["incident"] = "*" })},
	{"an incident that an entry of another kind names", "", ofIncident(func(b *build) {
		b.items[3].kind, b.items[3].attributes["incident"] = "attestation", "T/0123456789ab-1"
	})},
	{"an incident without a key event", PayloadOmitted, ofIncident(func(b *build) { b.items[9].omit = true })},
	{"an empty incident", ManifestMalformed, func(b *build) { b.text = replaced(`"selection":{`, `"selection":{"incident":"",`) }},
	{"an incident and subjects", ManifestMalformed, func(b *build) { b.text = replaced(`"selection":{`, `"selection":{"incident":"T/0123456789ab-1",`) }},
	{"an incident compared with a release", ManifestMalformed, ofIncident(func(b *build) { b.text = replaced(`"selection":{`, `"selection":{"previous":"1.6.0",`) })},
	{"an incident and artifacts", ManifestMalformed, ofIncident(func(b *build) {
		b.text = replaced(`"members":[`, `"artifacts":[{"digest":{"sha256":"x"}}],"members":[`)
	})},
	{"an incident and a time", ManifestMalformed, ofIncident(func(b *build) { b.text = replaced(`"members":[`, `"since":1,"members":[`) })},
	{"a manifest with __proto__", ManifestMalformed, func(b *build) { b.text = replaced(`{"mediaType"`, `{"__proto__":{},"mediaType"`) }},
	{"a manifest with invalid UTF-8", ManifestMalformed, func(b *build) { b.text = replaced(`"tenant":"acme"`, "\"tenant\":\"acme\xff\"") }},
	{"a manifest with a fraction", ManifestMalformed, func(b *build) { b.text = replaced(`"size":10,`, `"size":10.0,`) }},
	{"a manifest with 1e400", ManifestMalformed, func(b *build) { b.text = replaced(`"time":1`, `"time":1e400,"x":1`) }},
	{"a manifest in another version with a member twice", ManifestMalformed, func(b *build) {
		b.text = func(text []byte) []byte {
			return replaced("v1+json", "v2+json")(replaced(`"size":10,`, `"size":10,"size":10,`)(text))
		}
	}},
	{"a manifest in another version with an unknown member", ManifestVersion, func(b *build) {
		b.text = func(text []byte) []byte {
			return replaced("v1+json", "v2+json")(replaced(`"size":10,`, `"size":10,"x":1,`)(text))
		}
	}},
	{"a manifest without a media type", ManifestMalformed, func(b *build) { b.text = replaced(`"mediaType":"`+ManifestMediaType+`",`, ``) }},
	{"a manifest with white space", "", func(b *build) { b.text = replaced(`{"mediaType"`, " {\r\n\t\"mediaType\"") }},
	{"a manifest with a digest of a member in upper case", ManifestMalformed, func(b *build) {
		b.text = func(text []byte) []byte {
			i := bytes.Index(text, []byte(`"sha256":"`)) + 10
			i += bytes.Index(text[i:], []byte(`"sha256":"`)) + 10 // that of the first member
			copy(text[i:], bytes.ToUpper(text[i:i+64]))
			return text
		}
	}},
	{"records with white space", "", func(b *build) {
		b.members = func(all map[string][]byte) {
			all[EntriesName(0)] = bytes.ReplaceAll(all[EntriesName(0)], []byte("}\n"), []byte(" }\r\n"))
		}
	}},
	{"an empty line after the records", RecordMalformed, func(b *build) {
		b.members = func(all map[string][]byte) { all[EntriesName(0)] = append(all[EntriesName(0)], '\n') }
	}},
	{"a member without records", RecordMalformed, func(b *build) { b.members = func(all map[string][]byte) { all[EntriesName(3)] = nil } }},
	{"a record with a header and its hash", RecordMalformed, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[EntriesName(0)] = replaced(`"header":`, `"headerHash":"`+zeros32()+`","header":`)(all[EntriesName(0)])
		}
	}},
	{"a salt of a payload that is omitted", RecordMalformed, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[EntriesName(0)] = replaced(`"payload":"omitted"`, `"payload":"omitted","payloadSalt":"`+zeros32()+`"`)(all[EntriesName(0)])
		}
	}},
	{"an empty header", HeaderMalformed, func(b *build) { b.records = func(all []*Record) { all[1].Opening.Content = nil } }},
	{"a header of another log beyond the tree", RecordOrder, func(b *build) {
		b.items[9].origin = "other.example"
		b.records = func(all []*Record) { all[len(all)-1].Index = 10 }
	}},
	{"another time and a header of another log", HeaderForeign, func(b *build) {
		b.items[2].origin = "other.example"
		b.records = func(all []*Record) { all[1].Time++ }
	}},
	{"an erasure of an index with a leading zero", ErasureMismatch, func(b *build) { b.items[6].attributes["entry"] = "04" }},
	{"an erasure of an index with a sign", ErasureMismatch, func(b *build) { b.items[6].attributes["entry"] = "+4" }},
	{"an erasure of the largest index", ErasureMismatch, func(b *build) { b.items[6].attributes["entry"] = "18446744073709551620" }},
	{"an erasure of an unknown scope", ErasureMismatch, func(b *build) { b.items[6].attributes["scope"] = "header" }},
	{"an erasure of another tenant's entry", "", func(b *build) {
		b.items[6].attributes["entry"] = "1"
		b.items[4].noPayload = false
	}},
	{"a second erasure, of the payload only", "", func(b *build) {
		b.items[9].kind, b.items[9].omit, b.items[9].attributes = "erasure", true, map[string]string{"entry": "5", "scope": "payload"}
	}},
	{"an unexpected payload before a changed one", PayloadMismatch, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[PayloadName(3, "application/json")] = []byte(`{"scan":2}`)
			all[PayloadName(9, "application/json")] = []byte(`{"x":1}`)
		}
	}},
	{"an omitted payload after a changed one", PayloadMismatch, func(b *build) {
		b.items[9].omit = true
		b.members = func(all map[string][]byte) { all[PayloadName(2, "application/json")] = []byte(`{"scan":3}`) }
	}},
	{"a payload of a media type with parameters", "", func(b *build) { b.items[2].mediaType = " application/spdx+json\t; charset=utf-8" }},
	{"a payload of a media type in upper case", "", func(b *build) { b.items[2].mediaType = "application/JSON" }},
	{"a payload of a media type after a space of Unicode", "", func(b *build) { b.items[2].mediaType = "application/json\u00a0" }},
	{"a digest of the artifact in upper case", PayloadOmitted, func(b *build) {
		b.items[3].subject = strings.ToUpper(selectedDigest)
	}},
	{"a full receipt", ReceiptMismatch, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[ReceiptName(2)] = replaced(`"detached"`, `"full"`)(all[ReceiptName(2)])
		}
	}},
	{"a receipt with white space", "", func(b *build) {
		b.members = func(all map[string][]byte) { all[ReceiptName(2)] = append([]byte(" \n"), all[ReceiptName(2)]...) }
	}},
	{"a receipt with another signature line", ReceiptMismatch, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[ReceiptName(2)] = replaced(`\n"`, `\n\u2014 other AAAAAAAA\n"`)(all[ReceiptName(2)])
		}
	}},
	{"a stream without entries", "", func(b *build) {
		for _, it := range b.items {
			*it = item{tenant: "globex", kind: "attestation", payload: "theirs"}
		}
	}},
	{"a stream without entries at another time", "", func(b *build) {
		for _, it := range b.items {
			*it = item{tenant: "globex", kind: "attestation", payload: "theirs"}
		}
		b.manifest = func(m *Manifest) { m.Time = 7 }
	}},
	{"no entries, but a last one", ManifestMalformed, func(b *build) { b.manifest = func(m *Manifest) { m.Stream.Entries = 0 } }},
}

// zeros32 returns the base64 of 32 bytes.
func zeros32() string { return strings.Repeat("A", 43) + "=" }

func gzipped(a []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(a)
	w.Close()
	return out.Bytes()
}

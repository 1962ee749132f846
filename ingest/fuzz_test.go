package ingest

import (
	"testing"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

func seeds(f *testing.F) (all [][]byte) {
	f.Helper()
	for _, path := range []string{
		provenance, "examples/bundle-publish.json", statement, bundles + "dsse.sigstore.json", bundles + "othername.sigstore.json", bundles + "public-key-validity.sigstore.json",
	} {
		all = append(all, realEvidence(f, path))
	}
	all = append(all, []byte(envelope(intoto.MediaType, all[2], "key")), []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"a":"b"}}],"predicateType":"p"}`), []byte("{}"), nil)
	return all
}

// checkContents checks that contents survive encoding in a header and parsing.
func checkContents(t *testing.T, c contents) {
	t.Helper()
	h := &entry.Header{
		Origin: "log", Tenant: "acme", Kind: "attestation", MediaType: c.mediaType, Subjects: c.subjects, PredicateType: c.predicateType, Signers: c.signers,
		Materials: c.materials, Controls: c.controls, Attributes: c.attributes,
		Submitter: "token:acme", Verification: entry.Verification{Result: entry.Unverified},
	}
	b, err := h.AppendJSON(nil)
	if err != nil {
		return // refused as a submission
	}
	if _, err := entry.ParseHeader(b); err != nil {
		t.Fatalf("the header cannot be parsed: %v\n%s", err, b)
	}
}

func FuzzAttestation(f *testing.F) {
	for _, s := range seeds(f) {
		for _, mediaType := range []string{"", dsse.MediaType, intoto.MediaType, sigstore.MediaTypePrefix + ".v0.3+json", "application/json", "text/plain"} {
			f.Add(mediaType, s)
		}
	}
	f.Fuzz(func(t *testing.T, mediaType string, payload []byte) {
		is, _ := recognise("", payload)
		c, err := readAttestation(mediaType, payload, time.Time{})
		if err != nil {
			return
		}
		if mediaType == "" && is == "" || c.mediaType == "" {
			t.Fatalf("accepted without a media type: %q", payload)
		}
		checkContents(t, c)
	})
}

func FuzzStatement(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := intoto.Parse(data); err == nil {
			checkContents(t, contents{mediaType: intoto.MediaType, subjects: s.Subjects, predicateType: s.PredicateType})
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := dsse.Parse(data); err == nil {
			checkContents(t, contents{mediaType: dsse.MediaType, signers: e.Signers})
		}
	})
}

func FuzzBundle(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := sigstore.Parse(data); err == nil {
			checkContents(t, contents{mediaType: b.MediaType, subjects: b.Subjects, predicateType: b.PredicateType, signers: b.Signers})
		}
	})
}

// FuzzTyped reads documents as each typed kind.
func FuzzTyped(f *testing.F) {
	for name, example := range examples(f) {
		f.Add(name, example)
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		k, ok := table[name]
		if !ok || !k.Typed() {
			return
		}
		if c, err := k.read("", data, exampleTime); err == nil {
			checkContents(t, c)
		}
	})
}

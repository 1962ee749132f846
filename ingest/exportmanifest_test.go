package ingest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/intoto"
)

// newManifest returns the statement of an export, and its envelope.
func newManifest(t *testing.T) (statement, signed string) {
	t.Helper()
	seed := sha256.Sum256([]byte("exporter"))
	key := ed25519.NewKeyFromSeed(seed[:])
	public, err := dsse.NewKey("", key.Public())
	if err != nil {
		t.Fatal(err)
	}
	by := entry.Signer{KeyID: public.ID}
	decimal := func(s string) export.Decimal {
		d, err := export.ParseDecimal(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, err := export.ParseRational("1/2")
	if err != nil {
		t.Fatal(err)
	}
	delta, rho, spent := decimal("0.000001"), decimal("0.5"), decimal("0.75")
	m := &export.Manifest{Tenant: "acme", ExportID: "e-1", Created: "2026-11-29T06:00:00Z", SPDXListVersion: export.SPDXListVersion(),
		Files:  []export.File{{Name: "a.csv", SHA256: sha256.Sum256(nil), MediaType: "text/csv", License: []string{"MIT", "CC0-1.0"}}, {Name: "b.csv", SHA256: sha256.Sum256(nil), MediaType: "text/csv", License: []string{"MIT"}}},
		Claims: []export.Claim{{Activity: export.Storage, ClaimedBy: by, Locations: []export.Location{{Geography: export.Geography{Country: "DE", State: "DE-HE"}}, {Geography: export.Geography{Country: "IE"}, CloudRegion: "aws:eu-west-1"}}}},
		Privacy: &export.Privacy{Flavor: export.ZCDP, Unit: "User-level", Relation: "bounded", Parameters: export.Parameters{Epsilon: decimal("6"), Delta: &delta, Rho: &rho},
			Mechanisms: []export.Mechanism{{Name: export.Gaussian, Sensitivity: one, Scale: one, Count: 1}}, SensitivityBy: by, Sampler: "x", SamplerBy: by, Budget: "b", BudgetEpsilon: decimal("9"), BudgetDelta: &delta, SpentRho: &spent}}
	text, err := m.AppendStatement(nil)
	if err != nil {
		t.Fatal(err)
	}
	env, err := dsse.Sign(intoto.MediaType, text, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), string(env)
}

// TestExportManifest records a signed manifest, whose header has what a stream
// proves about its budget.
func TestExportManifest(t *testing.T) {
	in, who, _ := newIngester(t)
	statement, signed := newManifest(t)
	results, err := in.Append(t.Context(), who, []Submission{{Kind: "export-manifest", Payload: []byte(signed)}, {Kind: "export-manifest", MediaType: dsse.MediaType, Payload: []byte(signed)}, {Kind: "export-manifest", Payload: examples(t)["export-manifest"]}})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("submission %d: %v", i, r.Err)
		}
	}
	if results[1].Index != results[0].Index || results[2].Index == results[0].Index {
		t.Errorf("entries %d, %d and %d: want the first twice", results[0].Index, results[1].Index, results[2].Index)
	}
	h := headers(t, in, who)
	got := h[slices.IndexFunc(h, func(h *entry.Header) bool { return h.PredicateType == export.PredicateType })]
	want := map[string]string{"name": "e-1", "created": "2026-11-29T06:00:00Z", "files": "2", "region.1": "DE-HE", "region.2": "aws:eu-west-1", "license.1": "CC0-1.0", "license.2": "MIT",
		"budget": "b", "flavor": export.ZCDP, "privacyUnit": "User-level", "neighboringRelation": "bounded", "epsilon": "6", "delta": "0.000001", "rho": "0.5"}
	if got.Kind != "export-manifest" || got.MediaType != dsse.MediaType || len(got.Subjects) != 3 || got.Subjects[1].Name != "b.csv" || got.Subjects[2].Name != "e-1" || "sha256:"+got.Subjects[2].Digest["sha256"] != entry.SHA256([]byte(signed)) || !maps.Equal(got.Attributes, want) {
		t.Errorf("header %+v, want the attributes %v", got, want)
	}
	for _, c := range []struct{ name, kind, payload, wrong string }{
		{"as an attestation", "attestation", signed, "use the kind export-manifest"},
		{"a statement as an attestation", "attestation", statement, "use the kind export-manifest"},
		{"not signed", "export-manifest", statement, "is not signed"},
		{"malformed", "export-manifest", envelope(intoto.MediaType, []byte(strings.Replace(statement, `"rho":"0.5"`, `"rho":"NaN"`, 1)), "k"), "rho"},
		{"another predicate", "export-manifest", envelope(intoto.MediaType, []byte(strings.Replace(statement, "manifest/v2", "manifest/v1", 1)), "k"), "predicateType"},
	} {
		results, err := in.Append(t.Context(), who, []Submission{{Kind: c.kind, Payload: []byte(c.payload)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := results[0].Err; err == nil || !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want an error about %q", c.name, err, c.wrong)
		}
	}
}

package ingest

import (
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/verifiers/intoto"
)

// TestTypedKindsAsPredicates checks that a document of a typed kind is accepted
// as the predicate of a statement, with its deviations from the kind.
func TestTypedKindsAsPredicates(t *testing.T) {
	const good = `{"entity":"Asset","checkpoint":"50%","acaScore":0.96,"ts":"2026-04-19T12:00Z","rollbackReady":true}`
	in := &Ingester{MaxPayload: 1 << 20}
	for _, test := range []struct{ kind, predicate, want string }{
		{"backfill-checkpoint", good, ""},
		{"backfill-checkpoint", strings.Replace(good, "0.96", "1.5", 1), "predicate: acaScore"},
		{"backfill-checkpoint", strings.Replace(good, "entity", "thing", 1), "predicate: "},
		{"backfill-checkpoint", `{}`, "predicate: "},
		{"attestation", `{}`, "predicateType: kind attestation has no documents"},
		{"unheard-of", `{}`, "predicateType: kind unheard-of has no documents"},
	} {
		statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"aa"}}],"predicateType":"` + intoto.KindType(test.kind) + `","predicate":` + test.predicate + `}`
		c, err := in.accept(&Submission{Kind: "attestation", Payload: []byte(statement)})
		if err != nil {
			t.Errorf("%s %s: %v", test.kind, test.predicate, err)
			continue
		}
		got := strings.Join(c.deviations(), "\n")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) || c.statement.Conforms() != (test.want == "") {
			t.Errorf("%s %s: %q, want %q", test.kind, test.predicate, got, test.want)
		}
	}
	other := &intoto.Statement{PredicateType: "https://example.com/p", Predicate: []byte("{}")}
	if CheckPredicate(other, time.Now()); other.Deviations.Count > 0 {
		t.Errorf("a type of another definition: %v", other.Deviations)
	}
	none := &intoto.Statement{PredicateType: intoto.KindType("backfill-checkpoint")}
	if CheckPredicate(none, time.Now()); none.Deviations.Count == 0 {
		t.Error("an absent predicate has no deviations")
	}
}

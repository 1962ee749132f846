package ingest

import (
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/verifiers/intoto"
)

// A document of one of the kinds may also come signed, as the predicate of a statement. It must then be as good as one that comes by itself.
func TestTypedKindsAsPredicates(t *testing.T) {
	const good = `{"entity":"Asset","checkpoint":"50%","acaScore":0.96,"ts":"2026-04-19T12:00Z","rollbackReady":true}`
	in := &Ingester{MaxPayload: 1 << 20}
	for _, test := range []struct{ kind, predicate, want string }{
		{"backfill-checkpoint", good, ""},
		{"backfill-checkpoint", strings.Replace(good, "0.96", "1.5", 1), "in-toto statement: predicate: acaScore"},
		{"backfill-checkpoint", strings.Replace(good, "entity", "thing", 1), "predicate: "},
		{"backfill-checkpoint", `{}`, "predicate: "},
		{"attestation", `{}`, "predicateType: there are no documents of kind attestation"},
		{"unheard-of", `{}`, "predicateType: there are no documents of kind unheard-of"},
	} {
		statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"aa"}}],"predicateType":"` + intoto.KindType(test.kind) + `","predicate":` + test.predicate + `}`
		_, err := in.accept(&Submission{Kind: "attestation", Payload: []byte(statement)})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v, want %q", test.kind, test.predicate, err, test.want)
		}
	}
	if err := CheckPredicate("https://example.com/p", []byte("anything"), time.Now()); err != nil {
		t.Errorf("another's type: %v", err)
	}
	if err := CheckPredicate(intoto.KindType("backfill-checkpoint"), nil, time.Now()); err == nil {
		t.Error("no predicate will do")
	}
}

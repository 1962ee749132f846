package api

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// TestCoveragePace checks that coverage is computed again after new entries or
// another stage only, at most a tenth of the time, and never by a scrape.
func TestCoveragePace(t *testing.T) {
	s, ctx := wholeServer(t), context.Background()
	tenant := &auth.Tenant{Name: "acme", Stream: ledger.NewStream(entry.StreamKey(sha256.Sum256([]byte("acme"))))}
	settings := *s.settings.Load()
	settings.Tenants = []auth.Tenant{*tenant}
	if err := s.Reload(ctx, settings); err != nil {
		t.Fatal(err)
	}
	due := func(when, stage string, want bool) {
		t.Helper()
		size, got := s.coverage.begin(ctx, tenant.Stream, stage)
		if got != want {
			t.Errorf("%s: it is to be computed: %t", when, got)
		}
		if got {
			if _, again := s.coverage.begin(ctx, tenant.Stream, stage); again {
				t.Errorf("%s: it is computed twice at once", when)
			}
			s.coverage.compute(ctx, tenant, stage, size)
		}
	}
	rested := func() { // the time for which the cost lets the stream rest
		s.coverage.streams[tenant.Stream.ID].next = time.Time{}
	}
	append1 := func(text string) {
		t.Helper()
		results, err := s.ingest.Append(ctx, ingest.Submitter{Tenant: "acme", Identity: "token:acme", Stream: tenant.Stream}, []ingest.Submission{{Kind: "attestation", MediaType: "text/plain", Payload: []byte(text)}})
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
	}
	exposedMetrics(t, s)
	if s.coverage.of(tenant.Stream) != nil {
		t.Error("a scrape computes the coverage")
	}
	due("at first", "deploy", true)
	rested()
	due("without new entries", "deploy", false)
	exposedMetrics(t, s)
	append1("one")
	due("after an entry", "deploy", true)
	one := s.coverage.streams[tenant.Stream.ID]
	if one.next.Before(one.from) {
		t.Error("the stream does not rest")
	}
	one.next = time.Now().Add(time.Hour)
	append1("two")
	due("while it rests", "deploy", false)
	rested()
	due("after it", "deploy", true)
	rested()
	due("at another stage", "build", true)
	rested()
	one = s.coverage.streams[tenant.Stream.ID]
	one.from = one.from.Add(-coverageAge)
	due("after five minutes", "build", true)
	s.coverage.forgetOthers(nil)
	if len(s.coverage.streams) != 0 {
		t.Error("the stream of a removed tenant is kept")
	}
}

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/facts"
	"muniment.dev/muniment/verifiers/intoto"
)

const (
	scanFindings = 10_000
	factsRounds  = 20
)

// factsCost measures what facts cost at intake, and the join of a scan with
// VEX.
func (b *bench) factsCost() {
	l := b.open("facts")
	defer l.close()
	none := l.appendScans("https://example.com/scan")
	scan := l.appendScans(intoto.CosignVuln)
	row("scan of 10,000 findings appended, without facts", none.String(), "")
	row("  with facts", scan.String(), fmt.Sprintf("%.2f× without", float64(scan)/float64(none)))

	ctx := context.Background()
	subject := facts.Subject{Digests: map[string]string{"sha256": strings.Repeat("aa", 32)}}
	last := l.ledger.Published().Size - 1
	r := l.appendStatement(intoto.OpenVEX, vexDocument())
	stored := map[uint64][]byte{}
	for _, index := range []uint64{last, r} {
		e, err := l.ledger.Entry(ctx, l.who.Stream, index)
		check(err)
		stored[index], err = l.ledger.Facts(ctx, e)
		check(err)
	}
	best := time.Hour
	for range factsRounds {
		start := time.Now()
		var all []*facts.Evidence
		for _, index := range []uint64{last, r} {
			f, err := facts.Decode(stored[index])
			check(err)
			all = append(all, &facts.Evidence{Index: index, Time: uint64(start.UnixMilli()), Subjects: []entry.Subject{{Digest: subject.Digests}}, Facts: f})
		}
		findings, err := facts.Unresolved(subject, all[:1], all[1:])
		check(err)
		if len(findings) != scanFindings/2 {
			check(fmt.Errorf("%d unresolved vulnerabilities, want %d", len(findings), scanFindings/2))
		}
		best = min(best, time.Since(start))
	}
	goal := 20 * time.Millisecond
	row("scan of 10,000 findings with VEX statements, decoded and joined", best.Round(10*time.Microsecond).String(), fmt.Sprintf("goal %s: %.2f×", goal, float64(goal)/float64(best)))
}

// appendScans returns the shortest time in which a scan was appended under a
// predicate type.
func (l *log) appendScans(predicateType string) time.Duration {
	best := time.Hour
	for i := range factsRounds {
		document := scanDocument(i)
		start := time.Now()
		l.appendStatement(predicateType, document)
		best = min(best, time.Since(start))
	}
	return best.Round(10 * time.Microsecond)
}

// appendStatement appends a statement about the subject, and returns its index.
func (l *log) appendStatement(predicateType, predicate string) uint64 {
	payload := fmt.Sprintf(`{"_type":%q,"subject":[{"name":"app","digest":{"sha256":%q}}],"predicateType":%q,"predicate":%s}`,
		intoto.TypeV1, strings.Repeat("aa", 32), predicateType, predicate)
	results, err := l.ingest.Append(context.Background(), l.who, []ingest.Submission{{Kind: kindname.Attestation, Payload: []byte(payload)}})
	check(err)
	check(results[0].Err)
	return results[0].Index
}

// scanDocument returns a predicate with a report of grype.
func scanDocument(round int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"scanner":{"uri":"https://example.com/grype","version":"%d","db":{},"result":{"matches":[`, round)
	for i := range scanFindings {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"vulnerability":{"id":"CVE-2026-%d","severity":"High","description":%q},"artifact":{"name":"pkg%d","version":"1.%d","purl":"pkg:deb/debian/pkg%d@1.%d?arch=amd64"}}`,
			i, strings.Repeat("text ", 100), i%400, i%30, i%400, i%30)
	}
	b.WriteString(`]}},"metadata":{"scanStartedOn":"2026-04-19T12:00:00Z","scanFinishedOn":"2026-04-19T12:00:01Z"}}`)
	return b.String()
}

// vexDocument returns an OpenVEX document about every second finding.
func vexDocument() string {
	var b strings.Builder
	b.WriteString(`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://example.com/vex","author":"example","timestamp":"2026-04-20T12:00:00Z","version":1,"statements":[`)
	for i := 0; i < scanFindings; i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"vulnerability":{"name":"CVE-2026-%d"},"status":"not_affected","justification":"component_not_present","products":[{"@id":"pkg:deb/debian/pkg%d"}]}`, i, i%400)
	}
	b.WriteString(`]}`)
	return b.String()
}

package facts

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/intoto"
)

// TestSeveritiesOfScanners checks that a scanner with a lower severity does not
// hide the vulnerability that another reports with a higher one.
func TestSeveritiesOfScanners(t *testing.T) {
	of := func(index uint64, scanner string, severity Severity, score Score) *Evidence {
		v := Vulnerability{ID: "CVE-2026-1", Severity: severity, Score: score, Package: Package{Name: "lib"}}
		return &Evidence{Index: index, Facts: &Facts{Scan: &Scan{Scanner: Tool{Name: scanner}, Vulnerabilities: []Vulnerability{v}}}}
	}
	found, err := Unresolved(Subject{}, []*Evidence{of(1, "a", Low, 10), of(2, "b", Critical, 98), of(3, "c", Critical, 98)}, nil)
	if err != nil || len(found) != 2 || found[1].Severity != Critical {
		t.Errorf("got %+v, %v, want the vulnerability with both severities", found, err)
	}
}

// TestManyProducts checks that few bytes of VEX statements cannot become many
// statements about packages.
func TestManyProducts(t *testing.T) {
	s := Statement{ID: "CVE-2026-1", Status: NotAffected}
	for i := range 64 {
		s.Aliases = append(s.Aliases, fmt.Sprintf("GHSA-%d", i))
	}
	for i := range maxFiled/64 + 1 {
		s.Products = append(s.Products, Product{Identity: Identity{PURL: fmt.Sprintf("pkg:npm/p@%d", i)}})
	}
	vex := &Evidence{Index: 1, Facts: &Facts{VEX: &VEX{Statements: []Statement{s}}}}
	j, err := newJoin(Subject{}, []*Evidence{vex})
	if !errors.Is(err, ErrUndecided) {
		t.Errorf("%v and %v, want %v", j, err, ErrUndecided)
	}
}

// scanAndVEX returns a scan with n findings and a VEX document about half of
// them, decoded as a reader of the ledger does.
func scanAndVEX(t testing.TB, n int) (scan, vex []byte, subject Subject) {
	t.Helper()
	extract := func(predicateType, document string) []byte {
		f, err := Extract(t.Context(), free, header(predicateType, len(document)), &intoto.Statement{Predicate: []byte(document)}, nil)
		if err != nil || f.ProblemCount > 0 {
			t.Fatalf("%v, %v", err, f.Problems)
		}
		return f.Encode()
	}
	scan = extract(intoto.CosignVuln, grype(n, func(b *strings.Builder, i int) {
		fmt.Fprintf(b, `{"vulnerability":{"id":"GHSA-aaaa-%06d","severity":"High","fix":{"versions":["2.%d"]}},"relatedVulnerabilities":[{"id":"CVE-2026-%d"}],`, i, i%50, i)
		fmt.Fprintf(b, `"artifact":{"name":"pkg%d","version":"1.%d","purl":"pkg:deb/debian/pkg%d@1.%d?arch=amd64&distro=debian-12"}}`, i%400, i%30, i%400, i%30)
	}))
	var b strings.Builder
	b.WriteString(`{"timestamp":"2026-04-20T00:00:00Z","statements":[`)
	for i := 0; i < n; i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"vulnerability":{"name":"CVE-2026-%d"},"status":"not_affected","products":[{"@id":"app","hashes":{"sha-256":"%064d"},"subcomponents":[{"@id":"pkg:deb/debian/pkg%d"}]}]}`, i, 1, i%400)
	}
	b.WriteString(`]}`)
	return scan, extract(intoto.OpenVEX, b.String()), Subject{Digests: map[string]string{"sha256": fmt.Sprintf("%064d", 1)}}
}

func unresolved(t testing.TB, scan, vex []byte, subject Subject) ([]Finding, error) {
	t.Helper()
	var all []*Evidence
	for i, data := range [][]byte{scan, vex} {
		f, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &Evidence{Index: uint64(i), Time: 1 << 50, Subjects: []entry.Subject{{Digest: subject.Digests}}, Facts: f})
	}
	return Unresolved(subject, all[:1], all[1:])
}

func TestUnresolvedOfManyFindings(t *testing.T) {
	scan, vex, subject := scanAndVEX(t, 10_000)
	findings, err := unresolved(t, scan, vex, subject)
	if err != nil || len(findings) != 5_000 {
		t.Errorf("%d findings, want 5000 (%v)", len(findings), err)
	}
}

// Statements that differ only in their qualifiers are compared one by one, up
// to a limit.
func TestComparisonsAreLimited(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"statements":[{"vulnerability":"a","status":"fixed","products":["pkg:npm/p?q=0"`)
	for i := range 20_000 {
		fmt.Fprintf(&b, `,"pkg:npm/p?q=x%d"`, i)
	}
	b.WriteString(`]}]}`)
	vex := extract(t, intoto.OpenVEX, b.String())
	scan := extract(t, intoto.CosignVuln, grype(1000, func(b *strings.Builder, i int) {
		fmt.Fprintf(b, `{"vulnerability":{"id":"a"},"artifact":{"name":"%d","purl":"pkg:npm/p?q=1"}}`, i)
	}))
	_, err := Unresolved(Subject{}, []*Evidence{{Facts: scan}}, []*Evidence{{Facts: vex}})
	if !errors.Is(err, ErrUndecided) {
		t.Errorf("20 million comparisons: %v", err)
	}
	if _, err := Unresolved(Subject{}, []*Evidence{{Facts: nil}}, nil); !errors.Is(err, ErrUndecided) {
		t.Errorf("a scan without facts: %v", err)
	}
}

func BenchmarkUnresolved(b *testing.B) {
	scan, vex, subject := scanAndVEX(b, 10_000)
	for b.Loop() {
		if _, err := unresolved(b, scan, vex, subject); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	scan, _, _ := scanAndVEX(b, 10_000)
	for b.Loop() {
		if _, err := Decode(scan); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExtract(b *testing.B) {
	document := grype(10_000, func(b *strings.Builder, i int) {
		fmt.Fprintf(b, `{"vulnerability":{"id":"CVE-2026-%d","severity":"High","description":%q},"artifact":{"name":"p","purl":"pkg:deb/debian/p%d@1"}}`, i, strings.Repeat("text ", 200), i)
	})
	s := &intoto.Statement{Predicate: []byte(document)}
	b.SetBytes(int64(len(document)))
	for b.Loop() {
		f, err := Extract(b.Context(), free, header(intoto.CosignVuln, len(document)), s, nil)
		if err != nil {
			b.Fatal(err)
		}
		f.Encode()
	}
}

package facts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/intoto"
)

// TestTable checks that the table has a row for each predicate type that
// package intoto defines, and only those and kinds of this project.
func TestTable(t *testing.T) {
	rows := map[string]int{}
	for i := range table {
		rows[table[i].predicate]++
	}
	for _, family := range intoto.Families() {
		if rows[family] != 1 {
			t.Errorf("%d rows for %s, want 1", rows[family], family)
		}
		delete(rows, family)
	}
	delete(rows, export.PredicateType) // the second version of a kind
	for predicate, n := range rows {
		if kind := intoto.KindOf(predicate); n != 1 || kind == "" {
			t.Errorf("%d rows for %s, which is no predicate type of package intoto", n, predicate)
		}
	}
}

func header(predicateType string, size int) *entry.Header {
	return &entry.Header{Kind: kindname.Attestation, PredicateType: predicateType, Payload: entry.PayloadRef{Size: uint64(size)}}
}

func free(ctx context.Context, _ int) error { return ctx.Err() }

func extract(t *testing.T, predicateType, document string) *Facts {
	t.Helper()
	s := &intoto.Statement{PredicateType: predicateType, Predicate: []byte(document)}
	f, err := Extract(t.Context(), free, header(predicateType, len(document)), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// grype returns a predicate with n findings, as each writes them.
func grype(n int, each func(b *strings.Builder, i int)) string {
	var b strings.Builder
	b.WriteString(`{"scanner":{"result":{"matches":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		each(&b, i)
	}
	b.WriteString(`]}},"metadata":{"scanFinishedOn":"2026-04-19T12:00:00Z"}}`)
	return b.String()
}

func small(b *strings.Builder, i int) { fmt.Fprintf(b, `{"vulnerability":{"id":"%d"}}`, i) }

// A scan of a million vulnerabilities exceeds the limit. Its scanner and time
// are still read, so that a later scan can supersede it.
func TestBomb(t *testing.T) {
	f := extract(t, intoto.CosignVuln, grype(1_000_000, small))
	if f.Scan == nil || f.Scan.Exceeded != LimitElements || len(f.Scan.Vulnerabilities) != 0 || f.Scan.Scanner.Name != "grype" || f.Scan.Time == 0 {
		t.Errorf("%+v", f.Scan)
	}
	if n := len(f.Encode()); n > 200 {
		t.Errorf("encoded in %d bytes", n)
	}
	f = extract(t, intoto.CosignVuln, grype(MaxElements, small))
	if f.Scan.Exceeded != "" || len(f.Scan.Vulnerabilities) != MaxElements {
		t.Errorf("%d elements: %+v", MaxElements, f.Scan.List)
	}
}

// Every list of a group is limited.
func TestListsAreLimited(t *testing.T) {
	many := func(element string, n int) string { return "[" + strings.Repeat(element+",", n-1) + element + "]" }
	for _, c := range []struct {
		predicateType, document, element string
		list                             func(*Facts) (*List, int)
	}{
		{intoto.VulnsV02, `{"scanner":{"uri":"x","result":@}}`, `{"id":"a"}`, func(f *Facts) (*List, int) { return &f.Scan.List, len(f.Scan.Vulnerabilities) }},
		{intoto.CosignVuln, `{"scanner":{"result":{"Results":[{"Vulnerabilities":@}]}}}`, `{"VulnerabilityID":"a"}`, func(f *Facts) (*List, int) { return &f.Scan.List, len(f.Scan.Vulnerabilities) }},
		{intoto.OpenVEX, `{"statements":@}`, `{"vulnerability":"a","status":"fixed"}`, func(f *Facts) (*List, int) { return &f.VEX.List, len(f.VEX.Statements) }},
		{intoto.SPDX, `{"spdxVersion":"SPDX-2.3","packages":@}`, `{"name":"a"}`, func(f *Facts) (*List, int) { return &f.SBOM.List, len(f.SBOM.Components) }},
		{intoto.CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","components":@}`, `{"name":"a"}`, func(f *Facts) (*List, int) { return &f.SBOM.List, len(f.SBOM.Components) }},
		{intoto.CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","vulnerabilities":@}`, `{"id":"a"}`, func(f *Facts) (*List, int) { return &f.Scan.List, len(f.Scan.Vulnerabilities) }},
		{intoto.CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","vulnerabilities":[{"id":"a","affects":@}]}`, `{"ref":"pkg:npm/a"}`, func(f *Facts) (*List, int) { return &f.Scan.List, len(f.Scan.Vulnerabilities) }},
		{intoto.SLSAProvenanceV1, `{"buildDefinition":{"buildType":"a","resolvedDependencies":@},"runDetails":{"builder":{"id":"a"}}}`, `{"uri":"a"}`, func(f *Facts) (*List, int) { return &f.Build.List, len(f.Build.Materials) }},
		{intoto.SLSAProvenanceV02, `{"buildType":"a","builder":{"id":"a"},"materials":@}`, `{"uri":"a"}`, func(f *Facts) (*List, int) { return &f.Build.List, len(f.Build.Materials) }},
		{intoto.TestResult, `{"result":"PASSED","passedTests":@}`, `"a"`, func(f *Facts) (*List, int) { return &f.Test.List, len(f.Test.Passed) }},
		{intoto.TestResult, `{"result":"PASSED","configuration":@}`, `{"uri":"a"}`, func(f *Facts) (*List, int) { return &f.Test.List, len(f.Test.Configuration) }},
		{intoto.SLSASummaryV1, `{"verifier":{"id":"a"},"resourceUri":"a","verificationResult":"PASSED","verifiedLevels":@}`, `"a"`, func(f *Facts) (*List, int) { return &f.Summary.List, len(f.Summary.Levels) }},
		{intoto.SVR, `{"verifier":{"id":"a"},"properties":@}`, `"a"`, func(f *Facts) (*List, int) { return &f.Properties.List, len(f.Properties.Properties) }},
		{intoto.SCAI, `{"attributes":@}`, `{"attribute":"a"}`, func(f *Facts) (*List, int) { return &f.Properties.List, len(f.Properties.Properties) }},
	} {
		t.Run(c.document, func(t *testing.T) {
			f := extract(t, c.predicateType, strings.Replace(c.document, "@", many(c.element, MaxElements), 1))
			if l, n := c.list(f); l.Exceeded != "" || n != MaxElements {
				t.Errorf("%d elements: %d are kept, %+v", MaxElements, n, l)
			}
			f = extract(t, c.predicateType, strings.Replace(c.document, "@", many(c.element, MaxElements+1), 1))
			if l, n := c.list(f); l.Exceeded != LimitElements || n != 0 {
				t.Errorf("%d elements: %d are kept, %+v", MaxElements+1, n, l)
			}
		})
	}
}

// The size of all facts together is limited, whatever the elements hold.
func TestSize(t *testing.T) {
	long := strings.Repeat("x", MaxText-10)
	f := extract(t, intoto.CosignVuln, grype(MaxSize/MaxText+1000, func(b *strings.Builder, i int) {
		fmt.Fprintf(b, `{"vulnerability":{"id":"%d"},"artifact":{"name":%q}}`, i, long)
	}))
	if f.Scan.Exceeded != LimitSize || len(f.Scan.Vulnerabilities) != 0 {
		t.Errorf("%+v", f.Scan.List)
	}
	products := strings.Repeat(`"pkg:npm/a",`, MaxSize/elementSize) + `"pkg:npm/a"`
	f = extract(t, intoto.OpenVEX, `{"statements":[{"vulnerability":"a","status":"fixed","products":[`+products+`]}]}`)
	if f.VEX.Exceeded != LimitSize || len(f.VEX.Statements) != 0 {
		t.Errorf("products: %+v", f.VEX.List)
	}
	// A group of the same document that comes first exceeds the limit as well.
	components := strings.Repeat(`{"name":"`+long+`"},`, MaxSize/MaxText+1000)
	f = extract(t, intoto.CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","vulnerabilities":[{"id":"a"}],"components":[`+components+`{"name":"a"}]}`)
	if f.SBOM.Exceeded != LimitSize || f.Scan.Exceeded != LimitSize || f.VEX.Exceeded != LimitSize {
		t.Errorf("CycloneDX: %+v, %+v, %+v", f.SBOM.List, f.Scan, f.VEX)
	}
}

func TestLargePayload(t *testing.T) {
	called := false
	h := &entry.Header{Kind: kindname.Attestation, MediaType: "application/spdx+json", Payload: entry.PayloadRef{Size: MaxPayload + 1}}
	f, err := OfPayload(t.Context(), h, func() ([]byte, error) { called = true; return nil, nil })
	if err != nil || called || f.Exceeded != LimitPayload {
		t.Errorf("%+v, %v, payload read: %t", f, err, called)
	}
	h.External = &entry.External{}
	if f, err := OfPayload(t.Context(), h, nil); f != nil || err != nil {
		t.Errorf("a reference: %+v, %v", f, err)
	}
}

// Values that no real program writes yield no fact, rather than a wrong one.
func TestHostileValues(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	for _, c := range []struct{ name, vulnerability, want string }{
		{"a long ID", `"id":"` + long + `"`, "predicate.scanner.result.matches[0].vulnerability.id: too-long"},
		{"a huge ID", `"id":"` + strings.Repeat(`\u0041`, 1<<20) + `"`, "predicate.scanner.result.matches[0].vulnerability.id: too-long"},
		{"an ID of another type", `"id":["CVE-1"]`, "predicate.scanner.result.matches[0].vulnerability.id: wrong-type"},
		{"no ID", `"severity":"High"`, "predicate.scanner.result.matches[0].vulnerability.id: missing"},
		{"an empty ID", `"id":""`, "predicate.scanner.result.matches[0].vulnerability.id: missing"},
		{"an ID that is null", `"id":null`, "predicate.scanner.result.matches[0].vulnerability.id: missing"},
		{"an ID twice", `"id":"a","id":"a"`, "predicate.scanner.result.matches[0].vulnerability.id: duplicate-member"},
		{"null and an ID", `"id":null,"id":"a"`, "predicate.scanner.result.matches[0].vulnerability.id: duplicate-member"},
	} {
		f := extract(t, intoto.CosignVuln, grype(1, func(b *strings.Builder, _ int) { b.WriteString(`{"vulnerability":{` + c.vulnerability + `}}`) }))
		if f.Scan == nil || f.Scan.Dropped != 1 || len(f.Scan.Vulnerabilities) != 0 || len(f.Problems) != 1 || f.Problems[0].String() != c.want {
			t.Errorf("%s: %+v %.200v", c.name, f.Scan, f.Problems)
		}
	}
	for score, want := range map[string]Score{
		"-1": 0, "-0": 0, "10.01": 0, "1e400": 0, "1e-400": 0, "0.04": 0, "0.05": 1, "9.95": 100, "10": 100, "1e1": 100, `"9.8"`: 0, "true": 0, "[9]": 0,
		"9999999999999999999999999999": 0,
	} {
		f := extract(t, intoto.CosignVuln, grype(1, func(b *strings.Builder, _ int) {
			b.WriteString(`{"vulnerability":{"id":"a","cvss":[{"metrics":{"baseScore":` + score + `}}]}}`)
		}))
		if len(f.Scan.Vulnerabilities) != 1 || f.Scan.Vulnerabilities[0].Score != want {
			t.Errorf("score %s: %+v", score, f.Scan.Vulnerabilities)
		}
	}
}

// Nesting costs no stack, wherever it is.
func TestDeepNesting(t *testing.T) {
	for _, depth := range []int{100, 9000, 20_000} {
		deep := strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth)
		for _, c := range []string{
			`{"scanner":{"result":{"matches":[{"vulnerability":{"id":` + deep + `}}]}}}`,
			`{"x":` + deep + `,"scanner":{"result":{"matches":[{"vulnerability":{"id":"a"}}]}}}`,
			deep,
		} {
			f := extract(t, intoto.CosignVuln, c)
			if f.ProblemCount == 0 && (f.Scan == nil || len(f.Scan.Vulnerabilities) != 1) {
				t.Errorf("depth %d: %+v", depth, f)
			}
		}
	}
	nested := strings.Repeat(`{"name":"a","components":[`, 50_000) + strings.Repeat(`]}`, 50_000)
	f := extract(t, intoto.CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[`+nested+`]}`)
	if f.Exceeded != LimitDepth || f.SBOM != nil {
		t.Errorf("nested components: %+v", f)
	}
}

// Thousands of problems are counted, and the first are listed.
func TestManyProblems(t *testing.T) {
	f := extract(t, intoto.CosignVuln, grype(100_000, func(b *strings.Builder, _ int) { b.WriteString("7") }))
	if f.ProblemCount != 100_000 || len(f.Problems) != MaxProblems || f.Scan.Dropped != 100_000 {
		t.Errorf("%d problems, %d listed, %d dropped", f.ProblemCount, len(f.Problems), f.Scan.Dropped)
	}
}

// Extraction takes steps throughout the document, and ends with the error of a
// step.
func TestSteps(t *testing.T) {
	many := grype(20_000, small)
	skipped := `{"x":[` + strings.Repeat(`{"a":{"b":[1,2,3,"some text"]}},`, 20_000) + `0],"scanner":{"result":{"matches":[]}}}`
	for name, document := range map[string]string{"read": many, "skipped": skipped} {
		s := &intoto.Statement{PredicateType: intoto.CosignVuln, Predicate: []byte(document)}
		total, most := 0, 0
		_, err := Extract(t.Context(), func(_ context.Context, n int) error {
			total, most = total+n, max(most, n)
			return nil
		}, header(intoto.CosignVuln, len(document)), s, nil)
		if err != nil || total < len(document)-2*stepBytes || most > 2*stepBytes {
			t.Errorf("%s: steps of at most %d bytes for %d of %d bytes: %v", name, most, total, len(document), err)
		}
		steps, stop := 0, errors.New("stop")
		_, err = Extract(t.Context(), func(context.Context, int) error { steps++; return stop }, header(intoto.CosignVuln, len(document)), s, nil)
		if !errors.Is(err, stop) || steps != 1 {
			t.Errorf("%s: after %d steps: %v", name, steps, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Extract(ctx, free, header(intoto.CosignVuln, len(many)), &intoto.Statement{Predicate: []byte(many)}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// Bytes that Encode did not write cause an error, and neither a panic nor a
// large allocation.
func TestDecodeDamaged(t *testing.T) {
	f := extract(t, intoto.CosignVuln, grype(20, small))
	good := f.Encode()
	if again := extract(t, intoto.CosignVuln, grype(20, small)).Encode(); !bytes.Equal(good, again) {
		t.Error("equal facts have different bytes")
	}
	for i := range good {
		if _, err := Decode(good[:i]); !errors.Is(err, ErrEncoding) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[i] ^= 1 << bit
			_, _ = Decode(bad)
		}
	}
	if _, err := Decode(append(slices.Clone(good), 0)); !errors.Is(err, ErrEncoding) {
		t.Errorf("a byte more: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{encoding})
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, err := Decode(data)
		if err != nil {
			return
		}
		if again, err := Decode(facts.Encode()); err != nil || !bytes.Equal(again.Encode(), facts.Encode()) {
			t.Errorf("decoded facts are not encoded: %v", err)
		}
	})
}

func FuzzExtract(f *testing.F) {
	f.Add(uint8(0), grype(2, small))
	f.Add(uint8(5), `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":"a","bom-ref":"b"}],"vulnerabilities":[{"id":"a","affects":[{"ref":"b"}]}]}`)
	f.Fuzz(func(t *testing.T, at uint8, document string) {
		row := table[int(at)%len(table)]
		facts := extract(t, row.predicate, document)
		if facts == nil {
			return
		}
		again, err := Decode(facts.Encode())
		if err != nil || !bytes.Equal(again.Encode(), facts.Encode()) {
			t.Errorf("the facts are not decoded: %v", err)
		}
	})
}

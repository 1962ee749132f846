package catalog

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/facts"
)

// An item is an entry in a test.
type item struct {
	requirement string
	age         time.Duration // at the decision
	signer      string        // "": the requirement's first
	facts       *facts.Facts
}

// build returns the evidence of a build with one material.
func build(r facts.Resource) item {
	return item{requirement: "provenance", facts: &facts.Facts{Build: &facts.Build{Builder: "https://github.com/x", Type: "t", Materials: []facts.Resource{r}}}}
}

func sbom(components ...facts.Component) item {
	return item{requirement: "sbom", facts: &facts.Facts{SBOM: &facts.SBOM{Components: components}}}
}

func checkpoint(score float64, rollback bool) item {
	return item{requirement: "checkpoint", facts: &facts.Facts{Checkpoint: &facts.Checkpoint{ACAScore: score, RollbackReady: rollback}}}
}

// export returns a manifest of files with a license, that were stored in a
// country by the claim of an identity of the signer's issuer.
func export(license, country, by string, privacy *facts.Privacy) item {
	claims := []facts.ResidencyClaim{{Activity: "storage", Locations: []facts.Location{{Country: country}}, ClaimedBy: facts.Signer{Identity: by, Issuer: "b"}}}
	return item{requirement: "manifest", facts: &facts.Facts{Export: &facts.Export{Tenant: "acme", Licenses: []string{license}, Residency: claims, Privacy: privacy}}}
}

// spends returns a privacy loss of which the budget is ε.
func spends(epsilon float64, addsUp bool) *facts.Privacy {
	return &facts.Privacy{Budget: epsilon, AddsUp: &addsUp}
}

func tests(signer, result string, failed ...string) item {
	return item{requirement: "tests", signer: signer, facts: &facts.Facts{Test: &facts.Test{Result: result, Failed: failed}}}
}

func review(name string) item {
	return item{requirement: "review", facts: &facts.Facts{Properties: &facts.Properties{Properties: []facts.Property{{Name: name}}}}}
}

func scanOf(age time.Duration, all ...facts.Vulnerability) item {
	return item{requirement: "scan", age: age, facts: &facts.Facts{Scan: &facts.Scan{Scanner: facts.Tool{Name: "s"}, Vulnerabilities: all}}}
}

func notAffected(id string) item {
	return item{requirement: "vex", facts: &facts.Facts{VEX: &facts.VEX{Statements: []facts.Statement{{ID: id, Status: facts.NotAffected}}}}}
}

func digests(sha256 string) facts.Resource {
	return facts.Resource{Digests: facts.Digests{{Algorithm: "sha256", Value: sha256}}}
}

func licensed(names ...string) facts.Component { return facts.Component{Licenses: names} }

const (
	base = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"
	day  = 24 * time.Hour
)

var (
	critical = facts.Vulnerability{ID: "CVE-2026-1", Severity: facts.Critical}
	high     = facts.Vulnerability{ID: "CVE-2026-2", Severity: facts.High}
)

// situations has, for each worked example of docs/conditions.md, evidence that
// satisfies it and evidence that does not.
var situations = map[string]struct{ satisfied, notSatisfied [][]item }{
	"BUILD-L3": {
		satisfied: [][]item{{build(facts.Resource{Name: "x"}), build(facts.Resource{URI: "git+https://github.com/acme/app@refs/tags/v1"})}},
		notSatisfied: [][]item{
			{},
			{build(facts.Resource{URI: "git+https://github.com/other/acme/app"})},
			{build(facts.Resource{Name: "no URI"})},
		},
	},
	"VULN-SLA": {
		satisfied:    [][]item{{scanOf(0)}, {scanOf(8*day, high), scanOf(0, high, critical)}, {scanOf(8*day, critical), scanOf(0, critical), notAffected("CVE-2026-1")}},
		notSatisfied: [][]item{{scanOf(8*day, critical), scanOf(0, critical)}, {scanOf(2 * day)}},
	},
	"SBOM": {
		satisfied:    [][]item{{sbom(licensed())}},
		notSatisfied: [][]item{{}, {sbom()}},
	},
	"REVIEW": {
		satisfied:    [][]item{{review("TWO_PARTY_REVIEWED")}},
		notSatisfied: [][]item{{review("REVIEWED")}},
	},
	"BASE-IMAGE": {
		satisfied:    [][]item{{build(digests(base))}},
		notSatisfied: [][]item{{build(digests("00")), build(facts.Resource{Name: base})}},
	},
	"CUTOVER": {
		satisfied:    [][]item{{checkpoint(0.5, false), checkpoint(0.95, true)}},
		notSatisfied: [][]item{{checkpoint(1, true), checkpoint(0.94, true)}, {checkpoint(1, false)}},
	},
	"CHART": {
		satisfied:    [][]item{{{requirement: "signature"}}},
		notSatisfied: [][]item{{}, {{requirement: "signature", signer: "mallory"}}},
	},
	"EXPORT": {
		satisfied: [][]item{{export("CC0-1.0", "IE", "data-office", nil)}, {export("CC-BY-4.0", "DE", "data-office", spends(4, true)), export("CC0-1.0", "DE", "data-office", nil)}},
		notSatisfied: [][]item{
			{},
			{export("MIT", "IE", "data-office", nil)},
			{export("CC0-1.0", "US", "data-office", nil)},
			{export("CC0-1.0", "IE", "mallory", nil)},
			{export("CC0-1.0", "IE", "data-office", spends(4, false))},
			{export("CC0-1.0", "IE", "data-office", spends(5, true)), export("CC0-1.0", "IE", "data-office", nil)},
		},
	},
	"TESTS": {
		satisfied: [][]item{{tests("release-workflow", "PASSED"), tests("nightly-workflow", "PASSED")}},
		notSatisfied: [][]item{
			{tests("release-workflow", "PASSED"), tests("release-workflow", "PASSED")},
			{tests("release-workflow", "PASSED"), tests("nightly-workflow", "FAILED", "a")},
		},
	},
	"LICENCES": {
		satisfied:    [][]item{{sbom(licensed("MIT"), licensed())}},
		notSatisfied: [][]item{{sbom(licensed("MIT"), licensed("Apache-2.0", "SSPL-1.0"))}},
	},
}

// TestWorkedExamples decides by the examples of docs/conditions.md.
func TestWorkedExamples(t *testing.T) {
	doc, err := os.ReadFile("../../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## Worked examples\n")
	examples := regexp.MustCompile("(?s)```yaml\n(id: .*?)```").FindAllStringSubmatch(section, -1)
	if len(examples) != 10 || len(situations) != 10 {
		t.Fatalf("%d examples, and situations for %d, want 10", len(examples), len(situations))
	}
	for _, e := range examples {
		set := mustParse(t, asSet(e[1]))
		of, ok := situations[set.Controls[0].Id]
		if !ok {
			t.Errorf("no situation for %s", set.Controls[0].Id)
		}
		for _, items := range of.satisfied {
			checkExample(t, set, items, evaluate.Satisfied)
		}
		for _, items := range of.notSatisfied {
			checkExample(t, set, items, evaluate.NotSatisfied)
		}
	}
}

// checkExample decides by a set of one control.
func checkExample(t *testing.T, set *Set, items []item, want string) {
	t.Helper()
	entries, err := set.Entries()
	if err != nil {
		t.Fatal(err)
	}
	c, now := set.Controls[0], time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	in := &evaluate.Input{Size: 1000, Time: now, Stage: "deploy", Subject: evaluate.Subject{Type: "image", Name: "app", Digest: map[string]string{"sha256": base}}}
	if in.Set, err = evaluate.ParseSet(entries[1].Payload, [][]byte{entries[0].Payload}); err != nil {
		t.Fatal(err)
	}
	for i, e := range items {
		of := c.Check.Require[slices.IndexFunc(c.Check.Require, func(r *Requirement) bool { return r.Name == e.requirement })]
		h := &entry.Header{
			Kind: "attestation", Submitter: "token:ci", Subjects: []entry.Subject{{Name: "app", Digest: map[string]string{"sha256": base}}},
			Verification: entry.Verification{Result: entry.Verified}, Signers: []entry.Signer{{Identity: e.signer, Issuer: "b"}},
		}
		if e.signer == "" {
			h.Signers[0].Identity = strings.ReplaceAll(of.Signers[0], " ", "-")
		}
		if len(of.Kinds) > 0 {
			h.Kind = of.Kinds[0]
		}
		if len(of.PredicateTypes) > 0 {
			h.PredicateType = strings.NewReplacer("/*", "/v1", "*", "").Replace(of.PredicateTypes[0])
		}
		at := now.Add(-e.age - time.Hour + time.Duration(i)*time.Minute)
		in.Evidence = append(in.Evidence, evaluate.Evidence{Index: uint64(i + 1), Time: at, Header: h, Facts: e.facts})
	}
	d, err := evaluate.Decide(condition.NewMeter(context.Background(), condition.DecisionCost), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Results) != 1 || d.Results[0].Result != want {
		t.Errorf("%s: %+v for %+v, want %s", c.Id, d.Results, items, want)
	}
}

// asSet returns a set with the control of an example, and the signers that it
// names.
func asSet(example string) string {
	signers := []string{}
	for _, list := range regexp.MustCompile(`signers: \[(.*?)\]`).FindAllStringSubmatch(example, -1) {
		signers = append(signers, strings.Split(list[1], ", ")...)
	}
	slices.Sort(signers)
	var b strings.Builder
	b.WriteString("version: '1'\nstages: [deploy]\nsigners:\n")
	for _, name := range slices.Compact(signers) {
		b.WriteString("  " + name + ": {identity: " + strings.ReplaceAll(name, " ", "-") + ", issuer: b}\n")
	}
	b.WriteString("controls:\n  - title: t\n    severity: high\n    modes: [{stage: deploy, mode: enforce}]\n")
	for line := range strings.Lines(example) {
		b.WriteString("    " + line)
	}
	return b.String()
}

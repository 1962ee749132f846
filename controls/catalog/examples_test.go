package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/verifiers/facts"
)

// An item is an element of evidence in a test.
type item struct {
	requirement string
	unverified  bool
	facts       facts.Facts
}

// A vuln is an element of vulnerabilities in a test.
type vuln struct {
	severity string
	overdue  bool
}

// A situation is what a condition reads in a test.
type situation struct {
	evidence        []item
	vulnerabilities []vuln
}

// build returns the evidence of a build with one material.
func build(requirement string, r facts.Resource) item {
	return item{requirement: requirement, facts: facts.Facts{Build: &facts.Build{Builder: "https://github.com/x", Type: "t", Materials: []facts.Resource{r}}}}
}

func sbom(components ...facts.Component) item {
	return item{requirement: "sbom", facts: facts.Facts{SBOM: &facts.SBOM{Components: append([]facts.Component{}, components...)}}}
}

func checkpoint(score float64, rollback bool) item {
	return item{requirement: "checkpoint", facts: facts.Facts{Checkpoint: &facts.Checkpoint{ACAScore: score, RollbackReady: rollback}}}
}

func export(privacy *facts.Privacy, regions ...string) item {
	return item{requirement: "manifest", facts: facts.Facts{Export: &facts.Export{Regions: append([]string{}, regions...), Privacy: privacy}}}
}

func tests(result string, failed ...string) item {
	return item{requirement: "tests", facts: facts.Facts{Test: &facts.Test{Result: result, Failed: failed}}}
}

func review(name string) item {
	return item{requirement: "review", facts: facts.Facts{Properties: &facts.Properties{Properties: []facts.Property{{Name: name}}}}}
}

func digests(sha256 string) facts.Resource {
	return facts.Resource{Digests: facts.Digests{{Algorithm: "sha256", Value: sha256}}}
}

func licensed(names ...string) facts.Component { return facts.Component{Licenses: names} }

const base = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"

// situations has, for each worked example of docs/conditions.md, situations
// that meet its condition and situations that do not.
var situations = map[string]struct{ met, unmet []situation }{
	"BUILD-L3": {
		met: []situation{{evidence: []item{build("provenance", facts.Resource{Name: "x"}), build("provenance", facts.Resource{URI: "git+https://github.com/acme/app@refs/tags/v1"})}}},
		unmet: []situation{
			{evidence: []item{build("provenance", facts.Resource{URI: "git+https://github.com/other/acme/app"})}},
			{evidence: []item{build("provenance", facts.Resource{Name: "no URI"})}},
		},
	},
	"VULN-SLA": {
		met:   []situation{{}, {vulnerabilities: []vuln{{"critical", false}, {"high", true}}}},
		unmet: []situation{{vulnerabilities: []vuln{{"high", false}, {"critical", true}}}},
	},
	"SBOM": {
		met:   []situation{{evidence: []item{sbom(licensed())}}},
		unmet: []situation{{evidence: []item{sbom()}}},
	},
	"REVIEW": {
		met:   []situation{{evidence: []item{review("TWO_PARTY_REVIEWED")}}},
		unmet: []situation{{evidence: []item{review("REVIEWED")}}},
	},
	"BASE-IMAGE": {
		met:   []situation{{evidence: []item{build("provenance", digests(base))}}},
		unmet: []situation{{evidence: []item{build("provenance", digests("00")), build("provenance", facts.Resource{Name: base})}}},
	},
	"CUTOVER": {
		met: []situation{{evidence: []item{checkpoint(0.95, true), checkpoint(0.5, false)}}},
		unmet: []situation{
			{evidence: []item{checkpoint(0.94, true), checkpoint(1, true)}},
			{evidence: []item{checkpoint(1, false)}},
		},
	},
	"CHART": {
		met:   []situation{{evidence: []item{{requirement: "signature"}}}},
		unmet: []situation{{evidence: []item{{requirement: "signature", unverified: true}}}},
	},
	"EXPORT": {
		met: []situation{
			{evidence: []item{export(nil, "eu-west-1")}},
			{evidence: []item{export(&facts.Privacy{Spent: 1, Budget: 1}, "eu-west-1", "eu-central-1")}},
		},
		unmet: []situation{
			{evidence: []item{export(nil)}},
			{evidence: []item{export(nil, "us-east-1", "eu-west-1")}},
			{evidence: []item{export(&facts.Privacy{Spent: 2, Budget: 1}, "eu-west-1")}},
		},
	},
	"TESTS": {
		met: []situation{{evidence: []item{tests("PASSED"), tests("PASSED")}}},
		unmet: []situation{
			{evidence: []item{tests("PASSED"), tests("FAILED", "a")}},
			{evidence: []item{tests("PASSED", "a")}},
		},
	},
	"LICENCES": {
		met:   []situation{{evidence: []item{sbom(licensed("MIT"), licensed())}}},
		unmet: []situation{{evidence: []item{sbom(licensed("MIT"), licensed("Apache-2.0", "SSPL-1.0"))}}},
	},
}

// TestWorkedExamples loads the examples of docs/conditions.md, and evaluates
// their conditions.
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
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range examples {
		c := mustParse(t, asSet(e[1])).Controls[0]
		compiled, err := env.Compile(c.Check.Condition)
		if err != nil {
			t.Errorf("%s: %v", c.Id, err)
			continue
		}
		try := func(s situation, want error) {
			t.Helper()
			m := condition.NewMeter(context.Background(), condition.DecisionCost)
			values := s.values(t)
			values["parameters"] = condition.Value(c.Parameters.AsMap())
			if err := compiled.Holds(m, values); !errors.Is(err, want) {
				t.Errorf("%s: %v for %+v, want %v", c.Id, err, s, want)
			}
		}
		of, ok := situations[c.Id]
		if !ok {
			t.Errorf("no situation for %s", c.Id)
		}
		for _, s := range of.met {
			try(s, nil)
		}
		for _, s := range of.unmet {
			try(s, condition.ErrFalse)
		}
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

// values returns the variables of the situation.
func (s situation) values(t *testing.T) map[string]ref.Val {
	t.Helper()
	evidence, vulnerabilities := []map[string]any{}, []map[string]any{}
	for i, e := range s.evidence {
		evidence = append(evidence, map[string]any{
			"requirement": e.requirement, "index": len(s.evidence) - i, "kind": "attestation", "verified": !e.unverified,
			"time": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "facts": asValues(t, e.facts),
		})
	}
	for _, v := range s.vulnerabilities {
		vulnerabilities = append(vulnerabilities, map[string]any{"id": "CVE-2026-1", "severity": v.severity, "overdue": v.overdue})
	}
	return map[string]ref.Val{"evidence": condition.Value(evidence), "vulnerabilities": condition.Value(vulnerabilities)}
}

// asValues returns facts as conditions read them: as in JSON, with names in
// lower_snake_case.
func asValues(t *testing.T, f facts.Facts) any {
	t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return snake(v)
}

func snake(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = snake(v[i])
		}
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			var b strings.Builder
			for _, r := range name {
				if unicode.IsUpper(r) {
					b.WriteByte('_')
				}
				b.WriteRune(unicode.ToLower(r))
			}
			out[b.String()] = snake(member)
		}
		return out
	}
	return v
}

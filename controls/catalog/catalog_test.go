package catalog

import (
	"errors"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

func mustParse(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return s
}

func template(t testing.TB, name string) string {
	t.Helper()
	text, err := Template(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// headerKeyID matches the key IDs of verified signers in headers.
var headerKeyID = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|pgp:[0-9a-f]{40})$`)

// TestTemplates checks that the starter sets load, define all four stages and
// map their controls to frameworks.
func TestTemplates(t *testing.T) {
	if got := strings.Join(Templates(), " "); got != "backfill seed slsa ssdf" {
		t.Errorf("templates are %s", got)
	}
	for _, name := range Templates() {
		s := mustParse(t, template(t, name))
		if got := strings.Join(s.Stages, " "); got != "build promote deploy cutover" {
			t.Errorf("%s: stages %s", name, got)
		}
		for _, signer := range s.Signers {
			for _, key := range signer.KeyIds {
				if !headerKeyID.MatchString(key) {
					t.Errorf("%s: signer %s: no header contains the key ID %s", name, signer.Name, key)
				}
			}
		}
		for _, c := range s.Controls {
			if len(c.Frameworks) == 0 || c.Description == "" || !strings.HasPrefix(c.Id, strings.ToUpper(name)) {
				t.Errorf("%s: control %s has frameworks %q and text %q", name, c.Id, c.Frameworks, c.Description)
			}
			for _, f := range c.Frameworks {
				if !knownRequirement.MatchString(f) {
					t.Errorf("%s: control %s maps to %q, which is not a requirement of a known framework", name, c.Id, f)
				}
			}
		}
	}
	if _, err := Template("../catalog"); err == nil {
		t.Error("a template outside of the folder was returned")
	}
}

// knownRequirement matches the identifiers of requirements of the frameworks
// that starter sets refer to.
var knownRequirement = regexp.MustCompile(`^(SLSA v1\.1: Build L[123]` +
	`|NIST SSDF: (PO|PS|PW|RV)\.[1-9]\.[1-5]` +
	`|SOC 2: CC[1-9]\.[1-9]` +
	`|ISO 27001 \(2022\): A\.(5\.([1-9]|[12][0-9]|3[0-7])|6\.[1-8]|7\.([1-9]|1[0-4])|8\.([1-9]|[12][0-9]|3[0-4]))` +
	`|EU CRA: (Article 13\(\d+\)|Annex I, Part (I|II), point \d(\([a-m]\))?))$`)

// TestSpecification checks that the example of docs/spec/controls.md loads.
func TestSpecification(t *testing.T) {
	spec, err := os.ReadFile("../../docs/spec/controls.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(spec), "```yaml\n")
	example, _, _ := strings.Cut(rest, "```\n")
	s := mustParse(t, example)
	if len(s.Controls) != 2 || s.Control("VULN-SLA") == nil || s.Control("x") != nil || s.Signer("scanner") == nil {
		t.Errorf("the example has controls %v and signers %v", s.Controls, s.Signers)
	}
}

const (
	head     = "version: '1'\nstages: [build, deploy]\nsigners:\n  ci: {identity: a, issuer: b}\n  keys: {keys: [k1, k2]}\n"
	controls = "controls:\n"
	rest     = ", severity: high, modes: [{stage: deploy, mode: enforce}]}\n"
)

// control returns the line of a control with these members. It is line 7 of the
// file, if it is the first.
func control(members string) string { return "  - {id: A, title: t, " + members + rest }

const scan = "require: [{name: scan, signers: [ci]}]"

// TestProblems checks that each problem has its line, column and field.
func TestProblems(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "the control set is empty"},
		"not UTF-8":         {"\xff", "not UTF-8"},
		"not YAML":          {"a: [", "invalid YAML"},
		"too large":         {"# " + strings.Repeat("x", MaxSize), "bytes, above the limit of 1048576"},
		"second document":   {head + controls + control("check: {"+scan+"}") + "---\n{}\n", "more than one YAML document"},
		"no version":        {"stages: [build]\n" + controls + control("check: {"+scan+"}"), "version: is required"},
		"unknown member":    {head + "contrls: []\n", "line 6, column 1: contrls: unknown member: a control set has controls, environments, image_paths, signers, stages, unknown_image_fields, valid_for, version: did you mean controls?"},
		"unknown in check":  {head + controls + control("check: {requires: []}"), "line 7, column 31: controls[0].check.requires: unknown member: controls[0].check has condition, require: did you mean require?"},
		"duplicate member":  {head + "version: '2'\n", "line 6, column 1: version: duplicate member"},
		"anchor":            {head + controls + control("check: &a {"+scan+"}"), "line 7, column 30: controls[0].check: anchors and aliases are not allowed"},
		"alias cycle":       {head + "controls: &a [*a]\n", "anchors and aliases are not allowed"},
		"anchor in a value": {head + controls + control("parameters: {a: [&b x]}, check: {"+scan+"}"), "anchors and aliases are not allowed"},
		"alias in a value":  {head + controls + control("parameters: {a: &b {c: 1}, d: *b}, check: {"+scan+"}"), "anchors and aliases are not allowed"},
		"no controls":       {head, "controls: must not be empty"},
		"empty controls":    {head + "controls: []\n", "line 6, column 11: controls: must not be empty"},
		"duplicate ID":      {head + controls + control("check: {"+scan+"}") + control("check: {"+scan+"}"), `line 8, column 10: controls[1].id: duplicate ID "A": controls[0] has it, too`},
		"bad ID":            {head + controls + "  - {id: a b, title: t, check: {" + scan + "}" + rest, "line 7, column 10: controls[0].id: must be 1 to 128 letters"},
		"bad severity":      {head + controls + "  - {id: A, title: t, check: {" + scan + "}, severity: grave, modes: [{stage: deploy, mode: enforce}]}\n", "controls[0].severity: must be one of critical, high, medium, low"},
		"no check":          {head + controls + control("owner: x"), "must have check or includes"},
		"empty check":       {head + controls + control("check: {}"), "controls[0].check: must have require or condition"},
		"no modes":          {head + controls + "  - {id: A, title: t, severity: low, check: {" + scan + "}}\n", "controls[0].modes: must not be empty"},
		"framework":         {head + controls + control("frameworks: [SOC2], check: {"+scan+"}"), "controls[0].frameworks[0]"},
		"SLA":               {head + controls + control("sla_days: {high: 3651}, check: {"+scan+"}"), "controls[0].sla_days.high: must be a whole number from 0 to 3650"},
		"wildcard":          {head + controls + "  - {id: A, title: t, severity: critical, exceptions: {wildcard: true}, check: {" + scan + "}, modes: [{stage: deploy, mode: warn}]}\n", "exceptions from a critical control cannot have a wildcard"},
		"subject type":      {head + controls + control("applies_to: {types: [images]}, check: {"+scan+"}"), "controls[0].applies_to.types[0]: must be one of"},
		"glob":              {head + controls + control("applies_to: {names: ['a***']}, check: {"+scan+"}"), "*** is not allowed"},
		"valid_for":         {head + "valid_for: 1d\n" + controls + control("check: {"+scan+"}"), "line 6, column 12: valid_for: must be a duration from 1m to 720h, such as"},
		"valid_for range":   {head + "valid_for: 30s\n" + controls + control("check: {"+scan+"}"), "must be a duration from 1m to 720h"},
		"valid_for size":    {head + "valid_for: 999999999h\n" + controls + control("check: {"+scan+"}"), "must be a duration from 1m to 720h"},
		"image fields":      {head + "unknown_image_fields: ignore\n" + controls + control("check: {"+scan+"}"), "unknown_image_fields: must be one of undecided, warn"},
		"parameters":        {head + controls + control("parameters: {a: "+strings.Repeat("[", 40)+strings.Repeat("]", 40)+"}, check: {"+scan+"}"), "too large: use fewer values"},
		"inexact number":    {head + controls + control("parameters: {a: 9007199254740993}, check: {"+scan+"}"), "put it in quotes"},
		"infinity":          {head + controls + control("parameters: {a: .inf}, check: {"+scan+"}"), "put it in quotes"},

		"both identity and keys": {"version: '1'\nstages: [a]\nsigners: {x: {identity: a, issuer: b, keys: [k]}}\n" + controls + control("check: {condition: 'true'}"), "line 3, column 14: signers.x: must be exactly one of"},
		"no issuer":              {"version: '1'\nstages: [a]\nsigners: {x: {identity: a}}\n" + controls + control("check: {condition: 'true'}"), "must have exactly one of issuer and issuer_regexp"},
		"two identities":         {"version: '1'\nstages: [a]\nsigners: {x: {identity: a, identity_regexp: a, issuer: b}}\n" + controls + control("check: {condition: 'true'}"), "must have exactly one of identity and identity_regexp"},
		"regular expression":     {"version: '1'\nstages: [a]\nsigners: {x: {identity_regexp: '(', issuer: b}}\n" + controls + control("check: {condition: 'true'}"), "missing closing )"},
		"heavy expressions":      {"version: '1'\nstages: [deploy]\nsigners:\n" + heavySigners(60) + controls + control("check: {condition: 'true'}"), "regular expressions are too large in total"},
		"signers without form":   {"version: '1'\nstages: [a]\nsigners: {x: {}}\n" + controls + control("check: {condition: 'true'}"), "signers.x: matches nothing"},

		"no signers":           {head + controls + control("check: {require: [{name: a}]}"), "must have either signers, or unsigned: true"},
		"empty signers":        {head + controls + control("check: {require: [{name: a, signers: []}]}"), "controls[0].check.require[0].signers: must not be empty"},
		"unsigned and signers": {head + controls + control("check: {require: [{name: a, signers: [ci], unsigned: true}]}"), "must have either signers, or unsigned: true"},
		"unknown signer":       {head + controls + control("check: {require: [{name: a, signers: [key]}]}"), `controls[0].check.require[0].signers[0]: "key" is not a signer of this set: did you mean keys?`},
		"unknown kind":         {head + controls + control("check: {require: [{name: a, signers: [ci], kinds: [attestations]}]}"), `"attestations" is not a kind: did you mean attestation?`},
		"kind of the log":      {head + controls + control("check: {require: [{name: a, unsigned: true, kinds: [erasure]}]}"), "only the log records entries of kind erasure"},
		"no predicate":         {head + controls + control("check: {require: [{name: a, unsigned: true, kinds: [finding], predicate_types: [x]}]}"), "entries of kind finding have no predicate type"},
		"min_signers":          {head + controls + control("check: {require: [{name: a, signers: [ci, keys], min_signers: 4}]}"), "controls[0].check.require[0].min_signers: can never be met: the listed signers can have at most 3 distinct identities and keys"},
		"min_signers of zero":  {head + controls + control("check: {require: [{name: a, signers: [ci], min_signers: 0}]}"), "must be a whole number from 1 to 16"},
		"max_age of zero":      {head + controls + control("check: {require: [{name: a, signers: [ci], max_age: 0s}]}"), "controls[0].check.require[0].max_age: must be a duration from 1s to 8784h"},
		"duplicate name":       {head + controls + control("check: {require: [{name: a, signers: [ci]}, {name: a, signers: [keys]}]}"), `controls[0].check.require[1].name: duplicate name "a"`},
		"unlisted environment": {"version: '1'\nstages: [deploy]\nenvironments: [staging, 'production/**']\n" + controls + "  - {id: A, title: t, severity: low, check: {condition: 'stage != environment'}, modes: [{stage: deploy, environments: ['*/eu', prodction], mode: warn}]}\n", `controls[0].modes[0].environments[1]: "prodction" matches no environment of the set`},
		"no environments":      {"version: '1'\nstages: [deploy]\nenvironments: []\n" + controls + control("check: {condition: 'true'}"), "environments: must not be empty"},
		"undefined stage":      {head + controls + "  - {id: A, title: t, severity: low, check: {" + scan + "}, modes: [{stage: deplo, mode: warn}]}\n", `controls[0].modes[0].stage: stage "deplo" is not defined: did you mean deploy?`},
		"unknown include":      {head + controls + control("includes: [B]"), `controls[0].includes[0]: no control has the ID "B"`},
		"included by itself":   {head + controls + control("includes: [A]"), "cycle: A includes A"},
		"cycle":                {head + controls + control("includes: [B]") + "  - {id: B, title: t, includes: [C]" + rest + "  - {id: C, title: t, includes: [B]" + rest, "controls[1].includes: cycle: B includes C includes B"},

		"CEL":                 {head + controls + control("check: {condition: 'stage == 1'}"), "line 7, column 49: controls[0].check.condition: found no matching overload for '_==_'"},
		"CEL, folded":         {head + controls + "  - id: A\n    check:\n      condition: >-\n        stage == 'deploy' &&\n        nowhere\n    title: t\n    severity: low\n    modes: [{stage: build, mode: warn}]\n", "line 11, column 9: controls[0].check.condition: undeclared reference to 'nowhere'"},
		"CEL, literal":        {head + controls + "  - id: A\n    check:\n      condition: |\n        stage == 'deploy' &&\n          nowhere\n    title: t\n    severity: low\n    modes: [{stage: build, mode: warn}]\n", "line 11, column 11: controls[0].check.condition: undeclared reference to 'nowhere'"},
		"CEL, syntax":         {head + controls + control("check: {condition: 'stage =='}"), "line 7, column 51: controls[0].check.condition: Syntax error"},
		"not boolean":         {head + controls + control("check: {condition: stage}"), "evaluates to type string"},
		"constantly false":    {head + controls + control("check: {condition: 'false'}"), "controls[0].check.condition: the control can never be satisfied: the condition does not hold"},
		"false parameters":    {head + controls + control("parameters: {min: 3}, check: {condition: 'parameters.min > 3 && stage == \"deploy\"'}"), "can never be satisfied"},
		"missing parameter":   {head + controls + control("check: {condition: 'parameters.min > 3'}"), "can never be satisfied: the condition cannot be evaluated: no such key: min"},
		"false for all lists": {head + controls + control("check: {"+scan+", condition: 'evidence.exists(e, false)'}"), "can never be satisfied"},
		"requirement's name":  {head + controls + control("check: {"+scan+", condition: 'evidence.exists(e, e.requirement == \"scam\")'}"), `line 7, column 119: controls[0].check.condition: no requirement of the control has the name "scam": did you mean scan?`},
		"no evidence":         {head + controls + control("check: {condition: 'evidence.size() > 0'}"), "reads evidence, which comes from evidence, but the control requires none: add check.require"},
		"no scans":            {head + controls + control("check: {condition: 'vulnerabilities.size() == 0'}"), "reads vulnerabilities, which comes from evidence, but the control requires none"},
		"unbounded function":  {head + controls + control("check: {condition: '[stage].join(\",\") == \"\"'}"), "join is not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			var wrong *Error
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%.2000s\ngot  %.2000v\nwant %s", c.text, err, c.want)
			}
		})
	}
}

// heavySigners returns signers whose regular expressions are near the limit.
func heavySigners(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("  s" + strings.Repeat("x", i) + ": {identity_regexp: 'a{950}b{950}', issuer: b}\n")
	}
	return b.String()
}

// TestTooManyControls checks the limit of controls.
func TestTooManyControls(t *testing.T) {
	text := head + controls + strings.Repeat("  - {}\n", maxControls+1)
	if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "1025 items, above the limit of 1024") {
		t.Errorf("%v", err)
	}
}

// TestPossible checks controls that look like those that can never pass.
func TestPossible(t *testing.T) {
	for _, members := range []string{
		"check: {require: [{name: a, signers: [ci, keys], min_signers: 3}]}",
		"check: {require: [{name: a, signers: [any], min_signers: 16}]}",
		"check: {require: [{name: a, signers: [bots], min_signers: 16}]}",
		"check: {require: [{name: a, unsigned: true, min_signers: 16}]}",
		"check: {require: [{name: a, unsigned: true, kinds: [gate-decision]}]}",
		"check: {require: [{name: a, unsigned: true, kinds: [attestation, finding], predicate_types: ['x*']}]}",
		"check: {require: [{name: a, signers: [ci], max_age: 1s}], condition: 'evidence.all(e, e.requirement != \"b\")'}",
		"check: {condition: 'true'}",
		"check: {condition: 'environment.startsWith(\"test\")'}",
		"check: {condition: 'findings.size() == 0'}",
		"parameters: {x: [1, 2.5, null, true, {a: 2026-01-01}]}, check: {condition: 'parameters.x.size() == 5 && parameters.x[4].a == \"2026-01-01\"'}",
	} {
		text := strings.Replace(head, "  ci:", "  any: {identity_regexp: '.*', issuer: b}\n  bots: {submitters: ['token:*']}\n  ci:", 1)
		mustParse(t, text+controls+control(members))
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range Templates() {
		f.Add([]byte(template(f, name)))
	}
	f.Add([]byte(head + controls + control("check: {"+scan+"}")))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			var wrong *Error
			if !errors.As(err, &wrong) || len(wrong.Problems) == 0 {
				t.Errorf("not a list of problems: %v", err)
			}
			return
		}
		checkRoundTrip(t, s)
	})
}

func TestTemplateFolder(t *testing.T) {
	files, err := os.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if path.Ext(f.Name()) != ".yaml" {
			t.Errorf("%s is not a template", f.Name())
		}
	}
}

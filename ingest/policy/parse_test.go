package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var kindNames = []string{"attestation", "exception-request", "finding"}

const pubKey = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----`

// indented returns a text as a YAML block.
func indented(spaces int, text string) string {
	return "|\n" + strings.Repeat(" ", spaces) + strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", spaces))
}

func TestExamples(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.yaml")
	if len(files) == 0 {
		t.Fatal("no examples")
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(text, append(kindNames, "triage-action")); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	if p, err := Parse([]byte(Default), kindNames); err != nil || p.Mode != Record || p.Digest() != Digest([]byte(Default)) || string(p.Text()) != Default {
		t.Errorf("the built-in policy: %+v, %v", p, err)
	}
}

// manySigners returns signers of a policy that all have the same pattern.
func manySigners(n int, pattern string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  s%d: {identity_regexp: '%s', issuer: y}\n", i, pattern)
	}
	return b.String()
}

// TestProblems checks that each problem has its line and field, and that all
// are reported together.
func TestProblems(t *testing.T) {
	const head = "version: 1\nmode: enforce\n"
	const rules = "rules:\n  - {name: a, unsigned: true}\n"
	key := "      - " + indented(8, pubKey) + "\n"
	for _, c := range []struct {
		text string
		want string
	}{
		{"", "the policy is empty"},
		{"- a", "must be a map"},
		{"version: [", "line 1: invalid YAML"},
		{head, "line 1: rules: missing: a policy without rules"},
		{"mode: enforce\n" + rules, "line 1: version: missing"},
		{"version: 2\nmode: enforce\n" + rules, "line 1: version: must be 1"},
		{"version: 1\n" + rules, "line 1: mode: missing"},
		{"version: 1\nmode: lenient\n" + rules, `line 2: mode: unknown mode "lenient"`},
		{head + rules + "surprise: 1\n", "line 5: surprise: unknown member: a policy has mode, rules, signers, version"},
		{head + rules + "mode: record\n", "mode: duplicate member"},
		{head + rules + "---\n" + head, "more than one YAML document"},
		{head + rules + "---\n}\n", "line 5: invalid YAML"},
		{head + rules + "? &a signers\n: {}\n", "anchors and aliases are not allowed"},
		{head + rules + "? [signers]\n: {}\n", "must be a map with names as keys"},
		{head + "rules: &x\n  - *x\n", "line 3: rules: anchors and aliases are not allowed"},
		{head + "rules: []\n", "line 3: rules: must not be empty"},
		{head + "rules: {}\n", "line 3: rules: must be a list"},
		{head + "rules:\n  - {unsigned: true}\n", "line 4: rules[0].name: missing"},
		{head + "rules:\n  - {name: a, unsigned: yes please}\n", "line 4: rules[0].unsigned: must be true or false"},
		{head + "rules:\n  - {name: a, unsigned: true}\n  - {name: a, unsigned: true}\n", `line 5: rules[1].name: duplicate rule name "a"`},
		{head + "rules:\n  - name: a\n", "line 4: rules[0].signers: missing"},
		{head + "rules:\n  - {name: a, deny: true, unsigned: true}\n", "line 4: rules[0].deny: "},
		{head + "rules:\n  - {name: a, signers: [b]}\n", `line 4: rules[0].signers[0]: "b" is not a signer of this policy`},
		{head + "rules:\n  - {name: a, unsigned: true, kinds: [gossip]}\n", `line 4: rules[0].kinds[0]: "gossip" is not a kind`},
		{head + "rules:\n  - {name: a, unsigned: true, kinds: [finding, finding]}\n", "rules[0].kinds[1]: duplicate value \"finding\""},
		{head + "rules:\n  - {name: a, unsigned: true, submitters: ['***']}\n", "rules[0].submitters[0]: ***"},
		{head + "rules:\n  - {name: a, unsigned: true, subjects: {digests: ['a b']}}\n", "rules[0].subjects.digests[0]"},
		{head + "rules:\n  - {name: a, unsigned: true, subjects: {name: [b]}}\n", "rules[0].subjects.name: unknown member: rules[0].subjects has digests, names"},
		{head + "rules:\n  - name: a\n    unsigned: true\n    condition: kind ==\n", "line 6: rules[0].condition: column"},
		{head + "rules:\n  - name: a\n    unsigned: true\n    condition: |\n      kind == 'x' &&\n      oops == 1\n", "line 8: rules[0].condition: column 1: undeclared reference to 'oops'"},
		{head + "rules:\n  - name: a\n    unsigned: true\n    condition: size + 1\n", "line 6: rules[0].condition: evaluates to type int"},
		{head + "rules:\n  - name: a\n    unsigned: true\n    condition: kind.matches('(')\n", "line 6: rules[0].condition: "},
		{head + "rules:\n  - name: a\n    unsigned: true\n    condition: kind.replace('', kind) == ''\n", "line 6: rules[0].condition: column 13: replace is not allowed"},
		{head + "rules:\n  - name: a\n    unsigned: true\n    condition: controls.join(kind) == '' || '%s'.format([kind]) == ''\n", "line 6: rules[0].condition: column 14: join is not allowed"},
		{head + "rules:\n  - name: a\n    unsigned: true\n    condition: kind.matches('x{999}y{999}z{999}')\n", "line 6: rules[0].condition: column 13: the regular expression is too large"},
		{head + "signers:\n  a: {identity_regexp: '" + strings.Repeat("x{999}", 5) + "', issuer: y}\n" + rules, "line 4: signers.a.identity_regexp: the regular expression is too large"},
		{head + "signers:\n" + manySigners(51, "x{990}y{990}") + rules, "identity_regexp: the policy's regular expressions are too large in total"},
		{head + "signers:\n  a: {}\n" + rules, "line 4: signers.a: not identified"},
		{head + "signers:\n  a: {identity: x}\n" + rules, "line 4: signers.a.issuer: missing"},
		{head + "signers:\n  a: {issuer: x}\n" + rules, "line 4: signers.a.identity: missing"},
		{head + "signers:\n  a: {identity: x, issuer: y, identity_regexp: z}\n" + rules, "signers.a.identity_regexp: not allowed together with identity"},
		{head + "signers:\n  a: {identity_regexp: '(', issuer: y}\n" + rules, "line 4: signers.a.identity_regexp: missing closing"},
		{head + "signers:\n  a: {identity_regexp: 'a)|(b', issuer: y}\n" + rules, "line 4: signers.a.identity_regexp: "},
		{head + "signers:\n  a: {identity: x, issuer: y, threshold: 2}\n" + rules, "signers.a.threshold: only allowed with keys"},
		{head + "signers:\n  a: {identity: x, issuer: y, trusted_root: ../etc}\n" + rules, "signers.a.trusted_root: "},
		{head + "signers:\n  a: {identity: x, issuer: y, require: {timestamps: 0}}\n" + rules, "signers.a.require: a certificate must be checked at some time"},
		{head + "signers:\n  a: {identity: x, issuer: y, require: {log_entries: 99}}\n" + rules, "signers.a.require.log_entries: must be a whole number from 0 to 32"},
		{head + "signers:\n  a: {keys: [x]}\n" + rules, "line 4: signers.a.keys[0]: public key a: not PEM"},
		{head + "signers:\n  a:\n    identity: x\n    issuer: y\n    keys:\n" + key + rules, "line 5: signers.a: must be identified by only one"},
		{head + "signers:\n  a:\n    threshold: 2\n    keys:\n" + key + rules, "line 5: signers.a.threshold: 2 exceeds the number of keys, 1"},
		{head + "signers:\n  a:\n    require: {scts: 1}\n    keys:\n" + key + rules, "line 5: signers.a.require: signatures with keys have no SCTs"},
		{head + "signers:\n  a: {pgp_keys: x}\n" + rules, "line 4: signers.a.pgp_keys: "},
	} {
		_, err := Parse([]byte(c.text), kindNames)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot %v\nwant %s", c.text, err, c.want)
		}
	}
	_, err := Parse([]byte("version: 1\nmode: lenient\nrules:\n  - {name: a, unsigned: true, kinds: [gossip]}\n  - {name: b}\n"), kindNames)
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) != 3 || !slices.IsSortedFunc(e.Problems, func(a, b Problem) int { return a.Line - b.Line }) {
		t.Errorf("want all problems in order, got: %v", err)
	}
	if _, err := Parse(make([]byte, MaxSize+1), kindNames); err == nil {
		t.Error("a policy above the size limit is accepted")
	}
}

func TestCheckRoots(t *testing.T) {
	p, err := Parse([]byte("version: 1\nmode: enforce\nsigners:\n  a: {identity: x, issuer: y, trusted_root: ours}\n  b: {identity: x, issuer: y}\nrules:\n  - {name: r, signers: [a, b]}\n"), kindNames)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Roots()); got != "[ours public-good]" {
		t.Errorf("roots: %s", got)
	}
	if err := p.CheckRoots([]string{"public-good"}); err == nil || err.Error() != `line 4: signers.a.trusted_root: trusted root "ours" is not in force: use one of public-good` {
		t.Errorf("%v", err)
	}
	if err := p.CheckRoots([]string{"ours", "public-good"}); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Default))
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text, kindNames)
		var e *Error
		if err != nil && (!errors.As(err, &e) || len(e.Problems) == 0) || err == nil && (len(p.Rules) == 0 || p.Mode == "") {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

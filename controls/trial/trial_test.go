package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/strictyaml"
	"muniment.dev/muniment/ledger/entry"
)

const controls = `
version: "1"
stages: [deploy]
signers:
  release key: {keys: ["sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"]}
controls:
  - id: SIGNED
    title: It is signed
    severity: high
    check:
      require: [{name: provenance, predicate_types: ["https://slsa.dev/provenance/*"], signers: [release key], max_age: 24h}]
    modes: [{stage: deploy, mode: enforce}]
    exceptions: {max_days: 14, approvers: 1}
`

// caseWith returns a test file of one case that expects the decision.
func caseWith(decision, members string) string {
	return `
cases:
  - name: one
    subject: {type: chart, name: app.tgz, digest: "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
    stage: deploy
    time: 2026-11-20T12:00:00Z
    expect: {decision: ` + decision + "}\n" + members
}

const signed = `{predicate_type: https://slsa.dev/provenance/v1, verified: [{key: "sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"}]`

func noFiles(string) ([]byte, error) { return nil, os.ErrNotExist }

// preview reads submissions as a log without an admission policy.
func preview(ctx context.Context, s *Submission) (*entry.Header, error) {
	sub := &ingest.Submission{Kind: s.Kind, MediaType: s.MediaType, Payload: s.Payload}
	if ingest.IsEvent(s.Kind) {
		sub.IdempotencyKey = "test"
	}
	return ingest.Preview(ctx, nil, nil, ingest.Submitter{Tenant: "test", Identity: s.Submitter}, sub, s.Recorded)
}

func run(t *testing.T, text string) (*Outcome, error) {
	t.Helper()
	set, err := catalog.Parse([]byte(controls))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := set.Entries()
	if err != nil {
		t.Fatal(err)
	}
	file, err := Parse([]byte(text), noFiles)
	if err != nil {
		t.Fatal(err)
	}
	return Run(context.Background(), entries, file.Cases[0], preview)
}

func TestDecisionsOfCases(t *testing.T) {
	const request = `    exceptions: [{id: X, control: SIGNED, requester: "oidc:https://id.acme.example#kim", expires: %s, requested: 2026-11-18T12:00:00Z%s}]`
	for name, c := range map[string]struct{ decision, members string }{
		"no evidence":                 {"blocked", ""},
		"evidence":                    {"pass", "    evidence: [" + signed + "}]"},
		"evidence as old as it may":   {"pass", "    evidence: [" + signed + ", recorded: 2026-11-19T12:00:00Z}]"},
		"evidence a second too old":   {"blocked", "    evidence: [" + signed + ", recorded: 2026-11-19T11:59:59Z}]"},
		"not verified":                {"blocked", "    evidence: [{predicate_type: https://slsa.dev/provenance/v1}]"},
		"another type":                {"blocked", "    evidence: [" + strings.Replace(signed, "provenance/v1", "x/v1", 1) + "}]"},
		"exception without approval":  {"blocked", fmt.Sprintf(request, "2026-11-25T00:00:00Z", "")},
		"exception approved":          {"pass", fmt.Sprintf(request, "2026-11-25T00:00:00Z", `, approvers: ["oidc:https://id.acme.example#ada"]`)},
		"exception approved by kim":   {"blocked", fmt.Sprintf(request, "2026-11-25T00:00:00Z", `, approvers: ["oidc:https://id.acme.example#kim"]`)},
		"exception approved by token": {"blocked", fmt.Sprintf(request, "2026-11-25T00:00:00Z", `, approvers: ["token:ci"]`)},
		"exception that has expired":  {"blocked", fmt.Sprintf(request, "2026-11-20T12:00:00Z", `, approvers: ["oidc:https://id.acme.example#ada"]`)},
		"exception elsewhere":         {"blocked", fmt.Sprintf(request, "2026-11-25T00:00:00Z", `, globs: [other], approvers: ["oidc:https://id.acme.example#ada"]`)},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, caseWith(c.decision, c.members))
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Differences) > 0 {
				t.Errorf("%v", out.Differences)
			}
			other := map[string]string{"pass": "blocked", "blocked": "pass"}[c.decision]
			if out, err = run(t, caseWith(other, c.members)); err != nil || len(out.Differences) != 1 {
				t.Errorf("expecting %s: %v, %v, want one difference", other, out, err)
			}
		})
	}
}

// TestExpectations checks that each part of an expectation is compared.
func TestExpectations(t *testing.T) {
	for expect, differences := range map[string]int{
		"{decision: blocked, controls: {SIGNED: not-satisfied}}":                                     0,
		"{decision: blocked, controls: {SIGNED: {result: not-satisfied, reason: missing-evidence}}}": 0,
		"{decision: blocked, controls: {SIGNED: {reason: missing-evidence}}}":                        0,
		"{decision: blocked, controls: {SIGNED: satisfied}}":                                         1,
		"{decision: blocked, controls: {SIGNED: {result: not-satisfied, reason: condition}}}":        1,
		"{decision: blocked, reason: no-control-set}":                                                1,
		"{decision: undecided, controls: {SIGNED: {result: excepted, reason: x}, OTHER: satisfied}}": 3,
		"{decision: pass, reason: no-control-applies, controls: {SIGNED: {result: satisfied}}}":      2,
	} {
		text := strings.Replace(caseWith("blocked", ""), "{decision: blocked}", expect, 1)
		out, err := run(t, text)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Differences) != differences {
			t.Errorf("%s: %q, want %d", expect, out.Differences, differences)
		}
	}
}

// TestRefusedEvidence checks that what the log would refuse is an error that
// names its place, and not a decision without it.
func TestRefusedEvidence(t *testing.T) {
	_, err := run(t, caseWith("blocked", "    evidence:\n      - {kind: finding, document: {id: F}}"))
	if err == nil || !strings.Contains(err.Error(), "line 9, column 9: cases[0].evidence[0]: ") {
		t.Errorf("error %v, want one with line, column and field", err)
	}
}

func TestInvalidFiles(t *testing.T) {
	long := caseWith("pass", "    evidence:\n"+strings.Repeat("      - {predicate_type: x}\n", maxItems+1))
	for problem, text := range map[string]string{
		"a test file without cases tests nothing":                                           "controls: x",
		"line 8, column 5: cases[0].evidences: unknown member":                              caseWith("pass", "    evidences: []"),
		"cases[0].evidence[0].recorded: must not be after the time of the case":             caseWith("pass", "    evidence: [{predicate_type: x, recorded: 2026-11-20T12:00:01Z}]"),
		"cases[0].evidence[0].recorded: must be a time in RFC 3339":                         caseWith("pass", "    evidence: [{predicate_type: x, recorded: yesterday}]"),
		"cases[0].evidence[0]: must have exactly one of file, document, and predicate_type": caseWith("pass", "    evidence: [{predicate_type: x, document: {}}]"),
		"cases[0].evidence[0].file: file does not exist":                                    caseWith("pass", "    evidence: [{file: nothing.json}]"),
		"cases[0].evidence[0].verified[0]: must have either key, or identity and issuer":    caseWith("pass", "    evidence: [{predicate_type: x, verified: [{identity: a}]}]"),
		"cases[0].exceptions[0]: must have id, control, requester and expires":              caseWith("pass", "    exceptions: [{id: X}]"),
		"cases[0].exceptions[0].requested: must not be after the time of the case":          caseWith("pass", "    exceptions: [{id: X, control: C, requester: a, expires: 2027-01-01T00:00:00Z, requested: 2026-12-01T00:00:00Z}]"),
		"cases[0].expect.decision: must be one of pass, blocked, undecided":                 caseWith("maybe", ""),
		"cases[0].subject.digest: ":                                                         strings.Replace(caseWith("pass", ""), "sha256:2cf2", "2cf2", 1),
		"cases[0].evidence: 257 items, above the limit of 256":                              long,
		fmt.Sprintf("%d bytes, above the limit of %d", MaxSize+1, MaxSize):                  strings.Repeat("#", MaxSize+1),
		"not UTF-8": "cases: [\xff]",
	} {
		_, err := Parse([]byte(text), noFiles)
		var wrong *strictyaml.Error
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), problem) {
			t.Errorf("%v, want %q", err, problem)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(caseWith("pass", "    evidence: ["+signed+"}]")))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse(text, noFiles)
		if err != nil {
			return
		}
		for _, c := range file.Cases {
			for _, s := range c.submissions() {
				if s.Recorded.After(c.Time) || s.Recorded.Equal(time.Time{}) {
					t.Errorf("an entry of %s in a case of %s", s.Recorded, c.Time)
				}
			}
		}
	})
}

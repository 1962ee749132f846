package decide

import (
	"strings"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

func init() {
	cases = append(cases, conditionCases...)
	cases = append(cases, exceptionCases...)
}

var conditionCases = []testCase{
	{"a condition over evidence", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence.exists(e, e.requirement == "provenance" && e.facts.build.builder == "https://builder.example" && e.signers[0].name == "workflow")`}))
		w.attest(provenance, buildOf("https://builder.example"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; 24h"},
	{"a false condition", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence.exists(e, e.facts.build.builder == "https://builder.example")`}))
		w.attest(provenance, buildOf("https://other.example"), app.Digest, byWorkflow)
	}, nil, "blocked; A not-satisfied condition-false; 24h"},
	{"evidence of an unlisted signer is not read", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence.exists(e, e.facts.build.builder == "https://builder.example")`}))
		w.attest(provenance, buildOf("https://builder.example"), app.Digest, byMallory)
		w.attest(provenance, buildOf("https://other.example"), app.Digest, byWorkflow)
	}, nil, "blocked; A not-satisfied condition-false; 24h"},
	{"the newest evidence is first", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence[0].facts.build.builder == "second"`}))
		w.attest(provenance, buildOf("first"), app.Digest, byWorkflow)
		w.attest(provenance, buildOf("second"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; 24h"},
	{"a missing member", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence[0].facts.scan.scanner.name == "grype"`}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "undecided; A undecided condition-error; 24h"},
	{"a missing member is tested for", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `!has(evidence[0].facts.scan) && has(evidence[0].facts.build)`}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; 24h"},
	{"facts of an erased payload", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence[0].facts.build.builder == "b"`}))
		w.erase(w.attest(provenance, buildOf("b"), app.Digest, byWorkflow), false)
	}, nil, "undecided; A undecided facts-unavailable; 24h"},
	{"an erased payload whose facts are not read", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence[0].verified`}))
		w.erase(w.attest(provenance, buildOf("b"), app.Digest, byWorkflow), false)
	}, nil, "pass; A satisfied; 24h"},
	{"every variable", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"parameters": obj{"low": 1}, "condition": `subject.type == "image" && subject.digest.sha256.startsWith("aaaa") && stage == "deploy" && environment == "production"
			&& parameters.low == 1 && evidence[0].kind == "attestation" && evidence[0].submitter == "token:ci" && evidence[0].conforming && evidence[0].time < now && findings == []`}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
		w.now = 1
	}, at("production"), "pass; A satisfied; 1h"},
	{"deviating evidence", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence.all(e, e.conforming)`}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
		w.last().Attributes = map[string]string{"conformance": "deviating"}
	}, nil, "blocked; A not-satisfied condition-false; 24h"},
	{"a condition without requirements", func(w *world) {
		w.put(nil, with(ctl("A"), obj{"condition": `subject.name.startsWith("registry.example/")`}))
	}, nil, "pass; A satisfied; 24h"},
	{"a condition that costs too much", func(w *world) {
		digits := `subject.digest.sha256.split("")`
		w.put(nil, with(ctl("A"), obj{"condition": digits + ".all(a, " + digits + ".all(b, " + digits + ".all(c, " + digits + ".all(d, a == b && c == d))))"}))
	}, nil, "undecided; A undecided condition-error; 24h"},

	// Vulnerabilities.
	{"no vulnerability", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf(), app.Digest, byScanner)
	}, nil, "pass; V satisfied; 24h"},
	{"a critical vulnerability", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
	}, nil, "blocked; V not-satisfied condition-false; 24h"},
	{"a vulnerability that VEX removes", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		w.attest(vex, vexOf("CVE-1/not_affected"), app.Digest, byWorkflow)
	}, nil, "pass; V satisfied; 24h"},
	{"VEX of an unlisted signer", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		w.attest(vex, vexOf("CVE-1/not_affected"), app.Digest, byMallory)
	}, nil, "blocked; V not-satisfied condition-false; 24h"},
	{"VEX that was withdrawn", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		w.attest(vex, vexOf("CVE-1/not_affected"), app.Digest, byWorkflow)
		w.now = 1
		w.attest(vex, vexOf("CVE-1/affected"), app.Digest, byWorkflow)
	}, nil, "blocked; V not-satisfied condition-false; 24h"},
	{"the newest scan counts", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		w.now = 1
		w.attest(scan, scanOf(), app.Digest, byScanner)
	}, nil, "pass; V satisfied; 24h"},
	{"a report of an unsupported scanner", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, obj{"scanner": obj{"uri": "x", "result": obj{}}}, app.Digest, byScanner)
	}, nil, "undecided; V undecided facts-unavailable; 24h"},
	{"an incomplete scan", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("/Critical/lib"), app.Digest, byScanner)
	}, nil, "undecided; V undecided facts-unavailable; 24h"},
	{"an erased scan", func(w *world) {
		w.put(nil, noneCritical)
		w.erase(w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner), false)
	}, nil, "undecided; V undecided facts-unavailable; 24h"},
	{"within its period", func(w *world) {
		w.put(nil, noneOverdue)
		w.attest(scan, scanOf("CVE-1/Critical/lib", "CVE-2/Low/lib"), app.Digest, byScanner)
		w.now = 160
	}, nil, "pass; V satisfied; 8h"},
	{"at the end of its period", func(w *world) {
		w.put(nil, noneOverdue)
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		w.now = 168
	}, nil, "blocked; V not-satisfied condition-false; 24h"},
	{"seen before in a scan that is too old now", func(w *world) {
		w.put(nil, with(ctl("V", need("scan", scan, "scanner", obj{"maxAgeSeconds": "86400"})), obj{"slaDays": obj{"critical": 7}, "condition": "vulnerabilities.all(v, !v.overdue)"}))
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		w.now = 180
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
	}, nil, "blocked; V not-satisfied condition-false; 24h"},
	{"detected before by a finding", func(w *world) {
		w.put(nil, noneOverdue)
		w.finding("cve-1", "low", "open", app.Digest)
		w.now = 170
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
	}, nil, "blocked; V not-satisfied condition-false; 24h"},
	{"a finding about another artifact", func(w *world) {
		w.put(nil, noneOverdue)
		w.finding("CVE-1", "low", "open", sha("b"))
		w.now = 170
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
	}, nil, "pass; V satisfied; 24h"},
	{"an unknown severity has the shortest period", func(w *world) {
		w.put(nil, noneOverdue)
		w.attest(scan, scanOf("CVE-1/Strange/lib"), app.Digest, byScanner)
		w.now = 168
	}, nil, "blocked; V not-satisfied condition-false; 24h"},
	{"a severity without a period", func(w *world) {
		w.put(nil, noneOverdue)
		w.attest(scan, scanOf("CVE-1/Medium/lib"), app.Digest, byScanner)
		w.now = 10000
	}, nil, "pass; V satisfied; 24h"},

	// Findings.
	{"an open finding about the artifact", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "open", app.Digest, "F")
	}, nil, "blocked; F not-satisfied condition-false; 24h"},
	{"an open finding about the control", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "in-progress", nil, "F")
	}, nil, "blocked; F not-satisfied condition-false; 24h"},
	{"a finding about another control", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "open", nil, "G")
		w.finding("AUD-1", "high", "open", app.Digest)
	}, nil, "pass; F satisfied; 24h"},
	{"a resolved finding", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "open", nil, "F")
		w.finding("aud-1", "high", "resolved", nil, "F")
	}, nil, "pass; F satisfied; 24h"},
	{"a resolution that the log has not accepted", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "open", nil, "F")
		w.finding("aud-1", "high", "resolved", nil, "F")
		delete(w.last().Attributes, "resolution")
	}, nil, "blocked; F not-satisfied condition-false; 24h"},
	{"a reopened finding", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "resolved", nil, "F")
		w.finding("AUD-1", "high", "reopened", nil, "F")
	}, nil, "blocked; F not-satisfied condition-false; 24h"},
	{"resolved for another artifact", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "open", app.Digest, "F")
		w.finding("AUD-1", "high", "resolved", sha("b"), "F")
	}, nil, "blocked; F not-satisfied condition-false; 24h"},
	{"resolved about the control, open about the artifact", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "open", app.Digest, "F")
		w.finding("AUD-1", "high", "resolved", nil, "F")
	}, nil, "blocked; F not-satisfied condition-false; 24h"},
	{"a finding that is overdue", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"slaDays": obj{"high": 1}, "condition": "!findings.exists(f, f.overdue)"}))
		w.finding("AUD-1", "high", "open", nil, "F")
		w.now = 24
	}, nil, "blocked; F not-satisfied condition-false; 24h"},
	{"a finding that is due", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"slaDays": obj{"high": 1}, "condition": "!findings.exists(f, f.overdue)"}))
		w.finding("AUD-1", "high", "open", nil, "F")
		w.now = 20
	}, nil, "pass; F satisfied; 4h"},
	{"a finding's own due time", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"slaDays": obj{"high": 1}, "condition": "!findings.exists(f, f.overdue)"}))
		w.finding("AUD-1", "high", "open", nil, "F")
		w.last().Attributes["due"] = day0.Add(hours(2)).Format(time.RFC3339)
		w.now = 2
	}, nil, "blocked; F not-satisfied condition-false; 24h"},

	// Parts.
	{"an index with evidence about each platform", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), sha("2"), byWorkflow)
		w.attest(provenance, buildOf("b"), sha("3"), byWorkflow)
	}, about(parts), "pass; A satisfied; 24h"},
	{"an index with evidence about one platform", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), sha("2"), byWorkflow)
	}, about(parts), "blocked; A not-satisfied missing-evidence [linux/arm64: provenance]; 24h"},
	{"evidence about the index", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), sha("1"), byWorkflow)
	}, about(parts), "pass; A satisfied; 24h"},
	{"an exception for one platform", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), sha("2"), byWorkflow)
		r := w.request("E-1", "A", 10, func(h *entry.Header) { h.Subjects = []entry.Subject{{Digest: sha("3")}} })
		w.decision("E-1", r, "approve", kim)
	}, about(parts), "pass; A excepted [linux/arm64: provenance] E-1; 10h"},
	{"an exception for the index", func(w *world) {
		w.put(nil, needsProvenance)
		r := w.request("E-1", "A", 10, func(h *entry.Header) { h.Subjects = []entry.Subject{{Digest: sha("1")}} })
		w.decision("E-1", r, "approve", kim)
	}, about(parts), "pass; A excepted [linux/amd64: provenance, linux/arm64: provenance] E-1; 10h"},

	// Earlier decisions.
	{"an earlier stage has passed", func(w *world) {
		w.put(nil, with(ctl("A", obj{"name": "promoted", "kinds": []string{"gate-decision"}, "unsigned": true}), obj{"condition": `evidence.exists(e, e.attributes.stage == "promote" && e.attributes.decision == "pass")`}))
		w.add(entry.Header{Kind: kindname.GateDecision, Subjects: []entry.Subject{{Digest: app.Digest}}, Submitter: "server", Attributes: map[string]string{"stage": "promote", "decision": "pass"}}, "{}")
	}, nil, "pass; A satisfied; 24h"},
	{"an earlier stage has passed offline only", func(w *world) {
		w.put(nil, ctl("A", obj{"name": "promoted", "kinds": []string{"gate-decision"}, "unsigned": true}))
		w.add(entry.Header{Kind: kindname.GateDecision, Subjects: []entry.Subject{{Digest: app.Digest}}, Submitter: "server",
			Attributes: map[string]string{"stage": "promote", "decision": "pass", "spooled": "sha256:" + strings.Repeat("5", 64), "gate": "delta"}}, "{}")
	}, nil, "blocked; A not-satisfied missing-evidence [promoted]; 24h"},
	{"an earlier stage has passed for what was called a part of another artifact", func(w *world) {
		w.put(nil, ctl("A", obj{"name": "promoted", "kinds": []string{"gate-decision"}, "unsigned": true}))
		w.add(entry.Header{Kind: kindname.GateDecision, Subjects: []entry.Subject{{Digest: app.Digest}, {Digest: sha("9")}}, Submitter: "server", Attributes: map[string]string{"stage": "promote", "decision": "pass"}}, "{}")
	}, nil, "blocked; A not-satisfied missing-evidence [promoted]; 24h"},
	{"too much evidence", func(w *world) {
		w.put(nil, needsProvenance)
		for range 4097 {
			w.add(entry.Header{Kind: kindname.Attestation, PredicateType: "https://example.com/x", Subjects: []entry.Subject{{Digest: app.Digest}}}, "{}")
		}
	}, nil, "undecided; A undecided too-much-evidence; 24h"},
	{"many entries of other kinds", func(w *world) {
		built(w)
		for range 4097 {
			w.add(entry.Header{Kind: kindname.GateDecision, Subjects: []entry.Subject{{Digest: app.Digest}}}, "{}")
		}
	}, nil, "pass; A satisfied; 24h"},
}

const needsA = "blocked; A not-satisfied missing-evidence [provenance]; 24h"

var exceptionCases = []testCase{
	{"an exception that is only requested", excepted(needsProvenance, nil, nil), nil, needsA},
	{"an approved exception", excepted(needsProvenance, nil, approved(kim)), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"an exception approved by the requester", excepted(needsProvenance, nil, approved(dana)), nil, needsA},
	{"an exception approved by the requester in another spelling", excepted(needsProvenance, nil, approved("oidc:https://idp.example#DA\u200bNA")), nil, needsA},
	{"an exception approved by a token", excepted(needsProvenance, nil, approved("token:kim")), nil, needsA},
	{"an exception requested by a token", excepted(needsProvenance, func(h *entry.Header) { h.Submitter = "token:dana" }, approved(kim)), nil, needsA},
	{"one of two approvals", excepted(twoApprovers, nil, approved(kim)), nil, needsA},
	{"two approvals of one person", excepted(twoApprovers, nil, approved(kim, "oidc:https://idp.example#KIM")), nil, needsA},
	{"two approvals", excepted(twoApprovers, nil, approved(kim, lee)), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"an exception that was rejected", excepted(needsProvenance, nil, func(w *world, r uint64) {
		w.decision("E-1", r, "reject", lee)
		w.decision("E-1", r, "approve", kim)
	}), nil, needsA},
	{"an exception that was revoked", excepted(needsProvenance, nil, func(w *world, r uint64) {
		w.decision("E-1", r, "approve", kim)
		w.decision("E-1", r, "revoke", dana)
	}), nil, needsA},
	{"an exception that was renewed", excepted(needsProvenance, nil, func(w *world, r uint64) {
		w.decision("E-1", r, "approve", kim)
		w.decision("E-1", r, "renew", lee, 14)
	}), nil, "pass; A excepted [provenance] E-1; 12h"},
	{"at the expiry", func(w *world) {
		excepted(needsProvenance, nil, approved(kim))(w)
		w.now = 10
	}, nil, needsA},
	{"a millisecond before the expiry", func(w *world) {
		excepted(needsProvenance, nil, approved(kim))(w)
		w.now = 9.5
	}, nil, "pass; A excepted [provenance] E-1; 0.5h"},
	{"an expiry beyond the limit", func(w *world) {
		excepted(with(needsProvenance, obj{"exceptions": obj{"maxDays": 1}}), func(h *entry.Header) { h.Attributes["expires"] = "2099-01-01T00:00:00Z" }, approved(kim))(w)
		w.now = 20
	}, nil, "pass; A excepted [provenance] E-1; 5h"},
	{"exceptions are forbidden", excepted(with(needsProvenance, obj{"exceptions": obj{"maxDays": 0}}), nil, approved(kim)), nil, needsA},
	{"an exception from another control", excepted(needsProvenance, func(h *entry.Header) { h.Controls = []string{"B"} }, approved(kim)), nil, needsA},
	{"an exception for another artifact", excepted(needsProvenance, func(h *entry.Header) { h.Subjects = []entry.Subject{{Digest: sha("b")}} }, approved(kim)), nil, needsA},
	{"an exception by name", excepted(needsProvenance, func(h *entry.Header) {
		h.Subjects, h.Attributes["glob.1"] = nil, "registry.example/*"
	}, approved(kim)), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"an exception by name for an artifact without name", excepted(needsProvenance, func(h *entry.Header) {
		h.Subjects, h.Attributes["glob.1"] = nil, "registry.example/*"
	}, approved(kim)), about(func(a *Artifact) { a.Name = "" }), needsA},
	{"a wildcard", excepted(needsProvenance, func(h *entry.Header) { h.Subjects, h.Attributes["glob.1"] = nil, "**" }, approved(kim)), nil, needsA},
	{"a wildcard that the control allows", excepted(with(needsProvenance, obj{"exceptions": obj{"wildcard": true}}), func(h *entry.Header) {
		h.Subjects, h.Attributes["glob.1"] = nil, "**"
	}, approved(kim)), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"a wildcard for a critical control", excepted(with(needsProvenance, obj{"severity": "critical", "exceptions": obj{"wildcard": true}}), func(h *entry.Header) {
		h.Subjects, h.Attributes["glob.1"] = nil, "* *"
	}, approved(kim)), nil, "undecided unreadable-control-set; 24h"},
	{"an exception for the environment", excepted(needsProvenance, func(h *entry.Header) { h.Attributes["environment.1"] = "production/*" }, approved(kim)), at("production/eu"), "pass; A excepted [provenance] E-1; 8h"},
	{"an exception for another environment", excepted(needsProvenance, func(h *entry.Header) { h.Attributes["environment.1"] = "staging" }, approved(kim)), at("production/eu"), needsA},
	{"an exception for an environment, without one", excepted(needsProvenance, func(h *entry.Header) { h.Attributes["environment.1"] = "**" }, approved(kim)), nil, needsA},
	{"a request that the policy did not admit", excepted(needsProvenance, func(h *entry.Header) { h.Admission = &entry.Admission{Result: entry.Recorded} }, approved(kim)), nil, needsA},
	{"an approval that the policy did not admit", excepted(needsProvenance, nil, func(w *world, r uint64) {
		w.decision("E-1", r, "approve", kim)
		w.last().Admission = &entry.Admission{Result: entry.Recorded}
	}), nil, needsA},
	{"an erased approval", excepted(needsProvenance, nil, func(w *world, r uint64) {
		w.erase(w.decision("E-1", r, "approve", kim), true)
	}), nil, needsA},
	{"break-glass", excepted(needsProvenance, func(h *entry.Header) { h.Attributes["breakGlass"] = "true" }, nil), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"break-glass that was rejected", excepted(needsProvenance, func(h *entry.Header) { h.Attributes["breakGlass"] = "true" }, func(w *world, r uint64) {
		w.decision("E-1", r, "reject", kim)
	}), nil, needsA},
	{"break-glass by a token", excepted(needsProvenance, func(h *entry.Header) {
		h.Attributes["breakGlass"], h.Submitter = "true", "token:dana"
	}, nil), nil, needsA},
	{"break-glass lasts a day at most", func(w *world) {
		excepted(needsProvenance, func(h *entry.Header) {
			h.Attributes["breakGlass"], h.Attributes["expires"] = "true", "2099-01-01T00:00:00Z"
		}, nil)(w)
		w.now = 20
	}, nil, "pass; A excepted [provenance] E-1; 5h"},
	{"break-glass for another user", usedBy(dana), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"break-glass that a third person confirms", usedBy(dana, [2]string{"approve", kim}, [2]string{"reject", lee}), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"break-glass that its user cannot confirm", usedBy(kim, [2]string{"approve", kim}, [2]string{"reject", lee}), nil, needsA},
	{"break-glass that its user cannot reject", usedBy(kim, [2]string{"reject", kim}), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"break-glass that its user revokes", usedBy(kim, [2]string{"revoke", kim}), nil, needsA},
	{"break-glass that its user, in another spelling, cannot confirm", usedBy(kim+"\u200b", [2]string{"approve", kim}, [2]string{"reject", lee}), nil, needsA},
	{"break-glass by an account that is not a person's", usedBy("kubernetes:oncall"), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"break-glass by an account that nobody can confirm", usedBy("kubernetes:oncall", [2]string{"approve", kim}, [2]string{"reject", lee}), nil, needsA},
	{"signed break-glass that its user cannot confirm", signed(func(h *entry.Header) { h.Attributes["usedBy"] = kim }, func(w *world, r uint64) {
		w.decision("E-1", r, "approve", kim)
		w.decision("E-1", r, "reject", "oidc:https://idp.example#max")
	}), nil, needsA},
	{"signed break-glass", signed(nil, nil), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"signed break-glass by an unregistered key", signed(func(h *entry.Header) { h.Attributes["keyId"] = "SHA256:kim" }, nil), nil, needsA},
	{"signed break-glass by a key that is registered later", signed(func(h *entry.Header) { h.Attributes["keyId"] = "SHA256:kim" }, func(w *world, _ uint64) {
		w.register("SHA256:kim", kim, lee)
	}), nil, needsA},
	{"signed break-glass by a key that a token has registered", func(w *world) {
		w.register("SHA256:kim", kim, "token:admin")
		signed(func(h *entry.Header) { h.Attributes["keyId"] = "SHA256:kim" }, nil)(w)
	}, nil, needsA},
	{"signed break-glass by a key whose registration was not admitted", func(w *world) {
		w.register("SHA256:kim", kim, lee)
		w.last().Admission = &entry.Admission{Result: entry.Recorded}
		signed(func(h *entry.Header) { h.Attributes["keyId"] = "SHA256:kim" }, nil)(w)
	}, nil, needsA},
	{"signed break-glass that was rejected", signed(nil, func(w *world, r uint64) { w.decision("E-1", r, "reject", kim) }), nil, needsA},
	{"signed break-glass that the holder of the key rejects", signed(nil, func(w *world, r uint64) { w.decision("E-1", r, "reject", dana) }), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"signed break-glass that the registrar of the key rejects", signed(nil, func(w *world, r uint64) { w.decision("E-1", r, "reject", lee) }), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"signed break-glass that the registrar of the key revokes", signed(nil, func(w *world, r uint64) { w.decision("E-1", r, "revoke", lee) }), nil, needsA},
	{"a signed request that the holder and the registrar of the key approve", signed(func(h *entry.Header) { delete(h.Attributes, "breakGlass") }, approved(dana, lee)), nil, needsA},
	{"a signed request that another person approves", signed(func(h *entry.Header) { delete(h.Attributes, "breakGlass") }, approved(kim)), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"signed break-glass by a key that was retired before", signed(nil, func(w *world, _ uint64) {
		w.keyEvent("retired", entry.Signer{KeyID: "SHA256:dana"}, 0.5)
	}), nil, needsA},
	{"signed break-glass by a key that was retired at the time", signed(nil, func(w *world, _ uint64) {
		w.keyEvent("retired", entry.Signer{KeyID: "SHA256:dana"}, 1)
	}), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"signed break-glass by a key that was compromised at the time", signed(nil, func(w *world, r uint64) {
		approved(kim)(w, r)
		w.keyEvent("compromised", entry.Signer{KeyID: "SHA256:dana"}, 1)
	}), nil, needsA},
	{"signed break-glass by a key that was compromised later", signed(nil, func(w *world, _ uint64) {
		w.keyEvent("compromised", entry.Signer{KeyID: "SHA256:dana"}, 1.5)
	}), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"signed break-glass, and the compromise of another key", signed(nil, func(w *world, _ uint64) {
		w.keyEvent("compromised", byScanner, 0)
	}), nil, "pass; A excepted [provenance] E-1; 8h"},
	{"of two exceptions the one that expires last", func(w *world) {
		excepted(needsProvenance, nil, approved(kim))(w)
		w.decision("E-2", w.request("E-2", "A", 12), "approve", kim)
	}, nil, "pass; A excepted [provenance] E-2; 10h"},
	{"two requests with one ID", func(w *world) {
		excepted(needsProvenance, nil, nil)(w)
		w.decision("e-1", w.request("e-1", "A", 12), "approve", kim)
	}, nil, needsA},
	{"an exception that is not needed", func(w *world) {
		built(w)
		w.decision("E-1", w.request("E-1", "A", 10), "approve", kim)
	}, nil, "pass; A satisfied; 24h"},
	{"the set raises the number of approvers", func(w *world) {
		excepted(needsProvenance, nil, approved(kim))(w)
		w.put(obj{"version": "2"}, twoApprovers)
	}, nil, needsA},

	// Exceptions with findings.
	{"an exception for a vulnerability", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		w.decision("E-1", w.request("E-1", "V", 10, func(h *entry.Header) { h.Attributes["finding.1"] = "cve-1" }), "approve", kim)
	}, nil, "pass; V excepted E-1; 10h"},
	{"an exception for one of two vulnerabilities", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib", "CVE-2/Critical/lib"), app.Digest, byScanner)
		w.decision("E-1", w.request("E-1", "V", 10, func(h *entry.Header) { h.Attributes["finding.1"] = "CVE-1" }), "approve", kim)
	}, nil, "blocked; V not-satisfied condition-false; 24h"},
	{"exceptions for both of two vulnerabilities", func(w *world) {
		w.put(nil, noneCritical)
		w.attest(scan, scanOf("CVE-1/Critical/lib", "CVE-2/Critical/lib"), app.Digest, byScanner)
		w.decision("E-1", w.request("E-1", "V", 10, func(h *entry.Header) { h.Attributes["finding.1"] = "CVE-1" }), "approve", kim)
		w.decision("E-2", w.request("E-2", "V", 8, func(h *entry.Header) { h.Attributes["finding.1"] = "CVE-2" }), "approve", kim)
		w.decision("E-3", w.request("E-3", "V", 6, func(h *entry.Header) { h.Attributes["finding.1"] = "CVE-3" }), "approve", kim)
	}, nil, "pass; V excepted E-1 E-2; 8h"},
	{"an exception for a vulnerability does not replace evidence", func(w *world) {
		w.put(nil, noneCritical)
		w.decision("E-1", w.request("E-1", "V", 10, func(h *entry.Header) { h.Attributes["finding.1"] = "CVE-1" }), "approve", kim)
	}, nil, "blocked; V not-satisfied missing-evidence [scan]; 24h"},
	{"an exception for a finding", func(w *world) {
		w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
		w.finding("AUD-1", "high", "open", nil, "F")
		w.decision("E-1", w.request("E-1", "F", 10, func(h *entry.Header) { h.Attributes["finding.1"] = "AUD-1" }), "approve", kim)
	}, nil, "pass; F excepted E-1; 10h"},
	{"an exception for a vulnerability of an included control", func(w *world) {
		w.put(nil, obj{"id": "A", "includes": []string{"V"}}, with(noneCritical, obj{"modes": modes("build enforce")}))
		w.attest(scan, scanOf("CVE-1/Critical/lib"), app.Digest, byScanner)
		w.decision("E-1", w.request("E-1", "A", 10, func(h *entry.Header) { h.Attributes["finding.1"] = "CVE-1" }), "approve", kim)
	}, nil, "pass; A excepted E-1; 10h"},
}

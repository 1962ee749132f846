package decide

import (
	"strings"

	"muniment.dev/muniment/ledger/entry"
)

func init() { cases = append(cases, comparedCaseList...) }

// comparedCaseList has what the text left open before a second evaluator was
// compared with this one.
var comparedCaseList = []testCase{
	{"a retired control that the set lists", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"state": "retired"}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "undecided unreadable-control-set; 24h"},
	{"a control that the policy did not admit, in a set that it did", func(w *world) {
		built(w)
		w.entries[0].Header.Admission = &entry.Admission{Result: entry.Recorded}
	}, nil, "pass; A satisfied; 24h"},
	{"the first of two included controls that are not satisfied", func(w *world) {
		w.put(nil, obj{"id": "A", "includes": []string{"B", "C"}}, with(ctl("B", need("scan", scan, "scanner")), obj{"modes": modes("build enforce")}),
			with(ctl("C", need("tests", testResult, "workflow")), obj{"modes": modes("build enforce")}))
	}, nil, "blocked; A not-satisfied included-control [scan]; 24h"},
	{"an included control after requirements that are not met", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"includes": []string{"B"}}), with(ctl("B", need("scan", scan, "scanner")), obj{"modes": modes("build enforce")}))
	}, nil, needsA},
	{"a condition that reads the time and is not evaluated", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `now > timestamp("2026-01-01T00:00:00Z")`}))
	}, nil, needsA},
	{"a subject in upper case that a condition reads", func(w *world) {
		w.put(nil, with(ctl("A"), obj{"condition": `subject.digest.sha256.startsWith("aaaa") && subject.digest.gitCommit.startsWith("bbbb")`}))
	}, func(_ *Question, a *Artifact) {
		a.Digest = map[string]string{"SHA256": strings.Repeat("A", 64), "GitCommit": strings.Repeat("B", 40)}
	}, "pass; A satisfied; 24h"},
	{"two errors, of facts and of the condition", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `evidence[0].facts.build.builder == "b" || subject.nothing == 1`}))
		w.erase(w.attest(provenance, buildOf("b"), app.Digest, byWorkflow), false)
	}, nil, "undecided; A undecided facts-unavailable; 24h"},
	{"a request after one with its ID that the policy did not admit", func(w *world) {
		w.put(nil, needsProvenance)
		w.request("E-1", "A", 10, func(h *entry.Header) { h.Admission = &entry.Admission{Result: entry.Recorded} })
		w.decision("E-1", w.request("E-1", "A", 12), "approve", kim)
	}, nil, "pass; A excepted [provenance] E-1; 12h"},
	{"an approval that names the ID in another case", func(w *world) {
		w.put(nil, needsProvenance)
		w.decision("e-1", w.request("E-1", "A", 10), "approve", kim)
	}, nil, needsA},
	{"an erased payload that is not a scan", func(w *world) {
		w.put(nil, with(ctl("A", need("scan", scan, "scanner"), need("tests", testResult, "workflow")), obj{"condition": `vulnerabilities == []`}))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.erase(w.attest(testResult, obj{"result": "PASSED"}, app.Digest, byWorkflow), false)
	}, nil, "pass; A satisfied; 24h"},
	{"a failed test without a name", func(w *world) {
		w.put(nil, with(ctl("A", need("tests", testResult, "workflow")), obj{"condition": `!has(evidence[0].facts.test.failed)`}))
		w.attest(testResult, obj{"result": "PASSED", "failedTests": []string{""}}, app.Digest, byWorkflow)
	}, nil, "blocked; A not-satisfied condition-false; 24h"},
}

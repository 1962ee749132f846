package decide

import (
	"maps"
	"strings"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// A testCase is a question about a stream. The answer is written by hand from
// docs/spec/decision.md, as summary shows it.
type testCase struct {
	name  string
	build func(w *world)
	ask   func(q *Question, a *Artifact) // nil: may the app be deployed?
	want  string
}

// need is a requirement for attestations.
func need(name, predicateType, signer string, more ...obj) obj {
	r := obj{"name": name, "predicateTypes": []string{predicateType}, "signers": []string{signer}}
	for _, m := range more {
		maps.Copy(r, m)
	}
	return r
}

// ctl is a control that enforces requirements at deploy.
func ctl(id string, require ...obj) obj {
	if len(require) == 0 {
		return obj{"id": id}
	}
	return obj{"id": id, "check": obj{"require": require}}
}

// with changes a control. The condition is added to its check.
func with(c obj, more obj) obj {
	out := maps.Clone(c)
	for name, v := range more {
		if name != "condition" {
			out[name] = v
			continue
		}
		check := obj{}
		if old, ok := out["check"].(obj); ok {
			check = maps.Clone(old)
		}
		check["condition"] = v
		out["check"] = check
	}
	return out
}

var (
	needsProvenance = ctl("A", need("provenance", provenance, "workflow"))
	addsUp          = with(ctl("A", need("manifest", manifest, "scanner", obj{"kinds": []string{"export-manifest"}})),
		obj{"condition": `evidence.all(e, e.facts.export.privacy.adds_up && e.facts.export.residency.all(r, e.signers.exists(s, s.key_id == r.claimed_by.key_id)) && e.facts.export.contents[0].licenses == ["MIT"] && e.facts.export.regions == ["DE"])`})
	needsScan    = ctl("V", need("scan", scan, "scanner"), need("vex", "https://openvex.dev/ns**", "workflow", obj{"optional": true}))
	noneOverdue  = with(needsScan, obj{"slaDays": obj{"critical": 7, "high": 30}, "condition": "vulnerabilities.all(v, !v.overdue)"})
	noneCritical = with(needsScan, obj{"condition": `!vulnerabilities.exists(v, v.severity == "critical")`})
)

func modes(rows ...string) []obj {
	var all []obj
	for _, r := range rows {
		parts := strings.Split(r, " ")
		row := obj{"stage": parts[0], "mode": parts[1]}
		if len(parts) > 2 {
			row["environments"] = parts[2:]
		}
		all = append(all, row)
	}
	return all
}

// built puts a control set in force that needs provenance, and appends it.
func built(w *world) {
	w.put(nil, needsProvenance)
	w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
}

func at(environment string) func(*Question, *Artifact) {
	return func(q *Question, _ *Artifact) { q.Environment = environment }
}

func about(change func(*Artifact)) func(*Question, *Artifact) {
	return func(_ *Question, a *Artifact) { change(a) }
}

// excepted puts a control in force whose evidence is missing, and appends a
// request for an exception at hour 1 until hour 10. The question is at hour 2.
func excepted(control obj, change func(*entry.Header), decide func(w *world, request uint64)) func(*world) {
	return func(w *world) {
		w.put(nil, control)
		w.now = 1
		r := w.request("E-1", "A", 10)
		if change != nil {
			change(w.last())
		}
		if decide != nil {
			decide(w, r)
		}
		w.now = 2
	}
}

// signed is excepted for break-glass that the key of dana signed, which lee has
// registered.
func signed(change func(*entry.Header), decide func(w *world, request uint64)) func(*world) {
	return func(w *world) {
		w.register("SHA256:dana", dana, lee)
		excepted(twoDays, func(h *entry.Header) {
			h.Submitter = "token:ci"
			for name, v := range map[string]string{"keyId": "SHA256:dana", "breakGlass": "true", "used": "2026-11-01T00:30:00Z"} {
				h.Attributes[name] = v
			}
			if change != nil {
				change(h)
			}
		}, decide)(w)
	}
}

// usedBy is excepted for break-glass by another user than the requester, with
// decisions. A rejection after an approval has no effect.
func usedBy(user string, decisions ...[2]string) func(*world) {
	return excepted(needsProvenance, func(h *entry.Header) {
		h.Attributes["breakGlass"], h.Attributes["usedBy"] = "true", user
	}, func(w *world, r uint64) {
		for _, d := range decisions {
			w.decision("E-1", r, d[0], d[1])
		}
	})
}

var twoDays = with(needsProvenance, obj{"exceptions": obj{"maxDays": 2}})

func approved(by ...string) func(*world, uint64) {
	return func(w *world, r uint64) {
		for _, p := range by {
			w.decision("E-1", r, "approve", p)
		}
	}
}

var twoApprovers = with(needsProvenance, obj{"exceptions": obj{"maxDays": 1, "approvers": 2}})

var cases = []testCase{
	// Section 2.
	{"an empty stream", func(w *world) {}, nil, "undecided no-control-set; 24h"},
	{"controls without a set", func(w *world) {
		w.put(nil, needsProvenance)
		w.entries = w.entries[:1]
	}, nil, "undecided no-control-set; 24h"},
	{"a set that the policy did not admit", func(w *world) {
		built(w)
		w.put(obj{"version": "2"}, ctl("B", need("x", "https://example.com/x", "workflow")))
		w.last().Admission = &entry.Admission{Result: entry.Recorded}
	}, nil, "pass; A satisfied; 24h"},
	{"the set's payload is erased", func(w *world) {
		w.erase(w.put(nil, needsProvenance), false)
	}, nil, "undecided unreadable-control-set; 24h"},
	{"a control's payload is erased", func(w *world) {
		w.put(nil, needsProvenance)
		w.erase(0, false)
	}, nil, "undecided unreadable-control-set; 24h"},
	{"an erased set and an older one", func(w *world) {
		built(w)
		w.erase(w.put(obj{"version": "2"}, needsProvenance), false)
	}, nil, "undecided unreadable-control-set; 24h"},
	{"a control follows the set that lists it", func(w *world) {
		w.put(nil, needsProvenance)
		w.entries[0], w.entries[1] = w.entries[1], w.entries[0]
		w.entries[0].Index, w.entries[1].Index = 0, 1
	}, nil, "undecided unreadable-control-set; 24h"},
	{"a later control that the set does not list", func(w *world) {
		built(w)
		w.put(nil, with(needsProvenance, obj{"severity": "low"}), ctl("B", need("x", "https://example.com/x", "workflow")))
		w.entries = w.entries[:len(w.entries)-1]
	}, nil, "pass; A satisfied; 24h"},
	{"a cycle of included controls", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"includes": []string{"B"}}), obj{"id": "B", "includes": []string{"A"}})
	}, nil, "undecided unreadable-control-set; 24h"},
	{"an included control that is not in the set", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"includes": []string{"B"}}))
	}, nil, "undecided unreadable-control-set; 24h"},
	{"a signer that is not defined", func(w *world) {
		w.put(nil, ctl("A", need("x", provenance, "nobody")))
	}, nil, "undecided unreadable-control-set; 24h"},
	{"a condition that does not compile", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": "nothing == 1"}))
	}, nil, "undecided unreadable-control-set; 24h"},
	{"an undefined member", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"colour": "red"}))
	}, nil, "undecided unreadable-control-set; 24h"},
	{"an unknown stage", built, func(q *Question, _ *Artifact) { q.Stage = "cutover" }, "undecided unknown-stage; 24h"},
	{"an environment that the set lists", func(w *world) {
		w.put(obj{"environments": []string{"staging", "production/**"}}, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, at("production/eu"), "pass; A satisfied; 24h"},
	{"a misspelled environment", func(w *world) {
		w.put(obj{"environments": []string{"staging", "production/**"}}, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, at("prodction/eu"), "undecided unknown-environment; 24h"},
	{"no environment, and the set lists some", func(w *world) {
		w.put(obj{"environments": []string{"staging"}}, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; 24h"},
	{"a mode for an environment that the set does not list", func(w *world) {
		w.put(obj{"environments": []string{"staging", "production/**"}}, with(needsProvenance, obj{"modes": modes("deploy enforce prodction")}))
	}, nil, "undecided unreadable-control-set; 24h"},
	{"the stage and the environment are unknown", func(w *world) {
		w.put(obj{"environments": []string{"staging"}}, needsProvenance)
	}, func(q *Question, _ *Artifact) { q.Stage, q.Environment = "cutover", "moon" }, "undecided unknown-stage; 24h"},
	{"the same artifact by an algorithm that is not listed", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), map[string]string{"crc32": "cbf43926"}, byWorkflow)
	}, func(_ *Question, a *Artifact) { a.Digest = map[string]string{"crc32": "cbf43926"} }, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"the same artifact by blake2b", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), map[string]string{"BLAKE2b": strings.Repeat("C", 128)}, byWorkflow)
	}, func(_ *Question, a *Artifact) { a.Digest = map[string]string{"blake2b": strings.Repeat("c", 128)} }, "pass; A satisfied; 24h"},
	{"a stage without modes", built, func(q *Question, _ *Artifact) { q.Stage = "build" }, "undecided no-control-applies; 24h"},
	{"no control applies", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"types": []string{"chart"}}}))
	}, nil, "undecided no-control-applies; A not-applicable; 24h"},
	{"satisfied", built, nil, "pass; A satisfied; 24h"},
	{"missing", func(w *world) { w.put(nil, needsProvenance) }, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"blocked outweighs undecided", func(w *world) {
		w.put(nil, with(ctl("U"), obj{"condition": `subject.nothing == 1`}), needsProvenance)
	}, nil, "blocked; U undecided condition-error; A not-satisfied missing-evidence [provenance]; 24h"},
	{"undecided outweighs satisfied", func(w *world) {
		w.put(nil, with(ctl("U"), obj{"condition": `subject.nothing == 1`}), needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "undecided; U undecided condition-error; A satisfied; 24h"},
	{"an undecided control that only warns", func(w *world) {
		w.put(nil, with(ctl("U"), obj{"condition": `subject.nothing == 1`, "modes": modes("deploy warn")}))
	}, nil, "pass; U (warn) undecided condition-error; 24h"},
	{"a control that only audits", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy audit")}))
	}, nil, "pass; A (audit) not-satisfied missing-evidence [provenance]; 24h"},
	{"entries at and above the size do not exist", func(w *world) {
		built(w)
		w.now = 1
	}, func(q *Question, _ *Artifact) { q.At.Size = 2 }, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"a size below the set", built, func(q *Question, _ *Artifact) { q.At.Size = 1 }, "undecided no-control-set; 24h"},

	// Section 3: modes and applicability.
	{"the first row that matches", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy audit production/eu", "deploy enforce production/*", "deploy warn")}))
	}, at("production/us"), "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"an earlier row matches", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy audit production/eu", "deploy enforce production/*", "deploy warn")}))
	}, at("production/eu"), "pass; A (audit) not-satisfied missing-evidence [provenance]; 24h"},
	{"a row without environments", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy enforce production/*", "deploy warn")}))
	}, at("staging"), "pass; A (warn) not-satisfied missing-evidence [provenance]; 24h"},
	{"no row matches the environment", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy enforce production/*")}))
	}, at("staging"), "undecided no-control-applies; 24h"},
	{"without an environment the strictest row", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy audit", "deploy enforce production/*", "build enforce")}))
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"without an environment, no row enforces", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy audit", "deploy warn production/*", "build enforce")}))
	}, nil, "pass; A (warn) not-satisfied missing-evidence [provenance]; 24h"},
	{"another environment's case", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy enforce production/*")}))
	}, at("Production/eu"), "undecided no-control-applies; 24h"},
	{"a star does not match a slash", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"modes": modes("deploy enforce production/*", "deploy warn")}))
	}, at("production/eu/1"), "pass; A (warn) not-satisfied missing-evidence [provenance]; 24h"},
	{"another type", func(w *world) {
		built(w)
		w.put(nil, needsProvenance, with(ctl("C", need("x", "https://example.com/x", "workflow")), obj{"appliesTo": obj{"types": []string{"chart"}}}))
	}, nil, "pass; A satisfied; C not-applicable; 24h"},
	{"another name", func(w *world) {
		built(w)
		w.put(nil, needsProvenance, with(ctl("C", need("x", "https://example.com/x", "workflow")), obj{"appliesTo": obj{"names": []string{"registry.example/other:*"}}}))
	}, nil, "pass; A satisfied; C not-applicable; 24h"},
	{"the name without a tag", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"names": []string{"registry.example/app"}}}))
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"another spelling of the registry", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"names": []string{"registry.example/**"}}}))
	}, about(func(a *Artifact) { a.Name = "Registry.EXAMPLE:443/app" }), "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"another spelling and a tag", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"names": []string{"registry.example/team/app"}}}))
	}, about(func(a *Artifact) { a.Name = "registry.example:443/team/app:1:2" }), "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"another port", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"names": []string{"registry.example/**"}}}))
	}, about(func(a *Artifact) { a.Name = "registry.example:8443/app" }), "undecided no-control-applies; A not-applicable; 24h"},
	{"a path in other letters", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"names": []string{"registry.example/app"}}}))
	}, about(func(a *Artifact) { a.Name = "registry.example/App" }), "undecided no-control-applies; A not-applicable; 24h"},
	{"the name of a file with a colon", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"names": []string{"app"}}}))
	}, about(func(a *Artifact) { a.Type, a.Name = "file", "app:1" }), "undecided no-control-applies; A not-applicable; 24h"},
	{"a subject without a name", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"appliesTo": obj{"names": []string{"registry.example/other:*"}}}))
	}, about(func(a *Artifact) { a.Name = "" }), "blocked; A not-satisfied missing-evidence [provenance]; 24h"},

	// Section 4: evidence.
	{"another digest", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), sha("b"), byWorkflow)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"a digest in upper case", built, about(func(a *Artifact) {
		a.Digest = map[string]string{"SHA256": strings.ToUpper(app.Digest["sha256"])}
	}), "pass; A satisfied; 24h"},
	{"a second digest that differs", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), map[string]string{"sha256": app.Digest["sha256"], "sha512": strings.Repeat("1", 128)}, byWorkflow)
	}, about(func(a *Artifact) {
		a.Digest = map[string]string{"sha256": app.Digest["sha256"], "sha512": strings.Repeat("2", 128)}
	}), "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"a second digest of one side only", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), map[string]string{"sha256": app.Digest["sha256"], "sha512": strings.Repeat("1", 128)}, byWorkflow)
	}, nil, "pass; A satisfied; 24h"},
	{"only MD5 in common", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), map[string]string{"md5": strings.Repeat("1", 32)}, byWorkflow)
	}, about(func(a *Artifact) {
		a.Digest = map[string]string{"sha256": app.Digest["sha256"], "md5": strings.Repeat("1", 32)}
	}), "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"evidence that the policy did not admit", func(w *world) {
		built(w)
		w.last().Admission = &entry.Admission{Result: entry.Recorded}
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"evidence that the policy admitted", func(w *world) {
		built(w)
		w.last().Admission = &entry.Admission{Result: entry.Admitted}
	}, nil, "pass; A satisfied; 24h"},
	{"invalid signatures", func(w *world) {
		built(w)
		w.last().Verification.Result = entry.Failed
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"signatures that were not verified", func(w *world) {
		built(w)
		w.last().Verification.Result = entry.Unverified
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"an unlisted signer", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byMallory)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"an identity of another issuer", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, entry.Signer{Identity: workflow, Issuer: "https://evil.example"})
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"an identity that contains a matching one", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, entry.Signer{Identity: "https://evil.example/?" + workflow, Issuer: issuer})
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"a listed signer beside another", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byMallory, byWorkflow)
	}, nil, "pass; A satisfied; 24h"},
	{"the header of the evidence is erased", func(w *world) {
		built(w)
		w.erase(2, true)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"only the payload of the evidence is erased", func(w *world) {
		built(w)
		w.erase(2, false)
	}, nil, "pass; A satisfied; 24h"},
	{"another predicate type", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest("https://slsa.dev/provenance/v0.2", buildOf("b"), app.Digest, byWorkflow)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"a pattern of predicate types", func(w *world) {
		w.put(nil, ctl("A", need("provenance", "https://slsa.dev/provenance/*", "workflow")))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; 24h"},
	{"evidence without a predicate type", func(w *world) {
		w.put(nil, ctl("A", need("any", "**", "workflow")))
		w.attest("", obj{}, app.Digest, byWorkflow)
	}, nil, "blocked; A not-satisfied missing-evidence [any]; 24h"},
	{"another kind", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
		w.last().Kind = kindname.TriageAction
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"an unsigned kind by a listed submitter", func(w *world) {
		w.put(nil, ctl("A", obj{"name": "export", "kinds": []string{"export-manifest"}, "signers": []string{"robot"}}))
		w.add(entry.Header{Kind: kindname.ExportManifest, Subjects: []entry.Subject{{Digest: app.Digest}}, Submitter: "token:robot-1"}, "{}")
	}, nil, "pass; A satisfied; 24h"},
	{"an unsigned kind by another submitter", func(w *world) {
		w.put(nil, ctl("A", obj{"name": "export", "kinds": []string{"export-manifest"}, "signers": []string{"robot"}}))
		w.add(entry.Header{Kind: kindname.ExportManifest, Subjects: []entry.Subject{{Digest: app.Digest}}, Submitter: "token:ci"}, "{}")
	}, nil, "blocked; A not-satisfied missing-evidence [export]; 24h"},
	{"an export manifest about its own file, that adds up", func(w *world) {
		w.put(nil, addsUp)
		w.manifest("0.5", byScanner)
	}, nil, "pass; A satisfied; 24h"},
	{"an export manifest that does not add up", func(w *world) {
		w.put(nil, addsUp)
		w.manifest("0.1", byScanner)
	}, nil, "blocked; A not-satisfied condition-false; 24h"},
	{"an export manifest with a claim by another signer", func(w *world) {
		w.put(nil, addsUp)
		w.manifest("0.5", byWorkflow)
	}, nil, "blocked; A not-satisfied missing-evidence [manifest]; 24h"},
	{"an erased export manifest", func(w *world) {
		w.put(nil, addsUp)
		w.erase(w.manifest("0.5", byScanner), false)
	}, nil, "undecided; A undecided facts-unavailable; 24h"},
	{"a requirement that does not select export manifests", func(w *world) {
		w.put(nil, ctl("A", need("manifest", "**", "scanner")))
		w.manifest("0.5", byScanner)
	}, nil, "blocked; A not-satisfied missing-evidence [manifest]; 24h"},
	{"anybody's evidence", func(w *world) {
		w.put(nil, ctl("A", obj{"name": "any", "unsigned": true}))
		w.attest(provenance, buildOf("b"), app.Digest)
	}, nil, "pass; A satisfied; 24h"},
	{"anybody's evidence, restricted to submitters", func(w *world) {
		w.put(nil, ctl("A", obj{"name": "any", "unsigned": true, "submitters": []string{"token:robot-*"}}))
		w.attest(provenance, buildOf("b"), app.Digest)
	}, nil, "blocked; A not-satisfied missing-evidence [any]; 24h"},
	{"two signers of one entry", func(w *world) {
		w.put(nil, ctl("A", need("scan", scan, "scanner", obj{"minSigners": 2})))
		w.attest(scan, scanOf(), app.Digest, byScanner, byScanner2)
	}, nil, "pass; A satisfied; 24h"},
	{"two signers of two entries", func(w *world) {
		w.put(nil, ctl("A", need("scan", scan, "scanner", obj{"minSigners": 2})))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.attest(scan, scanOf(), app.Digest, byScanner2)
	}, nil, "pass; A satisfied; 24h"},
	{"one signer of two entries", func(w *world) {
		w.put(nil, ctl("A", need("scan", scan, "scanner", obj{"minSigners": 2})))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.attest(scan, scanOf(), app.Digest, byScanner)
	}, nil, "blocked; A not-satisfied too-few-signers [scan]; 24h"},
	{"one signer by identity twice", func(w *world) {
		w.put(nil, ctl("A", need("provenance", provenance, "workflow", obj{"minSigners": 2})))
		w.attest(provenance, buildOf("b"), app.Digest, entry.Signer{Identity: workflow, Issuer: issuer, KeyID: "1"})
		w.attest(provenance, buildOf("b"), app.Digest, entry.Signer{Identity: workflow, Issuer: issuer, KeyID: "2"})
	}, nil, "blocked; A not-satisfied too-few-signers [provenance]; 24h"},
	{"two requirements, one met", func(w *world) {
		w.put(nil, ctl("A", need("provenance", provenance, "workflow"), need("scan", scan, "scanner"), need("tests", testResult, "workflow")))
		w.attest(scan, scanOf(), app.Digest, byScanner)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance, tests]; 24h"},
	{"an optional requirement", func(w *world) {
		w.put(nil, ctl("A", need("provenance", provenance, "workflow"), need("scan", scan, "scanner", obj{"optional": true})))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; 24h"},

	// Age.
	{"evidence at its greatest age", func(w *world) {
		w.put(nil, ctl("A", need("scan", scan, "scanner", obj{"maxAgeSeconds": "7200"})))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.now = 2
	}, nil, "pass; A satisfied; 0h"},
	{"evidence too old", func(w *world) {
		w.put(nil, ctl("A", need("scan", scan, "scanner", obj{"maxAgeSeconds": "7200"})))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.now = 2.5
	}, nil, "blocked; A not-satisfied missing-evidence [scan]; 24h"},
	{"the newest evidence decides how long it is valid", func(w *world) {
		w.put(nil, ctl("A", need("scan", scan, "scanner", obj{"maxAgeSeconds": "7200"})))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.now = 1
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.now = 1.5
	}, nil, "pass; A satisfied; 1.5h"},
	{"the second newest signer decides how long it is valid", func(w *world) {
		w.put(nil, ctl("A", need("scan", scan, "scanner", obj{"maxAgeSeconds": "7200", "minSigners": 2})))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.now = 1
		w.attest(scan, scanOf(), app.Digest, byScanner2)
		w.now = 1.5
	}, nil, "pass; A satisfied; 0.5h"},
	{"a condition can read the oldest evidence", func(w *world) {
		w.put(nil, with(ctl("A", need("scan", scan, "scanner", obj{"maxAgeSeconds": "7200"})), obj{"condition": "size(evidence) > 0"}))
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.now = 1
		w.attest(scan, scanOf(), app.Digest, byScanner)
		w.now = 1.5
	}, nil, "pass; A satisfied; 0.5h"},
	{"the set limits how long decisions are valid", func(w *world) {
		w.put(obj{"validSeconds": "3600"}, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; 1h"},
	{"a condition that reads the time", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"condition": `now > timestamp("2026-01-01T00:00:00Z")`}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; 1h"},

	// Key events.
	{"a key retired later", func(w *world) {
		built(w)
		w.now = 2
		w.keyEvent("retired", byWorkflow, 1)
	}, nil, "pass; A satisfied; 24h"},
	{"evidence at the time of the retirement", func(w *world) {
		built(w)
		w.keyEvent("retired", byWorkflow, 0)
	}, nil, "pass; A satisfied; 24h"},
	{"evidence after the retirement", func(w *world) {
		w.put(nil, needsProvenance)
		w.now = 2
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
		w.keyEvent("retired", byWorkflow, 1)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"evidence at the time of the compromise", func(w *world) {
		built(w)
		w.keyEvent("compromised", byWorkflow, 0)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"evidence before the compromise", func(w *world) {
		built(w)
		w.keyEvent("compromised", byWorkflow, 0.5)
	}, nil, "pass; A satisfied; 24h"},
	{"the identity of another issuer is compromised", func(w *world) {
		built(w)
		w.keyEvent("compromised", entry.Signer{Identity: workflow, Issuer: "https://evil.example"}, 0)
	}, nil, "pass; A satisfied; 24h"},
	{"a key of two is compromised", func(w *world) {
		w.put(nil, ctl("A", need("scan", scan, "scanner")))
		w.attest(scan, scanOf(), app.Digest, byScanner, byScanner2)
		w.keyEvent("compromised", byScanner, 0)
	}, nil, "pass; A satisfied; 24h"},
	{"the key of an identity is compromised", func(w *world) {
		w.put(nil, needsProvenance)
		w.attest(provenance, buildOf("b"), app.Digest, entry.Signer{Identity: workflow, Issuer: issuer, KeyID: "k"})
		w.keyEvent("compromised", entry.Signer{KeyID: "k"}, 0)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"a later event does not end an earlier one", func(w *world) {
		built(w)
		w.keyEvent("compromised", byWorkflow, 0)
		w.keyEvent("compromised", byWorkflow, 5)
		w.keyEvent("registered", byWorkflow, 0)
	}, nil, "blocked; A not-satisfied missing-evidence [provenance]; 24h"},
	{"a compromise recorded above the size", func(w *world) {
		built(w)
		w.keyEvent("compromised", byWorkflow, 0)
	}, func(q *Question, _ *Artifact) { q.At.Size = 3 }, "pass; A satisfied; 24h"},

	// Included controls.
	{"an included control is not satisfied", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"includes": []string{"B"}}), with(ctl("B", need("scan", scan, "scanner")), obj{"modes": modes("build enforce")}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "blocked; A not-satisfied included-control [scan]; 24h"},
	{"an included control that does not apply by itself", func(w *world) {
		w.put(nil, with(needsProvenance, obj{"includes": []string{"B"}}), with(ctl("B", need("scan", scan, "scanner")), obj{"appliesTo": obj{"types": []string{"chart"}}}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "blocked; A not-satisfied included-control [scan]; B not-applicable; 24h"},
	{"an included control is undecided, another not satisfied", func(w *world) {
		w.put(nil, obj{"id": "A", "includes": []string{"U", "B"}}, with(ctl("U"), obj{"condition": "subject.nothing == 1", "modes": modes("build enforce")}), with(ctl("B", need("scan", scan, "scanner")), obj{"modes": modes("build enforce")}))
	}, nil, "blocked; A not-satisfied included-control [scan]; 24h"},
	{"an included control is undecided", func(w *world) {
		w.put(nil, obj{"id": "A", "includes": []string{"U"}}, with(ctl("U"), obj{"condition": "subject.nothing == 1", "modes": modes("build enforce")}))
	}, nil, "undecided; A undecided included-control; 24h"},
	{"included controls are satisfied", func(w *world) {
		w.put(nil, obj{"id": "A", "includes": []string{"B"}}, with(needsProvenance, obj{"id": "B"}))
		w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
	}, nil, "pass; A satisfied; B satisfied; 24h"},
	{"an exception from an included control", func(w *world) {
		w.put(nil, obj{"id": "B", "includes": []string{"A"}}, with(needsProvenance, obj{"modes": modes("build enforce")}))
		r := w.request("E-1", "A", 10)
		w.decision("E-1", r, "approve", kim)
	}, nil, "blocked; B not-satisfied included-control [provenance]; 24h"},
}

// parts returns an index of two platforms.
func parts(a *Artifact) {
	a.Digest = sha("1")
	a.Parts = []evaluate.Part{{Name: "linux/amd64", Digest: sha("2")}, {Name: "linux/arm64", Digest: sha("3")}}
}

package reportrig

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// People.
const (
	Ada = "oidc:https://id.acme.example#ada"
	Kim = "oidc:https://id.acme.example#kim"
	Lee = "oidc:https://id.acme.example#lee"
)

var (
	workflow = entry.Signer{Identity: "https://github.com/acme/gateway/.github/workflows/release.yml@refs/tags/v1.7.0", Issuer: "https://token.actions.githubusercontent.com"}
	scanner  = entry.Signer{KeyID: "sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"}
)

// Types of predicates.
const (
	provenance = "https://slsa.dev/provenance/v1"
	spdx       = "https://spdx.dev/Document/v2.3"
	scan       = "https://cosign.sigstore.dev/attestation/vuln/v1"
	testResult = "https://in-toto.io/attestation/test-result/v0.1"
)

const day = 24 * time.Hour

// artifactOf returns an artifact of a release.
func artifactOf(kind, name, release string) decide.Artifact {
	full := map[string]string{"image": "registry.acme.example/" + name + ":" + release, "chart": name + "-" + release + ".tgz"}[kind]
	if full == "" {
		full = name
	}
	return decide.Artifact{Subject: evaluate.Subject{Type: kind, Name: full, Digest: Digest(full + release)}}
}

// artifactsOf returns the artifacts of a release.
func artifactsOf(release string) []decide.Artifact {
	return []decide.Artifact{
		artifactOf("image", "gateway", release), artifactOf("image", "worker", release), artifactOf("image", "legacy-billing", release),
		artifactOf("chart", "gateway", release), artifactOf("chart", "worker", release), artifactOf(artifact.ExportManifest, "embeddings-2026-11", release),
	}
}

// Story records what happens around release 1.7.0, and returns its selection.
func (r *Rig) Story() *report.Selection {
	r.Apply(controls)
	r.findings(0)
	before := artifactsOf("1.6.2")
	for i := range before {
		r.evidence(&before[i], "1.6.2", i)
	}
	r.Pass(30 * day)
	r.findings(1)
	r.exceptions()
	r.Pass(2 * day)
	after := artifactsOf("1.7.0")
	for i := range after {
		r.evidence(&after[i], "1.7.0", i)
	}
	r.findings(2)
	r.operations(after)
	r.Pass(26 * time.Hour)
	return &report.Selection{Name: "1.7.0", What: "release 1.7.0", Artifacts: after, Since: Start.Add(40 * day), Previous: &report.Previous{Name: "1.6.2", Artifacts: before}}
}

// evidence records the evidence about an artifact. The chart of the worker has
// none.
func (r *Rig) evidence(a *decide.Artifact, release string, i int) {
	commit := Digest("commit of " + release)["sha256"][:40]
	build := map[string]any{
		"buildDefinition": map[string]any{"buildType": "https://actions.github.io/buildtypes/workflow/v1", "externalParameters": map[string]any{"workflow": map[string]any{"ref": "refs/tags/v" + release, "path": ".github/workflows/release.yml"}, "race": release == "1.7.0"},
			"resolvedDependencies": []any{map[string]any{"uri": "git+https://github.com/acme/gateway@refs/tags/v" + release, "digest": map[string]any{"gitCommit": commit}},
				map[string]any{"uri": "pkg:docker/registry.acme.example/base@3.20", "digest": Digest("base" + release)}}},
		"runDetails": map[string]any{"builder": map[string]any{"id": "https://github.com/actions/runner"}, "metadata": map[string]any{"invocationId": "https://github.com/acme/gateway/actions/runs/" + release}},
	}
	switch {
	case a.Type == artifact.ExportManifest:
		epsilon, spent, budget := 0.5, 2.0, 8.0
		r.Record(kindname.ExportManifest, &munimentv1.ExportManifest{Name: a.Name, Created: timestamppb.New(r.now), Files: []*munimentv1.ExportFile{{Path: a.Name, Digest: a.Digest}}, ResidencyRegions: []string{"eu-central-1"}, Licenses: []string{"CC-BY-4.0"},
			PrivacyBudget: &munimentv1.PrivacyBudget{Epsilon: &epsilon, Spent: &spent, Budget: &budget}}, "token:data-office")
		return
	case i == 4 && release == "1.7.0":
		return
	case i == 2: // its build host cannot sign
		r.Attest(a, provenance, build)
	default:
		r.Attest(a, provenance, build, workflow)
	}
	if a.Type == "chart" {
		return
	}
	r.Attest(a, spdx, sbomOf(release), workflow)
	matches := []any{}
	if i == 1 {
		matches = append(matches, map[string]any{"vulnerability": map[string]any{"id": "CVE-2026-1117", "severity": "High"}, "artifact": map[string]any{"name": "left-pad", "version": "1.3.0", "purl": "pkg:npm/left-pad@1.3.0"}})
	}
	r.Attest(a, scan, map[string]any{"scanner": map[string]any{"uri": "grype", "version": "0.99", "result": map[string]any{"matches": matches}}}, scanner)
	if i == 0 {
		r.Attest(a, testResult, map[string]any{"result": "WARNED", "configuration": []any{map[string]any{"name": "canary.yaml", "digest": Digest("canary")}}, "passedTests": []any{"latency p50", "latency p99", "error rate", "saturation"}, "warnedTests": []any{"cache hit ratio"}, "failedTests": []any{}}, workflow)
	}
}

// sbomOf returns the bill of materials of a release.
func sbomOf(release string) map[string]any {
	packages := []any{}
	add := func(name, version, license string) {
		packages = append(packages, map[string]any{"name": name, "versionInfo": version, "licenseConcluded": license, "SPDXID": "SPDXRef-" + name,
			"externalRefs": []any{map[string]any{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:npm/" + name + "@" + version}}})
	}
	for i := range 40 {
		add(fmt.Sprintf("%s-%02d", oneOf("router parser codec logger cache", i), i), fmt.Sprintf("2.%d.0", i), "MIT")
	}
	if release == "1.6.2" {
		add("left-pad", "1.2.0", "WTFPL")
		add("request", "2.88.2", "Apache-2.0")
		add("redis", "7.2.0", "BSD-3-Clause")
	} else {
		add("left-pad", "1.3.0", "WTFPL")
		add("undici", "6.2.1", "MIT")
		add("redis", "7.4.0", "RSALv2")
	}
	return map[string]any{"spdxVersion": "SPDX-2.3", "name": "gateway " + release, "SPDXID": "SPDXRef-DOCUMENT", "creationInfo": map[string]any{"created": "2026-11-01T00:00:00Z", "creators": []any{"Tool: syft"}}, "packages": packages}
}

// exceptions records exceptions in different states.
func (r *Rig) exceptions() {
	in := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(r.now.Add(d)) }
	request := func(id, control, reason, by string, expires time.Duration, globs ...string) uint64 {
		return r.Record(kindname.ExceptionRequest, &munimentv1.ExceptionRequest{Id: id, Control: control, Reason: reason, Expires: in(expires), Scope: &munimentv1.ExceptionScope{Globs: globs}}, by)
	}
	approve := func(id string, index uint64, by string) {
		r.Record(kindname.ExceptionDecision, &munimentv1.ExceptionDecision{Exception: id, Request: &index, Decision: "approve"}, by)
	}
	old := request("EXC-11", "CHART-SIGNED", "the signing key is being rotated", Kim, 7*day, "gateway-*")
	r.Pass(2 * time.Hour)
	approve("EXC-11", old, Ada)
	r.Pass(22 * day)
	billing := request("EXC-17", "SLSA-BUILD-L3", "the build host of legacy-billing is replaced this month", Kim, 14*day, "registry.acme.example/legacy-*")
	r.Pass(3 * time.Hour)
	approve("EXC-17", billing, Ada)
	r.Pass(5 * time.Hour)
	approve("EXC-17", billing, Lee)
	r.Pass(6 * day)
	vuln := request("EXC-19", "VULN-SLA", "the fixed version breaks the parser", Lee, 20*day, "registry.acme.example/worker*")
	r.Pass(time.Hour)
	approve("EXC-19", vuln, Kim)
	request("EXC-21", "CHART-SIGNED", "no signature for the worker chart yet", Kim, 10*day, "worker-*")
}

// findings records reports of findings in three waves.
func (r *Rig) findings(wave int) {
	report := func(i int, status, severity string) {
		title := fmt.Sprintf("%s %s", oneOf("Unsigned Stale Unowned Unreviewed Undocumented", i), oneOf("chart key export image policy exception", i))
		m := &munimentv1.Finding{Id: fmt.Sprintf("AUD-%d", i+1), Title: title, Severity: severity, Status: status, Source: "external audit 2026", Detected: timestamppb.New(Start.Add(time.Duration(i) * day)), Controls: []string{oneOf("CHART-SIGNED VULN-SLA SBOM", i)},
			Description: "Found in a sample of releases."}
		if i%4 == 3 {
			m.Due = timestamppb.New(Start.Add(time.Duration(80+i) * day))
		}
		r.Record(kindname.Finding, m, Lee)
	}
	severity := func(i int) string { return oneOf("high medium low critical", i) }
	switch wave {
	case 0:
		for i := range 9 {
			report(i, "open", severity(i))
			r.Pass(12 * time.Hour)
		}
	case 1:
		for i := range 4 {
			r.resolve(i, severity(i))
			r.Pass(36 * time.Hour)
		}
		report(4, "in-progress", severity(4))
	case 2:
		for i := 9; i < 13; i++ {
			report(i, "open", severity(i))
			r.Pass(6 * time.Hour)
		}
	}
}

// resolve records a resolution as the log records one that it accepts.
func (r *Rig) resolve(i int, severity string) {
	h := &entry.Header{Kind: kindname.Finding, MediaType: mediaTypeOf(kindname.Finding), Controls: []string{oneOf("CHART-SIGNED VULN-SLA SBOM", i)}, Submitter: Lee,
		Attributes: map[string]string{"finding": fmt.Sprintf("AUD-%d", i+1), "title": "Resolved", "severity": severity, "status": "resolved", "source": "external audit 2026", "detected": Start.Add(time.Duration(i) * day).Format(time.RFC3339), "resolution": "accepted", "acceptedBy.1": "CHART-SIGNED", "entry.1": "20"}}
	r.Append(h, []byte(`{}`), nil)
}

// operations records what happened while the release was rolled out.
func (r *Rig) operations(after []decide.Artifact) {
	for i, share := range []string{"0%", "10%", "50%", "100%"} {
		score, ready := 0.97+float64(i)/200, true
		r.Record(kindname.BackfillCheckpoint, &munimentv1.BackfillCheckpoint{Entity: text("orders.customer_region"), Checkpoint: &share, AcaScore: &score, Ts: text(r.now.Format(time.RFC3339)), RollbackReady: &ready}, "token:conductor")
		r.Pass(time.Hour)
	}
	r.Record(kindname.TriageAction, &munimentv1.TriageAction{Incident: "INC-204", Playbook: "latency", Action: "scale out", Result: "succeeded", Actor: "triage-bot", Started: timestamppb.New(r.now.Add(-time.Minute)), Finished: timestamppb.New(r.now), Undo: &munimentv1.UndoAction{Action: "scale in"},
		Subjects: []*munimentv1.Artifact{{Name: after[0].Name, Digest: after[0].Digest}}}, "token:triage")
	p99, hits := 182.4, 0.93
	r.Record(kindname.MetricSnapshot, &munimentv1.MetricSnapshot{Service: "gateway", Window: &munimentv1.MetricWindow{From: timestamppb.New(r.now.Add(-time.Hour)), To: timestamppb.New(r.now)}, Metrics: []*munimentv1.Metric{{Name: "latency_p99", Value: &p99, Unit: "ms"}, {Name: "cache_hit_ratio", Value: &hits, Unit: "ratio"}},
		Subjects: []*munimentv1.Artifact{{Name: after[0].Name, Digest: after[0].Digest}}}, "token:monitor")
	r.inventories(after)
	index := uint64(12)
	r.Record(kindname.VerificationReport, &munimentv1.VerificationReport{Verdict: "verified", ReasonCode: "ok", Version: "1.6.0", Verifier: "muniment-python", Index: &index}, "oidc:https://id.globex.example#ops")
	trace := r.Attest(&after[0], "https://in-toto.io/attestation/runtime-trace/v0.1", map[string]any{"monitor": map[string]any{"type": "https://example.com/trace"}, "monitorLog": map[string]any{}}, workflow)
	r.Erase(trace, "it contained a customer's name")
	size := r.Ledger.Published().Size
	for i := range after {
		outcome := []string{"pass", "blocked", "pass", "pass", "blocked", "pass"}[i]
		r.Record(kindname.GateDecision, &munimentv1.GateDecision{Stage: "deploy", Environment: "production", Decision: outcome, Type: after[i].Type, Subjects: []*munimentv1.Artifact{{Name: after[i].Name, Digest: after[i].Digest}}, Decided: timestamppb.New(r.now), TreeSize: &size,
			ControlSet: "sha256:" + Digest("set")["sha256"], Inputs: "sha256:" + Digest("inputs")["sha256"], ValidUntil: timestamppb.New(r.now.Add(24 * time.Hour))}, "log")
	}
}

// inventories records what the release consists of and what runs. A container
// that no one has attested runs, too.
func (r *Rig) inventories(after []decide.Artifact) {
	list := func(scope, environment, source string, artifacts ...decide.Artifact) {
		m := &munimentv1.Inventory{Environment: environment, Observed: timestamppb.New(r.now), Source: source, Scope: scope}
		for _, a := range artifacts {
			m.Items = append(m.Items, &munimentv1.InventoryItem{Type: a.Type, Artifact: &munimentv1.Artifact{Name: a.Name, Digest: a.Digest}})
		}
		r.Record(kindname.Inventory, m, "token:inventory")
	}
	list("exists", "1.7.0", "release.yaml", after...)
	list("runs", "production", "cluster eu-1", after[0], after[1], artifactOf("image", "debug-shell", "latest"))
}

func text(s string) *string { return &s }

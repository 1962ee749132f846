package ingest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/entry"
)

// exampleTime is the time at which the examples are submitted.
var exampleTime = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// examples returns the examples of docs/spec/kinds.md by kind.
func examples(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/kinds/*.json")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		if all[strings.TrimSuffix(filepath.Base(f), ".json")], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func sha(c string) map[string]string { return map[string]string{"sha256": strings.Repeat(c, 64)} }

var (
	gateway = entry.Subject{Name: "registry.acme.example/gateway", Digest: sha("e")}
	asset   = entry.Subject{Name: "registry.acme.example/asset-service", Digest: sha("d")}
)

// TestTypedKinds appends the example of each typed kind and checks its header.
func TestTypedKinds(t *testing.T) {
	want := map[string]contents{
		"backfill-checkpoint": {attributes: map[string]string{"entity": "Asset", "checkpoint": "50%", "acaScore": "0.96", "ts": "2026-04-19T12:00Z", "rollbackReady": "true"}},
		"backfill-step": {subjects: []entry.Subject{{Name: "asset-price.yaml", Digest: sha("f")}}, attributes: map[string]string{
			"entity": "Asset", "run": "01J9ZQ4V7K", "step": "checkpoint", "phase": "outcome", "result": "succeeded", "ts": "2026-04-19T12:00:04Z",
			"actor": "conductor@db1.acme.example", "checkpoint": "50%", "acaScore": "0.96", "verdict": "pass"}},
		"export-manifest": {
			subjects:  []entry.Subject{{Name: "assets/part-0000.parquet", Digest: sha("a")}, {Name: "assets/schema.json", Digest: sha("b")}},
			materials: []entry.Subject{{Name: "postgres://assets/snapshot-1187", Digest: sha("c")}}, controls: []string{"DATA-RESIDENCY-01"},
			attributes: map[string]string{"name": "assets-2026-q2", "created": "2026-07-01T06:00:00Z", "files": "2", "region.1": "DE", "region.2": "eu-central-1", "license.1": "CC-BY-4.0",
				"license.2": "LicenseRef-acme-export OR (MIT AND Apache-2.0)", "epsilon": "0.25", "epsilonSpent": "0.75", "epsilonBudget": "1"},
		},
		"triage-action": {subjects: []entry.Subject{asset}, attributes: map[string]string{
			"incident": "INC-2041", "playbook": "cache-stampede", "action": "scale-out", "result": "succeeded", "actor": "autopilot@acme.example", "undo": "scale-in",
			"started": "2026-06-03T08:14:00Z", "finished": "2026-06-03T08:16:30Z",
			"trace.1": "4bf92f3577b34da6a3ce929d0e0e4736", "trace.2": "0af7651916cd43dd8448eb211c80319c", "alert.1": "AssetLatencyP99High",
		}},
		"exception-request": {subjects: []entry.Subject{gateway}, controls: []string{"VULN-HIGH-30D"}, attributes: map[string]string{
			"exception": "EXC-17", "finding.1": "CVE-2026-12345", "glob.1": "registry.acme.example/gateway:1.7.*", "environment.1": "production/**", "expires": "2099-01-01T00:00:00Z",
		}},
		"exception-decision": {attributes: map[string]string{"exception": "EXC-17", "request": "31", "decision": "renew", "expires": "2099-02-01T00:00:00Z"}},
		"finding": {subjects: []entry.Subject{gateway}, controls: []string{"VULN-HIGH-30D"}, attributes: map[string]string{
			"finding": "CVE-2026-12345", "severity": "high", "status": "resolved", "source": "grype 0.99", "title": "Request smuggling in the HTTP parser", "detected": "2026-05-02T10:00:00Z",
			"location": "pkg:golang/example.com/http@1.2.3", "score": "8.1", "alias.1": "GHSA-xxxx-yyyy-zzzz", "entry.1": "12", "entry.2": "40", "due": "2026-06-01T10:00:00Z",
		}},
		"control": {controls: []string{"VULN-HIGH-30D"}, attributes: map[string]string{"title": "High findings are resolved within 30 days", "state": "active", "severity": "high",
			"owner": "security@acme.example", "framework.1": "NIST SP 800-53: SI-2", "framework.2": "ISO 27001: A.8.8"}},
		"control-set": {controls: []string{"SLSA-BUILD-L3", "VULN-HIGH-30D"}, attributes: map[string]string{"version": "2026-11", "controls": "2"}},
		"key-event": {attributes: map[string]string{"keyId": "sha256:eb521a60201377e69d097199f46690104a6954fa6e16269a3b4da28a819647a7", "event": "registered", "from": "2026-05-01T00:00:00Z",
			"person": "oidc:https://login.acme.example#dana"}},
		"gate-decision": {subjects: []entry.Subject{gateway}, controls: []string{"SLSA-BUILD-L3", "VULN-HIGH-30D"},
			attributes: map[string]string{"stage": "deploy", "decision": "pass", "environment": "production/eu-central-1", "decided": "2026-05-03T09:30:00Z", "type": "image",
				"controlSet": "sha256:" + strings.Repeat("3", 64), "inputs": "sha256:" + strings.Repeat("4", 64), "validUntil": "2026-05-04T09:30:00Z"}},
		"inventory": {subjects: []entry.Subject{gateway, asset},
			attributes: map[string]string{"scope": "runs", "environment": "production/eu-central-1", "observed": "2026-05-03T10:00:00Z", "source": "kube-state 2.19", "items": "2"}},
		"metric-snapshot": {subjects: []entry.Subject{asset}, controls: []string{"SLO-ASSETS"}, attributes: map[string]string{"service": "asset-service",
			"from": "2026-05-03T09:00:00Z", "to": "2026-05-03T10:00:00Z", "metric:latency_p99": "84.5", "metric:cache_hit_ratio": "0.93"}},
		"verification-report": {subjects: []entry.Subject{{Digest: sha("e")}}, attributes: map[string]string{"verdict": "not-verified", "reasonCode": "tag_mismatch",
			"version": "1.4.0", "verifier": "muniment-python", "verifiedAt": "2026-05-04T07:00:00Z", "entry": "31"}},
		"vetting": {subjects: []entry.Subject{{Name: "docker.io/library/debian", Digest: sha("e")}}, attributes: map[string]string{
			"image": "docker.io/library/debian:13-slim", "vetted": "2026-05-04T09:00:00Z", "expires": "2026-08-01T00:00:00Z"}},
		"erasure": {attributes: map[string]string{"entry": "31", "scope": "payload", "reason": "GDPR request 88", "actor": "token:acme"}},
		"config":  {attributes: map[string]string{"name": "admission-policy", "type": "admission-policy", "digest": entry.SHA256([]byte("mode: record\n")), "reason": "first policy", "actor": "token:acme"}},
	}
	all := examples(t)
	spec, err := os.ReadFile("../docs/spec/kinds.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Kinds() {
		if row := specRow(table[name]); !strings.Contains(string(spec), row) {
			t.Errorf("docs/spec/kinds.md lacks the row %s", row)
		}
		if !strings.Contains(string(spec), "\n## `"+name+"` (") || !strings.Contains(string(spec), strings.TrimSpace(string(all[name]))) {
			t.Errorf("docs/spec/kinds.md has no section with the example of kind %s", name)
		}
		if !table[name].Typed() {
			continue
		}
		example, ok := all[name]
		if !ok {
			t.Errorf("kind %s has no example in testdata/kinds", name)
			continue
		}
		c, err := table[name].read("", example, exampleTime)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		w := want[name]
		c.message = nil
		w.mediaType, w.document = "application/vnd.muniment."+name+".v1+json", example
		if c.attributes = maps.Clone(c.attributes); !reflect.DeepEqual(c, w) {
			t.Errorf("%s: header\n%+v\nwant\n%+v", name, c, w)
		}
		checkContents(t, c)
	}
}

// specRow returns the row of the kind in docs/spec/kinds.md.
func specRow(k kind) string {
	class, author, anchor := "evidence", strings.ToLower(strings.TrimPrefix(k.Author.String(), "ROLE_")), ""
	if k.IsEvent() {
		class = "event"
	}
	for _, r := range k.OtherAuthors {
		author += ", " + strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_"))
	}
	if k.NamedAppender {
		author += ", named appender"
	}
	if k.ByServer() {
		author, anchor = "the server", "-of-the-server"
	}
	return fmt.Sprintf("| [`%s`](#%[1]s-%s%s) | %[2]s | %[4]s | %s |\n", k.Name, class, anchor, author, k.Description)
}

// intentReference refers to the intent of an outcome.
var intentReference = `"intent": {"index": "40", "leafHash": "` + strings.Repeat("1", 64) + `"}`

// TestTriagePhases checks the intents and outcomes of triage actions, whose
// example is an action as a whole.
func TestTriagePhases(t *testing.T) {
	example := string(examples(t)["triage-action"])
	finished := "\"finished\": \"2026-06-03T08:16:30Z\",\n"
	for phase, c := range map[string]struct {
		edits []string
		want  map[string]string
	}{
		"intent": {
			[]string{`"result": "succeeded"`, `"phase": "intent", "step": 2, "withoutLedger": true`, finished, ""},
			map[string]string{"phase": "intent", "step": "2", "withoutLedger": "true", "result": "", "finished": ""},
		},
		"outcome": {
			[]string{`"result"`, `"phase": "outcome", "step": 2, ` + intentReference + `, "result"`},
			map[string]string{"phase": "outcome", "step": "2", "withoutLedger": "", "result": "succeeded", "finished": "2026-06-03T08:16:30Z"},
		},
		"outcome of an undo": {
			[]string{`"result"`, `"phase": "outcome", "step": 3, ` + intentReference + "," + strings.Replace(intentReference, "intent", "undoes", 1) + `, "result"`},
			map[string]string{"phase": "outcome", "step": "3", "undo": "scale-in"},
		},
	} {
		text := strings.NewReplacer(c.edits...).Replace(example)
		got, err := table["triage-action"].read("", []byte(text), exampleTime)
		if err != nil {
			t.Errorf("%s: %v", phase, err)
			continue
		}
		for name, want := range c.want {
			if got.attributes[name] != want {
				t.Errorf("%s: attribute %s is %q, want %q", phase, name, got.attributes[name], want)
			}
		}
	}
}

// TestTypedRules breaks each rule of the typed kinds in their examples, and
// checks that the error names the field.
func TestTypedRules(t *testing.T) {
	for _, c := range []struct{ kind, old, new, wantErr string }{
		{"export-manifest", `"name": "assets-2026-q2",`, ``, "name: "},
		{"export-manifest", `"2026-07-01T06:00:00Z"`, `"yesterday"`, `not a time such as "2026-01-31T12:00:00Z": "yesterday"`},
		{"export-manifest", strings.Repeat("a", 64), "AA", "files[0].digest: sha256"},
		{"export-manifest", `{"sha256": "` + strings.Repeat("a", 64) + `"}`, "{}", "files[0].digest"},
		{"export-manifest", "schema.json", "part-0000.parquet", `files[1].path: duplicate path "assets/part-0000.parquet"`},
		{"export-manifest", `"DE", "eu-central-1"`, ``, "residencyRegions"},
		{"export-manifest", `"eu-central-1"`, `"DE"`, "residencyRegions"},
		{"export-manifest", "CC-BY-4.0", "CC-BUY-4.0", `licenses[0]: "CC-BUY-4.0" is not an SPDX`},
		{"export-manifest", "MIT AND", "MIT BUT", "licenses[1]"},
		{"export-manifest", `"spent": 0.75`, `"spent": 1.75`, "epsilon must not exceed"},
		{"export-manifest", `"epsilon": 0.25`, `"epsilon": 0.9`, "epsilon must not exceed"},
		{"export-manifest", `"epsilon": 0.25, `, ``, "privacyBudget.epsilon"},
		{"export-manifest", `"sizeBytes": "2048"`, `"sizeBytes": "-1"`, "sizeBytes"},
		{"backfill-step", `"name": "asset-price.yaml", `, "", "job: must have a name and the digest sha256 alone"},
		{"backfill-step", `"digest": {"sha256"`, `"digest": {"sha1": "f", "sha256"`, "job: must have a name and the digest sha256 alone"},
		{"backfill-step", "01J9ZQ4V7K", "-1", "run"},
		{"backfill-step", `"step": "checkpoint"`, `"step": "copy"`, "step: must be one of plan, start"},
		{"backfill-step", `"step": "checkpoint"`, `"step": "pause"`, "the step checkpoint must have checkpoint, and no other step can have it"},
		{"backfill-step", `"checkpoint": "50%",`, "", "the step checkpoint must have checkpoint"},
		{"backfill-step", `"50%"`, `"101%"`, "checkpoint: must be a percentage"},
		{"backfill-step", `"phase": "outcome"`, `"phase": "intent"`, "an outcome must have result and intent, and an intent can have neither"},
		{"backfill-step", `"result": "succeeded",`, "", "an outcome must have result and intent"},
		{"backfill-step", `"intent": {"index": "40", "leafHash": "` + strings.Repeat("1", 64) + `"},`, "", "an outcome must have result and intent"},
		{"backfill-step", `"acaScore": 0.96,`, "", "a checkpoint that succeeded must have acaScore, verdict, checkpointEntry and report"},
		{"backfill-step", `"acaScore": 0.96`, `"acaScore": 1.1`, "acaScore"},
		{"backfill-step", `"verdict": "pass",
  "intent"`, `"verdict": "green", "intent"`, "verdict: must be one of pass, below-threshold, blocked"},
		{"backfill-step", `"index": "40"`, `"index": 40`, "intent.index"},
		{"backfill-step", `"index": "40", `, ``, "intent.index"},
		{"backfill-step", strings.Repeat("1", 64), "AA", "intent.leafHash"},
		{"backfill-step", `"report"`, `"differences": "0", "report"`, "only outcomes of validation and rehearsal can have differences"},
		{"backfill-step", `"report"`, `"expires": "2026-04-20T12:00:00Z", "report"`, "a rehearsal that succeeded must have expires, and nothing else can have it"},
		{"triage-action", "INC-2041", "", "incident"},
		{"triage-action", "succeeded", "worked", "result"},
		{"triage-action", `"undo": {"action": "scale-in", "parameters": {"deployment": "asset-service", "replicas": 6}},`, "", "irreversible"},
		{"triage-action", `"undo"`, `"irreversible": true, "undo"`, "irreversible"},
		{"triage-action", `"finished": "2026-06-03T08:16:30Z"`, `"finished": "2026-06-03T08:13:30Z"`, "finished must not be before started"},
		{"triage-action", "4bf92f3577b34da6a3ce929d0e0e4736", "4bf9", "correlation.traces[0]"},
		{"triage-action", `"result": "succeeded",`, "", "any other entry must have result"},
		{"triage-action", `"result"`, `"phase": "plan", "result"`, "phase: must be one of intent, outcome"},
		{"triage-action", `"result": "succeeded"`, `"phase": "intent", "step": 1`, "an intent can have neither result nor finished"},
		{"triage-action", `"result": "succeeded"`, `"step": 1, "result": "succeeded"`, "an intent or outcome must have step, and no other entry can have it"},
		{"triage-action", `"result"`, `"phase": "outcome", "step": 1, "result"`, "an outcome must have intent, and no other entry can have it"},
		{"triage-action", `"result"`, `"phase": "outcome", ` + intentReference + `, "result"`, "an intent or outcome must have step"},
		{"triage-action", `"result"`, intentReference + `, "result"`, "an outcome must have intent, and no other entry can have it"},
		{"triage-action", `"result"`, `"phase": "outcome", "step": 1025, ` + intentReference + `, "result"`, "step"},
		{"triage-action", `"result"`, `"withoutLedger": true, "result"`, "only an intent or outcome can have undoes and withoutLedger"},
		{"triage-action", `"result"`, strings.Replace(intentReference, "intent", "undoes", 1) + `, "result"`, "only an intent or outcome can have undoes and withoutLedger"},
		{"exception-request", `"id": "EXC-17",`, "", "id"},
		{"exception-request", "EXC-17", "EXC 17", "id"},
		{"exception-request", `,
  "expires": "2099-01-01T00:00:00Z"`, "", "expires"},
		{"exception-request", "2099-01", "2026-05", "expires: 2026-05-01T00:00:00Z is in the past"},
		{"exception-request", "2099-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "is in the past"},
		{"exception-request", `"expires"`, `"breakGlass": true, "expires"`, "expires: 2099-01-01T00:00:00Z is more than 24 hours ahead"},
		{"exception-request", "VULN-HIGH-30D", "", "control"},
		{"exception-request", "1.7.*", "1.7.***", "scope.globs[0]"},
		{"exception-request", "production/**", "***", "scope.environments[0]"},
		{"exception-request", `"CVE-2026-12345"`, `"A", "A"`, "findings"},
		{"exception-request", `"reason": "The vulnerable function is not reachable; the fix is in 1.8.",`, "", "reason"},
		{"exception-request", `"reason"`, `"requester": "dana@acme.example", "reason"`, "requester"},
		{"exception-decision", `"renew"`, `"allow"`, "decision"},
		{"exception-decision", `"renew"`, `"approve"`, "renew must have expires, and no other decision can have it"},
		{"exception-decision", `,
  "expires": "2099-02-01T00:00:00Z"`, "", "renew must have expires"},
		{"exception-decision", "2099-02", "2026-05", "expires: 2026-05-01T00:00:00Z is in the past"},
		{"exception-decision", `"request": "31",`, "", "request"},
		{"exception-decision", `"exception": "EXC-17",`, "", "exception"},
		{"exception-decision", `"reason": "The release of 1.8 is delayed.",`, "", "a decision other than approve must have a reason"},
		{"exception-decision", `"reason"`, `"approver": "kim@acme.example", "reason"`, "approver"},
		{"key-event", `"event": "registered"`, `"event": "lost"`, "event"},
		{"key-event", `"event": "registered"`, `"event": "retired"`, "registered must have person"},
		{"key-event", `"keyId"`, `"identity"`, "must have either keyId, or identity and issuer"},
		{"key-event", `"keyId"`, `"identity": "x", "issuer": "y", "keyId"`, "must have either keyId, or identity and issuer"},
		{"key-event", "oidc:https://login.acme.example#dana", "token:dana", "person"},
		{"key-event", "BEGIN PUBLIC", "BEGIN PRIVATE", "publicKey"},
		{"key-event", "MCow", "MCoo", "publicKey"},
		{"key-event", `"from": "2026-05-01T00:00:00Z",`, "", "from"},
		{"key-event", `sha256:eb52`, "sha256:eb53", "keyId: not the ID of publicKey, which is sha256:eb52"},
		{"key-event", `sha256:eb52`, "sha256:EB52", "keyId: \"sha256:EB52"},
		{"key-event", `sha256:eb52`, "sha256:b52", "not a key ID"},
		{"key-event", `sha256:eb52`, "eb52", "not a key ID"},
		{"key-event", `sha256:eb52`, " sha256:eb52", "not a key ID"},
		{"control-set", `sha256:486e`, "sha256:486E", "signers[1].keyIds[0]: \"sha256:486E"},
		{"control-set", `sha256:486e`, "SHA256:486e", "signers[1].keyIds[0]: \"SHA256:486e"},
		{"exception-request", `"expires"`, `"breakGlass": true, "used": {"origin": "log.example", "tenant": "acme", "time": "2098-12-31T12:00:00Z"}, "expires"`, "used: only a signed request can have it"},
		{"finding", `"high"`, `"terrible"`, "severity"},
		{"finding", `"resolved"`, `"dismissed"`, "status: must be one of open, in-progress, resolved, reopened"},
		{"finding", `,
  "evidence": ["12", "40"]`, "", "a resolved finding must have evidence"},
		{"finding", "8.1", "11", "score"},
		{"finding", strings.Repeat("e", 64), "e", "subjects[0].digest"},
		{"control", `"active"`, `"on"`, "state"},
		{"control", `"id": "VULN-HIGH-30D",`, "", "id"},
		{"control", `"VULN-HIGH-30D"`, `"*"`, "id"},
		{"control", `"NIST SP 800-53: SI-2"`, `"SI-2"`, "frameworks[0]: must be a framework, a colon and a requirement"},
		{"control", `"severity": "high"`, `"severity": "info"`, "severity"},
		{"control", `"severity": "high"`, `"severity": "critical"`, "exceptions from a critical control cannot have a wildcard"},
		{"control", `"high": 30`, `"high": 3651`, "slaDays.high"},
		{"control", `["image"]`, `["image", "any"]`, "appliesTo.types[1]"},
		{"control", "registry.acme.example/**", "***", "appliesTo.names[0]"},
		{"control", `"includes": ["SLSA-BUILD-L3"]`, `"includes": ["A", "VULN-HIGH-30D"]`, `includes[1]: control "VULN-HIGH-30D" cannot include itself`},
		{"control", `"rehearsal"`, `"scan"`, `check.require[1].name: duplicate name "scan"`},
		{"control", `"rehearsal"`, `"Re hearsal"`, "check.require[1].name: must be 1 to 64 lowercase letters"},
		{"control", `"backfill-checkpoint"`, `"exception"`, `check.require[1].kinds[0]: unknown kind "exception"`},
		{"control", `"backfill-checkpoint"`, `"config"`, "check.require[1].kinds[0]: entries of kind config are the log's own record"},
		{"control", `"kinds": ["backfill-checkpoint"]`, `"kinds": ["finding"], "predicateTypes": ["x"]`, "check.require[1].predicateTypes: entries of kind finding have no predicate type"},
		{"control", `"token:backfill*"`, `"***"`, "check.require[1].submitters[0]"},
		{"control", `vuln/v1`, `***`, "check.require[0].predicateTypes[0]"},
		{"control", `"unsigned": true, `, ``, "check.require[1]: must have either signers, or unsigned: true"},
		{"control", `"unsigned": true, `, `"unsigned": true, "signers": ["scanner"], `, "check.require[1]: must have either signers, or unsigned: true"},
		{"control", `"unsigned": true, `, `"unsigned": true, "minSigners": 17, `, "check.require[1].minSigners"},
		{"control", `"86400"`, `"0"`, "check.require[0].maxAgeSeconds"},
		{"control", `"mode": "warn"`, `"mode": "off"`, "modes[1].mode"},
		{"control", `"stage": "deploy", "mode"`, `"stage": "De ploy", "mode"`, "modes[1].stage"},
		{"control", `"production/**"`, `"***"`, "modes[0].environments[0]"},
		{"control", `"maxDays": 14`, `"maxDays": 367`, "exceptions.maxDays"},
		{"control", `"approvers": 2`, `"approvers": 0`, "exceptions.approvers"},
		{"control-set", `"version": "2026-11",`, "", "version"},
		{"control-set", `"promote"`, `"build"`, "stages"},
		{"control-set", `"scanner"`, `"backfill"`, `signers[2].name: duplicate name "backfill"`},
		{"control-set", `"keyIds"`, `"submitters": ["x"], "keyIds"`, "signers[1]: must have exactly one of"},
		{"control-set", `, "issuer": "https://token.actions.githubusercontent.com"`, "", "signers[0].issuer: must have either issuer or issuerRegexp"},
		{"control-set", `"issuer"`, `"identity": "x", "issuer"`, "signers[0].identity: must have either identity or identityRegexp"},
		{"control-set", `[a-z-]+`, `[a-z-`, "signers[0].identityRegexp: "},
		{"control-set", `[a-z-]+`, `(a{500}){500}`, "signers[0].identityRegexp: "},
		{"control-set", `["token:backfill*"]`, `["***"]`, "signers[2].submitters[0]"},
		{"control-set", `"SLSA-BUILD-L3"`, `"VULN-HIGH-30D"`, `controls[1].id: duplicate control "VULN-HIGH-30D"`},
		{"control-set", "sha256:" + strings.Repeat("1", 64), "sha256:1", "controls[0].digest"},
		{"control-set", `"43200"`, `"59"`, "validSeconds"},
		{"control-set", `"warn"`, `"pass"`, "unknownImageFields"},
		{"control-set", `"kind": "Job", `, "", "imagePaths[0].kind"},
		{"gate-decision", `"pass"`, `"allow"`, "decision"},
		{"gate-decision", `"excepted"`, `"forgiven"`, "results[1].result"},
		{"gate-decision", `"mode": "enforce"`, `"mode": "off"`, "results[0].mode"},
		{"gate-decision", "VULN-HIGH-30D", "SLSA-BUILD-L3", "results[1].control"},
		{"gate-decision", `[{"name": "registry.acme.example/gateway", "digest": {"sha256": "` + strings.Repeat("e", 64) + `"}}]`, "[]", "subjects"},
		{"gate-decision", `"controlSet": "sha256:` + strings.Repeat("3", 64) + `",`, "", "a decision without controlSet must be undecided"},
		{"inventory", `"runs"`, `"walks"`, "scope: must be one of exists, runs"},
		{"inventory", `"observed": "2026-05-03T10:00:00Z",`, "", "observed"},
		{"inventory", `"replicas": 6`, `"replicas": -6`, "replicas"},
		{"inventory", `"scope"`, `"version": "1.7.0", "scope"`, "release: is required with a version"},
		{"inventory", `"scope"`, `"release": "shop", "scope"`, "release: requires the scope exists"},
		{"inventory", `"scope"`, `"part": 1, "scope"`, "observation: is required"},
		{"inventory", `"scope"`, `"observation": "x", "part": 1, "scope"`, "parts: must be the number of parts"},
		{"inventory", `"scope"`, `"observation": "x", "part": 3, "parts": 2, "scope"`, "part: must be between 1 and 2"},
		{"inventory", `"scope"`, `"observation": "x", "parts": 2, "scope"`, "part: must be between 1 and 2"},
		{"inventory", `"scope"`, `"observation": "x", "part": 1, "parts": 2000, "scope"`, "parts"},
		{"inventory", `"scope"`, `"retired": true, "scope"`, "retired: a source that has ended has no items"},
		{"inventory", `"2026-05-03T10:00:00Z"`, `"2996-05-03T10:00:00Z"`, "observed: must not be later than"},
		{"inventory", `"replicas": 6`, `"type": "container"`, "type: must be one of"},
		{"inventory", `"scope"`, `"unidentified": [{"name": "app:1"}], "scope"`, "unidentified[0].reason"},
		{"metric-snapshot", `"to": "2026-05-03T10`, `"to": "2026-05-03T09`, "to must be after from"},
		{"metric-snapshot", "0.93", "93", "ratio"},
		{"metric-snapshot", "84.5", `"NaN"`, "metrics[0].value"},
		{"metric-snapshot", `"value": 84.5, `, ``, "metrics[0].value"},
		{"verification-report", "not-verified", "dunno", "verdict"},
		{"verification-report", "tag_mismatch", "tag mismatch", "reasonCode"},
		{"vetting", `"expires": "2026-08-01T00:00:00Z"`, `"expires": "2026-05-04T09:00:00Z"`, "expires must be after vetted"},
		{"vetting", `"expires": "2026-08-01T00:00:00Z"`, `"expires": "2027-08-01T00:00:00Z"`, "by at most 366 days"},
		{"vetting", `"expires": "2026-08-01T00:00:00Z",`, ``, "expires"},
		{"vetting", `"image": "docker.io/library/debian:13-slim",`, ``, "image"},
		{"erasure", `"payload"`, `"all"`, "scope"},
		{"erasure", `"index":"31",`, "", "index"},
		{"config", `mode: record`, `mode: enforce`, "digest: does not match the document, whose digest is sha256:"},
	} {
		example := string(examples(t)[c.kind])
		broken := strings.Replace(example, c.old, c.new, 1)
		if broken == example {
			t.Errorf("%s: the example has no %q", c.kind, c.old)
			continue
		}
		_, err := table[c.kind].read("", []byte(broken), exampleTime)
		wantField(t, fmt.Sprintf("%s with %s", c.kind, c.new), err, "payload", c.wantErr)
	}
	about := string(examples(t)["finding"])
	for _, cut := range []string{`"subjects": [{"name": "registry.acme.example/gateway", "digest": {"sha256": "` + strings.Repeat("e", 64) + `"}}],`, `"controls": ["VULN-HIGH-30D"],`} {
		if about = strings.Replace(about, cut, "", 1); strings.Contains(about, cut) {
			t.Errorf("the example of finding has no %s", cut)
		}
		if _, err := table["finding"].read("", []byte(about), exampleTime); strings.Contains(about, "controls") && err != nil {
			t.Errorf("a finding about controls: %v", err)
		} else if !strings.Contains(about, "controls") {
			wantField(t, "a finding about nothing", err, "payload", "a finding without subjects must have controls")
		}
	}
	// A break-glass exception is a record of what happened, even if it arrives
	// after its end.
	late := strings.Replace(string(examples(t)["exception-request"]), `"2099-01-01T00:00:00Z"`, `"2026-05-01T00:00:00Z", "breakGlass": true`, 1)
	if _, err := table["exception-request"].read("", []byte(late), exampleTime); err != nil {
		t.Errorf("a late break-glass request: %v\n%s", err, late)
	}
	for name, example := range examples(t) {
		read := table[name].read
		_, err := read("text/plain", example, exampleTime)
		wantField(t, name+" as text", err, "media type", name)
		_, err = read("", []byte(strings.Replace(string(example), "{", `{"surprise":1,`, 1)), exampleTime)
		wantField(t, name+" with a member too many", err, "payload", "surprise")
		if _, err = read("application/json", example, exampleTime); err != nil {
			t.Errorf("%s as application/json: %v", name, err)
		}
	}
}

// TestTypedLimits checks that kinds of the server and excessive documents are
// refused before they are parsed.
func TestTypedLimits(t *testing.T) {
	in, _, _ := newIngester(t)
	for _, name := range Kinds() {
		_, err := in.accept(&Submission{Kind: name, Payload: examples(t)[name], IdempotencyKey: "x"})
		if WrittenByLog(name) {
			wantField(t, name, err, "kind", "only the server", "exception-request")
		}
	}
	if got := Kinds(); !slices.ContainsFunc(got, WrittenByLog) {
		t.Errorf("want a kind of the server among %q", got)
	}
	in.MaxPayload = 100 << 20
	nested := strings.Repeat(`{"a":`, 2<<20)
	for name, doc := range map[string]string{"control": nested, "triage-action": nested[:maxTyped], "attestation": nested} {
		s := &Submission{Kind: name, Payload: []byte(doc)}
		if IsEvent(name) {
			s.IdempotencyKey = "x"
		} else {
			s.MediaType = "application/json"
		}
		if _, err := in.accept(s); err == nil {
			t.Errorf("%s: nested JSON of %d bytes is accepted", name, len(doc))
		}
	}
}

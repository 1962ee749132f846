package decide

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/images"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// sampleReport has every result in every mode, and text that is not to be
// trusted.
func sampleReport() *gateReport {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	entry := uint64(41)
	var results []*munimentv1.ControlResult
	for _, result := range []string{"satisfied", "not-satisfied", "undecided", "excepted", "not-applicable"} {
		for _, mode := range []string{"enforce", "warn", "audit"} {
			results = append(results, &munimentv1.ControlResult{Control: result + "-" + mode, Mode: mode, Result: result, Reason: "missing-evidence: no \x1b[31mscan", Missing: []string{"scan: nothing \u202efound"}})
		}
	}
	subjects := []*subject{
		{GateSubject: &munimentv1.GateSubject{Type: "image", Artifact: &munimentv1.Artifact{Name: "registry.example.com/app\x1b[2J", Digest: map[string]string{"sha256": strings.Repeat("1", 64)}}, Parts: []*munimentv1.GatePart{{Digest: map[string]string{"sha256": strings.Repeat("2", 64)}, Platform: "linux/arm64"}}}, Where: []string{"all.yaml:7: Pod/web spec.containers[0].image"}},
		{GateSubject: &munimentv1.GateSubject{Type: "file", Artifact: &munimentv1.Artifact{Digest: map[string]string{"sha256": strings.Repeat("3", 64)}}}},
	}
	decisions := []*munimentv1.SubjectDecision{
		{Decision: &munimentv1.GateDecision{Decision: "blocked", Decided: timestamppb.New(at), ValidUntil: timestamppb.New(at), Results: results}, Index: &entry, Explanations: []*munimentv1.Explanation{{
			Control: "not-satisfied-enforce", Title: "Images are scanned", Owner: "security@example.com", Condition: "vulnerabilities.all(v, !v.overdue)",
			Requirements: []*munimentv1.RequirementExplanation{{Name: "scan", Needs: "a scan", Found: []*munimentv1.FoundEvidence{{Index: 12, Time: timestamppb.New(at.Add(-72 * time.Hour)), PredicateType: "https://example.com/scan", Signers: []string{"scanner@example.com"}}}, Ignored: []*munimentv1.FoundEvidence{{Index: 13, Time: timestamppb.New(at), Kind: "attestation", Why: "its signer is not listed"}}}},
		}}},
		{Decision: &munimentv1.GateDecision{Decision: "undecided", Reason: "no-control-applies", Decided: timestamppb.New(at), ValidUntil: timestamppb.New(at)}},
	}
	r := &gateReport{Stage: "deploy", Environment: "production/eu", Decision: outcomePass}
	r.add(subjects, decisions)
	r.addUnknown([]images.Image{{Reference: "proxy:1", Resource: "Proxy/p", Field: "spec.image"}})
	return r
}

func TestGateText(t *testing.T) {
	text := sampleReport().Text()
	for _, want := range []string{
		"✗ BLOCKED  \"registry.example.com/app\\x1b[2J\" (image) at", "(image) at stage deploy, environment production/eu\n",
		"  digest   sha256:1111", "           linux/arm64 sha256:2222", "  used in  all.yaml:7: Pod/web spec.containers[0].image\n", "  recorded entry 41\n",
		"  ✗ not-satisfied-enforce  Images are scanned\n      because   \"missing-evidence: no ",
		"      needs     scan: a scan\n      found     entry 12: https://example.com/scan by scanner@example.com, 3 days ago\n      ignored   entry 13: attestation, 0 seconds ago: its signer is not listed\n",
		"  ! not-satisfied-warn [warn only]\n", "  ? undecided-enforce\n", "  ~ excepted-enforce\n", "  – not-applicable-audit [audit only]\n",
		"? UNDECIDED  sha256:3333", "  reason   no control applies to this artifact",
		"? spec.image in Proxy/p looks like an image (proxy:1)", "\n✗ BLOCKED  2 artifacts, 1 blocked, 1 undecided\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("has characters that control the terminal: %q", text)
	}
}

func TestGateWorstDecides(t *testing.T) {
	for _, c := range []struct {
		decisions []string
		unknown   bool
		warn      bool
		want      string
	}{
		{nil, false, false, "pass"},
		{[]string{"pass", "pass"}, false, false, "pass"},
		{[]string{"pass", "undecided"}, false, false, "undecided"},
		{[]string{"undecided", "blocked", "pass"}, false, false, "blocked"},
		{[]string{"pass"}, true, false, "undecided"},
		{[]string{"pass"}, true, true, "pass"},
		{nil, true, false, "undecided"},
		{[]string{"pass", ""}, false, false, "undecided"},
		{[]string{"approved"}, false, false, "undecided"},
		{[]string{"blocked"}, true, false, "blocked"},
	} {
		r := &gateReport{Decision: outcomePass, warnUnknown: c.warn}
		for _, d := range c.decisions {
			r.add([]*subject{{GateSubject: &munimentv1.GateSubject{Artifact: &munimentv1.Artifact{}}}}, []*munimentv1.SubjectDecision{{Decision: &munimentv1.GateDecision{Decision: d, Decided: timestamppb.Now()}}})
		}
		if c.unknown {
			r.addUnknown([]images.Image{{}})
		}
		if r.Decision != c.want {
			t.Errorf("%+v: %s", c, r.Decision)
		}
	}
}

// TestManifestImagesAreImages checks that controls for images apply to what a
// manifest runs, whatever it claims to be.
func TestManifestImagesAreImages(t *testing.T) {
	ref := "registry.example.com/app@sha256:" + strings.Repeat("1", 64)
	r := &resolver{flags: &subjectFlags{Type: artifact.Chart, Offline: true}, byRef: map[[2]string]*subject{}}
	if _, err := r.reference(t.Context(), artifact.Chart, ref); err != nil {
		t.Fatal(err)
	}
	manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{image: " + ref + "}]}\n"
	if err := r.stream(t.Context(), "pod.yaml", strings.NewReader(manifest)); err != nil {
		t.Fatal(err)
	}
	if len(r.subjects) != 2 || r.subjects[1].Type != artifact.Image || len(r.subjects[1].Where) != 1 {
		t.Errorf("subjects %+v, want the chart and the image of the pod", r.subjects)
	}
}

// TestFilesAreNotReferences checks that a file in a repository does not take
// the place of the image that a job asks about.
func TestFilesAreNotReferences(t *testing.T) {
	t.Chdir(t.TempDir())
	digest := "@sha256:" + strings.Repeat("1", 64)
	write := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("an artifact that passes"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	resolve := func(arg string) (*resolver, error) {
		r := &resolver{flags: &subjectFlags{Offline: true}, byRef: map[[2]string]*subject{}}
		return r, r.argument(t.Context(), arg)
	}
	for _, arg := range []string{"registry.example.com/app" + digest, "registry.example.com/a/app:1.7", "registry.example.com:5000/app:1.7", "localhost/app:1", "localhost:5000/app:1", "registry:5000/app:1", "10.0.0.1/app:1" + digest} {
		write(arg)
		if _, err := resolve(arg); err == nil || !strings.Contains(err.Error(), "both a file and a reference") {
			t.Errorf("%s: %v", arg, err)
		}
		if r, err := resolve("./" + arg); err != nil || r.subjects[0].Type != artifact.File {
			t.Errorf("./%s: %v", arg, err)
		}
		write("oci://" + arg)
		if !strings.HasSuffix(arg, digest) {
			continue
		}
		if r, err := resolve("oci://" + arg); err != nil || r.subjects[0].Type != artifact.Image {
			t.Errorf("oci://%s: %v", arg, err)
		}
	}
	for _, arg := range []string{"dist/gateway-1.7.0.tgz", "build.out/gateway.tgz", "dist/a:b.json", "a@b", "my.dir/a"} {
		write(arg)
		if r, err := resolve(arg); err != nil || r.subjects[0].Type != artifact.File {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func TestGateFormats(t *testing.T) {
	r := sampleReport()
	var out bytes.Buffer
	if err := r.writeSARIF(&out); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct{ RuleID, Level string }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	levels := map[string]int{}
	for _, r := range log.Runs[0].Results {
		levels[r.Level]++
	}
	// not-satisfied and undecided in each mode, the decision without results,
	// and the unknown field
	if log.Version != "2.1.0" || levels["error"] != 4 || levels["warning"] != 2 || levels["note"] != 2 {
		t.Errorf("version %s, levels %v", log.Version, levels)
	}
	out.Reset()
	if err := r.writeJUnit(&out); err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(out.Bytes(), &suites); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if s := suites.Suites[0]; s.Tests != 15 || s.Failures != 1 || s.Errors != 1 || s.Skipped != 6 {
		t.Errorf("%d tests, %d failures, %d errors, %d skipped", s.Tests, s.Failures, s.Errors, s.Skipped)
	}
	if len(suites.Suites) != 3 || suites.Suites[1].Errors != 1 || suites.Suites[2].Errors != 1 {
		t.Errorf("suites: %+v", suites.Suites)
	}
}

func TestSetAt(t *testing.T) {
	for at, ok := range map[string]bool{"": true, "42": true, "2026-11-01T00:00:00Z": true, "-1": false, "0x10": false, "42 ": false, "yesterday": false, "18446744073709551616": false} {
		if err := setAt(&munimentv1.DecideRequest{}, at); (err == nil) != ok {
			t.Errorf("%q: %v", at, err)
		}
	}
}

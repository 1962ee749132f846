package report_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/controls/report/reportrig"
	"muniment.dev/muniment/ledger/store/memstore"
)

// releaseRig returns a rig with the recorded history of a release, and the
// selection of that release.
func releaseRig(t *testing.T) (*reportrig.Rig, *report.Selection) {
	t.Helper()
	rig := reportrig.New(memstore.New())
	t.Cleanup(rig.Close)
	return rig, rig.Story()
}

func gather(t *testing.T, rig *reportrig.Rig, sel *report.Selection) *report.Release {
	t.Helper()
	r, err := rig.Gather(sel)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func html(t *testing.T, r *report.Release) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestStory checks what is gathered about a release.
func TestStory(t *testing.T) {
	rig, sel := releaseRig(t)
	r := gather(t, rig, sel)
	var places, outcomes, controls, exceptions []string
	for i, p := range r.Places {
		places = append(places, fmt.Sprintf("%s: %s", p, r.Outcome(i)))
	}
	for i := range r.Artifacts {
		outcomes = append(outcomes, string(r.Artifacts[i].Outcome()))
	}
	for i := range r.Controls {
		c := &r.Controls[i]
		controls = append(controls, fmt.Sprintf("%s %s %v", c.Id, c.Status, c.Enforced))
	}
	for i := range r.Exceptions {
		exceptions = append(exceptions, fmt.Sprintf("%s %s %d", r.Exceptions[i].ID, r.Exceptions[i].State, len(r.Exceptions[i].Approvers)))
	}
	overdue := 0
	for i := range r.Findings {
		if r.Findings[i].Overdue {
			overdue++
		}
	}
	last := r.Burndown[len(r.Burndown)-1]
	var coverage []string
	for _, c := range r.Coverage {
		text := fmt.Sprintf("%s in %s: %d of %d", c.Kind, c.Environment, c.Attested, c.Inventoried)
		for _, g := range c.Gaps {
			text += " without " + g.Name
		}
		coverage = append(coverage, text)
	}
	for _, c := range []struct{ what, got, want string }{
		{"verdict", string(r.Verdict()), "blocked"},
		{"places", strings.Join(places, ", "), "build: pass, deploy to production: blocked, deploy to staging: blocked"},
		{"outcomes", strings.Join(outcomes, " "), "pass pass pass pass blocked pass"},
		{"controls", strings.Join(controls, ", "), "SLSA-BUILD-L3 excepted true, CHART-SIGNED not-satisfied true, SBOM satisfied true, VULN-SLA satisfied true, EXPORT-BUDGET satisfied true, RUNTIME-TRACE not-satisfied false"},
		{"exceptions", strings.Join(exceptions, ", "), "EXC-11 expired 1, EXC-17 approved 2, EXC-19 approved 1, EXC-21 requested 0"},
		{"findings", fmt.Sprintf("%d, %d overdue", len(r.Findings), overdue), "13, 3 overdue"},
		{"burndown", fmt.Sprintf("%d open, %d in progress, %d resolved, %d overdue", last.Open, last.InProgress, last.Resolved, last.Overdue), "8 open, 1 in progress, 4 resolved, 3 overdue"},
		{"coverage", strings.Join(coverage, ", "), "container images in 1.7.0: 3 of 3, charts in 1.7.0: 1 of 2 without worker-1.7.0.tgz, export manifests in 1.7.0: 0 of 1 without embeddings-2026-11, container images in production: 2 of 3 without registry.acme.example/debug-shell:latest"},
		{"events", fmt.Sprint(len(r.Checkpoints), len(r.Analyses), len(r.Actions), len(r.Metrics), len(r.Reports), len(r.Erased)), "4 1 1 1 1 1"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, c.got, c.want)
		}
	}
	if a, b := html(t, r), html(t, gather(t, rig, sel)); a != b {
		t.Error("the same state has other bytes")
	}
}

// TestPast checks that a release of the past does not depend on later entries.
func TestPast(t *testing.T) {
	rig, sel := releaseRig(t)
	size, at := rig.Ledger.Published().Size, rig.Time()
	before := html(t, gather(t, rig, sel))
	rig.Pass(1000 * 60)
	rig.Story()
	r, err := report.Gather(context.Background(), rig.Source(), size, at, sel)
	if err != nil {
		t.Fatal(err)
	}
	if after := html(t, r); before != after {
		t.Errorf("the page has changed:\n%s", firstDifference(before, after))
	}
	if n := r.Entries()[len(r.Entries())-1]; n >= size {
		t.Errorf("entry %d of a tree of size %d", n, size)
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return "- " + x[i] + "\n+ " + y[i]
		}
	}
	return "one is longer"
}

// TestErased checks that erased evidence is listed and not shown.
func TestErased(t *testing.T) {
	rig, sel := releaseRig(t)
	r := gather(t, rig, sel)
	if len(r.Erased) != 1 || r.Erased[0].Reason != "it contained a customer's name" {
		t.Fatalf("%+v", r.Erased)
	}
	for i := range r.Evidence {
		if e := &r.Evidence[i]; e.Erased != (e.Entry == r.Erased[0].Entry) {
			t.Errorf("entry %d: erased is %v", e.Entry, e.Erased)
		}
	}
	if r.Files = map[uint64]report.File{r.Erased[0].Entry: {Receipt: "receipts/x.json", Payload: "entries/x.json"}}; strings.Contains(html(t, r), "entries/x.json") {
		t.Error("the page links an erased document")
	}
}

// TestPage checks the form of the page: no scripts, one file, and text of users
// as text.
func TestPage(t *testing.T) {
	rig, sel := releaseRig(t)
	r := gather(t, rig, sel)
	const attack = "<script>alert(1)</script>\"'><img src=x onerror=1>"
	r.Name, r.Selection, r.Tenant, r.Log.Origin = attack, attack, attack, attack
	r.Controls[0].Title, r.Findings[0].Title, r.Exceptions[0].Reason, r.Artifacts[0].Name = attack, attack, attack, attack
	r.Commands = []report.Command{{Line: attack, About: attack}}
	r.Members = []report.Member{{Name: "javascript:alert(1)", About: attack}}
	page := html(t, r)
	for _, wrong := range []string{"<script", "<img", "<link", "<iframe", "\"javascript:", "ZgotmplZ", " style=", "http-equiv=\"refresh\"", "url(", "@import"} {
		if strings.Contains(page, wrong) {
			t.Errorf("the page contains %q", wrong)
		}
	}
	for _, m := range regexp.MustCompile(`<[^>]* on[a-z]+=`).FindAllString(page, -1) {
		t.Errorf("the page has a handler: %s", m)
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if strings.Contains(m[1], "://") {
			t.Errorf("the page links %s", m[1])
		}
	}
	if !strings.Contains(page, `content="default-src &#39;none&#39;; style-src &#39;sha256-`) {
		t.Error("the page has no strict policy")
	}
	for _, id := range []string{"verdict", "blocking", "exceptions", "findings", "coverage", "controls", "artifacts", "differences", "checkpoints", "analyses", "actions", "metrics", "reports", "erased", "verify", "about"} {
		if n := strings.Count(page, ` id="`+id+`"`); n != 1 {
			t.Errorf("%d sections have the ID %s", n, id)
		}
	}
}

// TestNoControls checks a release without a control set.
func TestNoControls(t *testing.T) {
	rig := reportrig.New(memstore.New())
	defer rig.Close()
	rig.Append(reportrig.Note(), []byte("{}"), nil)
	r := gather(t, rig, &report.Selection{What: "nothing"})
	if r.Verdict() != evaluate.Undecided || r.ControlSet != nil || len(r.Unknown) != 1 {
		t.Errorf("%s, %v, %v", r.Verdict(), r.ControlSet, r.Unknown)
	}
	if page := html(t, r); !strings.Contains(page, "Undecided") {
		t.Error("the page is not undecided")
	}
}

// TestManyArtifacts checks that the page of a thousand artifacts is bounded.
func TestManyArtifacts(t *testing.T) {
	rig, sel := releaseRig(t)
	one := sel.Artifacts[0]
	for i := range 1000 {
		a := one
		a.Name, a.Digest = fmt.Sprintf("registry.acme.example/svc-%d:1", i), reportrig.Digest(fmt.Sprint(i))
		sel.Artifacts = append(sel.Artifacts, a)
	}
	page := html(t, gather(t, rig, sel))
	if n := strings.Count(page, `<article class="artifact">`); n != 100 {
		t.Errorf("%d artifacts in detail, want 100", n)
	}
	if !strings.Contains(page, "svc-999:1") {
		t.Error("the page lacks an artifact")
	}
	if len(page) > 2<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
}

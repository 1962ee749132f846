package oscal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/controls/report/reportrig"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store/memstore"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A form is a kind of document.
type form struct {
	name   string // of the folder of trestle
	schema string
	write  func(*bytes.Buffer, *report.Release) error
}

var forms = []form{
	{"assessment-results", "oscal_assessment-results_schema.json", func(b *bytes.Buffer, r *report.Release) error { return WriteAssessmentResults(b, r) }},
	{"plan-of-action-and-milestones", "oscal_poam_schema.json", func(b *bytes.Buffer, r *report.Release) error { return WritePOAM(b, r) }},
}

// schemas has the compiled schemas by file.
var schemas = map[string]*jsonschema.Schema{}

// schema returns the schema of a form, which asserts formats, too.
func schema(t *testing.T, f form) *jsonschema.Schema {
	t.Helper()
	if s := schemas[f.schema]; s != nil {
		return s
	}
	text, err := os.ReadFile(filepath.Join("testdata", f.schema))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("/oscal/"+Version+"/")) {
		t.Fatalf("%s is not of version %s", f.schema, Version)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("https://schema.test/"+f.schema, parsed); err != nil {
		t.Fatal(err)
	}
	if schemas[f.schema], err = c.Compile("https://schema.test/" + f.schema); err != nil {
		t.Fatal(err)
	}
	return schemas[f.schema]
}

// validate checks a document against the schema of its form.
func validate(t *testing.T, f form, document []byte) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema(t, f).Validate(value); err != nil {
		t.Errorf("%s: %v", f.name, err)
	}
}

// story returns the story of a release.
func story(t *testing.T) *report.Release {
	t.Helper()
	rig := reportrig.New(memstore.New())
	t.Cleanup(rig.Close)
	r, err := rig.Gather(rig.Story())
	if err != nil {
		t.Fatal(err)
	}
	r.Files = map[uint64]report.File{}
	for _, e := range r.Entries() {
		r.Files[e] = report.File{Receipt: fmt.Sprintf("receipts/%d.json", e), Payload: fmt.Sprintf("entries/%d: ü.json", e)}
	}
	r.Members = []report.Member{{Name: "manifest.json", About: "The digests of all files."}}
	return r
}

// hostile has texts that break a format if they are not escaped.
var hostile = []string{
	"", " ", "\n", "a\nb\r\nc", "\u202egnp.exe\u202c", "<script>alert(1)</script>", "**bold** _em_ `code` [x](javascript:1)", "\u00a0nbsp\u00a0", "\ufeffbom", "é\u0301", "日本語", "\x00\x01", "\xff\xfe", "1. list", "# heading", "a\tb", "' OR 1=1 --", "{{ insert: param, x }}",
	strings.Repeat("long ", 2000), "../../etc/passwd", "%zz", ":", "#", "a:b/c?d#e",
}

// hostileRelease returns a release in which every text is hostile.
func hostileRelease(n int) *report.Release {
	at := func(year int) time.Time {
		return time.Date(year, 2, 29, 23, 59, 59, 999999999, time.FixedZone("x", 5*3600+45*60))
	}
	text := func(i int) string { return hostile[i%len(hostile)] }
	r := &report.Release{Name: text(n), Selection: text(n + 1), Tenant: "acme", Log: report.Log{Origin: text(n + 2), Size: 9}, Time: at(2028), Places: []report.Place{{Stage: text(n + 3), Environment: text(n + 4)}}, Files: map[uint64]report.File{}}
	r.ControlSet = &report.ControlSet{Version: text(n), Digest: text(n + 5), Entry: 1}
	for i := range hostile {
		id := text(n + i)
		result := evaluate.Result{Control: id, Mode: evaluate.Enforce, Result: []string{"satisfied", "not-satisfied", "undecided", "excepted", "not-applicable"}[i%5], Reason: id, Missing: []string{id}, Entries: []uint64{uint64(i), 7000}}
		r.Artifacts = append(r.Artifacts, report.Artifact{
			Artifact:  decide.Artifact{Subject: evaluate.Subject{Type: id, Name: id, Digest: map[string]string{id + "a": id, "sha256": fmt.Sprint(i)}}},
			Decisions: []*evaluate.Decision{{Decision: evaluate.Blocked, Reason: id, Results: []evaluate.Result{result}}},
			Recorded:  []report.Recorded{{Entry: uint64(1000 + i), Place: report.Place{Stage: id, Environment: id}, Decision: evaluate.Outcome(id), Time: at(2024)}},
		})
		h := &entry.Header{Kind: id, PredicateType: id, MediaType: id, Submitter: id, Signers: []entry.Signer{{Identity: id, KeyID: id}}, Verification: entry.Verification{Result: id}}
		r.Evidence = append(r.Evidence, report.Evidence{Entry: uint64(i), Time: at(2024), Header: h, Relation: id, Artifacts: []int{i}})
		r.Controls = append(r.Controls, report.Control{Control: &munimentv1.Control{Id: fmt.Sprint(i) + id, Title: id, Description: id, Owner: id, Severity: id, Frameworks: []string{id}},
			Status: report.Statuses[i%len(report.Statuses)], Counts: map[report.Status]int{report.Statuses[i%len(report.Statuses)]: 1}, Results: []report.ControlResult{{Artifact: i, Result: &result}}})
		r.Exceptions = append(r.Exceptions, report.Exception{Reason: id, Status: exception.Status{State: exception.States[i%len(exception.States)], Expires: at([]int{0, 1, 9999, 2027}[i%4]), Approvers: []string{id}, Unconfirmed: i%2 == 0},
			Exception: &exception.Exception{Request: exception.Request{Index: uint64(2000 + i), ID: id, Control: id, Globs: []string{id}, Environments: []string{id}, Findings: []string{id}, Subjects: []entry.Subject{{Name: id, Digest: map[string]string{id: id}}}, Requester: id, Submitter: "token:x", Time: at(2024)},
				Decisions: []exception.Decision{{Index: uint64(3000 + i), Time: at(2024), Action: exception.Approve, By: id}}}})
		r.Findings = append(r.Findings, report.Finding{Status: finding.Status(id), Severity: id, Due: at([]int{9999, 1, 2024}[i%3]), Overdue: true, Owners: []string{id, id}, Description: id,
			Finding: &finding.Finding{ID: id, Title: id, Source: id, Aliases: []string{id}, Subjects: []entry.Subject{{Digest: map[string]string{"sha256": fmt.Sprint(i)}}}, Reports: []finding.Report{{Index: uint64(4000 + i), Time: at(2024), By: id, Controls: []string{id, fmt.Sprint(i) + id}}}}})
		r.Files[uint64(i)] = report.File{Receipt: id, Payload: id}
		r.Files[uint64(2000+i)] = report.File{Receipt: id, Payload: id}
		r.Members = append(r.Members, report.Member{Name: fmt.Sprint(i) + id, About: id})
		r.LeftOut = append(r.LeftOut, report.LeftOut{What: id, Limit: 1})
	}
	return r
}

// headOf returns a release without lists.
func headOf(r *report.Release) *report.Release {
	return &report.Release{Name: r.Name, Selection: r.Selection, Tenant: r.Tenant, Log: r.Log, Time: r.Time, Places: r.Places, ControlSet: r.ControlSet}
}

// releases returns the releases that documents are made of.
func releases(t *testing.T) map[string]*report.Release {
	all := map[string]*report.Release{
		"story": story(t),
		"empty": {Time: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
	}
	all["hostile"] = hostileRelease(0)
	for n := range hostile { // what no list has
		all[fmt.Sprintf("hostile %d", n)] = headOf(hostileRelease(n))
	}
	return all
}

func TestSchemas(t *testing.T) {
	soak.WithoutRace(t)
	for name, r := range releases(t) {
		for _, f := range forms {
			t.Run(name+"/"+f.name, func(t *testing.T) {
				var a, b bytes.Buffer
				if err := f.write(&a, r); err != nil {
					t.Fatal(err)
				}
				validate(t, f, a.Bytes())
				checkReferences(t, a.Bytes())
				if err := f.write(&b, r); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(a.Bytes(), b.Bytes()) {
					t.Error("the same release has other bytes")
				}
			})
		}
	}
}

// checkReferences checks that each UUID is defined once, and each reference to
// one leads to a definition.
func checkReferences(t *testing.T, document []byte) {
	t.Helper()
	var whole any
	if err := json.Unmarshal(document, &whole); err != nil {
		t.Fatal(err)
	}
	defined, used := map[string]int{}, map[string]string{}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				visit(e)
			}
		case map[string]any:
			for name, m := range v {
				switch {
				case name == "uuid":
					defined[m.(string)]++
				case strings.HasSuffix(name, "-uuid"):
					used[m.(string)] = name
				case strings.HasSuffix(name, "-uuids"):
					for _, e := range m.([]any) {
						used[e.(string)] = name
					}
				case name == "href" && strings.HasPrefix(m.(string), "#"):
					used[m.(string)[1:]] = name
				}
				visit(m)
			}
		}
	}
	visit(whole)
	for id, n := range defined {
		if n > 1 {
			t.Errorf("%s is defined %d times", id, n)
		}
	}
	for id, name := range used {
		if defined[id] == 0 {
			t.Errorf("%s %s is not defined", name, id)
		}
	}
}

// TestTrestle imports documents into compliance-trestle, and validates them
// there.
func TestTrestle(t *testing.T) {
	trestle := peers.Path(t, "trestle")
	workspace, outside := t.TempDir(), t.TempDir() // trestle imports no file of its workspace
	run := func(args ...string) {
		t.Helper()
		c := exec.CommandContext(context.Background(), trestle, args...)
		c.Dir = workspace
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("trestle %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("init")
	all := releases(t)
	for _, name := range []string{"story", "empty", "hostile"} {
		r := all[name]
		for _, f := range forms {
			var b bytes.Buffer
			if err := f.write(&b, r); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(outside, "in.json")
			if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			run("import", "-f", file, "-o", name)
		}
	}
	run("validate", "-a")
}

// TestMeaning checks what the documents of the story state.
func TestMeaning(t *testing.T) {
	r := story(t)
	results := NewAssessmentResults(r).Results[0]
	targets := map[string]State{}
	for _, f := range results.Findings {
		targets[f.Target.ID] = f.Target.Status
	}
	for id, want := range map[string]State{"SLSA-BUILD-L3": {State: "not-satisfied", Reason: "other"}, "CHART-SIGNED": {State: "not-satisfied", Reason: "fail"}, "SBOM": {State: "satisfied", Reason: "pass"}} {
		if got := targets[id]; got.State != want.State || got.Reason != want.Reason {
			t.Errorf("%s: %+v", id, got)
		}
	}
	plan := NewPOAM(r)
	statuses := map[string]string{}
	deadlines := map[string]string{}
	for _, risk := range plan.Risks {
		statuses[risk.Title], deadlines[risk.Title] = risk.Status, risk.Deadline
	}
	for title, want := range map[string]string{"Exception EXC-17 from SLSA-BUILD-L3": "deviation-approved", "Exception EXC-21 from CHART-SIGNED": "deviation-requested", "CHART-SIGNED: Charts are signed by the release workflow": "open"} {
		if statuses[title] != want {
			t.Errorf("%s: status %q, want %q", title, statuses[title], want)
		}
	}
	if _, ok := statuses["Exception EXC-11 from CHART-SIGNED"]; ok {
		t.Error("an expired exception is an item")
	}
	if deadlines["Exception EXC-17 from SLSA-BUILD-L3"] == "" {
		t.Error("an exception has no deadline")
	}
	for _, o := range append(results.Observations, plan.Observations...) {
		if len(o.Links) == 0 || len(o.Evidence) == 0 || !strings.HasPrefix(o.Evidence[0].Href, "../receipts/") {
			t.Fatalf("observation %q has no receipt: %+v", o.Title, o.Evidence)
		}
	}
	open := 0
	for _, item := range plan.Items {
		var owner, due bool
		for _, p := range item.Props {
			if p.Name == "finding" {
				open++
			}
			owner, due = owner || p.Name == "owner", due || p.Name == "due"
		}
		if !owner || !due && item.Findings == nil {
			t.Errorf("item %q lacks an owner or a due date", item.Title)
		}
	}
	if open != 9 {
		t.Errorf("%d items of findings, want 9", open)
	}
}

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		status exception.Status
		want   string
	}{
		{exception.Status{State: exception.Approved}, "deviation-approved"},
		{exception.Status{State: exception.Requested}, "deviation-requested"},
		{exception.Status{State: exception.BreakGlass, Unconfirmed: true}, "deviation-requested"},
		{exception.Status{State: exception.Expired, Unconfirmed: true}, "deviation-requested"},
		{exception.Status{State: exception.Expired}, "closed"},
		{exception.Status{State: exception.Rejected}, "closed"},
		{exception.Status{State: exception.Revoked}, "closed"},
		{exception.Status{State: exception.Void}, "closed"},
	} {
		if got := statusOf(&c.status); got != c.want {
			t.Errorf("%s: %s, want %s", c.status.State, got, c.want)
		}
	}
}

func TestToken(t *testing.T) {
	seen := map[string]string{}
	for _, id := range append([]string{"A", "1A", "_1A", "_x1A", "a_b", "a__b", "_", "x", "_x", "a b", "a_20b", "AC-2(1)", "A.8.32", "é", "e", "-a", "_x_2Da"}, hostile...) {
		token := Token(id)
		if other, ok := seen[token]; ok && other != id {
			t.Errorf("%q and %q have the token %s", id, other, token)
		}
		seen[token] = id
	}
	for id, want := range map[string]string{"SLSA-BUILD-L3": "SLSA-BUILD-L3", "4.2.1": "_4.2.1", "A.8_2": "A.8_2"} {
		if got := Token(id); got != want {
			t.Errorf("Token(%q) = %s, want %s", id, got, want)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"<b>*x*</b>":            `\<b\>\*x\*\</b\>`,
		"snake_case _em_":       `snake_case \_em\_`,
		"it's 'quoted'":         `it's \'quoted\'`,
		"# heading":             `\# heading`,
		"1. list":               `1\. list`,
		"  two\n\twords \u200b": "two words",
		"":                      absent,
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Lines("a\r\n\r\n- b\n"); got != "a\n\n\\- b" {
		t.Errorf("%q", got)
	}
}

// TestMany checks that ten thousand findings are rendered and valid.
func TestMany(t *testing.T) {
	soak.WithoutRace(t)
	r := story(t)
	first := r.Findings[0]
	r.Findings = nil
	for i := range 10_000 {
		one := first
		copied := *first.Finding
		copied.ID, copied.Reports = fmt.Sprintf("AUD-%d", i), []finding.Report{{Index: uint64(100_000 + i), By: "oidc:https://id.example#a", Severity: "high", Status: finding.Open, Controls: []string{"SBOM"}, Time: r.Time}}
		one.Finding = &copied
		r.Findings = append(r.Findings, one)
	}
	var b bytes.Buffer
	if err := WritePOAM(&b, r); err != nil {
		t.Fatal(err)
	}
	validate(t, forms[1], b.Bytes())
	if got := strings.Count(b.String(), `"name": "finding"`); got != 20_000 {
		t.Errorf("%d properties of findings, want 20,000", got)
	}
}

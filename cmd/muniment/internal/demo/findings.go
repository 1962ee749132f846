package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A problem is a finding and what happens to it.
type problem struct {
	*munimentv1.Finding
	by       string // who reports it
	opened   time.Time
	started  time.Time // zero: nothing is done
	resolved time.Time // zero: it is not
	reopened time.Time // zero: it is not
	// evidence records what resolves it, or finds it, and returns its index.
	evidence func() uint64
}

// findings returns the steps of all findings.
func (c *company) findings(day func(int, string) time.Time, ago func(int) time.Time) (steps []step) {
	for _, p := range slices.Concat(c.vulnerabilities(day), c.audit(day), c.missing(day), c.pentest(day, ago)) {
		steps = append(steps, c.handled(p)...)
	}
	return steps
}

// handled returns the steps of a finding.
func (c *company) handled(p problem) []step {
	p.Detected = timestamppb.New(p.opened.Add(-20 * time.Minute))
	report := func(status string) {
		m := proto.CloneOf(p.Finding)
		if m.Status = status; status == "resolved" {
			m.Evidence = []uint64{p.evidence()}
		}
		c.event(c.person(p.by), kindname.Finding, m)
	}
	var steps []step
	for _, s := range []struct {
		at     time.Time
		status string
	}{{p.opened, "open"}, {p.started, "in-progress"}, {p.resolved, "resolved"}, {p.reopened, "reopened"}} {
		if !s.at.IsZero() {
			steps = append(steps, step{s.at, func() { report(s.status) }})
		}
	}
	return steps
}

// noted returns the index that was noted under a name.
func (c *company) noted(name string) func() uint64 { return func() uint64 { return c.indexes[name] } }

// vulnerabilities are what scans have found. Those that do not affect an image
// are closed with a statement of product security, and the others with the scan
// of the version that has the fix.
func (c *company) vulnerabilities(day func(int, string) time.Time) (all []problem) {
	for _, x := range []struct {
		vulnerability
		release, opened string // the version in which it was found, and when
		openedDay       int
		impact          string // why it does not affect the image; "": it is fixed
		fixedIn         string
		day             int
		clock           string
	}{
		{streamReset, "gateway 1.6.0", "09:40", -14, "", "gateway 1.6.1", -10, "13:00"},
		{spanFlood, "gateway 1.6.0", "09:45", -14, "", "gateway 1.6.2", -4, "13:10"},
		{copyBinary, "billing 7.0.3", "14:00", -14, "", "billing 7.1.0", -8, "15:40"},
		{certLoop, "billing 7.0.3", "14:05", -14, "", "billing 7.1.1", -1, "13:00"},
		{dialSSRF, "checkout 4.11.0", "10:45", -13, "", "checkout 4.12.1", -9, "18:10"},
		{slowUpload, "checkout 4.11.0", "10:50", -13, "Uploads go to the asset service.", "", -11, "09:30"},
		{copyBinary, "identity 0.9.4", "15:10", -13, "The service uses the text protocol only.", "", -12, "11:20"},
		{spanFlood, "identity 0.9.4", "15:15", -13, "", "identity 0.9.5", -6, "12:40"},
		{queryLoop, "search 3.4.0", "10:20", -12, "", "", 0, ""},
		{typeConfuse, "search 3.4.0", "10:25", -12, "", "search 3.4.1", -7, "13:30"},
		{tiffHeap, "asset-service 2.3.0", "11:50", -11, "TIFF is switched off in the decoder.", "", -10, "16:00"},
		{gifLeak, "asset-service 2.3.0", "11:55", -11, "The service writes no GIF files.", "", -8, "10:10"},
		{tokenForged, "checkout 4.12.0", "09:50", -9, "", "checkout 4.12.1", -9, "17:50"},
		{headerSplit, "gateway 1.7.0", "14:10", -1, "", "", 0, ""},
	} {
		service, version, _ := strings.Cut(x.release, " ")
		image := imageOf(service, version)
		score := x.score
		p := problem{by: "lin", opened: day(x.openedDay, x.opened), Finding: &munimentv1.Finding{
			Id: x.id, Title: x.title, Severity: strings.ToLower(x.severity), Source: "grype 0.99.1", Controls: []string{"VULN-SLA"}, Location: x.in.purl, Score: &score,
			Description: "Found in " + x.in.name() + " " + x.in.version() + " of " + x.release + ". Fixed in " + x.fixed + ".",
		}}
		switch {
		case x.impact != "":
			p.Subjects = []*munimentv1.Artifact{image.message()}
			p.evidence = func() uint64 {
				return c.attest(c.system("product-security"), "product security", "https://openvex.dev/ns/v0.2.0", notAffected(x.vulnerability, image, x.impact, c.clock.time()), image)
			}
		case x.fixedIn != "":
			p.Title = service + ": " + x.title
			p.Id += "-" + strings.ToUpper(service)
			p.Aliases = []string{x.id}
			p.evidence = c.noted("scan " + x.fixedIn)
		default: // it is not resolved
			p.Subjects = []*munimentv1.Artifact{image.message()}
		}
		if x.clock != "" {
			p.resolved = day(x.day, x.clock)
			p.started = p.opened.Add(p.resolved.Sub(p.opened) / 3)
		}
		all = append(all, p)
	}
	return all
}

// audit are the findings of an external audit about how the company works. They
// are closed with records of the compliance office.
func (c *company) audit(day func(int, string) time.Time) (all []problem) {
	for i, x := range []struct {
		control, title, severity string
		resolved                 int    // day; 0: it is not resolved
		record                   string // about what
	}{
		{"ACCESS-REVIEW", "Access of leavers to the billing database was not reviewed", "high", -12, "billing database, third quarter"},
		{"RESTORE-TEST", "No restore of the identity database is on record", "high", -11, "identity database, November"},
		{"SUPPLIER-REVIEW", "The mail provider has no current assessment", "medium", -11, "mail provider"},
		{"ACCESS-REVIEW", "Administrators of the CI system are not reviewed", "high", -10, "CI administrators, third quarter"},
		{"RESTORE-TEST", "The restore of the asset store took longer than its target", "medium", -8, "asset store, November"},
		{"SUPPLIER-REVIEW", "The list of subprocessors lacks the search hosting", "medium", -7, "search hosting"},
		{"ACCESS-REVIEW", "Two service accounts have no owner", "medium", -6, "service accounts, third quarter"},
		{"RESTORE-TEST", "Backups of the log of the gateway are not encrypted with the current key", "low", -5, "gateway log, November"},
		{"SUPPLIER-REVIEW", "The payment provider's certificate of compliance has expired", "high", 0, ""},
		{"ACCESS-REVIEW", "The break-glass accounts were not reviewed after use", "medium", -3, "break-glass accounts, third quarter"},
		{"SUPPLIER-REVIEW", "The contract with the PDF vendor lacks security terms", "low", 0, ""},
		{"RESTORE-TEST", "The runbook of the restore names a person who has left", "low", -2, "search index, November"},
	} {
		p := problem{by: "ada", opened: day(-14, "11:00").Add(time.Duration(i) * time.Minute), Finding: &munimentv1.Finding{
			Id: fmt.Sprintf("AUD-%02d", i+1), Title: x.title, Severity: x.severity, Source: "external audit 2026", Controls: []string{x.control},
			Description: fmt.Sprintf("From the report of the external audit, section 4.%d.", i+1),
		}}
		if x.resolved == 0 {
			p.started = day(-3, "10:00").Add(time.Duration(i) * time.Hour)
			p.Due = timestamppb.New(day(3+i/3, "17:00"))
		} else {
			p.resolved = day(x.resolved, "14:20").Add(time.Duration(i) * 3 * time.Minute)
			p.started = day(-13, "09:00").Add(time.Duration(i) * 11 * time.Minute)
		}
		if i == 5 {
			p.reopened = day(-2, "11:30")
		}
		p.evidence = func() uint64 {
			name := strings.ToLower(x.control) + "/" + strings.NewReplacer(", ", "-", " ", "-").Replace(x.record) + ".pdf"
			record := object{"about": x.record, "performed": timestamp(c.clock.time().Add(-24 * time.Hour)), "by": "compliance@initech.example", "result": "no open points"}
			return c.attest(c.system("compliance-office"), "compliance office", "https://initech.example/"+strings.ToLower(x.control)+"/v1", record, newArtifact("file", name))
		}
		all = append(all, p)
	}
	return all
}

// missing are artifacts without the evidence that a control requires. They are
// closed once the evidence exists.
func (c *company) missing(day func(int, string) time.Time) (all []problem) {
	for _, x := range []struct {
		id, title, severity, control string
		about                        artifact
		opened, resolved             time.Time
		evidence                     string
	}{
		{"OPS-31", "identity 0.9.5 reached the registry without test results", "medium", "TESTS", imageOf("identity", "0.9.5"), day(-6, "10:00"), day(-6, "11:05"), "tests identity 0.9.5"},
		{"OPS-32", "The chart storefront 0.8.3 is not signed", "high", "CHART-SIGNED", chartOf("storefront", "0.8.3"), day(-4, "13:30"), day(-4, "16:40"), "provenance storefront 0.8.3"},
		{"OPS-33", "The bill of materials of billing 7.0.3 was not checked", "low", "SBOM", imageOf("billing", "7.0.3"), day(-13, "08:10"), day(-12, "08:30"), "sbom billing 7.0.3"},
		{"OPS-34", "The load test of gateway 1.6.1 is not confirmed", "low", "LOAD-TEST", imageOf("gateway", "1.6.1"), day(-9, "08:30"), day(-8, "16:45"), "load test gateway 1.6.1"},
		{"OPS-35", "pdf-renderer 5.1.0 has no provenance", "high", "PROVENANCE", imageOf("pdf-renderer", "5.1.0"), day(-9, "08:15"), time.Time{}, ""},
	} {
		p := problem{by: "lin", opened: x.opened, resolved: x.resolved, evidence: c.noted(x.evidence), Finding: &munimentv1.Finding{
			Id: x.id, Title: x.title, Severity: x.severity, Source: "weekly operations review", Controls: []string{x.control}, Subjects: []*munimentv1.Artifact{x.about.message()},
		}}
		if x.resolved.IsZero() {
			p.started = x.opened.Add(24 * time.Hour)
		}
		all = append(all, p)
	}
	return all
}

// pentest are the findings of a penetration test, which are closed with the
// tests of the version that has the fix.
func (c *company) pentest(day func(int, string) time.Time, ago func(int) time.Time) (all []problem) {
	for i, x := range []struct {
		title, severity string
		fixedIn         string
		resolved        time.Time
	}{
		{"The session cookie of the gateway lacks SameSite", "medium", "gateway 1.6.1", day(-10, "14:30")},
		{"Checkout shows internal addresses in error pages", "low", "checkout 4.12.1", day(-9, "18:30")},
		{"Search terms are written to the log in plain text", "medium", "search 3.5.0", day(-2, "16:10")},
		{"Uploaded SVG files run scripts", "high", "asset-service 2.4.0", day(-5, "13:50")},
		{"Sign-in does not slow down repeated attempts", "high", "identity 0.9.6", ago(60)},
		{"Old invoices can be found by counting", "high", "", time.Time{}},
	} {
		p := problem{by: "lin", opened: day(-13, "16:00").Add(time.Duration(i) * 4 * time.Minute), resolved: x.resolved, evidence: c.noted("tests " + x.fixedIn), Finding: &munimentv1.Finding{
			Id: fmt.Sprintf("PT-%d", i+1), Title: x.title, Severity: x.severity, Source: "penetration test, autumn 2026", Controls: []string{"TESTS"},
		}}
		if x.fixedIn == "" {
			p.started = day(-4, "09:40")
			p.Due = timestamppb.New(day(-2, "17:00"))
		}
		all = append(all, p)
	}
	return all
}

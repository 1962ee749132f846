package main

import (
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
)

// days is how long before the day of the run the company began.
const days = 14

var (
	//go:embed admission.yaml
	admissionText string
	//go:embed controls.yaml
	controlsText string
)

// story returns all steps in order. The last ones are before now.
func (c *company) story(now time.Time) []step {
	day := func(n int, clock string) time.Time {
		t, err := time.Parse("15:04", clock)
		c.failed(clock, err)
		return midnight(now).AddDate(0, 0, n).Add(time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute)
	}
	ago := func(minutes int) time.Time {
		return now.Add(-time.Duration(minutes) * time.Minute).Truncate(time.Second)
	}
	c.running = map[string]map[string]artifact{"production": before(), "staging": before()}
	c.indexes = map[string]uint64{}
	steps := []step{{day(-days, "06:10"), c.begin}}
	steps = append(steps, c.releases(day, ago)...)
	steps = append(steps, c.findings(day, ago)...)
	steps = append(steps, c.exceptions(day, ago)...)
	steps = append(steps, c.exports(day)...)
	steps = append(steps, c.backfills(day)...)
	steps = append(steps, c.caches(now)...)
	steps = append(steps, c.incidents(day, ago)...)
	return inOrder(steps)
}

// begin puts policy and controls in force.
func (c *company) begin() {
	policy, err := withKeys(admissionText)
	c.failed("admission.yaml", err)
	controls, err := withKeys(controlsText)
	c.failed("controls.yaml", err)
	c.govern(policy, controls)
}

// request records a request for an exception, whose index is noted under its
// ID.
func (c *company) request(by string, m *munimentv1.ExceptionRequest) {
	c.note(m.Id, c.event(c.person(by), kindname.ExceptionRequest, m))
}

// decide records a decision about an exception.
func (c *company) decide(by, id, decision, reason string, expires *timestamppb.Timestamp) {
	c.event(c.person(by), kindname.ExceptionDecision, &munimentv1.ExceptionDecision{Exception: id, Request: ptr(c.indexes[id]), Decision: decision, Reason: reason, Expires: expires})
}

func (c *company) exceptions(day func(int, string) time.Time, ago func(int) time.Time) []step {
	until := func(n int) *timestamppb.Timestamp { return timestamppb.New(day(n, "17:00")) }
	request := func(by, id, control, reason string, expires *timestamppb.Timestamp, scope *munimentv1.ExceptionScope, findings ...string) func() {
		return func() {
			c.request(by, &munimentv1.ExceptionRequest{Id: id, Control: control, Reason: reason, Expires: expires, Scope: scope, Findings: findings})
		}
	}
	decide := func(by, id, decision, reason string) func() {
		return func() { c.decide(by, id, decision, reason, nil) }
	}
	globs := func(environment string, all ...string) *munimentv1.ExceptionScope {
		s := &munimentv1.ExceptionScope{Globs: all}
		if environment != "" {
			s.Environments = []string{environment}
		}
		return s
	}
	pdf := imageOf("pdf-renderer", "5.1.0")
	only := func(environment string, a artifact) *munimentv1.ExceptionScope {
		return &munimentv1.ExceptionScope{Subjects: []*munimentv1.Artifact{a.message()}, Environments: []string{environment}}
	}
	return []step{
		{day(-13, "08:20"), request("kim", "EXC-101", "CHART-SIGNED", "The signing service of the chart pipeline moves to the new cluster this week.", until(-10), globs("", "storefront-0.8.1*"))},
		{day(-13, "09:35"), decide("ada", "EXC-101", "approve", "")},
		{day(-12, "13:10"), request("kim", "EXC-102", "PROVENANCE", "The vendor signs its images from version 5.2 on. We have scanned and tested 5.1.0.", until(-2), only("staging", pdf))},
		{day(-12, "15:00"), decide("lin", "EXC-102", "approve", "Scanned without findings.")},
		{day(-9, "08:05"), request("kim", "EXC-103", "PROVENANCE", "The vendor signs its images from version 5.2 on, which is due next week.", until(3), only("production", pdf))},
		{day(-9, "08:50"), decide("ada", "EXC-103", "approve", "Agreed until the vendor's next release.")},
		{day(-8, "09:15"), request("lin", "EXC-104", "VULN-SLA", "The loop needs a query syntax that the search API does not accept. The upgrade breaks the index format and is planned.", until(6), globs("production", registry+"search*"), queryLoop.id)},
		{day(-8, "10:00"), decide("ada", "EXC-104", "approve", "")},
		{day(-8, "11:45"), decide("noor", "EXC-104", "approve", "")},
		{day(-7, "09:00"), request("kim", "EXC-105", "CHART-SIGNED", "The release is urgent.", until(2), globs("production", "storefront-*"))},
		{day(-7, "09:20"), decide("ada", "EXC-105", "reject", "Urgency is no reason: signing takes two minutes.")},
		{day(-6, "15:30"), request("kim", "EXC-106", "PROVENANCE", "The debug shell helps to find the memory leak in staging.", until(4), globs("staging", registry+"debug-shell*"))},
		{day(-6, "16:05"), decide("lin", "EXC-106", "approve", "")},
		{day(-4, "08:40"), decide("lin", "EXC-106", "revoke", "The leak is found.")},
		{day(-3, "10:30"), request("kim", "EXC-107", "LOAD-TEST", "The load generators are being replaced. The release changes texts only.", until(9), globs("production", registry+"checkout:4.13*"))},
		{day(-3, "10:55"), decide("ada", "EXC-107", "approve", "Texts only, as the diff shows.")},
		{day(-2, "09:10"), func() { c.decide("lin", "EXC-102", "renew", "The vendor is a week late.", until(10)) }},
		{day(-1, "16:40"), request("lin", "EXC-108", "VULN-SLA", "Trailers are switched off in our configuration. The fixed version needs a new toolchain.", until(13), globs("production", registry+"gateway:1.7*"), headerSplit.id)},
		{day(-1, "17:20"), decide("noor", "EXC-108", "approve", "")},
		{ago(300), func() { c.outage(ago(300)) }},
		{ago(40), request("kim", "EXC-109", "LOAD-TEST", "The load generators are back on Thursday. 1.7.0 has been in staging since yesterday without an alert, and we roll it out to one region first.", until(7), globs("production", registry+"gateway:1.7*"))},
		{day(-9, "12:15"), c.registerKey},
		{day(-5, "04:10"), func() { c.signedBreakGlass("BG-4711", day(-5, "02:30")) }},
		{day(-5, "08:30"), func() { c.compromised(day(-5, "02:00")) }},
		{day(-9, "07:50"), func() { c.vendored(pdf) }},
		{day(-9, "08:55"), func() { c.gate(c.system("deploy"), pdf, "deploy", "production", "pass") }},
	}
}

// vendored records what the company can show itself about an image that its
// vendor does not sign, and asks the gate.
func (c *company) vendored(image artifact) {
	at, ci := c.clock.time(), c.system("ci")
	c.attest(ci, "release workflow", intoto.SPDX+"/v2.3", billOfMaterials(image.name, []component{openssl, zlib, pillow}, at), image)
	c.attest(c.system("scanner"), "scanner", intoto.CosignVuln, scan(nil, at), image)
	c.attest(ci, "release workflow", intoto.TestResult, tests("PASSED", []any{"acceptance"}, []any{}), image)
	c.attest(ci, "review bot", intoto.SVR, review(at), image)
	c.gate(c.system("deploy"), image, "deploy", "production", "blocked")
}

const onCall = "on-call key"

// registerKey registers the key with which Kim can break the glass offline.
func (c *company) registerKey() {
	key, err := dsse.NewKey(onCall, signingKey(onCall).Public())
	if c.failed(onCall, err); c.err != nil {
		return
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	c.failed(onCall, err)
	c.event(c.person("ada"), kindname.KeyEvent, &munimentv1.KeyEvent{
		KeyId: key.ID, Event: "registered", From: timestamppb.New(c.clock.time()), Person: c.directory.submitter("kim"), Reason: "key for break-glass",
		PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	})
}

// signedBreakGlass submits a request that the key has signed in an outage.
func (c *company) signedBreakGlass(id string, used time.Time) {
	m := &munimentv1.ExceptionRequest{
		Id: id, Control: "CHART-SIGNED", BreakGlass: true, Reason: "The ledger was not reachable during the network outage.", Expires: timestamppb.New(used.Add(12 * time.Hour)),
		Scope: &munimentv1.ExceptionScope{Globs: []string{"storefront-0.8.2*"}},
		Used:  &munimentv1.BreakGlassUse{Origin: c.directory.Audience, Tenant: c.admin.Tenant, Time: timestamppb.New(used)},
	}
	payload, err := protojson.Marshal(m)
	c.failed(id, err)
	envelope, err := dsse.Sign(kinds.BreakGlassType, payload, signingKey(onCall))
	c.failed(id, err)
	c.append(c.system("deploy"), id, muniment.Submission{Kind: kindname.ExceptionRequest, MediaType: dsse.MediaType, Payload: envelope, IdempotencyKey: id})
}

// compromised takes back what the key has signed since a time.
func (c *company) compromised(from time.Time) {
	key, err := dsse.NewKey(onCall, signingKey(onCall).Public())
	if c.failed(onCall, err); c.err != nil {
		return
	}
	c.event(c.person("lin"), kindname.KeyEvent, &munimentv1.KeyEvent{KeyId: key.ID, Event: "compromised", From: timestamppb.New(from), Reason: "The notebook with the key was stolen."})
}

// exports records what left the company, and what it cost of the budgets.
func (c *company) exports(day func(int, string) time.Time) (steps []step) {
	spent := map[string]int64{} // in hundredths of ε
	for _, x := range []struct {
		day                    int
		id, budget, unit, file string
		limit                  string
		epsilon                int64
		rows                   uint64
	}{
		{-13, "visits-by-region-w46", "customer-insights-2026", "All visits of one customer.", "visits.parquet", "4", 50, 48_210},
		{-11, "search-terms-w46", "search-queries-2026", "All queries of one customer.", "terms.csv", "2", 40, 12_004},
		{-9, "basket-sizes-2026-11", "customer-insights-2026", "All orders of one customer.", "baskets.parquet", "4", 75, 9_731},
		{-6, "visits-by-region-w47", "customer-insights-2026", "All visits of one customer.", "visits.parquet", "4", 50, 47_655},
		{-4, "search-terms-w47", "search-queries-2026", "All queries of one customer.", "terms.csv", "2", 40, 12_391},
		{-2, "returns-by-category", "customer-insights-2026", "All returns of one customer.", "returns.csv", "4", 25, 640},
		{-1, "zero-result-queries", "search-queries-2026", "All queries of one customer.", "queries.csv", "2", 70, 3_118},
	} {
		spent[x.budget] += x.epsilon
		total := spent[x.budget]
		steps = append(steps, step{day(x.day, "15:10"), func() {
			m, err := manifest(x.id, x.file, x.rows, c.admin.Tenant, c.clock.time())
			if c.failed(x.id, err); c.err != nil {
				return
			}
			if m.Privacy, err = privacy(x.budget, x.limit, x.unit, x.epsilon, total); err != nil {
				c.failed(x.id, err)
				return
			}
			exported := c.export(c.system("data-office"), m)
			c.gate(c.system("data-office"), exported, "deploy", "", "pass")
		}})
	}
	return steps
}

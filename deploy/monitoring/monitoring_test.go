package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/peers/promrig"
)

// TestDashboardsAreCurrent checks that the files are what the code writes.
func TestDashboardsAreCurrent(t *testing.T) {
	files, err := filepath.Glob("grafana/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(boards) {
		t.Errorf("%d files for %d dashboards", len(files), len(boards))
	}
	for name, b := range boards {
		want, err := encode(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join("grafana", name+".json")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("grafana/%s.json is not current (%v): go run ./deploy/monitoring", name, err)
		}
	}
}

// TestRules runs the unit tests of the alerts, each of which must have one.
func TestRules(t *testing.T) {
	out, err := exec.Command(peers.Path(t, "promtool"), "test", "rules", "rules_test.yaml").CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	rules, tests, page := read(t, "rules.yaml"), read(t, "rules_test.yaml"), read(t, "../../docs/monitoring.md")
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !regexp.MustCompile(`alertname: ` + m[1] + `\n +exp_alerts:`).MatchString(tests) {
			t.Errorf("no unit test has %s fire", m[1])
		}
		if !strings.Contains(tests, "alertname: "+m[1]+"}") {
			t.Errorf("no unit test has %s stay silent", m[1])
		}
		if !strings.Contains(page, "### "+m[1]+"\n") {
			t.Errorf("docs/monitoring.md does not explain %s", m[1])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A receiver keeps the alerts that Alertmanager sends to it.
type receiver struct {
	alerts chan string // name and summary
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var message struct {
		Alerts []struct {
			Status              string
			Labels, Annotations map[string]string
		}
	}
	if err := json.NewDecoder(io.LimitReader(req.Body, 1<<20)).Decode(&message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, a := range message.Alerts {
		select {
		case r.alerts <- a.Status + " " + a.Labels["alertname"] + ": " + a.Annotations["summary"]:
		default: // the test has ended
		}
	}
}

// TestWithPrometheus checks in a real Prometheus that every panel of the
// dashboards shows something about a server with evidence, and that the alerts
// about it reach their receiver.
func TestWithPrometheus(t *testing.T) {
	ledger := ledgerrig.Start()
	t.Cleanup(ledger.Close)
	recordGaps(t, ledger)
	copying := startBackfill(t, ledger)
	cached := startCache(t)
	triaging := startTriage(t)
	to := &receiver{alerts: make(chan string, 1024)}
	hook := httptest.NewServer(to)
	t.Cleanup(hook.Close)
	dir := t.TempDir()
	// the unit tests cover how long a condition must last
	rules := regexp.MustCompile(`(?m)^ +for: .*\n`).ReplaceAllString(read(t, "rules.yaml"), "")
	rules = strings.ReplaceAll(rules, "muniment_backfill_progress_timestamp_seconds) > 300", "muniment_backfill_progress_timestamp_seconds) > 1")
	rules = strings.NewReplacer("wait_seconds_bucket[15m]", "wait_seconds_bucket[5s]", "wait_seconds_count[15m])) >= 100", "wait_seconds_count[5s])) >= 10").Replace(rules)
	path := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	rig, err := promrig.Start(ctx, promrig.Config{Dir: dir, Target: strings.TrimPrefix(ledger.URL, "http://"), Token: ledger.Operator, Backfill: copying.address, Cache: cached.address, Triage: triaging.address, Rules: path, Webhook: hook.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rig.Stop)
	for _, there := range []string{"muniment_findings_overdue == 1", `muniment_coverage_tenants{result="decided"} == 1`} {
		if err := rig.Await(ctx, there); err != nil {
			t.Fatal(err)
		}
	}
	report(t, ledger)
	fireBackfill(t, rig, copying)
	triaging.misfire(t, rig)
	cached.regress(t, rig)
	if err := rig.Await(ctx, `sum(increase(muniment_verification_reports_total{verdict="not-verified"}[15m])) >= 5`); err != nil {
		t.Fatal(err)
	}
	panels := 0
	for name, b := range boards {
		for _, p := range b.panels {
			panels++
			if samples, err := rig.Query(ctx, strings.ReplaceAll(p.expr, "$baseline", b.baseline)); err != nil || !hasNumber(samples) {
				t.Errorf("dashboard %s, panel %q: %v, %v, want a sample", name, p.title, samples, err)
			}
		}
	}
	if panels == 0 {
		t.Error("no panels")
	}
	wanted := map[string]bool{
		"firing MunimentTriageExecutorFailure: Automatic steps of triage fail, or an incident waits for people":                                 true,
		"firing MunimentCacheP99Regression: Reads of product wait longer for the origin than in the last day":                                   true,
		"firing MunimentBackfillStalled: The backfill asset-size copies no rows":                                                                true,
		"firing MunimentBackfillBelowThreshold: The latest checkpoint of the backfill asset-size did not pass: its score is 66.67%":             true,
		"firing MunimentFindingsPastSLA: Findings past their deadline: 1":                                                                       true,
		"firing MunimentFindingsWithoutEvidence: Only 0% of the findings are closed with linked evidence":                                       true,
		"firing MunimentMissingAttestation: Artifacts of type image without attestation, which run: 1":                                          true,
		"firing MunimentVerifyFailureSpike: More than a tenth of the verifications that tenants report have failed":                             true,
		"firing MunimentInventoryStale: Inventories of what exists that are stale or unreadable: 1":                                             true,
		"firing MunimentCoverageUndecided: The coverage of some tenants cannot be decided, so alerts about missing attestations may be missing": true,
	}
	// an inventory that is too old when it is recorded
	appendTo(t, ledger, kindname.Inventory, `{"environment":"production","scope":"exists","source":"registry","observed":"2026-01-05T00:00:00Z"}`)
	for len(wanted) > 0 {
		alert := <-to.alerts
		delete(wanted, alert)
		// MunimentDown may fire: a loaded machine misses a scrape, which the
		// rule forgives for two minutes.
		if strings.Contains(alert, "MunimentComplianceUnread") {
			t.Errorf("%s, about a server that is well", alert)
		}
	}
}

// hasNumber reports whether a sample is not NaN.
func hasNumber(samples []promrig.Sample) bool {
	return slices.ContainsFunc(samples, func(s promrig.Sample) bool { return s.Value[1] != "NaN" })
}

// fireBackfill waits for the alerts about a backfill: its copy stalls, and then
// a checkpoint does not pass.
func fireBackfill(t *testing.T, rig *promrig.Rig, b *backfillRig) {
	t.Helper()
	await := func(expression string) {
		t.Helper()
		if err := rig.Await(t.Context(), expression); err != nil {
			t.Fatal(err)
		}
	}
	await(`ALERTS{alertname="MunimentBackfillStalled", alertstate="firing"}`)
	await(`muniment_backfill_held_seconds_total{reason="query"} > 0`)
	b.release()
	await(`muniment_backfill_phase{phase="paused"} == 1`)
	await(`ALERTS{alertname="MunimentBackfillBelowThreshold", alertstate="firing"}`)
	b.finish()
	await("muniment_backfill_differences == 0")
	await("sum(rate(muniment_backfill_copied_rows_total[1m])) > 0")
}

// recordGaps records a finding that is past its deadline, and an image that
// runs and is not attested.
func recordGaps(t *testing.T, ledger *ledgerrig.Server) {
	t.Helper()
	appendTo(t, ledger, kindname.Finding, `{"id":"AUD-1","title":"Charts are not signed","severity":"high","status":"open","source":"audit","detected":"2026-01-05T00:00:00Z","due":"2026-02-05T00:00:00Z","controls":["CHART-SIGNED"]}`)
	control := `{"id":"SIGNED","title":"Images are built by us","state":"active","severity":"high","check":{"require":[{"name":"provenance","predicateTypes":["https://slsa.dev/provenance/*"],"unsigned":true}]},"modes":[{"stage":"deploy","mode":"enforce"}]}`
	appendTo(t, ledger, kindname.Control, control)
	appendTo(t, ledger, kindname.ControlSet, fmt.Sprintf(`{"version":"1","stages":["deploy"],"controls":[{"id":"SIGNED","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(control))))
	appendTo(t, ledger, kindname.Inventory, fmt.Sprintf(`{"environment":"production","scope":"runs","source":"cluster","observed":%q,"items":[{"artifact":{"name":"planted","digest":{"sha256":%q}}}]}`,
		time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), strings.Repeat("d", 64)))
}

// report records verification reports. Prometheus must have seen the server
// before, because the increase of a counter is counted from its first sample.
func report(t *testing.T, ledger *ledgerrig.Server) {
	t.Helper()
	for i := range 12 {
		verdict, reason := "verified", "verified"
		if i%2 == 0 {
			verdict, reason = "not-verified", "checkpoint-signature"
		}
		appendTo(t, ledger, kindname.VerificationReport, fmt.Sprintf(`{"verdict":%q,"reasonCode":%q,"version":"1.6.0","verifier":"muniment-python","index":"%d"}`, verdict, reason, i))
	}
}

func appendTo(t *testing.T, ledger *ledgerrig.Server, kind, payload string) {
	t.Helper()
	client, err := muniment.New(muniment.Options{Server: ledger.URL, Token: ledger.Token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Append(context.Background(), muniment.Submission{Kind: kind, Payload: []byte(payload), IdempotencyKey: fmt.Sprintf("%x", sha256.Sum256([]byte(payload)))}); err != nil {
		t.Fatal(err)
	}
}

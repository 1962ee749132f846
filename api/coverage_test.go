package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// newCoverageServer starts a server that computes coverage for its metrics.
func newCoverageServer(t *testing.T, edits ...func(*ledger.Config, *api.Config)) *testServer {
	t.Helper()
	quick := func(_ *ledger.Config, c *api.Config) { c.CoverageInterval = 5 * time.Millisecond }
	ts := newServer(t, append(edits, quick)...)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { ts.api.WatchCoverage(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return ts
}

// inventory records an inventory of a tenant.
func (ts *testServer) inventory(tenant, scope, environment, source, more string) {
	ts.t.Helper()
	ts.count++
	payload := fmt.Sprintf(`{"environment":%q,"scope":%q,"source":%q,"observed":%q%s}`, environment, scope, source, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), more)
	_, err := ts.client(roleToken(tenant, "approver")).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: tenant,
		Submission: &munimentv1.Submission{Kind: "inventory", IdempotencyKey: fmt.Sprint("inventory ", ts.count), Payload: []byte(payload)}}))
	if err != nil {
		ts.t.Fatal(err)
	}
}

// itemsOf returns the items of an inventory, each as TYPE:NAME:HEX.
func itemsOf(items ...string) string {
	all := make([]string, len(items))
	for i, item := range items {
		f := strings.Split(item, ":")
		all[i] = fmt.Sprintf(`{"type":%q,"artifact":{"name":%q,"digest":{"sha256":%q}}}`, f[0], f[1], strings.Repeat(f[2], 64))
	}
	return `,"items":[` + strings.Join(all, ",") + "]"
}

// wantMetrics waits until the metrics have all of the lines, and returns them.
func (ts *testServer) wantMetrics(lines ...string) string {
	ts.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		text := string(ts.do(ts.h1, "GET", "/metrics", operatorToken, nil, nil).body)
		missing := ""
		for _, line := range lines {
			if !strings.Contains(text, "\n"+line+"\n") {
				missing = line
			}
		}
		if missing == "" {
			return text
		}
		if time.Now().After(deadline) {
			var shown []string
			for _, line := range strings.Split(text, "\n") {
				if strings.HasPrefix(line, "muniment_coverage") || strings.HasPrefix(line, "muniment_inventory") {
					shown = append(shown, line)
				}
			}
			ts.t.Fatalf("the metrics lack %s:\n%s", missing, strings.Join(shown, "\n"))
		}
	}
}

// The metrics of all tenants together follow the inventories and the evidence,
// and name nothing.
func TestCoverageMetrics(t *testing.T) {
	ts := newCoverageServer(t)
	ts.wantMetrics(`muniment_coverage_tenants{result="no-inventory",tenant=""} 2`, `muniment_coverage_inventoried_artifacts{environment="",scope="runs",tenant="",type="image"} 0`)
	ts.inventory("acme", "runs", "secret-environment", "secret-cluster", itemsOf("image:secret-name:a"))
	ts.wantMetrics(`muniment_coverage_tenants{result="undecided",tenant=""} 1`, `muniment_coverage_gaps{environment="",reason="undecided",scope="runs",tenant="",type="image"} 1`)
	ts.putControls(t, "1")
	ts.wantMetrics(`muniment_coverage_tenants{result="decided",tenant=""} 1`, `muniment_coverage_gaps{environment="",reason="not-satisfied",scope="runs",tenant="",type="image"} 1`)
	ts.inventory("globex", "exists", "other", "registry", itemsOf("image:x:a", "chart:y:b", "delta:z:c"))
	ts.wantMetrics(`muniment_coverage_tenants{result="undecided",tenant=""} 1`, `muniment_coverage_tenants{result="no-inventory",tenant=""} 0`,
		`muniment_coverage_inventoried_artifacts{environment="",scope="runs",tenant="",type="image"} 1`,
		`muniment_coverage_inventoried_artifacts{environment="",scope="exists",tenant="",type="image"} 1`,
		`muniment_coverage_inventoried_artifacts{environment="",scope="exists",tenant="",type="chart"} 1`,
		`muniment_coverage_inventoried_artifacts{environment="",scope="exists",tenant="",type="delta"} 1`,
		`muniment_coverage_inventoried_artifacts{environment="",scope="exists",tenant="",type="export-manifest"} 0`,
		`muniment_coverage_attested_artifacts{environment="",scope="runs",tenant="",type="image"} 0`,
		`muniment_inventory_sources{scope="runs",state="current",tenant=""} 1`, `muniment_inventory_sources{scope="exists",state="current",tenant=""} 1`)

	// evidence changes the reason, and a new inventory ends the gap
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":"https://example.com/p/v1","predicate":{}}`, strings.Repeat("a", 64))
	if _, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}})); err != nil {
		t.Fatal(err)
	}
	ts.wantMetrics(`muniment_coverage_gaps{environment="",reason="unsigned",scope="runs",tenant="",type="image"} 1`, `muniment_coverage_gaps{environment="",reason="not-satisfied",scope="runs",tenant="",type="image"} 0`)
	ts.inventory("acme", "runs", "secret-environment", "secret-cluster", `,"retired":true`)
	text := ts.wantMetrics(`muniment_coverage_gaps{environment="",reason="unsigned",scope="runs",tenant="",type="image"} 0`, `muniment_inventory_sources{scope="runs",state="current",tenant=""} 0`)
	for _, name := range []string{"secret", "acme", "globex", "registry"} {
		if strings.Contains(text, name) {
			t.Errorf("the metrics contain %q, which is a tenant's", name)
		}
	}
}

// Stale and unreadable inventories are not decided.
func TestCoverageMetricsOfOldInventories(t *testing.T) {
	var later time.Duration
	var mu sync.Mutex
	ts := newCoverageServer(t, func(_ *ledger.Config, c *api.Config) {
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(later)
		}
	})
	ts.putControls(t, "1")
	ts.inventory("acme", "runs", "prod", "cluster", itemsOf("image:x:a"))
	ts.inventory("acme", "exists", "prod", "registry", itemsOf("image:x:a"))
	ts.wantMetrics(`muniment_coverage_tenants{result="decided",tenant=""} 1`)
	mu.Lock()
	later = 49 * time.Hour
	mu.Unlock()
	ts.append("acme", "anything new")
	ts.wantMetrics(`muniment_coverage_tenants{result="undecided",tenant=""} 1`, `muniment_inventory_sources{scope="runs",state="stale",tenant=""} 1`, `muniment_inventory_sources{scope="exists",state="current",tenant=""} 1`)
	page, err := ts.client(acmeToken).ListEntries(context.Background(), connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme", Filter: &munimentv1.Filter{Kind: "inventory"}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Msg.Entries {
		if _, err := ts.erase(e.Index, onlyPayload, "a name in it is confidential"); err != nil {
			t.Fatal(err)
		}
	}
	ts.wantMetrics(`muniment_inventory_sources{scope="exists",state="unreadable",tenant=""} 1`, `muniment_inventory_sources{scope="runs",state="unreadable",tenant=""} 1`, `muniment_coverage_tenants{result="decided",tenant=""} 0`)
}

// With metrics by tenant, environments and sources have names, but not more of
// them than a bound.
func TestCoverageMetricsByTenant(t *testing.T) {
	soak.WithoutRace(t)
	ts := newCoverageServer(t, func(_ *ledger.Config, c *api.Config) { c.MetricsByTenant, c.CoverageStage = true, "deploy" })
	ts.putControls(t, "1")
	for i := range 25 {
		ts.inventory("acme", "runs", fmt.Sprintf("env-%02d", i), "cluster \"1\"\n", itemsOf("image:x:a", "image:y:b"))
	}
	for i := range 40 {
		ts.inventory("acme", "exists", "env-00", fmt.Sprint("registry-", i), itemsOf("chart:z:c"))
	}
	text := ts.wantMetrics(`muniment_coverage_tenants{result="decided",tenant="acme"} 1`, `muniment_coverage_tenants{result="no-inventory",tenant="globex"} 1`,
		`muniment_coverage_gaps{environment="env-00",reason="not-satisfied",scope="runs",tenant="acme",type="image"} 2`,
		`muniment_coverage_gaps{environment="env-00",reason="not-satisfied",scope="exists",tenant="acme",type="chart"} 1`,
		`muniment_coverage_gaps{environment="",reason="not-satisfied",scope="runs",tenant="acme",type="image"} 10`,
		`muniment_inventory_sources{scope="runs",state="current",tenant="acme"} 25`, `muniment_inventory_sources{scope="exists",state="current",tenant="acme"} 40`)
	for prefix, want := range map[string]int{
		`muniment_inventory_observed_timestamp_seconds{`: 50,
		// 20 environments, one with two scopes, and the others
		`muniment_coverage_inventoried_artifacts{`:                 22,
		`muniment_coverage_as_of_timestamp_seconds{tenant="acme"}`: 1,
	} {
		if got := strings.Count(text, "\n"+prefix); got != want {
			t.Errorf("%d series %s, want %d", got, prefix, want)
		}
	}
	if source := `muniment_inventory_observed_timestamp_seconds{environment="env-00",scope="runs",source="cluster \"1\"\n",tenant="acme"} `; !strings.Contains(text, source) {
		t.Errorf("no series %s", source)
	}
	settings := ts.settings
	settings.CoverageStage = "cutover" // which the control set does not define
	if err := ts.api.Reload(context.Background(), settings); err != nil {
		t.Fatal(err)
	}
	ts.wantMetrics(`muniment_coverage_tenants{result="undecided",tenant="acme"} 1`)
	settings.Tenants = settings.Tenants[1:]
	if err := ts.api.Reload(context.Background(), settings); err != nil {
		t.Fatal(err)
	}
	if text := ts.wantMetrics(`muniment_coverage_tenants{result="no-inventory",tenant="globex"} 1`); strings.Contains(text, `tenant="acme"`) {
		t.Error("the metrics name a removed tenant")
	}
}

// The memory for a tenant's inventories is the tenant's. Without it, the
// coverage is not computed, and that can be seen.
func TestCoverageMetricsAreAccounted(t *testing.T) {
	ts := newCoverageServer(t)
	ts.putControls(t, "1")
	bytes := ts.api.Book().Limits()[limit.Bytes]
	all := ts.api.Book().Open("acme")
	if err := all.Take(limit.Bytes, bytes.Owner-1<<20); err != nil {
		t.Fatal(err)
	}
	ts.inventory("acme", "runs", "prod", "cluster", itemsOf("image:x:a"))
	ts.wantMetrics(`muniment_coverage_tenants{result="not-computed",tenant=""} 1`, `muniment_coverage_tenants{result="no-inventory",tenant=""} 1`)
	if log := ts.logs.String(); !strings.Contains(log, "coverage not computed for metrics") {
		t.Error("the log does not have the reason")
	}
	all.Release()
	ts.wantMetrics(`muniment_coverage_tenants{result="decided",tenant=""} 1`)
	ts.wantMetrics(`muniment_held{resource="bytes",server="api"} 0`)
}

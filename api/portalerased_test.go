package api_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/intoto"
)

// signedManifest returns a manifest of version 2 about an export that spends
// epsilon of the budget b, after which spent is spent.
func signedManifest(t *testing.T, tenant, id, epsilon, spent string) []byte {
	t.Helper()
	seed := sha256.Sum256([]byte("exporter"))
	key := ed25519.NewKeyFromSeed(seed[:])
	public, err := dsse.NewKey("", key.Public())
	if err != nil {
		t.Fatal(err)
	}
	decimal := func(s string) export.Decimal {
		d, err := export.ParseDecimal(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, err := export.ParseRational("1")
	if err != nil {
		t.Fatal(err)
	}
	by, total := entry.Signer{KeyID: public.ID}, decimal(spent)
	m := &export.Manifest{Tenant: tenant, ExportID: id, Created: "2026-11-29T06:00:00Z", SPDXListVersion: export.SPDXListVersion(),
		Files:  []export.File{{Name: id + ".csv", SHA256: sha256.Sum256([]byte(id)), MediaType: "text/csv", License: []string{"MIT"}}},
		Claims: []export.Claim{{Activity: export.Storage, ClaimedBy: by, Locations: []export.Location{{Geography: export.Geography{Country: "DE"}}}}},
		Privacy: &export.Privacy{Flavor: export.PureDP, Unit: "User-level", Relation: "unbounded", Parameters: export.Parameters{Epsilon: decimal(epsilon)},
			Mechanisms: []export.Mechanism{{Name: export.Laplace, Sensitivity: one, Scale: one, Count: 1}}, SensitivityBy: by, Sampler: "x", SamplerBy: by,
			Budget: "b", BudgetEpsilon: decimal("4"), SpentEpsilon: &total}}
	text, err := m.AppendStatement(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := dsse.Sign(intoto.MediaType, text, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// viewNumbers returns the numbers of the overview, the findings and the privacy
// budgets that a server shows a tenant, in a line.
func viewNumbers(t *testing.T, ts *testServer, tenant, token string, now time.Time) string {
	t.Helper()
	ctx, p := context.Background(), ts.portal(token)
	overview, err := p.GetOverview(ctx, connect.NewRequest(&munimentv1.GetOverviewRequest{Tenant: tenant, Today: timestamppb.New(now.Add(-time.Hour))}))
	if err != nil {
		t.Fatal(err)
	}
	list, err := p.ListFindings(ctx, connect.NewRequest(&munimentv1.ListFindingsRequest{Tenant: tenant}))
	if err != nil {
		t.Fatal(err)
	}
	budgets, err := p.GetPrivacyBudget(ctx, connect.NewRequest(&munimentv1.GetPrivacyBudgetRequest{Tenant: tenant}))
	if err != nil {
		t.Fatal(err)
	}
	o := overview.Msg
	var blocked uint64
	for _, s := range o.Decisions.Stages {
		blocked += s.Blocked
	}
	var verified, failed, triaged uint64
	for _, v := range o.Verification.Verifiers {
		verified, failed = verified+v.Verified, failed+v.NotVerified
	}
	for _, c := range o.Triage.Counts {
		triaged += c.Count
	}
	budget := "no budget"
	for _, x := range budgets.Msg.Budgets {
		budget = fmt.Sprintf("%d spends of %s, agrees %t", x.SpendCount, x.Checked, x.Agrees)
	}
	f := o.Findings
	open := uint64(0)
	if n := len(f.Days); n > 0 {
		open = f.Days[n-1].Open
	}
	return fmt.Sprintf("blocked %d, listed %d; verified %d, not %d; actions %d; findings %d, resolved %d, open now %d, overdue %d, listed %d; %s",
		blocked, len(o.Decisions.Stopped), verified, failed, triaged, f.Total, f.Resolved, open, f.Overdue, len(list.Msg.Findings), budget)
}

// The numbers of the views follow each erasure of what they count, whether the
// server has counted it before or not, and no other tenant's do.
func TestNumbersAfterErasures(t *testing.T) {
	ctx := context.Background()
	var later atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) { c.Now = now })
	indexes := map[string]uint64{}
	for tenant, token := range map[string]string{"acme": acmeToken, "globex": globexToken} {
		put := func(name, kind string, payload []byte) {
			t.Helper()
			key := ""
			if kind != "export-manifest" {
				key = name
			}
			res, err := ts.client(token).Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: tenant, Submission: &munimentv1.Submission{Kind: kind, IdempotencyKey: key, Payload: payload}}))
			if err != nil {
				t.Fatal(err)
			}
			if tenant == "acme" {
				indexes[name] = res.Msg.Appended.Index
			}
		}
		put("control", "control", []byte(gateControl))
		put("set", "control-set", fmt.Appendf(nil, `{"version":"1","stages":["deploy"],"controls":[{"id":"EVIDENCE","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(gateControl))))
		put("F-1", "finding", []byte(findingOf("F-1", "open", `,"due":"2026-11-02T00:00:00Z"`)))
		put("F-2", "finding", []byte(findingOf("F-2", "open", "")))
		put("F-2 again", "finding", []byte(findingOf("F-2", "in-progress", "")))
		put("V-1", "verification-report", []byte(`{"verdict":"verified","reasonCode":"ok","version":"1","verifier":"muniment-go"}`))
		put("V-2", "verification-report", []byte(`{"verdict":"not-verified","reasonCode":"tag_mismatch","version":"1","verifier":"muniment-go","index":"0"}`))
		for _, name := range []string{"T-1", "T-2"} {
			put(name, "triage-action", []byte(`{"incident":"inc-1","playbook":"p","action":"a","result":"succeeded","irreversible":true,"actor":"kim","started":"2026-11-01T00:10:00Z"}`))
		}
		put("E-1", "export-manifest", signedManifest(t, tenant, "E-1", "0.5", "0.5"))
		put("E-2", "export-manifest", signedManifest(t, tenant, "E-2", "0.25", "0.75"))
		res, err := munimentv1connect.NewGateServiceClient(ts.h2, ts.url, connect.WithInterceptors(bearer(token))).Decide(ctx, connect.NewRequest(&munimentv1.DecideRequest{
			Tenant: tenant, Stage: "deploy", Subjects: []*munimentv1.GateSubject{imageOf("a"), imageOf("b"), imageOf("c")}}))
		if err != nil {
			t.Fatal(err)
		}
		if tenant == "acme" {
			for i, d := range res.Msg.Decisions {
				indexes[fmt.Sprint("decision ", i)] = d.GetIndex()
			}
		}
	}
	erase := func(name string, scope munimentv1.ErasureScope) func() {
		return func() {
			t.Helper()
			if _, err := ts.erase(indexes[name], scope, "a request"); err != nil {
				t.Fatalf("erase %s: %v", name, err)
			}
		}
	}
	const whole = "blocked 3, listed 3; verified 1, not 1; actions 2; findings 2, resolved 0, open now 1, overdue 1, listed 2; 2 spends of 0.75, agrees true"
	const none = "blocked 0, listed 3; verified 0, not 0; actions 0; findings 0, resolved 0, open now 0, overdue 0, listed 0; no budget"
	for _, c := range []struct {
		name string
		do   func()
		want string
	}{
		{"nothing", func() {}, whole},
		{"a decision, which is refused", func() {
			_, err := ts.erase(indexes["decision 0"], allOfIt, "a request")
			wantCode(t, "a decision", err, connect.CodeFailedPrecondition, "index")
		}, whole},
		{"the payload of a verification report", erase("V-1", onlyPayload), whole},
		{"the payload of an export", erase("E-1", onlyPayload), whole},
		// From here on, an erased header could be that of an export.
		{"a verification report", erase("V-1", allOfIt), "blocked 3, listed 3; verified 0, not 1; actions 2; findings 2, resolved 0, open now 1, overdue 1, listed 2; 2 spends of 0.75, agrees false"},
		{"a triage action", erase("T-1", allOfIt), "blocked 3, listed 3; verified 0, not 1; actions 1; findings 2, resolved 0, open now 1, overdue 1, listed 2; 2 spends of 0.75, agrees false"},
		{"the newest report of a finding", erase("F-2 again", allOfIt), "blocked 3, listed 3; verified 0, not 1; actions 1; findings 2, resolved 0, open now 2, overdue 1, listed 2; 2 spends of 0.75, agrees false"},
		{"a finding", erase("F-1", allOfIt), "blocked 3, listed 3; verified 0, not 1; actions 1; findings 1, resolved 0, open now 1, overdue 0, listed 1; 2 spends of 0.75, agrees false"},
		{"an export", erase("E-1", allOfIt), "blocked 3, listed 3; verified 0, not 1; actions 1; findings 1, resolved 0, open now 1, overdue 0, listed 1; 1 spends of 0.25, agrees false"},
		{"the payload of the newest export", erase("E-2", onlyPayload), "blocked 3, listed 3; verified 0, not 1; actions 1; findings 1, resolved 0, open now 1, overdue 0, listed 1; 1 spends of 0.25, agrees false"},
		{"what retention erases", func() {
			var rules []*munimentv1.RetentionRule
			for _, kind := range []string{"finding", "export-manifest", "triage-action", "verification-report"} {
				rules = append(rules, &munimentv1.RetentionRule{Kind: kind, Days: 1, Scope: allOfIt})
			}
			if _, err := ts.admin(acmeToken).SetRetention(ctx, connect.NewRequest(&munimentv1.SetRetentionRequest{Tenant: "acme", Reason: "x", Rules: rules})); err != nil {
				t.Fatal(err)
			}
			later.Store(int64(25 * time.Hour))
			if erased := ts.applyRetention(false); len(erased) != 4 {
				t.Errorf("retention erases %q, want four entries", erased)
			}
		}, none},
		{"all that is left of the tenant", func() { erase("set", allOfIt)(); erase("control", allOfIt)() }, none},
	} {
		c.do()
		fresh := newServer(t, func(_ *ledger.Config, a *api.Config) { a.Now, a.Ledger = now, ts.ledger })
		if got := viewNumbers(t, ts, "acme", acmeToken, now()); got != c.want {
			t.Errorf("after the erasure of %s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if got := viewNumbers(t, fresh, "acme", acmeToken, now()); got != c.want {
			t.Errorf("after the erasure of %s, by a server that counts anew:\n got %s\nwant %s", c.name, got, c.want)
		}
		other := whole
		if later.Load() > 0 {
			other = strings.Replace(whole, "blocked 3", "blocked 0", 1) // on the next day
		}
		if got := viewNumbers(t, ts, "globex", globexToken, now()); got != other {
			t.Errorf("after the erasure of %s, of the other tenant:\n got %s\nwant %s", c.name, got, other)
		}
	}
}

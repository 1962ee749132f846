package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/soak"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

const tenant = "initech"

// A seeded company is a log with the two weeks before a time.
type seeded struct {
	*testing.T
	client *muniment.Client
	portal munimentv1connect.PortalServiceClient
	now    time.Time
}

func newSeeded(t *testing.T, now time.Time) *seeded {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command("go", "run", "muniment.dev/muniment/cmd/muniment", "init", data, "--origin", "ledger.example.com", "--tenant", tenant).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	if _, err := seed(t.Context(), data, tenant, "https://id.initech.example", now); err != nil {
		t.Fatal(err)
	}
	server, err := startServer(context.Background(), data, &clock{start: now, now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.close(); err != nil {
			t.Error(err)
		}
	})
	token, err := os.ReadFile(filepath.Join(data, "tokens", tenant+".token"))
	if err != nil {
		t.Fatal(err)
	}
	s := &seeded{T: t, now: now}
	credential := strings.TrimSpace(string(token))
	if s.client, err = muniment.New(muniment.Options{Server: server.url, Token: credential}); err != nil {
		t.Fatal(err)
	}
	bearer := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+credential)
			return next(ctx, req)
		}
	})
	s.portal = munimentv1connect.NewPortalServiceClient(http.DefaultClient, server.url, connect.WithInterceptors(bearer))
	return s
}

// ask calls the API.
func ask[Q, A any](s *seeded, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q) *A {
	s.Helper()
	res, err := call(s.Context(), connect.NewRequest(q))
	if err != nil {
		s.Fatal(err)
	}
	return res.Msg
}

// exception returns the exceptions in a state.
func (s *seeded) exceptions(state string) *munimentv1.ListExceptionsResponse {
	return ask(s, s.portal.ListExceptions, &munimentv1.ListExceptionsRequest{Tenant: tenant, States: []string{state}})
}

// TestCompany checks the two weeks, and that they answer what a visitor of the
// demo asks.
func TestCompany(t *testing.T) {
	soak.WithoutRace(t)
	s := newSeeded(t, time.Now())
	s.checkQuestions()
	s.checkCaches()
	s.checkIncidents()
	s.checkContents()
}

// checkQuestions asks the six questions.
func (s *seeded) checkQuestions() {
	s.Helper()
	hits := ask(s, s.portal.Search, &munimentv1.SearchRequest{Tenant: tenant, Query: "1.7.0"}).Hits
	if len(hits) == 0 || !strings.HasSuffix(hits[0].Title, "/gateway:1.7.0") {
		s.Fatalf("a search for 1.7.0 finds %v, want the image first", hits)
	}
	found := ask(s, s.portal.GetArtifact, &munimentv1.GetArtifactRequest{Tenant: tenant, Digest: hits[0].GetArtifact()})
	decided := ask(s, s.client.Gate.Decide, &munimentv1.DecideRequest{Tenant: tenant, Stage: "deploy", Environment: "production", Subjects: []*munimentv1.GateSubject{found.Subject}, DryRun: true, Explain: true}).Decisions[0]
	if got := decided.Decision.Decision; got != "blocked" {
		s.Errorf("is 1.7.0 deployable? %s, want blocked", got)
	}
	var why, missing []string
	for _, r := range decided.Decision.Results {
		if r.Result == "not-satisfied" {
			why, missing = append(why, r.Control+" "+r.Reason), append(missing, r.Missing...)
		}
	}
	if want := []string{"LOAD-TEST missing-evidence: load-test"}; !slices.Equal(why, want) {
		s.Errorf("why not? %q, want %q", why, want)
	}
	if len(missing) != 1 || !strings.Contains(missing[0], "from performance lab") {
		s.Errorf("what is missing? %q", missing)
	}

	waiting := s.exceptions("requested")
	var names []string
	for _, p := range waiting.Approvers {
		names = append(names, p.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"Ada Osei", "Kim Novak", "Lin Zhao", "Noor Haddad"}) {
		s.Errorf("who may approve? %q", names)
	}
	ours := slices.IndexFunc(waiting.Exceptions, func(e *munimentv1.ExceptionRecord) bool { return e.Control == "LOAD-TEST" })
	if ours < 0 {
		s.Fatalf("no exception from LOAD-TEST waits: %v", waiting.Exceptions)
	}
	preview := ask(s, s.portal.PreviewException, &munimentv1.PreviewExceptionRequest{Tenant: tenant, Exception: &munimentv1.PreviewExceptionRequest_Request{Request: waiting.Exceptions[ours].Index}})
	if len(preview.Changes) != 1 || preview.Changes[0].After != "pass" || !strings.HasSuffix(preview.Changes[0].Subjects[0].Name, "gateway:1.7.0") {
		s.Errorf("approval changes %v, want that gateway 1.7.0 passes", preview.Changes)
	}

	overview := ask(s, s.portal.GetOverview, &munimentv1.GetOverviewRequest{Tenant: tenant})
	var ending []string
	for _, e := range overview.Exceptions.Expiring {
		if e.Expires.AsTime().Before(s.now.Add(7 * 24 * time.Hour)) {
			ending = append(ending, e.Id)
		}
	}
	if len(ending) < 3 || !strings.HasPrefix(ending[0], "BG-") || !slices.Contains(ending, "EXC-103") || !slices.Contains(ending, "EXC-104") {
		s.Errorf("what expires this week? %q", ending)
	}

	health := ask(s, s.portal.GetLogHealth, &munimentv1.GetLogHealthRequest{Tenant: tenant}).Log
	if !health.Ready || health.TreeSize < 400 || health.NewestEntry.AsTime().After(s.now) || health.DiskFull {
		s.Errorf("is the log healthy? %v", health)
	}
}

// checkContents counts what is in the two weeks.
func (s *seeded) checkContents() {
	s.Helper()
	all := ask(s, s.portal.ListFindings, &munimentv1.ListFindingsRequest{Tenant: tenant})
	resolved, reopened := 0, 0
	for _, f := range all.Findings {
		switch f.State {
		case "resolved":
			resolved++
			if !f.Newest.Accepted || len(f.Newest.Evidence) == 0 || len(f.Newest.AcceptedBy) == 0 {
				s.Errorf("%s is resolved without evidence: %v", f.Id, f.Newest)
			}
		case "reopened":
			reopened++
		}
	}
	if len(all.Findings) < 30 || resolved*100 < 80*len(all.Findings) || reopened == 0 || all.Overdue == 0 {
		s.Errorf("%d of %d findings are resolved, %d reopened, %d overdue: want 80 %%, and some of each", resolved, len(all.Findings), reopened, all.Overdue)
	}

	for _, state := range []string{"requested", "break-glass", "approved", "rejected", "revoked", "expired", "void"} {
		if s.exceptions(state).Total == 0 {
			s.Errorf("no exception is %s", state)
		}
	}

	o := ask(s, s.portal.GetOverview, &munimentv1.GetOverviewRequest{Tenant: tenant})
	outcomes := map[string]uint64{}
	for _, d := range o.Decisions.Stages {
		outcomes["passed"] += d.Passed
		outcomes["blocked"] += d.Blocked
		outcomes["undecided"] += d.Undecided
	}
	for _, outcome := range []string{"passed", "blocked", "undecided"} {
		if outcomes[outcome] == 0 {
			s.Errorf("no decision of today is %s", outcome)
		}
	}
	budgets := ask(s, s.portal.GetPrivacyBudget, &munimentv1.GetPrivacyBudgetRequest{Tenant: tenant}).Budgets
	if len(budgets) != 2 {
		s.Errorf("%d privacy budgets, want 2", len(budgets))
	}
	for _, b := range budgets {
		if !b.Agrees || b.SpendCount < 3 {
			s.Errorf("budget %s: %d spends, claimed %s, checked %s", b.Name, b.SpendCount, b.Claimed, b.Checked)
		}
	}
	s.checkBackfills(o.Backfills.Backfills)
	first := s.entries()[0]
	if began := first.Time.AsTime(); !midnight(began).Equal(midnight(s.now).AddDate(0, 0, -days)) {
		s.Errorf("the first entry is of %s, want %d days before %s", began, days, s.now)
	}
	if deviating := ask(s, s.client.ListEntries, &munimentv1.ListEntriesRequest{Tenant: tenant, Filter: &munimentv1.Filter{Attribute: "conformance=deviating"}}).Entries; len(deviating) > 0 {
		s.Errorf("%d statements deviate from their definitions", len(deviating))
	}
}

// checkBackfills checks that one backfill was stopped by the canary analysis
// and rolled back, and that the other one was finished after the gate's pass.
func (s *seeded) checkBackfills(all []*munimentv1.Backfill) {
	s.Helper()
	want := map[string]struct{ done, last, gate string }{
		"Customer": {"10%", "rollback", ""},
		"Order":    {"100%", "finish", "blocked pass"},
	}
	if len(all) != len(want) {
		s.Errorf("%d backfills, want %d", len(all), len(want))
	}
	for _, b := range all {
		w := want[b.Entity]
		about := ask(s, s.portal.GetArtifact, &munimentv1.GetArtifactRequest{Tenant: tenant, Digest: "sha256:" + b.Job.Digest["sha256"]})
		var gate []string
		for _, d := range about.Decisions {
			gate = append([]string{d.Decision}, gate...)
		}
		if done := fmt.Sprintf("%g%%", b.Percent); done != w.done || b.Steps[0].Step != w.last || b.Steps[0].Result != "succeeded" || strings.Join(gate, " ") != w.gate {
			s.Errorf("backfill of %s: %s done, last step %s %s, decisions %q, want %v", b.Entity, done, b.Steps[0].Step, b.Steps[0].Result, gate, w)
		}
		file, err := jobs.ReadFile("backfills/" + b.Job.Name)
		if err != nil || digest(string(file)) != b.Job.Digest["sha256"] {
			s.Errorf("backfill of %s: %s is not the file of the job: %v", b.Entity, b.Job.Name, err)
		}
	}
}

// entries returns all entries, the oldest first.
func (s *seeded) entries() (all []*munimentv1.Entry) {
	req := &munimentv1.ListEntriesRequest{Tenant: tenant, Order: munimentv1.Order_ORDER_OLDEST_FIRST, PageSize: 1000}
	for {
		res := ask(s, s.client.ListEntries, req)
		all = append(all, res.Entries...)
		if req.PageToken = res.NextPageToken; req.PageToken == "" {
			return all
		}
	}
}

// TestSameStory checks that the time of the run determines the story, also
// shortly after midnight.
func TestSameStory(t *testing.T) {
	soak.WithoutRace(t)
	now := midnight(time.Now()).Add(5 * time.Minute)
	var told [2][]string
	for i := range told {
		for _, e := range newSeeded(t, now).entries() {
			told[i] = append(told[i], fmt.Sprint(e.Index, e.Time.AsTime(), e.Kind, e.Submitter))
		}
	}
	if !slices.Equal(told[0], told[1]) {
		t.Error("two runs at one time differ")
	}
}

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
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A steppedClock advances only by pass.
type steppedClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *steppedClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *steppedClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// limited returns a server whose tenant acme has limits, and its clock.
func limited(t *testing.T, l limit.TenantLimits, edits ...func(*ledger.Config, *api.Config)) (*testServer, *steppedClock) {
	t.Helper()
	c := &steppedClock{at: time.Now()}
	edits = append(edits, func(_ *ledger.Config, ac *api.Config) {
		ac.Now = c.now
		if ac.LimitWait == 0 {
			ac.LimitWait = -1
		}
		ac.Tenants[0].Limits = l
	})
	return newServer(t, edits...), c
}

// over fails the test unless the error names the limit and the time to retry
// after.
func over(t *testing.T, err error, limit string) {
	t.Helper()
	wantCode(t, limit, err, connect.CodeResourceExhausted, "")
	if err == nil || !strings.Contains(err.Error(), "the tenant's limit of "+limit+" is reached; retry later") {
		t.Errorf("%v", err)
	}
	var ce *connect.Error
	if asConnect(err, &ce) && (ce.Meta().Get("Retry-After") == "" || len(ce.Details()) != 1) {
		t.Errorf("%s: Retry-After %q, details %v", limit, ce.Meta().Get("Retry-After"), ce.Details())
	}
}

func TestRequestLimit(t *testing.T) {
	ts, c := limited(t, limit.TenantLimits{Requests: 2, RequestBurst: 3})
	ctx := context.Background()
	get := func(token string) error {
		_, err := ts.client(token).GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
		return err
	}
	for range 3 {
		if err := get(acmeToken); err != nil {
			t.Fatal(err)
		}
	}
	over(t, get(acmeToken), "2 requests a second")
	over(t, get(roleToken("acme", "reader")), "2 requests a second")
	if err := get(globexToken); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	a := ts.post("GetCheckpoint", acmeToken, "{}")
	if a.status != 429 || a.header.Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	c.pass(500 * time.Millisecond)
	if err := get(acmeToken); err != nil {
		t.Error(err)
	}
	if m := ts.metrics(); !strings.Contains(m, `muniment_limited_calls_total{limit="requests"} 3`) || strings.Contains(m, "acme") {
		t.Error("the metrics don't count it, or name the tenant")
	}
}

func TestEntryAndByteLimits(t *testing.T) {
	ts, c := limited(t, limit.TenantLimits{Entries: 1, EntryBurst: 3, Bytes: 100, ByteBurst: 1000})
	ctx := context.Background()
	n := 0
	send := func(size, count int) error {
		var err error
		if count == 1 {
			n++
			_, err = ts.client(acmeToken).Append(ctx, request("acme", fmt.Sprintf("%0*d", size, n)))
			return err
		}
		r := &munimentv1.AppendBatchRequest{Tenant: "acme"}
		for range count {
			n++
			r.Submissions = append(r.Submissions, document(fmt.Sprintf("%0*d", size, n)))
		}
		_, err = ts.client(acmeToken).AppendBatch(ctx, connect.NewRequest(r))
		return err
	}
	for range 3 {
		if err := send(10, 1); err != nil {
			t.Fatal(err)
		}
	}
	over(t, send(10, 1), "1 entries a second")
	c.pass(time.Hour)
	if err := send(900, 1); err != nil {
		t.Fatal(err)
	}
	over(t, send(900, 1), "100 bytes a second")
	c.pass(time.Hour)
	// A call that is larger than the burst passes when the whole burst is
	// available, and the next calls wait until its excess is paid off.
	if err := send(1000, 10); err != nil {
		t.Fatal(err)
	}
	c.pass(5 * time.Second)
	over(t, send(10, 1), "1 entries a second")
	c.pass(60 * time.Second)
	over(t, send(10, 1), "100 bytes a second")
	c.pass(60 * time.Second)
	if err := send(10, 1); err != nil {
		t.Error(err)
	}
}

// Recorded entries count against the day's limit, across restarts.
func TestDailyLimits(t *testing.T) {
	day := time.Now().UTC().Truncate(24 * time.Hour)
	ts, _ := limited(t, limit.TenantLimits{DailyEntries: 3, DailyBytes: 100})
	ctx := context.Background()
	send := func(ts *testServer, text string) error {
		_, err := ts.client(acmeToken).Append(ctx, request("acme", text))
		return err
	}
	for _, text := range []string{"one", "one", "one", "two", "two"} { // retries are free
		if err := send(ts, text); err != nil {
			t.Fatal(err)
		}
	}
	ts.setFree(0)
	wantCode(t, "a full disk", send(ts, "refused"), connect.CodeResourceExhausted, "")
	ts.setFree(1 << 40)
	over(t, send(ts, strings.Repeat("x", 95)), "100 bytes a day")
	if err := send(ts, "three"); err != nil {
		t.Fatal(err)
	}
	over(t, send(ts, "four"), "3 entries a day")
	ts.ledger.Close()
	again, c2 := limited(t, limit.TenantLimits{DailyEntries: 3, DailyBytes: 100}, on(ts.store))
	if c2.now().UTC().Truncate(24 * time.Hour).Equal(day) { // unless midnight has passed
		over(t, send(again, "four"), "3 entries a day")
	}
	c2.pass(24 * time.Hour)
	if err := send(again, "four"); err != nil {
		t.Error(err)
	}
}

// A tenant's calls beyond its limit of concurrent calls wait, and another
// tenant's do not wait with them.
func TestConcurrentCalls(t *testing.T) {
	ts, _ := limited(t, limit.TenantLimits{Concurrent: 2})
	release := ts.block()
	var wg sync.WaitGroup
	send := func(i int) {
		wg.Go(func() {
			if _, err := ts.client(acmeToken).Append(context.Background(), request("acme", fmt.Sprint("document ", i))); err != nil {
				t.Error(err)
			}
		})
	}
	send(0)
	await(t, "a commit that is held", ts.gateTaken)
	for i := range 4 {
		send(1 + i)
	}
	await(t, "the other call, behind it", func() bool { return ts.ledger.Pending() == 1 })
	if _, err := ts.whoami(globexToken); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := ts.client(acmeToken).GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
		done <- err
	}()
	cancel()
	if err := <-done; connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("a call that its caller gave up: %v", err)
	}
	release()
	wg.Wait()
	if n := ts.ledger.Published().Size; n != 5 {
		t.Errorf("%d entries", n)
	}
}

// At a limit, a call waits for its turn. If that would take too long, it waits
// a little and is refused, so that clients that retry at once cost little.
func TestLimitsAreWaitedFor(t *testing.T) {
	ts, _ := limited(t, limit.TenantLimits{Requests: 0.1, RequestBurst: 1}, func(_ *ledger.Config, c *api.Config) { c.LimitWait = 15 * time.Second })
	if _, err := ts.whoami(acmeToken); err != nil {
		t.Fatal(err)
	}
	turn, refusal := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := ts.whoami(acmeToken) // its turn is in 10 seconds
		turn <- err
	}()
	await(t, "somebody who waits", func() bool { return ts.atLimit() == 1 })
	go func() {
		_, err := ts.whoami(acmeToken) // its turn would be in 20
		refusal <- err
	}()
	await(t, "somebody who waits to be refused", func() bool { return ts.atLimit() == 2 })
	if m := ts.metrics(); !strings.Contains(m, `muniment_limited_calls_total{limit="requests"} 1`) {
		t.Error("the refusal is not counted")
	}
	if len(turn) > 0 || len(refusal) > 0 {
		t.Error("one of them did not wait")
	}
	ts.api.Drain() // calls do not wait for a server that shuts down
	if err := <-turn; err != nil {
		t.Errorf("the one who had a turn: %v", err)
	}
	over(t, <-refusal, "0.1 requests a second")
}

// atLimit returns how many calls wait because of a limit.
func (ts *testServer) atLimit() int {
	ts.t.Helper()
	_, after, _ := strings.Cut(ts.metrics(), "\nmuniment_limit_waiting_calls ")
	n := -1
	_, _ = fmt.Sscan(after, &n)
	return n
}

// Entries that the server writes for a tenant count against its day like any
// others. A token can still be revoked when the day's limit is reached.
func TestConfigCountsAgainstTheDay(t *testing.T) {
	ts, c := limited(t, limit.TenantLimits{DailyEntries: 3})
	admin := munimentv1connect.NewAdminServiceClient(ts.h2, ts.url, connect.WithInterceptors(bearer(acmeToken)))
	ctx := context.Background()
	issue := func(id string) error {
		_, err := admin.IssueToken(ctx, connect.NewRequest(&munimentv1.IssueTokenRequest{Tenant: "acme", Grant: &munimentv1.Grant{Id: id, Role: munimentv1.Role_ROLE_READER}}))
		return err
	}
	for i := range 3 {
		if err := issue(fmt.Sprint("t", i)); err != nil {
			t.Fatal(err)
		}
	}
	over(t, issue("t3"), "3 entries a day")
	_, err := ts.client(acmeToken).Append(ctx, request("acme", "evidence"))
	over(t, err, "3 entries a day")
	_, err = admin.SetLegalHold(ctx, connect.NewRequest(&munimentv1.SetLegalHoldRequest{Tenant: "acme", Id: "h", Reason: "r"}))
	over(t, err, "3 entries a day")
	if _, err := admin.RevokeToken(ctx, connect.NewRequest(&munimentv1.RevokeTokenRequest{Tenant: "acme", Id: "t0"})); err != nil {
		t.Errorf("revoke: %v", err)
	}
	c.pass(24 * time.Hour)
	if err := issue("t3"); err != nil {
		t.Errorf("the next day: %v", err)
	}
}

// An append whose caller disconnects counts if it is recorded, and holds its
// place until then.
func TestCancelledAppendCounts(t *testing.T) {
	ts, _ := limited(t, limit.TenantLimits{DailyEntries: 2})
	for i := range 2 {
		size := ts.ledger.Published().Size
		release := ts.block()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := ts.client(acmeToken).Append(ctx, request("acme", fmt.Sprint("cancelled ", i)))
			done <- err
		}()
		await(t, "the commit to begin", ts.gateTaken)
		cancel()
		<-done
		if n := ts.api.Book().Held("acme", limit.Calls); n != 1 {
			t.Errorf("%d calls are held", n)
		}
		release()
		await(t, "the entry to be recorded", func() bool { return ts.ledger.Published().Size == size+1 })
		await(t, "the call to end", func() bool { return ts.api.Book().Total(limit.Calls) == 0 })
	}
	_, err := ts.client(acmeToken).Append(context.Background(), request("acme", "a third"))
	over(t, err, "2 entries a day")
}

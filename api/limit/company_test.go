package limit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"muniment.dev/muniment/internal/company"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// TestFloodWaits checks that the calls of a tenant beyond its rate wait while
// another tenant is active, and only then.
func TestFloodWaits(t *testing.T) {
	l := newLimiter(HeldLimits{})
	now := time.Now()
	l.cfg.Now = func() time.Time { return now }
	waiting := 0
	l.cfg.Observer.Waiting = func(n int) { waiting += max(0, n) }
	l.SetUsages(&Usages{byName: map[string]*Usage{
		"flood": newUsage(TenantLimits{Beside: 1e-6}),
		"quiet": newUsage(TenantLimits{}),
	}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so that a call that would wait ends at once
	call := func(tenant string) (served bool) {
		h := l.PlaceCall(l.Turn(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })))
		r := as(tenant, post(rpc.LedgerServiceGetReceiptProcedure, http.NoBody))
		if tenant == "flood" {
			r = as(tenant, r.WithContext(ctx))
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		return served
	}
	for range 10 * besideBurst {
		call("flood")
	}
	if waiting != 0 {
		t.Fatalf("%d calls of a tenant that is alone waited", waiting)
	}
	call("quiet")
	if call("flood"); waiting != 0 {
		t.Error("the only call of a tenant waited")
	}
	others := l.Book().Open("flood")
	if err := others.Take(Calls, besideFree); err != nil {
		t.Fatal(err)
	}
	for range 2 * besideBurst {
		call("flood")
	}
	others.Release()
	if waiting != besideBurst {
		t.Errorf("%d calls beside another tenant waited, want %d", waiting, besideBurst)
	}
	if !call("quiet") || waiting != besideBurst {
		t.Error("a call of the quiet tenant waited")
	}
	now = now.Add(2 * company.ActiveFor)
	others = l.Book().Open("flood")
	if err := others.Take(Calls, besideFree); err != nil {
		t.Fatal(err)
	}
	call("flood")
	others.Release()
	if waiting != besideBurst {
		t.Error("a call waited after the other tenant had left")
	}
	if held := l.Book().Total(Calls) + l.Book().Total(Bytes); held != 0 {
		t.Errorf("%d are still held", held)
	}
}

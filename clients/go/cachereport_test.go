package muniment_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/clients/go/adaptivecache"
	"muniment.dev/muniment/clients/go/adaptivecache/cachereport"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestCacheReport records the window of a cache in a real server, verifies the
// receipt without it, and finds the hit ratio by the entry's attributes.
func TestCacheReport(t *testing.T) {
	server := ledgerrig.Start()
	policy, err := receipt.ParseTrustPolicy("policy", server.Policy)
	if err != nil {
		t.Fatal(err)
	}
	client, err := muniment.New(muniment.Options{Server: server.URL, Token: server.Token, Policy: policy, StreamKey: server.StreamKey})
	if err != nil {
		t.Fatal(err)
	}
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := adaptivecache.New(member, adaptivecache.Options[string, int]{
		Resolver: "product", MaxWeight: 100, Key: func(id string) string { return adaptivecache.Name("product", "", id) },
		Load: func(context.Context, string) (adaptivecache.Result[string, int], error) {
			return adaptivecache.Result[string, int]{Value: 1}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var result muniment.Result
	var payload []byte
	reporter, err := cachereport.Start(cachereport.Options{
		Ledger: client, Service: "shop", Caches: map[string]cachereport.Cache{"product": cache},
		Recorded: func(r muniment.Result, p []byte) { result, payload = r, p },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := cache.Get(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := reporter.Close(ctx); err != nil {
		t.Fatal(err)
	}
	found, err := client.ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme", Filter: &munimentv1.Filter{
		Kind: kindname.MetricSnapshot, Attribute: "metric:hit_ratio=0.95",
	}}))
	if err != nil || len(found.Msg.Entries) != 1 {
		t.Fatalf("a search by service and hit ratio: %v, %v", found, err)
	}
	server.Close()
	kind := kindname.MetricSnapshot
	statement, err := receipt.Verify(result.Receipt, []*receipt.TrustPolicy{policy}, receipt.Options{Payload: payload, Tenant: &client.Tenant, Kind: &kind})
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Service string
		Metrics []struct {
			Name    string
			Value   float64
			Samples string
		}
	}
	if err := json.Unmarshal(payload, &v); err != nil {
		t.Fatal(err)
	}
	if m := v.Metrics[0]; statement.Origin != ledgerrig.Origin || v.Service != "shop/product" || m.Name != "hit_ratio" || m.Value != 0.95 || m.Samples != "20" {
		t.Errorf("the log %s has of %s: %+v", statement.Origin, v.Service, m)
	}
}

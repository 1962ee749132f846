package pgstore

import (
	"slices"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/store"
)

// TestDeliveries checks that what one server has delivered, another one has.
func TestDeliveries(t *testing.T) {
	location := newLocation(t)
	one, two := openAt(t, location), openAt(t, location)
	ctx, begun := t.Context(), time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	if since, err := one.Webhook(ctx, "soc"); err != nil || !since.IsZero() {
		t.Fatalf("a new log has a webhook since %s (error %v)", since, err)
	}
	if err := one.AddWebhook(ctx, "soc", begun, []store.Delivery{{Event: "a", Happened: begun}, {Event: "b", Happened: begun.Add(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	// the other one is too late
	if err := two.AddWebhook(ctx, "soc", begun.Add(time.Hour), []store.Delivery{{Event: "x", Happened: begun}}); err != nil {
		t.Fatal(err)
	}
	if since, err := two.Webhook(ctx, "soc"); err != nil || !since.Equal(begun) {
		t.Errorf("the webhook receives since %s, want %s (error %v)", since, begun, err)
	}
	check := func(name string, want ...string) {
		t.Helper()
		got, err := two.Delivered(ctx, name, []string{"a", "b", "c", "x"})
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s has received %v, want %v (error %v)", name, got, want, err)
		}
	}
	check("soc", "a", "b")
	for range 2 { // again is no error
		if err := one.Deliver(ctx, "soc", store.Delivery{Event: "c", Happened: begun.Add(2 * time.Hour)}, begun); err != nil {
			t.Fatal(err)
		}
	}
	check("soc", "a", "b", "c")
	if err := one.Deliver(ctx, "other", store.Delivery{Event: "a", Happened: begun}, begun.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	check("other", "a")
	check("soc", "a", "b", "c")
	if err := one.Deliver(ctx, "soc", store.Delivery{Event: "x", Happened: begun.Add(2 * time.Hour)}, begun.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	check("soc", "b", "c", "x")
}

package adaptivecache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

// Two servers of one process share a bus. After an invalidation, both read the
// new value.
func Example() {
	ctx := context.Background()
	prices := map[string]int{"17": 100}
	load := func(_ context.Context, id string) (adaptivecache.Result[string, int], error) {
		price, ok := prices[id]
		if !ok {
			return adaptivecache.Result[string, int]{}, fmt.Errorf("product %s: %w", id, adaptivecache.ErrNotFound)
		}
		return adaptivecache.Result[string, int]{Value: price, Tags: []string{"type:Price"}}, nil
	}
	bus, err := adaptivecache.NewLocalBus(adaptivecache.BusOptions{})
	if err != nil {
		panic(err)
	}
	newServer := func() *adaptivecache.Cache[string, int] {
		member, err := adaptivecache.NewMember(bus, adaptivecache.MemberOptions{})
		if err != nil {
			panic(err)
		}
		cache, err := adaptivecache.New(member, adaptivecache.Options[string, int]{
			Resolver: "price", Load: load, MaxWeight: 10_000,
			Key: func(id string) string { return adaptivecache.Name("price", "", id) },
		})
		if err != nil {
			panic(err)
		}
		return cache
	}
	first, second := newServer(), newServer()
	_, _ = first.Get(ctx, "17")
	_, _ = second.Get(ctx, "17")

	prices["17"] = 120 // first change the origin, then invalidate
	if err := first.Invalidate(ctx, "17"); err != nil {
		panic(err)
	}
	price, _ := second.Get(ctx, "17")
	fmt.Println(price)
	_, err = second.Get(ctx, "18")
	fmt.Println(errors.Is(err, adaptivecache.ErrNotFound))
	// Output:
	// 120
	// true
}

// The session is part of the names of private values, so that no session reads
// what was loaded for another.
func ExamplePrivate() {
	type key struct{ session, order string }
	name := func(k key) string {
		scope, ok := adaptivecache.Private(k.session)
		if !ok {
			return "" // not cached
		}
		return adaptivecache.Name("order", scope, k.order)
	}
	fmt.Println(name(key{"alice", "1"}))
	fmt.Println(name(key{"bob", "1"}))
	fmt.Printf("%q\n", name(key{"", "1"}))
	// Output:
	// 5:order6:palice1
	// 5:order4:pbob1
	// ""
}

// Entries with a tag end together, such as lists without the new element.
func ExampleMember_Invalidate() {
	ctx := context.Background()
	var orders []string
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	if err != nil {
		panic(err)
	}
	lists, err := adaptivecache.New(member, adaptivecache.Options[string, []string]{
		Resolver: "orders", MaxWeight: 1000, MaxTTL: time.Minute,
		Key: func(filter string) string { return adaptivecache.Name("orders", "", filter) },
		Load: func(context.Context, string) (adaptivecache.Result[string, []string], error) {
			return adaptivecache.Result[string, []string]{Value: orders, Tags: []string{"type:Order"}}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	list, _ := lists.Get(ctx, "open")
	fmt.Println(len(list))
	orders = append(orders, "first")
	if err := member.Invalidate(ctx, "type:Order"); err != nil {
		panic(err)
	}
	list, _ = lists.Get(ctx, "open")
	fmt.Println(len(list))
	// Output:
	// 0
	// 1
}

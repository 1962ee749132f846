// Package adaptivecache caches the results of a loader and serves nothing
// stale. Lifetimes follow the data, hot keys stay, and misses are loaded once.
// The algorithm is specified in docs/spec/adaptive-cache.md.
//
// A [Member] takes part in invalidation through a [Bus]. A [Cache] holds the
// values of one resolver, and belongs to one member:
//
//	member, err := adaptivecache.NewMember(bus, adaptivecache.MemberOptions{})
//	cache, err := adaptivecache.New(member, adaptivecache.Options[string, Product]{
//		Resolver:  "product",
//		Load:      loadProduct,
//		MaxWeight: 10_000,
//	})
//	product, err := cache.Get(ctx, "17")
//
// After a change of the origin, call [Member.Invalidate] or
// [Cache.Invalidate]. When it has returned without an error, no read of any
// member that begins later returns a value from before the call.
package adaptivecache

package main

import (
	"context"
	"fmt"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/verifiers/facts"
)

// cachedFacts keeps decoded facts in an adaptive cache, to measure what this
// would gain. The facts of an entry never change, but its payload can be
// erased, which is looked up each time.
type cachedFacts struct {
	log   *ledger.Ledger
	cache *adaptivecache.Cache[uint64, *facts.Facts]
}

func (l *log) cacheFacts() *cachedFacts {
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	check(err)
	c := &cachedFacts{log: l.ledger}
	c.cache, err = adaptivecache.New(member, adaptivecache.Options[uint64, *facts.Facts]{
		Resolver: "facts", MaxWeight: 1 << 12, MaxTTL: time.Hour, InitialTTL: time.Hour,
		Key: func(index uint64) string { return adaptivecache.Name("facts", "", fmt.Sprint(index)) },
		Load: func(ctx context.Context, index uint64) (r adaptivecache.Result[uint64, *facts.Facts], err error) {
			e, err := l.ledger.Entry(ctx, l.who.Stream, index)
			if err == nil {
				r.Value, err = decide.StoredFacts{Log: l.ledger}.FactsOf(ctx, l.who.Stream, e)
			}
			return r, err
		},
	})
	check(err)
	return c
}

// FactsOf implements decide.Facts.
func (c *cachedFacts) FactsOf(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (*facts.Facts, error) {
	erased, err := c.log.PayloadErased(ctx, e)
	if err != nil || erased {
		return decide.StoredFacts{Log: c.log}.FactsOf(ctx, s, e)
	}
	return c.cache.Get(ctx, e.Index)
}

// askCached repeats the decision from a large scan, with its facts in memory.
func (l *log) askCached(d *decide.Decider, a decide.Artifact) {
	s, work := timesWork(50, func(int) {
		check(d.Decide(context.Background(), l.who.Tenant, l.who.Stream, &decide.Question{Stage: "deploy"}, []decide.Artifact{a}, func(int, *evaluate.Decision) error { return nil }))
	})
	row("  the same, with decoded facts in a cache", s.String(), ratio("goal p99 20ms", 20*time.Millisecond, s.quantile(0.99))+", of its processor time "+ratio("", 20*time.Millisecond, work.quantile(0.99)))
}

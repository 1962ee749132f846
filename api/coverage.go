package api

import (
	"context"
	"sync"
	"time"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Coverage depends on thousands of decisions, so it is computed beside the
// requests, and metrics show the last result.
const (
	coverageInterval = 5 * time.Second // between two looks for new entries
	coverageAge      = 5 * time.Minute // of a result: without new entries, time still changes it
	coverageTime     = 5 * time.Minute // of one computation
	coverageShare    = 10              // one stream is computed at most a tenth of the time
	coverageAtOnce   = 2               // streams
)

// DefaultCoverageStage is the stage at which coverage is measured.
const DefaultCoverageStage = "deploy"

// A coverage has the coverage of each stream, as it was last computed.
type coverage struct {
	server *Server
	turns  chan struct{} // has a value for each stream that is computed

	mu      sync.Mutex
	streams map[entry.Hash]*covered
}

func newCoverage(s *Server) *coverage {
	return &coverage{server: s, turns: make(chan struct{}, coverageAtOnce), streams: map[entry.Hash]*covered{}}
}

// A covered is the result for one stream.
type covered struct {
	summary *inventory.Summary // nil: it could not be computed
	problem string             // why
	stage   string
	size    uint64    // of the stream's entries that it covers: the index after the last
	from    time.Time // when it began
	next    time.Time // not computed again before
	running bool
}

// WatchCoverage computes the coverage of the tenants for the metrics, until the
// context ends. A tenant's coverage is computed again after new entries, and
// every five minutes.
func (s *Server) WatchCoverage(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	again := time.NewTicker(s.cfg.CoverageInterval)
	defer again.Stop()
	for {
		settings := s.settings.Load()
		s.coverage.forgetOthers(settings.Tenants)
		for i := range settings.Tenants {
			t := &settings.Tenants[i]
			if size, due := s.coverage.begin(ctx, t.Stream, settings.coverageStage()); due {
				running.Go(func() {
					defer crash.Report()
					s.coverage.compute(ctx, t, settings.coverageStage(), size)
				})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// forgetOthers forgets the streams of removed tenants.
func (c *coverage) forgetOthers(tenants []auth.Tenant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) <= len(tenants) {
		return
	}
	known := map[entry.Hash]bool{}
	for i := range tenants {
		known[tenants[i].Stream.ID] = true
	}
	for id := range c.streams {
		if !known[id] {
			delete(c.streams, id)
		}
	}
}

// begin reports whether the coverage of a stream must be computed, and the size
// of the stream. If so, the caller must do it.
func (c *coverage) begin(ctx context.Context, s *ledger.Stream, stage string) (size uint64, due bool) {
	page, err := c.server.ledger.List(ctx, s, ledger.Query{Limit: 1})
	if err == nil && len(page.Entries) > 0 {
		size = page.Entries[0].Index + 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.streams[s.ID]
	if one == nil {
		one = &covered{}
		c.streams[s.ID] = one
	}
	now := time.Now()
	if one.running || now.Before(one.next) {
		return size, false
	}
	if err == nil && one.summary != nil && one.size == size && one.stage == stage && now.Sub(one.from) < coverageAge {
		return size, false
	}
	one.running = true
	return size, true
}

// compute computes the coverage of a tenant's stream once it has a turn.
func (c *coverage) compute(ctx context.Context, t *auth.Tenant, stage string, size uint64) {
	var from time.Time
	var sum *inventory.Summary
	var err error
	select {
	case c.turns <- struct{}{}:
		from = time.Now()
		sum, err = c.server.summarize(ctx, t, stage)
		<-c.turns
	case <-ctx.Done():
		return
	}
	if ctx.Err() != nil { // the server ends
		return
	}
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.streams[t.Stream.ID]
	if one == nil { // the tenant was removed
		return
	}
	if problem != "" && problem != one.problem {
		c.server.log.Warn("coverage not computed for metrics", "tenant", t.Name, "err", err)
	}
	now := time.Now()
	*one = covered{
		summary: sum, problem: problem, stage: stage, size: size, from: from,
		next: now.Add((coverageShare - 1) * now.Sub(from)),
	}
}

// summarize computes the coverage of a tenant, whose account holds the memory
// that it takes.
func (s *Server) summarize(ctx context.Context, t *auth.Tenant, stage string) (*inventory.Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, coverageTime)
	defer cancel()
	hold := s.limits.Book().Open(t.Name)
	defer hold.Release()
	fixed := limit.ShapeOf(munimentv1connect.GateServiceListCoverageProcedure).Bytes()
	q := &inventory.Query{Hold: func(bytes uint64) error {
		if bytes == 0 {
			return nil
		}
		return hold.Take(limit.Bytes, fixed+limit.InventoryFactor*int64(bytes))
	}}
	return s.inventory.Summarize(ctx, t.Name, t.Stream, q, inventory.Criteria{Stage: stage})
}

// of returns the summary of a stream, or nil if it has none.
func (c *coverage) of(s *ledger.Stream) *inventory.Summary {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.streams[s.ID]; one != nil {
		return one.summary
	}
	return nil
}

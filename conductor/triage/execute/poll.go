package execute

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// pollEvery is the time between two reads of a Poller.
const pollEvery = time.Second

// A Poller is a Feed that reads another in a goroutine of its own, so that a
// ledger that does not answer never delays steps. Run must run.
type Poller struct {
	feed   Feed
	report func(error) // of a read; nil: it succeeded

	mu   sync.Mutex // guards the rest
	self string
	from *Cursor // that is asked for
	page *Page   // from there on; nil: not read yet
}

// NewPoller returns a poller. It calls report after each read.
func NewPoller(feed Feed, report func(error)) *Poller { return &Poller{feed: feed, report: report} }

// Run reads until the context ends.
func (p *Poller) Run(ctx context.Context) {
	for ctx.Err() == nil {
		p.report(p.read(ctx))
		again := time.NewTimer(pollEvery)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

func (p *Poller) read(ctx context.Context) error {
	self, err := p.feed.Self(ctx)
	if err != nil {
		return fmt.Errorf("identity of the executor: %w", err)
	}
	p.mu.Lock()
	p.self = self
	from, full := p.from, p.page != nil
	p.mu.Unlock()
	if from == nil || full {
		return nil
	}
	page, err := p.feed.Requests(ctx, *from)
	if err != nil {
		return fmt.Errorf("read the requests of persons: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.from == from && (len(page.Requests) > 0 || page.Next != *from) {
		p.page = &page
	}
	return nil
}

// Self implements Feed.
func (p *Poller) Self(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.self == "" {
		return "", fmt.Errorf("%w: the ledger has not answered yet", ErrWait)
	}
	return p.self, nil
}

// Requests implements Feed. A page that was read is returned once it is asked
// for, and kept until the next one is.
func (p *Poller) Requests(_ context.Context, from Cursor) (Page, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.from == nil || *p.from != from {
		p.from, p.page = &from, nil
	}
	if p.page == nil {
		return Page{Next: from}, nil
	}
	page := *p.page
	page.More = false // the next page is read in the background
	return page, nil
}

package admission

import (
	"context"
	"sync"
)

// A pool is a number of bytes that requests share. An address holds at most as
// many as are still free, so that no address keeps others from being answered.
type pool struct {
	size int64

	mu   sync.Mutex // guards what follows
	held int64
	of   map[string]int64 // held by an address
	more chan struct{}    // closed when bytes are given back
}

func newPool(size int64) *pool {
	return &pool{size: size, of: map[string]int64{}, more: make(chan struct{})}
}

// take takes bytes for an address, and waits for them until the context ends.
// They are given back by the returned function, which must be called once.
// More than half of the pool cannot be taken at once.
func (p *pool) take(ctx context.Context, address string, n int64) (giveBack func(), err error) {
	for {
		more, ok := p.try(address, n)
		if ok {
			return func() { p.give(address, n) }, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try takes bytes if it can, and returns a channel that is closed when it can
// be tried again.
func (p *pool) try(address string, n int64) (more chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[address]+n > p.size-p.held-n {
		return p.more, false
	}
	p.held += n
	p.of[address] += n
	return nil, true
}

func (p *pool) give(address string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held -= n
	if p.of[address] -= n; p.of[address] == 0 {
		delete(p.of, address)
	}
	close(p.more)
	p.more = make(chan struct{})
}

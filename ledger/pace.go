package ledger

import (
	"time"

	"muniment.dev/muniment/ledger/entry"
)

const (
	// pacedRows are the rows of the index that a stream may have in one commit
	// without waiting afterwards, while other streams append. One call may have
	// more, but is then paced.
	pacedRows = 1024
	// pacedRest is how much longer than its share of a commit such a stream
	// waits. It is high because the others wait for the whole commit: with it,
	// fewer than one of their appends in a hundred meets one.
	pacedRest = 12
	// maxRest bounds the wait after a commit that took long for other reasons.
	maxRest = 5 * time.Second
	// activeFor is how long a stream counts as active after an append.
	activeFor = time.Second
)

// A pace spreads commits that take long because of one stream, so that the
// entries of others rarely wait for one. A stream that is alone has no pace.
// The queue's mutex guards it.
type pace struct {
	now   func() time.Time
	until map[entry.Hash]time.Time // when a stream has its next turn
	// last is the newest append, and other the newest of another stream.
	last, other arrival
}

type arrival struct {
	stream entry.Hash
	at     time.Time
}

// arrived notes an append.
func (p *pace) arrived(stream entry.Hash) {
	if p.last.stream != stream {
		p.other = p.last
	}
	p.last = arrival{stream, p.now()}
}

// companyUntil returns when the stream will be alone, if no other one appends.
func (p *pace) companyUntil(stream entry.Hash) time.Time {
	a := p.last
	if a.stream == stream {
		a = p.other
	}
	return a.at.Add(activeFor)
}

// wait returns how long the stream has to wait for its turn.
func (p *pace) wait(stream entry.Hash) time.Duration {
	until, ok := p.until[stream]
	if !ok {
		return 0
	}
	now := p.now()
	if company := p.companyUntil(stream); company.Before(until) {
		until = company
	}
	if !until.After(now) {
		delete(p.until, stream)
		return 0
	}
	return until.Sub(now)
}

// committed notes how long the commit of a batch took.
func (p *pace) committed(batch []*group, took time.Duration) {
	rows, all := map[entry.Hash]int{}, 0
	for _, g := range batch {
		rows[g.stream()] += g.rows
		all += g.rows
	}
	now := p.now()
	for stream, n := range rows {
		if n > pacedRows && p.companyUntil(stream).After(now) {
			p.until[stream] = now.Add(min(maxRest, pacedRest*took*time.Duration(n)/time.Duration(all)))
		}
	}
}

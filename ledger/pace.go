package ledger

import (
	"time"

	"muniment.dev/muniment/ledger/entry"
)

const (
	// pacedRows is the number of index rows that a stream can have in one
	// commit without waiting afterwards, while other streams append. A call
	// with more rows is accepted, but then paced.
	pacedRows = 1024
	// pacedRest is the ratio of such a stream's wait to the time that its rows
	// above pacedRows took. It is high because other streams wait for the whole
	// commit, and lose processor time to the next call's digests. With it,
	// about 0.2 % of their appends meet such a commit, even if they append in a
	// loop and the commit takes ten times as long as theirs.
	pacedRest = 60
	// maxRest limits the wait after a commit that was slow for other reasons.
	maxRest = 5 * time.Second
	// activeFor is how long a stream counts as active after an append.
	activeFor = time.Second
)

// A pace spreads commits that are slow because of one stream, so entries of
// other streams rarely wait for one. A stream that is alone is not paced. The
// queue's mutex guards it.
type pace struct {
	now   func() time.Time
	until map[entry.Hash]time.Time // next turn of a stream
	// last is the newest append, and other the newest of another stream.
	last, other arrival
}

type arrival struct {
	stream entry.Hash
	at     time.Time
}

// arrived records an append.
func (p *pace) arrived(stream entry.Hash) {
	if p.last.stream != stream {
		p.other = p.last
	}
	p.last = arrival{stream, p.now()}
}

// companyUntil returns when the stream will be alone if no other stream
// appends.
func (p *pace) companyUntil(stream entry.Hash) time.Time {
	a := p.last
	if a.stream == stream {
		a = p.other
	}
	return a.at.Add(activeFor)
}

// wait returns the time until the stream's next turn.
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

// committed records the duration of a batch's commit.
func (p *pace) committed(batch []*group, took time.Duration) {
	rows, all := map[entry.Hash]int{}, 0
	for _, g := range batch {
		rows[g.stream()] += g.rows
		all += g.rows
	}
	now := p.now()
	for stream, n := range rows {
		if n > pacedRows && p.companyUntil(stream).After(now) {
			excess := took * time.Duration(n-pacedRows) / time.Duration(all)
			p.until[stream] = now.Add(min(maxRest, pacedRest*excess))
		}
	}
}

package ledger

import (
	"time"

	"muniment.dev/muniment/internal/company"
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
)

// A pace spreads commits that are slow because of one stream, so entries of
// other streams rarely wait for one. A stream that is alone is not paced. The
// queue's mutex guards it.
type pace struct {
	now     func() time.Time
	until   map[entry.Hash]time.Time    // next turn of a stream
	appends company.Tracker[entry.Hash] // by stream
}

// wait returns the time until the stream's next turn.
func (p *pace) wait(stream entry.Hash) time.Duration {
	until, ok := p.until[stream]
	if !ok {
		return 0
	}
	now := p.now()
	if alone := p.appends.Until(stream); alone.Before(until) {
		until = alone
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
		if n > pacedRows && p.appends.Until(stream).After(now) {
			excess := took * time.Duration(n-pacedRows) / time.Duration(all)
			p.until[stream] = now.Add(min(maxRest, pacedRest*excess))
		}
	}
}

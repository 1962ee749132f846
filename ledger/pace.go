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
// other streams rarely wait for one. A stream that is alone is not paced. A
// wait begins when the commit does, since the next batch is filled meanwhile.
// The queue's mutex guards it.
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

// inCompany reports whether other streams append.
func (p *pace) inCompany(stream entry.Hash, now time.Time) bool {
	return p.appends.Until(stream).After(now)
}

// sealed begins the wait of the streams that the batch is slow because of. Its
// length is provisional until the batch is committed.
func (p *pace) sealed(batch []*group) {
	now := p.now()
	for stream := range p.heavy(batch, now) {
		p.until[stream] = now.Add(maxRest)
	}
}

// reopened ends the waits that sealed began.
func (p *pace) reopened(batch []*group) {
	for _, g := range batch {
		delete(p.until, g.stream())
	}
}

// committed sets the waits by the duration of the batch's commit.
func (p *pace) committed(batch []*group, took time.Duration) {
	p.reopened(batch)
	now := p.now()
	for stream, share := range p.heavy(batch, now) {
		excess := time.Duration(share * float64(took))
		p.until[stream] = now.Add(min(maxRest, pacedRest*excess))
	}
}

// heavy returns the streams that must wait after the batch. The value is the
// share of the batch's rows that a stream has above pacedRows.
func (p *pace) heavy(batch []*group, now time.Time) map[entry.Hash]float64 {
	all := 0
	for _, g := range batch {
		all += g.rows
	}
	if all <= pacedRows {
		return nil
	}
	shares, rows := map[entry.Hash]float64{}, map[entry.Hash]int{}
	for _, g := range batch {
		rows[g.stream()] += g.rows
	}
	for stream, n := range rows {
		if n > pacedRows && p.inCompany(stream, now) {
			shares[stream] = float64(n-pacedRows) / float64(all)
		}
	}
	return shares
}

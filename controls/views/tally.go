package views

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

const (
	// tallyEntries is the number of entries that one call counts.
	tallyEntries = 20_000
	// maxTallyKeys bounds the keys of a bucket. Others share the empty key.
	maxTallyKeys = 256
)

// A tally counts the recent entries of a kind by what their headers contain. It
// is a projection, and a call adds a bounded number of new entries to it.
type tally struct {
	kind   string
	bucket time.Duration
	keep   time.Duration
	key    func(h *entry.Header) string

	mu      sync.Mutex // guards the fields below; held while entries are read
	started bool
	next    uint64 // first index that was not counted
	buckets map[int64]map[string]uint64
}

// refresh counts new entries, at most a number. It returns how many indexes of
// the log are left.
func (t *tally) refresh(ctx context.Context, log Log, s *ledger.Stream, now time.Time) (behind uint64, err error) {
	if !t.started {
		page, err := log.List(ctx, s, ledger.Query{Filter: ledger.Filter{To: now.Add(-t.keep)}, Limit: 1})
		if err != nil {
			return 0, err
		}
		if len(page.Entries) > 0 {
			t.next = page.Entries[0].Index + 1
		}
		t.started, t.buckets = true, map[int64]map[string]uint64{}
	}
	p, n := log.Published(), 0
	for e, err := range exception.Entries(ctx, log, p, s, ledger.Filter{Kind: t.kind}, &t.next) {
		if err != nil {
			return 0, err
		}
		if n++; n > tallyEntries {
			break
		}
		t.add(e)
	}
	oldest := now.Add(-t.keep).UnixNano() / int64(t.bucket)
	for b := range t.buckets {
		if b < oldest {
			delete(t.buckets, b)
		}
	}
	return p.Size - min(p.Size, t.next), nil
}

func (t *tally) add(e *ledger.Entry) {
	b := timeOf(e).UnixNano() / int64(t.bucket)
	counts := t.buckets[b]
	if counts == nil {
		counts = map[string]uint64{}
		t.buckets[b] = counts
	}
	key := t.key(e.Header)
	if _, known := counts[key]; !known && len(counts) >= maxTallyKeys {
		key = ""
	}
	counts[key]++
}

// since returns the counts from the bucket of a time on.
func (t *tally) since(from time.Time) map[string]uint64 {
	all := map[string]uint64{}
	for b, counts := range t.buckets {
		if b < from.UnixNano()/int64(t.bucket) {
			continue
		}
		for key, n := range counts {
			all[key] += n
		}
	}
	return all
}

// tallies has the tallies of each stream that was looked at recently.
type tallies struct {
	mu  sync.Mutex
	all map[entry.Hash]*streamTallies
}

type streamTallies struct {
	decisions, triage, verification *tally
	budgets                         *budgets
	used                            time.Time
}

// maxTallies is the number of streams whose tallies are kept.
const maxTallies = 256

func (ts *tallies) of(s *ledger.Stream, now time.Time) *streamTallies {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	st := ts.all[s.ID]
	if st == nil {
		if ts.all == nil {
			ts.all = map[entry.Hash]*streamTallies{}
		}
		if len(ts.all) >= maxTallies {
			ids := make([]entry.Hash, 0, len(ts.all))
			for id := range ts.all {
				ids = append(ids, id)
			}
			delete(ts.all, slices.MinFunc(ids, func(a, b entry.Hash) int { return cmp.Compare(ts.all[a].used.UnixNano(), ts.all[b].used.UnixNano()) }))
		}
		st = newStreamTallies()
		ts.all[s.ID] = st
	}
	st.used = now
	return st
}

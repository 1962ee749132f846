package views

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

const (
	// maxTallyKeys bounds the keys of a tally. Others are counted by their
	// first line alone.
	maxTallyKeys = 256
	// maxTallyKey bounds a key, in bytes. Longer ones are cut.
	maxTallyKey = 256
)

// A tally counts the recent entries of a kind by what their headers contain.
type tally struct {
	projection
	kind   string
	bucket time.Duration
	keep   time.Duration
	key    func(h *entry.Header) string

	keys    map[string]string // each to itself, so that buckets share one text
	buckets map[int64]*bucket
}

// A bucket has the counts of an interval.
type bucket struct {
	first  uint64 // index of the first entry in it
	counts map[string]uint64
}

// refresh counts new entries. It returns how many indexes of the log are left.
func (t *tally) refresh(ctx context.Context, log Log, s *ledger.Stream, now time.Time) (behind uint64, err error) {
	p := log.Published()
	if t.started {
		if err := t.forget(ctx, log, p, s); err != nil {
			return 0, err
		}
	}
	if !t.started {
		page, err := log.List(ctx, s, ledger.Query{Filter: ledger.Filter{To: now.Add(-t.keep)}, Limit: 1})
		if err != nil {
			return 0, err
		}
		from := uint64(0)
		if len(page.Entries) > 0 {
			from = page.Entries[0].Index + 1
		}
		t.start(p, from)
		t.keys, t.buckets = map[string]string{}, map[int64]*bucket{}
	}
	for e, err := range some(ctx, log, p, s, ledger.Filter{Kind: t.kind}, &t.next) {
		if err != nil {
			return 0, err
		}
		t.add(e)
	}
	t.drop(now.Add(-t.keep).UnixNano() / int64(t.bucket))
	return t.behind(p), nil
}

// forget ends the tally if an entry was erased that it can have counted.
func (t *tally) forget(ctx context.Context, log Log, p *ledger.Published, s *ledger.Stream) error {
	indexes, all, err := t.erased(ctx, log, p, s)
	first := t.next
	for _, b := range t.buckets {
		first = min(first, b.first)
	}
	for index := range indexes {
		all = all || index >= first && index < t.next
	}
	t.started = t.started && !all
	return err
}

// drop drops the buckets before one, with their keys.
func (t *tally) drop(oldest int64) {
	n := len(t.buckets)
	maps.DeleteFunc(t.buckets, func(at int64, _ *bucket) bool { return at < oldest })
	if len(t.buckets) == n {
		return
	}
	clear(t.keys)
	for _, b := range t.buckets {
		for key := range b.counts {
			t.keys[key] = key
		}
	}
}

func (t *tally) add(e *ledger.Entry) {
	at := timeOf(e).UnixNano() / int64(t.bucket)
	b := t.buckets[at]
	if b == nil {
		b = &bucket{first: e.Index, counts: map[string]uint64{}}
		t.buckets[at] = b
	}
	b.counts[t.known(t.key(e.Header))]++
}

// known returns the text of a key. If there are too many, it returns that of
// its first line, of which there are few.
func (t *tally) known(key string) string {
	key = strings.ToValidUTF8(key[:min(len(key), maxTallyKey)], "")
	if len(t.keys) >= maxTallyKeys && t.keys[key] == "" {
		counted, _, _ := strings.Cut(key, "\n")
		key = counted + "\n"
	}
	if same, ok := t.keys[key]; ok {
		return same
	}
	key = strings.Clone(key) // not the header that it is a part of
	t.keys[key] = key
	return key
}

// since returns the counts from the bucket of a time on.
func (t *tally) since(from time.Time) map[string]uint64 {
	all := map[string]uint64{}
	for at, b := range t.buckets {
		if at < from.UnixNano()/int64(t.bucket) {
			continue
		}
		for key, n := range b.counts {
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
	incidents                       *incidents
	used                            time.Time
}

// maxTallies is the number of streams whose tallies are kept.
const maxTallies = 64

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

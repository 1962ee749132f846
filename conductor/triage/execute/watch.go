package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	// watchEvery is the time between two reads of a Watcher.
	watchEvery = 5 * time.Second
	// watched is the age of the oldest entries that it reads, and the time for
	// which it keeps the incidents that have ended.
	watched = 7 * 24 * time.Hour
	// maxTrails is the number of incidents that it keeps, and maxTrail that of
	// the entries of each.
	maxTrails, maxTrail = 1000, 4096
	// readAgain is how long the entries of an incident that has ended are kept.
	readAgain = time.Hour
)

// A Watcher reads the trails of a server in a goroutine of its own. Run must
// run.
type Watcher struct {
	reader *Reader
	now    func() time.Time
	report func(error) // of a read; nil: it succeeded

	mu       sync.Mutex // guards the rest
	next     Cursor
	trails   map[string]*Trail
	latest   map[string]Latest // by the identifier up to the number
	uses     []Use             // of the latest day, in their order
	complete time.Time         // the end of the latest read
}

// NewWatcher returns a watcher. It calls report after each read.
func NewWatcher(r *Reader, now func() time.Time, report func(error)) *Watcher {
	return &Watcher{reader: r, now: now, report: report, trails: map[string]*Trail{}, latest: map[string]Latest{}}
}

// Run reads until the context ends.
func (w *Watcher) Run(ctx context.Context) {
	for ctx.Err() == nil {
		w.report(w.Read(ctx))
		again := time.NewTimer(watchEvery)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// Trails implements Trails. They are not changed afterwards.
func (w *Watcher) Trails() (all []Trail, complete time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.complete.IsZero() {
		return nil, time.Time{}, fmt.Errorf("%w: the entries of other executors were not read yet", ErrWait)
	}
	for _, t := range w.trails {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Trail) int { return strings.Compare(a.Incident, b.Incident) })
	return all, w.complete, nil
}

// Read reads the entries since the last one.
func (w *Watcher) Read(ctx context.Context) error {
	self, err := w.reader.Self(ctx)
	if err != nil {
		return fmt.Errorf("identity of the executor: %w", err)
	}
	w.mu.Lock()
	next := w.next
	w.mu.Unlock()
	filter := &munimentv1.Filter{Kind: kindname.TriageAction} // the numbers are those of all times
	if !next.Time.IsZero() {
		filter.From = timestamppb.New(next.Time)
	}
	for token := ""; ; {
		entries, more, err := w.reader.list(ctx, filter, token)
		if err != nil {
			return fmt.Errorf("read the entries of other executors: %w", err)
		}
		for _, e := range entries {
			if e.Index < next.Next {
				continue
			}
			if err := w.entry(ctx, e, self); err != nil {
				return fmt.Errorf("read the entries of other executors: %w", err)
			}
			next = Cursor{Next: e.Index + 1, Time: e.Time.AsTime()}
			w.mu.Lock()
			w.next = next
			w.mu.Unlock()
		}
		if token = more; token == "" {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complete = w.now()
	w.prune(self)
	return nil
}

// entry adds an entry of an executor, or a request to undo, to its trail.
func (w *Watcher) entry(ctx context.Context, e *munimentv1.Entry, self string) error {
	incident, action := e.Attributes["incident"], e.Attributes["action"]
	own := e.Submitter == self && strings.HasPrefix(e.IdempotencyKey, "triage/"+incident+"/")
	asks := identity.Person(e.Submitter) != "" && e.Attributes["phase"] == "" && (action == ActionUndo || action == ActionMisfire)
	if incident == All || !own && !asks {
		return nil
	}
	if own {
		w.count(e)
	}
	if e.Time.AsTime().Before(w.now().Add(-watched)) {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, err := ReadEntry(within, w.reader.client, w.reader.policy, e.Index)
	if err != nil && !errors.Is(err, receipt.ErrNotVerified) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.trails[incident]
	if t == nil && !own {
		return nil // nothing is left to undo, or it is older than what is read
	}
	if t == nil {
		t = &Trail{Incident: incident}
		w.trails[incident] = t
	}
	switch {
	case !own:
		// Persons neither delay nor prevent a takeover, whatever they record.
		if err == nil {
			t.Entries = append(slices.DeleteFunc(slices.Clone(t.Entries), func(o Recorded) bool { return o.Submitter == r.Submitter }), *r)
		}
		return nil
	case err != nil:
		t.Fault = err.Error()
	case len(t.Entries) >= maxTrail:
		t.Fault = fmt.Sprintf("it has more than %d entries", maxTrail)
	default:
		t.Entries = append(t.Entries, *r)
	}
	if err == nil {
		w.use(r)
	}
	t.Seen = w.now()
	if own {
		t.Latest = e.Time.AsTime()
	}
	return nil
}

// prune drops what is not needed any more.
func (w *Watcher) prune(self string) {
	w.uses = slices.DeleteFunc(w.uses, func(u Use) bool { return w.complete.Sub(u.Recorded) >= longest })
	for id, t := range w.trails {
		age := w.complete.Sub(t.Seen)
		if t.Entries != nil {
			t.Closed = t.ended(self)
		}
		if t.Closed && age > readAgain {
			t.Entries = nil
		}
		if age > watched {
			delete(w.trails, id)
		}
	}
	if over := len(w.trails) - maxTrails; over > 0 {
		oldest := make([]*Trail, 0, len(w.trails))
		for _, t := range w.trails {
			oldest = append(oldest, t)
		}
		slices.SortFunc(oldest, func(a, b *Trail) int {
			if a.Closed != b.Closed {
				if a.Closed {
					return -1
				}
				return 1
			}
			return a.Seen.Compare(b.Seen)
		})
		for _, t := range oldest[:over] {
			delete(w.trails, t.Incident)
		}
	}
}

package ledger

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// A stream's rules are its entries of kind config: the admission policy,
// trusted roots, grants, retention rules and legal holds. A draft that was
// decided under rules names them, and is recorded only if they are still in
// force at its place, whoever has changed them in between.

// Rules are a version of a stream's rules. Versions of the same stream can be
// compared. The zero value is no version: a draft that names it was decided
// under no rules.
type Rules struct {
	known bool
	next  uint64 // index of the newest config entry plus 1; 0 if there is none
}

// rulesAt are the rules in force in the published state of a size.
type rulesAt struct {
	Rules
	size uint64
}

// ErrOvertaken is the error of an append whose drafts were decided under rules
// that are no longer in force. Nothing was recorded. The drafts must be decided
// again.
var ErrOvertaken = errors.New("the rules changed before the entry was recorded")

// Rules returns the rules in force in the stream, in a published state that is
// at least as new as any that was published before the call.
func (l *Ledger) Rules(ctx context.Context, s *Stream) (Rules, error) {
	if v, ok := l.rules.Load(s.ID); ok && v.(rulesAt).size >= l.Grown(s.ID) {
		return v.(rulesAt).Rules, nil
	}
	size := l.published.Load().Size
	r, err := l.rulesBelow(ctx, s.ID, size)
	if err != nil {
		return Rules{}, err
	}
	now := rulesAt{r, size}
	for {
		old, there := l.rules.LoadOrStore(s.ID, now)
		if !there || old.(rulesAt).size >= size || l.rules.CompareAndSwap(s.ID, old, now) {
			return r, nil
		}
	}
}

// rulesBelow returns the rules that the first size entries of the log contain.
func (l *Ledger) rulesBelow(ctx context.Context, stream entry.Hash, size uint64) (Rules, error) {
	if size == 0 {
		return Rules{known: true}, nil
	}
	list, err := l.store.Postings(ctx, term(stream, kindField, kindname.Config))
	if err != nil {
		return Rules{}, indexDamage(err, l.replica)
	}
	index, ok, err := list.SeekLE(size - 1)
	if err = errors.Join(err, list.Close()); err != nil {
		return Rules{}, indexDamage(err, l.replica)
	}
	r := Rules{known: true}
	if ok {
		r.next = index + 1
	}
	return r, nil
}

// checkRules returns ErrOvertaken if a draft of the group was decided under
// other rules than those at its place.
func (l *Ledger) checkRules(g *group) error {
	for i := range g.entries {
		d := g.entries[i].draft
		if d == nil || !d.Rules.known {
			continue
		}
		h := l.tip.head(d.Stream)
		if !h.rules.known {
			var err error
			// All config entries of the stream that are not published yet were
			// placed by this sequencer, which then knows the rules.
			if h.rules, err = l.rulesBelow(context.Background(), d.Stream.ID, l.tip.tree.size); err != nil {
				return fmt.Errorf("read the rules in force: %w", err)
			}
		}
		if d.Rules != h.rules {
			return ErrOvertaken
		}
	}
	return nil
}

// govern takes note of an entry of the stream that changes its rules.
func (h *head) govern(kind string, index uint64) {
	if kind == kindname.Config {
		h.rules = Rules{known: true, next: index + 1}
	}
}

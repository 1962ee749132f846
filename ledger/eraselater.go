package ledger

import (
	"context"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A LaterErasure is an erasure recorded by a newer state of the log.
type LaterErasure struct {
	Entry  uint64
	Stream entry.Hash // of the erasure, and so of the entry
	Header bool       // the header was erased, too
}

// EraseLater makes erasures that the log recorded after the state in the store,
// as after a backup, and returns when their bytes have left the disk. The
// result is the number of entries of which something was erased. Entries that
// the store does not have are left out. It erases nothing if an entry is of
// another stream than its erasure.
func EraseLater(ctx context.Context, s store.Store, erasures []LaterErasure) (int, error) {
	st, err := s.Follow(ctx, 0)
	if err != nil {
		return 0, fmt.Errorf("load the log: %w", err)
	}
	ids := newIdentifier(&st.Secret)
	var out []store.Erasure
	for _, e := range erasures {
		if e.Entry >= st.Size {
			continue
		}
		sk, err := s.Skeletons(ctx, e.Entry, e.Entry+1)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", e.Entry, notThere(err))
		}
		if sk[0].StreamID != e.Stream {
			return 0, fmt.Errorf("entry %d is not of the stream that recorded its erasure", e.Entry)
		}
		plan, err := planStored(ctx, s, ids, e.Entry, e.Header)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", e.Entry, err)
		}
		if plan != nil {
			out = append(out, plan.erase)
		}
	}
	if len(out) == 0 {
		return 0, nil
	}
	if err := s.Erase(ctx, out); err != nil {
		return 0, err
	}
	return len(out), s.Purge(ctx)
}

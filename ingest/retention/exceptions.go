package retention

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"muniment.dev/muniment/ingest/glob"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// Exceptions answers what exceptions in force rely on: they themselves, and the
// evidence about the artifacts that they cover. It implements Reliance.
type Exceptions struct {
	Ledger *ledger.Ledger
	Now    func() time.Time

	mu      sync.Mutex
	streams map[entry.Hash]*exceptions
}

// exceptions are those of a stream that neither had expired nor were erased
// when they were read.
type exceptions struct {
	mu     sync.Mutex // held by who reads; guards what follows
	next   uint64     // index from which to look further
	erased uint64     // index from which to look for erasures further
	all    []exception
}

type exception struct {
	index    uint64
	name     string
	expires  time.Time
	subjects []entry.Subject
	globs    []string
}

// ReliedUpon implements Reliance.
func (x *Exceptions) ReliedUpon(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (string, error) {
	if e.Header == nil {
		return "", nil
	}
	h, err := entry.ParseHeader(e.Header.Content)
	if err != nil {
		return "", fmt.Errorf("entry %d: %w", e.Index, err)
	}
	st := x.stream(s)
	st.mu.Lock() // of this stream alone: one tenant's many exceptions do not hold up another's
	defer st.mu.Unlock()
	all, err := x.read(ctx, s, st)
	if err != nil {
		return "", err
	}
	for i := range all {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if all[i].index == e.Index {
			return fmt.Sprintf("the exception %s is in force until %s", all[i].name, all[i].expires.Format(time.RFC3339)), nil
		}
		if all[i].covers(h) {
			return fmt.Sprintf("the exception %s (entry %d), in force until %s, is about the same artifact", all[i].name, all[i].index, all[i].expires.Format(time.RFC3339)), nil
		}
	}
	return "", nil
}

func (x *Exceptions) stream(s *ledger.Stream) *exceptions {
	x.mu.Lock()
	defer x.mu.Unlock()
	st := x.streams[s.ID]
	if st == nil {
		st = &exceptions{}
		if x.streams == nil {
			x.streams = map[entry.Hash]*exceptions{}
		}
		x.streams[s.ID] = st
	}
	return st
}

// read returns the exceptions in force, after it has read those that are new
// and has forgotten those that were erased.
func (x *Exceptions) read(ctx context.Context, s *ledger.Stream, st *exceptions) ([]exception, error) {
	p := x.Ledger.Published()
	for st.next < p.Size {
		e, next, err := x.Ledger.Next(ctx, p, s, ledger.Filter{Kind: kindname.Exception}, st.next)
		if err != nil {
			return nil, fmt.Errorf("exceptions: %w", err)
		}
		st.next = next
		if e == nil {
			break
		}
		h, err := entry.ParseHeader(e.Header.Content)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Index, err)
		}
		expires, err := time.Parse(time.RFC3339Nano, h.Attributes["expires"])
		if err != nil {
			return nil, fmt.Errorf("exception of entry %d: expires: %w", e.Index, err)
		}
		ex := exception{index: e.Index, name: h.Attributes["exception"], expires: expires, subjects: h.Subjects}
		for name, v := range h.Attributes {
			if strings.HasPrefix(name, "glob.") {
				ex.globs = append(ex.globs, v)
			}
		}
		st.all = append(st.all, ex)
	}
	if err := x.forget(ctx, p, s, st); err != nil {
		return nil, err
	}
	now := x.Now()
	st.all = slices.DeleteFunc(st.all, func(ex exception) bool { return !ex.expires.After(now) })
	return st.all, nil
}

// forget drops what was erased. An entry that records an erasure follows the
// entry that it erases.
func (x *Exceptions) forget(ctx context.Context, p *ledger.Published, s *ledger.Stream, st *exceptions) error {
	for st.erased < p.Size {
		e, next, err := x.Ledger.Next(ctx, p, s, ledger.Filter{Kind: ledger.ErasureKind}, st.erased)
		if err != nil {
			return fmt.Errorf("erasures: %w", err)
		}
		st.erased = next
		if e == nil {
			break
		}
		h, err := entry.ParseHeader(e.Header.Content)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		st.all = slices.DeleteFunc(st.all, func(ex exception) bool { return strconv.FormatUint(ex.index, 10) == h.Attributes["entry"] })
	}
	return nil
}

// covers says whether an entry is about an artifact of the exception.
func (ex *exception) covers(h *entry.Header) bool {
	return slices.ContainsFunc(h.Subjects, func(s entry.Subject) bool {
		if s.Name != "" && slices.ContainsFunc(ex.globs, func(g string) bool { return glob.Match(g, s.Name) }) {
			return true
		}
		return slices.ContainsFunc(ex.subjects, func(is entry.Subject) bool {
			for alg, v := range is.Digest {
				if s.Digest[alg] == v {
					return true
				}
			}
			return false
		})
	})
}

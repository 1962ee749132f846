// Package exception keeps the exceptions in force of each stream, as a
// projection of the stream's entries. See docs/spec/kinds.md.
package exception

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// An Exception exempts the artifacts in its scope from controls until it
// expires.
type Exception struct {
	Index    uint64 // of its entry
	ID       string // can be empty
	Controls []string
	Expires  time.Time
	Subjects []entry.Subject // in scope
	Globs    []string        // names in scope
}

// Covers reports whether one of the subjects is in the exception's scope.
func (x *Exception) Covers(subjects []entry.Subject) bool {
	return slices.ContainsFunc(subjects, func(s entry.Subject) bool {
		named := s.Name != "" && slices.ContainsFunc(x.Globs, func(g string) bool { return glob.Match(g, s.Name) })
		return named || slices.ContainsFunc(x.Subjects, func(in entry.Subject) bool { return sharesDigest(in, s) })
	})
}

// name returns the ID with a space before it, or "" for an exception without
// ID.
func (x *Exception) name() string {
	if x.ID == "" {
		return ""
	}
	return " " + x.ID
}

func sharesDigest(a, b entry.Subject) bool {
	for alg, v := range a.Digest {
		if b.Digest[alg] == v {
			return true
		}
	}
	return false
}

// Expiry returns the time at which an exception with these header attributes
// expires.
func Expiry(attributes map[string]string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, attributes["expires"])
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid expiry %q: must be a time in RFC 3339", attributes["expires"])
	}
	return t, nil
}

// A Log has the published entries of streams. A *ledger.Ledger is a Log.
type Log interface {
	// Published returns the published state.
	Published() *ledger.Published
	// Next returns the first entry of the stream at or above an index that
	// matches the filter, or nil, and the index at which to continue.
	Next(ctx context.Context, p *ledger.Published, s *ledger.Stream, f ledger.Filter, from uint64) (*ledger.Entry, uint64, error)
}

// A Projection has the exceptions in force of each stream. It reads new entries
// when it is used, and goroutines can share it.
type Projection struct {
	Log Log
	Now func() time.Time

	mu      sync.Mutex
	streams map[entry.Hash]*stream
}

// A stream has those exceptions of one stream that had neither expired nor been
// erased when they were last used.
type stream struct {
	mu         sync.Mutex // guards the fields below; held while entries are read
	next       uint64     // first index not yet searched for exceptions
	nextErased uint64     // first index not yet searched for erasures
	inForce    []Exception
}

// InForce returns the exceptions in force in the stream, in the order of their
// entries.
func (p *Projection) InForce(ctx context.Context, s *ledger.Stream) ([]Exception, error) {
	st, err := p.current(ctx, s)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	return slices.Clone(st.inForce), nil
}

// ReliedUpon returns why an entry of the stream must be kept, or "". An
// exception in force relies on its own entry and on the evidence about the
// artifacts in its scope. It implements retention.Reliance.
func (p *Projection) ReliedUpon(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (string, error) {
	if e.Header == nil {
		return "", nil
	}
	st, err := p.current(ctx, s)
	if err != nil {
		return "", err
	}
	defer st.mu.Unlock()
	for i := range st.inForce {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		x := &st.inForce[i]
		if x.Index == e.Index {
			return fmt.Sprintf("the exception%s is in force until %s", x.name(), x.Expires.Format(time.RFC3339)), nil
		}
		if x.Covers(e.Header.Subjects) {
			return fmt.Sprintf("the exception%s (entry %d), in force until %s, covers the same artifact", x.name(), x.Index, x.Expires.Format(time.RFC3339)), nil
		}
	}
	return "", nil
}

// current returns the stream, locked and up to date. The lock is for one
// stream, so that tenants do not wait for each other.
func (p *Projection) current(ctx context.Context, s *ledger.Stream) (*stream, error) {
	st := p.stream(s)
	st.mu.Lock()
	if err := p.refresh(ctx, s, st); err != nil {
		st.mu.Unlock()
		return nil, err
	}
	return st, nil
}

func (p *Projection) stream(s *ledger.Stream) *stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.streams[s.ID]
	if st == nil {
		st = &stream{}
		if p.streams == nil {
			p.streams = map[entry.Hash]*stream{}
		}
		p.streams[s.ID] = st
	}
	return st
}

// refresh adds new exceptions and removes those that were erased or have
// expired.
func (p *Projection) refresh(ctx context.Context, s *ledger.Stream, st *stream) error {
	published := p.Log.Published()
	err := p.each(ctx, published, s, kindname.Exception, &st.next, func(e *ledger.Entry) error {
		x, err := read(e)
		if err != nil {
			return fmt.Errorf("exception in entry %d: %w", e.Index, err)
		}
		st.inForce = append(st.inForce, x)
		return nil
	})
	if err != nil {
		return err
	}
	// The entry of an erasure always follows the erased entry.
	err = p.each(ctx, published, s, ledger.ErasureKind, &st.nextErased, func(e *ledger.Entry) error {
		erased := e.Header.Attributes["entry"]
		st.inForce = slices.DeleteFunc(st.inForce, func(x Exception) bool { return strconv.FormatUint(x.Index, 10) == erased })
		return nil
	})
	if err != nil {
		return err
	}
	now := p.Now()
	st.inForce = slices.DeleteFunc(st.inForce, func(x Exception) bool { return !x.Expires.After(now) })
	return nil
}

// each calls visit with the published entries of a kind from the index at which
// next points, and advances it.
func (p *Projection) each(ctx context.Context, published *ledger.Published, s *ledger.Stream, kind string, next *uint64, visit func(*ledger.Entry) error) error {
	for *next < published.Size {
		e, after, err := p.Log.Next(ctx, published, s, ledger.Filter{Kind: kind}, *next)
		if err != nil {
			return fmt.Errorf("read %ss: %w", kind, err)
		}
		if e != nil {
			if err := visit(e); err != nil {
				return err
			}
		}
		*next = after
	}
	return nil
}

// read returns the exception that an entry's header describes.
func read(e *ledger.Entry) (Exception, error) {
	h := e.Header
	expires, err := Expiry(h.Attributes)
	if err != nil {
		return Exception{}, err
	}
	x := Exception{Index: e.Index, ID: h.Attributes["exception"], Controls: h.Controls, Expires: expires, Subjects: h.Subjects}
	for name, v := range h.Attributes {
		if strings.HasPrefix(name, "glob.") {
			x.Globs = append(x.Globs, v)
		}
	}
	slices.Sort(x.Globs)
	return x, nil
}

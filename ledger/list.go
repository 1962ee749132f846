package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A Filter selects entries of a stream. An empty field matches every entry.
type Filter struct {
	Kind          string
	Subject       string // algorithm:value
	PredicateType string
	Signer        string // identity or key ID
	Submitter     string
	Control       string
	Attribute     string // name=value
	Material      string // algorithm:value
	From, To      time.Time
}

// A Query is a filter, an order and a position.
type Query struct {
	Filter      Filter
	OldestFirst bool
	Below       uint64 // entries with smaller indexes only; 0: all
	Limit       int
	Token       string // from the previous page; "": the first page
}

// A Page is one page of the results of a query.
type Page struct {
	Entries []Entry
	Next    string // token of the next page; "" if this is the last
	Size    uint64 // of the published tree that it was read from
}

// The searchable facts, as the first byte of a term's hash input.
const (
	anyField = iota
	kindField
	subjectField
	predicateField
	signerField
	submitterField
	controlField
	attributeField
	materialField
)

func term(stream entry.Hash, field byte, value string) store.Term {
	const prefix = "muniment/term/v1\n"
	b := make([]byte, 0, 256)
	b = append(b, prefix...)
	b = append(b, stream[:]...)
	b = append(b, field)
	b = append(b, value...)
	h := sha256.Sum256(b)
	return store.Term(h[:])
}

// streamTerm is the term of every entry of the stream.
func streamTerm(stream entry.Hash) store.Term { return term(stream, anyField, "") }

// headerTerms returns the terms of an entry, each once.
func headerTerms(stream entry.Hash, h *entry.Header) []store.Term {
	terms := make([]store.Term, 0, 8)
	add := func(field byte, value string) {
		if value != "" {
			terms = append(terms, term(stream, field, value))
		}
	}
	terms = append(terms, streamTerm(stream))
	add(kindField, h.Kind)
	add(predicateField, h.PredicateType)
	for _, s := range h.Signers {
		add(signerField, s.Identity)
		add(signerField, s.KeyID)
	}
	for _, s := range h.Subjects {
		for alg, v := range s.Digest {
			add(subjectField, foldDigest(alg+":"+v))
		}
	}
	for _, m := range h.Materials {
		for alg, v := range m.Digest {
			add(materialField, foldDigest(alg+":"+v))
		}
	}
	add(submitterField, h.Submitter)
	for _, c := range h.Controls {
		add(controlField, c)
	}
	for name, v := range h.Attributes {
		add(attributeField, entry.AttributeName(name)+"="+v)
	}
	slices.SortFunc(terms, func(a, b store.Term) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(terms)
}

// foldDigest returns a digest in the spelling used in the index.
func foldDigest(s string) string {
	alg, v, ok := strings.Cut(s, ":")
	if !ok {
		return s
	}
	return entry.CanonicalDigest(alg, v).String()
}

// A criterion is one field of a filter that is set.
type criterion struct {
	field byte
	value string
	has   func(h *entry.Header, value string) bool
}

// criteria returns the fields that are set, the most selective first.
func (f *Filter) criteria() []criterion {
	all := [...]criterion{
		{subjectField, foldDigest(f.Subject), (*entry.Header).HasSubject},
		{materialField, foldDigest(f.Material), (*entry.Header).HasMaterial},
		{attributeField, f.Attribute, (*entry.Header).HasAttribute},
		{signerField, f.Signer, (*entry.Header).HasSigner},
		{controlField, f.Control, func(h *entry.Header, v string) bool { return slices.Contains(h.Controls, v) }},
		{predicateField, f.PredicateType, func(h *entry.Header, v string) bool { return h.PredicateType == v }},
		{submitterField, f.Submitter, func(h *entry.Header, v string) bool { return h.Submitter == v }},
		{kindField, f.Kind, func(h *entry.Header, v string) bool { return h.Kind == v }},
	}
	return slices.DeleteFunc(all[:], func(c criterion) bool { return c.value == "" })
}

func (f *Filter) terms(stream entry.Hash) []store.Term {
	var terms []store.Term
	for _, c := range f.criteria() {
		terms = append(terms, term(stream, c.field, c.value))
	}
	if len(terms) == 0 {
		terms = append(terms, streamTerm(stream))
	}
	return terms
}

// match reports whether the entry's header passes the filter. Terms are
// truncated hashes, so an entry found by them can be another.
func (f *Filter) match(e *Entry) bool {
	criteria := f.criteria()
	if len(criteria) == 0 {
		return true
	}
	return e.Header != nil && !slices.ContainsFunc(criteria, func(c criterion) bool { return !c.has(e.Header, c.value) })
}

// Matches reports whether the entry passes the filter, times included.
func (f *Filter) Matches(e *Entry) bool {
	t := time.UnixMilli(int64(e.Skeleton.Time))
	if !f.From.IsZero() && t.Before(f.From) || !f.To.IsZero() && !t.Before(f.To) {
		return false
	}
	return f.match(e)
}

// maxPageBytes ends a page early, so that large headers don't fill the memory.
const maxPageBytes = 4 << 20

// List returns the published entries of the stream that pass the filter, newest
// first unless the query sets OldestFirst. Errors: ErrPageToken.
func (l *Ledger) List(ctx context.Context, s *Stream, q Query) (*Page, error) {
	p := l.Published()
	page := &Page{Size: p.Size}
	lo, hi, err := l.bounds(ctx, p, s, q.Filter)
	if err != nil {
		return nil, err
	}
	if q.Below > 0 {
		hi = min(hi, q.Below)
	}
	if q.Token != "" {
		from, err := parseToken(q, s)
		if err != nil {
			return nil, err
		}
		if q.OldestFirst {
			lo = max(lo, from)
		} else {
			hi = min(hi, from)
		}
	}
	m, err := l.newMatcher(ctx, p, s, q.Filter, q.OldestFirst)
	if err != nil {
		return nil, err
	}
	defer m.close()
	for bytes := 0; lo < hi; {
		e, err := m.next(ctx, lo, hi)
		if err != nil {
			return nil, err
		}
		if e == nil {
			break
		}
		if len(page.Entries) == q.Limit || bytes > maxPageBytes {
			if q.OldestFirst {
				page.Next = formatToken(q, s, e.Index)
			} else {
				page.Next = formatToken(q, s, e.Index+1)
			}
			break
		}
		page.Entries = append(page.Entries, *e)
		if e.Opening != nil {
			bytes += len(e.Opening.Content)
		}
		if q.OldestFirst {
			lo = e.Index + 1
		} else {
			hi = e.Index
		}
	}
	return page, nil
}

// Next returns the first published entry of the stream at or after the index
// that passes the filter, or nil, and the index at which to continue. It
// ignores the filter's times.
func (l *Ledger) Next(ctx context.Context, p *Published, s *Stream, f Filter, from uint64) (*Entry, uint64, error) {
	m, err := l.newMatcher(ctx, p, s, f, true)
	if err != nil {
		return nil, from, err
	}
	defer m.close()
	e, err := m.next(ctx, from, p.Size)
	if err != nil || e == nil {
		return nil, max(from, p.Size), err
	}
	return e, e.Index + 1, nil
}

// A matcher finds the entries of a stream that pass a filter, in one direction.
type matcher struct {
	ledger    *Ledger
	published *Published
	stream    *Stream
	filter    Filter
	ascending bool
	lists     []store.Postings
	read      func(context.Context, *Published, *Stream, uint64) (*Entry, error)
}

func (l *Ledger) newMatcher(ctx context.Context, p *Published, s *Stream, f Filter, ascending bool) (*matcher, error) {
	m := &matcher{ledger: l, published: p, stream: s, filter: f, ascending: ascending, read: l.entryAt}
	if f.Subject != "" || f.Material != "" {
		m.read = l.recall // an artifact is looked at several times
	}
	for _, t := range f.terms(s.ID) {
		list, err := l.store.Postings(ctx, t)
		if err != nil {
			m.close()
			return nil, err
		}
		m.lists = append(m.lists, list)
	}
	return m, nil
}

func (m *matcher) close() {
	for _, list := range m.lists {
		list.Close()
	}
}

// next returns the first entry with lo ≤ index < hi that passes the filter, or
// nil.
func (m *matcher) next(ctx context.Context, lo, hi uint64) (*Entry, error) {
	for lo < hi {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		index, ok, err := intersect(m.lists, m.ascending, lo, hi)
		if err != nil || !ok {
			return nil, err
		}
		e, err := m.read(ctx, m.published, m.stream, index)
		if err == nil {
			if m.filter.match(e) {
				return e, nil
			}
		} else if !errors.Is(err, ErrNotFound) {
			// terms are truncated hashes, so the entry can be another stream's
			return nil, err
		}
		if m.ascending {
			lo = index + 1
		} else {
			hi = index
		}
	}
	return nil, nil
}

// intersect returns the first index, in the given order, with lo ≤ index < hi
// that is in all lists. Each list in turn seeks the candidate. If it lacks the
// candidate, its next index is the new one.
func intersect(lists []store.Postings, ascending bool, lo, hi uint64) (uint64, bool, error) {
	candidate := hi - 1
	if ascending {
		candidate = lo
	}
	for agreed, i := 0, 0; agreed < len(lists); i = (i + 1) % len(lists) {
		seek := lists[i].SeekLE
		if ascending {
			seek = lists[i].SeekGE
		}
		at, ok, err := seek(candidate)
		if err != nil || !ok || at < lo || at >= hi {
			return 0, false, err
		}
		if at != candidate {
			agreed = 0
		}
		candidate = at
		agreed++
	}
	return candidate, true, nil
}

// bounds returns the range of indexes within the filter's times. It bisects,
// because times never decrease with the index.
func (l *Ledger) bounds(ctx context.Context, p *Published, s *Stream, f Filter) (lo, hi uint64, err error) {
	lo, hi = 0, p.Size
	first := func(t time.Time) uint64 { // index of the first entry not before t
		return uint64(sort.Search(int(p.Size), func(i int) bool {
			if err != nil {
				return true
			}
			at, ok, e := l.timeFrom(ctx, p, s, uint64(i))
			if e != nil {
				err = fmt.Errorf("entry %d: %w", i, e)
				return true
			}
			return !ok || !time.UnixMilli(int64(at)).Before(t)
		}))
	}
	if !f.From.IsZero() {
		lo = first(f.From)
	}
	if !f.To.IsZero() {
		hi = first(f.To)
	}
	return lo, hi, err
}

// A page token contains the position and a hash of the query, which detects
// tokens of other queries. It grants no access: a forged token shows only what
// a query of the same caller would.
const tokenSize = 8 + 12

func queryHash(q Query, s *Stream) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%x %d %d %t %d", s.ID, q.Filter.From.UnixNano(), q.Filter.To.UnixNano(), q.OldestFirst, q.Below)
	for _, c := range q.Filter.criteria() {
		fmt.Fprintf(h, " %d %q", c.field, c.value)
	}
	return h.Sum(nil)[:tokenSize-8]
}

func formatToken(q Query, s *Stream, index uint64) string {
	return base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, index), queryHash(q, s)...))
}

func parseToken(q Query, s *Stream) (uint64, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(q.Token)
	if err != nil || len(b) != tokenSize || strings.ContainsAny(q.Token, "\r\n") || string(b[8:]) != string(queryHash(q, s)) {
		// the decoder skips line breaks
		return 0, WrongField(FieldPageToken, "%w; repeat the query without it", ErrPageToken)
	}
	return binary.BigEndian.Uint64(b), nil
}

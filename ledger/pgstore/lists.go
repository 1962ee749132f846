package pgstore

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/store"
)

// A postingList is some successive entries of a term. The lists of a term
// follow each other, also those of different commits.
type postingList struct {
	first   int64
	offsets []int32 // of the entries from first
}

// maxList is the number of entries in a list.
const maxList = 1000

// queueLists writes the postings of a commit.
func (s *Store) queueLists(b *pgx.Batch, postings []store.PostingAt) {
	if len(postings) == 0 {
		return
	}
	sorted := slices.SortedFunc(slices.Values(postings), func(a, b store.PostingAt) int { return comparePostings(&a, &b) })
	var terms [][]byte
	var firsts []int64
	var from, to []int32 // places of a list's offsets, from 1
	offsets := make([]int32, len(sorted))
	for i := range sorted {
		p := &sorted[i]
		last := len(terms) - 1
		if last < 0 || sorted[i-1].Term != p.Term || i-int(from[last]) == maxList-1 || p.Index-uint64(firsts[last]) > math.MaxInt32 {
			terms, firsts, from, to = append(terms, p.Term[:]), append(firsts, int64(p.Index)), append(from, int32(i)+1), append(to, 0)
			last++
		}
		offsets[i], to[last] = int32(int64(p.Index)-firsts[last]), int32(i)+1
	}
	b.Queue(s.sql(`INSERT INTO $posting_lists (term, first, offsets) SELECT l.term, l.first, ($5::integer[])[l.low:l.high]
		FROM unnest($1::bytea[], $2::bigint[], $3::integer[], $4::integer[]) AS l (term, first, low, high)`), terms, firsts, from, to, offsets)
}

// indexes returns the entries of a list.
func (l *postingList) indexes() ([]uint64, error) {
	out := make([]uint64, len(l.offsets))
	for i, o := range l.offsets {
		if o < 0 || i > 0 && o <= l.offsets[i-1] || l.first < 0 {
			return nil, fmt.Errorf("a list of postings is out of order: %w", store.ErrDamaged)
		}
		out[i] = uint64(l.first) + uint64(o)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("a list of postings is empty: %w", store.ErrDamaged)
	}
	return out, nil
}

// packPostings turns the rows of postings into lists, after all were written.
// No list is there yet.
func (s *Store) packPostings(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, s.sql(`INSERT INTO $posting_lists (term, first, offsets)
		SELECT term, index / $1::bigint * $1, array_agg((index % $1)::integer ORDER BY index) FROM $postings GROUP BY 1, 2`), maxList)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, s.sql(`DELETE FROM $postings`))
	return err
}

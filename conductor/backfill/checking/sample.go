package checking

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// maxReported is the number of keys in a report, which is part of an entry.
const maxReported = 20

// maxRow is the greatest size of a sampled row, as a text in bytes.
const maxRow = 4 << 20

// checkSample compares the rows with the given keys. It reads a row as text,
// and computes the transformations of this text by another query. So it does
// not depend on how a single statement evaluates the expressions.
func (s *Source) checkSample(ctx context.Context, db DB, keys [][]string, report *Report) error {
	skipped, differ := 0, 0
	for _, key := range keys {
		agrees, found, err := s.sampleRow(ctx, db, key)
		switch {
		case isData(err):
			agrees, found = false, true
		case isTooLarge(err):
			found = false
		case err != nil:
			return err
		}
		if !found {
			skipped++
			continue
		}
		report.Sampled++
		if !agrees {
			if differ++; differ <= maxReported {
				report.Listed = append(report.Listed, Difference{Key: key})
			}
		}
	}
	detail := fmt.Sprintf("%d rows compared", report.Sampled)
	if skipped > 0 {
		detail += fmt.Sprintf(", %d were deleted, are not copied yet or are too large", skipped)
	}
	if differ > 0 {
		detail += fmt.Sprintf("; %d do not agree", differ)
	}
	report.add(Sample, true, passIf(report.Listed == nil), detail)
	return nil
}

// sampleRow reports whether a row agrees, and whether it exists.
func (s *Source) sampleRow(ctx context.Context, db DB, key []string) (agrees, found bool, err error) {
	err = s.transaction(ctx, db, pgx.ReadOnly, func(tx pgx.Tx) error {
		var row, primary, secondary *string
		err := tx.QueryRow(ctx, fmt.Sprintf(`SELECT %s::text, %s::text, %s::text FROM %s
			WHERE %s AND NOT %s AND octet_length(%s::text) <= %d`,
			Row, s.primary(), s.secondary(), s.from(), s.order.At(Row, "$1"), s.marked(), Row, maxRow), key).
			Scan(&row, &primary, &secondary)
		if err == pgx.ErrNoRows {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		if agrees, err = s.computes(ctx, tx, s.Forward, row, secondary); err != nil || agrees {
			return err
		}
		agrees, err = s.computes(ctx, tx, s.Backward, row, primary)
		return err
	})
	return agrees, found, err
}

// computes reports whether an expression over a row, given as text, has the
// given text as its value.
func (s *Source) computes(ctx context.Context, tx pgx.Tx, expression string, row, want *string) (bool, error) {
	var have *string
	sql := fmt.Sprintf("SELECT (%s)::text FROM (SELECT ($1::text::%s).*) AS %s", expression, s.Table, Row)
	if err := tx.QueryRow(ctx, sql, row).Scan(&have); err != nil {
		return false, err
	}
	if have == nil || want == nil {
		return have == nil && want == nil, nil
	}
	return *have == *want, nil
}

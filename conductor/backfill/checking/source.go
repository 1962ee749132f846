// Package checking compares the two columns of a backfill: at checkpoints by
// checksums and samples, and in a validation row by row. It follows sections 6
// and 8 of docs/spec/backfill.md.
package checking

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/rowkey"
)

// Row is the alias of the table in the SQL of a Source.
const Row = "muniment_row"

// A DB begins transactions. *pgx.Conn and *pgxpool.Pool are DBs.
type DB interface {
	Begin(ctx context.Context) (pgx.Tx, error)
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// A Source describes the table and the columns that are compared. All names
// and expressions in it are SQL, so names are quoted.
type Source struct {
	Table              string // with its schema
	Key                []Key  // at least one
	Primary, Secondary string // names of the columns
	Mark               string // name of the mark column; empty for none

	// Forward computes the secondary value from the primary one, and Backward
	// the reverse. Both are expressions over the alias Row.
	Forward, Backward string

	// SearchPath is the search_path of the expressions.
	SearchPath string

	order rowkey.Key // the key as it is in the database
}

// resolved returns the source with its key as it is in the database. The order
// of some types needs operators that are not in the search path.
func (s *Source) resolved(ctx context.Context, db DB) (*Source, error) {
	var table *uint32
	err := s.transaction(ctx, db, pgx.ReadOnly, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "SELECT to_regclass($1)::oid", s.Table).Scan(&table)
	})
	if err != nil {
		return nil, err
	}
	if table == nil {
		return nil, errors.New("the table does not exist")
	}
	found := *s
	if found.order, err = rowkey.Find(ctx, db, *table); err != nil {
		return nil, err
	}
	same := len(found.order.Columns) == len(s.Key)
	for i := 0; same && i < len(s.Key); i++ {
		same = pgx.Identifier{found.order.Columns[i].Name}.Sanitize() == s.Key[i].Column
	}
	if !same {
		return nil, fmt.Errorf("the key of the table has changed: it is now that of the index %q", found.order.Index)
	}
	return &found, nil
}

// A Key is a column of the key that rowkey.Find returns. Its name is quoted.
type Key struct{ Column, Type string }

// A Range is a part of the rows in the order of the key: those with After < key
// ≤ Through. Keys are texts, in the order of Source.Key. Nil is no bound.
type Range struct{ After, Through []string }

// settings fixes the text format of values, and the meaning of expressions.
// With row_security off, a policy that would hide rows is an error.
const settings = `SELECT set_config('search_path', $1, true), set_config('DateStyle', 'ISO', true),
	set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '1', true),
	set_config('TimeZone', 'UTC', true), set_config('bytea_output', 'hex', true), set_config('row_security', 'off', true)`

// transaction calls f in a transaction with the settings, and commits it.
func (s *Source) transaction(ctx context.Context, db DB, mode pgx.TxAccessMode, f func(pgx.Tx) error) error {
	tx, err := db.BeginTx(ctx, pgx.TxOptions{AccessMode: mode})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // an error leaves a closed connection
	if _, err := tx.Exec(ctx, settings, s.SearchPath); err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// where returns the condition of a range, and its arguments.
func (s *Source) where(r Range) (condition string, args []any) {
	conditions := []string{"true"}
	for _, bound := range []struct {
		key       []string
		condition func(row, position string) string
	}{{r.After, s.order.After}, {r.Through, s.order.UpTo}} {
		if bound.key != nil {
			args = append(args, bound.key)
			conditions = append(conditions, bound.condition(Row, fmt.Sprintf("$%d", len(args))))
		}
	}
	return strings.Join(conditions, " AND "), args
}

// columns returns the key columns, separated by commas.
func (s *Source) columns() string { return s.order.Order(Row) }

// position returns the key of a row as an array of texts.
func (s *Source) position() string { return s.order.Position(Row) }

func (s *Source) from() string { return s.Table + " AS " + Row }

func (s *Source) primary() string   { return Row + "." + s.Primary }
func (s *Source) secondary() string { return Row + "." + s.Secondary }

// differ returns SQL that compares the binary images of two values (section 1).
func differ(a, b string) string {
	return fmt.Sprintf("pg_catalog.record_image_ne(ROW(%s), ROW(%s))", a, b)
}

// marked returns SQL that is true for rows that are not copied yet.
func (s *Source) marked() string {
	if s.Mark == "" {
		return "false"
	}
	return fmt.Sprintf("(%s.%s IS TRUE)", Row, s.Mark)
}

// disagree returns SQL that is true if the columns of a row do not agree
// (section 1). Backward is evaluated only if Forward differs.
func (s *Source) disagree() string {
	return fmt.Sprintf("(CASE WHEN %s THEN %s ELSE false END)",
		differ(s.secondary(), s.Forward), differ(s.primary(), s.Backward))
}

// bound returns the key of the n-th row of a range, or nil if it has fewer.
func (s *Source) bound(ctx context.Context, tx pgx.Tx, r Range, n int) (key []string, err error) {
	condition, args := s.where(r)
	args = append(args, n-1)
	err = tx.QueryRow(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s OFFSET $%d LIMIT 1",
		s.position(), s.from(), condition, s.columns(), len(args)), args...).Scan(&key)
	if err == pgx.ErrNoRows {
		return nil, nil
	}
	return key, err
}

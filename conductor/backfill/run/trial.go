package run

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/conductor/backfill/rowkey"
)

// A Trial is the result of both expressions for a sample of rows.
type Trial struct {
	Rows    int64 `json:"rows"`
	Unequal int64 `json:"unequal"` // down(up(v)) is not v
	Nulls   int64 `json:"nulls"`   // up(v) is NULL, and v is not

	// NullUnequal: down(up(NULL)) is not NULL. It is false for a column that is
	// NOT NULL. The sample can lack NULLs, so it is tried in any case.
	NullUnequal bool    `json:"nullUnequal,omitzero"`
	NullShare   float64 `json:"nullShare,omitzero"` // of the rows, by the statistics

	Error      string `json:"error,omitempty"`
	ErrorState string `json:"errorState,omitempty"`
}

// smallTable is the number of rows up to which a sample reads the whole table:
// pages of a small one are too few to be drawn.
const smallTable = 1_000_000

// try evaluates both expressions for a random sample of rows.
func try(ctx context.Context, conn *pgx.Conn, p dualwrite.Pair, table *catalog.Table, sample int) (t Trial, err error) {
	before := p.Before()
	sql := func(method string) string {
		return fmt.Sprintf(`SELECT count(*), count(*) FILTER (WHERE record_image_ne(ROW(y.%[1]s), ROW(%[4]s))), count(*) FILTER (WHERE y.%[2]s IS NULL AND y.%[1]s IS NOT NULL)
		FROM (SELECT x.*, %[3]s AS %[2]s FROM %[5]s AS x TABLESAMPLE %[6]s (least(100, 110.0 * $1 / greatest($2::float8, 1))) LIMIT $1) AS y`,
			before.Primary, before.Secondary, before.Forward("x"), before.Backward("y"), p.Relation(), method)
	}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var rows float64
		if _, err := tx.Exec(ctx, rowkey.Settings); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = $1::text::regclass", p.Relation()).Scan(&rows); err != nil {
			return err
		}
		method := "SYSTEM"
		if rows <= smallTable {
			method = "BERNOULLI"
		}
		if err := tx.QueryRow(ctx, sql(method), max(sample, 1), rows).Scan(&t.Rows, &t.Unequal, &t.Nulls); err != nil || table.Column.NotNull {
			return err
		}
		return t.tryNull(ctx, tx, p)
	})
	return t, err
}

// tryNull evaluates both expressions for NULL. If one of them fails, NULL does
// not survive.
func (t *Trial) tryNull(ctx context.Context, tx pgx.Tx, p dualwrite.Pair) error {
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(null_frac), 0) FROM pg_stats WHERE schemaname = $1 AND tablename = $2 AND attname = $3",
		p.Schema, p.Table, p.Column).Scan(&t.NullShare); err != nil {
		return err
	}
	before := p.Before()
	columns := []string{fmt.Sprintf("NULL::%s AS %s", before.PrimaryType, before.Primary)}
	for _, name := range p.Expressions.Inputs {
		columns = append(columns, pgx.Identifier{name}.Sanitize())
	}
	try, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = try.Rollback(ctx) }() // to the savepoint
	err = try.QueryRow(ctx, fmt.Sprintf(`SELECT record_image_ne(ROW(y.%[1]s), ROW(%[2]s))
		FROM (SELECT x.*, %[3]s AS %[4]s FROM (SELECT %[5]s FROM %[6]s LIMIT 1) AS x) AS y`,
		before.Primary, before.Backward("y"), before.Forward("x"), before.Secondary, strings.Join(columns, ", "), p.Relation())).Scan(&t.NullUnequal)
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case errors.As(err, &pg):
		t.NullUnequal = true
		return nil
	}
	return err
}

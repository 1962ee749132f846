package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/internal/safetext"
)

const (
	// maxValue is the greatest size of a value. PostgreSQL limits a row to 1
	// GiB, which contains both values while it is written. Checksums add the
	// key, and a text can have twice the size of the value.
	maxValue = 256 << 20

	// leastTOAST is the size of a TOAST table below which it cannot contain a
	// larger value, however well it was compressed.
	leastTOAST = 512 << 10

	// sizeTime bounds the search for large values.
	sizeTime = 10 * time.Second
)

// largeValues returns a finding if the column contains a value that is too
// large, or if this is unknown. It reads the table, but not the values.
func largeValues(ctx context.Context, conn *pgx.Conn, p dualwrite.Pair, table *catalog.Table) ([]catalog.Finding, error) {
	if table.Identity.ToastBytes < leastTOAST {
		return nil, nil
	}
	size := "pg_column_size" // as it is stored
	switch table.Column.TypeOID {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.ByteaOID:
		size = "octet_length"
	}
	var found bool
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", sizeTime.Milliseconds())); err != nil {
			return err
		}
		return tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE %s(%s) > $1)", p.Relation(), size, pgx.Identifier{p.Column}.Sanitize()), maxValue).Scan(&found)
	})
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "57014": // query_canceled
		return []catalog.Finding{{Level: catalog.Info, Code: "value-sizes", Object: p.Column,
			Text: fmt.Sprintf("the table was not searched for values above %s within %s: they fail the checkpoints", safetext.Size(maxValue), sizeTime)}}, nil
	case err != nil:
		return nil, fmt.Errorf("search %s for large values: %w", p.Relation(), err)
	case !found:
		return nil, nil
	}
	return []catalog.Finding{{Level: catalog.Blocks, Code: "large-values", Object: p.Column,
		Text:   fmt.Sprintf("it contains values above %s, which PostgreSQL cannot write and compare together with new ones", safetext.Size(maxValue)),
		Remedy: "move these values to another table, or out of the database"}}, nil
}

// Package rowkey reads the rows of a table in the order of their key, and keeps
// positions in this order as texts. It follows section 4 of
// [docs/spec/backfill.md].
//
// [docs/spec/backfill.md]: https://muniment.dev/spec/backfill
package rowkey

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Key consists of columns that identify a row and have a btree index.
//
// It can be kept as JSON.
type Key struct {
	Index   string   `json:"index"` // its name
	Columns []Column `json:"columns"`
}

// A Column is a column of a key.
type Column struct {
	Name      string `json:"name"`
	Type      string `json:"type"`                // with its schema
	Collation string `json:"collation,omitempty"` // a COLLATE clause

	// Operators is the quoted schema of the operators that compare the type.
	Operators string `json:"operators"`
}

// ErrNoKey is the error of a table without a key.
var ErrNoKey = errors.New("no primary key, and no unique index over NOT NULL columns without expressions or a predicate, in their default order: create one with CREATE UNIQUE INDEX CONCURRENTLY")

// A Beginner begins transactions: a connection, a pool or a transaction.
type Beginner interface {
	Begin(context.Context) (pgx.Tx, error)
}

// usable lists the indexes that define a key. Their order must be that of ORDER
// BY without further clauses, in either direction.
const usable = `
	SELECT i.indexrelid::bigint, c.relname FROM pg_catalog.pg_index i
	JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
	JOIN pg_catalog.pg_am am ON am.oid = c.relam AND am.amname = 'btree'
	WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
	AND NOT EXISTS (
		SELECT FROM generate_series(0, i.indnkeyatts - 1) AS n
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n]
		JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[n]
		WHERE NOT a.attnotnull OR NOT o.opcdefault OR i.indcollation[n] <> a.attcollation
		OR i.indoption[n] & 1 <> i.indoption[0] & 1)
	ORDER BY i.indisprimary DESC, i.indnkeyatts, c.relname LIMIT 1`

// columns lists the columns of an index.
const columns = `
	SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
	coalesce((SELECT pg_catalog.format('COLLATE %I.%I', s.nspname, l.collname) FROM pg_catalog.pg_collation l
		JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace WHERE l.oid = a.attcollation), ''),
	(SELECT pg_catalog.quote_ident(s.nspname) FROM pg_catalog.pg_amop m
		JOIN pg_catalog.pg_operator p ON p.oid = m.amopopr JOIN pg_catalog.pg_namespace s ON s.oid = p.oprnamespace
		WHERE m.amopfamily = o.opcfamily AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype AND m.amopstrategy = 5)
	FROM pg_catalog.pg_index i, generate_series(0, i.indnkeyatts - 1) AS n
	JOIN pg_catalog.pg_attribute a ON true JOIN pg_catalog.pg_opclass o ON true
	WHERE i.indexrelid = $1::bigint::oid AND a.attrelid = i.indrelid AND a.attnum = i.indkey[n] AND o.oid = i.indclass[n]
	ORDER BY n`

// Find returns the key of a table: its primary key, or else its narrowest
// unique index. It returns ErrNoKey if there is none.
func Find(ctx context.Context, db Beginner, table uint32) (Key, error) {
	var k Key
	tx, err := db.Begin(ctx)
	if err != nil {
		return k, fmt.Errorf("find the key of the table: %w", err)
	}
	// An error of the rollback means that the connection has ended.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := k.find(ctx, tx, table); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			err = ErrNoKey
		}
		return Key{}, fmt.Errorf("find the key of the table: %w", err)
	}
	return k, nil
}

func (k *Key) find(ctx context.Context, tx pgx.Tx, table uint32) error {
	if _, err := tx.Exec(ctx, Settings); err != nil { // so that types have their schemas
		return err
	}
	var index int64
	if err := tx.QueryRow(ctx, usable, int64(table)).Scan(&index, &k.Index); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, columns, index)
	if err != nil {
		return err
	}
	k.Columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Column, err error) {
		err = row.Scan(&c.Name, &c.Type, &c.Collation, &c.Operators)
		return c, err
	})
	return err
}

// Settings is a statement that fixes the settings which keys as text
// depend on, until the transaction ends. It also fixes the search path, so that
// types have their schemas and operators their meaning. Row-level security that
// would hide rows is an error.
//
// PostgreSQL estimates the rows between two keys of several columns from the
// first column alone, and might read the whole table for each range.
const Settings = `SELECT set_config('search_path', 'pg_catalog, pg_temp', true), set_config('DateStyle', 'ISO', true),
	set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '1', true),
	set_config('bytea_output', 'hex', true), set_config('TimeZone', 'UTC', true), set_config('row_security', 'off', true),
	set_config('enable_seqscan', 'off', true)`

func (k Key) field(row string, i int) string {
	return row + "." + pgx.Identifier{k.Columns[i].Name}.Sanitize()
}

func (k Key) fields(row string) []string {
	var fields []string
	for i := range k.Columns {
		fields = append(fields, k.field(row, i))
	}
	return fields
}

// value returns SQL for a column's value in a position.
func (k Key) value(position string, i int) string {
	c := k.Columns[i]
	return strings.TrimRight(fmt.Sprintf("((%s)::text[])[%d]::%s %s", position, i+1, c.Type, c.Collation), " ")
}

// Position returns SQL for the position of a row, an array of texts. The row is
// an alias of the table.
func (k Key) Position(row string) string {
	return "ARRAY[" + strings.Join(k.fields(row), "::text, ") + "::text]"
}

// Order returns SQL for ORDER BY.
func (k Key) Order(row string) string { return strings.Join(k.fields(row), ", ") }

// Skip returns a query for the position of a row: that which follows a number
// of the rows of a table for which a condition holds. The row is the alias of
// the table. Only the last row becomes texts.
func (k Key) Skip(table, row, condition, number string) string {
	return fmt.Sprintf("SELECT %s FROM (SELECT %s FROM %s AS %s WHERE %s ORDER BY %s OFFSET %s LIMIT 1) AS %[4]s",
		k.Position(row), k.Order(row), table, row, condition, k.Order(row), number)
}

// After returns SQL that is true for the rows after a position, which is SQL
// for an array of texts, such as a parameter.
func (k Key) After(row, position string) string { return k.compare(row, position, ">", ">") }

// UpTo returns SQL that is true for the row at a position and those before it.
func (k Key) UpTo(row, position string) string { return k.compare(row, position, "<", "<=") }

// At returns SQL that is true for the row at a position.
func (k Key) At(row, position string) string {
	var terms []string
	for i := range k.Columns {
		terms = append(terms, k.term(row, position, i, "="))
	}
	return "(" + strings.Join(terms, " AND ") + ")"
}

// term compares one column.
func (k Key) term(row, position string, i int, operator string) string {
	return fmt.Sprintf("%s OPERATOR(%s.%s) %s", k.field(row, i), k.Columns[i].Operators, operator, k.value(position, i))
}

// compare compares rows in lexicographic order. A comparison of rows uses an
// index best, but requires that all operators have the same schema.
func (k Key) compare(row, position, strict, last string) string {
	var values []string
	same := true
	for i, c := range k.Columns {
		values = append(values, k.value(position, i))
		same = same && c.Operators == k.Columns[0].Operators
	}
	if same {
		return fmt.Sprintf("ROW(%s) OPERATOR(%s.%s) ROW(%s)", strings.Join(k.fields(row), ", "), k.Columns[0].Operators, last, strings.Join(values, ", "))
	}
	end := len(k.Columns) - 1
	sql := k.term(row, position, end, last)
	for i := end - 1; i >= 0; i-- {
		sql = fmt.Sprintf("(%s OR %s AND %s)", k.term(row, position, i, strict), k.term(row, position, i, "="), sql)
	}
	// The redundant bound makes the index usable.
	return fmt.Sprintf("(%s AND %s)", k.term(row, position, 0, strict+"="), sql)
}

package pgstore

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/jackc/pgx/v5"
)

var (
	//go:embed schema/1.sql
	schema1 string
	//go:embed schema/2.sql
	schema2 string
	//go:embed schema/3.sql
	schema3 string
	//go:embed schema/4.sql
	schema4 string
	//go:embed schema/5.sql
	schema5 string
)

// schemas are the steps to the present schema, and the first one makes version
// 1. Those after it only add: servers of an older version go on beside newer
// ones until they are restarted. Version 4 is the exception, which refuses the
// commits of servers that cannot read what it adds.
var schemas = []string{schema1, schema2, schema3, schema4, schema5}

// migrate brings the schema to the version of this program. Only one of several
// servers does it.
func (s *Store) migrate(ctx context.Context) error {
	if s.version == len(schemas) {
		return nil
	}
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var from int
		if err := tx.QueryRow(ctx, s.sql(`SELECT version FROM $log FOR UPDATE`)).Scan(&from); err != nil {
			return err
		}
		if err := s.extend(ctx, tx, from); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.sql(`UPDATE $log SET version = $1`), len(schemas))
		return err
	})
}

// extend carries out the steps after a version of the schema. Version 0 has no
// tables.
func (s *Store) extend(ctx context.Context, tx pgx.Tx, from int) error {
	if _, err := tx.Exec(ctx, "SET LOCAL search_path TO "+s.schema); err != nil {
		return err
	}
	for version := from + 1; version <= len(schemas); version++ {
		if _, err := tx.Conn().PgConn().Exec(ctx, schemas[version-1]).ReadAll(); err != nil {
			return fmt.Errorf("bring the schema %s to version %d: %w", s.schema, version, err)
		}
	}
	return nil
}

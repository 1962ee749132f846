package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"muniment.dev/muniment/ledger/store"
)

var _ store.Mover = Engine{}

// stageSuffix is added to the schema of a log for a copy that is being made. No
// log has a schema with a hyphen, so that a copy is in nothing's place.
const stageSuffix = "-copy"

// A log that was moved to another store has the constraint commits_moved, which
// refuses commits of servers that still run, and a table:
const movedTable = `CREATE TABLE $moved (
	one  boolean PRIMARY KEY DEFAULT true CHECK (one),
	size bigint NOT NULL,  -- of the log
	name text NOT NULL     -- of the other store
)`

// checkMoved returns store.ErrMoved if the log was moved to another store.
func (s *Store) checkMoved(ctx context.Context) error {
	var table *string
	if err := s.pool.QueryRow(ctx, `SELECT to_regclass($1)::text`, s.schema+".moved").Scan(&table); err != nil || table == nil {
		return err
	}
	var name string
	if err := s.pool.QueryRow(ctx, s.sql(`SELECT name FROM $moved`)).Scan(&name); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", store.ErrMoved, name)
}

// stage returns the location of the copy of a log, and its quoted schema.
func (l *location) stage(text string) (location, schema string, err error) {
	name := strings.Trim(l.schema, `"`)
	if strings.HasSuffix(name, stageSuffix) {
		return "", "", fmt.Errorf("%s: this is the place of a copy that is being made", l.name)
	}
	if name += stageSuffix; len(name) > 63 { // of which PostgreSQL would cut the rest
		return "", "", fmt.Errorf("%s: the name of the schema must be %d characters shorter, so that a copy can be made beside it", l.name, len(stageSuffix))
	}
	u, err := url.Parse("postgres:" + text)
	if err != nil {
		return "", "", err // parseLocation has parsed it
	}
	q := u.Query()
	q.Del("mark")
	q.Set("server", "copy")
	q.Set("copy", "true")
	u.RawQuery = q.Encode()
	return strings.TrimPrefix(u.String(), "postgres:"), pgx.Identifier{name}.Sanitize(), nil
}

// place opens what is at a location for a Mover.
func place(ctx context.Context, text string) (s *Store, there bool, err error) {
	if s, there, err = open(ctx, text, store.Options{}, false); err != nil {
		return nil, false, err
	}
	if err := checkDurable(ctx, s.pool, s.location); err != nil {
		return nil, false, fmt.Errorf("%s: %w", s.name, errors.Join(err, s.Close()))
	}
	return s, there, nil
}

// Stage implements store.Mover.
func (Engine) Stage(ctx context.Context, text string) (string, error) {
	s, there, err := place(ctx, text)
	if err != nil {
		return "", err
	}
	defer s.Close()
	stage, _, err := s.stage(text)
	if err == nil && there {
		err = fmt.Errorf("%s: %w in the schema %s", s.name, store.ErrExists, s.schema)
		if s.checkMoved(ctx) != nil {
			err = fmt.Errorf("%w, from which a log was moved: delete the schema first", err)
		}
	}
	return stage, err
}

// deleteStaged deletes the objects of a copy.
func (s *Store) deleteStaged(ctx context.Context, text string) error {
	stage, _, err := s.stage(text)
	if err != nil {
		return err
	}
	c, there, err := open(ctx, stage, store.Options{}, false)
	if err != nil {
		return err
	}
	defer c.Close()
	if !there || c.bucket == nil {
		return nil
	}
	var id []byte
	var pieces int32
	rows, err := c.pool.Query(ctx, c.sql(`SELECT id, pieces FROM $objects`))
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, []any{&id, &pieces}, func() error { return c.bucket.Delete(ctx, pieceNames(id, pieces)...) })
	return err
}

// Discard implements store.Mover.
func (Engine) Discard(ctx context.Context, text string) error {
	return transaction(ctx, text, "delete the copy", func(s *Store, there bool, tx pgx.Tx) error {
		_, stage, err := s.stage(text)
		if err == nil {
			err = s.deleteStaged(ctx, text)
		}
		if err == nil {
			_, err = tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+stage+" CASCADE")
		}
		return err
	})
}

// Install implements store.Mover. It renames the schema of the copy. An empty
// schema of the name may be there.
func (Engine) Install(ctx context.Context, text string) error {
	return transaction(ctx, text, "put the copy in place", func(s *Store, there bool, tx pgx.Tx) error {
		if there {
			return store.ErrExists
		}
		_, stage, err := s.stage(text)
		if err == nil {
			_, err = tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+s.schema)
		}
		if err == nil {
			_, err = tx.Exec(ctx, fmt.Sprintf("ALTER SCHEMA %s RENAME TO %s", stage, s.schema))
		}
		return err
	})
}

// Retire implements store.Mover. Commits that were sent before are decided
// before the constraint is there.
func (Engine) Retire(ctx context.Context, text string, size uint64, name string) error {
	return transaction(ctx, text, "end the log that was copied", func(s *Store, there bool, tx pgx.Tx) error {
		if !there {
			return store.ErrNotFound
		}
		if err := s.checkMoved(ctx); err != nil {
			return s.checkRetired(ctx, tx, size, name, err)
		}
		_, err := tx.Exec(ctx, s.sql(fmt.Sprintf("ALTER TABLE $commits ADD CONSTRAINT commits_moved CHECK (first < %d)", size)))
		if err != nil && !constraint(err, "commits_moved") {
			return err
		}
		if err != nil {
			return errGrown
		}
		var last int64
		if err := tx.QueryRow(ctx, s.sql(`SELECT coalesce(max(size), 0) FROM $commits`)).Scan(&last); err != nil {
			return err
		}
		if uint64(last) != size {
			return errGrown
		}
		if _, err := tx.Exec(ctx, s.sql(movedTable)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, s.sql(`INSERT INTO $moved (size, name) VALUES ($1, $2)`), last, name)
		return err
	})
}

var errGrown = errors.New("the log has grown since it was copied: stop all its servers, and copy it again")

// checkRetired is Retire for a log that was moved before. It changes nothing.
func (s *Store) checkRetired(ctx context.Context, tx pgx.Tx, size uint64, name string, err error) error {
	if !errors.Is(err, store.ErrMoved) {
		return err
	}
	var was string
	var last int64
	if err := tx.QueryRow(ctx, s.sql(`SELECT name, size FROM $moved`)).Scan(&was, &last); err != nil {
		return err
	}
	switch {
	case was != name:
		return fmt.Errorf("%w: %s", store.ErrMoved, was)
	case uint64(last) != size:
		return errGrown
	}
	return nil
}

// Revive implements store.Mover.
func (Engine) Revive(ctx context.Context, text string) error {
	return transaction(ctx, text, "continue the log", func(s *Store, there bool, tx pgx.Tx) error {
		if !there {
			return store.ErrNotFound
		}
		_, err := tx.Exec(ctx, s.sql("ALTER TABLE $commits DROP CONSTRAINT IF EXISTS commits_moved"))
		if err == nil {
			_, err = tx.Exec(ctx, s.sql("DROP TABLE IF EXISTS $moved"))
		}
		return err
	})
}

// Name implements store.Mover.
func (Engine) Name(text string) string {
	l, err := parseLocation(text)
	if err != nil {
		return "postgres:"
	}
	if l.schema == `"muniment"` {
		return l.name
	}
	return l.name + ", schema " + strings.Trim(l.schema, `"`)
}

// transaction changes what is at a location in one transaction.
func transaction(ctx context.Context, text, what string, do func(s *Store, there bool, tx pgx.Tx) error) error {
	s, there, err := place(ctx, text)
	if err != nil {
		return err
	}
	defer s.Close()
	err = s.transact(ctx, func(conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return do(s, there, tx) })
	})
	if err != nil {
		return fmt.Errorf("%s in %s: %w", what, s.name, err)
	}
	return nil
}

package copying

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/rowkey"
	"muniment.dev/muniment/conductor/backfill/state"
)

// chunk copies the rows of one chunk in one transaction. It takes four round
// trips: everything up to the bound, the update, the position, and the commit.
func (c *copier) chunk(ctx context.Context) (Progress, error) {
	var p Progress
	began := c.now()
	next := span{after: c.last}
	err := c.hold.WithinBatch(ctx, c.conn, func(batch *pgx.Batch) {
		batch.Queue(rowkey.Settings)
		batch.Queue(settings, c.settings()...)
		state.QueuePosition(batch, c.hold.Job, func(loaded state.Position, err error) error {
			p.Position, err = c.resume(loaded, err)
			return err
		})
		if c.size > 0 {
			sql, args := c.bound(next.after)
			batch.Queue(sql, args...).QueryRow(next.end)
		}
	}, func(tx *state.Tx) (err error) {
		if p.Position.Finished {
			return nil
		}
		if next, err = c.find(ctx, tx, next, p.Position.Key); err != nil {
			return err
		}
		if p.Written, err = c.write(ctx, tx, next); err != nil {
			return err
		}
		p.Visited = next.rows
		p.Position.Visited += p.Visited
		p.Position.Written += p.Written
		p.Position.Chunk = c.size
		if p.Position.Finished = next.upTo == nil; !p.Position.Finished {
			p.Position.Key = next.upTo
		}
		return tx.SavePosition(ctx, p.Position)
	})
	if err == nil {
		c.last = p.Position.Key
	}
	p.Took = c.now().Sub(began)
	return p, err
}

// prepare fixes the settings of a transaction.
func (c *copier) prepare(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, rowkey.Settings); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, settings, c.settings()...)
	return err
}

// settings is a statement that fixes the settings of a transaction that do not
// concern keys.
const settings = `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true), set_config('jit', 'off', true),
	CASE WHEN current_setting('session_replication_role') <> $2 THEN set_config('session_replication_role', $2, true) END`

// settings returns the arguments of the statement.
func (c *copier) settings() []any {
	role := "origin"
	if c.Replica || c.replica {
		role = "replica"
	}
	return []any{milliseconds(c.lockTimeout), role}
}

// resume checks a position that was loaded. The copy starts at the first key if
// there is none, or if something else has changed it.
func (c *copier) resume(p state.Position, err error) (state.Position, error) {
	var corrupt *state.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		return p, err
	}
	if p.Pass > 0 && p.Table != c.Table {
		return p, &state.ChangedError{Job: c.hold.Job, What: fmt.Sprintf("the position belongs to the table with the OID %d, and the table has the OID %d", p.Table, c.Table)}
	}
	if p.Pass == 0 {
		p = state.Position{Pass: 1, Table: c.Table}
	}
	if c.size == 0 {
		c.size = min(cmp.Or(p.Chunk, c.First), c.Most)
	}
	return p, nil
}

// A span is the range of rows after a position, up to another one.
type span struct {
	after []string // empty before the first row
	upTo  []string // the key of the last row; nil without a bound
	rows  int64
	found bool // that is, upTo is known
}

// bound returns a query for the key of the last row of the chunk after a
// position, which has no result for the last chunk.
func (c *copier) bound(after []string) (sql string, args []any) {
	where, args := c.after(after, c.size-1)
	return c.Key.Skip(c.Pair.Relation(), "r", where, "$1"), args
}

// after returns the condition of the rows after a position. Its arguments
// follow the given one.
func (c *copier) after(position []string, first any) (where string, args []any) {
	if len(position) == 0 {
		return "true", []any{first}
	}
	return c.Key.After("r", "$2"), []any{first, position}
}

// end reads the bound of a span.
func (s *span) end(row pgx.Row) error {
	err := row.Scan(&s.upTo)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	s.found = err == nil
	return err
}

// find returns the chunk after a position. The guess is used if the bound after
// the same position was already found.
func (c *copier) find(ctx context.Context, tx pgx.Tx, guess span, after []string) (span, error) {
	s := guess
	if !s.found || !slices.Equal(s.after, after) {
		s = span{after: after}
		sql, args := c.bound(after)
		if err := s.end(tx.QueryRow(ctx, sql, args...)); err != nil {
			return s, err
		}
	}
	if s.rows = int64(c.size); s.upTo != nil {
		return s, nil
	}
	where, args := c.after(after, c.size)
	err := tx.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT FROM %s AS r WHERE %s LIMIT $1) AS x", c.Pair.Relation(), where), args...).Scan(&s.rows)
	return s, err
}

// write copies the marked rows of a range. A row that is changed meanwhile is
// no longer marked, and PostgreSQL skips it.
func (c *copier) write(ctx context.Context, tx *state.Tx, s span) (int64, error) {
	mark := pgx.Identifier{c.Pair.Mark}.Sanitize()
	where, args := "r."+mark, []any{}
	if len(s.after) > 0 {
		args = append(args, s.after)
		where += " AND " + c.Key.After("r", fmt.Sprintf("$%d", len(args)))
	}
	if s.upTo != nil {
		args = append(args, s.upTo)
		where += " AND " + c.Key.UpTo("r", fmt.Sprintf("$%d", len(args)))
	}
	side, table := c.Pair.Before(), c.Pair.Relation()
	sql := fmt.Sprintf("UPDATE %s AS r SET %s = %s, %s = NULL WHERE %s", table, side.Secondary, side.ForwardInline(), mark, where)
	if c.skipLocked {
		// The rows that are locked stay marked for the next pass.
		free := fmt.Sprintf("SELECT %s AS position FROM %s AS r WHERE %s FOR NO KEY UPDATE SKIP LOCKED", c.Key.Position("r"), table, where)
		sql = fmt.Sprintf("WITH free AS MATERIALIZED (%s) UPDATE %s AS r SET %s = %s, %s = NULL FROM free WHERE r.%[5]s AND %s",
			free, table, side.Secondary, side.Forward("r"), mark, c.Key.At("r", "free.position"))
	}
	tag, err := tx.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}

package copying

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/conductor/backfill/state"
)

const checkViolation = "23514"

// prove adds the constraint that refuses marked rows, and validates it. If a
// row is marked, it starts another pass and returns false.
func (c *copier) prove(ctx context.Context) (complete bool, err error) {
	if err := c.retry(ctx, func() error { return c.addConstraint(ctx) }); err != nil {
		return false, err
	}
	err = c.retry(ctx, func() error {
		return c.hold.Within(ctx, c.conn, func(tx *state.Tx) error {
			if err := c.prepare(ctx, tx); err != nil {
				return err
			}
			// It has no effect if an earlier attempt has validated it.
			if _, err := tx.Exec(ctx, c.Pair.Validate()); err != nil {
				return err
			}
			return c.hooks.Complete(ctx, tx)
		})
	})
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != checkViolation || pg.ConstraintName != c.Pair.Trigger() {
		return err == nil, err
	}
	return false, c.retry(ctx, func() error { return c.restart(ctx) })
}

// addConstraint adds the constraint unless it exists.
func (c *copier) addConstraint(ctx context.Context) error {
	return c.hold.Within(ctx, c.conn, func(tx *state.Tx) error {
		if err := c.prepare(ctx, tx); err != nil {
			return err
		}
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = $1::bigint::oid AND conname = $2)",
			int64(c.Table), c.Pair.Trigger()).Scan(&exists); err != nil || exists {
			return err
		}
		_, err := tx.Exec(ctx, c.Pair.Prove())
		return err
	})
}

// restart sets the position to the first key.
func (c *copier) restart(ctx context.Context) error {
	return c.hold.Within(ctx, c.conn, func(tx *state.Tx) error {
		var p state.Position
		if err := c.load(ctx, tx, &p); err != nil {
			return err
		}
		if !p.Finished { // an earlier attempt has committed
			return nil
		}
		p.Key, p.Pass, p.Visited, p.Finished = nil, p.Pass+1, 0, false
		return tx.SavePosition(ctx, p)
	})
}

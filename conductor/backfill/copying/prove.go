package copying

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
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
	if err = c.retry(ctx, func() error { return c.validate(ctx) }); err == nil {
		err = c.retry(ctx, func() error { return c.complete(ctx) })
	}
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

// validate validates the constraint, which scans the table. It verifies the
// fence, but does not lock the job's row during the scan, because
// acknowledgements would wait. A runner that was fenced meanwhile does no harm:
// the constraint is validated only if no row is marked. It has no effect if an
// earlier attempt has validated it.
func (c *copier) validate(ctx context.Context) error {
	fence := func() error { return c.hold.Within(ctx, c.conn, func(*state.Tx) error { return nil }) }
	if err := fence(); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		if err := c.prepare(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, c.Pair.Validate())
		return err
	})
	if err != nil && !c.conn.IsClosed() {
		// Another runner can have removed the constraint.
		if fenced := fence(); errors.Is(fenced, state.ErrFenced) {
			return fenced
		}
	}
	return err
}

// complete ends the copy if the constraint is validated.
func (c *copier) complete(ctx context.Context) error {
	return c.hold.Within(ctx, c.conn, func(tx *state.Tx) error {
		var validated bool
		err := tx.QueryRow(ctx, "SELECT convalidated FROM pg_catalog.pg_constraint WHERE conrelid = $1::bigint::oid AND conname = $2",
			int64(c.Table), c.Pair.Trigger()).Scan(&validated)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !validated {
			return &state.ChangedError{Job: c.hold.Job, What: fmt.Sprintf("the constraint %q was removed while the copy ended", c.Pair.Trigger())}
		}
		if err != nil {
			return err
		}
		return c.hooks.Complete(ctx, tx)
	})
}

// restart sets the position to the first key.
func (c *copier) restart(ctx context.Context) error {
	return c.hold.Within(ctx, c.conn, func(tx *state.Tx) error {
		p, err := c.resume(state.LoadPosition(ctx, tx, c.hold.Job))
		if err != nil {
			return err
		}
		if !p.Finished { // an earlier attempt has committed
			return nil
		}
		p.Key, p.Pass, p.Visited, p.Finished, c.last = nil, p.Pass+1, 0, false, nil
		return tx.SavePosition(ctx, p)
	})
}

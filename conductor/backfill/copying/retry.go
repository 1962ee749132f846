package copying

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/conductor/backfill/state"
)

const (
	shortestWait = 50 * time.Millisecond
	longestWait  = 5 * time.Second
)

// retry executes f, which uses one transaction, until it succeeds or fails for
// good. f is repeated also if the outcome of its commit is unknown, so it must
// read the state again.
func (c *copier) retry(ctx context.Context, f func() error) error {
	wait := shortestWait
	for attempt := 1; ; attempt++ {
		err := c.connect(ctx)
		if err == nil {
			err = f()
		}
		if err == nil {
			c.skipLocked = false
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		kind := c.kindOf(err)
		if kind == permanent {
			return err
		}
		if attempt >= c.Attempts {
			return fmt.Errorf("%d attempts failed: %w", attempt, err)
		}
		if kind == contention {
			c.size = (c.size + 1) / 2 // 0 before the first chunk
			c.skipLocked = true
		} else {
			c.disconnect()
		}
		varied := time.Duration(float64(wait) * (0.5 + c.Random()))
		c.hooks.Retry(err, varied)
		if err := sleep(ctx, varied); err != nil {
			return err
		}
		wait = min(2*wait, longestWait)
	}
}

// connect opens a connection unless there is one.
func (c *copier) connect(ctx context.Context) error {
	if c.conn != nil && !c.conn.IsClosed() {
		return nil
	}
	conn, err := c.Connect(ctx)
	if err != nil {
		return &connectError{err}
	}
	c.conn = conn
	// With half of deadlock_timeout, the copy gives way before PostgreSQL looks
	// for deadlocks, and so no statement of the application is chosen to fail.
	var deadlock int64
	if err := conn.QueryRow(ctx, "SELECT (extract(epoch FROM current_setting('deadlock_timeout')::interval) * 1000)::bigint").Scan(&deadlock); err != nil {
		return err
	}
	c.lockTimeout = max(time.Millisecond, min(c.LockTimeout, time.Duration(deadlock)*time.Millisecond/2))
	// For the session, because the statements of a batch are prepared before
	// its transaction begins, which locks their tables.
	if _, err := conn.Exec(ctx, "SELECT set_config('lock_timeout', $1, false)", milliseconds(c.lockTimeout)); err != nil {
		return err
	}
	c.replica, err = mayHide(ctx, conn)
	return err
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// mayHide reports whether the role may hide its updates from triggers.
func mayHide(ctx context.Context, conn *pgx.Conn) (bool, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, "SET LOCAL session_replication_role = replica")
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == insufficientPrivilege {
		return false, tx.Rollback(ctx)
	}
	return err == nil, errors.Join(err, tx.Rollback(ctx))
}

const insufficientPrivilege = "42501"

// disconnect closes the connection, if there is one.
func (c *copier) disconnect() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx) // the connection may already have failed
	c.conn = nil
}

// A connectError is a failure to connect, which is repeated whatever it is.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// A kind decides what follows an error.
type kind int

const (
	permanent  kind = iota
	contention      // repeat with fewer rows
	connection      // connect again
)

// contentionCodes are the errors of concurrent transactions, and of a statement
// that somebody canceled.
var contentionCodes = []string{"40001", "40P01", "55P03", "57014"}

// connectionCodes are the errors of a server that ends, starts, or is no longer
// the primary.
var connectionCodes = []string{"57P01", "57P02", "57P03", "57P05", "53300", "25006", "25P03"}

// kindOf classifies an error of a transaction.
func (c *copier) kindOf(err error) kind {
	var pg *pgconn.PgError
	var connect *connectError
	switch {
	case errors.Is(err, state.ErrFenced):
		return permanent
	case errors.As(err, &connect):
		return connection
	case errors.As(err, &pg) && slices.Contains(contentionCodes, pg.Code):
		return contention
	case pg != nil && (slices.Contains(connectionCodes, pg.Code) || strings.HasPrefix(pg.Code, "08")):
		return connection
	case c.conn != nil && c.conn.IsClosed(): // after any error of the network
		return connection
	}
	return permanent
}

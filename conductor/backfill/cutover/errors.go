package cutover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/internal/safetext"
)

// A BlockedError means that every attempt failed because of other sessions or
// of the connection. Nothing has changed.
type BlockedError struct {
	Table    string
	Attempts int
	Last     Attempt
	cause    error
}

func (e *BlockedError) Error() string {
	text := fmt.Sprintf("change %s: failed after %s: %v", e.Table, safetext.Count(e.Attempts, "attempt"), e.cause)
	if len(e.Last.Blockers) == 0 {
		return text
	}
	var list []string
	for _, b := range e.Last.Blockers {
		list = append(list, b.String())
	}
	return text + "; blocked by " + strings.Join(list, ", and by ") + ": end these sessions, or use --force with a policy that matches them"
}

// Unwrap returns the error of the last attempt.
func (e *BlockedError) Unwrap() error { return e.cause }

// An UncertainError means that the connection was lost during COMMIT. The state
// in the database shows whether the change was made.
type UncertainError struct {
	Table string
	cause error
}

func (e *UncertainError) Error() string {
	return fmt.Sprintf("change %s: the connection was lost during COMMIT, so the change may have been made: %v", e.Table, e.cause)
}

// Unwrap returns the error of the connection.
func (e *UncertainError) Unwrap() error { return e.cause }

// A SchemaError lists how the schema differs from the expected one. Nothing has
// changed.
type SchemaError struct {
	Table       string
	Differences []string
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("the schema of %s was changed by somebody else: %s", e.Table, strings.Join(e.Differences, "; "))
}

// errHeld means that the transaction took too long.
var errHeld = errors.New("the change did not end within its time limit")

// A connectionError is a failure to reach the server.
type connectionError struct{ error }

func (e *connectionError) Unwrap() error { return e.error }

// inContext replaces an error by errHeld if the time limit caused it.
func inContext(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errHeld) {
		return errHeld
	}
	return err
}

// code returns the SQLSTATE of an error, or the empty text.
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// repeatable reports whether an attempt can succeed if it is repeated.
func repeatable(err error) bool {
	var uncertain *UncertainError
	var lost *connectionError
	if errors.As(err, &uncertain) {
		return false
	}
	if errors.Is(err, errHeld) || errors.As(err, &lost) || pgconn.SafeToRetry(err) {
		return true
	}
	c := code(err)
	switch c {
	case "55P03", // lock_not_available
		"40P01", // deadlock_detected
		"40001", // serialization_failure
		"57014": // query_canceled, by statement_timeout
		return true
	}
	// Connection exceptions, and the end of the server or of the session.
	return strings.HasPrefix(c, "08") || strings.HasPrefix(c, "57P") || c == "25P03" || c == "" && isConnection(err)
}

// isConnection reports whether an error is one of the connection.
func isConnection(err error) bool {
	var network interface{ Timeout() bool }
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// rolledBack reports whether an error of COMMIT proves that the transaction was
// rolled back. A session that is terminated during COMMIT reports a FATAL
// error, and can have committed before.
func rolledBack(err error) bool {
	var pg *pgconn.PgError
	return errors.Is(err, pgx.ErrTxCommitRollback) || errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR"
}

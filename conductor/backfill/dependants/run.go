package dependants

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// Patience bounds the waits for locks.
type Patience struct {
	LockTimeout time.Duration // of a statement
	Attempts    int           // of a statement whose lock timed out
}

// firstWait is the wait after the first lock timeout. It doubles with each.
const firstWait = 200 * time.Millisecond

// Run executes the steps that are not done yet, each in a transaction of its
// own, on a connection outside of a transaction. It can be repeated after any
// interruption.
func Run(ctx context.Context, conn *pgx.Conn, steps []Step, patience Patience) error {
	// An index of a large table takes longer than a statement of the role may.
	if _, err := conn.Exec(ctx, "SET search_path = "+catalog.SearchPath+"; SET statement_timeout = 0"); err != nil {
		return err
	}
	defer conn.Exec(context.WithoutCancel(ctx), "RESET search_path; RESET lock_timeout; RESET statement_timeout")
	for _, s := range steps {
		if err := s.run(ctx, conn, patience); err != nil {
			return fmt.Errorf("%s: %w", firstLine(s.SQL), err)
		}
	}
	return nil
}

func firstLine(sql string) string {
	line, _, _ := strings.Cut(sql, "\n")
	return line
}

// run executes a step, with retries. A statement that runs concurrently waits
// for every transaction that uses the table, and blocks none of them, so it
// gets no lock timeout.
func (s Step) run(ctx context.Context, conn *pgx.Conn, patience Patience) error {
	if s.Concurrently {
		patience.LockTimeout = 0
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", patience.LockTimeout.Milliseconds())); err != nil {
		return err
	}
	wait := firstWait
	for attempt := 1; ; attempt++ {
		err := s.once(ctx, conn)
		if !lockTimeout(err) || attempt >= patience.Attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait *= 2
	}
}

func (s Step) once(ctx context.Context, conn *pgx.Conn) error {
	if s.Done != "" {
		var done bool
		if err := conn.QueryRow(ctx, s.Done).Scan(&done); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if done {
			return nil
		}
	}
	if s.Reset != "" {
		if _, err := conn.Exec(ctx, s.Reset); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, s.SQL)
	return err
}

// lockTimeout reports whether an error is that of lock_timeout.
func lockTimeout(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "55P03"
}

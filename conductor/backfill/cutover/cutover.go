// Package cutover changes the schema of a table in use. It performs cutover,
// rollback and finish of a backfill, each as one short transaction under
// lock_timeout. It follows section 8 of docs/spec/backfill.md.
//
// The statements of a change are given by the caller. The package is
// responsible for the locks: the application waits at most LockTimeout while
// the change waits for its lock, and at most Hold while it has the lock.
package cutover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// Connect opens a connection to the database of the table.
type Connect func(ctx context.Context) (*pgx.Conn, error)

// A Change is one transaction. It locks the table in ACCESS EXCLUSIVE mode,
// then calls Fence, checks the schema, executes the statements, and calls
// Record. If one of these fails, nothing has changed.
type Change struct {
	Table  string   // quoted, with its schema
	Also   []string // other relations that the statements lock, in this order
	Expect Expectation

	// Statements are executed in order, with an empty search_path but for
	// pg_catalog.
	Statements []string

	// Permit is called before each attempt, outside of its transaction and
	// without a lock. An error ends the change, and is returned as it is. It
	// may be nil.
	Permit func(ctx context.Context) error

	// Fence verifies that this runner may still change anything, and Record
	// writes the new state and its evidence. Both may be nil. They are called
	// once for each attempt, and must not end the transaction.
	Fence, Record func(ctx context.Context, tx pgx.Tx) error
}

// A Policy determines how long a change waits, and how often it is repeated.
// Zero values mean the defaults.
type Policy struct {
	LockTimeout time.Duration // for the locks; 2s
	Hold        time.Duration // from the last lock to the commit; LockTimeout, at least 2s
	Attempts    int           // 10

	// After the n-th failed attempt, a random time up to Backoff × 2ⁿ⁻¹, but at
	// most MaxBackoff, is waited.
	Backoff    time.Duration // 1s
	MaxBackoff time.Duration // 30s

	Force *Force // nil: no session is ended

	// Progress gets each failed attempt. It may be nil.
	Progress func(Attempt)

	Now    func() time.Time                                 // the clock; time.Now
	Sleep  func(ctx context.Context, d time.Duration) error // a timer
	Random func() float64                                   // in [0,1); math/rand
}

func (p Policy) withDefaults() Policy {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&p.LockTimeout, 2*time.Second)
	set(&p.Hold, max(p.LockTimeout, 2*time.Second))
	set(&p.Backoff, time.Second)
	set(&p.MaxBackoff, 30*time.Second)
	if p.Attempts <= 0 {
		p.Attempts = 10
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Sleep == nil {
		p.Sleep = sleep
	}
	if p.Random == nil {
		p.Random = rand.Float64
	}
	return p
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// pause returns the time to wait after n failed attempts.
func (p Policy) pause(n int) time.Duration {
	longest := p.MaxBackoff
	if n-1 < 32 && p.Backoff<<(n-1) > 0 {
		longest = min(p.Backoff<<(n-1), p.MaxBackoff)
	}
	return time.Duration(p.Random() * float64(longest))
}

// An Attempt is one transaction.
type Attempt struct {
	Waited   time.Duration `json:"waited"`             // for the locks
	Held     time.Duration `json:"held,omitzero"`      // from the last lock to the end
	Error    string        `json:"error,omitempty"`    // empty: it succeeded
	Blockers []Blocker     `json:"blockers,omitempty"` // sessions that it waited for
}

// An Outcome describes a change that was made.
type Outcome struct {
	Attempts int       `json:"attempts"`
	Last     Attempt   `json:"last"`               // the one that succeeded
	Blockers []Blocker `json:"blockers,omitempty"` // of all attempts; at most MaxBlockers
}

// Ended returns the sessions that were cancelled or terminated.
func (o Outcome) Ended() (list []Blocker) {
	for _, b := range o.Blockers {
		if b.Action != "" {
			list = append(list, b)
		}
	}
	return list
}

// Run makes the change. Attempts that fail because of other sessions or of the
// connection are repeated. An error is one of:
//
//   - a BlockedError after the last attempt;
//   - a SchemaError if the schema is not the expected one;
//   - an UncertainError if the connection was lost during COMMIT;
//   - an error of a statement, of Permit, of Fence, of Record, or of ctx.
//
// Except after an UncertainError, everything is as before.
func Run(ctx context.Context, connect Connect, change Change, policy Policy) (Outcome, error) {
	r := &runner{connect: connect, change: change, policy: policy.withDefaults()}
	defer r.close()
	r.blockers = newBlockers(r.policy)
	for n := 1; ; n++ {
		attempt, err := r.attempt(ctx)
		if err == nil {
			return Outcome{Attempts: n, Last: attempt, Blockers: r.blockers.list()}, nil
		}
		var refused *refusal
		if errors.As(err, &refused) {
			return Outcome{Attempts: n, Blockers: r.blockers.list()}, refused.error
		}
		if !repeatable(err) || ctx.Err() != nil {
			return Outcome{Attempts: n, Blockers: r.blockers.list()}, fmt.Errorf("change %s: %w", change.Table, err)
		}
		attempt.Error = err.Error()
		if r.policy.Progress != nil {
			r.policy.Progress(attempt)
		}
		if n >= r.policy.Attempts {
			return Outcome{Attempts: n, Blockers: r.blockers.list()}, &BlockedError{Table: change.Table, Attempts: n, Last: attempt, cause: err}
		}
		if err := r.policy.Sleep(ctx, r.policy.pause(n)); err != nil {
			return Outcome{Attempts: n, Blockers: r.blockers.list()}, fmt.Errorf("change %s: %w", change.Table, err)
		}
	}
}

// A refusal is an error of Permit.
type refusal struct{ error }

// A runner makes the attempts of one change.
type runner struct {
	connect  Connect
	change   Change
	policy   Policy
	blockers *blockers

	// conn executes the change, and watch observes what it waits for. Both are
	// nil if they must be opened.
	conn, watch *pgx.Conn
}

func (r *runner) close() {
	for _, conn := range []**pgx.Conn{&r.conn, &r.watch} {
		closeConn(conn)
	}
}

func closeConn(conn **pgx.Conn) {
	if *conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = (*conn).Close(ctx) // the server ends the session in any case
	*conn = nil
}

// open opens the connections that are missing.
func (r *runner) open(ctx context.Context) (err error) {
	for _, conn := range []**pgx.Conn{&r.conn, &r.watch} {
		if *conn != nil && (*conn).IsClosed() {
			*conn = nil
		}
		if *conn == nil {
			if *conn, err = r.connect(ctx); err != nil {
				*conn = nil
				return &connectionError{fmt.Errorf("connect: %w", err)}
			}
		}
	}
	return nil
}

// attempt executes the transaction once.
func (r *runner) attempt(ctx context.Context) (attempt Attempt, err error) {
	if err := r.open(ctx); err != nil {
		return attempt, err
	}
	if r.change.Permit != nil {
		if err := r.change.Permit(ctx); err != nil {
			return attempt, &refusal{err}
		}
	}
	watch := r.blockers.watch(ctx, r.watch, r.conn.PgConn().PID())
	start := r.policy.Now()
	var locked time.Time
	err = r.transaction(ctx, func() { locked = r.policy.Now() })
	end := r.policy.Now()
	attempt.Blockers = watch.stop()
	attempt.Waited = end.Sub(start)
	if !locked.IsZero() {
		attempt.Waited, attempt.Held = locked.Sub(start), end.Sub(locked)
	}
	if err != nil {
		closeConn(&r.conn) // its state is unknown
	}
	return attempt, err
}

// transaction executes the change. It calls locked once it has all locks.
func (r *runner) transaction(ctx context.Context, locked func()) error {
	// The server ends a transaction whose client is lost while it has the lock.
	limit := r.policy.LockTimeout + r.policy.Hold
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errHeld)
	defer cancel()
	// With another isolation level, which can be the default of the role, the
	// catalogue would be read as it was before the lock.
	tx, err := r.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return inContext(ctx, &connectionError{err})
	}
	if err := r.execute(ctx, tx, locked); err != nil {
		rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(rollback) // the connection is closed in any case
		return inContext(ctx, err)
	}
	// A COMMIT that is interrupted can have happened.
	commit, cancelCommit := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancelCommit()
	if err := tx.Commit(commit); err != nil {
		if rolledBack(err) {
			return err
		}
		return &UncertainError{Table: r.change.Table, cause: err}
	}
	return nil
}

// commitTime is the time limit of COMMIT, which can wait for standbys.
const commitTime = time.Minute

// settings of the transaction. A client that vanishes leaves its transaction
// idle.
const settings = `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
	set_config('idle_in_transaction_session_timeout', $2, true), set_config('search_path', 'pg_catalog, pg_temp', true)`

func (r *runner) execute(ctx context.Context, tx pgx.Tx, locked func()) error {
	if _, err := tx.Exec(ctx, settings, milliseconds(r.policy.LockTimeout), milliseconds(r.policy.LockTimeout+r.policy.Hold)); err != nil {
		return err
	}
	for _, relation := range append([]string{r.change.Table}, r.change.Also...) {
		if _, err := tx.Exec(ctx, "LOCK TABLE "+relation+" IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
	}
	locked()
	ctx, cancel := context.WithTimeoutCause(ctx, r.policy.Hold, errHeld)
	defer cancel()
	return inContext(ctx, r.change.apply(ctx, tx, r.policy.Hold))
}

// apply does what the table is locked for.
func (c *Change) apply(ctx context.Context, tx pgx.Tx, hold time.Duration) error {
	if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', $1, true)", milliseconds(hold)); err != nil {
		return err
	}
	if c.Fence != nil {
		if err := c.Fence(ctx, tx); err != nil {
			return err
		}
	}
	if err := c.Expect.Check(ctx, tx, c.Table); err != nil {
		return err
	}
	for _, statement := range c.Statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%w, in the statement: %s", err, statement)
		}
	}
	if status := tx.Conn().PgConn().TxStatus(); status != 'T' {
		return fmt.Errorf("a statement ended the transaction: its status is %c", status)
	}
	if c.Record != nil {
		return c.Record(ctx, tx)
	}
	return nil
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", max(d.Milliseconds(), 1)) }

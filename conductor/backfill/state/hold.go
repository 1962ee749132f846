package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Claim is what a runner needs to hold a job.
type Claim struct {
	Job    string
	Digest string // of JOB.yaml, in hexadecimal
	Holder Holder

	// Wait waits for another runner instead of returning a HeldError. Waiting,
	// if not nil, is called once for each holder that is waited for.
	Wait    bool
	Waiting func(Holder)
}

// A HeldError is a job that another runner holds.
type HeldError struct {
	Job    string
	Holder *Holder // nil if it is not recorded yet
}

func (e *HeldError) Error() string {
	if e.Holder == nil {
		return fmt.Sprintf("another runner holds job %s: use --wait to wait for it", e.Job)
	}
	return fmt.Sprintf("another runner holds job %s: %s: use --wait to wait for it", e.Job, e.Holder)
}

// ErrFenced is the error of a runner that no longer holds the job.
var ErrFenced = errors.New("another runner has taken over the job")

// A Hold is a runner's hold of a job, until its connection ends. Its methods
// can be called concurrently, for different connections.
type Hold struct {
	Job   string
	fence int64
	conn  *pgx.Conn // has the advisory lock
}

// again is the time between attempts to lock a job. A statement that waited for
// the lock would hold back the cleanup of dead rows in the whole database.
const again = 500 * time.Millisecond

func lockName(job string) string { return Schema + "/" + job }

// Acquire takes the lock of a job for the session of the connection, increments
// its fence and returns its row. It refuses with a HeldError, DigestError,
// CorruptError or ErrNoJob.
func Acquire(ctx context.Context, conn *pgx.Conn, c Claim) (*Hold, Job, error) {
	if err := lock(ctx, conn, c); err != nil {
		return nil, Job{}, err
	}
	h := &Hold{Job: c.Job, conn: conn}
	var j Job
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var err error
		if j, err = loadLocked(ctx, tx, c.Job); err != nil {
			return err
		}
		if j.Digest != c.Digest {
			return &DigestError{c.Job, j.Digest, c.Digest}
		}
		holder := c.Holder
		holder.Started = holder.Started.UTC().Truncate(time.Microsecond)
		j.Fence, j.Holder = j.Fence+1, &holder
		h.fence = j.Fence
		return j.update(ctx, tx)
	})
	if err != nil {
		_, unlock := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock(hashtextextended($1, 0))", lockName(c.Job))
		return nil, Job{}, errors.Join(err, unlock)
	}
	return h, j, nil
}

// lock takes the advisory lock.
func lock(ctx context.Context, conn *pgx.Conn, c Claim) error {
	ticker := time.NewTicker(again)
	defer ticker.Stop()
	var last Holder
	for {
		var locked bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", lockName(c.Job)).Scan(&locked); err != nil {
			return fmt.Errorf("lock job %s: %w", c.Job, err)
		}
		if locked {
			return nil
		}
		j, err := Load(ctx, conn, c.Job)
		if err != nil && !errors.Is(err, ErrNoJob) {
			return err
		}
		if !c.Wait {
			return &HeldError{c.Job, j.Holder}
		}
		if j.Holder != nil && *j.Holder != last && c.Waiting != nil {
			last = *j.Holder
			c.Waiting(last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for job %s: %w", c.Job, ctx.Err())
		case <-ticker.C:
		}
	}
}

// loadLocked returns a job, whose row is locked until the transaction ends.
func loadLocked(ctx context.Context, tx pgx.Tx, name string) (Job, error) {
	return scanJob(name, tx.QueryRow(ctx, "SELECT "+jobColumns+" FROM muniment_conductor.job WHERE name = $1 FOR NO KEY UPDATE", name))
}

// Release removes the holder from the row and unlocks the job.
func (h *Hold) Release(ctx context.Context) error {
	err := h.Within(ctx, h.conn, func(tx *Tx) error {
		return tx.change(ctx, func(j *Job) error { j.Holder = nil; return nil })
	})
	_, unlock := h.conn.Exec(ctx, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", lockName(h.Job))
	return errors.Join(err, unlock)
}

// Check returns ErrFenced if another runner has the job, or the error of the
// connection of Acquire, whose end frees the lock.
func (h *Hold) Check(ctx context.Context) error {
	var fence int64
	if err := h.conn.QueryRow(ctx, "SELECT fence FROM muniment_conductor.job WHERE name = $1", h.Job).Scan(&fence); err != nil {
		return fmt.Errorf("check the hold of job %s: %w", h.Job, err)
	}
	if fence != h.fence {
		return fmt.Errorf("job %s: %w", h.Job, ErrFenced)
	}
	return nil
}

// A Tx is a transaction that has verified the fence, and locks the job's row
// until it ends. All changes of a runner to the state are methods of it.
type Tx struct {
	pgx.Tx
	hold *Hold

	verified time.Time // the clock of the database when the fence was verified
	since    time.Time // the same time by the clock of this process
}

// fence locks the job's row.
const fence = "SELECT fence, clock_timestamp() FROM muniment_conductor.job WHERE name = $1 FOR NO KEY UPDATE"

// WithFence verifies the fence in a transaction. On any connection, it returns
// ErrFenced after another runner has acquired the job.
func (h *Hold) WithFence(ctx context.Context, tx pgx.Tx) (*Tx, error) {
	fenced := &Tx{Tx: tx, hold: h}
	if err := fenced.verify(tx.QueryRow(ctx, fence, h.Job)); err != nil {
		return nil, err
	}
	return fenced, nil
}

// verify reads the row of the fence statement.
func (t *Tx) verify(row pgx.Row) error {
	var found int64
	if err := row.Scan(&found, &t.verified); err != nil {
		return fmt.Errorf("verify the fence of job %s: %w", t.hold.Job, err)
	}
	if found != t.hold.fence {
		return fmt.Errorf("job %s: %w", t.hold.Job, ErrFenced)
	}
	t.since = time.Now()
	return nil
}

// now returns the time by the clock of the database.
func (t *Tx) now() time.Time {
	return t.verified.Add(time.Since(t.since)).UTC().Truncate(time.Microsecond)
}

// Within executes f in a transaction with the fence, and commits it if f
// returns nil.
func (h *Hold) Within(ctx context.Context, db Beginner, f func(*Tx) error) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		fenced, err := h.WithFence(ctx, tx)
		if err != nil {
			return err
		}
		return f(fenced)
	})
}

// WithinBatch is Within for a transaction whose first statements do not depend
// on each other. They are queued by a function, and take one round trip with
// those that begin the transaction and verify the fence. Their results are read
// after the fence.
func (h *Hold) WithinBatch(ctx context.Context, conn *pgx.Conn, queue func(*pgx.Batch), f func(*Tx) error) error {
	fenced := &Tx{hold: h}
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{})
	batch.Queue(fence, h.Job).QueryRow(fenced.verify)
	queue(batch)
	results := conn.SendBatch(ctx, batch)
	fenced.Tx = results.Tx()
	// No effect after the commit. An error means that the connection ended.
	defer func() { _ = fenced.Rollback(ctx) }()
	if err := results.Close(); err != nil {
		return err
	}
	if err := f(fenced); err != nil {
		return err
	}
	return fenced.Commit(ctx)
}

// Load returns the job's row.
func (t *Tx) Load(ctx context.Context) (Job, error) { return Load(ctx, t.Tx, t.hold.Job) }

// Move moves the job to the phase after an action, which it returns, or returns
// a TransitionError.
func (t *Tx) Move(ctx context.Context, a Action) (Phase, error) {
	var to Phase
	err := t.change(ctx, func(j *Job) (err error) {
		to, err = j.Phase.After(a)
		j.Phase = to
		return err
	})
	return to, err
}

// SetTable records the table and its columns, as Describe returns them, after a
// change of the schema.
func (t *Tx) SetTable(ctx context.Context, table uint32, columns []Column) error {
	return t.change(ctx, func(j *Job) error {
		j.Table, j.Columns = table, columns
		return nil
	})
}

// SetPlan replaces the plan.
func (t *Tx) SetPlan(ctx context.Context, plan json.RawMessage) error {
	return t.change(ctx, func(j *Job) error { j.Plan = plan; return nil })
}

// change changes the job's row, which the fence has locked.
func (t *Tx) change(ctx context.Context, f func(*Job) error) error {
	j, err := t.Load(ctx)
	if err != nil {
		return err
	}
	if err := f(&j); err != nil {
		return err
	}
	return j.update(ctx, t.Tx)
}

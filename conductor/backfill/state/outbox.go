package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Step is an entry that is or will be recorded in the ledger (section 7).
type Step struct {
	Seq     int64  // counts from 1
	Key     string // the idempotency key: JOB/RUN/SEQ
	Kind    string // of the entry
	Payload []byte
	Created time.Time
	Sent    *time.Time // the first attempt, after which the payload is fixed

	// The acknowledgement, nil before it.
	Receipt      []byte
	Index        *int64
	LeafHash     []byte
	Acknowledged *time.Time
}

// An Acknowledgement is the place of an entry in the ledger. Its receipt has
// been verified.
type Acknowledgement struct {
	Receipt  []byte
	Index    int64
	LeafHash []byte
}

// Enqueue adds an entry that will be sent after those before it.
func (t *Tx) Enqueue(ctx context.Context, kind string, payload []byte) (Step, error) {
	s := Step{Kind: kind, Payload: payload}
	err := t.QueryRow(ctx, `INSERT INTO muniment_conductor.outbox (job, seq, key, kind, payload)
		SELECT name, n, name || '/' || run || '/' || n, $2, $3 FROM muniment_conductor.job,
		LATERAL (SELECT coalesce(max(seq), 0) + 1 AS n FROM muniment_conductor.outbox WHERE job = name) AS next
		WHERE name = $1 RETURNING seq, key, created`, t.hold.Job, kind, payload).Scan(&s.Seq, &s.Key, &s.Created)
	if err != nil {
		return Step{}, fmt.Errorf("add to the outbox of job %s: %w", t.hold.Job, err)
	}
	return s, nil
}

// Revise replaces the payload of an entry that was never sent, for example
// because it names the index of an earlier one.
func (t *Tx) Revise(ctx context.Context, seq int64, payload []byte) error {
	return t.step(ctx, seq, "be revised: it was sent",
		"UPDATE muniment_conductor.outbox SET payload = $3 WHERE job = $1 AND seq = $2 AND sent IS NULL", payload)
}

// MarkSent records that an entry will be sent. It must be committed before the
// first attempt. Later attempts send the same bytes.
func (t *Tx) MarkSent(ctx context.Context, seq int64) error {
	return t.step(ctx, seq, "be sent: it does not exist",
		"UPDATE muniment_conductor.outbox SET sent = coalesce(sent, clock_timestamp()) WHERE job = $1 AND seq = $2")
}

// Acknowledge records the place of an entry.
func (t *Tx) Acknowledge(ctx context.Context, seq int64, a Acknowledgement) error {
	return t.step(ctx, seq, "be acknowledged: it does not exist, or has another index",
		`UPDATE muniment_conductor.outbox SET receipt = $3, index = $4, leaf_hash = $5, acknowledged = coalesce(acknowledged, clock_timestamp())
		WHERE job = $1 AND seq = $2 AND (index IS NULL OR index = $4)`, a.Receipt, a.Index, a.LeafHash)
}

// step executes an update of one entry.
func (t *Tx) step(ctx context.Context, seq int64, cannot, sql string, args ...any) error {
	tag, err := t.Exec(ctx, sql, append([]any{t.hold.Job, seq}, args...)...)
	if err == nil && tag.RowsAffected() == 0 {
		err = fmt.Errorf("cannot %s", cannot)
	}
	if err != nil {
		return fmt.Errorf("entry %d of the outbox of job %s: %w", seq, t.hold.Job, err)
	}
	return nil
}

const stepColumns = "seq, key, kind, payload, created, sent, receipt, index, leaf_hash, acknowledged"

// Unacknowledged returns the first entries without an acknowledgement, at most
// limit.
func Unacknowledged(ctx context.Context, db Querier, job string, limit int) ([]Step, error) {
	return steps(ctx, db, "SELECT "+stepColumns+" FROM muniment_conductor.outbox WHERE job = $1 AND acknowledged IS NULL ORDER BY seq LIMIT $2", job, limit)
}

// CountUnacknowledged counts the entries without an acknowledgement, and those
// of them that are of a kind.
func CountUnacknowledged(ctx context.Context, db Querier, job, kind string) (all, ofKind int, err error) {
	err = db.QueryRow(ctx, "SELECT count(*), count(*) FILTER (WHERE kind = $2) FROM muniment_conductor.outbox WHERE job = $1 AND acknowledged IS NULL",
		job, kind).Scan(&all, &ofKind)
	return all, ofKind, err
}

// Steps returns the entries after a sequence number, at most limit.
func Steps(ctx context.Context, db Querier, job string, after int64, limit int) ([]Step, error) {
	return steps(ctx, db, "SELECT "+stepColumns+" FROM muniment_conductor.outbox WHERE job = $1 AND seq > $3 ORDER BY seq LIMIT $2", job, limit, after)
}

func steps(ctx context.Context, db Querier, sql string, args ...any) ([]Step, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Step, err error) {
		err = row.Scan(&s.Seq, &s.Key, &s.Kind, &s.Payload, &s.Created, &s.Sent, &s.Receipt, &s.Index, &s.LeafHash, &s.Acknowledged)
		return s, err
	})
}

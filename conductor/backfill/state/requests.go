package state

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Channel is the channel of notifications. Their payload is the name of the job
// with a new request or threshold.
const Channel = Schema

// An Executor writes: a connection, a pool or a transaction.
type Executor interface {
	Querier
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// A Threshold replaces the limit of a throttle input while a job runs.
type Threshold struct {
	Input string
	Value string // as in JOB.yaml
	By    string
	At    time.Time
}

// SetThreshold sets a threshold from any process. An empty value restores that
// of JOB.yaml. The caller validates both.
func SetThreshold(ctx context.Context, db Executor, job string, t Threshold) error {
	var err error
	if t.Value == "" {
		_, err = db.Exec(ctx, "DELETE FROM muniment_conductor.threshold WHERE job = $1 AND input = $2", job, t.Input)
	} else {
		_, err = db.Exec(ctx, `INSERT INTO muniment_conductor.threshold (job, input, value, set_by) VALUES ($1, $2, $3, $4)
			ON CONFLICT (job, input) DO UPDATE SET (value, set_by, set_at) = ($3, $4, now())`, job, t.Input, t.Value, t.By)
	}
	if err != nil {
		return fmt.Errorf("set threshold %s of job %s: %w", t.Input, job, err)
	}
	return notify(ctx, db, job)
}

// Thresholds returns the thresholds in force that replace those of JOB.yaml.
func Thresholds(ctx context.Context, db Querier, job string) ([]Threshold, error) {
	rows, err := db.Query(ctx, "SELECT input, value, set_by, set_at FROM muniment_conductor.threshold WHERE job = $1 ORDER BY input", job)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Threshold])
}

// A Request asks the runner of a job for an action.
type Request struct {
	ID       int64
	Action   string
	Details  json.RawMessage
	By       string
	Asked    time.Time
	Answer   *string // nil before the runner has handled it
	Answered *time.Time
}

// Ask adds a request from any process and returns its ID.
func Ask(ctx context.Context, db Executor, job, action, by string, details any) (int64, error) {
	text, err := json.Marshal(details)
	if err != nil {
		return 0, err
	}
	var id int64
	if err := db.QueryRow(ctx, "INSERT INTO muniment_conductor.request (job, action, details, asked_by) VALUES ($1, $2, $3, $4) RETURNING id", job, action, text, by).Scan(&id); err != nil {
		return 0, fmt.Errorf("request %s of job %s: %w", action, job, err)
	}
	return id, notify(ctx, db, job)
}

const requestColumns = "id, action, details, asked_by, asked, answer, answered"

// Requests returns the requests without an answer, oldest first.
func Requests(ctx context.Context, db Querier, job string) ([]Request, error) {
	rows, err := db.Query(ctx, "SELECT "+requestColumns+" FROM muniment_conductor.request WHERE job = $1 AND answered IS NULL ORDER BY id LIMIT 100", job)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Request])
}

// LoadRequest returns a request, for the process that awaits its answer.
func LoadRequest(ctx context.Context, db Querier, id int64) (Request, error) {
	rows, err := db.Query(ctx, "SELECT "+requestColumns+" FROM muniment_conductor.request WHERE id = $1", id)
	if err != nil {
		return Request{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Request])
}

// Answer answers a request. The answer is empty if it was done, or an error.
func (t *Tx) Answer(ctx context.Context, id int64, answer string) error {
	if _, err := t.Exec(ctx, "UPDATE muniment_conductor.request SET answer = $3, answered = now() WHERE job = $1 AND id = $2 AND answered IS NULL", t.hold.Job, id, answer); err != nil {
		return err
	}
	return notify(ctx, t.Tx, t.hold.Job)
}

// notify is delivered when the transaction commits.
func notify(ctx context.Context, db Executor, job string) error {
	_, err := db.Exec(ctx, "SELECT pg_notify($1, $2)", Channel, job)
	return err
}

// Listen makes the connection receive notifications, for Await.
func Listen(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "LISTEN "+Channel)
	return err
}

// Await returns when the connection has received a notification for the job, or
// for any job if it is empty, or the time has passed. Notifications get lost
// behind a pooler in transaction mode, so the caller reads the tables in either
// case.
func Await(ctx context.Context, conn *pgx.Conn, job string, atMost time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(limited)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if limited.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for a notification: %w", err)
		}
		if n.Channel == Channel && (n.Payload == job || job == "") {
			return nil
		}
	}
}

package state

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Checkpoint is a checkpoint with its checks.
type Checkpoint struct {
	Number   int // counts from 1
	Percent  float64
	From, To []string // keys: after From, up to To; empty is unbounded
	Visited  int64
	Score    *float64 // nil if it was not computed
	Passed   bool
	Report   json.RawMessage
	Seq      *int64 // of its entry in the outbox
	Taken    time.Time
}

// AddCheckpoint adds a checkpoint, whose number and time are set here.
func (t *Tx) AddCheckpoint(ctx context.Context, c Checkpoint) (Checkpoint, error) {
	err := t.QueryRow(ctx, `INSERT INTO muniment_conductor.checkpoint (job, number, percent, from_key, to_key, visited, score, passed, report, seq)
		SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9 FROM muniment_conductor.checkpoint WHERE job = $1
		RETURNING number, taken`,
		t.hold.Job, c.Percent, notNil(c.From), notNil(c.To), c.Visited, c.Score, c.Passed, jsonOf(c.Report), c.Seq).Scan(&c.Number, &c.Taken)
	if err != nil {
		return c, fmt.Errorf("add a checkpoint to job %s: %w", t.hold.Job, err)
	}
	return c, nil
}

// Checkpoints returns all checkpoints in their order.
func Checkpoints(ctx context.Context, db Querier, job string) ([]Checkpoint, error) {
	return collect[Checkpoint](ctx, db, `SELECT number, percent, from_key, to_key, visited, score, passed, report, seq, taken
		FROM muniment_conductor.checkpoint WHERE job = $1 ORDER BY number`, job)
}

// A Window is a period of the canary analysis, in which rows were copied or
// not.
type Window struct {
	Number       int64 // counts from 1
	Checkpoint   int   // of which it is a part
	Copying      bool
	Began, Ended time.Time
	Measurements json.RawMessage
}

// AddWindow adds a window, whose number is set here.
func (t *Tx) AddWindow(ctx context.Context, w Window) (Window, error) {
	err := t.QueryRow(ctx, `INSERT INTO muniment_conductor.aca_window (job, number, checkpoint, copying, began, ended, measurements)
		SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6 FROM muniment_conductor.aca_window WHERE job = $1
		RETURNING number`, t.hold.Job, w.Checkpoint, w.Copying, w.Began, w.Ended, jsonOf(w.Measurements)).Scan(&w.Number)
	return w, err
}

// Windows returns the windows of a checkpoint in their order.
func Windows(ctx context.Context, db Querier, job string, checkpoint int) ([]Window, error) {
	return collect[Window](ctx, db, `SELECT number, checkpoint, copying, began, ended, measurements
		FROM muniment_conductor.aca_window WHERE job = $1 AND checkpoint = $2 ORDER BY number`, job, checkpoint)
}

// A Validation is a comparison of all rows.
type Validation struct {
	Number      int // counts from 1
	Began       time.Time
	Ended       *time.Time // nil if it was not completed
	Key         []string   // of the last row that was compared
	Rows        int64
	Differences int64 // all of them
	Repaired    int64
}

// AddValidation begins a validation.
func (t *Tx) AddValidation(ctx context.Context) (Validation, error) {
	var v Validation
	err := t.QueryRow(ctx, `INSERT INTO muniment_conductor.validation (job, number, began)
		SELECT $1, coalesce(max(number), 0) + 1, clock_timestamp() FROM muniment_conductor.validation WHERE job = $1 RETURNING number, began`, t.hold.Job).Scan(&v.Number, &v.Began)
	return v, err
}

// SaveValidation saves the progress of a validation, and its end if ended is
// true.
func (t *Tx) SaveValidation(ctx context.Context, v Validation, ended bool) error {
	_, err := t.Exec(ctx, `UPDATE muniment_conductor.validation SET key = $3, rows = $4, differences = $5, repaired = $6,
		ended = CASE WHEN $7 THEN clock_timestamp() END WHERE job = $1 AND number = $2`,
		t.hold.Job, v.Number, notNil(v.Key), v.Rows, v.Differences, v.Repaired, ended)
	return err
}

// Validations returns all validations in their order.
func Validations(ctx context.Context, db Querier, job string) ([]Validation, error) {
	return collect[Validation](ctx, db, `SELECT number, began, ended, key, rows, differences, repaired
		FROM muniment_conductor.validation WHERE job = $1 ORDER BY number`, job)
}

// A Difference is a row whose columns do not agree.
type Difference struct {
	Key                []string
	Primary, Secondary *string // as text
	Repaired           bool
}

// AddDifference adds a difference to a validation, or updates it.
func (t *Tx) AddDifference(ctx context.Context, validation int, d Difference) error {
	_, err := t.Exec(ctx, `INSERT INTO muniment_conductor.difference (job, validation, key, primary_value, secondary_value, repaired)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (job, validation, key) DO UPDATE SET (primary_value, secondary_value, repaired) = ($4, $5, $6)`,
		t.hold.Job, validation, notNil(d.Key), d.Primary, d.Secondary, d.Repaired)
	return err
}

// Differences returns the differences of a validation, at most limit.
func Differences(ctx context.Context, db Querier, job string, validation, limit int) ([]Difference, error) {
	return collect[Difference](ctx, db, `SELECT key, primary_value, secondary_value, repaired
		FROM muniment_conductor.difference WHERE job = $1 AND validation = $2 ORDER BY key LIMIT $3`, job, validation, limit)
}

// Add adds to a counter, for example the seconds that a throttle input has
// slowed the copy down.
func (t *Tx) Add(ctx context.Context, counter string, n int64) error {
	_, err := t.Exec(ctx, `INSERT INTO muniment_conductor.counter AS c (job, name, value) VALUES ($1, $2, $3)
		ON CONFLICT (job, name) DO UPDATE SET value = c.value + $3`, t.hold.Job, counter, n)
	return err
}

// Raise raises a counter to a number, if it is lower.
func (t *Tx) Raise(ctx context.Context, counter string, n int64) error {
	_, err := t.Exec(ctx, `INSERT INTO muniment_conductor.counter AS c (job, name, value) VALUES ($1, $2, $3)
		ON CONFLICT (job, name) DO UPDATE SET value = greatest(c.value, $3)`, t.hold.Job, counter, n)
	return err
}

// Counters returns all counters by name.
func Counters(ctx context.Context, db Querier, job string) (map[string]int64, error) {
	rows, err := db.Query(ctx, "SELECT name, value FROM muniment_conductor.counter WHERE job = $1", job)
	if err != nil {
		return nil, err
	}
	counters := map[string]int64{}
	var name string
	var value int64
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error { counters[name] = value; return nil })
	return counters, err
}

// An Event is a line of the timeline.
type Event struct {
	ID      int64
	At      time.Time
	What    string
	Details json.RawMessage
}

// Record adds an event to the timeline. Details become JSON.
func (t *Tx) Record(ctx context.Context, what string, details any) error {
	text, err := json.Marshal(details)
	if err != nil {
		return err
	}
	_, err = t.Exec(ctx, "INSERT INTO muniment_conductor.event (job, what, details) VALUES ($1, $2, $3)", t.hold.Job, what, text)
	return err
}

// Events returns the events after an ID, at most limit.
func Events(ctx context.Context, db Querier, job string, after int64, limit int) ([]Event, error) {
	return collect[Event](ctx, db, "SELECT id, at, what, details FROM muniment_conductor.event WHERE job = $1 AND id > $2 ORDER BY id LIMIT $3", job, after, limit)
}

// Latest returns the newest event of a name, or nil if there is none.
func Latest(ctx context.Context, db Querier, job, what string) (*Event, error) {
	all, err := collect[Event](ctx, db, "SELECT id, at, what, details FROM muniment_conductor.event WHERE job = $1 AND what = $2 ORDER BY id DESC LIMIT 1", job, what)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func collect[T any](ctx context.Context, db Querier, sql string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

func notNil(key []string) []string {
	if key == nil {
		return []string{}
	}
	return key
}

// jsonOf returns JSON, which is an empty object by default.
func jsonOf(text json.RawMessage) []byte {
	if text == nil {
		return []byte("{}")
	}
	return text
}

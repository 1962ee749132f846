package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Job is the row of a job. Its checksum covers every field.
type Job struct {
	Name     string          `json:"name"`
	Digest   string          `json:"digest"` // SHA-256 of Source, in hexadecimal
	Source   []byte          `json:"source"` // JOB.yaml
	Run      string          `json:"run"`    // random identifier of the execution
	Phase    Phase           `json:"phase"`
	Fence    int64           `json:"fence"`
	Holder   *Holder         `json:"holder"`   // nil if no runner holds the job
	Relation string          `json:"relation"` // quoted name of the table
	Table    uint32          `json:"table"`    // its OID
	Columns  []Column        `json:"columns"`
	Plan     json.RawMessage `json:"plan"` // as the runner wrote it
	Created  time.Time       `json:"created"`
	Changed  time.Time       `json:"changed"`
}

// A Holder is the process that holds a job.
type Holder struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

func (h Holder) String() string {
	return fmt.Sprintf("process %d on %s, started %s", h.PID, h.Host, h.Started.UTC().Format(time.RFC3339))
}

// A Column is a column that the job uses, as the catalogue describes it.
type Column struct {
	Name   string `json:"name"`
	Number int16  `json:"number"`
	Type   string `json:"type"`
}

// ErrNoJob is the error of a job that is not in the state.
var ErrNoJob = errors.New("no such job in this database: start it with conductor backfill run")

// A CorruptError is a row whose checksum does not match its content.
type CorruptError struct{ Job, Row string }

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the %s of job %s was changed by something else than this program: its checksum does not match", e.Row, e.Job)
}

// A DigestError is a job that was planned from other bytes of JOB.yaml.
type DigestError struct{ Job, Planned, Given string }

func (e *DigestError) Error() string {
	return fmt.Sprintf("JOB.yaml of job %s has changed since it was planned: its SHA-256 was %s and is %s: restore the file. To change the job, roll it back with the restored file, and give the edited one another name", e.Job, e.Planned, e.Given)
}

// A ChangedError is a table that differs from the one that the job was expanded
// on.
type ChangedError struct{ Job, What string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("the table of job %s was changed by something else than this program: %s", e.Job, e.What)
}

const jobColumns = "name, digest, source, run, phase, fence, holder, relation, table_oid, columns, plan, created, changed, checksum"

// Load returns a job, ErrNoJob or a CorruptError.
func Load(ctx context.Context, db Querier, name string) (Job, error) {
	return scanJob(name, db.QueryRow(ctx, "SELECT "+jobColumns+" FROM muniment_conductor.job WHERE name = $1", name))
}

func scanJob(name string, row pgx.Row) (Job, error) {
	var j Job
	var sum string
	var table int64
	var holder, columns []byte
	err := row.Scan(&j.Name, &j.Digest, &j.Source, &j.Run, &j.Phase, &j.Fence, &holder, &j.Relation, &table, &columns, &j.Plan, &j.Created, &j.Changed, &sum)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Job{}, fmt.Errorf("job %s: %w", name, ErrNoJob)
	case err != nil:
		return Job{}, fmt.Errorf("read job %s: %w", name, err)
	}
	j.Table, j.Created, j.Changed = uint32(table), j.Created.UTC(), j.Changed.UTC()
	if holder != nil {
		err = json.Unmarshal(holder, &j.Holder)
	}
	if err != nil || json.Unmarshal(columns, &j.Columns) != nil || checksum(j) != sum {
		return Job{}, &CorruptError{name, "row"}
	}
	return j, nil
}

// List returns the names of all jobs, in the order of their creation.
func List(ctx context.Context, db Querier) ([]string, error) {
	rows, err := db.Query(ctx, "SELECT name FROM muniment_conductor.job ORDER BY created, name")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Create adds a planned job. Its phase, fence, digest, holder and times are set
// here. A job of this name that was created before is kept: Create succeeds if
// it has the same source and has not ended.
func Create(ctx context.Context, db Beginner, j Job) (Job, error) {
	digest := sha256.Sum256(j.Source)
	j.Digest, j.Phase, j.Fence, j.Holder = hex.EncodeToString(digest[:]), Planned, 0, nil
	if j.Columns == nil {
		j.Columns = []Column{}
	}
	if j.Plan == nil {
		j.Plan = json.RawMessage("{}")
	}
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", lockName(j.Name)); err != nil {
			return err
		}
		old, err := Load(ctx, tx, j.Name)
		switch {
		case errors.Is(err, ErrNoJob):
			return j.insert(ctx, tx)
		case err != nil:
			return err
		case old.Phase.Ended():
			return fmt.Errorf("job %s has ended: it is %s: choose another name", j.Name, old.Phase)
		case old.Digest != j.Digest:
			return &DigestError{j.Name, old.Digest, j.Digest}
		}
		j = old
		return nil
	})
	return j, err
}

func (j *Job) insert(ctx context.Context, tx pgx.Tx) error {
	if err := tx.QueryRow(ctx, "SELECT now()").Scan(&j.Created); err != nil {
		return err
	}
	j.Created = j.Created.UTC()
	j.Changed = j.Created
	args, err := j.args()
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO muniment_conductor.job ("+jobColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)", args...)
	return err
}

// update writes every field of the row.
func (j *Job) update(ctx context.Context, tx pgx.Tx) error {
	if err := tx.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&j.Changed); err != nil {
		return err
	}
	j.Changed = j.Changed.UTC()
	args, err := j.args()
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE muniment_conductor.job SET ("+jobColumns+") = ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) WHERE name = $1", args...)
	return err
}

func (j *Job) args() ([]any, error) {
	columns, err := json.Marshal(j.Columns)
	if err != nil {
		return nil, err
	}
	var holder []byte
	if j.Holder != nil {
		if holder, err = json.Marshal(j.Holder); err != nil {
			return nil, err
		}
	}
	if !json.Valid(j.Plan) {
		return nil, fmt.Errorf("the plan of job %s is not JSON", j.Name)
	}
	return []any{j.Name, j.Digest, j.Source, j.Run, string(j.Phase), j.Fence, holder, j.Relation, int64(j.Table), columns, []byte(j.Plan), j.Created, j.Changed, checksum(*j)}, nil
}

// checksum returns the SHA-256 of the JSON of a row's fields.
func checksum(row any) string {
	text, err := json.Marshal(row)
	if err != nil {
		return "" // no row has this checksum
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Describe returns the OID of a table and the given columns of it. The relation
// is a quoted name.
func Describe(ctx context.Context, db Querier, relation string, names ...string) (uint32, []Column, error) {
	var table *int64
	if err := db.QueryRow(ctx, "SELECT to_regclass($1)::oid::bigint", relation).Scan(&table); err != nil {
		return 0, nil, err
	}
	if table == nil {
		return 0, nil, fmt.Errorf("no table %s", relation)
	}
	columns := []Column{}
	for _, name := range names {
		c := Column{Name: name}
		err := db.QueryRow(ctx, `SELECT attnum, atttypid::bigint || ':' || atttypmod FROM pg_catalog.pg_attribute
			WHERE attrelid = $1::bigint::oid AND attname = $2 AND attnum > 0 AND NOT attisdropped`, *table, name).Scan(&c.Number, &c.Type)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, nil, fmt.Errorf("table %s has no column %q", relation, name)
		}
		if err != nil {
			return 0, nil, err
		}
		columns = append(columns, c)
	}
	return uint32(*table), columns, nil
}

// Verify returns a ChangedError if the table or the columns of the job are no
// longer those that were recorded.
func (j Job) Verify(ctx context.Context, db Querier) error {
	for _, want := range j.Columns {
		table, have, err := Describe(ctx, db, j.Relation, want.Name)
		switch {
		case err != nil && table == 0:
			return &ChangedError{j.Name, err.Error()}
		case table != j.Table:
			return &ChangedError{j.Name, fmt.Sprintf("%s is another table: its OID was %d and is %d", j.Relation, j.Table, table)}
		case have[0].Number != want.Number:
			return &ChangedError{j.Name, fmt.Sprintf("column %q is another one: its number was %d and is %d", want.Name, want.Number, have[0].Number)}
		case have[0].Type != want.Type:
			return &ChangedError{j.Name, fmt.Sprintf("column %q has another type", want.Name)}
		}
	}
	return nil
}

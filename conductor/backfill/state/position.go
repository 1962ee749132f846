package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Position is how far the copy has come. It is only an optimization: a wrong
// one costs time.
type Position struct {
	Key      []string  `json:"key"`      // of the last row visited, empty at the start
	Pass     int       `json:"pass"`     // 1 for the first one
	Visited  int64     `json:"visited"`  // rows, in this pass
	Written  int64     `json:"written"`  // rows, in all passes
	Chunk    int       `json:"chunk"`    // rows of the next chunk
	Finished bool      `json:"finished"` // the pass has visited the last row
	Table    uint32    `json:"table"`    // OID
	Saved    time.Time `json:"saved"`
}

// positionRow is what the checksum of a position covers.
type positionRow struct {
	Job string `json:"job"`
	Position
}

// LoadPosition returns the position of a job's copy, or the zero position if
// there is none. It returns a CorruptError if its checksum is wrong: then the
// copy starts at the first key.
func LoadPosition(ctx context.Context, db Querier, job string) (Position, error) {
	return scanPosition(job, db.QueryRow(ctx, position, job))
}

// QueuePosition is LoadPosition as a statement of a batch.
func QueuePosition(batch *pgx.Batch, job string, loaded func(Position, error) error) {
	batch.Queue(position, job).QueryRow(func(row pgx.Row) error { return loaded(scanPosition(job, row)) })
}

const position = `SELECT key, pass, visited, written, chunk, finished, table_oid, saved, checksum
	FROM muniment_conductor.position WHERE job = $1`

func scanPosition(job string, row pgx.Row) (Position, error) {
	var p Position
	var table int64
	var sum string
	err := row.Scan(&p.Key, &p.Pass, &p.Visited, &p.Written, &p.Chunk, &p.Finished, &table, &p.Saved, &sum)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Position{}, nil
	case err != nil:
		return Position{}, fmt.Errorf("read the position of job %s: %w", job, err)
	}
	p.Table, p.Saved = uint32(table), p.Saved.UTC()
	if checksum(positionRow{job, p}) != sum {
		return Position{}, &CorruptError{job, "position"}
	}
	return p, nil
}

// SavePosition replaces the position.
func (t *Tx) SavePosition(ctx context.Context, p Position) error {
	p.Saved = t.now()
	if p.Key == nil {
		p.Key = []string{}
	}
	_, err := t.Exec(ctx, `INSERT INTO muniment_conductor.position (job, key, pass, visited, written, chunk, finished, table_oid, saved, checksum)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (job) DO UPDATE SET (key, pass, visited, written, chunk, finished, table_oid, saved, checksum) = ($2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		t.hold.Job, p.Key, p.Pass, p.Visited, p.Written, p.Chunk, p.Finished, int64(p.Table), p.Saved, checksum(positionRow{t.hold.Job, p}))
	return err
}

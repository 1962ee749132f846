package run

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dependants"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/rowkey"
	"muniment.dev/muniment/conductor/backfill/state"
)

// A Plan is what a job will do, by the catalogue of the database.
type Plan struct {
	Job      string            `json:"job"`
	SHA256   string            `json:"sha256"` // of JOB.yaml
	Table    string            `json:"table"`
	Pair     dualwrite.Pair    `json:"pair"`
	Key      rowkey.Key        `json:"key"`
	Findings []catalog.Finding `json:"findings"`
	Trial    Trial             `json:"trial"`

	// Replica: the copy hides its updates from the table's other triggers.
	Replica bool `json:"replica"`

	Estimates  Estimates `json:"estimates"`
	Statements []Phase   `json:"statements"`
}

// Estimates are what the copy costs, from the statistics of the table.
type Estimates struct {
	Rows      int64         `json:"rows"`
	TableSize int64         `json:"tableBytes"`
	WAL       int64         `json:"walBytes"`   // that the copy writes
	Extra     int64         `json:"extraBytes"` // of disk, at most, until vacuum has run
	Shortest  time.Duration `json:"shortest"`   // of the copy, at the hard rate limit; 0: no limit
}

// A Phase is a group of statements. Those of prove and prepare are executed one
// by one, and the others in one transaction.
type Phase struct {
	Name       string   `json:"name"`
	Statements []string `json:"statements"`
}

// BlockedError is a table that a backfill can't change safely.
type BlockedError struct{ Findings []catalog.Finding }

func (e *BlockedError) Error() string {
	lines := []string{"the backfill is not possible:"}
	for _, f := range e.Findings {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

// MakePlan plans a job. It changes nothing in the database.
func MakePlan(ctx context.Context, conn *pgx.Conn, j *job.Job) (*Plan, error) {
	p := &Plan{Job: j.Name, SHA256: j.SHA256, Pair: dualwrite.Pair{
		Schema: j.Schema, Table: j.Table, Column: j.Column, Shadow: j.Names.Shadow, Retired: j.Names.Retired, Mark: j.Names.Mark, Job: j.Name,
	}}
	p.Table = p.Pair.Relation()
	if err := errors.Join(p.Pair.Check(), checkAnalysis(j)); err != nil {
		return nil, err
	}
	table, err := readTable(ctx, conn, p.Pair)
	if err != nil {
		return nil, err
	}
	p.Findings = append(table.Findings(), table.NameFindings()...)
	if blocked := catalog.Blocked(p.Findings); len(blocked) > 0 {
		return p, &BlockedError{blocked}
	}
	if p.Pair.Expressions, err = dualwrite.Normalize(ctx, conn, p.Pair, j.Type, j.Up, j.Down); err != nil {
		return p, err
	}
	moved, err := dependantsPlan(ctx, conn, table, target(p.Pair))
	if err != nil {
		return p, err
	}
	p.Findings = append(p.Findings, moved.Findings...)
	if blocked := catalog.Blocked(p.Findings); len(blocked) > 0 {
		return p, &BlockedError{blocked}
	}
	if p.Key, err = rowkey.Find(ctx, conn, table.Identity.OID); err != nil {
		return p, err
	}
	large, err := largeValues(ctx, conn, p.Pair, table)
	if err != nil {
		return p, err
	}
	p.Findings = append(p.Findings, large...)
	if blocked := catalog.Blocked(large); len(blocked) > 0 {
		return p, &BlockedError{blocked}
	}
	p.Replica = otherTriggers(table)
	if p.Trial, err = try(ctx, conn, p.Pair, table, j.Checkpoint.Sample); err != nil {
		return p, err
	}
	p.estimate(table, j)
	p.Statements, err = phases(p.Pair, table, moved)
	return p, err
}

// phases returns the statements of each phase.
func phases(p dualwrite.Pair, table *catalog.Table, moved *dependants.Plan) ([]Phase, error) {
	preview := func(d dependants.Direction) ([]string, error) { return dependants.Preview(table, target(p), d) }
	forth, err := swapStatements(p, true, preview)
	if err != nil {
		return nil, err
	}
	back, err := swapStatements(p, false, preview)
	return []Phase{
		{"expand", p.Expand()},
		{"prove", []string{p.Prove(), p.Validate()}},
		{"prepare", steps(moved)},
		{"cutover", forth},
		{"rollback after cutover", back},
		{"rollback", p.Collapse()},
		{"finish", p.Finish()},
	}, err
}

// maxRecorded is the size of the statements that the entry of a plan contains.
const maxRecorded = 512 << 10

// recorded returns the statements for the entry of the plan. Those of a table
// with thousands of partitions do not fit, and are identified by a digest.
func (p *Plan) recorded() any {
	text, err := json.Marshal(p.Statements)
	if err == nil && len(text) <= maxRecorded {
		return p.Statements
	}
	n := 0
	for _, phase := range p.Statements {
		n += len(phase.Statements)
	}
	return map[string]any{"count": n, "sha256": fmt.Sprintf("%x", sha256.Sum256(text))}
}

// steps returns the statements that precede a cutover.
func steps(p *dependants.Plan) []string {
	list := make([]string, len(p.Steps))
	for i, s := range p.Steps {
		list[i] = s.SQL
	}
	return list
}

func readTable(ctx context.Context, conn *pgx.Conn, p dualwrite.Pair) (table *catalog.Table, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		table, err = catalog.Read(ctx, tx, ref(p))
		return err
	})
	if errors.Is(err, catalog.ErrNoColumn) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", p.Relation(), err)
	}
	return table, nil
}

// ref names the column for the catalogue.
func ref(p dualwrite.Pair) catalog.Ref {
	return catalog.Ref{Schema: p.Schema, Table: p.Table, Column: p.Column, Shadow: p.Shadow, Retired: p.Retired, Mark: p.Mark}
}

// otherTriggers reports whether updates of the copy would fire triggers of the
// table.
func otherTriggers(table *catalog.Table) bool {
	for _, t := range table.Triggers {
		if t.Update && t.Enabled == "O" && t.Name != table.Ref.Trigger() {
			return true
		}
	}
	return false
}

// estimate fills in the costs. A copied row is written once more with its
// header, the new value and full-page images, and its old version stays until
// vacuum.
func (p *Plan) estimate(table *catalog.Table, j *job.Job) {
	id := table.Identity
	rows := max(int64(id.Rows), 0)
	p.Estimates = Estimates{Rows: rows, TableSize: id.TableBytes, WAL: 2*id.TableBytes + rows*64, Extra: id.TableBytes + id.IndexBytes/2 + rows*16}
	if j.Copy.MaxRate > 0 {
		p.Estimates.Shortest = time.Duration(float64(rows) / float64(j.Copy.MaxRate) * float64(time.Second)).Round(time.Second)
	}
}

func decodePlan(text []byte) (*Plan, error) {
	p := new(Plan)
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("read the plan in the state: %w", err)
	}
	return p, nil
}

// Prepare plans a job and records the plan in the database, unless it was
// planned before from the same file.
func Prepare(ctx context.Context, o Options) (*Plan, error) {
	conn, err := o.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if known, err := known(ctx, conn, o.Job); known != nil || err != nil {
		return known, err
	}
	p, err := MakePlan(ctx, conn, o.Job)
	if err != nil {
		return p, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	if err := state.Install(ctx, conn); err != nil {
		return nil, err
	}
	table, columns, err := state.Describe(ctx, conn, p.Table, o.Job.Column)
	if err != nil {
		return nil, err
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	_, err = state.Create(ctx, conn, state.Job{
		Name: o.Job.Name, Source: o.Job.Text, Run: hex.EncodeToString(id), Relation: p.Table, Table: table, Columns: columns, Plan: text,
	})
	return p, err
}

// known returns the plan of a job that is in the state and was planned from
// the same file.
func known(ctx context.Context, conn *pgx.Conn, j *job.Job) (*Plan, error) {
	if err := state.Check(ctx, conn); errors.Is(err, state.ErrNoSchema) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	row, err := state.Load(ctx, conn, j.Name)
	switch {
	case errors.Is(err, state.ErrNoJob):
		return nil, nil
	case err != nil:
		return nil, err
	case row.Phase.Ended():
		return nil, nil
	case row.Digest != j.SHA256:
		return nil, &state.DigestError{Job: j.Name, Planned: row.Digest, Given: j.SHA256}
	}
	return decodePlan(row.Plan)
}

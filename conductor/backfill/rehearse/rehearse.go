// Package rehearse runs cutover and rollback of a backfill on a clone of the
// database while load is replayed. It follows section 8 of
// docs/spec/backfill.md.
//
// What is done on the clone is given by the caller. The package makes, checks
// and removes the clone, replays the load, and compares the schemas.
package rehearse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Config describes a rehearsal.
type Config struct {
	DSN string // of the primary

	// CloneDSN names a database of the user. If it is empty, a clone is made by
	// pg_basebackup and removed afterwards.
	CloneDSN string

	// Bin is the folder of PostgreSQL's programs. Without it, those in PATH are
	// used. A clone is only made with it.
	Bin string

	// User is the system user that runs the server of a clone. It is required
	// if this process runs as root, which PostgreSQL refuses.
	User string

	// Dir is the folder in which the clone is made. The user must be able to
	// reach it. The default is that of temporary files.
	Dir string

	Load    Load
	Actions Actions
	Now     func() time.Time // the clock
}

// Actions are what is rehearsed. Each opens connections by c.Connect, and ends
// them.
type Actions struct {
	// Check returns an error if the clone lacks the objects of the job.
	Check func(ctx context.Context, c *Clone) error

	Cutover, Rollback func(ctx context.Context, c *Clone) (Change, error)

	// Differences validates the clone after a cutover.
	Differences func(ctx context.Context, c *Clone) (int64, error)
}

// A Change describes a cutover or rollback that was made.
type Change struct {
	Attempts int           `json:"attempts"`
	Waited   time.Duration `json:"waited"` // for the locks, by the last attempt
	Held     time.Duration `json:"held"`   // the locks
}

// The names of the steps.
const (
	Cutover      = "cutover"
	Rollback     = "rollback"
	CutoverAgain = "cutover-again"
	Restore      = "restore" // of a clone that is not removed, without load
)

// A Step is the result of one step.
type Step struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"duration"`
	Change   Change        `json:"change"`
	Load     LoadResult    `json:"load"`
	Error    string        `json:"error,omitempty"`
}

// The kinds of clones.
const (
	Basebackup = "basebackup" // made by pg_basebackup, and removed
	Named      = "named"      // of the user
)

// A Result is the result of a rehearsal.
type Result struct {
	Clone       string        `json:"clone"`
	System      string        `json:"system"` // system identifier of the clone
	Started     time.Time     `json:"started"`
	Ended       time.Time     `json:"ended"`
	Copying     time.Duration `json:"copying,omitzero"` // until the clone accepted connections
	Steps       []Step        `json:"steps"`
	Differences int64         `json:"differences"` // rows that differ after the last cutover

	// SchemaDifferences are the lines by which the schema after the rollback
	// differs from the one before the cutover; at most MaxLines.
	SchemaDifferences []string `json:"schemaDifferences,omitempty"`

	// Failures are the reasons for which the rehearsal has not succeeded.
	Failures []string `json:"failures,omitempty"`
}

// Passed reports whether the rehearsal has succeeded.
func (r *Result) Passed() bool { return len(r.Failures) == 0 }

func (r *Result) fail(format string, args ...any) {
	r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
}

// ErrSame is wrapped by the error about a clone that is the primary itself.
var ErrSame = errors.New("the clone is the primary")

// Run rehearses. An error means that the rehearsal could not be done. If a step
// fails, the result has not passed. A clone that was made is always removed.
func Run(ctx context.Context, c Config) (result Result, err error) {
	result.Started = c.Now()
	clone, err := open(ctx, c)
	if err != nil {
		return result, fmt.Errorf("rehearsal: %w", err)
	}
	defer func() {
		if remove := clone.remove(); remove != nil && err == nil {
			err = fmt.Errorf("rehearsal: remove the clone: %w", remove)
		}
		result.Ended = c.Now()
	}()
	result.Clone, result.System, result.Copying = clone.kind, clone.System, c.Now().Sub(result.Started)
	if err := c.Actions.Check(ctx, clone); err != nil {
		return result, fmt.Errorf("rehearsal: the clone is not usable: %w", err)
	}
	if err := rehearse(ctx, c, clone, &result); err != nil {
		return result, fmt.Errorf("rehearsal: %w", err)
	}
	return result, nil
}

// rehearse runs the steps until one fails.
func rehearse(ctx context.Context, c Config, clone *Clone, result *Result) error {
	load, err := newReplay(ctx, c, clone)
	if err != nil {
		return err
	}
	before, err := clone.schema(ctx)
	if err != nil {
		return err
	}
	if ok, err := step(ctx, c, clone, load, result, Cutover, c.Actions.Cutover); !ok {
		return err
	}
	if ok, err := step(ctx, c, clone, load, result, Rollback, c.Actions.Rollback); !ok {
		return err
	}
	after, err := clone.schema(ctx)
	if err != nil {
		return err
	}
	if result.SchemaDifferences = difference(before, after); result.SchemaDifferences != nil {
		result.fail("the schema after the rollback differs from the one before")
	}
	if ok, err := step(ctx, c, clone, load, result, CutoverAgain, c.Actions.Cutover); !ok {
		return err
	}
	if result.Differences, err = c.Actions.Differences(ctx, clone); err != nil {
		return fmt.Errorf("validate the clone: %w", err)
	}
	if result.Differences > 0 {
		result.fail("%d rows differ", result.Differences)
	}
	if clone.kind == Named {
		_, err = step(ctx, c, clone, nil, result, Restore, c.Actions.Rollback)
	}
	return err
}

// step runs an action while the load is replayed, and reports whether it
// succeeded. The error is about the load or of ctx.
func step(ctx context.Context, c Config, clone *Clone, load replay, result *Result, name string,
	action func(context.Context, *Clone) (Change, error)) (bool, error) {
	s := Step{Name: name}
	var failure error
	act := func(ctx context.Context) {
		start := c.Now()
		s.Change, failure = action(ctx, clone)
		s.Duration = c.Now().Sub(start)
	}
	var err error
	if load == nil {
		act(ctx)
	} else {
		s.Load, err = during(ctx, c.Load, load, act)
	}
	if failure != nil {
		s.Error = failure.Error()
		result.fail("%s: %v", name, failure)
	}
	result.Steps = append(result.Steps, s)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return false, fmt.Errorf("replay the load in the step %s: %w", name, err)
	case s.Load.Failed > 0:
		result.fail("%s: %d of %d transactions of the load failed: %s", name, s.Load.Failed, s.Load.Transactions+s.Load.Failed, s.Load.Error)
	}
	return failure == nil, nil
}

// A Clone is the database on which a job is rehearsed.
type Clone struct {
	System string // system identifier

	target
	kind   string
	bin    string
	ssl    []string     // settings of TLS for PostgreSQL's programs
	remove func() error // ends and removes what was made
}

// Connect opens a connection to the clone.
func (c *Clone) Connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.ConnectConfig(ctx, c.config.Copy())
}

var errDSN = errors.New("the connection string is invalid: it must be a URL such as postgres://user@host/database, or have the form key=value")

// open makes the clone, or checks the one that is named.
func open(ctx context.Context, c Config) (*Clone, error) {
	if c.CloneDSN == "" {
		return makeClone(ctx, c)
	}
	config, err := pgx.ParseConfig(c.CloneDSN)
	if err != nil {
		return nil, errDSN // the error could quote a password
	}
	clone := &Clone{target: target{config: config}, kind: Named, bin: c.Bin, ssl: tlsSettings(c.CloneDSN), remove: func() error { return nil }}
	if err := clone.checkSeparate(ctx, c.DSN); err != nil {
		return nil, err
	}
	return clone, nil
}

// checkSeparate returns an error if the clone is the primary or a standby. An
// advisory lock that is taken in the primary must not be visible in the clone.
// This also holds for a promoted standby, which has the name and the system
// identifier of the primary, and finds the primary behind any other address.
func (c *Clone) checkSeparate(ctx context.Context, dsn string) error {
	primary, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to the primary: %w", err)
	}
	defer primary.Close(context.WithoutCancel(ctx)) // ends the transaction
	conn, reached, err := reach(ctx, c.config)
	if err != nil {
		return fmt.Errorf("connect to the clone: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	c.target = reached // for the connections that follow
	tx, err := primary.Begin(ctx)
	if err != nil {
		return fmt.Errorf("primary: %w", err)
	}
	var key int64
	if err := tx.QueryRow(ctx, `SELECT k FROM (SELECT (random() * 9e15)::int8 AS k OFFSET 0) AS x, LATERAL (SELECT pg_advisory_xact_lock(k)) AS y`).Scan(&key); err != nil {
		return fmt.Errorf("primary: %w", err)
	}
	var same, standby bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
			AND classid::int8 << 32 | objid::int8 = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
		pg_is_in_recovery(), (SELECT system_identifier::text FROM pg_control_system())`, key).Scan(&same, &standby, &c.System); err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	if same {
		return fmt.Errorf("%w: name another database or another server", ErrSame)
	}
	if standby {
		return errors.New("the clone is a standby, which accepts no writes: promote it")
	}
	return nil
}

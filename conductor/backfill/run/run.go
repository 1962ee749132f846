// Package run executes backfill jobs: it plans, expands, copies, validates,
// cuts over, rolls back and finishes, and records each step. It connects the
// packages beside it, and follows [docs/spec/backfill.md].
//
// [docs/spec/backfill.md]: https://muniment.dev/spec/backfill
package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/metrics"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
)

// Options are the surroundings of a job. Job, Connect and Ledger are required.
type Options struct {
	Job  *job.Job
	File string // base name of JOB.yaml, for evidence
	Dir  string // folder of JOB.yaml, for relative paths

	TrustPolicy []byte // of the ledger, for the report
	Prometheus  string // URL, which can contain credentials; empty for that of the job

	// Connect opens a connection to the target database.
	Connect func(context.Context) (*pgx.Conn, error)

	// Ledger opens the sender of the job's evidence.
	Ledger func(record.Outbox, record.Job) (*record.Sender, error)

	Actor string // the person or service that acts, for evidence
	Wait  bool   // for another runner, instead of refusing

	// ExitPaused ends the copy when the job is paused. Otherwise, it waits for
	// a request to resume.
	ExitPaused bool

	// WithoutLedger permits a rollback whose intent is not acknowledged.
	WithoutLedger bool

	Watch   Watcher              // may be nil
	Metrics *metrics.Metrics     // may be nil
	Traces  trace.TracerProvider // may be nil
	Now     func() time.Time     // time.Now
}

// A Watcher is informed about the progress of a job. Its methods must return
// soon, and can be called from several goroutines.
type Watcher interface {
	Event(what string, details any) // a line of the timeline
	Copied(Progress)
	Sent(record.Attempt)
	Waiting(state.Holder) // another runner holds the job
}

// Progress is the progress of a copy.
type Progress struct {
	Visited  int64         `json:"visited"`  // rows
	Written  int64         `json:"written"`  // rows
	Estimate int64         `json:"estimate"` // rows of the table
	Share    float64       `json:"share"`    // 0 to 1
	Rate     float64       `json:"rate"`     // rows per second
	Left     time.Duration `json:"left"`     // 0: unknown
	Reason   string        `json:"reason,omitempty"`
	Window   string        `json:"window,omitempty"` // of the canary analysis
}

// PausedReason is the Reason of the Progress of a job that is paused.
const PausedReason = "paused"

// ErrPaused is the error of a copy that ends because the job is paused.
var ErrPaused = errors.New("the job is paused: run conductor backfill resume, or rollback")

// ErrNotPassed is the error of a copy whose last checkpoint did not pass. All
// rows are copied, and the gate refuses the cutover.
var ErrNotPassed = errors.New("all rows are copied, but the checkpoint at 100% did not pass: see conductor backfill status, and roll back")

// ErrRolledBack is the error of a copy that was rolled back.
var ErrRolledBack = errors.New("the job was rolled back")

// tracerName is the name of the tracer of the package.
const tracerName = "muniment.dev/muniment/conductor/backfill"

// A Runner executes one job. It is not safe for concurrent use.
type Runner struct {
	Options
	conn     *pgx.Conn // of the lock
	hold     *state.Hold
	row      state.Job
	plan     *Plan
	function string // quoted name of the trigger function
	sender   *record.Sender
	wake     chan struct{} // a new entry is in the outbox
	stop     func() error  // ends the sender
	account  *account      // of slowdowns

	// hinted is false while a rollback waits for the ledger, until the person
	// is informed that it is possible without it.
	hinted atomic.Bool

	tracer trace.Tracer
	parent trace.Span // of the process
	phase  trace.Span // of the phase; nil before the first
}

// Open takes the hold of a planned job. The caller must close the runner.
func Open(ctx context.Context, o Options) (_ *Runner, err error) {
	r := &Runner{Options: o, wake: make(chan struct{}, 1)}
	r.defaults()
	r.hinted.Store(true)
	r.account, r.tracer, r.parent = newAccount(r), r.Traces.Tracer(tracerName), trace.SpanFromContext(ctx)
	if r.conn, err = o.Connect(ctx); err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if err := state.Check(ctx, r.conn); err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	hold, row, err := state.Acquire(ctx, r.conn, state.Claim{
		Job: o.Job.Name, Digest: o.Job.SHA256, Wait: o.Wait, Waiting: r.Watch.Waiting,
		Holder: state.Holder{Host: host, PID: os.Getpid(), Started: r.Now()},
	})
	if err != nil {
		return nil, err
	}
	r.hold = hold
	r.setRow(row)
	if r.plan, err = decodePlan(r.row.Plan); err != nil {
		return nil, err
	}
	if err := r.restore(ctx); err != nil {
		return nil, err
	}
	if err := r.row.Verify(ctx, r.conn); err != nil && !r.row.Phase.Ended() {
		return nil, err
	}
	if err := r.conn.QueryRow(ctx, "SELECT quote_ident($1) || '.' || quote_ident($2)", state.Schema, o.Job.Name).Scan(&r.function); err != nil {
		return nil, err
	}
	return r, r.startSender(ctx)
}

func (o *Options) defaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Watch == nil {
		o.Watch = quiet{}
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(o.Job.Name, "")
	}
	if o.Traces == nil {
		o.Traces = noop.NewTracerProvider()
	}
}

// Close releases the job. Entries that are not acknowledged stay in the outbox.
func (r *Runner) Close() error {
	var all []error
	if r.stop != nil {
		all = append(all, r.stop())
		r.stop = nil
	}
	if r.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if r.hold != nil && !r.conn.IsClosed() {
			if err := r.hold.Release(ctx); err != nil && !errors.Is(err, state.ErrFenced) {
				all = append(all, err)
			}
		}
		_ = r.conn.Close(ctx)
		r.conn = nil
	}
	r.endPhase()
	return errors.Join(all...)
}

// Phase returns the phase of the job.
func (r *Runner) Phase() state.Phase { return r.row.Phase }

// within changes the state of the job. It opens a new connection if that of the
// lock was lost: the fence decides whether the runner still holds the job.
func (r *Runner) within(ctx context.Context, f func(*state.Tx) error) error {
	if !r.conn.IsClosed() {
		return r.hold.Within(ctx, r.conn, f)
	}
	conn, err := r.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return r.hold.Within(ctx, conn, f)
}

// reload reads the row of the job again.
func (r *Runner) reload(ctx context.Context) error {
	return r.within(ctx, func(tx *state.Tx) error {
		row, err := tx.Load(ctx)
		if err == nil {
			r.setRow(row)
		}
		return err
	})
}

// note adds a line to the timeline.
func (r *Runner) note(ctx context.Context, tx *state.Tx, what string, details any) error {
	r.Watch.Event(what, details)
	return tx.Record(ctx, what, details)
}

func (r *Runner) random() float64 { return rand.Float64() }

// quiet is a Watcher that does nothing.
type quiet struct{}

func (quiet) Event(string, any)    {}
func (quiet) Copied(Progress)      {}
func (quiet) Sent(record.Attempt)  {}
func (quiet) Waiting(state.Holder) {}

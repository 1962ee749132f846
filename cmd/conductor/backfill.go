package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"muniment.dev/muniment/conductor/backfill/checking"
	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/rehearse"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
	"muniment.dev/muniment/internal/term"
)

type backfillCmd struct {
	Plan     planCmd     `cmd:"" help:"Read the catalogue, and print what the backfill will do."`
	Run      runCmd      `cmd:"" help:"Expand the table and copy its rows. Continues where it stopped."`
	Status   statusCmd   `cmd:"" help:"Print the phase, the progress and the checkpoints of a job."`
	Pause    pauseCmd    `cmd:"" help:"Stop the copy. Both columns are still written."`
	Resume   resumeCmd   `cmd:"" help:"Continue a paused copy."`
	Throttle throttleCmd `cmd:"" help:"Show or change the limits that slow the copy down."`
	Validate validateCmd `cmd:"" help:"Compare both columns of every row."`
	Rehearse rehearseCmd `cmd:"" help:"Run cutover and rollback on a clone, under load."`
	Cutover  cutoverCmd  `cmd:"" help:"Give the column's name to the new column."`
	Rollback rollbackCmd `cmd:"" help:"Undo the cutover, or the whole backfill."`
	Finish   finishCmd   `cmd:"" help:"Drop the old column. This cannot be undone."`
	Report   reportCmd   `cmd:"" help:"Write the report of a job as HTML and JSON."`
}

// jobFlags are the flags of all commands.
type jobFlags struct {
	Job   string `arg:"" help:"Job file, such as JOB.yaml." type:"path" predictor:"file"`
	Actor string `help:"Who acts, in the evidence. Default: the user of the system." placeholder:"NAME" env:"CONDUCTOR_ACTOR"`
	term.ResultFlags
}

// runnerFlags are the flags of commands that take over a job.
type runnerFlags struct {
	Wait bool `help:"Wait for another process that runs the job, instead of failing."`
	exportFlags
}

type planCmd struct{ jobFlags }

func (planCmd) Help() string {
	return `Reads the catalogue of the database and prints the findings about the table, the SQL of each step, the result of both expressions for a sample of rows, and
estimates of rows, WAL, disk and time. It changes nothing.

Exit code: 0 possible; 1 not possible, with the reasons and remedies; 2 failed.

Examples:
  conductor backfill plan JOB.yaml
  conductor backfill plan JOB.yaml --json`
}

func (c *planCmd) Run(a *term.App) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	conn, err := o.Connect(a.Ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	p, err := run.MakePlan(a.Ctx, conn, o.Job)
	if p == nil {
		return err
	}
	var blocked *run.BlockedError
	if err != nil && !errors.As(err, &blocked) {
		return err
	}
	if printed := c.Print(a, planResult{p, o.Job}); printed != nil {
		return printed
	}
	if blocked != nil {
		return term.ExitWith(term.ExitNo, errors.New(""))
	}
	return nil
}

type runCmd struct {
	jobFlags `set:"json=Print one JSON object for each event, and one for the result."`
	runnerFlags
	ExitPaused bool `help:"End with exit code 1 when the job is paused. Otherwise wait until it is resumed."`
}

func (runCmd) Help() string {
	return `Plans the job if that was not done, creates the new column with its trigger, and copies the rows in small transactions, within the job's windows and limits.
Each checkpoint is judged and recorded in the ledger. The command can be ended at any time, even by a power failure, and started again: it continues where it
stopped. Only one process runs a job.

Exit code: 0 all rows are copied; 1 paused, rolled back, or run by another process; 2 failed; 130 interrupted.

Examples:
  conductor backfill run JOB.yaml
  conductor backfill run JOB.yaml --exit-paused --json
  conductor backfill run JOB.yaml --metrics-listen :9481 --traces http://127.0.0.1:4318/v1/traces`
}

func (c *runCmd) Run(a *term.App) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	o.Wait, o.ExitPaused = c.Wait, c.ExitPaused
	x, err := c.export(a, &c.jobFlags, &o, "run")
	if err != nil {
		return err
	}
	defer x.end()
	w := newWatcher(a, c.JSON)
	o.Watch = w
	defer w.finish()
	if _, err := run.Prepare(x.ctx, o); err != nil {
		return refusal(err)
	}
	r, err := run.Open(x.ctx, o)
	if err != nil {
		return refusal(err)
	}
	err = r.Copy(x.ctx)
	phase := r.Phase()
	err = errors.Join(err, r.Close())
	w.finish()
	if err == nil {
		err = c.Print(a, phaseResult{o.Job.Name, phase, "all rows are copied"})
	}
	return refusal(err)
}

// refusal gives errors that are answers the exit code 1.
func refusal(err error) error {
	var blocked *run.BlockedError
	var held *state.HeldError
	var phase *state.TransitionError
	var missing *run.NotReadyError
	var locked *cutover.BlockedError
	if errors.Is(err, run.ErrPaused) || errors.Is(err, run.ErrNotPassed) || errors.Is(err, run.ErrRolledBack) || errors.As(err, &blocked) || errors.As(err, &held) || errors.As(err, &phase) ||
		errors.As(err, &missing) || errors.As(err, &locked) || isGate(err) {
		return term.ExitWith(term.ExitNo, err)
	}
	return err
}

type statusCmd struct{ jobFlags }

func (statusCmd) Help() string {
	return `Prints the phase of the job, its progress, its checkpoints and its latest validation, and what to do next. It works while another process runs the job, and
also with an edited job file.

Exit code: 0 printed; 2 failed.

Examples:
  conductor backfill status JOB.yaml
  watch conductor backfill status JOB.yaml`
}

func (c *statusCmd) Run(a *term.App) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	s, err := run.ReadStatus(a.Ctx, o)
	if err != nil {
		return err
	}
	return c.Print(a, statusResult{s})
}

type pauseCmd struct{ jobFlags }

func (pauseCmd) Help() string {
	return `Stops the copy after the current chunk. Both columns are still written, so nothing is lost.

Exit code: 0 paused; 1 the job is in another phase; 2 failed.

Example:
  conductor backfill pause JOB.yaml`
}

func (c *pauseCmd) Run(a *term.App) error { return c.request(a, run.AskPause, "paused") }

type resumeCmd struct{ jobFlags }

func (resumeCmd) Help() string {
	return `Continues a paused copy. If no process runs the job, start one with "conductor backfill run".

Exit code: 0 resumed; 1 the job is in another phase; 2 failed.

Example:
  conductor backfill resume JOB.yaml`
}

func (c *resumeCmd) Run(a *term.App) error { return c.request(a, run.AskResume, "resumed") }

func (f *jobFlags) request(a *term.App, action, done string) error {
	o, err := f.options(a)
	if err != nil {
		return err
	}
	if err := run.Request(a.Ctx, o, action, nil); err != nil {
		return refusal(err)
	}
	return f.Print(a, doneResult{o.Job.Name, done})
}

type throttleCmd struct {
	jobFlags
	Set map[string]string `help:"Limit of an input, such as replication_lag=5s, wal_rate=64MiB, blocked_sessions=3, or none. Can be repeated." placeholder:"INPUT=LIMIT"`
}

func (throttleCmd) Help() string {
	return `Prints the limits in force, or changes them, also while another process runs the job. Each change is recorded in the ledger.

Exit code: 0 printed or changed; 2 failed.

Examples:
  conductor backfill throttle JOB.yaml
  conductor backfill throttle JOB.yaml --set replication_lag=2s --set wal_rate=none`
}

func (c *throttleCmd) Run(a *term.App) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	if len(c.Set) > 0 {
		set := map[throttle.Input]string{}
		for k, v := range c.Set {
			set[throttle.Input(k)] = v
		}
		if err := run.Request(a.Ctx, o, run.AskThrottle, set); err != nil {
			return refusal(err)
		}
	}
	limits, err := run.LimitsInForce(a.Ctx, o)
	if err != nil {
		return err
	}
	return c.Print(a, limitsResult(limits))
}

type validateCmd struct {
	jobFlags `set:"json=Print one JSON object for each event, and one for the result."`
	runnerFlags
	Repair bool `help:"Compute the secondary column of the rows that differ again."`
}

func (validateCmd) Help() string {
	return `Compares both columns of every row, within the job's limits, and lists the keys of rows that differ.

Exit code: 0 no row differs; 1 rows differ; 2 failed.

Examples:
  conductor backfill validate JOB.yaml
  conductor backfill validate JOB.yaml --repair`
}

func (c *validateCmd) Run(a *term.App) error {
	var result checking.Validation
	err := c.with(a, "validate", c.runnerFlags, func(ctx context.Context, r *run.Runner) (err error) {
		result, err = r.Validate(ctx, c.Repair)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.Print(a, validationResult{result}); err != nil {
		return err
	}
	if result.Differences > 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// with runs f with the runner of the job.
func (f *jobFlags) with(a *term.App, command string, flags runnerFlags, do func(context.Context, *run.Runner) error, change ...func(*run.Options)) error {
	o, err := f.options(a)
	if err != nil {
		return err
	}
	o.Wait = flags.Wait
	for _, c := range change {
		c(&o)
	}
	x, err := flags.export(a, f, &o, command)
	if err != nil {
		return err
	}
	defer x.end()
	w := newWatcher(a, f.JSON)
	o.Watch = w
	defer w.finish()
	r, err := run.Open(x.ctx, o)
	if err != nil {
		return refusal(err)
	}
	err = do(x.ctx, r)
	return refusal(errors.Join(err, r.Close()))
}

type cutoverCmd struct {
	jobFlags `set:"json=Print one JSON object for each event, and one for the result."`
	runnerFlags
	Force bool `help:"Cancel the sessions that block the cutover, by the policy cutover.force of the job."`
}

func (cutoverCmd) Help() string {
	return `Swaps the names of both columns in one short transaction. It requires a validation without differences, and a pass of the ledger's gate, which looks for a
rehearsal that is recent enough and for passed checkpoints. Afterwards the old column is still written, so that a rollback loses nothing.

Exit code: 0 done; 1 refused by the gate, or blocked by other sessions, which are listed; 2 failed.

Examples:
  conductor backfill cutover JOB.yaml
  conductor backfill cutover JOB.yaml --force`
}

func (c *cutoverCmd) Run(a *term.App) error {
	var result cutover.Outcome
	err := c.with(a, "cutover", c.runnerFlags, func(ctx context.Context, r *run.Runner) (err error) {
		result, err = r.Cutover(ctx, c.Force)
		return err
	})
	if err != nil {
		return err
	}
	return c.Print(a, swapResult{"cut over", result})
}

type rollbackCmd struct {
	jobFlags `set:"json=Print one JSON object for each event, and one for the result."`
	runnerFlags
	Reason        string `help:"Reason, for the evidence." placeholder:"TEXT"`
	Drop          bool   `help:"After cutover: also remove the new column. Otherwise the job can be cut over again."`
	WithoutLedger bool   `help:"Roll back even if the ledger does not answer within ten seconds. The steps are recorded later."`
}

func (rollbackCmd) Help() string {
	return `Before cutover, removes the new column, the trigger and its function. After cutover, gives the name back to the old column, which contains every write.
If another process copies the rows of the job, that process is asked to roll back.

Exit code: 0 rolled back; 1 the phase does not allow it, or other sessions block it; 2 failed.

Examples:
  conductor backfill rollback JOB.yaml --reason "p99 regression"
  conductor backfill rollback JOB.yaml --drop`
}

func (c *rollbackCmd) Run(a *term.App) error {
	var done phaseResult
	err := c.with(a, "rollback", c.runnerFlags, func(ctx context.Context, r *run.Runner) error {
		err := r.Rollback(ctx, c.Reason, c.Drop)
		done = phaseResult{r.Job.Name, r.Phase(), "rolled back"}
		return err
	}, func(o *run.Options) { o.WithoutLedger = c.WithoutLedger })
	var held *state.HeldError
	if errors.As(err, &held) && !c.Drop && !c.WithoutLedger {
		return c.request(a, run.AskRollback, "the process that runs the job rolls back")
	}
	if err != nil {
		return err
	}
	return c.Print(a, done)
}

type finishCmd struct {
	jobFlags `set:"json=Print one JSON object for each event, and one for the result."`
	runnerFlags
}

func (finishCmd) Help() string {
	return `Drops the old column, the trigger and its function. The job ends, and cannot be rolled back any more.

Exit code: 0 finished; 1 the phase does not allow it, or other sessions block it; 2 failed.

Example:
  conductor backfill finish JOB.yaml`
}

func (c *finishCmd) Run(a *term.App) error {
	var done phaseResult
	err := c.with(a, "finish", c.runnerFlags, func(ctx context.Context, r *run.Runner) error {
		err := r.Finish(ctx)
		done = phaseResult{r.Job.Name, r.Phase(), "finished: the old column is gone"}
		return err
	})
	if err != nil {
		return err
	}
	return c.Print(a, done)
}

type rehearseCmd struct {
	jobFlags `set:"json=Print one JSON object for each event, and one for the result."`
	runnerFlags
}

func (rehearseCmd) Help() string {
	return `Makes a clone of the database with pg_basebackup, or uses the one that rehearsal.dsn_env names, and runs cutover, rollback and cutover on it while the job's
load is replayed. The result is recorded in the ledger, where the gate looks for it.

Exit code: 0 succeeded; 1 a step failed, rows differ, or the schema after the rollback is another one; 2 failed.

Example:
  conductor backfill rehearse JOB.yaml`
}

func (c *rehearseCmd) Run(a *term.App) error {
	var result rehearse.Result
	err := c.with(a, "rehearse", c.runnerFlags, func(ctx context.Context, r *run.Runner) (err error) {
		dsn, clone, err := rehearsalDSNs(r.Job)
		if err != nil {
			return err
		}
		result, err = r.Rehearse(ctx, dsn, clone)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.Print(a, rehearsalResult{result}); err != nil {
		return err
	}
	if !result.Passed() {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

type reportCmd struct {
	jobFlags
	Output string `short:"o" help:"Folder for report.html and report.json." default:"." placeholder:"DIR" type:"path"`
}

func (reportCmd) Help() string {
	return `Writes the report of a job as one HTML page without scripts, and as a JSON document with all entries and receipts. The receipts are verified offline.

Exit code: 0 written; 1 a receipt does not verify; 2 failed.

Example:
  conductor backfill report JOB.yaml -o report`
}

func (c *reportCmd) Run(a *term.App) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	r, err := run.Report(a.Ctx, o)
	if err != nil {
		return err
	}
	page, err := r.HTML()
	if err != nil {
		return err
	}
	document, err := r.JSON()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Output, 0o777); err != nil {
		return err
	}
	files := map[string][]byte{"report.html": page, "report.json": document}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := a.WriteOutput(filepath.Join(c.Output, name), files[name]); err != nil {
			return err
		}
	}
	if err := c.Print(a, reportResult{c.Output, r.Verified, r.Pending, r.Faults}); err != nil {
		return err
	}
	if len(r.Faults) > 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

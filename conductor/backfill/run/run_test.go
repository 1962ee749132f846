package run_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/checking"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const jobFile = `
version: 1
name: asset-size
entity: Asset
database: {dsn_env: UNUSED}
table: public.asset
column: size_kb
type: bigint
up: %s
down: %s
copy: {target: 20ms, chunk: 200, max_chunk: 1000}
throttle: {dead_tuples: 0, blocked_sessions: 0, lock_queue: 0}
checkpoints: {every: 20, sample: 50}
aca: {pairs: 0}
ledger: {url: %s, tenant: acme, trust_policy: policy}
`

// A transformation is the SQL of a job in both directions.
type transformation struct{ up, down string }

var (
	right = transformation{"size_kb::bigint * 1024", "(size_kb / 1024)::integer"}
	wrong = transformation{"nullif(size_kb::bigint, 7) * 1000", "(size_kb / 1024)::integer"}

	// negative violates the constraint of the column.
	negative = transformation{"-size_kb::bigint", "(-size_kb)::integer"}
)

// server is a server that the tests share. Each test has its own database.
var server *postgresrig.Rig

func TestMain(m *testing.M) {
	var err error
	if server, err = postgresrig.Start(context.Background(), postgresrig.Config{OnDisk: soak.Full()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

// A rig is a database with a table of assets, and a ledger.
type rig struct {
	t       *testing.T
	db      *postgresrig.Rig
	name    string // of the database
	ledger  *ledgerrig.Server
	token   string
	options run.Options
	before  string // definition of the database before the job
}

func newRig(t *testing.T, rows int, how transformation) *rig { return newRigOn(t, server, rows, how) }

func newRigOn(t *testing.T, db *postgresrig.Rig, rows int, how transformation) *rig {
	t.Helper()
	r := &rig{t: t, db: db, ledger: ledgerrig.Start()}
	t.Cleanup(r.ledger.Close)
	var err error
	if r.name, err = r.db.NewDatabase(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.exec(fmt.Sprintf(`CREATE TABLE asset (id bigint PRIMARY KEY, name text NOT NULL, size_kb integer CHECK (size_kb >= 0));
		CREATE INDEX asset_size ON asset (size_kb);
		INSERT INTO asset SELECT i, 'asset ' || i, i %% 100 FROM generate_series(1, %d) AS i; ANALYZE asset;`, rows))
	if r.before, err = r.db.Schema(t.Context(), r.name); err != nil {
		t.Fatal(err)
	}
	r.issue()
	j, err := job.Parse(fmt.Appendf(nil, jobFile, how.up, how.down, r.ledger.URL))
	if err != nil {
		t.Fatal(err)
	}
	r.options = run.Options{
		Job: j, File: "job.yaml", Actor: "test", ExitPaused: true,
		Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, r.db.URL(r.name)) },
		Ledger: func(o record.Outbox, id record.Job) (*record.Sender, error) {
			policy, err := receipt.ParseTrustPolicy("policy", r.ledger.Policy)
			if err != nil {
				return nil, err
			}
			return record.New(record.Options{Ledger: muniment.Options{Server: r.ledger.URL, Token: r.token, Tenant: "acme", Policy: policy}, Outbox: o, Job: id, MaxWait: 50 * time.Millisecond})
		},
	}
	return r
}

// issue makes a token for the conductor.
func (r *rig) issue() {
	admin, err := muniment.New(muniment.Options{Server: r.ledger.URL, Token: r.ledger.Token})
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := admin.Admin.IssueToken(r.t.Context(), connect.NewRequest(&munimentv1.IssueTokenRequest{Tenant: "acme", Grant: &munimentv1.Grant{Id: "conductor", Role: munimentv1.Role_ROLE_APPENDER}}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.token = res.Msg.Token
}

func (r *rig) exec(sql string) {
	r.t.Helper()
	if err := r.db.Exec(r.t.Context(), r.name, sql); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) number(sql string) (n int) {
	r.t.Helper()
	conn, err := r.options.Connect(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(r.t.Context(), sql).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// reports returns the summaries of all checkpoints.
func (r *rig) reports() (all []string) {
	s, err := run.ReadStatus(r.t.Context(), r.options)
	if err != nil {
		return []string{err.Error()}
	}
	for _, c := range s.Checkpoints {
		all = append(all, fmt.Sprintf("%g%%: %s", c.Percent, c.Summary))
	}
	return all
}

// open prepares and opens the job.
func (r *rig) open() *run.Runner {
	r.t.Helper()
	if _, err := run.Prepare(r.t.Context(), r.options); err != nil {
		r.t.Fatal(err)
	}
	runner, err := run.Open(r.t.Context(), r.options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = runner.Close() })
	return runner
}

// load writes to the table until the returned function is called, which returns
// the number of writes.
func (r *rig) load(seed uint64) (stop func() int) {
	return r.loadOf(seed, "UPDATE asset SET size_kb = %[2]d WHERE id %% 1000 = %[1]d", "INSERT INTO asset VALUES (%[3]d, 'new', %[2]d)", "DELETE FROM asset WHERE id = %[1]d",
		"UPDATE asset SET name = 'renamed' WHERE id = %[1]d", "UPDATE asset SET id = id + 500000 WHERE id = %[1]d", "UPDATE asset SET size_kb = NULL WHERE id = %[1]d")
}

// loadOf is load with other statements, which contain an ID, a value, and the
// ID of a new row.
func (r *rig) loadOf(seed uint64, statements ...string) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	writes := 0
	wg.Go(func() {
		random := rand.New(rand.NewPCG(seed, 0))
		conn, err := r.options.Connect(ctx)
		for next := 1_000_000; ctx.Err() == nil; next++ {
			if err != nil || conn.IsClosed() {
				conn, err = r.options.Connect(ctx)
				continue
			}
			id := random.IntN(1000)
			sql := fmt.Sprintf(statements[random.IntN(len(statements))]+"%.[4]s", id, random.IntN(100), next, "")
			if _, err := conn.Exec(ctx, sql); err == nil {
				writes++
			}
		}
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	})
	return func() int {
		cancel()
		wg.Wait()
		return writes
	}
}

// differing counts the rows whose columns differ, by the expressions alone.
func (r *rig) differing(old, new string) int {
	return r.number(fmt.Sprintf("SELECT count(*) FROM asset WHERE %[2]s IS DISTINCT FROM %[1]s::bigint * 1024 OR %[1]s IS DISTINCT FROM (%[2]s / 1024)::integer", old, new))
}

func TestWholeJob(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, 5000, right)
	runner := r.open()
	stop := r.load(1)
	if err := runner.Copy(ctx); err != nil {
		t.Fatalf("%v: %s", err, r.reports())
	}
	if stop() == 0 {
		t.Error("nothing was written during the copy")
	}
	if n := r.differing("size_kb", "size_kb__new"); n > 0 {
		t.Errorf("%d rows differ", n)
	}
	_, err := runner.Cutover(ctx, false)
	var missing *run.NotReadyError
	if !errors.As(err, &missing) {
		t.Errorf("cutover without a validation: %v", err)
	}
	v, err := runner.Validate(ctx, false)
	if err != nil || v.Differences != 0 || v.Rows == 0 {
		t.Fatalf("validation: %+v, %v", v, err)
	}
	if _, err := runner.Cutover(ctx, false); !errors.Is(err, record.ErrNotPassed) || runner.Phase() != state.Copied {
		t.Errorf("cutover without a control set: phase %s, %v", runner.Phase(), err)
	}
	if err := runner.Rollback(ctx, "test", false); err != nil || runner.Phase() != state.RolledBack {
		t.Fatalf("rollback: phase %s, %v", runner.Phase(), err)
	}
	if err := runner.Acknowledged(ctx); err != nil {
		t.Error(err)
	}
	r.exec("DROP SCHEMA muniment_conductor CASCADE")
	if after, err := r.db.Schema(ctx, r.name); err != nil || after != r.before {
		t.Errorf("the definition after the rollback: %v\n%s\nwant:\n%s", err, after, r.before)
	}
}

// TestWrongTransformation checks that the first checkpoint detects
// transformations that are valid SQL: one that loses values, and one whose
// values violate a constraint.
func TestWrongTransformation(t *testing.T) {
	for _, test := range []struct {
		how    transformation
		failed []string
	}{
		{wrong, []string{checking.ChecksumDown, checking.Nulls}},
		{negative, []string{checking.Constraints}},
	} {
		ctx := t.Context()
		r := newRig(t, 2000, test.how)
		runner := r.open()
		if err := runner.Copy(ctx); !errors.Is(err, run.ErrPaused) {
			t.Fatalf("%s: copy: %v, want paused", test.how.up, err)
		}
		s, err := run.ReadStatus(ctx, r.options)
		if err != nil || len(s.Checkpoints) != 1 || s.Checkpoints[0].Verdict != "blocked" || s.Checkpoints[0].Percent != 20 || s.Phase != state.Paused {
			t.Errorf("%s: status %+v, %v", test.how.up, s, err)
		}
		if failed := r.failedChecks(); !slices.Equal(failed, test.failed) {
			t.Errorf("%s: failed checks %q, want %q", test.how.up, failed, test.failed)
		}
		if err := runner.Rollback(ctx, "wrong", false); err != nil {
			t.Fatal(err)
		}
		r.exec("DROP SCHEMA muniment_conductor CASCADE")
		if after, _ := r.db.Schema(ctx, r.name); after != r.before {
			t.Errorf("the definition after the rollback:\n%s", after)
		}
	}
}

// failedChecks returns the names of the checks that failed at the latest
// checkpoint.
func (r *rig) failedChecks() (names []string) {
	r.t.Helper()
	conn, err := r.options.Connect(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	taken, err := state.Checkpoints(r.t.Context(), conn, r.options.Job.Name)
	if err != nil || len(taken) == 0 {
		r.t.Fatalf("%d checkpoints, %v", len(taken), err)
	}
	var report aca.Report
	if err := json.Unmarshal(taken[len(taken)-1].Report, &report); err != nil {
		r.t.Fatal(err)
	}
	for _, c := range report.Results {
		if c.Result == aca.Fail {
			names = append(names, c.Name)
		}
	}
	return names
}

// TestKilledRunner ends runners at random places, by their context and by the
// end of their sessions, until one has copied all rows.
func TestKilledRunner(t *testing.T) {
	planned := soak.Length(t, "kills of runners", 10, 200)
	seed := soak.Seed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t, 4000, right)
	stop := r.load(seed)
	defer stop()
	kills := 0
	for done := false; !done; {
		ctx, cancel := context.WithCancel(t.Context())
		if kills < planned {
			kills++
			wait := time.Duration(random.IntN(150)) * time.Millisecond
			if random.IntN(2) == 0 {
				time.AfterFunc(wait, cancel)
			} else {
				time.AfterFunc(wait, func() {
					_ = r.db.Exec(context.Background(), r.name, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
				})
			}
		}
		err := attempt(ctx, r)
		done = err == nil
		if errors.Is(err, run.ErrPaused) {
			t.Fatalf("seed %d: %v: %s", seed, err, r.reports())
		}
		cancel()
	}
	stop()
	if n := r.differing("size_kb", "size_kb__new"); n > 0 {
		t.Errorf("seed %d: %d rows differ after %d kills", seed, n, kills)
	}
	if n := r.number("SELECT count(*) FROM asset WHERE size_kb__todo"); n > 0 {
		t.Errorf("seed %d: %d rows are marked", seed, n)
	}
}

// attempt runs the job until it is copied.
func attempt(ctx context.Context, r *rig) error {
	options := r.options
	options.Wait = true
	if _, err := run.Prepare(ctx, options); err != nil {
		return err
	}
	runner, err := run.Open(ctx, options)
	if err != nil {
		return err
	}
	err = runner.Copy(ctx)
	return errors.Join(err, runner.Close())
}

// permit puts a control in force that every cutover satisfies.
func (r *rig) permit() { r.require("evidence.size() > 0") }

// require puts a control with a condition in force.
func (r *rig) require(condition string) {
	r.t.Helper()
	admin, err := muniment.New(muniment.Options{Server: r.ledger.URL, Token: r.ledger.Token, Tenant: "acme"})
	if err != nil {
		r.t.Fatal(err)
	}
	control := `{"id":"STARTED","title":"It was started","state":"active","severity":"low","owner":"dba@acme.example",` +
		`"check":{"require":[{"name":"steps","kinds":["backfill-step"],"unsigned":true,"submitters":["token:conductor"]}],` +
		`"condition":"` + condition + `"},"modes":[{"stage":"cutover","mode":"enforce"}]}`
	set := fmt.Sprintf(`{"version":"1","stages":["cutover"],"controls":[{"id":"STARTED","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(control)))
	for _, e := range [][2]string{{"control", control}, {"control-set", set}} {
		if _, err := admin.Append(r.t.Context(), muniment.Submission{Kind: e[0], Payload: []byte(e[1]), IdempotencyKey: e[0] + condition}); err != nil {
			r.t.Fatal(err)
		}
	}
}

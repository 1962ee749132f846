package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/metrics"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// backfillJob has a copy that a query of its throttle holds. Its checkpoints do
// not pass, because there is no load to compare.
const backfillJob = `
version: 1
name: asset-size
entity: Asset
database: {dsn_env: UNUSED}
table: public.asset
column: size_kb
type: bigint
up: size_kb::bigint * 1024
down: (size_kb / 1024)::integer
copy: {target: 20ms, chunk: 100, max_rate: 20000}
throttle: {dead_tuples: 0, blocked_sessions: 0, lock_queue: 0, query: {sql: SELECT held FROM control, max: 1}}
checkpoints: {every: 50, sample: 50}
aca: {pairs: 6, window: 100ms, database: true}
ledger: {url: %s, tenant: acme, trust_policy: policy}
`

// A backfillRig runs a backfill whose metrics are served.
type backfillRig struct {
	t       *testing.T
	db      *postgresrig.Rig
	options run.Options
	runner  *run.Runner
	address string     // of the metrics
	ended   chan error // result of the copy
}

// startBackfill starts a copy, which is held.
func startBackfill(t *testing.T, ledger *ledgerrig.Server) *backfillRig {
	t.Helper()
	b := &backfillRig{t: t, db: postgresrig.ForTest(t, postgresrig.Config{}), ended: make(chan error, 1)}
	b.exec(`CREATE EXTENSION pg_stat_statements; CREATE TABLE control AS SELECT 100 AS held;
		CREATE TABLE asset (id bigint PRIMARY KEY, size_kb integer); INSERT INTO asset SELECT i, i % 100 FROM generate_series(1, 3000) AS i; ANALYZE asset;`)
	j, err := job.Parse(fmt.Appendf(nil, backfillJob, ledger.URL))
	if err != nil {
		t.Fatal(err)
	}
	token := conductorToken(t, ledger)
	b.options = run.Options{
		Job: j, File: "job.yaml", Actor: "test", Metrics: metrics.New(j.Name, "v1"),
		Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, b.db.URL(postgresrig.User)) },
		Ledger: func(o record.Outbox, id record.Job) (*record.Sender, error) {
			policy, err := receipt.ParseTrustPolicy("policy", ledger.Policy)
			if err != nil {
				return nil, err
			}
			return record.New(record.Options{Ledger: muniment.Options{Server: ledger.URL, Token: token, Tenant: "acme", Policy: policy}, Outbox: o, Job: id})
		},
	}
	if _, err := run.Prepare(t.Context(), b.options); err != nil {
		t.Fatal(err)
	}
	if b.runner, err = run.Open(t.Context(), b.options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.runner.Close() })
	s := httptest.NewServer(b.options.Metrics.Handler())
	t.Cleanup(s.Close)
	b.address = strings.TrimPrefix(s.URL, "http://")
	ctx, cancel := context.WithCancel(t.Context())
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		b.ended <- b.runner.Copy(ctx)
	}()
	t.Cleanup(func() { cancel(); <-copied })
	return b
}

func conductorToken(t *testing.T, ledger *ledgerrig.Server) string {
	t.Helper()
	admin, err := muniment.New(muniment.Options{Server: ledger.URL, Token: ledger.Token})
	if err != nil {
		t.Fatal(err)
	}
	res, err := admin.Admin.IssueToken(t.Context(), connect.NewRequest(&munimentv1.IssueTokenRequest{Tenant: "acme", Grant: &munimentv1.Grant{Id: "conductor", Role: munimentv1.Role_ROLE_APPENDER}}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg.Token
}

func (b *backfillRig) exec(sql string) {
	b.t.Helper()
	if err := b.db.Exec(b.t.Context(), postgresrig.User, sql); err != nil {
		b.t.Fatal(err)
	}
}

// release ends the hold of the copy, which a checkpoint then pauses.
func (b *backfillRig) release() { b.exec("UPDATE control SET held = 0") }

// finish resumes the copy, and validates its rows.
func (b *backfillRig) finish() {
	b.t.Helper()
	asking := b.options
	asking.Metrics = nil
	if err := run.Request(b.t.Context(), asking, run.AskResume, nil); err != nil {
		b.t.Fatal(err)
	}
	if err := <-b.ended; !errors.Is(err, run.ErrNotPassed) {
		b.t.Fatalf("copy: %v", err)
	}
	if _, err := b.runner.Validate(b.t.Context(), false); err != nil {
		b.t.Fatal(err)
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/peers/postgresrig"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// goalRunner is the resident memory of a runner at its peak, at any size of the
// table.
const goalRunner = 64 << 20

// runnerMemory runs whole jobs with checkpoints on tables of two sizes, each in
// a process of its own.
func (b *bench) runnerMemory(ctx context.Context, db *postgresrig.Rig) {
	bin := filepath.Join(b.dir, "conductor")
	if out, err := exec.Command("go", "build", "-o", bin, "./cmd/conductor").CombinedOutput(); err != nil {
		check(fmt.Errorf("build the program: %w\n%s", err, out))
	}
	ledger := ledgerrig.Start()
	defer ledger.Close()
	b.ledgerFiles(ctx, ledger)
	for _, rows := range []int{assets / 10, assets} {
		t := newBackfillTable(ctx, db, rows)
		peak, took := b.runJob(ctx, bin, ledger.URL, t.url, rows)
		t.close(ctx)
		row(fmt.Sprintf("backfill: memory of the runner at its peak, %d rows", rows), mebibytes(peak),
			fmt.Sprintf("goal %s: %.1f×; %.0f rows/s with 5 checkpoints", mebibytes(goalRunner), float64(goalRunner)/float64(peak), float64(rows)/took.Seconds()))
	}
}

// ledgerFiles writes the token and the trust policy of the runner.
func (b *bench) ledgerFiles(ctx context.Context, ledger *ledgerrig.Server) {
	admin, err := muniment.New(muniment.Options{Server: ledger.URL, Token: ledger.Token})
	check(err)
	res, err := admin.Admin.IssueToken(ctx, connect.NewRequest(&munimentv1.IssueTokenRequest{Tenant: "acme", Grant: &munimentv1.Grant{Id: "conductor", Role: munimentv1.Role_ROLE_APPENDER}}))
	check(err)
	check(os.WriteFile(filepath.Join(b.dir, "conductor.token"), []byte(res.Msg.Token), 0o600))
	check(os.WriteFile(filepath.Join(b.dir, "conductor.policy"), ledger.Policy, 0o600))
}

// runJob copies a table by the command, and returns its memory and duration.
func (b *bench) runJob(ctx context.Context, bin, ledger, database string, rows int) (peak int64, took time.Duration) {
	file := filepath.Join(b.dir, fmt.Sprintf("job-%d.yaml", rows))
	check(os.WriteFile(file, fmt.Appendf(nil, `version: 1
name: asset-size-%d
entity: Asset
database: {dsn_env: BENCH_DSN}
table: public.asset
column: size_kb
type: bigint
up: size_kb::bigint * 1024
down: (size_kb / 1024)::integer
throttle: {dead_tuples: 0}
checkpoints: {every: 20}
aca: {pairs: 0}
ledger: {url: %s, tenant: acme, token_file: conductor.token, trust_policy: conductor.policy}
`, rows, ledger), 0o600))
	cmd := exec.CommandContext(ctx, bin, "backfill", "run", file, "--exit-paused", "--json")
	cmd.Env = append(os.Environ(), "BENCH_DSN="+database)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			peak = max(peak, highWater(cmd.Process.Pid))
		case err := <-ended:
			if err != nil {
				check(fmt.Errorf("%s backfill run: %w\n%s", bin, err, &out))
			}
			return peak, time.Since(start)
		}
	}
}

// highWater returns the resident memory of a process at its peak; 0 if it has
// ended. The usage that Wait returns includes the memory of the process that
// has started it.
func highWater(pid int) (kibibytes int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if _, rest, found := bytes.Cut(text, []byte("VmHWM:")); found {
		_, _ = fmt.Fscan(bytes.NewReader(rest), &kibibytes)
	}
	return kibibytes << 10
}

package copying_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/copying"
	"muniment.dev/muniment/internal/soak"
)

// A killer ends connections and runners at random statements. It is used by one
// goroutine.
type killer struct {
	b      *bench
	rng    *rand.Rand
	left   int // kills
	in     int // statements until the next one
	cancel context.CancelFunc
}

func (k *killer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	k.statement(conn)
	return ctx
}

func (k *killer) TraceQueryEnd(_ context.Context, conn *pgx.Conn, _ pgx.TraceQueryEndData) {
	k.statement(conn)
}

func (k *killer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	k.statement(conn)
	return ctx
}

func (k *killer) TraceBatchQuery(_ context.Context, conn *pgx.Conn, _ pgx.TraceBatchQueryData) {
	k.statement(conn)
}

func (k *killer) TraceBatchEnd(_ context.Context, conn *pgx.Conn, _ pgx.TraceBatchEndData) {
	k.statement(conn)
}

// statement is called before and after each statement, and after each statement
// of a batch.
func (k *killer) statement(conn *pgx.Conn) {
	if k.in--; k.in > 0 || k.left == 0 {
		return
	}
	k.left--
	k.in = 1 + k.rng.IntN(60)
	switch k.rng.IntN(4) {
	case 0:
		conn.PgConn().Conn().Close()
	case 1:
		k.b.exec("SELECT pg_terminate_backend(" + pidOf(conn) + ")")
	case 2: // while the statement is executed
		pid := pidOf(conn)
		k.b.killing.Go(func() {
			_ = rig.Exec(context.Background(), "postgres", "SELECT pg_terminate_backend("+pid+")")
		})
	case 3: // the process itself
		k.cancel()
	}
}

// TestKill kills connections and runners at random statements, under load. No
// row must be lost.
func TestKill(t *testing.T) {
	const perRun, rows = 10, 300
	kills := soak.Length(t, "kills", perRun, 200)
	rng := rand.New(rand.NewPCG(soak.Seed(t), 16))
	for run := range kills / perRun {
		b := newBench(t, plain(rows))
		b.config.First, b.config.Most = 15, 15
		load := b.startLoad(rng.Uint64(), 2, rows)
		if run%2 == 0 {
			b.plainRole()
		}
		k := &killer{b: b, rng: rng, left: perRun, in: 5}
		b.config.Connect = func(ctx context.Context) (*pgx.Conn, error) {
			config, err := pgx.ParseConfig(b.url)
			if err != nil {
				return nil, err
			}
			config.Tracer = k
			return pgx.ConnectConfig(ctx, config)
		}
		restarts := 0
		for {
			ctx, cancel := context.WithCancel(t.Context())
			k.cancel = cancel
			err := copying.Run(ctx, b.config, b.acquire(), &hooks{})
			cancel()
			b.killing.Wait()
			if err == nil {
				break
			}
			restarts++
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		load.stop()
		b.judge()
		t.Logf("run %d: %d kills, %d restarts", run, perRun-k.left, restarts)
	}
}

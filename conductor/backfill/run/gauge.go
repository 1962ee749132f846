package run

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// A gauge is the database of a throttle. It connects when it is used, and again
// after the connection was lost: otherwise every later measurement would fail,
// and the throttle would wait without end. It is used by one goroutine at a
// time.
type gauge struct {
	connect func(context.Context) (*pgx.Conn, error)
	conn    *pgx.Conn // nil before the first use
}

// BeginTx implements throttle.DB.
func (g *gauge) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	if g.conn == nil || g.conn.IsClosed() {
		conn, err := g.connect(ctx)
		if err != nil {
			return nil, err
		}
		g.conn = conn
	}
	return g.conn.BeginTx(ctx, options)
}

func (g *gauge) close() {
	if g.conn != nil {
		_ = g.conn.Close(context.Background())
	}
}

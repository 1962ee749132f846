package rehearse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/internal/bounded"
)

// A Load is what is replayed on the clone in each step.
type Load struct {
	// Script is the path of a script for pgbench. Without one, the statements
	// of pg_stat_statements are replayed.
	Script string

	// Statements are replayed if there is neither a script nor
	// pg_stat_statements in the primary.
	Statements []string

	Rate    int           // transactions per second; 0 for 50
	For     time.Duration // of each step; 0 for 5s
	Clients int           // 0 for 4
}

func (l Load) withDefaults() Load {
	if l.Rate <= 0 {
		l.Rate = 50
	}
	if l.For <= 0 {
		l.For = 5 * time.Second
	}
	if l.Clients <= 0 {
		l.Clients = 4
	}
	return l
}

// The kinds of loads.
const (
	Script     = "pgbench"
	Recorded   = "pg_stat_statements"
	Statements = "statements"
)

// A LoadResult describes the load of a step.
type LoadResult struct {
	Kind         string        `json:"kind,omitempty"`
	Transactions int64         `json:"transactions"`
	Failed       int64         `json:"failed"`
	Longest      time.Duration `json:"longest"`         // transaction
	Error        string        `json:"error,omitempty"` // the first one
}

func (r *LoadResult) add(o LoadResult) {
	r.Kind = o.Kind
	r.Transactions += o.Transactions
	r.Failed += o.Failed
	r.Longest = max(r.Longest, o.Longest)
	if r.Error == "" {
		r.Error = o.Error
	}
}

// A replay replays the load once, for the time of Load.For.
type replay func(ctx context.Context) (LoadResult, error)

// during replays the load while an action runs, which starts after a quarter of
// its time. The load is repeated until the action has ended.
func during(ctx context.Context, load Load, again replay, action func(context.Context)) (total LoadResult, err error) {
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(done)
		timer := time.NewTimer(load.withDefaults().For / 4)
		defer timer.Stop()
		select {
		case <-timer.C:
			action(ctx)
		case <-ctx.Done():
		}
	}()
	defer func() { <-done }()
	for {
		result, err := again(ctx)
		total.add(result)
		if err != nil {
			cancel()
			return total, err
		}
		select {
		case <-done:
			return total, nil
		default:
		}
	}
}

// newReplay selects the load.
func newReplay(ctx context.Context, c Config, clone *Clone) (replay, error) {
	load := c.Load.withDefaults()
	if load.Script != "" {
		if _, err := os.Stat(load.Script); err != nil {
			return nil, fmt.Errorf("script of the load: %w", err)
		}
		return func(ctx context.Context) (LoadResult, error) { return clone.pgbench(ctx, load) }, nil
	}
	kind := Recorded
	statements, err := recorded(ctx, c.DSN)
	if err != nil {
		return nil, err
	}
	if statements == nil {
		kind = Statements
		for _, s := range load.Statements {
			statements = append(statements, weighted{s, 1})
		}
	}
	if statements == nil {
		return nil, errors.New("no load to replay: specify a script, or install pg_stat_statements in the primary")
	}
	return func(ctx context.Context) (LoadResult, error) {
		return (&player{clone: clone, load: load, kind: kind, statements: statements}).play(ctx)
	}, nil
}

// pgbench runs the script once.
func (c *Clone) pgbench(ctx context.Context, load Load) (r LoadResult, err error) {
	r.Kind = Script
	dir, err := os.MkdirTemp("", "muniment-load-*")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	out, err := c.run(ctx, "pgbench", "-n", "-f", load.Script, "-R", strconv.Itoa(load.Rate), "-c", strconv.Itoa(load.Clients), "-j", "1",
		"-T", strconv.Itoa(max(int(load.For.Seconds()), 1)), "-l", "--log-prefix", filepath.Join(dir, "log"), c.config.Database)
	var exit *programError
	if errors.As(err, &exit) && strings.Contains(exit.stderr, "aborted") {
		// A statement of the script failed, which is a result.
		r.Failed, r.Error = 1, firstLine(exit.stderr)
	} else if err != nil {
		return r, err
	}
	for line := range strings.Lines(out) {
		if n, ok := strings.CutPrefix(line, "number of failed transactions:"); ok {
			var failed int64
			if _, err := fmt.Sscan(n, &failed); err != nil {
				return r, fmt.Errorf("output of pgbench: %w", err)
			}
			r.Failed = max(r.Failed, failed)
		}
	}
	logs, err := filepath.Glob(filepath.Join(dir, "log.*"))
	if err != nil {
		return r, err
	}
	for _, name := range logs {
		if err := r.readLog(name); err != nil {
			return r, err
		}
	}
	return r, nil
}

// readLog adds the transactions of a log of pgbench. Its third column is the
// latency in microseconds, or failed.
func (r *LoadResult) readLog(name string) error {
	text, err := bounded.ReadFile(name, maxOutput)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		microseconds, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			continue // failed, and counted by pgbench
		}
		r.Transactions++
		r.Longest = max(r.Longest, time.Duration(microseconds)*time.Microsecond)
	}
	return nil
}

// A weighted statement has the number of its calls.
type weighted struct {
	text  string
	calls int64
}

// recorded returns the most frequent statements of the primary, or none without
// pg_stat_statements.
func recorded(ctx context.Context, dsn string) (list []weighted, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connect to the primary: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var view *string
	if err := conn.QueryRow(ctx, `SELECT quote_ident(n.nspname) || '.pg_stat_statements'
		FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'`).Scan(&view); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, nil
		}
		return nil, err
	}
	rows, err := conn.Query(ctx, `SELECT query, calls FROM `+*view+`
		WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND length(query) < 65536
			AND query ~* '^\s*(select|insert|update|delete|merge)\y' AND query !~* '\y(pg_sleep|pg_stat_|pg_locks|muniment_conductor)'
		ORDER BY calls DESC LIMIT 100`)
	if err != nil {
		return nil, fmt.Errorf("read pg_stat_statements: %w", err)
	}
	var w weighted
	_, err = pgx.ForEachRow(rows, []any{&w.text, &w.calls}, func() error { list = append(list, w); return nil })
	return list, err
}

// A player replays statements. Their parameters are NULL, because the recorded
// ones are unknown, and each is rolled back. So they take the locks of the
// recorded load, and change nothing.
type player struct {
	clone      *Clone
	load       Load
	kind       string
	statements []weighted

	mu     sync.Mutex // guards result
	result LoadResult
}

// play replays statements at the rate of the load.
func (p *player) play(ctx context.Context) (LoadResult, error) {
	p.result.Kind = p.kind
	ctx, cancel := context.WithTimeout(ctx, p.load.For)
	defer cancel()
	limiter := rate.NewLimiter(rate.Limit(p.load.Rate), p.load.Clients)
	errs := make(chan error, p.load.Clients)
	for i := range p.load.Clients {
		go func() { errs <- p.client(ctx, limiter, i) }()
	}
	var err error
	for range p.load.Clients {
		err = errors.Join(err, <-errs)
	}
	return p.result, err
}

// client replays statements in one session, until ctx is done.
func (p *player) client(ctx context.Context, limiter *rate.Limiter, offset int) error {
	open, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	conn, err := p.clone.Connect(open)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var calls int64
	for _, s := range p.statements {
		calls += max(s.calls, 1)
	}
	// Golden steps visit the statements by their frequency.
	at := float64(offset) / float64(p.load.Clients)
	for limiter.Wait(ctx) == nil {
		const golden = 0.6180339887498949
		if at += golden; at >= 1 {
			at--
		}
		start := time.Now()
		// A transaction is not interrupted in its middle.
		err := once(context.WithoutCancel(ctx), conn, p.pick(int64(at*float64(calls))))
		p.count(time.Since(start), err)
		if conn.IsClosed() {
			return fmt.Errorf("the clone closed a session: %w", err)
		}
	}
	return nil
}

// pick returns the statement of the n-th call.
func (p *player) pick(n int64) string {
	for _, s := range p.statements {
		if n -= max(s.calls, 1); n < 0 {
			return s.text
		}
	}
	return p.statements[0].text
}

// A refused statement cannot be replayed with NULL. It has taken its locks.
var errRefused = errors.New("refused")

// once executes a statement with NULLs and rolls it back.
func once(ctx context.Context, conn *pgx.Conn, statement string) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // an error leaves a closed connection
	if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '60s'"); err != nil {
		return err
	}
	prepared, err := tx.Prepare(ctx, "", statement)
	if err != nil {
		return err
	}
	result := conn.PgConn().ExecPrepared(ctx, "", make([][]byte, len(prepared.ParamOIDs)), nil, nil)
	for result.NextRow() {
	}
	if _, err = result.Close(); err != nil && len(prepared.ParamOIDs) > 0 && isRefusal(err) {
		return errRefused
	}
	return err
}

func (p *player) count(took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.Longest = max(p.result.Longest, took)
	if err != nil && !errors.Is(err, errRefused) {
		if p.result.Failed++; p.result.Error == "" {
			p.result.Error = firstLine(err.Error())
		}
		return
	}
	p.result.Transactions++
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line[:min(len(line), 300)]
}

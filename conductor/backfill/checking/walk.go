package checking

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Pace limits the load of a comparison. The zero value does not.
type Pace struct {
	// Admit is called before each chunk, outside of transactions. It waits
	// until the chunk may start. An error ends the comparison.
	Admit func(ctx context.Context) error

	// Done is called after each chunk with its duration and number of rows. It
	// may wait.
	Done func(ctx context.Context, took time.Duration, rows int64) error

	Target time.Duration    // duration of a chunk; 0 for half a second
	Rows   int              // of the first chunk; 0 for 100
	Most   int              // rows of a chunk; 0 for 50,000
	Now    func() time.Time // the clock; nil for time.Now
}

func (p Pace) withDefaults() Pace {
	set := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&p.Rows, 100)
	set(&p.Most, 50_000)
	if p.Target <= 0 {
		p.Target = 500 * time.Millisecond
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Admit == nil {
		p.Admit = func(ctx context.Context) error { return ctx.Err() }
	}
	if p.Done == nil {
		p.Done = func(context.Context, time.Duration, int64) error { return nil }
	}
	p.Rows = min(p.Rows, p.Most)
	return p
}

// A walk visits a range of rows in chunks.
type walk struct {
	source *Source
	db     DB
	pace   Pace

	// visit handles the rows of a range in transactions of its own, and returns
	// their number. An error of a row is handled if single is true: the range
	// then contains one row, and others that were inserted meanwhile.
	visit func(ctx context.Context, r Range, single bool) (rows int64, err error)
}

// run visits the range. A chunk whose rows cannot be evaluated is split, until
// it is a single row. A chunk that lost a conflict is repeated, smaller.
func (w *walk) run(ctx context.Context, r Range) error {
	pace := w.pace.withDefaults()
	size, failed := pace.Rows, 0
	for {
		if err := pace.Admit(ctx); err != nil {
			return err
		}
		start := pace.Now()
		var through []string
		err := w.source.transaction(ctx, w.db, pgx.ReadOnly, func(tx pgx.Tx) (err error) {
			through, err = w.source.bound(ctx, tx, r, size)
			return err
		})
		if err != nil {
			return err
		}
		chunk := r
		if through != nil {
			chunk.Through = through
		}
		rows, err := w.visit(ctx, chunk, size == 1)
		switch {
		case err == nil:
			failed = 0
		case isRow(err) && size > 1:
			size = max(size/2, 1)
			continue
		case isConflict(err) && failed < attempts:
			failed++
			size = max(size/2, 1)
			continue
		default:
			return err
		}
		took := pace.Now().Sub(start)
		if err := pace.Done(ctx, took, rows); err != nil {
			return err
		}
		if through == nil {
			return nil
		}
		r.After = through
		size = next(size, took, pace)
	}
}

// attempts is the number of times that a chunk is repeated after conflicts.
const attempts = 20

// next returns the size of the next chunk, so that it takes the target.
func next(size int, took time.Duration, pace Pace) int {
	want := pace.Most
	if took > 0 {
		want = int(min(float64(size)*float64(pace.Target)/float64(took), float64(pace.Most)))
	}
	return min(max(want, 1), 2*size, pace.Most)
}

// code returns the SQLSTATE of an error, or the empty text.
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// isData reports whether the value of a row caused an error: data exceptions,
// violated constraints of domains, and exceptions raised by functions.
func isData(err error) bool {
	switch c := code(err); {
	case len(c) != 5:
		return false
	default:
		return c[:2] == "22" || c[:2] == "23" || c[:2] == "P0"
	}
}

// isRow reports whether a row caused an error.
func isRow(err error) bool { return isData(err) || isTooLarge(err) }

// isTooLarge reports whether a row is larger than PostgreSQL can write as a
// text.
func isTooLarge(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "54000" || pg.Code == "XX000" && strings.Contains(pg.Message, "invalid memory alloc request size"))
}

// isConflict reports whether another transaction caused an error: serialization
// failures, deadlocks and lock timeouts.
func isConflict(err error) bool {
	switch code(err) {
	case "40001", "40P01", "55P03":
		return true
	}
	return false
}

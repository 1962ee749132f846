package throttle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// A mark is a position in the WAL and the time at which it was current.
type mark struct {
	position int64 // bytes
	at       time.Time
}

// A history contains positions of the WAL of the last minutes, in the order of
// time. It finds how old a position is.
type history struct {
	marks []mark
}

const (
	maxMarks = 1024
	averaged = time.Minute // of the WAL rate

	// leastRate is the least WAL rate by which retained WAL is divided, in
	// bytes per second. Without it, an idle database would have an endless lag.
	leastRate = 1 << 20
)

// add appends the current position. It forgets everything if the position or
// the clock went back, as after a failover. If there are too many marks, every
// second one is dropped.
func (h *history) add(m mark) {
	if n := len(h.marks); n > 0 && (m.position < h.marks[n-1].position || !m.at.After(h.marks[n-1].at)) {
		if m.position == h.marks[n-1].position && m.at.Equal(h.marks[n-1].at) {
			return
		}
		h.marks = h.marks[:0]
	}
	if len(h.marks) >= maxMarks {
		kept := h.marks[:0]
		for i, old := range h.marks {
			if i%2 == 0 || i == len(h.marks)-1 {
				kept = append(kept, old)
			}
		}
		h.marks = kept
	}
	h.marks = append(h.marks, m)
}

// rate returns the bytes per second between the last two marks, or 0 without
// two.
func (h *history) rate() float64 {
	n := len(h.marks)
	if n < 2 {
		return 0
	}
	return rateBetween(h.marks[n-2], h.marks[n-1])
}

// average returns the bytes per second of the last minute.
func (h *history) average() float64 {
	n := len(h.marks)
	if n < 2 {
		return 0
	}
	last := h.marks[n-1]
	i, _ := slices.BinarySearchFunc(h.marks[:n-1], last.at.Add(-averaged), func(m mark, t time.Time) int { return m.at.Compare(t) })
	return rateBetween(h.marks[min(i, n-2)], last)
}

func rateBetween(a, b mark) float64 {
	return float64(b.position-a.position) / b.at.Sub(a.at).Seconds()
}

// age returns how many seconds ago a position was current. For positions before
// the first mark, it is at least the age of this mark, and otherwise what the
// WAL since then takes at the average rate.
func (h *history) age(position int64) float64 {
	if len(h.marks) == 0 {
		return 0
	}
	last := h.marks[len(h.marks)-1]
	if position >= last.position {
		return 0
	}
	// The first mark above the position: the position was current until just
	// before it, at the latest. So its WAL has waited at least since then.
	i, _ := slices.BinarySearchFunc(h.marks, position, func(m mark, p int64) int {
		if m.position <= p {
			return -1
		}
		return 1
	})
	known := last.at.Sub(h.marks[i].at).Seconds()
	if i > 0 {
		return known
	}
	return max(known, float64(last.position-position)/max(h.average(), leastRate))
}

// observeWAL records the current position of the WAL.
func (m *Meter) observeWAL(ctx context.Context) error {
	return m.transaction(ctx, m.limit, func(ctx context.Context, tx pgx.Tx) error {
		var position int64
		if err := tx.QueryRow(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8`).Scan(&position); err != nil {
			return err
		}
		m.wal.add(mark{position, m.now()})
		return nil
	})
}

// receivers lists who must receive the WAL: connected standbys, with the lag
// that they report and the position that they have replayed, and slots that no
// listed standby uses, with the position from which they retain WAL.
const receivers = `
	SELECT coalesce(extract(epoch FROM replay_lag), 0)::float8,
		pg_wal_lsn_diff(coalesce(replay_lsn, flush_lsn, write_lsn, sent_lsn), '0/0')::int8,
		state IS NULL AS hidden
	FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'
	UNION ALL
	SELECT 0, pg_wal_lsn_diff(coalesce(confirmed_flush_lsn, restart_lsn), '0/0')::int8, false
	FROM pg_replication_slots AS s
	WHERE restart_lsn IS NOT NULL AND NOT (slot_type = 'physical' AND active)`

// replicationLag returns the largest lag of a receiver in seconds.
func (m *Meter) replicationLag(ctx context.Context) (lag float64, err error) {
	err = m.transaction(ctx, m.limit, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, receivers)
		if err != nil {
			return err
		}
		var reported float64
		var position *int64
		var invisible bool
		_, err = pgx.ForEachRow(rows, []any{&reported, &position, &invisible}, func() error {
			if invisible {
				return errors.New(hidden)
			}
			lag = max(lag, reported)
			if position != nil {
				lag = max(lag, m.wal.age(*position))
			}
			return nil
		})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("receivers of the WAL: %w", err)
	}
	return lag, nil
}

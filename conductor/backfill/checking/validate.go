package checking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MaxListed is the number of differences that a validation lists.
const MaxListed = 1000

// A Difference is a row whose columns do not agree.
type Difference struct {
	Key   []string `json:"key"`             // texts, in the order of Source.Key
	Error string   `json:"error,omitempty"` // if an expression cannot be evaluated for the row
}

// A Validation is the result of comparing every row.
type Validation struct {
	Rows        int64        `json:"rows"`               // that were compared
	Rechecked   int64        `json:"rechecked,omitzero"` // since they were written meanwhile
	Differences int64        `json:"differences"`        // that remain
	Repaired    int64        `json:"repaired,omitzero"`
	Listed      []Difference `json:"listed,omitempty"` // the first MaxListed that remain
}

// A Repair sets the secondary column of the rows that differ. It changes them
// through the mark, so that the trigger computes the value (section 3), or with
// Replica directly.
type Repair struct {
	// Replica sets session_replication_role to replica, so that no trigger
	// fires.
	Replica bool

	// LockTimeout is how long a repair waits for the lock of a row, as
	// PostgreSQL writes it. The default is 2s.
	LockTimeout string

	// Fence verifies in the transaction of the repair that it is still allowed.
	Fence func(ctx context.Context, tx pgx.Tx) error
}

// Validate compares both columns of every row in a range. If repair is not nil,
// rows that differ are repaired and compared again. Rows that were written
// meanwhile are compared at the end once more, because their key can have moved
// to a place that was already visited.
func (s *Source) Validate(ctx context.Context, db DB, r Range, pace Pace, repair *Repair) (Validation, error) {
	var v Validation
	s, err := s.resolved(ctx, db)
	if err != nil {
		return v, fmt.Errorf("compare the columns: %w", err)
	}
	began, err := s.horizon(ctx, db)
	if err != nil {
		return v, fmt.Errorf("compare the columns: %w", err)
	}
	w := walk{source: s, db: db, pace: pace}
	w.visit = func(ctx context.Context, r Range, single bool) (int64, error) {
		condition, args := s.where(r)
		found, err := s.compareOrRepair(ctx, db, condition, args, repair)
		if isRow(err) && single {
			found, err = s.unevaluable(ctx, db, r, err)
		}
		if err != nil {
			return 0, err
		}
		v.add(found)
		return found.Rows, nil
	}
	if err = w.run(ctx, r); err == nil {
		err = s.recheck(ctx, db, r, began, pace, repair, &v)
	}
	if err != nil {
		return v, fmt.Errorf("compare the columns of %s: %w", s.Table, err)
	}
	return v, nil
}

func (v *Validation) add(found Validation) {
	v.Rows += found.Rows
	v.Differences += found.Differences
	v.Repaired += found.Repaired
	v.Listed = append(v.Listed, found.Listed[:min(len(found.Listed), MaxListed-len(v.Listed))]...)
}

// compareOrRepair compares the rows for which a condition holds. If repair is
// not nil, those that differ are repaired and compared again.
func (s *Source) compareOrRepair(ctx context.Context, db DB, condition string, args []any, repair *Repair) (Validation, error) {
	found, err := s.compare(ctx, db, condition, args)
	if err != nil || repair == nil || found.Differences == 0 {
		return found, err
	}
	before := found.Differences
	if err := s.repair(ctx, db, condition, args, repair); err != nil {
		return found, err
	}
	found, err = s.compare(ctx, db, condition, args)
	found.Repaired = max(before-found.Differences, 0)
	return found, err
}

// compare compares the rows for which a condition holds in one statement.
func (s *Source) compare(ctx context.Context, db DB, condition string, args []any) (found Validation, err error) {
	sql := fmt.Sprintf(`SELECT count(*), count(*) FILTER (WHERE d),
			coalesce((array_agg(k ORDER BY n) FILTER (WHERE d))[1:%d], '{}')
		FROM (SELECT %s AS d, to_json(%s)::text AS k, row_number() OVER (ORDER BY %s) AS n
			FROM %s WHERE %s) AS x`,
		MaxListed, s.disagree(), s.position(), s.columns(), s.from(), condition)
	var keys []string
	err = s.transaction(ctx, db, pgx.ReadOnly, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, sql, args...).Scan(&found.Rows, &found.Differences, &keys)
	})
	if err != nil {
		return found, err
	}
	for _, text := range keys {
		var d Difference
		if err := json.Unmarshal([]byte(text), &d.Key); err != nil {
			return found, fmt.Errorf("key %s: %w", text, err)
		}
		found.Listed = append(found.Listed, d)
	}
	return found, nil
}

// repair sets the secondary column of the rows that differ.
func (s *Source) repair(ctx context.Context, db DB, condition string, args []any, how *Repair) error {
	set := fmt.Sprintf("%s = true", s.Mark)
	if how.Replica {
		set = fmt.Sprintf("%s = %s", s.Secondary, s.Forward)
		if s.Mark != "" {
			set += fmt.Sprintf(", %s = NULL", s.Mark)
		}
	} else if s.Mark == "" {
		return errors.New("repair without a mark column: Replica is required")
	}
	timeout := how.LockTimeout
	if timeout == "" {
		timeout = "2s"
	}
	return s.transaction(ctx, db, pgx.ReadWrite, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('lock_timeout', $1, true)", timeout); err != nil {
			return err
		}
		if how.Fence != nil {
			if err := how.Fence(ctx, tx); err != nil {
				return err
			}
		}
		if how.Replica {
			if _, err := tx.Exec(ctx, "SET LOCAL session_replication_role = replica"); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, fmt.Sprintf("UPDATE %s SET %s WHERE %s AND %s", s.from(), set, condition, s.disagree()), args...)
		return err
	})
}

// unevaluable returns the only row of a range as a difference, because its
// comparison failed.
func (s *Source) unevaluable(ctx context.Context, db DB, r Range, cause error) (found Validation, err error) {
	condition, args := s.where(r)
	var keys [][]string
	err = s.transaction(ctx, db, pgx.ReadOnly, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT %d",
			s.position(), s.from(), condition, s.columns(), MaxListed), args...)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowTo[[]string])
		return err
	})
	if err != nil {
		return found, err
	}
	for _, key := range keys {
		found.Listed = append(found.Listed, Difference{Key: key, Error: message(cause)})
	}
	found.Rows, found.Differences = int64(len(keys)), int64(len(keys))
	return found, nil
}

// message returns the text of an error up to the first value in it, because
// values of the table must not reach records.
func message(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return "unknown error"
	}
	if isTooLarge(err) {
		return fmt.Sprintf("a row is too large for PostgreSQL, whose limit is 1 GiB (SQLSTATE %s)", pg.Code)
	}
	text := pg.Message
	if i := strings.IndexAny(text, `":`); i >= 0 {
		text = strings.TrimSpace(text[:i])
	}
	return fmt.Sprintf("%s (SQLSTATE %s)", strings.ToValidUTF8(text[:min(len(text), 100)], ""), pg.Code)
}

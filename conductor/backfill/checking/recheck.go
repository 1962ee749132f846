package checking

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// horizon returns the ID of the oldest transaction whose changes may not be
// visible yet. Rows of older transactions are visible from now on.
func (s *Source) horizon(ctx context.Context, db DB) (xid uint64, err error) {
	err = s.transaction(ctx, db, pgx.ReadOnly, func(tx pgx.Tx) error {
		var text string
		if err := tx.QueryRow(ctx, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text").Scan(&text); err != nil {
			return err
		}
		xid, err = strconv.ParseUint(text, 10, 64)
		return err
	})
	return xid, err
}

// since returns SQL that is true for the versions of rows that are not older
// than a transaction. Rows have the lower half of the IDs of transactions, so
// IDs can be compared over half of their cycle. Old versions that appear to be
// new are compared without need.
func (s *Source) since(ctx context.Context, db DB, began uint64) (string, error) {
	now, err := s.horizon(ctx, db)
	if err != nil || now-began > 1<<30 {
		return "true", err
	}
	return fmt.Sprintf("pg_catalog.age(%s.xmin) <= pg_catalog.age('%d'::pg_catalog.xid)", Row, uint32(began)), nil
}

// recheck compares the rows that were written since a transaction began. It
// reads the table in one statement, which sees each row once, wherever its key
// moves. The rows of older versions had their keys during the whole walk, which
// has visited them.
func (s *Source) recheck(ctx context.Context, db DB, r Range, began uint64, pace Pace, repair *Repair, v *Validation) error {
	pace = pace.withDefaults()
	recent, err := s.since(ctx, db, began)
	if err != nil {
		return err
	}
	condition, args := s.where(r)
	var found Validation
	for n := 0; ; n++ {
		if err := pace.Admit(ctx); err != nil {
			return err
		}
		if found, err = s.compareOrRepair(ctx, db, condition+" AND "+recent, args, repair); !isConflict(err) || n == attempts {
			break
		}
	}
	if isRow(err) {
		// The next validation finds the row by its key.
		found, err = Validation{Differences: 1, Listed: []Difference{{Key: []string{}, Error: "written during the validation: " + message(err)}}}, nil
	}
	if err != nil {
		return err
	}
	v.Rechecked, found.Rows = found.Rows, 0
	found.withoutKnown(v.Listed)
	v.add(found)
	return nil
}

// withoutKnown removes the differences that are listed already.
func (v *Validation) withoutKnown(listed []Difference) {
	known := map[string]bool{}
	for _, d := range listed {
		known[fmt.Sprintf("%q", d.Key)] = true
	}
	before := len(v.Listed)
	v.Listed = slices.DeleteFunc(v.Listed, func(d Difference) bool { return known[fmt.Sprintf("%q", d.Key)] })
	v.Differences -= int64(before - len(v.Listed))
}

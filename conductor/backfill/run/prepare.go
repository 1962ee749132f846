package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dependants"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
)

// prepare creates what the new column needs before it takes the name, such as
// its indexes, while the table is in use. It can be repeated.
func (r *Runner) prepare(ctx context.Context) error {
	conn, err := r.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	table, err := readTable(ctx, conn, r.plan.Pair)
	if err != nil {
		return err
	}
	plan, err := dependantsPlan(ctx, conn, table, r.target())
	if err != nil {
		return err
	}
	// The table can have changed since the plan, such as by a trigger that
	// fires after that of the dual write.
	blocked := slices.DeleteFunc(catalog.Blocked(append(table.Findings(), plan.Findings...)), r.harmless)
	if len(blocked) > 0 {
		return &BlockedError{blocked}
	}
	patience := dependants.Patience{LockTimeout: r.Job.Cutover.LockTimeout, Attempts: r.Job.Cutover.Attempts}
	if err := dependants.Run(ctx, conn, plan.Steps, patience); err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == lockTimeout {
			return &NotReadyError{"the new column could not be prepared, because other sessions hold locks on the table", "end their transactions, and repeat the command"}
		}
		return fmt.Errorf("prepare the new column for cutover: %w", err)
	}
	return nil
}

// dependants returns what precedes the cutover, by the present catalogue.
func (r *Runner) dependants(ctx context.Context, conn *pgx.Conn) (*dependants.Plan, error) {
	table, err := readTable(ctx, conn, r.plan.Pair)
	if err != nil {
		return nil, err
	}
	return dependantsPlan(ctx, conn, table, r.target())
}

const lockTimeout = "55P03"

// harmless reports whether a finding is about the trigger of another job, which
// changes no column that this one reads.
func (r *Runner) harmless(f catalog.Finding) bool {
	name, job := strings.CutPrefix(f.Object, catalog.TriggerPrefix)
	column, _, _ := strings.Cut(name, " on ")
	return job && f.Code == "late-trigger" && !slices.Contains(r.plan.Pair.Expressions.Inputs, column)
}

func (r *Runner) target() dependants.Target { return target(r.plan.Pair) }

// target describes the new column to the package of dependants.
func target(p dualwrite.Pair) dependants.Target {
	return dependants.Target{Type: p.Expressions.NewType, Up: p.Expressions.Up}
}

func dependantsPlan(ctx context.Context, conn *pgx.Conn, table *catalog.Table, target dependants.Target) (plan *dependants.Plan, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		plan, err = dependants.Prepare(ctx, tx, table, target)
		if err != nil {
			return err
		}
		return nil
	})
	return plan, err
}

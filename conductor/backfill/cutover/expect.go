package cutover

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// An Expectation is what the schema of a table must be before a change.
type Expectation struct {
	OID     uint32 // of the table; 0 for any
	Columns []Column
	Trigger *Trigger // nil: not checked

	// Constraints are the names of those that must exist and be validated.
	Constraints []string
}

// A Column of the table. Its type is written as format_type returns it under
// the search_path pg_catalog, so types of other schemas have theirs.
type Column struct {
	Name string // without quotes
	Type string // empty if the column must not exist
}

// A Trigger of the table, which must be enabled.
type Trigger struct {
	Name     string // without quotes
	Function string // with its schema, as in quote_ident(schema) || '.' || quote_ident(name)
	Source   string // of the function, as in pg_proc.prosrc; empty for any
}

// A Querier executes queries. Connections, pools and transactions are Queriers.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check returns a SchemaError if the table, a quoted name, is not as expected.
func (e *Expectation) Check(ctx context.Context, db Querier, table string) error {
	failure := &SchemaError{Table: table}
	add := func(format string, args ...any) {
		failure.Differences = append(failure.Differences, fmt.Sprintf(format, args...))
	}
	var oid *uint32
	if err := db.QueryRow(ctx, "SELECT to_regclass($1)::oid", table).Scan(&oid); err != nil {
		return err
	}
	if oid == nil {
		add("the table does not exist")
		return failure
	}
	if e.OID != 0 && *oid != e.OID {
		add("the table was replaced: its OID is %d, and was %d", *oid, e.OID)
	}
	if err := e.checkColumns(ctx, db, *oid, add); err != nil {
		return err
	}
	if err := e.checkTrigger(ctx, db, *oid, add); err != nil {
		return err
	}
	for _, name := range e.Constraints {
		var valid bool
		err := db.QueryRow(ctx, "SELECT convalidated FROM pg_constraint WHERE conrelid = $1 AND conname = $2", *oid, name).Scan(&valid)
		switch {
		case err == pgx.ErrNoRows:
			add("the constraint %q does not exist", name)
		case err != nil:
			return err
		case !valid:
			add("the constraint %q is not validated", name)
		}
	}
	if failure.Differences != nil {
		return failure
	}
	return nil
}

func (e *Expectation) checkColumns(ctx context.Context, db Querier, oid uint32, add func(string, ...any)) error {
	for _, c := range e.Columns {
		var typ string
		err := db.QueryRow(ctx, `SELECT format_type(atttypid, atttypmod) FROM pg_attribute
			WHERE attrelid = $1 AND attname = $2 AND attnum > 0 AND NOT attisdropped`, oid, c.Name).Scan(&typ)
		switch {
		case err == pgx.ErrNoRows && c.Type != "":
			add("the column %q does not exist", c.Name)
		case err == pgx.ErrNoRows:
		case err != nil:
			return err
		case c.Type == "":
			add("the column %q exists", c.Name)
		case typ != c.Type:
			add("the column %q has type %s, and not %s", c.Name, typ, c.Type)
		}
	}
	return nil
}

func (e *Expectation) checkTrigger(ctx context.Context, db Querier, oid uint32, add func(string, ...any)) error {
	if e.Trigger == nil {
		return nil
	}
	var enabled, function, source string
	err := db.QueryRow(ctx, `SELECT t.tgenabled::text, quote_ident(n.nspname) || '.' || quote_ident(p.proname), p.prosrc
		FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE t.tgrelid = $1 AND t.tgname = $2`, oid, e.Trigger.Name).Scan(&enabled, &function, &source)
	switch {
	case err == pgx.ErrNoRows:
		add("the trigger %q does not exist", e.Trigger.Name)
		return nil
	case err != nil:
		return err
	}
	if enabled != "O" {
		add("the trigger %q is not enabled (tgenabled is %s)", e.Trigger.Name, enabled)
	}
	if function != e.Trigger.Function {
		add("the trigger %q calls %s, and not %s", e.Trigger.Name, function, e.Trigger.Function)
	} else if e.Trigger.Source != "" && source != e.Trigger.Source {
		add("the function %s was replaced", function)
	}
	return nil
}

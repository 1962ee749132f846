package dependants

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// A Target describes the new column.
type Target struct {
	Type string // as in SQL
	Up   string // the expression for its value
}

// A Step is a statement that prepares the swap while the table is in use.
type Step struct {
	SQL string

	// Concurrently marks a statement that cannot run in a transaction.
	Concurrently bool

	// Done is a query that returns whether the step has been executed. An empty
	// one means that the statement can be repeated.
	Done string

	// Reset is executed before a repetition: it removes what a statement that
	// was killed has left.
	Reset string
}

// A Check is a CHECK or NOT NULL constraint as it will apply to the shadow
// column.
type Check struct {
	Name       string // of the constraint on the public column
	Relation   string // the table, or the partition that has the constraint
	Expression string // over the columns of the table

	table     string // without its schema
	partition uint32 // OID of Relation, or 0 for the table
}

// Condition returns SQL that is false for the rows that violate the constraint.
// The row is the alias of the table. Definitions qualify no columns, and can
// contain the row as a whole under the name of the table.
func (c Check) Condition(row string) string {
	text := fmt.Sprintf("(SELECT %s FROM (SELECT %s.*, %[2]s.tableoid) AS %s)", c.Expression, row, ident(c.table))
	if c.partition == 0 {
		return text
	}
	return fmt.Sprintf("(CASE WHEN %s.tableoid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%s::regclass)) THEN %s ELSE true END)",
		row, oid(c.partition), text)
}

// A Plan is what precedes a cutover.
type Plan struct {
	Steps    []Step
	Checks   []Check           // that every row must satisfy
	Findings []catalog.Finding // what cannot be recreated for the new type
}

// Prepare returns the steps that precede a cutover. It tries all definitions on
// an empty temporary table with the new type, so it also works before the
// shadow column exists, and needs no lock on the table beyond ACCESS SHARE.
func Prepare(ctx context.Context, tx pgx.Tx, t *catalog.Table, target Target) (*Plan, error) {
	inner, err := tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer inner.Rollback(context.WithoutCancel(ctx)) // the temporary table, too
	p := &preparation{ctx: ctx, tx: inner, t: t, target: target, plan: &Plan{}, stage: ident("pg_temp", t.Ref.Table)}
	for _, step := range []func() error{p.taken, p.createStage, p.column, p.checks, p.indexes, p.foreignKeys, p.statistics, p.definitions} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("prepare the dependants of %s.%s: %w", t.Ref.Relation(), ident(t.Ref.Column), err)
		}
	}
	p.step(Step{SQL: "ANALYZE " + t.Ref.Relation()})
	return p.plan, nil
}

// A preparation collects a plan.
type preparation struct {
	ctx    context.Context
	tx     pgx.Tx
	t      *catalog.Table
	target Target
	plan   *Plan
	stage  string // name of the temporary table on which definitions are tried
}

func (p *preparation) step(s Step) { p.plan.Steps = append(p.plan.Steps, s) }

func (p *preparation) steps(statements []string) {
	for _, sql := range statements {
		p.step(Step{SQL: sql})
	}
}

// createStage creates the temporary table on which definitions are tried. It
// has the name and the columns of the real one, and its indexes, which queries
// with GROUP BY can depend on. The public column has the new type.
func (p *preparation) createStage() error {
	ref, stage := p.t.Ref, p.stage
	statements := []string{settings, fmt.Sprintf("CREATE TEMPORARY TABLE %s (LIKE %s INCLUDING INDEXES)", stage, ref.Relation())}
	for _, c := range p.t.Columns {
		if c.Name == ref.Column || c.Name == ref.Shadow || c.Name == ref.Mark {
			statements = append(statements, fmt.Sprintf("ALTER TABLE %s DROP COLUMN %s", stage, ident(c.Name)))
		}
	}
	statements = append(statements, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", stage, ident(ref.Column), p.target.Type))
	for _, sql := range statements {
		if _, err := p.tx.Exec(p.ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// try executes statements on the stage, and then renames the column as the
// shadow column and reads a definition. All of it is undone. An error of a
// definition becomes a finding, and an empty text.
func (p *preparation) try(code, object, statement, read string, args ...any) (definition string, err error) {
	inner, err := p.tx.Begin(p.ctx)
	if err != nil {
		return "", err
	}
	defer inner.Rollback(context.WithoutCancel(p.ctx))
	_, err = inner.Exec(p.ctx, statement)
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		p.plan.Findings = append(p.plan.Findings, catalog.Finding{
			Level: catalog.Blocks, Code: code, Object: object,
			Text:   "it cannot be recreated for the type " + p.target.Type + ": " + refused.Message,
			Remedy: "drop it for the time of the backfill",
		})
		return "", nil
	}
	if err != nil {
		return "", err
	}
	rename := fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", p.stage, ident(p.t.Ref.Column), ident(p.t.Ref.Shadow))
	if _, err := inner.Exec(p.ctx, rename); err != nil {
		return "", err
	}
	return definition, inner.QueryRow(p.ctx, read, args...).Scan(&definition)
}

// column prepares the properties of the shadow column itself.
func (p *preparation) column() error {
	c, table, shadow := p.t.Column, p.t.Ref.Relation(), ident(p.t.Ref.Shadow)
	if err := p.nullable(); err != nil {
		return err
	}
	if c.Default != nil {
		if err := p.columnDefault(); err != nil {
			return err
		}
	}
	if c.Target != nil {
		p.steps([]string{fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET STATISTICS %d", table, shadow, *c.Target)})
	}
	if len(c.Options) > 0 {
		p.steps([]string{fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET (%s)", table, shadow, strings.Join(c.Options, ", "))})
	}
	p.steps(comment("COLUMN "+table+"."+shadow, c.Comment))
	var privileges []catalog.Grant
	for i, g := range p.t.Grants {
		g.Column = &p.t.Ref.Shadow
		privileges = append(privileges, g)
		if next := i + 1; next == len(p.t.Grants) || p.t.Grants[next].Relation != g.Relation {
			p.steps(grants(privileges, g.Relation))
			privileges = nil
		}
	}
	if c.NotNull {
		p.notNull()
	}
	return nil
}

// notNull makes the shadow column NOT NULL without a scan under a lock: a
// validated CHECK proves that it contains no NULL.
func (p *preparation) notNull() {
	table, shadow := p.t.Ref.Relation(), p.t.Ref.Shadow
	name := hidden(shadow, "__notnull")
	isSet := fmt.Sprintf("SELECT attnotnull FROM pg_catalog.pg_attribute WHERE attrelid = %s AND attname = %s", oid(p.t.Identity.OID), literal(shadow))
	exists := constraintQuery(p.t.Identity.OID, name, "true")
	p.check("NOT NULL", p.t.Identity.OID, ident(shadow)+" IS NOT NULL")
	p.step(Step{SQL: fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s IS NOT NULL) NOT VALID", table, ident(name), ident(shadow)), Done: either(isSet, exists)})
	p.step(Step{SQL: fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s", table, ident(name)), Done: either(isSet, constraintQuery(p.t.Identity.OID, name, "convalidated"))})
	p.step(Step{SQL: fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", table, ident(shadow)), Done: isSet})
	p.step(Step{SQL: fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s", table, ident(name))})
}

func oid(n uint32) string { return fmt.Sprintf("%d::pg_catalog.oid", n) }

func either(a, b string) string { return fmt.Sprintf("SELECT (%s) OR (%s)", a, b) }

// constraintQuery returns a query for a property of a constraint, or false.
func constraintQuery(table uint32, name, property string) string {
	return fmt.Sprintf("SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = %s AND conname = %s AND %s)", oid(table), literal(name), property)
}

// checks prepares CHECK constraints.
func (p *preparation) checks() error {
	for _, k := range p.t.Constraints {
		if k.Type != "c" || !k.OnColumn || k.Inherited || p.t.Member(k.Table) == nil {
			continue
		}
		definition := strings.TrimSuffix(k.Definition, " NOT VALID")
		got, err := p.try("check", k.Name, fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT tried %s", p.stage, definition),
			"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::regclass AND conname = 'tried'", p.stage)
		if err != nil || got == "" {
			if err != nil {
				return err
			}
			continue
		}
		expression := strings.TrimSuffix(strings.TrimPrefix(got, "CHECK "), " NO INHERIT")
		if k.Validated {
			p.check(k.Name, k.Table, expression)
		}
		p.constraint(k, got)
	}
	return nil
}

// check adds a constraint that the copied rows must satisfy.
func (p *preparation) check(name string, table uint32, expression string) {
	c := Check{Name: name, Relation: p.t.Member(table).Relation(), Expression: expression, table: p.t.Ref.Table}
	if table != p.t.Identity.OID {
		c.partition = table
	}
	p.plan.Checks = append(p.plan.Checks, c)
}

// constraint adds a constraint to the shadow column, and validates it.
func (p *preparation) constraint(k catalog.Constraint, definition string) {
	name := hidden(k.Name, beforeCutover)
	p.step(Step{
		SQL:  fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s %s NOT VALID", k.Relation, ident(name), definition),
		Done: constraintQuery(k.Table, name, "true"),
	})
	if k.Validated {
		p.step(Step{
			SQL:  fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s", k.Relation, ident(name)),
			Done: constraintQuery(k.Table, name, "convalidated"),
		})
	}
	p.steps(comment(fmt.Sprintf("CONSTRAINT %s ON %s", ident(name), k.Relation), k.Comment))
}

// actions are the values of pg_constraint.confdeltype.
var actions = map[string]string{"a": "", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}

// foreignKeys prepares the foreign keys of the column.
func (p *preparation) foreignKeys() error {
	for _, k := range p.t.Constraints {
		if k.Type != "f" || !k.OnColumn || k.Inherited || p.t.Member(k.Table) == nil {
			continue
		}
		// A temporary table can reference temporary ones only.
		statement := fmt.Sprintf("CREATE TEMPORARY TABLE muniment_target (LIKE %s INCLUDING INDEXES); ALTER TABLE %s ADD CONSTRAINT tried %s",
			k.TargetRelation, p.stage, foreignKey(k, "pg_temp.muniment_target", k.Columns, k.SetColumns))
		if got, err := p.try("foreign-key", k.Name, statement, accepted); err != nil || got == "" {
			if err != nil {
				return err
			}
			continue
		}
		p.constraint(k, foreignKey(k, k.TargetRelation, p.shadowed(k.Columns), p.shadowed(k.SetColumns)))
	}
	return nil
}

// accepted is a query for try, if only the statement itself matters.
const accepted = "SELECT 'accepted'"

// foreignKey returns the definition of a foreign key with other columns and
// another target.
func foreignKey(k catalog.Constraint, target string, columns, setColumns []string) string {
	text := fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s (%s)", idents(columns), target, idents(k.TargetColumns))
	if k.Match == "f" {
		text += " MATCH FULL"
	}
	if action := actions[k.OnUpdate]; action != "" {
		text += " ON UPDATE " + action
	}
	if action := actions[k.OnDelete]; action != "" {
		text += " ON DELETE " + action
		if len(setColumns) > 0 {
			text += " (" + idents(setColumns) + ")"
		}
	}
	return text + deferral(k.Deferrable, k.Deferred)
}

// deferral returns the clause of a deferrable constraint.
func deferral(deferrable, deferred bool) string {
	switch {
	case deferred:
		return " DEFERRABLE INITIALLY DEFERRED"
	case deferrable:
		return " DEFERRABLE"
	}
	return ""
}

// shadowed replaces the public column by the shadow column.
func (p *preparation) shadowed(columns []string) []string {
	var list []string
	for _, c := range columns {
		if c == p.t.Ref.Column {
			c = p.t.Ref.Shadow
		}
		list = append(list, c)
	}
	return list
}

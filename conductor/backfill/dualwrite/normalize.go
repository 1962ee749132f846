package dualwrite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Beginner begins transactions: a connection, or a transaction, which begins
// a savepoint.
type Beginner interface {
	Begin(context.Context) (pgx.Tx, error)
}

// An ExpressionError is an expression or a type that PostgreSQL does not
// accept.
type ExpressionError struct {
	Field  string // up, down or type
	Reason string
	Err    error // of PostgreSQL, or nil
}

func (e *ExpressionError) Error() string { return e.Field + ": " + e.Reason }

func (e *ExpressionError) Unwrap() error { return e.Err }

// Normalize returns the expressions of a pair in a form whose meaning does not
// depend on the search path of a session. It returns an ExpressionError if
// PostgreSQL would not accept them as generation expressions, or if a column of
// the type could not be added without rewriting the table. It changes nothing:
// its temporary table is rolled back. The pair's own expressions are ignored.
func Normalize(ctx context.Context, db Beginner, p Pair, newType, up, down string) (Expressions, error) {
	tx, err := db.Begin(ctx)
	if err != nil {
		return Expressions{}, fmt.Errorf("normalize the expressions of column %q: %w", p.Column, err)
	}
	// An error of the rollback means that the connection has ended.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	n := &normalizer{ctx: ctx, tx: tx, pair: p}
	e, err := n.run(newType, up, down)
	var refused *ExpressionError
	if err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("normalize the expressions of column %q: %w", p.Column, err)
	}
	return e, err
}

// A normalizer has a temporary table with the columns of the table.
type normalizer struct {
	ctx       context.Context
	tx        pgx.Tx
	pair      Pair
	generated []string
	result    string // name of the column with the expression
}

// scratch is the name of the temporary table.
const scratch = "pg_temp.muniment_normalize"

func (n *normalizer) run(newType, up, down string) (Expressions, error) {
	var e Expressions
	if err := n.createScratch(); err != nil {
		return e, err
	}
	column := quote(n.pair.Column)
	var err error
	if e.OldType, _, err = n.typeOf(n.pair.Column); err != nil {
		return e, err
	}
	if err := n.addResult("type", newType, ""); err != nil {
		return e, err
	}
	if e.NewType, e.NewCollation, err = n.typeOf(n.result); err != nil {
		return e, err
	}
	if err := n.refuseDomain(); err != nil {
		return e, err
	}
	if err := n.exec("DROP COLUMN " + quote(n.result)); err != nil {
		return e, err
	}
	if e.Up, err = n.expression("up", up, e.NewType, &e.Inputs); err != nil {
		return e, err
	}
	if err := n.exec(fmt.Sprintf("DROP COLUMN %s, ADD COLUMN %s %s %s", column, column, e.NewType, e.NewCollation)); err != nil {
		return e, err
	}
	if e.Down, err = n.expression("down", down, e.OldType, &e.Inputs); err != nil {
		return e, err
	}
	slices.Sort(e.Inputs)
	e.Inputs = slices.Compact(e.Inputs)
	return e, nil
}

// createScratch creates the temporary table without the generated columns and
// those of the job.
func (n *normalizer) createScratch() error {
	if _, err := n.tx.Exec(n.ctx, fmt.Sprintf("CREATE TEMPORARY TABLE muniment_normalize (LIKE %s) ON COMMIT DROP", n.pair.Relation())); err != nil {
		return err
	}
	rows, err := n.tx.Query(n.ctx, `SELECT attname::text, attgenerated <> '' FROM pg_catalog.pg_attribute
		WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped`, n.pair.Relation())
	if err != nil {
		return err
	}
	names := map[string]bool{}
	var name string
	var generated bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &generated}, func() error {
		names[name] = true
		if generated {
			n.generated = append(n.generated, name)
		}
		return nil
	}); err != nil {
		return err
	}
	if !names[n.pair.Column] {
		return fmt.Errorf("table %s has no column %q", n.pair.Relation(), n.pair.Column)
	}
	if slices.Contains(n.generated, n.pair.Column) {
		return fmt.Errorf("column %q is generated: change its generation expression instead", n.pair.Column)
	}
	for n.result = "muniment_result"; names[n.result]; {
		n.result += "_"
	}
	for name := range names {
		if slices.Contains(n.generated, name) || n.pair.own(name) {
			if err := n.exec("DROP COLUMN " + quote(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// exec alters the temporary table.
func (n *normalizer) exec(action string) error {
	_, err := n.tx.Exec(n.ctx, "ALTER TABLE "+scratch+" "+action)
	return err
}

// addResult adds a column from text of the job. The extended protocol accepts
// one statement, and counting the columns finds text that closes a parenthesis
// and adds a column of its own.
func (n *normalizer) addResult(field, typ, rest string) error {
	count := func() (c int, err error) {
		err = n.tx.QueryRow(n.ctx, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute WHERE attrelid = $1::regclass AND attnum > 0", scratch).Scan(&c)
		return c, err
	}
	before, err := count()
	if err != nil {
		return err
	}
	statement := fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s\n%s", scratch, quote(n.result), typ, rest)
	if _, err := n.tx.Conn().PgConn().ExecParams(n.ctx, statement, nil, nil, nil, nil).Close(); err != nil {
		return n.explain(field, err)
	}
	after, err := count()
	if err != nil {
		return err
	}
	if after != before+1 {
		return &ExpressionError{Field: field, Reason: "not a single expression or type"}
	}
	return nil
}

// typeOf returns the type of a column of the temporary table and its COLLATE
// clause, with their schemas.
func (n *normalizer) typeOf(column string) (typ, collation string, err error) {
	err = n.qualified(`SELECT format_type(a.atttypid, a.atttypmod),
		coalesce((SELECT format('COLLATE %I.%I', s.nspname, c.collname) FROM pg_collation c JOIN pg_namespace s ON s.oid = c.collnamespace
			WHERE c.oid = a.attcollation AND a.attcollation <> t.typcollation), '')
		FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
		WHERE a.attrelid = $1::regclass AND a.attname = $2`, []any{scratch, column}, &typ, &collation)
	return typ, collation, err
}

// refuseDomain refuses a domain with constraints. PostgreSQL rewrites a table
// that gets a column of it.
func (n *normalizer) refuseDomain() error {
	var domain, base string
	err := n.qualified(`WITH RECURSIVE types AS (
			SELECT t.oid, t.typbasetype, t.typtypmod, t.typtype, t.typnotnull FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
			WHERE a.attrelid = $1::regclass AND a.attname = $2
			UNION ALL
			SELECT t.oid, t.typbasetype, t.typtypmod, t.typtype, t.typnotnull FROM pg_type t JOIN types ON t.oid = types.typbasetype)
		SELECT format_type(oid, NULL), format_type(typbasetype, typtypmod) FROM types
		WHERE typtype = 'd' AND (typnotnull OR EXISTS (SELECT FROM pg_constraint WHERE contypid = types.oid)) LIMIT 1`,
		[]any{scratch, n.result}, &domain, &base)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return &ExpressionError{Field: "type", Reason: fmt.Sprintf("domain %s has constraints, so PostgreSQL would rewrite the table: use the type %s, and add the constraints to the table after the job", domain, base)}
}

// expression returns the normalized form of an expression, and appends the
// other columns that it reads to inputs.
func (n *normalizer) expression(field, text, typ string, inputs *[]string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "", &ExpressionError{Field: field, Reason: "no expression specified"}
	}
	if strings.ContainsRune(text, 0) {
		return "", &ExpressionError{Field: field, Reason: "contains a zero byte"}
	}
	// The line break ends a comment at the end of the expression.
	generated := fmt.Sprintf("GENERATED ALWAYS AS (((%s\n)::%s)) STORED", text, typ)
	if err := n.addResult(field, typ, generated); err != nil {
		return "", err
	}
	var normal string
	if err := n.qualified(`SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
		WHERE d.adrelid = $1::regclass AND a.attname = $2`, []any{scratch, n.result}, &normal); err != nil {
		return "", err
	}
	read, err := n.columnsRead()
	if err != nil {
		return "", err
	}
	*inputs = append(*inputs, read...)
	// System columns, which are accepted in generation expressions, fail here.
	check := fmt.Sprintf("SELECT (%s\n)::%s FROM (SELECT * FROM %s) AS x WHERE false", normal, typ, scratch)
	if _, err := n.tx.Exec(n.ctx, check); err != nil {
		return "", n.explain(field, err)
	}
	return strings.TrimSpace(normal), n.exec("DROP COLUMN " + quote(n.result))
}

// columnsRead returns the columns that the generated column depends on, except
// for the public one.
func (n *normalizer) columnsRead() ([]string, error) {
	rows, err := n.tx.Query(n.ctx, `SELECT DISTINCT a.attname::text FROM pg_catalog.pg_depend d
		JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
		LEFT JOIN pg_catalog.pg_attrdef f ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND f.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1::regclass AND d.refobjsubid > 0
		AND (f.adrelid = $1::regclass OR d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = $1::regclass)
		AND a.attname <> ALL($2)`, scratch, []string{n.result, n.pair.Column})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// qualified executes a query under an empty search path, so that PostgreSQL
// adds the schemas to names, and scans its row.
func (n *normalizer) qualified(sql string, args []any, into ...any) error {
	var path, empty string
	if err := n.tx.QueryRow(n.ctx, "SELECT current_setting('search_path'), set_config('search_path', '', true)").Scan(&path, &empty); err != nil {
		return err
	}
	err := n.tx.QueryRow(n.ctx, sql, args...).Scan(into...)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return errors.Join(err, n.tx.QueryRow(n.ctx, "SELECT set_config('search_path', $1, true)", path).Scan(&empty))
}

// explain rewords an error of PostgreSQL about text of the job.
func (n *normalizer) explain(field string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	reason, ok := reasons[pg.Code]
	switch {
	case pg.Code == undefinedColumn:
		reason = n.unknownColumn(pg.Message)
	case !ok:
		reason = lower(pg.Message)
	default:
		reason = fmt.Sprintf("%s (%s)", reason, lower(pg.Message))
	}
	if pg.Hint != "" && pg.Code != undefinedColumn {
		reason += ": " + lower(strings.TrimSuffix(pg.Hint, "."))
	}
	return &ExpressionError{Field: field, Reason: reason, Err: err}
}

const undefinedColumn = "42703"

// reasons explains error codes of PostgreSQL.
var reasons = map[string]string{
	"42P17": "expression is not immutable: it must not depend on the time, on settings or on other tables, and casts between text and enums, dates or times do: use CASE, AT TIME ZONE or make_date instead",
	"0A000": "expression contains a subquery, a set-returning function or something else that a generated column cannot have",
	"42803": "expression contains an aggregate function",
	"42P20": "expression contains a window function",
	"42846": "the result of the expression has another type, without a cast",
	"42804": "the result of the expression has another type",
	"42601": "not a valid expression or type",
	"42704": "unknown type",
	"42883": "unknown function or operator",
	"3F000": "unknown schema",
}

// unknownColumn explains that a column of the temporary table does not exist.
func (n *normalizer) unknownColumn(message string) string {
	for _, name := range n.generated {
		if strings.Contains(message, `"`+name+`"`) {
			return fmt.Sprintf("column %q is generated after triggers run: use its generation expression instead", name)
		}
	}
	for _, name := range []string{n.pair.Shadow, n.pair.Retired, n.pair.Mark} {
		if strings.Contains(message, `"`+name+`"`) {
			return fmt.Sprintf("column %q belongs to the job itself: the name of the column stands for the value", name)
		}
	}
	return lower(message)
}

// lower starts a message of PostgreSQL with a lower-case letter.
func lower(message string) string {
	if message == "" {
		return message
	}
	return strings.ToLower(message[:1]) + message[1:]
}

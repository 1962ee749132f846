// Package dualwrite writes the SQL that keeps two columns of a table equal, and
// removes either of them. It follows sections 1 to 3 of
// [docs/spec/backfill.md].
//
// [docs/spec/backfill.md]: https://muniment.dev/spec/backfill
package dualwrite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Schema is the schema of the trigger functions.
const Schema = "muniment_conductor"

// SearchPath is the search path under which expressions are evaluated. A
// function in an expression must not depend on another one.
const SearchPath = "pg_catalog, pg_temp"

// maxName is the greatest length of a name in PostgreSQL, in bytes. PostgreSQL
// truncates longer ones.
const maxName = 63

// A Pair is the old and the new column of a table.
type Pair struct {
	Schema, Table string
	Column        string // the public name, which the primary column has
	Shadow        string // the new column, before cutover
	Retired       string // the old column, after cutover
	Mark          string // is true in rows that must be copied
	Job           string // the name of the trigger function
	Expressions   Expressions
}

// Expressions are the transformations of a job, as Normalize returns them.
type Expressions struct {
	OldType, NewType string // with their schemas
	NewCollation     string // a COLLATE clause, or empty for that of the type
	Up, Down         string

	// Inputs lists the other columns that Up or Down reads.
	Inputs []string
}

// Check returns an error if PostgreSQL could not create the names.
func (p Pair) Check() error {
	names := []struct{ what, name string }{
		{"column", p.Column}, {"shadow column", p.Shadow}, {"retired column", p.Retired}, {"mark column", p.Mark},
	}
	taken := map[string]string{}
	for _, n := range names {
		if other, ok := taken[n.name]; ok {
			return fmt.Errorf("the %s and the %s are both named %q: choose another name in the job", other, n.what, n.name)
		}
		taken[n.name] = n.what
	}
	names = append(names, struct{ what, name string }{"trigger", p.Trigger()}, struct{ what, name string }{"trigger function", p.Job})
	for _, n := range names {
		if n.name == "" {
			return fmt.Errorf("the %s has no name", n.what)
		}
		if len(n.name) > maxName {
			return fmt.Errorf("name of the %s too long: %q has %d bytes, the maximum is %d", n.what, n.name, len(n.name), maxName)
		}
		if strings.ContainsRune(n.name, 0) {
			return fmt.Errorf("name of the %s contains a zero byte: %q", n.what, n.name)
		}
	}
	return nil
}

// Trigger returns the name of the trigger, which is also that of the constraint
// that proves the copy complete.
func (p Pair) Trigger() string { return "zzz_muniment_" + p.Column }

// Relation returns the quoted name of the table.
func (p Pair) Relation() string { return quote(p.Schema, p.Table) }

func (p Pair) function() string { return quote(Schema, p.Job) }

func quote(name ...string) string { return pgx.Identifier(name).Sanitize() }

// A Side is a direction of the dual write, for SQL over the rows of the table.
type Side struct {
	Primary, Secondary         string // quoted
	PrimaryType, SecondaryType string

	forward, backward string
	pair              Pair
}

// Before returns the direction before cutover.
func (p Pair) Before() Side {
	e := p.Expressions
	return Side{
		Primary: quote(p.Column), Secondary: quote(p.Shadow), PrimaryType: e.OldType, SecondaryType: e.NewType,
		forward: e.Up, backward: e.Down, pair: p,
	}
}

// After returns the direction after cutover.
func (p Pair) After() Side {
	e := p.Expressions
	return Side{
		Primary: quote(p.Column), Secondary: quote(p.Retired), PrimaryType: e.NewType, SecondaryType: e.OldType,
		forward: e.Down, backward: e.Up, pair: p,
	}
}

// Forward returns SQL for the secondary value that belongs to the primary value
// of a row. The row is the alias of a table, or NEW.
func (s Side) Forward(row string) string {
	return s.pair.transform(s.forward, s.SecondaryType, row, s.Primary)
}

// Backward returns SQL for the primary value that belongs to the secondary
// value of a row.
func (s Side) Backward(row string) string {
	return s.pair.transform(s.backward, s.PrimaryType, row, s.Secondary)
}

// ForwardInline is Forward for a statement over the table alone, in which the
// names of its columns are not ambiguous. It is faster, because it contains no
// subquery.
func (s Side) ForwardInline() string { return "(" + s.forward + "\n)::" + s.SecondaryType }

// Agrees returns SQL that is true if the columns of a row agree (section 1).
func (s Side) Agrees(row string) string {
	return fmt.Sprintf("(NOT %s OR NOT %s)",
		differ(row+"."+s.Secondary, s.Forward(row)), differ(row+"."+s.Primary, s.Backward(row)))
}

// transform returns the value of an expression over a row in which the public
// column has the value of another one.
func (p Pair) transform(expression, typ, row, column string) string {
	var from strings.Builder
	for _, name := range p.Expressions.Inputs {
		fmt.Fprintf(&from, "%s.%s AS %[2]s, ", row, quote(name))
	}
	fmt.Fprintf(&from, "%s.%s AS %s", row, column, quote(p.Column))
	return fmt.Sprintf("(SELECT (%s\n)::%s FROM (SELECT %s) AS x)", expression, typ, &from)
}

// differ returns SQL that compares the binary images of two values. PostgreSQL
// would decompose an operator between rows into operators of the fields.
func differ(a, b string) string {
	return fmt.Sprintf("pg_catalog.record_image_ne(ROW(%s), ROW(%s))", a, b)
}

// CreateFunction returns the statement that creates or replaces the trigger
// function for a direction (section 3).
func (s Side) CreateFunction() string {
	mark := quote(s.pair.Mark)
	inputs := ""
	if n := s.pair.Expressions.Inputs; len(n) > 0 {
		inputs = " AND NOT " + differ(list("OLD", n), list("NEW", n))
	}
	body := strings.NewReplacer(
		"{P}", s.Primary, "{S}", s.Secondary, "{M}", mark,
		"{P changed}", differ("OLD."+s.Primary, "NEW."+s.Primary),
		"{S changed}", differ("OLD."+s.Secondary, "NEW."+s.Secondary),
		"{no input changed}", inputs, "{agree}", s.Agrees("NEW"),
		"{forward}", s.Forward("NEW"), "{backward}", s.Backward("NEW"),
	).Replace(function)
	tag := "$muniment$"
	for i := 0; strings.Contains(body, tag); i++ {
		tag = fmt.Sprintf("$muniment%d$", i)
	}
	// The expressions are normalized for an empty search path. Some operators
	// in them, such as that of IS DISTINCT FROM, have no syntax for a schema.
	return fmt.Sprintf("CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SET search_path = %s AS %s%s%s",
		s.pair.function(), SearchPath, tag, body, tag)
}

// function is the body of the trigger function.
const function = `
#variable_conflict use_column
BEGIN
  IF TG_OP = 'UPDATE' AND NOT {P changed} THEN
    IF OLD.{M} AND NEW.{M} IS NULL AND NEW.{S} IS NOT NULL THEN
      RETURN NEW; -- the copy
    END IF;
    -- False keeps a NULL if the row moves to another partition.
    IF {S changed} AND (OLD.{M} OR NEW.{M} IS NOT TRUE) THEN
      NEW.{P} := {backward};
      NEW.{M} := CASE WHEN NEW.{S} IS NULL THEN false END;
      RETURN NEW;
    END IF;
    IF OLD.{M} IS NOT TRUE AND NEW.{M} IS NOT TRUE{no input changed} THEN
      NEW.{M} := CASE WHEN NEW.{S} IS NULL THEN false END;
      RETURN NEW;
    END IF;
  ELSIF TG_OP = 'INSERT' AND (NEW.{S} IS NOT NULL OR NEW.{M} IS FALSE) THEN
    IF {agree} THEN
      NEW.{M} := NULL; -- such as a row that moves to another partition
      RETURN NEW;
    END IF;
    IF NEW.{P} IS NULL AND NEW.{S} IS NOT NULL THEN
      NEW.{P} := {backward};
      NEW.{M} := NULL;
      RETURN NEW;
    END IF;
  END IF;
  NEW.{S} := {forward};
  NEW.{M} := NULL;
  RETURN NEW;
END
`

// list returns the columns of a row, separated by commas.
func list(row string, names []string) string {
	var fields []string
	for _, name := range names {
		fields = append(fields, row+"."+quote(name))
	}
	return strings.Join(fields, ", ")
}

// Expand returns the statements that begin the dual write. The caller executes
// them in one transaction with a lock_timeout. They rewrite no rows.
func (p Pair) Expand() []string {
	table, mark := p.Relation(), quote(p.Mark)
	// DEFAULT NULL overrides the default of a domain, until cutover.
	shadow := strings.TrimRight(fmt.Sprintf("%s %s %s", quote(p.Shadow), p.Expressions.NewType, p.Expressions.NewCollation), " ")
	return []string{
		fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s DEFAULT NULL, ADD COLUMN %s boolean DEFAULT true", table, shadow, mark),
		fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT", table, mark),
		p.Before().CreateFunction(),
		fmt.Sprintf("CREATE TRIGGER %s BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %s()", quote(p.Trigger()), table, p.function()),
	}
}

// Collapse returns the statements that undo Expand.
func (p Pair) Collapse() []string { return p.remove(p.Shadow) }

// Finish returns the statements that remove the old column and the dual write
// after cutover.
func (p Pair) Finish() []string { return p.remove(p.Retired) }

// remove drops a column, the mark and the dual write. Without CASCADE, it fails
// if something depends on the column.
func (p Pair) remove(column string) []string {
	table := p.Relation()
	return []string{
		fmt.Sprintf("DROP TRIGGER %s ON %s", quote(p.Trigger()), table),
		fmt.Sprintf("DROP FUNCTION %s()", p.function()),
		fmt.Sprintf("ALTER TABLE %s DROP COLUMN %s, DROP COLUMN %s", table, quote(column), quote(p.Mark)),
	}
}

// Prove returns the statement that adds the constraint which refuses marked
// rows. It does not check the existing rows.
func (p Pair) Prove() string {
	return fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s IS NOT TRUE) NOT VALID", p.Relation(), quote(p.Trigger()), quote(p.Mark))
}

// Validate returns the statement that checks the existing rows. It fails with a
// check violation if one is marked.
func (p Pair) Validate() string {
	return fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s", p.Relation(), quote(p.Trigger()))
}

// own reports whether a name is one of the columns of the job.
func (p Pair) own(name string) bool {
	return slices.Contains([]string{p.Shadow, p.Retired, p.Mark}, name)
}

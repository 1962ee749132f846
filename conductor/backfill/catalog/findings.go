package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/safetext"
)

// A Level is the consequence of a finding.
type Level string

const (
	Blocks  Level = "blocks"  // the backfill is refused until this has changed
	Handled Level = "handled" // the backfill takes care of it
	Info    Level = "info"    // worth knowing
)

// A Finding is a fact about the table that matters to a backfill.
type Finding struct {
	Level  Level  `json:"level"`
	Code   string `json:"code"`
	Object string `json:"object"`
	Text   string `json:"text"`             // how it is handled, or why it blocks
	Remedy string `json:"remedy,omitempty"` // of what blocks
}

func (f Finding) String() string {
	text := fmt.Sprintf("%s %s: %s: %s", f.Level, f.Code, f.Object, f.Text)
	if f.Remedy != "" {
		text += ": " + f.Remedy
	}
	return text
}

// findings collects findings.
type findings []Finding

func (f *findings) blocks(code, object, text, remedy string) {
	*f = append(*f, Finding{Blocks, code, object, text, remedy})
}

func (f *findings) handled(code, object, text string) {
	*f = append(*f, Finding{Handled, code, object, text, ""})
}

func (f *findings) info(code, object, text string) {
	*f = append(*f, Finding{Info, code, object, text, ""})
}

// Blocked returns the findings that block.
func Blocked(list []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(list), func(f Finding) bool { return f.Level != Blocks })
}

// Findings returns what matters to a backfill of the column: first what blocks,
// then what is handled, then the rest. The objects of the backfill itself, if
// they exist already, are not considered; see NameFindings.
func (t *Table) Findings() []Finding {
	var f findings
	t.serverFindings(&f)
	t.tableFindings(&f)
	t.columnFindings(&f)
	t.keyFindings(&f)
	t.indexFindings(&f)
	t.constraintFindings(&f)
	t.triggerFindings(&f)
	t.dependentFindings(&f)
	t.publicationFindings(&f)
	order := []Level{Blocks, Handled, Info}
	slices.SortStableFunc(f, func(a, b Finding) int { return cmp.Compare(slices.Index(order, a.Level), slices.Index(order, b.Level)) })
	return f
}

// Supported versions of PostgreSQL, by server_version_num.
const oldest, tooNew = 140000, 180000

func (t *Table) serverFindings(f *findings) {
	s := t.Server
	if s.Version < oldest || s.Version >= tooNew {
		f.blocks("server-version", fmt.Sprint(s.Version/10000), "the supported versions of PostgreSQL are 14 to 17", "use another version of the server or of this program")
	}
	if s.InRecovery {
		f.blocks("standby", t.Ref.Relation(), "the server is a standby, which is read-only", "connect to the primary server")
	}
	if !s.OwnsTable {
		f.blocks("owner", t.Ref.Relation(), fmt.Sprintf("role %q does not own the table, whose owner is %q", s.Role, t.Identity.Owner), fmt.Sprintf("connect as a member of %q", t.Identity.Owner))
	}
	if !s.CreatesSchema {
		f.blocks("schema-privilege", "muniment_conductor", fmt.Sprintf("role %q cannot create the schema of the state", s.Role), "grant it CREATE on the database")
	}
	if s.FilteredByRole {
		f.blocks("row-security", t.Ref.Relation(), fmt.Sprintf("policies hide rows from role %q, so the copy would miss them", s.Role), "connect as the owner, if row-level security is not forced, or as a role with BYPASSRLS")
	} else if t.Identity.RowSecurity {
		f.handled("row-security", t.Ref.Relation(), fmt.Sprintf("row-level security does not apply to role %q", s.Role))
	}
	if s.EventTriggers > 0 {
		f.info("event-triggers", t.Ref.Relation(), fmt.Sprintf("%d event triggers can react to changes of the schema, or refuse them", s.EventTriggers))
	}
}

// kinds names the kinds of relations that cannot be backfilled.
var kinds = map[string]string{"v": "a view", "m": "a materialized view", "f": "a foreign table"}

// maxColumns is PostgreSQL's limit, which dropped columns count for. A backfill
// adds two columns. To try its expressions and dependants, it adds two more to
// an empty copy of the table.
const (
	maxColumns  = 1600
	moreColumns = 4
)

func (t *Table) tableFindings(f *findings) {
	name, id := t.Ref.Relation(), t.Identity
	if kind := kinds[id.Kind]; kind != "" {
		f.blocks("kind", name, "it is "+kind, "backfill the table that contains the data")
	}
	if t.Ref.Schema == "pg_catalog" || t.Ref.Schema == "information_schema" || t.Ref.Schema == "muniment_conductor" {
		f.blocks("system-table", name, "it belongs to the system", "choose another table")
	}
	if id.Persistence == "t" {
		f.blocks("temporary", name, "other sessions cannot see a temporary table", "choose another table")
	}
	if id.Persistence == "u" {
		f.info("unlogged", name, "an unlogged table is empty after a crash")
	}
	if id.Typed {
		f.blocks("typed-table", name, "a table OF a type cannot get a column", "run ALTER TABLE … NOT OF first")
	}
	if id.IsPartition {
		f.blocks("partition", name, "it is a partition, which cannot have columns of its own", "backfill the partitioned table")
	}
	if id.Children {
		f.blocks("inheritance", name, "the trigger of a table does not fire for the tables that inherit from it", "backfill each table after ALTER TABLE … NO INHERIT, or use partitions")
	}
	if id.Subscribed {
		f.blocks("subscription", name, "a subscription writes to it without firing triggers", "drop the table from the publication, and refresh the subscription")
	}
	if id.RowTypeUsed != "" {
		f.blocks("row-type", name, fmt.Sprintf("column %s stores rows of the table, so the table cannot get a column with a default", id.RowTypeUsed), "change the type of that column")
	}
	t.treeFindings(f)
	f.info("size", name, fmt.Sprintf("about %.0f rows, table %s, indexes %s, TOAST and maps %s", max(id.Rows, 0), safetext.Size(id.TableBytes), safetext.Size(id.IndexBytes), safetext.Size(id.ToastBytes)))
	if id.Rows < 0 {
		f.info("no-estimate", name, "it was never analyzed, so the number of rows is unknown: run ANALYZE")
	}
}

func (t *Table) treeFindings(f *findings) {
	if t.Identity.PartitionKey {
		f.blocks("partition-key", t.Ref.Column, "rows are assigned to partitions by this column", "create a new partitioned table")
	}
	expanded := slices.ContainsFunc(t.Columns, func(c Column) bool { return c.Name == t.Ref.Mark })
	for _, m := range t.Tree {
		if !expanded && int(m.Columns)+moreColumns > maxColumns {
			f.blocks("columns", m.Relation(), fmt.Sprintf("it has %d columns with those that were dropped, and a backfill needs %d more: the limit of PostgreSQL is %d", m.Columns, moreColumns, maxColumns),
				"move columns to another table, or, if enough were dropped, create the table anew")
		}
	}
	for _, m := range t.Tree[1:] {
		if m.Kind == "f" {
			f.blocks("foreign-partition", m.Relation(), "a partition on another server has no dual write", "detach it first")
		}
	}
	if n := len(t.Tree) - 1; n > 0 {
		f.handled("partitions", t.Ref.Relation(), fmt.Sprintf("the columns and the trigger apply to all %d partitions; indexes are built on each", n))
	}
}

func (t *Table) columnFindings(f *findings) {
	c := t.Column
	if c.Generated {
		f.blocks("generated", c.Name, "its content is computed from other columns", "run ALTER COLUMN … DROP EXPRESSION first, or change the expression")
	}
	if c.Identity != "" {
		f.blocks("identity", c.Name, "an identity cannot move to another column", "run ALTER COLUMN … DROP IDENTITY, and use a default with nextval")
	}
	if c.Inherited {
		f.blocks("inherited-column", c.Name, "it is inherited from another table", "backfill that table")
	}
	if c.NotNull {
		f.handled("not-null", c.Name, "a CHECK is validated before cutover, so that SET NOT NULL needs no scan")
	}
	if c.Default != nil {
		f.handled("default", c.Name, "the new column gets a default: "+*c.Default)
	}
	if c.Comment != nil {
		f.handled("comment", c.Name, "the new column gets the comment")
	}
	if len(t.Grants) > 0 {
		f.handled("column-privileges", c.Name, fmt.Sprintf("the new column gets its %d privileges", len(t.Grants)))
	}
	if c.Target != nil || len(c.Options) > 0 {
		f.handled("column-statistics", c.Name, "the new column gets its statistics target and options")
	}
	for _, s := range t.Sequences {
		if !s.Identity {
			f.handled("sequence", s.Relation, "the sequence gets the new column as its owner")
		}
	}
}

func (t *Table) keyFindings(f *findings) {
	if t.Key == nil {
		f.blocks("no-key", t.Ref.Relation(), "it has neither a primary key nor a unique index over NOT NULL columns", "run CREATE UNIQUE INDEX CONCURRENTLY over columns that are NOT NULL")
		return
	}
	var names []string
	for _, c := range t.Key.Columns {
		names = append(names, c.Name)
	}
	f.info("key", t.Key.Index, "rows are copied in the order of "+strings.Join(names, ", "))
	if slices.Contains(names, t.Ref.Column) {
		f.blocks("key-column", t.Ref.Column, "it is part of the key by which rows are copied", "add a unique index over other columns that are NOT NULL")
	}
}

// NameFindings returns the names that a backfill cannot use.
func (t *Table) NameFindings() []Finding {
	var f findings
	for _, name := range []string{t.Ref.Shadow, t.Ref.Retired, t.Ref.Mark, t.Ref.Trigger()} {
		if len(name) > maxName {
			f.blocks("long-name", name, fmt.Sprintf("a name of %d bytes, the limit is %d", len(name), maxName), "set `names` in the job to shorter ones; for the trigger, rename the column")
		}
	}
	for _, c := range t.Columns {
		if t.Ref.own(c.Name) {
			f.blocks("column-exists", c.Name, "the table has such a column", "end the backfill that created it, drop it, or set `names` in the job")
		}
	}
	for _, g := range t.Triggers {
		if g.Name == t.Ref.Trigger() {
			f.blocks("trigger-exists", g.Name, g.Relation+" has such a trigger", "end the backfill that created it, or drop it")
		}
	}
	return f
}

// maxName is the limit of PostgreSQL for names, in bytes.
const maxName = 63

// Package catalog reads the definition of a table, and everything that depends
// on one of its columns, from a live database. Its findings state what a
// backfill of the column must handle, and what prevents it. See
// docs/spec/backfill.md.
package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/rowkey"
)

// SearchPath is the search_path under which definitions are read. It qualifies
// every name outside of pg_catalog.
const SearchPath = "pg_catalog, pg_temp"

// A Ref names a column, and the objects that a backfill of it creates.
type Ref struct {
	Schema, Table, Column string

	// Names of the columns, see section 2 of the specification. Column is the
	// public name of the primary column.
	Shadow, Retired, Mark string
}

// TriggerPrefix begins the names of triggers for dual write. It sorts behind
// those of an application, because triggers fire by name.
const TriggerPrefix = "zzz_muniment_"

// Trigger returns the name of the trigger for dual write.
func (r Ref) Trigger() string { return TriggerPrefix + r.Column }

// own reports whether a column belongs to the backfill.
func (r Ref) own(name string) bool { return name == r.Shadow || name == r.Retired || name == r.Mark }

// Relation returns the qualified and quoted name of the table.
func (r Ref) Relation() string { return pgx.Identifier{r.Schema, r.Table}.Sanitize() }

// A Table is a table as its catalogue defines it, with its partitions and with
// what depends on the column. All names are unquoted.
type Table struct {
	Ref      Ref
	Server   Server
	Identity Identity
	Columns  []Column
	Column   Column      // that of Ref
	Key      *rowkey.Key // by which rows are copied, or nil
	Tree     []Member    // the table, then its partitions in the order of their levels

	Indexes      []Index      // of the whole tree
	Constraints  []Constraint // of the whole tree, and foreign keys that reference it
	Triggers     []Trigger    // of the whole tree, without internal triggers
	Policies     []Policy     // of the table, or on the column
	Views        []View       // that depend on the column, each after those that it reads
	Rules        []Rule
	Functions    []Function // whose SQL body depends on the column
	Publications []Publication
	Statistics   []Statistics // on the column
	Sequences    []Sequence   // owned by the column
	Grants       []Grant      // on the column

	// Mentions lists functions whose source contains the name of the column, at
	// most maxMentions. PostgreSQL does not track these dependencies.
	Mentions []string

	others []dependent // that no other field covers
}

// A Server is the server and the role that is connected to it.
type Server struct {
	Version        int    // such as 150018
	Role           string // the current user
	InRecovery     bool   // it is a standby
	OwnsTable      bool   // the role may alter the table
	CreatesSchema  bool   // the role may create the schema of the state
	SetsReplica    bool   // the role may set session_replication_role
	EventTriggers  int64  // enabled event triggers
	FilteredByRole bool   // row-level security applies to the role
}

// An Identity is what a table is.
type Identity struct {
	OID             uint32
	Kind            string // of pg_class.relkind
	Owner           string
	Persistence     string // of pg_class.relpersistence
	ReplicaIdentity string // of pg_class.relreplident
	RowSecurity     bool
	ForceSecurity   bool
	IsPartition     bool
	Typed           bool // it was created OF a type
	Children        bool // other tables inherit from it, and it is not partitioned
	PartitionKey    bool // the column is part of a partition key in the tree
	Subscribed      bool // a subscription writes to the tree
	RowTypeUsed     string
	Comment         *string

	Rows       float64 // estimate of the planner, with partitions; -1 if unknown
	TableBytes int64   // without indexes and TOAST
	IndexBytes int64
	ToastBytes int64
}

// A Column is a column of the table.
type Column struct {
	Number      int16
	Name        string
	Type        string // with its modifier
	TypeOID     uint32
	Collation   string // qualified and quoted, if it is not that of the type
	NotNull     bool
	Default     *string
	Volatile    bool // the default calls a function that is not immutable
	Generated   bool
	Identity    string // of pg_attribute.attidentity
	Storage     string
	Compression string
	Target      *int16   // of its statistics
	Options     []string // such as n_distinct=5
	Inherited   bool
	Comment     *string
}

// A Member is the table or one of its partitions.
type Member struct {
	OID    uint32
	Schema string
	Name   string
	Kind   string
	Parent uint32 // 0 for the table itself
	Level  int
	Number int16 // of the column

	Columns int16 // including dropped ones
}

// Relation returns the qualified and quoted name.
func (m Member) Relation() string { return pgx.Identifier{m.Schema, m.Name}.Sanitize() }

// Member returns the member of the tree with an OID, or nil.
func (t *Table) Member(oid uint32) *Member {
	for i := range t.Tree {
		if t.Tree[i].OID == oid {
			return &t.Tree[i]
		}
	}
	return nil
}

// Partitioned reports whether the table is partitioned.
func (t *Table) Partitioned() bool { return t.Identity.Kind == "p" }

// ErrNoColumn is the error for a table or a column that does not exist.
var ErrNoColumn = errors.New("does not exist")

// Read reads the table of a reference. It changes nothing, and takes no lock
// beyond ACCESS SHARE. The views and partitions of a table are bounded by
// maxObjects.
func Read(ctx context.Context, tx pgx.Tx, ref Ref) (*Table, error) {
	inner, err := tx.Begin(ctx) // a savepoint, which restores the settings
	if err != nil {
		return nil, err
	}
	defer inner.Rollback(context.WithoutCancel(ctx))
	if _, err := inner.Exec(ctx, "SET LOCAL search_path = "+SearchPath); err != nil {
		return nil, err
	}
	t := &Table{Ref: ref}
	r := reader{ctx, inner, t}
	for _, step := range []struct {
		what string
		read func() error
	}{
		{"table", r.identity}, {"server", r.server}, {"columns", r.columns}, {"partitions", r.tree}, {"indexes", r.indexes},
		{"constraints", r.constraints}, {"triggers", r.triggers}, {"policies", r.policies}, {"views", r.views}, {"rules", r.rules},
		{"functions", r.functions}, {"publications", r.publications}, {"statistics", r.statistics}, {"sequences", r.sequences},
		{"privileges", r.grants}, {"mentions", r.mentions}, {"dependants", r.dependents},
	} {
		if err := step.read(); errors.Is(err, ErrNoColumn) {
			return nil, err
		} else if err != nil {
			return nil, fmt.Errorf("read the %s of %s: %w", step.what, ref.Relation(), err)
		}
	}
	key, err := rowkey.Find(ctx, inner, t.Identity.OID)
	if err == nil {
		t.Key = &key
	} else if !errors.Is(err, rowkey.ErrNoKey) {
		return nil, fmt.Errorf("read the key of %s: %w", ref.Relation(), err)
	}
	return t, nil
}

package catalog

// An Index is an index of a member of the tree.
type Index struct {
	OID             uint32
	Table           uint32 // OID of the member
	Schema          string
	Name            string
	Parent          uint32 // index of the parent, or 0
	Definition      string // the statement that creates it
	Tail            string // of the definition, from the access method on
	Predicate       *string
	Columns         []int16 // 0 for an expression
	Unique          bool
	Primary         bool
	Valid           bool
	Clustered       bool
	ReplicaIdentity bool
	Tablespace      *string
	OnColumn        bool // it depends on the column
	Comment         *string

	Constraint     *string // name of its constraint
	ConstraintType *string
}

// A Constraint is a constraint of a member of the tree, or a foreign key that
// references one.
type Constraint struct {
	OID        uint32
	Table      uint32
	Relation   string // qualified and quoted name of the table
	Name       string
	Type       string // of pg_constraint.contype
	Definition string
	Expression *string // of a CHECK
	Validated  bool
	Deferrable bool
	Deferred   bool
	NoInherit  bool
	Inherited  bool
	Index      uint32 // of a UNIQUE, PRIMARY KEY or EXCLUDE constraint
	OnColumn   bool
	Incoming   bool // another table references the column
	Comment    *string

	// Of a foreign key.
	Columns        []string
	Target         uint32
	TargetRelation string
	TargetColumns  []string
	Match          string
	OnUpdate       string
	OnDelete       string
	SetColumns     []string // of ON DELETE SET NULL or SET DEFAULT
}

// A Trigger is a trigger of a member of the tree.
type Trigger struct {
	OID        uint32
	Table      uint32
	Relation   string
	Name       string
	Definition string
	Enabled    string // of pg_trigger.tgenabled
	Row        bool   // FOR EACH ROW
	Before     bool
	Instead    bool
	Insert     bool
	Update     bool
	Inherited  bool // it is the clone of the trigger of a partitioned table
	OnColumn   bool
	Comment    *string
}

// A Policy is a policy of row-level security.
type Policy struct {
	OID      uint32
	Relation string
	Name     string
	Using    *string
	Check    *string
	OnColumn bool
}

// A View is a view or a materialized view.
type View struct {
	OID        uint32
	Relation   string
	Kind       string
	Definition string // the query
	Options    []string
	Owner      string
	Grants     []Grant
	Comments   []Comment
	Defaults   []Default
	Triggers   []Trigger
	Rules      []Rule
	Direct     bool // it reads the column itself, not only through other views

	// DefaultGrantees are the roles, quoted, that default privileges of the
	// current user grant something on new views of this schema.
	DefaultGrantees []string
}

// A Comment is a comment on a view, or on one of its columns.
type Comment struct {
	Column *string
	Text   string
}

// A Default is the default of a column of a view.
type Default struct{ Column, Expression string }

// A Rule is a rule other than the query of a view.
type Rule struct {
	OID        uint32
	Relation   string
	Name       string
	Definition string
	Event      string // of pg_rewrite.ev_type
	Enabled    string
	OnTable    bool // it is a rule of the table, whether it uses the column or not
	OnColumn   bool
	Comment    *string
}

// A Function is a function or a procedure.
type Function struct {
	OID        uint32
	Identity   string // with the types of its arguments
	Definition string
}

// A Publication is a publication of the table.
type Publication struct {
	Name      string
	AllTables bool
	Schema    bool     // it publishes the schema of the table
	Columns   []string // nil without a list
	Filter    *string
	Relation  string // of the member that is published
	OnColumn  bool
}

// A Statistics is an extended statistics object.
type Statistics struct {
	OID        uint32
	Schema     string
	Name       string
	Definition string
	Relation   string
	Owner      string
	Target     *int16
	Comment    *string
}

// A Sequence is a sequence that is dropped with the column.
type Sequence struct {
	Relation string
	Identity bool
}

// A Grant is a set of privileges of one role.
type Grant struct {
	Relation   string
	Column     *string
	Grantee    string // quoted, or PUBLIC
	Privilege  string
	WithOption bool
}

// A dependent is an object that depends on the column.
type dependent struct {
	Class, Object string
}

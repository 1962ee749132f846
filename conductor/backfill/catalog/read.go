package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/internal/similar"
)

// Bounds of the lists. A table with more partitions or views is refused.
const (
	maxObjects  = 20_000
	maxMentions = 20
)

// A reader reads the parts of one table.
type reader struct {
	ctx context.Context
	tx  pgx.Tx
	t   *Table
}

// rows returns the rows of a query as structures, at most maxObjects.
func rows[T any](r reader, sql string, args ...any) ([]T, error) {
	result, err := r.tx.Query(r.ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(result, func(row pgx.CollectableRow) (T, error) { return pgx.RowToStructByName[T](row) })
	if err == nil && len(list) > maxObjects {
		err = fmt.Errorf("%d objects, the limit is %d", len(list), maxObjects)
	}
	return list, err
}

func (r reader) identity() error {
	ref := r.t.Ref
	list, err := rows[Identity](r, identitySQL, ref.Schema, ref.Table, ref.Column)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("table %s %w: check the names of the schema and the table", ref.Relation(), ErrNoColumn)
	}
	r.t.Identity = list[0]
	return nil
}

const identitySQL = `SELECT c.oid, c.relkind::text AS kind, pg_get_userbyid(c.relowner)::text AS owner, c.relpersistence::text AS persistence,
	c.relreplident::text AS replica_identity, c.relrowsecurity AS row_security, c.relforcerowsecurity AS force_security,
	c.relispartition AS is_partition, c.reloftype <> 0 AS typed,
	c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid) AS children,
	EXISTS (SELECT FROM pg_partition_tree(c.oid) m JOIN pg_depend d ON d.objid = m.relid
		JOIN pg_attribute a ON a.attrelid = m.relid AND a.attname = $3 AND d.objsubid = a.attnum
		WHERE d.classid = 'pg_class'::regclass AND d.refclassid = d.classid AND d.refobjid = m.relid AND d.deptype = 'i') AS partition_key,
	EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid OR s.srrelid IN (SELECT relid FROM pg_partition_tree(c.oid))) AS subscribed,
	coalesce((SELECT format('%s.%I', u.attrelid::regclass, u.attname) FROM pg_attribute u
		JOIN pg_type y ON y.oid = u.atttypid JOIN pg_class k ON k.oid = u.attrelid
		WHERE (y.oid = c.reltype OR y.typelem = c.reltype AND c.reltype <> 0) AND NOT u.attisdropped AND k.relkind IN ('r', 'p', 'm') LIMIT 1), '') AS row_type_used,
	obj_description(c.oid, 'pg_class') AS comment,
	CASE WHEN c.relkind = 'p' THEN (SELECT coalesce(sum(l.reltuples) FILTER (WHERE l.reltuples >= 0), -1)::float8
		FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf) ELSE c.reltuples::float8 END AS rows,
	s.heap AS table_bytes, s.indexes AS index_bytes, s.toast AS toast_bytes
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
	LATERAL (SELECT coalesce(sum(pg_relation_size(m)), 0)::int8 AS heap, coalesce(sum(pg_indexes_size(m)), 0)::int8 AS indexes,
		coalesce(sum(pg_table_size(m) - pg_relation_size(m)), 0)::int8 AS toast
		FROM (SELECT c.oid::regclass AS m WHERE c.relkind <> 'p' UNION ALL SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf AND c.relkind = 'p') x) s
	WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind NOT IN ('i', 'I', 'S', 't', 'c')`

func (r reader) server() error {
	list, err := rows[Server](r, `SELECT current_setting('server_version_num')::int AS version, current_user::text AS role,
	pg_is_in_recovery() AS in_recovery,
	pg_has_role(c.relowner, 'USAGE') AS owns_table,
	has_database_privilege(current_database(), 'CREATE') OR EXISTS (SELECT FROM pg_namespace WHERE nspname = 'muniment_conductor'
		AND has_schema_privilege(oid, 'CREATE')) AS creates_schema,
	u.rolsuper AS sets_replica,
	(SELECT count(*) FROM pg_event_trigger WHERE evtenabled <> 'D') AS event_triggers,
	row_security_active(c.oid) AS filtered_by_role
	FROM pg_class c, pg_roles u WHERE c.oid = $1 AND u.rolname = current_user`, r.t.Identity.OID)
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return errors.New("the table was dropped in the meantime: repeat the command")
	}
	r.t.Server = list[0]
	if r.t.Server.Version < 150000 || r.t.Server.SetsReplica {
		return nil
	}
	return r.tx.QueryRow(r.ctx, "SELECT has_parameter_privilege('session_replication_role', 'SET')").Scan(&r.t.Server.SetsReplica)
}

func (r reader) columns() (err error) {
	r.t.Columns, err = rows[Column](r, `SELECT a.attnum AS number, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid AS type_oid,
	coalesce((SELECT format('%I.%I', n.nspname, o.collname) FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace
		JOIN pg_type y ON y.oid = a.atttypid WHERE o.oid = a.attcollation AND a.attcollation <> y.typcollation), '') AS collation,
	a.attnotnull AS not_null, pg_get_expr(d.adbin, d.adrelid) AS default,
	coalesce(d.adbin::text LIKE '%{NEXTVALUEEXPR%' OR EXISTS (SELECT FROM regexp_matches(d.adbin::text, ':(?:funcid|opfuncid) (\d+)', 'g') f
		JOIN pg_proc p ON p.oid = f[1]::oid WHERE p.provolatile <> 'i') OR d.adbin::text LIKE '%{SQLVALUEFUNCTION%', false) AS volatile,
	a.attgenerated <> '' AS generated, a.attidentity::text AS identity, a.attstorage::text AS storage, a.attcompression::text AS compression,
	nullif(a.attstattarget, -1)::int2 AS target, a.attoptions AS options, a.attinhcount > 0 AS inherited,
	col_description(a.attrelid, a.attnum) AS comment
	FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, r.t.Identity.OID)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range r.t.Columns {
		if c.Name == r.t.Ref.Column {
			r.t.Column = c
			return nil
		}
		names = append(names, c.Name)
	}
	return fmt.Errorf("column %q of %s %w%s", r.t.Ref.Column, r.t.Ref.Relation(), ErrNoColumn, similar.DidYouMean(r.t.Ref.Column, names))
}

func (r reader) tree() (err error) {
	r.t.Tree, err = rows[Member](r, `SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
	CASE WHEN m.level = 0 THEN 0 ELSE m.parent::oid END AS parent, m.level, a.attnum AS number, c.relnatts AS columns
	FROM (SELECT $1::oid AS relid, NULL::regclass AS parent, 0 AS level WHERE NOT EXISTS (SELECT FROM pg_partition_tree($1::oid::regclass))
		UNION ALL SELECT relid, parentrelid, level FROM pg_partition_tree($1::oid::regclass)) m
	JOIN pg_class c ON c.oid = m.relid JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2
	ORDER BY m.level, n.nspname, c.relname`, r.t.Identity.OID, r.t.Ref.Column)
	return err
}

// members returns the OIDs of the tree.
func (r reader) members() []uint32 {
	var list []uint32
	for _, m := range r.t.Tree {
		list = append(list, m.OID)
	}
	return list
}

package catalog

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// onColumn is an SQL condition: an object of a class depends on the column of
// the member whose OID is an expression. $2 is the column's name.
func onColumn(class, object, table string) string {
	return fmt.Sprintf(`EXISTS (SELECT FROM pg_depend d JOIN pg_attribute q ON q.attrelid = d.refobjid AND q.attnum = d.refobjsubid
	WHERE d.classid = '%s'::regclass AND d.objid = %s AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %s AND q.attname = $2)`, class, object, table)
}

func (r reader) indexes() (err error) {
	r.t.Indexes, err = rows[Index](r, `SELECT i.oid, x.indrelid AS table, n.nspname::text AS schema, i.relname::text AS name,
	coalesce((SELECT h.inhparent FROM pg_inherits h WHERE h.inhrelid = i.oid), 0)::oid AS parent,
	pg_get_indexdef(i.oid) AS definition, '' AS tail, pg_get_expr(x.indpred, x.indrelid) AS predicate,
	x.indkey::int2[] AS columns, x.indisunique AS unique, x.indisprimary AS primary, x.indisvalid AS valid,
	x.indisclustered AS clustered, x.indisreplident AS replica_identity,
	(SELECT spcname::text FROM pg_tablespace WHERE oid = i.reltablespace) AS tablespace,
	a.attnum = ANY (x.indkey) OR `+onColumn("pg_class", "i.oid", "x.indrelid")+` OR k.oid IS NOT NULL AND `+onColumn("pg_constraint", "k.oid", "x.indrelid")+` AS on_column,
	obj_description(i.oid, 'pg_class') AS comment, k.conname::text AS constraint, k.contype::text AS constraint_type
	FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
	JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attname = $2
	LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype IN ('p', 'u', 'x')
	WHERE x.indrelid = ANY ($1) ORDER BY n.nspname, i.relname`, r.members(), r.t.Ref.Column)
	for i := range r.t.Indexes {
		if err == nil {
			err = r.t.cut(&r.t.Indexes[i])
		}
	}
	return err
}

// cut finds the tail of an index's definition.
func (t *Table) cut(x *Index) error {
	m := t.Member(x.Table)
	for _, only := range []string{"", "ONLY "} {
		for _, unique := range []string{"", "UNIQUE "} {
			for _, name := range spellings(x.Name) {
				for _, table := range qualified(m.Schema, m.Name) {
					prefix := fmt.Sprintf("CREATE %sINDEX %s ON %s%s ", unique, name, only, table)
					if tail, ok := strings.CutPrefix(x.Definition, prefix); ok {
						x.Tail = tail
						return nil
					}
				}
			}
		}
	}
	return fmt.Errorf("cannot parse the definition of an index: %s", x.Definition)
}

// spellings returns a name as PostgreSQL may print it.
func spellings(name string) []string { return []string{pgx.Identifier{name}.Sanitize(), name} }

func qualified(schema, name string) (list []string) {
	for _, s := range spellings(schema) {
		for _, n := range spellings(name) {
			list = append(list, s+"."+n)
		}
	}
	return list
}

func (r reader) constraints() (err error) {
	r.t.Constraints, err = rows[Constraint](r, `SELECT k.oid, k.conrelid AS table, k.conrelid::regclass::text AS relation, k.conname::text AS name, k.contype::text AS type,
	pg_get_constraintdef(k.oid) AS definition, pg_get_expr(k.conbin, k.conrelid) AS expression, k.convalidated AS validated,
	k.condeferrable AS deferrable, k.condeferred AS deferred, k.connoinherit AS no_inherit, k.coninhcount > 0 OR k.conparentid <> 0 AS inherited,
	k.conindid AS index, `+onColumn("pg_constraint", "k.oid", "k.conrelid")+` AS on_column,
	k.confrelid = ANY ($1) AND k.contype = 'f' AND EXISTS (SELECT FROM pg_attribute q WHERE q.attrelid = k.confrelid AND q.attname = $2 AND q.attnum = ANY (k.confkey)) AS incoming,
	obj_description(k.oid, 'pg_constraint') AS comment,
	`+names("k.conkey", "k.conrelid")+` AS columns, k.confrelid AS target, CASE WHEN k.confrelid <> 0 THEN k.confrelid::regclass::text ELSE '' END AS target_relation,
	`+names("k.confkey", "k.confrelid")+` AS target_columns, k.confmatchtype::text AS match, k.confupdtype::text AS on_update, k.confdeltype::text AS on_delete,
	`+names("(to_jsonb(k)->'confdelsetcols')", "k.conrelid")+` AS set_columns
	FROM pg_constraint k WHERE (k.conrelid = ANY ($1) OR k.confrelid = ANY ($1)) AND k.contype IN ('c', 'f', 'u', 'p', 'x')
	AND (k.conrelid = ANY ($1) OR k.conparentid = 0) ORDER BY k.conrelid::regclass::text, k.conname`, r.members(), r.t.Ref.Column)
	return err
}

// names is an SQL expression for the names of columns, whose numbers are an
// array, or a JSON array for what older versions do not have.
func names(numbers, table string) string {
	unnest := "unnest(" + numbers + ")"
	if strings.Contains(numbers, "jsonb") {
		unnest = "jsonb_array_elements_text(CASE jsonb_typeof(" + numbers + ") WHEN 'array' THEN " + numbers + " END)"
	}
	return fmt.Sprintf(`coalesce((SELECT array_agg(z.attname::text ORDER BY y.ord) FROM %s WITH ORDINALITY y(num, ord)
	JOIN pg_attribute z ON z.attrelid = %s AND z.attnum = y.num::int2), '{}')`, unnest, table)
}

const triggerSQL = `SELECT g.oid, g.tgrelid AS table, g.tgrelid::regclass::text AS relation, g.tgname::text AS name, pg_get_triggerdef(g.oid) AS definition,
	g.tgenabled::text AS enabled, g.tgtype & 1 <> 0 AS row, g.tgtype & 2 <> 0 AS before, g.tgtype & 64 <> 0 AS instead,
	g.tgtype & 4 <> 0 AS insert, g.tgtype & 16 <> 0 AS update, g.tgparentid <> 0 AS inherited, %s AS on_column,
	obj_description(g.oid, 'pg_trigger') AS comment
	FROM pg_trigger g WHERE g.tgrelid = ANY ($1) AND NOT g.tgisinternal ORDER BY g.tgrelid::regclass::text, g.tgname`

func (r reader) triggers() (err error) {
	r.t.Triggers, err = rows[Trigger](r, fmt.Sprintf(triggerSQL, onColumn("pg_trigger", "g.oid", "g.tgrelid")), r.members(), r.t.Ref.Column)
	return err
}

func (r reader) policies() (err error) {
	r.t.Policies, err = rows[Policy](r, `SELECT oid, relation, name, "using", "check", on_column FROM (SELECT p.oid, p.polrelid::regclass::text AS relation, p.polname::text AS name,
	pg_get_expr(p.polqual, p.polrelid) AS "using", pg_get_expr(p.polwithcheck, p.polrelid) AS "check",
	p.polrelid = ANY ($1) AS on_table, `+onColumn("pg_policy", "p.oid", "ANY ($1)")+` AS on_column FROM pg_policy p) x
	WHERE on_table OR on_column ORDER BY relation, name`, r.members(), r.t.Ref.Column)
	return err
}

func (r reader) rules() (err error) {
	r.t.Rules, err = rows[Rule](r, `SELECT * FROM (SELECT w.oid, w.ev_class::regclass::text AS relation, w.rulename::text AS name, pg_get_ruledef(w.oid) AS definition,
	w.ev_type::text AS event, w.ev_enabled::text AS enabled, w.ev_class = ANY ($1) AS on_table,
	`+onColumn("pg_rewrite", "w.oid", "ANY ($1)")+` AS on_column, obj_description(w.oid, 'pg_rewrite') AS comment
	FROM pg_rewrite w WHERE w.rulename <> '_RETURN' AND NOT w.ev_class = ANY ($3)) x
	WHERE on_table OR on_column ORDER BY relation, name`, r.members(), r.t.Ref.Column, r.viewOIDs())
	return err
}

func (r reader) functions() (err error) {
	r.t.Functions, err = rows[Function](r, `SELECT f.oid, f.oid::regprocedure::text AS identity, pg_get_functiondef(f.oid) AS definition FROM pg_proc f
	WHERE f.prokind IN ('f', 'p') AND f.oid IN (SELECT d.objid FROM pg_depend d JOIN pg_attribute q ON q.attrelid = d.refobjid AND q.attnum = d.refobjsubid
		WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1) AND q.attname = $2) ORDER BY 2`, r.members(), r.t.Ref.Column)
	return err
}

// publications reads column lists and row filters only since version 15, which
// introduced them.
func (r reader) publications() (err error) {
	columns, filter := "NULL::text[]", "NULL::text"
	if r.t.Server.Version >= 150000 {
		columns = `CASE WHEN l.prattrs IS NOT NULL THEN (SELECT array_agg(q.attname::text ORDER BY q.attnum) FROM pg_attribute q
			WHERE q.attrelid = l.prrelid AND q.attnum = ANY (l.prattrs)) END`
		filter = "pg_get_expr(l.prqual, l.prrelid)"
	}
	r.t.Publications, err = rows[Publication](r, `SELECT p.pubname::text AS name, p.puballtables AS all_tables, false AS schema,
	`+columns+` AS columns, `+filter+` AS filter, coalesce(l.prrelid::regclass::text, '') AS relation,
	coalesce(`+onColumn("pg_publication_rel", "l.oid", "l.prrelid")+`, false) AS on_column
	FROM pg_publication p LEFT JOIN pg_publication_rel l ON l.prpubid = p.oid AND l.prrelid = ANY ($1)
	WHERE p.puballtables OR l.oid IS NOT NULL ORDER BY 1, 6`, r.members(), r.t.Ref.Column)
	if err != nil || r.t.Server.Version < 150000 {
		return err
	}
	bySchema, err := rows[Publication](r, `SELECT p.pubname::text AS name, false AS all_tables, true AS schema, NULL::text[] AS columns, NULL::text AS filter,
	'' AS relation, false AS on_column FROM pg_publication p WHERE p.oid IN (SELECT s.pnpubid FROM pg_publication_namespace s
		JOIN pg_class c ON c.relnamespace = s.pnnspid WHERE c.oid = ANY ($1)) ORDER BY 1`, r.members())
	r.t.Publications = append(r.t.Publications, bySchema...)
	return err
}

func (r reader) statistics() (err error) {
	r.t.Statistics, err = rows[Statistics](r, `SELECT s.oid, n.nspname::text AS schema, s.stxname::text AS name, pg_get_statisticsobjdef(s.oid) AS definition,
	s.stxrelid::regclass::text AS relation, pg_get_userbyid(s.stxowner)::text AS owner, nullif(s.stxstattarget, -1)::int2 AS target,
	obj_description(s.oid, 'pg_statistic_ext') AS comment
	FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
	WHERE s.stxrelid = ANY ($1) AND `+onColumn("pg_statistic_ext", "s.oid", "s.stxrelid")+` ORDER BY 2, 3`, r.members(), r.t.Ref.Column)
	return err
}

func (r reader) sequences() (err error) {
	r.t.Sequences, err = rows[Sequence](r, `SELECT d.objid::regclass::text AS relation, d.deptype = 'i' AS identity FROM pg_depend d
	JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_attribute q ON q.attrelid = d.refobjid AND q.attnum = d.refobjsubid
	WHERE d.classid = 'pg_class'::regclass AND d.refclassid = d.classid AND d.refobjid = ANY ($1) AND q.attname = $2 AND d.deptype IN ('a', 'i')
	ORDER BY 1`, r.members(), r.t.Ref.Column)
	return err
}

func (r reader) grants() (err error) {
	r.t.Grants, err = rows[Grant](r, `SELECT a.attrelid::regclass::text AS relation, a.attname::text AS column, `+grantee+` AS grantee,
	x.privilege_type AS privilege, x.is_grantable AS with_option FROM pg_attribute a, LATERAL aclexplode(a.attacl) WITH ORDINALITY x
	WHERE a.attrelid = ANY ($1) AND a.attname = $2 ORDER BY 1, x.ordinality`, r.members(), r.t.Ref.Column)
	return err
}

// grantee is an SQL expression for the name of a grantee, as GRANT accepts it.
const grantee = `CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END`

// mentions searches the sources of functions for the column's name as a word.
func (r reader) mentions() (err error) {
	r.t.Mentions, err = texts(r, `SELECT f.oid::regprocedure::text FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace JOIN pg_language l ON l.oid = f.prolang
	WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'muniment_conductor') AND l.lanname NOT IN ('internal', 'c')
	AND f.prosrc ~* ('(^|\W)' || regexp_replace(replace($1, '"', '""'), '(\W)', '\\\1', 'g') || '(\W|$)')
	AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = f.oid AND e.deptype = 'e')
	ORDER BY 1 LIMIT `+fmt.Sprint(maxMentions), r.t.Ref.Column)
	return err
}

func texts(r reader, sql string, args ...any) ([]string, error) {
	result, err := r.tx.Query(r.ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(result, pgx.RowTo[string])
}

// dependents reads what depends on the column, except for the classes that
// other fields cover.
func (r reader) dependents() error {
	list, err := rows[dependent](r, `SELECT DISTINCT d.classid::regclass::text AS class, pg_describe_object(d.classid, d.objid, d.objsubid) AS object
	FROM pg_depend d JOIN pg_attribute q ON q.attrelid = d.refobjid AND q.attnum = d.refobjsubid
	WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1) AND q.attname = $2
	AND (d.classid NOT IN ('pg_class'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_policy'::regclass,
			'pg_proc'::regclass, 'pg_publication_rel'::regclass, 'pg_statistic_ext'::regclass, 'pg_attrdef'::regclass)
		OR d.classid = 'pg_attrdef'::regclass AND NOT EXISTS (SELECT FROM pg_attrdef f WHERE f.oid = d.objid AND f.adrelid = d.refobjid AND f.adnum = d.refobjsubid)
		OR d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND NOT d.objid = ANY ($1)
			AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind IN ('i', 'I', 'S')))
	ORDER BY 1, 2`, r.members(), r.t.Ref.Column)
	r.t.others = append(r.t.others, list...)
	return err
}

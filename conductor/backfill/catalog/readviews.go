package catalog

import "fmt"

// viewsSQL lists the views that depend on the column, directly or through other
// views, ordered by the longest path.
const viewsSQL = `WITH RECURSIVE v(oid, depth, direct) AS (
		SELECT w.ev_class, 1, true FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid AND w.rulename = '_RETURN'
		JOIN pg_attribute q ON q.attrelid = d.refobjid AND q.attnum = d.refobjsubid
		WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1) AND q.attname = $2
	UNION SELECT w.ev_class, v.depth + 1, false FROM v JOIN pg_depend d ON d.refobjid = v.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass
		JOIN pg_rewrite w ON w.oid = d.objid AND w.rulename = '_RETURN' AND w.ev_class <> v.oid WHERE v.depth < 100)
	SELECT c.oid, c.oid::regclass::text AS relation, c.relkind::text AS kind, pg_get_viewdef(c.oid) AS definition, coalesce(c.reloptions, '{}') AS options,
	pg_get_userbyid(c.relowner)::text AS owner, bool_or(v.direct) AS direct
	FROM v JOIN pg_class c ON c.oid = v.oid GROUP BY c.oid ORDER BY max(v.depth), 2`

func (r reader) views() error {
	type row struct {
		OID                        uint32
		Relation, Kind, Definition string
		Options                    []string
		Owner                      string
		Direct                     bool
	}
	list, err := rows[row](r, viewsSQL, r.members(), r.t.Ref.Column)
	if err != nil {
		return err
	}
	for _, v := range list {
		view := View{OID: v.OID, Relation: v.Relation, Kind: v.Kind, Definition: v.Definition, Options: v.Options, Owner: v.Owner, Direct: v.Direct}
		if err := r.parts(&view); err != nil {
			return fmt.Errorf("%s: %w", v.Relation, err)
		}
		r.t.Views = append(r.t.Views, view)
	}
	return nil
}

// parts reads what is lost when a view is dropped.
func (r reader) parts(v *View) (err error) {
	v.Grants, err = rows[Grant](r, `SELECT c.oid::regclass::text AS relation, NULL AS column, `+grantee+` AS grantee, x.privilege_type AS privilege, x.is_grantable AS with_option
	FROM pg_class c, LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) WITH ORDINALITY x WHERE c.oid = $1
	UNION ALL SELECT a.attrelid::regclass::text, a.attname::text, `+grantee+`, x.privilege_type, x.is_grantable
	FROM pg_attribute a, LATERAL aclexplode(a.attacl) x WHERE a.attrelid = $1`, v.OID)
	if err != nil {
		return err
	}
	v.Comments, err = rows[Comment](r, `SELECT q.attname::text AS column, d.description AS text FROM pg_description d
	LEFT JOIN pg_attribute q ON q.attrelid = d.objoid AND q.attnum = d.objsubid AND d.objsubid > 0
	WHERE d.classoid = 'pg_class'::regclass AND d.objoid = $1 ORDER BY d.objsubid`, v.OID)
	if err != nil {
		return err
	}
	v.Defaults, err = rows[Default](r, `SELECT q.attname::text AS column, pg_get_expr(f.adbin, f.adrelid) AS expression FROM pg_attrdef f
	JOIN pg_attribute q ON q.attrelid = f.adrelid AND q.attnum = f.adnum WHERE f.adrelid = $1 ORDER BY q.attnum`, v.OID)
	if err != nil {
		return err
	}
	v.Triggers, err = rows[Trigger](r, fmt.Sprintf(triggerSQL, "true"), []uint32{v.OID})
	if err != nil {
		return err
	}
	v.Rules, err = rows[Rule](r, `SELECT w.oid, w.ev_class::regclass::text AS relation, w.rulename::text AS name, pg_get_ruledef(w.oid) AS definition,
	w.ev_type::text AS event, w.ev_enabled::text AS enabled, false AS on_table, true AS on_column, obj_description(w.oid, 'pg_rewrite') AS comment
	FROM pg_rewrite w WHERE w.ev_class = $1 AND w.rulename <> '_RETURN' ORDER BY w.rulename`, v.OID)
	if err != nil {
		return err
	}
	v.DefaultGrantees, err = texts(r, `SELECT DISTINCT `+grantee+` FROM pg_default_acl d, LATERAL aclexplode(d.defaclacl) x
	WHERE d.defaclobjtype = 'r' AND d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = current_user)
	AND d.defaclnamespace IN (0, (SELECT relnamespace FROM pg_class WHERE oid = $1)) AND x.grantee <> 0 ORDER BY 1`, v.OID)
	if err != nil {
		return err
	}
	return r.users(v)
}

// users finds what depends on a view and cannot be recreated with it.
func (r reader) users(v *View) error {
	list, err := rows[dependent](r, `SELECT DISTINCT d.classid::regclass::text AS class, pg_describe_object(d.classid, d.objid, d.objsubid) AS object
	FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
	LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
	JOIN pg_class c ON c.oid = $1
	WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM pg_type WHERE oid = c.reltype
			UNION ALL SELECT typarray FROM pg_type WHERE oid = c.reltype))
	AND d.deptype <> 'i' AND (w.oid IS NULL OR w.rulename <> '_RETURN' AND w.ev_class <> $1)
	AND coalesce(g.tgrelid, 0) <> $1 AND coalesce(f.adrelid, 0) <> $1 ORDER BY 1, 2`, v.OID)
	for _, d := range list {
		r.t.others = append(r.t.others, dependent{Class: d.Class, Object: d.Object + ", which uses the view " + v.Relation})
	}
	return err
}

// viewOIDs returns the OIDs of the views that were read.
func (r reader) viewOIDs() []uint32 {
	list := []uint32{}
	for _, v := range r.t.Views {
		list = append(list, v.OID)
	}
	return list
}

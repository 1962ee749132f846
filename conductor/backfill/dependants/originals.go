package dependants

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// PostgreSQL adds casts to a definition when it is created for another type,
// such as (5)::numeric. Created again for the old type from that text, it would
// differ from the original. So a cutover keeps the original definitions in the
// comment on the mark column, and a rollback uses those of objects that
// have not changed since.

// originals are the definitions of objects by their keys.
type originals struct {
	Before map[string]string `json:"before"` // text before the cutover
	After  map[string]string `json:"after"`  // MD5 of the text after it

	// Default is that of the column before the cutover.
	Default *string `json:"default,omitempty"`
}

// A definition is a text that PostgreSQL prints anew for another type.
type definition struct {
	key  string
	text *string // in the table
	sql  string  // expression for the text
}

// definitions returns those of a table. Their texts can be replaced.
func definitions(t *catalog.Table) (list []definition) {
	add := func(text *string, sql string, args ...any) {
		if text != nil {
			list = append(list, definition{key: fmt.Sprintf(sql, args...), text: text, sql: fmt.Sprintf(sql, args...)})
		}
	}
	const (
		ofTrigger = "(SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = %s AND NOT tgisinternal)"
		ofRule    = "(SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class = %s::regclass AND rulename = %s)"
		ofPolicy  = "(SELECT pg_get_expr(%s, polrelid) FROM pg_policy WHERE polrelid = %s::regclass AND polname = %s)"
		ofFilter  = "(SELECT pg_get_expr(prqual, prrelid) FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE prrelid = %s::regclass AND pubname = %s)"
	)
	triggers := func(of []catalog.Trigger) {
		for i, g := range of {
			if g.OnColumn && !g.Inherited && g.Name != t.Ref.Trigger() {
				add(&of[i].Definition, ofTrigger, literal(g.Relation), literal(g.Name))
			}
		}
	}
	rules := func(of []catalog.Rule) {
		for i, w := range of {
			if w.OnColumn {
				add(&of[i].Definition, ofRule, literal(w.Relation), literal(w.Name))
			}
		}
	}
	for i, v := range t.Views {
		add(&t.Views[i].Definition, "pg_get_viewdef(%s::regclass)", literal(v.Relation))
		triggers(v.Triggers)
		rules(v.Rules)
	}
	triggers(t.Triggers)
	rules(t.Rules)
	for _, x := range t.Policies {
		if x.OnColumn {
			add(x.Using, ofPolicy, "polqual", literal(x.Relation), literal(x.Name))
			add(x.Check, ofPolicy, "polwithcheck", literal(x.Relation), literal(x.Name))
		}
	}
	for i, f := range t.Functions {
		add(&t.Functions[i].Definition, "pg_get_functiondef(%s::regprocedure)", literal(f.Identity))
	}
	for _, p := range t.Publications {
		if p.OnColumn {
			add(p.Filter, ofFilter, literal(p.Relation), literal(p.Name))
		}
	}
	return list
}

// keep adds the statement that keeps the original definitions. It is executed
// after everything was created again.
func (s *swap) keep() error {
	before := map[string]string{}
	var values []string
	for _, d := range definitions(s.t) {
		before[d.key] = *d.text
		values = append(values, fmt.Sprintf("(%s, %s)", literal(d.key), d.sql))
	}
	if len(values) == 0 && s.t.Column.Default == nil {
		return nil
	}
	if len(values) == 0 {
		values = []string{"(NULL, NULL)"}
	}
	text, err := json.Marshal(before)
	if err != nil {
		return err
	}
	original := "NULL"
	if s.t.Column.Default != nil {
		original = literal(*s.t.Column.Default)
	}
	body := fmt.Sprintf(`BEGIN EXECUTE format('COMMENT ON COLUMN %%s IS %%L', %s, jsonb_build_object('before', %s::jsonb, 'after',
		(SELECT jsonb_object_agg(k, md5(d)) FROM (VALUES %s) x(k, d) WHERE k IS NOT NULL), 'default', %s::text)::text); END`,
		literal(s.mark()), literal(string(text)), strings.Join(values, ", "), original)
	s.add("%s", "DO "+literal(body))
	return nil
}

func (s *swap) mark() string { return s.t.Ref.Relation() + "." + ident(s.t.Ref.Mark) }

// restore replaces the definitions of the table by those that were kept, and
// returns them.
func (s *swap) restore() (kept originals, err error) {
	for _, c := range s.t.Columns {
		if c.Name != s.t.Ref.Mark || c.Comment == nil {
			continue
		}
		if err := json.Unmarshal([]byte(*c.Comment), &kept); err != nil {
			return kept, fmt.Errorf("read the definitions before the cutover from the comment on %s: %w", s.mark(), err)
		}
		for _, d := range definitions(s.t) {
			sum := md5.Sum([]byte(*d.text))
			if before, ok := kept.Before[d.key]; ok && kept.After[d.key] == hex.EncodeToString(sum[:]) {
				*d.text = before
			}
		}
		s.add("COMMENT ON COLUMN %s IS NULL", s.mark())
	}
	return kept, nil
}

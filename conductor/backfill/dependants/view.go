package dependants

import (
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// view creates a view with everything that was lost when it was dropped.
func (s *swap) view(v catalog.View) {
	with := ""
	if len(v.Options) > 0 {
		with = " WITH (" + strings.Join(v.Options, ", ") + ")"
	}
	s.add("CREATE VIEW %s%s AS %s", v.Relation, with, strings.TrimSuffix(v.Definition, ";"))
	s.add("ALTER VIEW %s OWNER TO %s", v.Relation, ident(v.Owner))
	for _, d := range v.Defaults {
		s.add("ALTER VIEW %s ALTER COLUMN %s SET DEFAULT %s", v.Relation, ident(d.Column), d.Expression)
	}
	for _, c := range v.Comments {
		object := "VIEW " + v.Relation
		if c.Column != nil {
			object = fmt.Sprintf("COLUMN %s.%s", v.Relation, ident(*c.Column))
		}
		s.list = append(s.list, comment(object, &c.Text)...)
	}
	s.privileges(v)
	for _, w := range v.Rules {
		s.rule(w)
	}
	for _, g := range v.Triggers {
		s.trigger(g)
	}
}

// privileges replaces those that a new view has by default.
func (s *swap) privileges(v catalog.View) {
	s.add("REVOKE ALL ON %s FROM PUBLIC, %s", v.Relation, ident(v.Owner))
	for _, role := range v.DefaultGrantees {
		s.add("REVOKE ALL ON %s FROM %s", v.Relation, role)
	}
	s.list = append(s.list, grants(v.Grants, v.Relation)...)
}

// grants returns the statements that grant privileges on a relation, or on
// columns of it. The privileges of one grantee are in one statement.
func grants(list []catalog.Grant, relation string) (statements []string) {
	type key struct {
		grantee, column string
		option          bool
	}
	var order []key
	privileges := map[key][]string{}
	for _, g := range list {
		k := key{grantee: g.Grantee, option: g.WithOption}
		privilege := g.Privilege
		if g.Column != nil {
			k.column = *g.Column
			privilege += " (" + ident(*g.Column) + ")"
		}
		if !slices.Contains(order, k) {
			order = append(order, k)
		}
		privileges[k] = append(privileges[k], privilege)
	}
	for _, k := range order {
		text := fmt.Sprintf("GRANT %s ON %s TO %s", strings.Join(privileges[k], ", "), relation, k.grantee)
		if k.option {
			text += " WITH GRANT OPTION"
		}
		statements = append(statements, text)
	}
	return statements
}

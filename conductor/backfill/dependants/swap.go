package dependants

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// Swap returns the statements that give the public name to the secondary
// column, with everything that belongs to the name. They are executed in this
// order in one transaction, which must be the one in which the table was read,
// after the table was locked: so nothing can change in between. They set
// search_path for the rest of the transaction. The original definitions are
// kept in the comment on the mark column until a rollback.
func Swap(ctx context.Context, tx pgx.Tx, t *catalog.Table, target Target, d Direction) ([]string, error) {
	return statements(t, target, d, func(schema, name string) (found bool, err error) {
		err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
			WHERE n.nspname = $1 AND s.stxname = $2)`, schema, name).Scan(&found)
		return found, err
	})
}

// Preview returns the statements of Swap as they will be when everything is
// prepared. The table is that before expand.
func Preview(t *catalog.Table, target Target, d Direction) ([]string, error) {
	ready := *t
	secondary, _ := d.columns(t.Ref)
	ready.Columns = append(slices.Clone(t.Columns), catalog.Column{Name: secondary})
	suffix, _ := d.suffixes()
	for _, x := range t.Indexes {
		ready.Indexes = append(ready.Indexes, catalog.Index{Table: x.Table, Name: hidden(x.Name, suffix)})
	}
	for _, k := range t.Constraints {
		ready.Constraints = append(ready.Constraints, catalog.Constraint{Table: k.Table, Name: hidden(k.Name, suffix)})
	}
	if d == Rollback && (t.Column.Default != nil || len(definitions(t)) > 0) {
		// A rollback restores the definitions as they are now.
		text, err := json.Marshal(originals{Default: t.Column.Default})
		if err != nil {
			return nil, err
		}
		ready.Columns = append(ready.Columns, catalog.Column{Name: t.Ref.Mark, Comment: new(string(text))})
	}
	return statements(&ready, target, d, func(string, string) (bool, error) { return true, nil })
}

// statements returns those of a swap. Statistics reports whether extended
// statistics exist.
func statements(t *catalog.Table, target Target, d Direction, statistics func(schema, name string) (bool, error)) ([]string, error) {
	s := swap{t: t, d: d}
	secondary, retired := d.columns(t.Ref)
	if !slices.ContainsFunc(t.Columns, func(c catalog.Column) bool { return c.Name == secondary }) {
		return nil, fmt.Errorf("swap the columns of %s: no column %q: the backfill is in another phase", t.Ref.Relation(), secondary)
	}
	s.add(settings)
	var value *string // of the default
	if d == Rollback {
		kept, err := s.restore()
		if err != nil {
			return nil, err
		}
		value = kept.Default
	} else if t.Column.Default != nil {
		text, _ := newDefault(t.Column, target)
		value = &text
	}
	s.drop()
	s.add("ALTER TABLE %s RENAME COLUMN %s TO %s", t.Ref.Relation(), ident(t.Ref.Column), ident(retired))
	s.add("ALTER TABLE %s RENAME COLUMN %s TO %s", t.Ref.Relation(), ident(secondary), ident(t.Ref.Column))
	s.defaults(retired, value)
	if err := s.names(statistics); err != nil {
		return nil, err
	}
	s.marks()
	s.recreate()
	if d == Cutover {
		if err := s.keep(); err != nil {
			return nil, err
		}
	}
	return s.list, nil
}

// A swap collects statements.
type swap struct {
	t    *catalog.Table
	d    Direction
	list []string
}

func (s *swap) add(format string, args ...any) { s.list = append(s.list, fmt.Sprintf(format, args...)) }

// triggers returns those that are recreated.
func (s *swap) triggers() []catalog.Trigger {
	return slices.DeleteFunc(slices.Clone(s.t.Triggers), func(g catalog.Trigger) bool {
		return !g.OnColumn || g.Inherited || g.Name == s.t.Ref.Trigger()
	})
}

func (s *swap) rules() []catalog.Rule {
	return slices.DeleteFunc(slices.Clone(s.t.Rules), func(w catalog.Rule) bool { return !w.OnColumn })
}

func (s *swap) publications() []catalog.Publication {
	return slices.DeleteFunc(slices.Clone(s.t.Publications), func(p catalog.Publication) bool { return !p.OnColumn })
}

// drop drops what is created again after the columns are renamed.
func (s *swap) drop() {
	for _, w := range s.rules() {
		s.add("DROP RULE %s ON %s", ident(w.Name), w.Relation)
	}
	for _, v := range slices.Backward(s.t.Views) {
		s.add("DROP VIEW %s", v.Relation)
	}
	for _, g := range s.triggers() {
		s.add("DROP TRIGGER %s ON %s", ident(g.Name), g.Relation)
	}
	for _, p := range s.publications() {
		s.add("ALTER PUBLICATION %s DROP TABLE %s", ident(p.Name), p.Relation)
	}
}

// defaults sets the default of the public column, and removes that of the other
// one, which is then only written by the trigger. NULL overrides the default of
// a domain.
func (s *swap) defaults(retired string, value *string) {
	action := "DROP DEFAULT"
	if value != nil {
		action = "SET DEFAULT " + *value
	}
	s.add("ALTER TABLE %s ALTER COLUMN %s %s, ALTER COLUMN %s SET DEFAULT NULL", s.t.Ref.Relation(), ident(s.t.Ref.Column), action, ident(retired))
}

// names exchanges the names of indexes, constraints and statistics. What has
// no counterpart was created after cutover, and remains with its column when
// the cutover is rolled back.
func (s *swap) names(hasStatistics func(schema, name string) (bool, error)) error {
	toPublic, toHidden := s.d.suffixes()
	exists := map[string]bool{}
	for _, x := range s.t.Indexes {
		exists[fmt.Sprint("index", x.Table, x.Name)] = true
	}
	for _, k := range s.t.Constraints {
		exists[fmt.Sprint("constraint", k.Table, k.Name)] = true
	}
	missing := func(what, name string) error {
		if s.d == Rollback {
			return nil
		}
		return fmt.Errorf("swap the columns of %s: the shadow column has no counterpart of %s %q: it was created after the others: repeat the cutover", s.t.Ref.Relation(), what, name)
	}
	for _, x := range s.t.Indexes {
		if !x.OnColumn {
			continue
		}
		if !exists[fmt.Sprint("index", x.Table, hidden(x.Name, toPublic))] {
			if err := missing("index", x.Name); err != nil && x.Parent == 0 {
				return err
			}
			continue
		}
		s.add("ALTER INDEX %s RENAME TO %s", ident(x.Schema, x.Name), ident(hidden(x.Name, toHidden)))
		s.add("ALTER INDEX %s RENAME TO %s", ident(x.Schema, hidden(x.Name, toPublic)), ident(x.Name))
	}
	for _, k := range s.t.Constraints {
		if !k.OnColumn || k.Inherited || k.Incoming || k.Type != "c" && k.Type != "f" {
			continue
		}
		if !exists[fmt.Sprint("constraint", k.Table, hidden(k.Name, toPublic))] {
			if err := missing("constraint", k.Name); err != nil {
				return err
			}
			continue
		}
		s.add("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", k.Relation, ident(k.Name), ident(hidden(k.Name, toHidden)))
		s.add("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", k.Relation, ident(hidden(k.Name, toPublic)), ident(k.Name))
	}
	return s.statistics(hasStatistics, missing)
}

func (s *swap) statistics(exist func(schema, name string) (bool, error), missing func(what, name string) error) error {
	toPublic, toHidden := s.d.suffixes()
	for _, o := range s.t.Statistics {
		counterpart := hidden(o.Name, toPublic)
		found, err := exist(o.Schema, counterpart)
		if err != nil {
			return err
		}
		if !found {
			if err := missing("statistics", o.Name); err != nil {
				return err
			}
			continue
		}
		s.add("ALTER STATISTICS %s RENAME TO %s", ident(o.Schema, o.Name), ident(hidden(o.Name, toHidden)))
		s.add("ALTER STATISTICS %s RENAME TO %s", ident(o.Schema, counterpart), ident(o.Name))
	}
	return nil
}

// marks moves what a table has once: the owned sequences, the index of its
// replica identity, and the one that it is clustered by.
func (s *swap) marks() {
	for _, q := range s.t.Sequences {
		s.add("ALTER SEQUENCE %s OWNED BY %s.%s", q.Relation, s.t.Ref.Relation(), ident(s.t.Ref.Column))
	}
	for _, x := range s.t.Indexes {
		if !x.OnColumn {
			continue
		}
		if x.ReplicaIdentity {
			s.add("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", s.t.Member(x.Table).Relation(), ident(x.Name))
		}
		if x.Clustered {
			s.add("ALTER TABLE %s CLUSTER ON %s", s.t.Member(x.Table).Relation(), ident(x.Name))
		}
	}
}

// recreate creates what was dropped, and sets again what refers to the column.
func (s *swap) recreate() {
	for _, f := range s.t.Functions {
		s.add("%s", f.Definition)
	}
	for _, p := range s.t.Policies {
		if p.OnColumn {
			s.policy(p)
		}
	}
	for _, v := range s.t.Views {
		s.view(v)
	}
	for _, g := range s.triggers() {
		s.trigger(g)
	}
	for _, w := range s.rules() {
		s.rule(w)
	}
	for _, p := range s.publications() {
		text := fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s", ident(p.Name), p.Relation)
		if p.Columns != nil {
			text += " (" + idents(p.Columns) + ")"
		}
		if p.Filter != nil {
			text += " WHERE (" + *p.Filter + ")"
		}
		s.add("%s", text)
	}
}

func (s *swap) policy(p catalog.Policy) {
	s.add("ALTER POLICY %s ON %s%s", ident(p.Name), p.Relation, conditions(p))
}

// states names the values of pg_trigger.tgenabled and pg_rewrite.ev_enabled
// other than the default.
var states = map[string]string{"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}

func (s *swap) trigger(g catalog.Trigger) {
	s.add("%s", g.Definition)
	if state := states[g.Enabled]; state != "" {
		s.add("ALTER TABLE %s %s TRIGGER %s", g.Relation, state, ident(g.Name))
	}
	s.list = append(s.list, comment(fmt.Sprintf("TRIGGER %s ON %s", ident(g.Name), g.Relation), g.Comment)...)
}

func (s *swap) rule(w catalog.Rule) {
	s.add("%s", w.Definition)
	if state := states[w.Enabled]; state != "" {
		s.add("ALTER TABLE %s %s RULE %s", w.Relation, state, ident(w.Name))
	}
	s.list = append(s.list, comment(fmt.Sprintf("RULE %s ON %s", ident(w.Name), w.Relation), w.Comment)...)
}

package dependants

import (
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// indexes prepares indexes, and the constraints that they enforce. Those of a
// partitioned table are created without its partitions, built on each, and
// then attached.
func (p *preparation) indexes() error {
	level := func(x catalog.Index) int { return p.t.Member(x.Table).Level }
	list := slices.DeleteFunc(slices.Clone(p.t.Indexes), func(x catalog.Index) bool {
		return !x.OnColumn || x.Primary || x.ConstraintType != nil && *x.ConstraintType == "x"
	})
	slices.SortStableFunc(list, func(a, b catalog.Index) int { return level(a) - level(b) })
	for _, x := range list {
		if err := p.index(x); err != nil {
			return err
		}
	}
	for _, x := range slices.Backward(list) {
		if i := slices.IndexFunc(list, func(y catalog.Index) bool { return y.OID == x.Parent }); i >= 0 {
			parent := list[i]
			p.step(Step{
				SQL: fmt.Sprintf("ALTER INDEX %s ATTACH PARTITION %s", ident(parent.Schema, hidden(parent.Name, beforeCutover)), ident(x.Schema, hidden(x.Name, beforeCutover))),
			})
		}
	}
	return nil
}

func (p *preparation) index(x catalog.Index) error {
	name, member := hidden(x.Name, beforeCutover), p.t.Member(x.Table)
	got, err := p.try("index", x.Name, fmt.Sprintf("CREATE INDEX tried ON %s %s", p.stage, x.Tail), "SELECT pg_get_indexdef('pg_temp.tried'::regclass)")
	if err != nil || got == "" {
		return err
	}
	tail := got[strings.Index(got, " USING ")+1:]
	if x.Tablespace != nil {
		tail = inTablespace(tail, *x.Tablespace)
	}
	unique, only, how := "", "", " CONCURRENTLY"
	if x.Unique {
		unique = "UNIQUE "
	}
	if member.Kind == "p" {
		only, how = "ONLY ", ""
	}
	object := fmt.Sprintf("SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %s AND c.relname = %s AND %%s)", oid(x.Table), literal(name))
	valid, reset := "i.indisvalid", "DROP INDEX CONCURRENTLY IF EXISTS "+ident(x.Schema, name)
	if member.Kind == "p" {
		valid, reset = "true", ""
	}
	if member.Kind != "p" || x.Constraint == nil {
		p.step(Step{
			SQL:          fmt.Sprintf("CREATE %sINDEX%s %s ON %s%s %s", unique, how, ident(name), only, member.Relation(), tail),
			Concurrently: member.Kind != "p", Done: fmt.Sprintf(object, valid), Reset: reset,
		})
	}
	if x.Constraint != nil {
		p.unique(x, name)
	}
	p.steps(comment("INDEX "+ident(x.Schema, name), x.Comment))
	return nil
}

// inTablespace inserts the tablespace before the predicate.
func inTablespace(tail, tablespace string) string {
	before, predicate, found := strings.Cut(tail, " WHERE ")
	text := before + " TABLESPACE " + ident(tablespace)
	if found {
		text += " WHERE " + predicate
	}
	return text
}

// unique makes an index that of a UNIQUE constraint.
func (p *preparation) unique(x catalog.Index, name string) {
	member := p.t.Member(x.Table)
	i := slices.IndexFunc(p.t.Constraints, func(k catalog.Constraint) bool { return k.Index == x.OID && k.Type == "u" })
	k := p.t.Constraints[i]
	only, definition := "", "UNIQUE USING INDEX "+ident(name)+deferral(k.Deferrable, k.Deferred)
	if member.Kind == "p" {
		only, definition = "ONLY ", fmt.Sprintf("UNIQUE (%s)%s", idents(p.shadowed(k.Columns)), deferral(k.Deferrable, k.Deferred))
	}
	p.step(Step{
		SQL:  fmt.Sprintf("ALTER TABLE %s%s ADD CONSTRAINT %s %s", only, member.Relation(), ident(name), definition),
		Done: constraintQuery(x.Table, name, "true"),
	})
	p.steps(comment(fmt.Sprintf("CONSTRAINT %s ON %s", ident(name), member.Relation()), k.Comment))
}

// statistics prepares extended statistics.
func (p *preparation) statistics() error {
	for _, o := range p.t.Statistics {
		got, err := p.try("statistics", o.Name, fmt.Sprintf("CREATE STATISTICS pg_temp.tried %s FROM %s", body(o), p.stage),
			"SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = $1::regclass AND stxname = 'tried'", p.stage)
		if err != nil {
			return err
		}
		if got == "" {
			continue
		}
		name := ident(o.Schema, hidden(o.Name, beforeCutover))
		text := got[strings.Index(got, ".tried ")+len(".tried "):]
		p.step(Step{
			SQL: fmt.Sprintf("CREATE STATISTICS %s %s FROM %s", name, text[:strings.LastIndex(text, " FROM ")], o.Relation),
			Done: fmt.Sprintf("SELECT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace WHERE n.nspname = %s AND s.stxname = %s)",
				literal(o.Schema), literal(hidden(o.Name, beforeCutover))),
		})
		p.step(Step{SQL: fmt.Sprintf("ALTER STATISTICS %s OWNER TO %s", name, ident(o.Owner))})
		if o.Target != nil {
			p.step(Step{SQL: fmt.Sprintf("ALTER STATISTICS %s SET STATISTICS %d", name, *o.Target)})
		}
		p.steps(comment("STATISTICS "+name, o.Comment))
	}
	return nil
}

// body returns the definition of statistics between its name and its table.
func body(o catalog.Statistics) string {
	text := strings.TrimPrefix(o.Definition, "CREATE STATISTICS ")
	for _, schema := range []string{ident(o.Schema), o.Schema} {
		for _, name := range []string{ident(o.Name), o.Name} {
			if rest, ok := strings.CutPrefix(text, schema+"."+name+" "); ok {
				return rest[:strings.LastIndex(rest, " FROM ")]
			}
		}
	}
	return text
}

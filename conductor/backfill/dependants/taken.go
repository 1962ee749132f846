package dependants

import (
	"slices"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// taken finds names that the preparation or the cutover would use, but that
// other objects have. Before expand, these are the names of both sides.
func (p *preparation) taken() error {
	suffixes := []string{afterCutover}
	if !slices.ContainsFunc(p.t.Columns, func(c catalog.Column) bool { return c.Name == p.t.Ref.Shadow }) {
		suffixes = append(suffixes, beforeCutover)
	}
	for _, suffix := range suffixes {
		for _, x := range p.t.Indexes {
			if x.OnColumn {
				if err := p.takenBy("pg_class WHERE relnamespace = $1::regnamespace AND relname = $2", ident(x.Schema), hidden(x.Name, suffix)); err != nil {
					return err
				}
			}
		}
		for _, k := range p.t.Constraints {
			if k.OnColumn && !k.Inherited && (k.Type == "c" || k.Type == "f") {
				if err := p.takenBy("pg_constraint WHERE conrelid = $1::regclass AND conname = $2", k.Relation, hidden(k.Name, suffix)); err != nil {
					return err
				}
			}
		}
		for _, o := range p.t.Statistics {
			if err := p.takenBy("pg_statistic_ext WHERE stxnamespace = $1::regnamespace AND stxname = $2", ident(o.Schema), hidden(o.Name, suffix)); err != nil {
				return err
			}
		}
	}
	return nil
}

// takenBy adds a finding if a catalogue contains a name.
func (p *preparation) takenBy(where, scope, name string) error {
	var found bool
	if err := p.tx.QueryRow(p.ctx, "SELECT EXISTS (SELECT FROM "+where+")", scope, name).Scan(&found); err != nil || !found {
		return err
	}
	p.plan.Findings = append(p.plan.Findings, catalog.Finding{
		Level: catalog.Blocks, Code: "name-taken", Object: name,
		Text:   "the backfill needs this name, but another object of " + scope + " has it",
		Remedy: "rename that object",
	})
	return nil
}

package catalog

import (
	"fmt"
	"strings"

	"muniment.dev/muniment/internal/safetext"
)

func (t *Table) indexFindings(f *findings) {
	for _, x := range t.Indexes {
		switch {
		case !x.OnColumn:
		case x.Primary:
			if x.Table == t.Identity.OID {
				f.blocks("primary-key", x.Name, "a primary key cannot move to another column without a lock for its whole creation", "make another unique index the primary key")
			}
		case x.ConstraintType != nil && *x.ConstraintType == "x":
			f.blocks("exclusion", x.Name, "an exclusion constraint cannot be created without a lock for its whole creation", "drop it for the time of the backfill")
		case !x.Valid:
			f.blocks("invalid-index", x.Name, "the index is invalid", "run REINDEX INDEX CONCURRENTLY, or drop it")
		case x.Parent != 0:
		default:
			f.handled("index", x.Name, "an equal index of the new column is built CONCURRENTLY, and swapped by its name")
		}
	}
}

func (t *Table) constraintFindings(f *findings) {
	for _, k := range t.Constraints {
		switch {
		case k.Incoming:
			f.blocks("referenced", k.Name, k.Relation+" references the column", "drop the foreign key for the time of the backfill")
		case !k.OnColumn || k.Inherited:
		case k.Type == "c":
			f.handled("check", k.Name, "an equal constraint of the new column is validated before cutover: "+k.Definition)
		case k.Type == "f" && t.Partitioned():
			f.blocks("foreign-key", k.Name, "a foreign key of a partitioned table cannot be added without a scan under a lock", "drop it for the time of the backfill")
		case k.Type == "f":
			f.handled("foreign-key", k.Name, "an equal foreign key of the new column is validated before cutover: "+k.Definition)
		}
	}
}

func (t *Table) triggerFindings(f *findings) {
	others := 0
	for _, g := range t.Triggers {
		if g.Name == t.Ref.Trigger() || g.Enabled == "D" && !g.OnColumn {
			continue
		}
		object := g.Name + " on " + g.Relation
		if g.Row && g.Before && (g.Insert || g.Update) && g.Name > t.Ref.Trigger() {
			f.blocks("late-trigger", object, fmt.Sprintf("it fires after %s, and could change the value that was transformed", t.Ref.Trigger()), "rename the trigger")
		}
		if g.Update && (g.Enabled == "A" || g.Enabled == "R") {
			f.blocks("replica-trigger", object, "it would fire for each row that is copied", "run ALTER TABLE … ENABLE TRIGGER for the time of the backfill")
		}
		if g.Update && g.Enabled == "O" {
			others++
		}
		if g.OnColumn && !g.Inherited {
			f.handled("trigger", object, "it is recreated for the new column at cutover")
		}
	}
	switch {
	case others > 0 && t.Server.SetsReplica:
		f.handled("triggers", t.Ref.Relation(), safetext.Count(others, "trigger")+" for UPDATE: not fired for rows that are copied")
	case others > 0:
		f.blocks("triggers", t.Ref.Relation(), safetext.Count(others, "trigger")+" for UPDATE would fire for rows that are copied", "grant SET ON PARAMETER session_replication_role (since version 15) or connect as a superuser")
	}
}

func (t *Table) dependentFindings(f *findings) {
	for _, v := range t.Views {
		if v.Kind == "m" {
			f.blocks("materialized-view", v.Relation, "a materialized view cannot be computed anew within a short lock", "drop it, and create it again after cutover")
			continue
		}
		f.handled("view", v.Relation, "it is dropped and created again at cutover, with its owner, privileges, options, comments, defaults, triggers and rules")
	}
	for _, w := range t.Rules {
		object := w.Name + " on " + w.Relation
		if w.OnTable && w.Event == "2" && w.Enabled != "D" {
			f.blocks("update-rule", object, "it would rewrite the statements of the copy", "replace the rule by a trigger")
		} else if w.OnColumn {
			f.handled("rule", object, "it is recreated at cutover")
		}
	}
	for _, fn := range t.Functions {
		f.handled("function", fn.Identity, "it is replaced by itself at cutover, so that it uses the new column")
	}
	for _, p := range t.Policies {
		if p.OnColumn {
			f.handled("policy", p.Name+" on "+p.Relation, "its expressions are set again at cutover")
		}
	}
	for _, s := range t.Statistics {
		f.handled("statistics", s.Name, "an equal object for the new column is created before cutover")
	}
	for _, d := range t.others {
		f.blocks("dependant", d.Object, "it depends on the column, and cannot be recreated", "drop it for the time of the backfill")
	}
	if len(t.Mentions) > 0 {
		f.info("mentions", strings.Join(t.Mentions, ", "), "functions whose source contains the name of the column: check that they work with the new type")
	}
}

func (t *Table) publicationFindings(f *findings) {
	for _, p := range t.Publications {
		switch {
		case p.OnColumn:
			f.handled("publication", p.Name, "its column list or row filter of "+p.Relation+" is set again at cutover")
		case p.Columns == nil:
			f.info("published", p.Name, "it publishes the new columns, too: add them to the tables of the subscribers first, or use a column list")
		}
	}
	if t.Identity.ReplicaIdentity == "f" {
		f.info("replica-identity", t.Ref.Relation(), "REPLICA IDENTITY FULL writes the old row to the WAL with each update")
	}
}

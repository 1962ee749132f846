package dependants_test

import (
	"testing"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dependants"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
)

// TestWithDualWrite does the round trip with the real dual write, and writes
// in each phase.
func TestWithDualWrite(t *testing.T) {
	ref := catalog.Ref{Schema: `sch.e"ma`, Table: `ta.b"le`, Column: `va.l"ue`}
	j := newJob(t, zoo(t), ref, dependants.Target{})
	start := j.dump()
	pair := dualwrite.Pair{Schema: ref.Schema, Table: ref.Table, Column: ref.Column, Shadow: j.ref.Shadow, Retired: j.ref.Retired, Mark: j.ref.Mark, Job: "zoo"}
	var err error
	if pair.Expressions, err = dualwrite.Normalize(t.Context(), j.conn, pair, "bigint", `"va.l""ue"::bigint * 2`, `("va.l""ue" / 2)::integer`); err != nil {
		t.Fatal(err)
	}
	j.target = dependants.Target{Type: pair.Expressions.NewType, Up: pair.Expressions.Up}
	all := func(statements ...string) {
		t.Helper()
		for _, sql := range statements {
			j.exec("%s", sql)
		}
	}
	write := func(value int, want string) {
		t.Helper()
		j.exec(`UPDATE "sch.e""ma"."ta.b""le" SET "va.l""ue" = %d WHERE "or der" = 1`, value)
		var got string
		if err := j.conn.QueryRow(t.Context(), `SELECT concat_ws('|', to_jsonb(x)->'va.l"ue', to_jsonb(x)->'va.l"ue__new', to_jsonb(x)->'va.l"ue__old') FROM "sch.e""ma"."ta.b""le" x WHERE "or der" = 1`).Scan(&got); err != nil || got != want {
			t.Errorf("after the write the columns are %s, want %s: %v", got, want, err)
		}
	}
	all("CREATE SCHEMA muniment_conductor")
	all(pair.Expand()...)
	j.exec(`SET session_replication_role = replica; UPDATE %s SET %s = "va.l""ue"::bigint * 2, %s = NULL; RESET session_replication_role`, pair.Relation(), quote(pair.Shadow), quote(pair.Mark))
	all(pair.Prove(), pair.Validate())
	j.prepare()
	prepared := j.dump()
	write(20, "20|40")
	j.swap(dependants.Cutover)
	all(pair.After().CreateFunction())
	write(60, "60|30")
	j.swap(dependants.Rollback)
	all(pair.Before().CreateFunction())
	j.equal("after the rollback", j.dump(), prepared)
	write(21, "21|42")
	all(pair.Collapse()...)
	all("DROP SCHEMA muniment_conductor CASCADE")
	j.equal("after the rollback with all objects", j.dump(), start)
}

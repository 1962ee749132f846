package dependants_test

import (
	"fmt"
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

// TestNullInsteadOfDefault checks that an explicit NULL of an INSERT is not
// replaced by a default, of a column or of a domain, in any phase.
func TestNullInsteadOfDefault(t *testing.T) {
	j := newJob(t, `CREATE DOMAIN size AS bigint DEFAULT 9; CREATE DOMAIN old AS integer DEFAULT 8;
		CREATE TABLE t (id int PRIMARY KEY, v old DEFAULT 7)`, catalog.Ref{Schema: "public", Table: "t", Column: "v"}, dependants.Target{})
	start := j.dump()
	pair := dualwrite.Pair{Schema: "public", Table: "t", Column: "v", Shadow: j.ref.Shadow, Retired: j.ref.Retired, Mark: j.ref.Mark, Job: "defaults"}
	var err error
	if pair.Expressions, err = dualwrite.Normalize(t.Context(), j.conn, pair, "size", "v::bigint * 10", "(v / 10)::integer"); err != nil {
		t.Fatal(err)
	}
	j.target = dependants.Target{Type: pair.Expressions.NewType, Up: pair.Expressions.Up}
	j.exec("CREATE SCHEMA muniment_conductor")
	next := 0
	insert := func(phase, other, want string) {
		t.Helper()
		next += 4
		j.exec("INSERT INTO t (id, v) VALUES (%d, NULL), (%d, DEFAULT)", next, next+1)
		j.exec("INSERT INTO t (id) VALUES (%d)", next+2)
		j.exec("INSERT INTO t (id, %s) VALUES (%d, 30)", other, next+3)
		var got string
		if err := j.conn.QueryRow(t.Context(), fmt.Sprintf("SELECT string_agg(coalesce(v::text, '-') || '=' || coalesce(%s::text, '-'), ' ' ORDER BY id) FROM t WHERE id >= %d", quote(other), next)).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %s, want %s: %v", phase, got, want, err)
		}
	}
	for _, sql := range pair.Expand() {
		j.exec("%s", sql)
	}
	insert("expanded", j.ref.Shadow, "-=- 7=70 7=70 7=70")
	j.prepare()
	insert("prepared", j.ref.Shadow, "-=- 7=70 7=70 7=70")
	prepared := j.dump()
	for range 2 {
		j.swap(dependants.Cutover)
		j.exec("%s", pair.After().CreateFunction())
		insert("cut over", j.ref.Retired, "-=- 70=7 70=7 70=7")
		j.swap(dependants.Rollback)
		j.exec("%s", pair.Before().CreateFunction())
		j.equal("after the rollback", j.dump(), prepared)
		insert("rolled back", j.ref.Shadow, "-=- 7=70 7=70 7=70")
	}
	for _, sql := range pair.Collapse() {
		j.exec("%s", sql)
	}
	j.exec("DROP SCHEMA muniment_conductor CASCADE")
	j.equal("after the end", j.dump(), start)
}

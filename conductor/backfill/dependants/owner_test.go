package dependants_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/catalog"
	"muniment.dev/muniment/conductor/backfill/dependants"
)

// TestOwner does the round trip as the owner of the table, who is no superuser,
// with default privileges for new views.
func TestOwner(t *testing.T) {
	j := newJob(t, `CREATE ROLE owner LOGIN; CREATE ROLE "rea.der"; GRANT SET ON PARAMETER session_replication_role TO owner; CREATE SCHEMA s AUTHORIZATION owner;
		DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO owner', current_database()); END $$;
		SET ROLE owner; CREATE TABLE s.r (v int PRIMARY KEY); INSERT INTO s.r SELECT generate_series(1, 100);
		CREATE TABLE s.t (id int PRIMARY KEY, v int NOT NULL UNIQUE REFERENCES s.r CHECK (v > 0));
		CREATE INDEX by_v ON s.t (v); CREATE VIEW s.private AS SELECT v FROM s.t; CREATE VIEW s.shared AS SELECT v FROM s.t; GRANT SELECT ON s.shared TO "rea.der";
		CREATE POLICY p ON s.t USING (v > 0); ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
		ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA s GRANT INSERT, SELECT ON TABLES TO "rea.der";
		INSERT INTO s.t SELECT n, n FROM generate_series(1, 50) n`,
		catalog.Ref{Schema: "s", Table: "t", Column: "v"}, dependants.Target{Type: "bigint", Up: "v::bigint"})
	conn, err := pgx.Connect(t.Context(), rig.URLAs("owner", j.database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	j.conn = conn
	start := j.dump()
	j.expand()
	j.prepare()
	prepared := j.dump()
	j.swap(dependants.Cutover)
	j.swap(dependants.Rollback)
	j.equal("after the rollback", j.dump(), prepared)
	j.contract()
	j.equal("after the rollback with all objects", j.dump(), start)
}

// TestChangedSince checks that a rollback keeps a change that was made to a
// view after the cutover.
func TestChangedSince(t *testing.T) {
	j := newJob(t, small+"; CREATE VIEW kept AS SELECT v FROM t WHERE v > 5", smallRef, dependants.Target{Type: "numeric(20)", Up: "v::numeric"})
	j.exec("ALTER TABLE t DROP CONSTRAINT t_v_fkey")
	start := j.dump()
	j.expand()
	j.prepare()
	j.swap(dependants.Cutover)
	j.exec("CREATE OR REPLACE VIEW w AS SELECT v FROM t WHERE v < 10")
	j.swap(dependants.Rollback)
	var rows int
	if err := j.conn.QueryRow(t.Context(), "SELECT count(*) FROM w").Scan(&rows); err != nil || rows != 9 {
		t.Errorf("the view has %d rows after the rollback, want 9: %v", rows, err)
	}
	j.exec("CREATE OR REPLACE VIEW w AS SELECT v FROM t")
	j.contract()
	j.equal("after the rollback with all objects", j.dump(), start)
}

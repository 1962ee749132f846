package dualwrite_test

import (
	"fmt"
	"strings"
	"testing"
)

// weird is a name that must be quoted everywhere.
const weird = `"we.ird""Name $muniment$ {S}"`

// TestStatements writes by every statement of PostgreSQL to a table whose
// columns have names that require quotes or are special in PL/pgSQL.
func TestStatements(t *testing.T) {
	d := newDatabase(t, `CREATE TABLE t (id int PRIMARY KEY, `+weird+` text, found int, "new" text DEFAULT 'n', tg_op text, length int GENERATED ALWAYS AS (length("new")) STORED)`,
		"INSERT INTO t (id, "+weird+") SELECT i, i FROM generate_series(1, 5) i")
	p := pair()
	p.Column = `we.ird"Name $muniment$ {S}`
	p = d.normalized(p, "int", weird+"::int + coalesce(found, 0)", `(`+weird+` + length("new" || coalesce(tg_op, '')))::text`)
	d.transaction(p.Expand())
	state := func(want string) {
		t.Helper()
		d.want("SELECT string_agg(concat_ws(' ', id, "+weird+", v__new, v__todo), ', ' ORDER BY id) FROM t", want)
	}
	d.exec("INSERT INTO t (id, " + weird + ") VALUES (1, '10'), (6, '6') ON CONFLICT (id) DO UPDATE SET " + weird + " = EXCLUDED." + weird)
	state("1 10 10, 2 2 t, 3 3 t, 4 4 t, 5 5 t, 6 6 6")
	d.exec("INSERT INTO t (id, " + weird + ") VALUES (6, '60') ON CONFLICT DO NOTHING")
	// An upsert of all columns takes the mark from the row that was proposed.
	d.exec("INSERT INTO t (id, " + weird + ") VALUES (2, '2') ON CONFLICT (id) DO UPDATE SET (" + weird + ", v__new, v__todo) = (EXCLUDED." + weird + ", EXCLUDED.v__new, EXCLUDED.v__todo)")
	state("1 10 10, 2 2 2, 3 3 t, 4 4 t, 5 5 t, 6 6 6")
	d.exec("MERGE INTO t USING (VALUES (3, '30'), (7, '70')) AS s (i, w) ON id = i WHEN MATCHED THEN UPDATE SET " + weird + " = w WHEN NOT MATCHED THEN INSERT (id, " + weird + ") VALUES (i, w)")
	state("1 10 10, 2 2 2, 3 30 30, 4 4 t, 5 5 t, 6 6 6, 7 70 70")
	if _, err := d.PgConn().CopyFrom(t.Context(), strings.NewReader("8\t80\n9\t\\N\n"), "COPY t (id, "+weird+") FROM STDIN"); err != nil {
		t.Fatal(err)
	}
	d.exec("DELETE FROM t WHERE id IN (1, 4)", "UPDATE t SET found = 1 WHERE id = 5", `UPDATE t SET "new" = 'm' WHERE id = 8`, "UPDATE t SET v__new = 1 WHERE id = 9")
	state("2 2 2, 3 30 30, 5 5 6, 6 6 6, 7 70 70, 8 80 80, 9 2 1")
	d.agree(p, p.Before())
	if err := d.fails("UPDATE t SET " + weird + " = 'x' WHERE id = 9"); !strings.Contains(err, "22P02") {
		t.Error(err)
	}
	d.transaction(swap(p))
	d.exec("UPDATE t SET " + weird + " = 5 WHERE id = 9")
	d.want("SELECT v__old, length FROM t WHERE id = 9", "6|1")
	d.agree(p, p.After())
}

// TestPartitions checks rows of partitions, rows that move, and partitions that
// are attached later.
func TestPartitions(t *testing.T) {
	d := newDatabase(t, `CREATE TABLE t (id int, part int, v text, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
		CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
		CREATE TABLE t2 (v text, part int NOT NULL, gone int, id int NOT NULL);
		ALTER TABLE t2 DROP COLUMN gone;
		ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2);
		INSERT INTO t SELECT i, i % 2 + 1, i FROM generate_series(1, 6) i`)
	files := d.text("SELECT pg_relation_filenode('t1'), pg_relation_filenode('t2')")
	p := d.normalized(pair(), "int", "v::int", "v::text")
	d.transaction(p.Expand())
	d.exec("CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3)", "INSERT INTO t VALUES (7, 3, '7')",
		"UPDATE t SET part = 2 WHERE id = 2", "UPDATE t2 SET v = '30' WHERE id = 3", "UPDATE t SET part = 1, v__new = 50 WHERE id = 5")
	d.want("SELECT id, v, v__new, v__todo FROM t ORDER BY id", "1|1|-|t\n2|2|2|-\n3|30|30|-\n4|4|-|t\n5|50|50|-\n6|6|-|t\n7|7|7|-")
	d.copyAll(p)
	d.exec(p.Prove(), p.Validate())
	d.transaction(swap(p))
	d.exec("UPDATE t SET v = v * 2", "INSERT INTO t1 (id, part, v) VALUES (8, 1, 8)")
	d.want("SELECT string_agg(v__old || '=' || v, ' ' ORDER BY id) FROM t", "2=2 4=4 60=60 8=8 100=100 12=12 14=14 8=8")
	d.transaction(swapBack(p))
	d.transaction(p.Collapse())
	d.want("SELECT pg_relation_filenode('t1'), pg_relation_filenode('t2')", files)
	d.want("SELECT string_agg(v, ' ' ORDER BY id) FROM t", "2 4 60 8 100 12 14 8")
}

// TestMovedRows checks that rows keep both values when they move to another
// partition, which is an INSERT there: NULL with a transformation that replaces
// it, and a value that was written to the secondary column.
func TestMovedRows(t *testing.T) {
	d := newDatabase(t, `CREATE TABLE t (id int, part int, v int, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
		CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);
		INSERT INTO t VALUES (1, 1, NULL), (2, 1, 5), (3, 1, 6), (4, 1, 7)`)
	p := d.normalized(pair(), "bigint", "coalesce(v, 0) * 100", "(v / 100)::int")
	d.transaction(p.Expand())
	d.copyAll(p)
	d.exec("UPDATE t SET v__new = 555 WHERE id = 2")
	d.exec("UPDATE t SET part = 2 WHERE id < 3", "UPDATE t SET part = 2, v = NULL WHERE id = 3", "UPDATE t SET part = 2, v__new = 777 WHERE id = 4")
	d.want("SELECT id, v, v__new, v__todo FROM t ORDER BY id", "1|-|0|-\n2|5|555|-\n3|-|0|-\n4|7|777|-")
	d.transaction(swap(p))
	d.exec("UPDATE t SET part = 1")
	d.want("SELECT id, v__old, v, v__todo FROM t ORDER BY id", "1|-|0|-\n2|5|555|-\n3|-|0|-\n4|7|777|-")
	d.exec("UPDATE t SET part = 2, v__old = NULL WHERE id = 4")
	d.want("SELECT v__old, v, v__todo FROM t WHERE id = 4", "-|0|-")
	// A row that stays has a mark that is false, which no other one may copy.
	d.exec("UPDATE t SET id = id WHERE id = 3", "INSERT INTO t (id, part, v__old, v, v__todo) SELECT 9, 1, v__old, 8, v__todo FROM t WHERE id = 3")
	d.want("SELECT id, v__old, v, v__todo FROM t WHERE id IN (3, 9) ORDER BY id", "3|-|0|f\n9|0|8|-")
	d.exec(p.Prove(), p.Validate())
}

// TestHostileSession writes from a session without rights to the schema of the
// functions, whose search path replaces operators and functions.
func TestHostileSession(t *testing.T) {
	d := newDatabase(t, `CREATE TABLE t (id int PRIMARY KEY, v int);
		CREATE FUNCTION once(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
		INSERT INTO t VALUES (1, 1)`)
	p := d.normalized(pair(), "text", `CASE WHEN v IS DISTINCT FROM 2 THEN upper('a' || once(v)) ELSE NULLIF('z', v::text) END`, "length(v)")
	d.transaction(p.Expand())
	d.exec(`CREATE ROLE app LOGIN; GRANT SELECT, INSERT, UPDATE ON t TO app;
		CREATE SCHEMA hostile;
		GRANT USAGE ON SCHEMA hostile TO app;
		CREATE FUNCTION hostile.no(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR hostile.= (LEFTARG = int, RIGHTARG = int, FUNCTION = hostile.no);
		CREATE FUNCTION hostile.upper(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'wrong'$$;
		CREATE FUNCTION hostile.record_image_ne(record, record) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN false; END';
		CREATE FUNCTION hostile.once(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT -1'`)
	app := connect(t, rig.URLAs("app", d.name))
	app.exec("SET search_path = hostile, pg_catalog, public, pg_temp", "INSERT INTO t VALUES (2, 2), (3, 3)", "UPDATE t SET v = 4 WHERE id OPERATOR(pg_catalog.=) 1")
	d.want("SELECT id, v, v__new, v__todo FROM t ORDER BY id", "1|4|A4|-\n2|2|z|-\n3|3|A3|-")
	d.agree(p, p.Before())
}

// TestPooledSessions shares one session between clients, as a pooler in
// transaction mode does, and prepares statements before and after each change.
func TestPooledSessions(t *testing.T) {
	d := newDatabase(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	session := connect(t, rig.URL(d.name))
	write := func(id int) {
		t.Helper()
		if _, err := session.Exec(t.Context(), "INSERT INTO t (id, v) VALUES ($1, $2)", id, fmt.Sprint(id)); err != nil {
			t.Fatal(err)
		}
		if _, err := session.Exec(t.Context(), "UPDATE t SET v = $2 WHERE id = $1", id, fmt.Sprint(id+1)); err != nil {
			t.Fatal(err)
		}
	}
	p := d.normalized(pair(), "varchar(10)", "v", "v")
	write(1)
	d.transaction(p.Expand())
	write(2)
	session.exec("BEGIN", "SET LOCAL search_path = pg_catalog", "INSERT INTO public.t (id, v) VALUES (3, '3')", "COMMIT", "DISCARD ALL")
	session.Config().StatementCacheCapacity = 0
	d.copyAll(p)
	d.transaction(swap(p))
	session = connect(t, rig.URL(d.name))
	write(4)
	d.transaction(swapBack(p))
	write(5)
	d.want("SELECT count(*), count(*) FILTER (WHERE v = v__new) FROM t", "5|5")
	d.transaction(p.Collapse())
	write(6)
}

package copying_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/copying"
	"muniment.dev/muniment/conductor/backfill/dualwrite"
)

// A replica replays the changes of the table t as logical decoding delivers
// them, and checks both columns of every version of a row.
type replica struct {
	t         *testing.T
	columns   []string
	rows      map[string]map[string]string // by ID; a column that is NULL is missing
	versions  int
	secondary map[string]int // versions by the name of the secondary column
}

// relation is called when the columns have other names.
func (r *replica) relation(m *pglogrepl.RelationMessage) {
	r.columns = nil
	for _, c := range m.Columns {
		r.columns = append(r.columns, c.Name)
	}
}

func (r *replica) row(tuple *pglogrepl.TupleData) map[string]string {
	row := map[string]string{}
	for i, c := range tuple.Columns {
		if c.DataType == pglogrepl.TupleDataTypeText {
			row[r.columns[i]] = string(c.Data)
		}
	}
	return row
}

func (r *replica) write(old, tuple *pglogrepl.TupleData) {
	row := r.row(tuple)
	if old != nil {
		delete(r.rows, r.row(old)["id"])
	}
	r.rows[row["id"]] = row
	r.versions++
	if row["v__todo"] == "t" {
		return
	}
	for _, name := range r.columns {
		switch name {
		case "v__new":
			r.agree(row, "v", "v__new")
		case "v__old":
			r.agree(row, "v__old", "v")
		}
	}
}

// agree checks that the new value is three times the old one, which is how the
// expressions of the tests are meant.
func (r *replica) agree(row map[string]string, old, new string) {
	r.secondary[new]++
	a, err1 := strconv.Atoi(row[old])
	b, err2 := strconv.Atoi(row[new])
	if (err1 == nil) != (err2 == nil) || b != 3*a && b/3 != a {
		r.t.Errorf("a version of row %s has %s %q and %s %q", row["id"], old, row[old], new, row[new])
	}
}

// replay applies the changes since the last call.
func (r *replica) replay(conn *pgx.Conn) {
	r.t.Helper()
	rows, err := conn.Query(r.t.Context(), "SELECT data FROM pg_logical_slot_get_binary_changes('changes', NULL, NULL, 'proto_version', '1', 'publication_names', 'changes')")
	must(r.t, err)
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&data}, func() error {
		message, err := pglogrepl.Parse(data)
		switch m := message.(type) {
		case *pglogrepl.RelationMessage:
			r.relation(m)
		case *pglogrepl.InsertMessage:
			r.write(nil, m.Tuple)
		case *pglogrepl.UpdateMessage:
			r.write(m.OldTuple, m.NewTuple)
		case *pglogrepl.DeleteMessage:
			delete(r.rows, r.row(m.OldTuple)["id"])
		}
		return err
	})
	must(r.t, err)
}

// TestDecodedChanges replays the writes of a load, of the copy, and of both
// directions of the dual write. No version of a row may disagree, and the
// result must be the table.
func TestDecodedChanges(t *testing.T) {
	const rows = 200
	b := newBench(t, plain(rows))
	b.config.First, b.config.Most = 10, 10
	b.exec("CREATE PUBLICATION changes FOR TABLE t")
	b.exec("SELECT pg_create_logical_replication_slot('changes', 'pgoutput', temporary => true)")
	r := &replica{t: t, rows: map[string]map[string]string{}, secondary: map[string]int{}}
	// The replica starts with all rows, still marked.
	b.exec("SET session_replication_role = replica; UPDATE t SET other = 'a'; RESET session_replication_role")
	load := b.startLoad(16, 2, rows)
	must(t, copying.Run(t.Context(), b.config, b.acquire(), &hooks{}))
	load.stop()
	rng := rand.New(rand.NewPCG(16, 16))
	write := func(secondary, old, new string) {
		// The load deleted some rows, but each write must meet one.
		b.exec(fmt.Sprintf("INSERT INTO t (id, v) SELECT i, '3' FROM generate_series(0, %d) AS i ON CONFLICT (id) DO NOTHING", rows-1))
		for range 100 {
			id, value := rng.IntN(rows), rng.IntN(100)
			b.exec([]string{
				fmt.Sprintf("UPDATE t SET %s = %d WHERE id = %d", new, 3*value, id),
				fmt.Sprintf("UPDATE t SET %s = %d WHERE id = %d", old, value, id),
				fmt.Sprintf("UPDATE t SET v = %d, %s = 9, other = 'x' WHERE id = %d", 3*value, secondary, id),
				fmt.Sprintf("INSERT INTO t (id, v) VALUES (%d, 3) ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v", id),
			}[rng.IntN(4)])
		}
	}
	p := b.config.Pair
	swap := func(from, to string, side dualwrite.Side) {
		b.exec(fmt.Sprintf("BEGIN; ALTER TABLE t RENAME v TO %s; ALTER TABLE t RENAME %s TO v; %s; COMMIT", to, from, side.CreateFunction()))
	}
	swap("v__new", "v__old", p.After())
	write("v__old", "v__old", "v")
	swap("v__old", "v__new", p.Before())
	write("v__new", "v", "v__new")
	b.exec("UPDATE t SET other = 'end'") // a version of each row with the last names
	r.replay(b.admin)
	if r.secondary["v__new"] < 300 || r.secondary["v"] < 50 {
		t.Errorf("checked %v versions", r.secondary)
	}
	if n := b.number("SELECT count(*) FROM t"); int(n) != len(r.rows) {
		t.Errorf("the replica has %d rows, the table has %d", len(r.rows), n)
	}
	all, err := b.admin.Query(t.Context(), "SELECT id::text, coalesce(v, ''), coalesce(v__new::text, '') FROM t")
	must(t, err)
	var id, v, added string
	_, err = pgx.ForEachRow(all, []any{&id, &v, &added}, func() error {
		if row := r.rows[id]; row["v"] != v || row["v__new"] != added {
			t.Errorf("row %s has %q and %q, the replica has %q and %q", id, v, added, row["v"], row["v__new"])
		}
		return nil
	})
	must(t, err)
	t.Logf("checked %d versions of rows", r.versions)
}

package measure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
)

// A database is one with a service and a conductor.
type database struct {
	t    *testing.T
	rig  *postgresrig.Rig
	name string
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	d := &database{t: t, rig: postgresrig.ForTest(t, postgresrig.Config{})}
	var err error
	if d.name, err = d.rig.NewDatabase(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.admin(`CREATE ROLE service LOGIN; CREATE ROLE conductor LOGIN;
		CREATE TABLE asset (id bigserial PRIMARY KEY, name text);
		CREATE TABLE copied (asset bigint);
		CREATE FUNCTION copy_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO copied VALUES (NEW.id); RETURN NEW; END $$;
		CREATE TRIGGER copy AFTER INSERT ON asset FOR EACH ROW EXECUTE FUNCTION copy_one();
		GRANT ALL ON ALL TABLES IN SCHEMA public TO service, conductor; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO service, conductor`)
	return d
}

func (d *database) admin(statements string) {
	d.t.Helper()
	if err := d.rig.Exec(d.t.Context(), d.name, statements); err != nil {
		d.t.Fatal(err)
	}
}

func (d *database) as(role, name string) *pgx.Conn {
	d.t.Helper()
	conn, err := pgx.Connect(d.t.Context(), d.rig.URLAs(role, name))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close(context.WithoutCancel(d.t.Context())) })
	return conn
}

func (d *database) exec(conn *pgx.Conn, statement string) {
	d.t.Helper()
	if _, err := conn.Exec(d.t.Context(), statement); err != nil {
		d.t.Fatalf("%s: %v", statement, err)
	}
}

// TestPostgres measures statements of a service beside those of the conductor
// and of another database.
func TestPostgres(t *testing.T) {
	d := newDatabase(t)
	own := d.as("conductor", d.name)
	if _, err := NewPostgres(t.Context(), own); err == nil || !strings.Contains(err.Error(), "CREATE EXTENSION pg_stat_statements") {
		t.Fatalf("without the extension: error %v", err)
	}
	d.admin("CREATE SCHEMA extensions; CREATE EXTENSION pg_stat_statements SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO conductor")
	p, err := NewPostgres(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	service, worker, elsewhere := d.as("service", d.name), d.as("conductor", d.name), d.as("service", "postgres")
	const inserts = 50
	measured := func(during func()) (aca.Window, error) {
		w, warnings, err := Window(t.Context(), aca.Window{}, time.Now, []Source{p}, func(context.Context) error {
			for range inserts {
				d.exec(service, "INSERT INTO asset (name) VALUES ('a pump')")
			}
			during()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(warnings) > 0 {
			return w, warnings[0]
		}
		return w, nil
	}
	for what, during := range map[string]func(){
		"alone": func() {},
		"beside": func() {
			d.exec(worker, "INSERT INTO asset (name) SELECT repeat(i::text, 1000) FROM generate_series(1, 5000) i")
			d.exec(elsewhere, "SELECT 1")
		},
	} {
		w, err := measured(during)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range DatabaseChecks() {
			if s, ok := w.Samples[c.Name]; !ok || s.Per != inserts {
				t.Errorf("%s: %s is %v, want one per %d statements", what, c.Name, s, inserts)
			}
		}
		// Each insert writes two rows and an index entry. The first change of a
		// page after a checkpoint writes the whole page.
		if wal := w.Samples[WAL].Value; wal < 100*inserts || wal > 400_000 {
			t.Errorf("%s: %g bytes of WAL", what, wal)
		}
		if blocks := w.Samples[Blocks].Value; blocks < inserts || blocks > 100*inserts {
			t.Errorf("%s: %g blocks", what, blocks)
		}
	}
	w, err := measured(func() { d.admin("SELECT extensions.pg_stat_statements_reset()") })
	if err == nil || !strings.Contains(err.Error(), "reset within the window") || len(w.Samples) > 0 {
		t.Errorf("after a reset: samples %v, error %v", w.Samples, err)
	}
}

// held waits for an advisory lock instead of looking for lock waits.
type held struct{ Querier }

func (h held) Query(ctx context.Context, _ string, _ ...any) (pgx.Rows, error) {
	return h.Querier.Query(ctx, "SELECT 1::int4, 1::float8 FROM pg_advisory_lock(7)")
}

// TestInterruption interrupts a window while a query is under way. The
// connection must be usable after that.
func TestInterruption(t *testing.T) {
	d := newDatabase(t)
	d.admin("CREATE EXTENSION pg_stat_statements")
	own, admin := d.as("conductor", d.name), d.as(postgresrig.User, d.name)
	p, err := NewPostgres(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	p.db = held{own}
	d.exec(admin, "SELECT pg_advisory_lock(7)")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	_, _, err = Window(ctx, aca.Window{}, time.Now, []Source{p}, func(context.Context) error {
		d.await("the query waits", func() bool {
			var n int
			err := admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&n)
			return err == nil && n == 1
		})
		interrupt()
		d.exec(admin, "SELECT pg_advisory_unlock(7)")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if _, err := p.read(t.Context()); err != nil {
		t.Errorf("after the interruption: %v", err)
	}
}

// TestLockWaits counts the waits of the service, and not those of the
// conductor.
func TestLockWaits(t *testing.T) {
	d := newDatabase(t)
	d.admin("CREATE EXTENSION pg_stat_statements; INSERT INTO asset (name) VALUES ('a pump')")
	p, err := NewPostgres(t.Context(), d.as("conductor", d.name))
	if err != nil {
		t.Fatal(err)
	}
	holder, admin := d.as("service", d.name), d.as(postgresrig.User, d.name)
	const update = "UPDATE asset SET name = 'a valve'"
	ended := make(chan error, 3)
	waits := func(role string) {
		conn := d.as(role, d.name)
		go func() {
			_, err := conn.Exec(t.Context(), update)
			ended <- err
		}()
		d.await(fmt.Sprintf("%s waits", role), func() bool {
			var n int
			err := admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted AND waitstart IS NOT NULL", conn.PgConn().PID()).Scan(&n)
			return err == nil && n == 1
		})
	}
	watch := p.watch(t.Context())
	d.exec(holder, "BEGIN")
	d.exec(holder, update)
	waits("conductor")
	waits("service")
	d.await("one wait is counted", func() bool { return watch.count() == 1 })
	waits("service")
	d.await("two waits are counted", func() bool { return watch.count() == 2 })
	d.exec(holder, "COMMIT")
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	// The waiters wait for each other, so waits can follow.
	if n, err := watch.stop(); err != nil || n < 2 {
		t.Errorf("%d waits, error %v", n, err)
	}
}

// await waits until a condition holds.
func (d *database) await(what string, holds func() bool) {
	d.t.Helper()
	patience := time.After(soak.Patience)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-patience:
			d.t.Fatalf("not after %s: %s", soak.Patience, what)
		case <-again.C:
		}
	}
}

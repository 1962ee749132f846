package rehearse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/internal/peers/postgresrig"
)

var rig *postgresrig.Rig

func TestMain(m *testing.M) {
	if folder := os.Getenv(killedVariable); folder != "" {
		_, _ = command(context.Background(), folder, "program", &account{}, nil, folder)
		os.Exit(1)
	}
	var err error
	rig, err = postgresrig.Start(context.Background(), postgresrig.Config{Settings: map[string]string{
		"shared_preload_libraries": "pg_stat_statements", "archive_mode": "on", "archive_command": "false", "work_mem": "5MB",
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	rig.Stop()
	os.Exit(code)
}

// A rehearsal is a configuration for a new database, whose table t has the
// columns v and v__new.
type rehearsal struct {
	t        *testing.T
	database string
	dir      string
	Config
}

const load = `\set id random(1, 100)
UPDATE t SET v = '7' WHERE id = :id;
SELECT v FROM t WHERE id = :id;
`

func newRehearsal(t *testing.T) *rehearsal {
	t.Helper()
	name, err := rig.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The folder of a test is closed to other users.
	dir, err := os.MkdirTemp(memory(), "rehearse-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "load.sql")
	if err := os.WriteFile(script, []byte(load), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rehearsal{t: t, database: name, dir: dir, Config: Config{
		DSN: rig.URL(name), Bin: filepath.Dir(rig.Command(t.Context(), "postgres").Path), Dir: dir, Now: time.Now,
		Load:    Load{Script: script, Rate: 50, For: 2 * time.Second},
		Actions: Actions{Check: hasShadow, Cutover: rename("v", "v__old", "v__new", "v"), Rollback: rename("v", "v__new", "v__old", "v"), Differences: differences},
	}}
	if os.Geteuid() == 0 {
		r.User = "postgres"
	}
	r.exec(name, "CREATE TABLE t (id int PRIMARY KEY, v text, v__new text); INSERT INTO t SELECT i, i, i FROM generate_series(1, 100) AS i;"+trigger("v__new"))
	return r
}

// trigger returns the statement that keeps a column equal to v.
func trigger(column string) string {
	return `CREATE OR REPLACE FUNCTION sync() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.` + column + ` := NEW.v; RETURN NEW; END';
		CREATE OR REPLACE TRIGGER zzz BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION sync()`
}

func (r *rehearsal) exec(database, statements string) {
	r.t.Helper()
	if err := rig.Exec(r.t.Context(), database, statements); err != nil {
		r.t.Fatal(err)
	}
}

// run rehearses, and checks that nothing remains of a clone and that the
// primary has not changed.
func (r *rehearsal) run() (Result, error) {
	r.t.Helper()
	dump := func() string {
		out, err := rig.Run(r.t.Context(), "pg_dump", "--restrict-key=x", "-d", r.database)
		if err != nil {
			r.t.Fatal(err)
		}
		return out
	}
	before := dump()
	result, err := Run(r.t.Context(), r.Config)
	if dump() != before {
		r.t.Error("the rehearsal changed the primary")
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "*")); left != nil {
		r.t.Errorf("it left %v", left)
	}
	return result, err
}

func do(ctx context.Context, c *Clone, f func(*pgx.Conn) error) error {
	conn, err := c.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return f(conn)
}

func hasShadow(ctx context.Context, c *Clone) error {
	return do(ctx, c, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT v__new FROM t LIMIT 0")
		return err
	})
}

func rename(names ...string) func(context.Context, *Clone) (Change, error) {
	return func(ctx context.Context, c *Clone) (Change, error) {
		return Change{Attempts: 1}, do(ctx, c, func(conn *pgx.Conn) error {
			_, err := conn.PgConn().Exec(ctx, fmt.Sprintf(`BEGIN; LOCK TABLE t; ALTER TABLE t RENAME %s TO %s; ALTER TABLE t RENAME %s TO %s; %s; COMMIT`,
				names[0], names[1], names[2], names[3], trigger(names[1]))).ReadAll()
			return err
		})
	}
}

func differences(ctx context.Context, c *Clone) (n int64, err error) {
	return n, do(ctx, c, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT count(*) FROM t WHERE v IS DISTINCT FROM v__old").Scan(&n)
	})
}

func steps(r Result) (list []string) {
	for _, s := range r.Steps {
		list = append(list, s.Name)
	}
	return list
}

func TestBasebackup(t *testing.T) {
	r := newRehearsal(t)
	// Its tablespaces are copied, and not shared.
	space, err := os.MkdirTemp(memory(), "rehearse-space-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(space)
	who, err := findUser(r.User)
	if err != nil {
		t.Fatal(err)
	}
	if err := who.own(space); err != nil {
		t.Fatal(err)
	}
	r.exec(r.database, "CREATE TABLESPACE space LOCATION '"+space+"'")
	r.exec(r.database, "CREATE TABLE spaced TABLESPACE space AS SELECT 1 AS id")
	defer func() { r.exec(r.database, "DROP TABLE spaced"); r.exec(r.database, "DROP TABLESPACE space") }()
	check := r.Actions.Check
	r.Actions.Check = func(ctx context.Context, c *Clone) error {
		return errors.Join(check(ctx, c), do(ctx, c, func(conn *pgx.Conn) error {
			var settings string
			err := conn.QueryRow(ctx, `SELECT concat_ws(' ', current_setting('listen_addresses') = '', current_setting('archive_mode'),
				current_setting('work_mem'), current_setting('max_worker_processes'), pg_is_in_recovery())`).Scan(&settings)
			if settings != "t off 5MB 0 f" {
				t.Errorf("settings of the clone: %s", settings)
			}
			return err
		}))
	}
	back := r.Actions.Rollback
	r.Actions.Rollback = func(ctx context.Context, c *Clone) (Change, error) {
		if err := do(ctx, c, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "UPDATE spaced SET id = 2")
			return err
		}); err != nil {
			return Change{}, err
		}
		return back(ctx, c)
	}
	result, err := r.run()
	if err != nil {
		t.Fatal(err)
	}
	if !result.Passed() || result.Clone != Basebackup || !slices.Equal(steps(result), []string{Cutover, Rollback, CutoverAgain}) || result.Ended.Before(result.Started) {
		t.Errorf("%+v", result)
	}
	for _, s := range result.Steps {
		if s.Load.Kind != Script || s.Load.Transactions == 0 || s.Load.Longest <= 0 || s.Duration <= 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestNamedClone(t *testing.T) {
	r := newRehearsal(t)
	clone := r.database + "_clone"
	r.exec("postgres", fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", clone, r.database))
	r.CloneDSN = rig.URL(clone)
	r.exec(r.database, "CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset(); UPDATE t SET v = '8' WHERE id = 3; SELECT v FROM t WHERE id = 4")
	r.Load.Script = ""
	result, err := r.run()
	if err != nil {
		t.Fatal(err)
	}
	if !result.Passed() || result.Clone != Named || !slices.Equal(steps(result), []string{Cutover, Rollback, CutoverAgain, Restore}) {
		t.Errorf("%+v", result)
	}
	if l := result.Steps[0].Load; l.Kind != Recorded || l.Transactions == 0 {
		t.Errorf("load: %+v", l)
	}
	r.exec(clone, "SELECT v__new FROM t")
}

func TestFailures(t *testing.T) {
	r := newRehearsal(t)
	clone := r.database + "_clone"
	r.exec("postgres", fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", clone, r.database))
	r.CloneDSN = rig.URL(clone)
	r.Load = Load{Statements: []string{"UPDATE t SET v = v WHERE id = 5", "SELECT v FROM t WHERE id = 6"}, Rate: 100, For: 200 * time.Millisecond}
	for name, test := range map[string]struct {
		change func(*Config)
		reason string
		steps  int
	}{
		"a failing step": {func(c *Config) {
			c.Actions.Rollback = func(context.Context, *Clone) (Change, error) { return Change{}, errors.New("the table is locked") }
		}, "rollback: the table is locked", 2},
		"rows that differ": {func(c *Config) {
			c.Actions.Differences = func(context.Context, *Clone) (int64, error) { return 3, nil }
		}, "3 rows differ", 4},
		"a rollback that leaves something": {func(c *Config) {
			back := c.Actions.Rollback
			c.Actions.Rollback = func(ctx context.Context, c *Clone) (Change, error) {
				if err := do(ctx, c, func(conn *pgx.Conn) error {
					_, err := conn.Exec(ctx, "CREATE INDEX IF NOT EXISTS forgotten ON t (id)")
					return err
				}); err != nil {
					return Change{}, err
				}
				return back(ctx, c)
			}
		}, "the schema after the rollback differs", 4},
		"a load that fails": {func(c *Config) {
			c.Load.Script = filepath.Join(t.TempDir(), "wrong.sql")
			if err := os.WriteFile(c.Load.Script, []byte("SELECT 1/0;\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "division by zero", 4},
		"statements that fail": {func(c *Config) { c.Load.Statements = []string{"SELECT 1/0"} }, "division by zero", 4},
	} {
		t.Run(name, func(t *testing.T) {
			one := *r
			one.t = t
			test.change(&one.Config)
			result, err := one.run()
			if err != nil {
				t.Fatal(err)
			}
			if len(result.Steps) != test.steps || result.Passed() || !strings.Contains(strings.Join(result.Failures, "; "), test.reason) {
				t.Errorf("%+v", result)
			}
			one.exec(clone, "DROP INDEX IF EXISTS forgotten; SELECT 1 FROM t")
			if name == "a rollback that leaves something" && !slices.ContainsFunc(result.SchemaDifferences, func(s string) bool { return strings.HasPrefix(s, "+CREATE INDEX forgotten") }) {
				t.Errorf("differences: %q", result.SchemaDifferences)
			}
			// A step that failed leaves the clone of the user cut over.
			if test.steps == 2 {
				one.exec(clone, "ALTER TABLE t RENAME v TO v__new; ALTER TABLE t RENAME v__old TO v;"+trigger("v__new"))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	r := newRehearsal(t)
	standby, err := rig.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Stop()
	lacking, err := rig.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	severalHosts(t, r, standby)
	for name, test := range map[string]struct {
		change func(*Config)
		reason string
	}{
		"the primary":         {func(c *Config) { c.CloneDSN = strings.Replace(c.DSN, "127.0.0.1", "localhost", 1) }, ErrSame.Error()},
		"a standby":           {func(c *Config) { c.CloneDSN = standby.URL(r.database) }, "promote it"},
		"without the objects": {func(c *Config) { c.CloneDSN = rig.URL(lacking) }, "the clone is not usable"},
		"no server":           {func(c *Config) { c.CloneDSN = "postgres://127.0.0.1:1/x" }, "connect to the clone"},
		"no programs":         {func(c *Config) { c.Bin = "" }, "specify the folder of PostgreSQL's programs"},
		"other programs":      {func(c *Config) { c.Bin = "/etc" }, "no such file"},
		"no folder":           {func(c *Config) { c.Dir = filepath.Join(r.dir, "missing") }, "no such file"},
		"no user":             {func(c *Config) { c.User = "nobody-like-this" }, "nobody-like-this"},
		"no script":           {func(c *Config) { c.CloneDSN, c.Load.Script = promoted(t, r), "missing.sql" }, "script of the load"},
	} {
		t.Run(name, func(t *testing.T) {
			one := *r
			one.t = t
			test.change(&one.Config)
			if result, err := one.run(); err == nil || !strings.Contains(err.Error(), test.reason) || len(result.Steps) > 0 {
				t.Errorf("%v", err)
			}
		})
	}
}

// severalHosts checks that PostgreSQL's programs connect to the server that the
// driver has reached, and that a standby is not copied.
func severalHosts(t *testing.T, r *rehearsal, standby *postgresrig.Rig) {
	t.Helper()
	address := func(rig *postgresrig.Rig) (string, uint16) {
		c, err := pgx.ParseConfig(rig.URL(r.database))
		if err != nil {
			t.Fatal(err)
		}
		return c.User, c.Port
	}
	user, second := address(rig)
	_, first := address(standby)
	dsn := fmt.Sprintf("host=127.0.0.1,localhost port=%d,%d user=%s dbname=%s", first, second, user, r.database)
	config, err := pgx.ParseConfig(dsn + " target_session_attrs=read-write")
	if err != nil {
		t.Fatal(err)
	}
	conn, reached, err := reach(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if reached.config.Port != second || len(reached.config.Fallbacks) > 1 || reached.config.Host != "localhost" {
		t.Errorf("reached %s, port %d, with %d fallbacks", reached.config.Host, reached.config.Port, len(reached.config.Fallbacks))
	}
	out, err := command(t.Context(), r.Bin, "psql", &account{}, reached.environment(nil), "-Atc", "SELECT pg_is_in_recovery()")
	if err != nil || strings.TrimSpace(out) != "f" {
		t.Errorf("psql is connected to a standby: %q, %v", out, err)
	}
	one := *r
	one.DSN = dsn
	if _, err := one.run(); err == nil || !strings.Contains(err.Error(), "add target_session_attrs=read-write") {
		t.Errorf("a copy of a standby: %v", err)
	}
}

// promoted returns the DSN of a promoted copy of the server. It has the system
// identifier and the database name of the primary, and is accepted.
func promoted(t *testing.T, r *rehearsal) string {
	t.Helper()
	clone, err := rig.Clone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clone.Stop)
	return clone.URL(r.database)
}

// TestDiskFull checks that a copy that does not fit is refused or removed.
func TestDiskFull(t *testing.T) {
	r := newRehearsal(t)
	small := filepath.Join(r.dir, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mount(small, "8m"); err != nil {
		t.Skipf("no file system of its own: %v", err)
	}
	r.Dir = small
	defer os.Remove(small)
	defer unmount(small)
	_, err := Run(t.Context(), r.Config)
	if err == nil || !strings.Contains(err.Error(), "not enough space") {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(small, "*")); left != nil {
		t.Errorf("it left %v", left)
	}
}

func TestCancelled(t *testing.T) {
	r := newRehearsal(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.Actions.Cutover = func(ctx context.Context, c *Clone) (Change, error) {
		cancel()
		return Change{}, ctx.Err()
	}
	if _, err := Run(ctx, r.Config); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "*")); left != nil {
		t.Errorf("it left %v", left)
	}
}

func TestDifference(t *testing.T) {
	a := []string{"x", "y", "y", "z"}
	for _, test := range []struct{ b, want []string }{
		{[]string{"x", "y", "y", "z"}, nil},
		{[]string{"x", "y", "z", "w"}, []string{"-y", "+w"}},
		{[]string{"y", "x", "y", "z"}, []string{"order: y"}},
		{nil, []string{"-x", "-y", "-y", "-z"}},
	} {
		if have := difference(a, test.b); !slices.Equal(have, test.want) {
			t.Errorf("%v: %v", test.b, have)
		}
	}
}

func TestTLSSettings(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://u@h/d?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem": "PGSSLMODE=verify-full PGSSLROOTCERT=/etc/ca.pem",
		"host=h sslmode = require sslkey='/a b'":                           "PGSSLMODE=require PGSSLKEY=/a b",
		"host=h":                                                           "",
	} {
		if have := strings.Join(tlsSettings(dsn), " "); have != want {
			t.Errorf("%s: %s", dsn, have)
		}
	}
}

// memory returns a folder in memory, on which copies are fast, or the one of
// temporary files.
func memory() string {
	const dir = "/dev/shm"
	if free, ok := freeSpace(dir); ok && free > 2<<30 {
		return dir
	}
	return ""
}

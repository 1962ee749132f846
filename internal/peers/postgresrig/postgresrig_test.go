package postgresrig_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
)

// askedToStart makes the test binary start a server, print its port and wait.
const askedToStart = "POSTGRESRIG_START"

func TestMain(m *testing.M) {
	if os.Getenv(askedToStart) == "" {
		os.Exit(m.Run())
	}
	rig, err := postgresrig.Start(context.Background(), postgresrig.Config{})
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(rig.Port + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestServer checks the settings, the clients, and that committed data survives
// the two sorts of crash.
func TestServer(t *testing.T) {
	ctx := t.Context()
	rig := postgresrig.ForTest(t, postgresrig.Config{Settings: map[string]string{"work_mem": "5MB", "cluster_name": "it's"}})
	for setting, want := range map[string]string{"work_mem": "5MB", "cluster_name": "it's", "wal_level": "logical", "fsync": "off", "listen_addresses": "127.0.0.1"} {
		if got := query(t, rig, "postgres", "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	database, err := rig.NewDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.Exec(ctx, database, "CREATE EXTENSION pg_stat_statements; CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if err := rig.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := rig.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := rig.Exec(ctx, database, "INSERT INTO kept VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	if err := rig.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if got := query(t, rig, database, "SELECT string_agg(n::text, ' ' ORDER BY n) FROM kept"); got != "1 2" {
		t.Errorf("the rows after the crashes are %q", got)
	}
	for _, command := range [][]string{{"psql", "-Atc", "SELECT n FROM kept", database}, {"pg_dump", "-s", database}, {"pgbench", "-i", "-q", database}} {
		if _, err := rig.Run(ctx, command[0], command[1:]...); err != nil {
			t.Error(err)
		}
	}
	if _, err := rig.Run(ctx, "psql", "-c", "SELECT nonsense", database); err == nil || !strings.Contains(err.Error(), `column "nonsense" does not exist`) {
		t.Errorf("psql's error lacks its message: %v", err)
	}
}

// TestClone checks that a standby follows the server, and that a clone changes
// independently of it.
func TestClone(t *testing.T) {
	ctx := t.Context()
	rig := postgresrig.ForTest(t, postgresrig.Config{})
	if err := rig.Exec(ctx, "postgres", "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	standby, err := rig.Standby(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Stop()
	if err := rig.Exec(ctx, "postgres", "INSERT INTO kept VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	await(t, "the standby to follow", func() bool { return query(t, standby, "postgres", "SELECT count(*)::text FROM kept") == "1" })
	if got := query(t, rig, "postgres", "SELECT application_name FROM pg_stat_replication"); got != standby.Port {
		t.Errorf("the standby is called %q, want %q", got, standby.Port)
	}
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	if err := standby.Exec(ctx, "postgres", "INSERT INTO kept VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	if got := query(t, rig, "postgres", "SELECT count(*)::text FROM kept"); got != "1" {
		t.Errorf("the server has %s rows after a change of its clone", got)
	}
}

// TestLogicalDecoding checks that a client can read decoded changes.
func TestLogicalDecoding(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
	defer cancel()
	rig := postgresrig.ForTest(t, postgresrig.Config{})
	if err := rig.Exec(ctx, "postgres", "CREATE TABLE kept (n int); CREATE PUBLICATION changes FOR TABLE kept"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgconn.Connect(ctx, rig.URL("postgres")+"&replication=database")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := pglogrepl.CreateReplicationSlot(ctx, conn, "changes", "pgoutput", pglogrepl.CreateReplicationSlotOptions{Temporary: true}); err != nil {
		t.Fatal(err)
	}
	if err := pglogrepl.StartReplication(ctx, conn, "changes", 0, pglogrepl.StartReplicationOptions{PluginArgs: []string{"proto_version '1'", "publication_names 'changes'"}}); err != nil {
		t.Fatal(err)
	}
	if err := rig.Exec(ctx, "postgres", "INSERT INTO kept VALUES (42)"); err != nil {
		t.Fatal(err)
	}
	for {
		message, err := conn.ReceiveMessage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		data, ok := message.(*pgproto3.CopyData)
		if !ok || data.Data[0] != pglogrepl.XLogDataByteID {
			continue
		}
		log, err := pglogrepl.ParseXLogData(data.Data[1:])
		if err != nil {
			t.Fatal(err)
		}
		change, err := pglogrepl.Parse(log.WALData)
		if err != nil {
			t.Fatal(err)
		}
		if insert, ok := change.(*pglogrepl.InsertMessage); ok {
			if got := string(insert.Tuple.Columns[0].Data); got != "42" {
				t.Errorf("decoded %q, want 42", got)
			}
			return
		}
	}
}

// TestEndsWithParent checks that no server survives a killed test.
func TestEndsWithParent(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // for the user postgres
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), askedToStart+"=1", "TMPDIR="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strings.TrimSpace(port)
	connects := func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	if !connects() {
		t.Errorf("nothing listens on %s", address)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(t, "the server to end", func() bool { return !connects() })
}

// TestNotStarted checks that the error of a server that ends contains its
// output.
func TestNotStarted(t *testing.T) {
	rig, err := postgresrig.Start(t.Context(), postgresrig.Config{Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil {
		rig.Stop()
		t.Fatal("a server with an unknown setting started")
	}
	if !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("the error lacks the output: %v", err)
	}
}

// query returns the single text of a query's result, or nothing without a row.
func query(t *testing.T, rig *postgresrig.Rig, database, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), rig.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var text string
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// await polls a condition until it holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(soak.Patience)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", soak.Patience, what)
		case <-again.C:
		}
	}
}

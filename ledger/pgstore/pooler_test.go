package pgstore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// TestPooler keeps logs through PgBouncer, which gives each transaction another
// session of the server.
func TestPooler(t *testing.T) {
	soak.WithoutRace(t)
	port := startPooler(t)
	through := func(t *testing.T) string { return at(newLocation(t), port) }
	storetest.RunSharedEngine(t, Engine{}, through)
	t.Run("Writers", func(t *testing.T) {
		location := through(t)
		one, two := openAt(t, location), openAt(t, location)
		src, m := storetest.NewSource(11), storetest.NewModel()
		for i := range 30 {
			s := []*Store{one, two}[i%2]
			c := named(src.Next(1+i), byte(i+1))
			if i%5 == 0 {
				if err := storetest.Spool(t.Context(), s, c, func(i int) bool { return i == 0 }); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Commit(t.Context(), storetest.Unspooled(c)); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(t.Context(), storetest.Unspooled(c)); err != nil {
				t.Fatalf("proposed again: %v", err)
			}
			m.Commit(c)
		}
		if err := two.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range []store.Store{one, two} {
			if err := m.Check(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// startPooler runs PgBouncer in front of the server, and returns its port.
func startPooler(t *testing.T) string {
	t.Helper()
	ports, err := peers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nunix_socket_dir =\n", server.Port, ports[0])
	file := filepath.Join(t.TempDir(), "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{file}
	if os.Getuid() == 0 { // it refuses to run as root
		args = []string{"-u", "nobody", file}
		for dir := filepath.Dir(file); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.Command(peers.Path(t, "pgbouncer"), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "PgBouncer answers", func() bool {
		conn, err := pgx.Connect(t.Context(), "postgres://postgres@127.0.0.1:"+ports[0]+"/postgres?sslmode=disable")
		if err != nil {
			return false
		}
		return conn.Close(context.Background()) == nil
	})
	return ports[0]
}

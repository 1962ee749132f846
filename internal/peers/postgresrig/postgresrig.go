// Package postgresrig runs PostgreSQL on loopback, for tests and demos.
package postgresrig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// User is the name of the superuser, who needs no password.
const User = "postgres"

// A Config describes a server. The zero value is a server for tests.
type Config struct {
	// Settings are added to postgresql.conf, and override its defaults here.
	Settings map[string]string

	// Durable enables fsync. Without it, data survives a kill of the server,
	// but no crash of the machine.
	Durable bool

	// OnDisk keeps the data on disk, for databases of gigabytes and for
	// measurements. Otherwise it is in memory if there is enough.
	OnDisk bool

	// DiskBytes is the size of a file system of its own for the data, which
	// FillDisk can fill. It is in memory, and requires root. Standbys get one
	// of the same size. 0: the data is beside that of others.
	DiskBytes int64
}

// A Rig is a running PostgreSQL server. One goroutine at a time may stop, kill
// or restart it. Everything else may run concurrently.
type Rig struct {
	Port string // on 127.0.0.1, the same after a restart

	bin       string  // folder of PostgreSQL's programs
	folder    *folder // for data and output, removed by Stop
	onDisk    bool
	diskBytes int64
	server    *server
	databases atomic.Int64 // made by NewDatabase
}

// Start starts a server with an empty database postgres. The caller must stop
// it.
func Start(ctx context.Context, c Config) (*Rig, error) {
	return start(ctx, c.OnDisk || c.Durable, c.DiskBytes, func(r *Rig) error {
		if err := r.initialize(ctx); err != nil {
			return err
		}
		return r.configure(c)
	})
}

// start prepares the data folder of a new rig, and starts its server.
func start(ctx context.Context, onDisk bool, diskBytes int64, prepare func(*Rig) error) (_ *Rig, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	folder, err := newFolder(onDisk)
	if err != nil {
		return nil, err
	}
	r := &Rig{bin: bin, folder: folder, onDisk: onDisk, diskBytes: diskBytes}
	defer func() {
		if err != nil {
			r.Stop()
		}
	}()
	if diskBytes > 0 {
		if err := r.mountDisk(diskBytes); err != nil {
			return nil, err
		}
	}
	ports, err := peers.FreePorts(1)
	if err != nil {
		return nil, err
	}
	r.Port = ports[0]
	if err := prepare(r); err != nil {
		return nil, err
	}
	if err := r.set("port", r.Port); err != nil {
		return nil, err
	}
	return r, r.run(ctx)
}

// T is the part of testing.TB that ForTest uses.
type T interface {
	Helper()
	Context() context.Context
	Fatal(...any)
	Cleanup(func())
}

// ForTest starts a server for the duration of a test.
func ForTest(t T, c Config) *Rig {
	t.Helper()
	r, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// URL returns the connection string of a database for the superuser.
func (r *Rig) URL(database string) string { return r.URLAs(User, database) }

// URLAs returns the connection string of a database for a role.
func (r *Rig) URLAs(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Host: "127.0.0.1:" + r.Port, Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// NewDatabase creates an empty database, and returns its name. It is much
// faster than a new server.
func (r *Rig) NewDatabase(ctx context.Context) (string, error) {
	name := fmt.Sprintf("test_%d", r.databases.Add(1))
	return name, r.Exec(ctx, User, "CREATE DATABASE "+name)
}

// Exec executes statements in a database, as the superuser.
func (r *Rig) Exec(ctx context.Context, database, statements string) error {
	conn, err := pgx.Connect(ctx, r.URL(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, statements).ReadAll()
	return err
}

// Command returns a command that runs a program of PostgreSQL, such as psql,
// pg_dump or pgbench, as a client of the server. It ends with this process, and
// with the context.
func (r *Rig) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, program), args...)
	cmd.Env = append(os.Environ(), "PGHOST=127.0.0.1", "PGPORT="+r.Port, "PGUSER="+User, "PGSSLMODE=disable", "PGAPPNAME="+program)
	cmd.SysProcAttr = endWithParent(nil)
	return cmd
}

// Run runs a program of PostgreSQL and returns its standard output.
func (r *Rig) Run(ctx context.Context, program string, args ...string) (string, error) {
	out, err := r.Command(ctx, program, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("%s %q: %w\n%s", program, args, err, exit.Stderr)
		}
		return "", fmt.Errorf("%s %q: %w", program, args, err)
	}
	return string(out), nil
}

// Schema returns the definition of a database, as pg_dump prints it without the
// key that differs for each call.
func (r *Rig) Schema(ctx context.Context, database string) (string, error) {
	dump, err := r.Run(ctx, "pg_dump", "--schema-only", database)
	var lines []string
	for line := range strings.SplitSeq(dump, "\n") {
		if !strings.HasPrefix(line, `\restrict `) && !strings.HasPrefix(line, `\unrestrict `) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n"), err
}

// Stop ends the server and removes its data.
func (r *Rig) Stop() {
	r.Shutdown()
	r.folder.remove()
}

// Shutdown ends the server and all sessions without a checkpoint, as a crash
// does. Restart starts it again with the same data.
func (r *Rig) Shutdown() {
	if r.server != nil {
		r.server.quit()
		r.server = nil
	}
}

// Kill kills all processes of the server at once by SIGKILL. Restart starts it
// again with the same data.
func (r *Rig) Kill() error {
	if r.server == nil {
		return errors.New("kill postgres: it is not running")
	}
	defer func() { r.server = nil }()
	return r.server.kill()
}

// Restart starts the server with its data and port. A running server is ended
// first.
func (r *Rig) Restart(ctx context.Context) error {
	r.Shutdown()
	return r.run(ctx)
}

// Standby starts a streaming replica, whose name as a client of this server is
// the port of the replica. The caller must stop it.
func (r *Rig) Standby(ctx context.Context) (*Rig, error) {
	return start(ctx, r.onDisk, r.diskBytes, func(clone *Rig) error {
		source := fmt.Sprintf("host=127.0.0.1 port=%s user=%s application_name=%s", r.Port, User, clone.Port)
		return clone.as(ctx, "pg_basebackup", "-D", clone.data(), "-d", source, "-c", "fast", "-X", "stream", "--no-sync", "-R")
	})
}

// Promote makes a standby a server of its own, and waits until it accepts
// writes.
func (r *Rig) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, r.URL(User))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var promoted bool
	if err := conn.QueryRow(ctx, "SELECT pg_promote(true, $1)", int(soak.Patience.Seconds())).Scan(&promoted); err != nil {
		return fmt.Errorf("promote the standby: %w", err)
	}
	if !promoted {
		return fmt.Errorf("promote the standby: not promoted after %s", soak.Patience)
	}
	return nil
}

// Clone starts a copy of the server, which accepts writes independently of it.
// The caller must stop it.
func (r *Rig) Clone(ctx context.Context) (*Rig, error) {
	clone, err := r.Standby(ctx)
	if err != nil {
		return nil, err
	}
	if err := clone.Promote(ctx); err != nil {
		clone.Stop()
		return nil, err
	}
	return clone, nil
}

// run starts the server and waits until it accepts connections.
func (r *Rig) run(ctx context.Context) error {
	s, err := launch(filepath.Join(r.bin, "postgres"), r.data(), filepath.Join(r.folder.path, "postgres.log"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, soak.Patience)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := pgx.Connect(ctx, r.URL(User))
		if err == nil {
			r.server = s
			return conn.Close(ctx)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("postgres ended: %s\n%s", s.cmd.ProcessState, s.output())
		case <-ctx.Done():
			s.quit()
			return fmt.Errorf("postgres is not ready: %w\n%s", cmp.Or(err, ctx.Err()), s.output())
		case <-again.C:
		}
	}
}

func (r *Rig) data() string { return filepath.Join(r.folder.path, dataName) }

package rehearse

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// makeClone copies the server by pg_basebackup, and starts the copy as a server
// of its own.
func makeClone(ctx context.Context, c Config) (_ *Clone, err error) {
	if c.Bin == "" {
		return nil, errors.New("no clone: specify the folder of PostgreSQL's programs, or the DSN of a clone")
	}
	config, err := pgx.ParseConfig(c.DSN)
	if err != nil {
		return nil, errDSN
	}
	who, err := findUser(c.User)
	if err != nil {
		return nil, err
	}
	dir, err := who.folder(c.Dir)
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, bin: c.Bin, who: who}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove())
		}
	}()
	primary, err := inspect(ctx, config, dir)
	if err != nil {
		return nil, err
	}
	if err := s.copy(ctx, tlsSettings(c.DSN), primary); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	own := config.Copy()
	own.Host, own.Port, own.TLSConfig, own.Fallbacks = s.socket(), socketPort, nil, nil
	clone := &Clone{System: primary.system, target: target{config: own}, kind: Basebackup, bin: c.Bin, ssl: []string{"PGSSLMODE=disable"}, remove: s.remove}
	return clone, s.await(ctx, clone)
}

// socketPort is part of the name of the socket. The clone listens on no
// address.
const socketPort = 5432

// A source is what a clone needs to know about the primary.
type source struct {
	target
	system      string
	size        int64             // bytes; 0 if unknown
	settings    []string          // lines of postgresql.conf
	tablespaces map[string]string // OID to folder
}

// own lists the settings of the primary that a clone must not have. Those that
// the command line of the clone overrides are not listed.
const own = `'data_directory', 'config_file', 'hba_file', 'ident_file', 'external_pid_file', 'port', 'listen_addresses',
	'restore_command', 'primary_conninfo', 'primary_slot_name', 'promote_trigger_file', 'shared_buffers', 'huge_pages', 'cluster_name',
	'logging_collector', 'archive_library', 'bonjour', 'krb_server_keyfile', 'event_source', 'stats_temp_directory'`

// inspect reads the settings and the size of the primary.
func inspect(ctx context.Context, config *pgx.ConnConfig, dir string) (*source, error) {
	conn, reached, err := reach(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the primary: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	s := &source{target: reached, tablespaces: map[string]string{}}
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT system_identifier::text, pg_is_in_recovery() FROM pg_control_system()").Scan(&s.system, &standby); err != nil {
		return nil, fmt.Errorf("primary: %w", err)
	}
	if standby {
		return nil, fmt.Errorf("the connection string has reached a standby, on port %d of %s: add target_session_attrs=read-write to it", reached.config.Port, reached.config.Host)
	}
	// The size is unknown to a role that may not connect to every database.
	_ = conn.QueryRow(ctx, "SELECT sum(pg_database_size(oid))::int8 FROM pg_database").Scan(&s.size)
	if free, ok := freeSpace(dir); ok && s.size > 0 && free < s.size+s.size/10 {
		return nil, fmt.Errorf("not enough space in %s for a clone of %d MiB: %d MiB are free", filepath.Dir(dir), s.size>>20, free>>20)
	}
	rows, err := conn.Query(ctx, `SELECT name, current_setting(name) FROM pg_settings
		WHERE source IN ('configuration file', 'command line') AND name NOT IN (`+own+`)
			AND name !~ '^(ssl|unix_socket|log_|archive_|recovery_|syslog_)' ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("settings of the primary: %w", err)
	}
	var name, value string
	if _, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		s.settings = append(s.settings, fmt.Sprintf("%s = '%s'", name, strings.NewReplacer("'", "''", `\`, `\\`).Replace(value)))
		return nil
	}); err != nil {
		return nil, fmt.Errorf("settings of the primary: %w", err)
	}
	if rows, err = conn.Query(ctx, "SELECT oid::text, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''"); err != nil {
		return nil, fmt.Errorf("tablespaces of the primary: %w", err)
	}
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error { s.tablespaces[name] = value; return nil })
	return s, err
}

// copy runs pg_basebackup, and configures the copy so that it reaches nothing
// else: no standby, no archive, no publisher, and no scheduled job.
func (s *server) copy(ctx context.Context, tls []string, primary *source) error {
	args := []string{"-D", s.data(), "-c", "fast", "-X", "stream", "--no-sync", "--no-password", "--no-manifest"}
	for oid, folder := range primary.tablespaces {
		args = append(args, fmt.Sprintf("--tablespace-mapping=%s=%s", strings.ReplaceAll(folder, "=", `\=`), filepath.Join(s.dir, "tablespace-"+oid)))
	}
	if _, err := command(ctx, s.bin, "pg_basebackup", s.who, primary.environment(tls), args...); err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	files := map[string]string{
		"postgresql.conf":      strings.Join(primary.settings, "\n") + "\n",
		"postgresql.auto.conf": "",
		"pg_hba.conf":          "local all all trust\n",
		"pg_ident.conf":        "",
	}
	for name, text := range files {
		path := filepath.Join(s.data(), name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := s.who.own(path); err != nil {
			return err
		}
	}
	return nil
}

// arguments are those of the server. They override its configuration.
func (s *server) arguments() (args []string) {
	args = []string{"-D", s.data()}
	for _, setting := range []string{
		"listen_addresses=", "unix_socket_directories=" + s.socket(), "unix_socket_permissions=0700", fmt.Sprintf("port=%d", socketPort),
		"ssl=off", "archive_mode=off", "synchronous_standby_names=", "logging_collector=off", "log_destination=stderr",
		"shared_buffers=128MB", "huge_pages=off", "max_worker_processes=0", "max_logical_replication_workers=0", "hot_standby=off",
	} {
		args = append(args, "-c", setting)
	}
	return args
}

// await waits until the clone accepts connections.
func (s *server) await(ctx context.Context, clone *Clone) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := clone.Connect(ctx)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the clone has ended: %s", s.output())
		case <-ctx.Done():
			return fmt.Errorf("the clone is not ready: %w: %w", ctx.Err(), err)
		case <-again.C:
		}
	}
}

func (s *server) data() string   { return filepath.Join(s.dir, "data") }
func (s *server) socket() string { return s.dir }

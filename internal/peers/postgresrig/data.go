package postgresrig

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"muniment.dev/muniment/internal/peers"
)

// version names the peer to run, such as postgresql-17. Without it, that is the
// PostgreSQL of the system, whose extensions the others lack.
func version() string { return cmp.Or(os.Getenv("MUNIMENT_POSTGRES"), systemVersion) }

const systemVersion = "postgres"

// programs returns the folder of PostgreSQL's programs.
func programs() (string, error) {
	path, err := peers.Find(version())
	if err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// owner returns the user that runs PostgreSQL, which refuses to run as root.
// It is nil if this process does not run as root.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup(User)
	if err != nil {
		return nil, fmt.Errorf("find the user that runs PostgreSQL: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// memory is a file system in memory. A cluster consists of a thousand files,
// whose creation takes a second on some disks.
const memory = "/dev/shm"

// minMemory is the free space that memory needs for another cluster.
const minMemory = 4 << 30

// A folder is a temporary folder of a cluster. Its lock shows that the process
// lives that uses it, also to processes to which its ID means another one or
// none, as in a container.
type folder struct {
	path string
	lock *os.File
}

// newFolder creates a temporary folder of the owner. It is not below the
// temporary folder of a test, which only the user of the test can enter.
func newFolder(onDisk bool) (*folder, error) {
	who, err := owner()
	if err != nil {
		return nil, err
	}
	// No folder is without its lock while others look for abandoned ones.
	unlock, err := peers.Lock("postgres-folders")
	if err != nil {
		return nil, err
	}
	defer unlock()
	parent := memory
	var free syscall.Statfs_t
	if onDisk || syscall.Statfs(memory, &free) != nil || free.Bavail*uint64(free.Bsize) < minMemory {
		parent = os.TempDir()
	} else {
		removeAbandoned(memory)
	}
	path, err := os.MkdirTemp(parent, folderPrefix)
	if err != nil {
		return nil, err
	}
	f := &folder{path: path}
	if f.lock, err = os.Create(filepath.Join(path, lockName)); err == nil {
		err = syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil && who != nil {
		err = os.Chown(path, int(who.Uid), int(who.Gid))
	}
	if err != nil {
		f.remove()
		return nil, err
	}
	return f, nil
}

const (
	folderPrefix = "postgres-rig-"
	lockName     = "lock"
	dataName     = "data"
)

func (f *folder) remove() {
	// It is a file system if the server has a disk of its own.
	_ = syscall.Unmount(filepath.Join(f.path, dataName), syscall.MNT_DETACH)
	_ = os.RemoveAll(f.path)
	if f.lock != nil {
		f.lock.Close()
	}
}

// removeAbandoned removes the folders of processes that were killed, which ends
// their locks.
func removeAbandoned(parent string) {
	paths, err := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		f := &folder{path: path}
		if f.lock, err = os.Open(filepath.Join(path, lockName)); err != nil {
			continue // another process is removing it
		}
		if syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			f.remove()
		} else {
			f.lock.Close()
		}
	}
}

// initialize fills the data folder with a new cluster. It copies the result of
// one call of initdb, which all test processes share.
func (r *Rig) initialize(ctx context.Context) error {
	unlock, err := peers.Lock("postgres-template")
	if err != nil {
		return err
	}
	defer unlock()
	template := filepath.Join(peers.Folder(), version()+"-template")
	text, err := exec.CommandContext(ctx, filepath.Join(r.bin, "postgres"), "--version").Output()
	if err != nil {
		return fmt.Errorf("determine the version of postgres: %w", err)
	}
	if old, err := os.ReadFile(template + ".version"); err == nil && string(old) == string(text) {
		return copyFolder(ctx, template, r.data())
	}
	if err := r.as(ctx, "initdb", "-D", r.data(), "-U", User, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"); err != nil {
		return err
	}
	if err := os.RemoveAll(template); err != nil {
		return err
	}
	if err := copyFolder(ctx, r.data(), template); err != nil {
		return err
	}
	return os.WriteFile(template+".version", text, 0o666)
}

// copyFolder copies a folder with its owner and permissions.
func copyFolder(ctx context.Context, from, to string) error {
	if out, err := exec.CommandContext(ctx, "cp", "-aT", "--reflink=auto", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s to %s: %w\n%s", from, to, err, out)
	}
	return nil
}

// defaults are the settings of every server.
var defaults = map[string]string{
	"listen_addresses":         "127.0.0.1",
	"unix_socket_directories":  "",
	"wal_level":                "logical",
	"max_wal_senders":          "20",
	"max_replication_slots":    "20",
	"max_connections":          "200",
	"shared_preload_libraries": "pg_stat_statements",
	"track_io_timing":          "on",
	"log_line_prefix":          "%m [%p] %q%u@%d %a ",
	"timezone":                 "UTC",
}

// configure writes the settings.
func (r *Rig) configure(c Config) error {
	settings := maps.Clone(defaults)
	if version() != systemVersion {
		delete(settings, "shared_preload_libraries")
	}
	if !c.Durable {
		settings["fsync"] = "off"
	}
	maps.Copy(settings, c.Settings)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if err := r.set(name, settings[name]); err != nil {
			return err
		}
	}
	return nil
}

// set appends a setting to postgresql.conf. The last one of a name counts.
func (r *Rig) set(name, value string) error {
	f, err := os.OpenFile(filepath.Join(r.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	return err
}

// as runs a program as the owner of the data folder.
func (r *Rig) as(ctx context.Context, program string, args ...string) error {
	who, err := owner()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, program), args...)
	cmd.Dir, cmd.SysProcAttr = r.folder.path, endWithParent(who)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// Own gives a folder to the user of the server, for example for a tablespace.
func (r *Rig) Own(folder string) error {
	who, err := owner()
	if err != nil || who == nil {
		return err
	}
	return os.Chown(folder, int(who.Uid), int(who.Gid))
}

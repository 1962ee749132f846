//go:build linux

package rehearse

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/crash"
)

// An account is the system user that runs a clone. Without a credential it is
// that of this process.
type account struct {
	credential *syscall.Credential
	lock       *os.File // of the folder; nil before it is created
}

// findUser returns the account of a name.
func findUser(name string) (*account, error) {
	if os.Geteuid() != 0 {
		if own, err := user.Current(); name != "" && (err != nil || own.Username != name) {
			return nil, fmt.Errorf("only root can run a clone as the user %q", name)
		}
		return &account{}, nil
	}
	if name == "" {
		return nil, errors.New("PostgreSQL refuses to run as root: specify the user of the rehearsal")
	}
	found, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user of the rehearsal: %w", err)
	}
	uid, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &account{credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// own gives a file to the account.
func (a *account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Chown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// maxSocket is the greatest length of the path of a socket.
const maxSocket = 107

// folder creates a private folder of the account below dir. It removes those of
// processes that were killed, which contain data of the primary.
func (a *account) folder(dir string) (string, error) {
	a.sweep(cmp.Or(dir, os.TempDir()))
	path, err := os.MkdirTemp(dir, folders)
	if err != nil {
		return "", err
	}
	if a.lock, err = lockFolder(path); err != nil {
		return "", errors.Join(err, os.RemoveAll(path))
	}
	if err = a.own(path); err == nil && len(filepath.Join(path, fmt.Sprintf(".s.PGSQL.%d", socketPort))) > maxSocket {
		err = fmt.Errorf("the path of the clone's socket is too long: %s: specify another folder", path)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(path))
	}
	return path, nil
}

// folders is the pattern of the names of folders, and lockName the file that
// the process of a folder has locked. The lock ends with the process.
const (
	folders  = "muniment-clone-*"
	lockName = "lock"
)

// lockFolder locks a new folder. The file gets its name after it is locked.
func lockFolder(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, lockName+".new"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(path, lockName))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweep removes the folders of the account whose process has ended.
func (a *account) sweep(dir string) {
	uid := os.Geteuid()
	if a.credential != nil {
		uid = int(a.credential.Uid)
	}
	list, _ := filepath.Glob(filepath.Join(dir, folders)) // the pattern is valid
	for _, path := range list {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != uid {
			continue
		}
		f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(path) // the next rehearsal tries again
		}
		_ = f.Close()
	}
}

// bind makes a command run as the account, and get a signal when this process
// ends. Linux sends the signal when the thread that has started the command
// ends, so the goroutine keeps its thread until it calls the returned function,
// after the command has ended. Every command of the package is bound.
func (a *account) bind(cmd *exec.Cmd, end syscall.Signal) (release func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential, Pdeathsig: end}
	if a.credential != nil {
		cmd.Dir = "/" // the account may not be able to reach the present one
	}
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// freeSpace returns the free bytes of the file system of a folder.
func freeSpace(dir string) (int64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * s.Bsize, true
}

// A server is that of a clone.
type server struct {
	dir, bin string
	who      *account
	cmd      *exec.Cmd     // nil before start
	ended    chan struct{} // closed after Wait has returned
}

func (s *server) start() error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own descriptor
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), s.arguments()...)
	cmd.Env = plain()
	cmd.Stdout, cmd.Stderr = log, log
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer crash.Report()
		defer close(ended)
		// On SIGQUIT, the server ends its children, which SIGKILL would leave
		// behind.
		defer s.who.bind(cmd, syscall.SIGQUIT)()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the log has the reason
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the clone: %w", err)
	}
	s.cmd, s.ended = cmd, ended
	return nil
}

// remove ends the server and removes its folder.
func (s *server) remove() error {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // an error means that it has ended
		timer := time.NewTimer(30 * time.Second)
		defer timer.Stop()
		select {
		case <-s.ended:
		case <-timer.C:
			_ = s.cmd.Process.Kill()
			<-s.ended
		}
	}
	err := os.RemoveAll(s.dir)
	if s.who.lock != nil {
		_ = s.who.lock.Close()
	}
	return err
}

func (s *server) log() string { return filepath.Join(s.dir, "log") }

// output returns the end of the server's output.
func (s *server) output() string {
	f, err := os.Open(s.log())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 2000
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(end-most, 0), io.SeekStart)
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text))
}

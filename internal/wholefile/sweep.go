package wholefile

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// swept contains the folders in which this process has looked for leftovers.
var swept sync.Map

// sweepOnce removes the leftovers in a folder, once in the life of a process.
func sweepOnce(root *os.Root, dir string) {
	if !canSweep {
		return
	}
	if _, done := swept.LoadOrStore(filepath.Join(root.Name(), dir), true); !done {
		sweep(root, dir)
	}
}

// sweep removes the temporary files of writers that were killed. A file that is
// being written is locked, and stays. Errors are ignored: a leftover is no
// reason not to write.
func sweep(root *os.Root, dir string) {
	folder, err := root.Open(dir)
	if err != nil {
		return
	}
	defer folder.Close()
	for {
		names, err := folder.Readdirnames(1024)
		for _, name := range names {
			if Temporary(name) {
				removeLeftover(root, filepath.Join(dir, name))
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

func removeLeftover(root *os.Root, name string) {
	if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if lock(f) == nil && isFile(root, name, f) {
		_ = root.Remove(name)
	}
}

// createTemporary creates a file with a unique name in a folder, and locks it.
func createTemporary(root *os.Root, dir string, perm os.FileMode) (*os.File, string, error) {
	for range 100 {
		name := filepath.Join(dir, prefix+unique()+suffix)
		f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm) // less the umask
		if err != nil {
			return nil, "", err
		}
		if !errors.Is(lock(f), errLocked) && isFile(root, name, f) {
			return f, name, nil
		}
		f.Close() // another process took it for a leftover
	}
	return nil, "", errors.New("other processes remove the temporary file")
}

// isFile reports whether a name still refers to an open file.
func isFile(root *os.Root, name string, f *os.File) bool {
	at, err := root.Lstat(name)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && os.SameFile(at, info)
}

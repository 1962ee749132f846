//go:build unix

package wholefile

import (
	"os"
	"syscall"
)

// lock takes the lock of a temporary file, which its writer holds until the
// file is renamed. The error is errLocked if another process holds it. Not
// every file system has locks.
func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

const errLocked = syscall.EWOULDBLOCK

// canSweep reports whether locks show which temporary files are leftovers.
const canSweep = true

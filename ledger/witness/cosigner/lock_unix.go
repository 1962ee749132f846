//go:build unix

package cosigner

import (
	"os"
	"syscall"
)

// lockFile locks a file until it is closed, or returns an error at once.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

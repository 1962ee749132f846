//go:build unix

package owner

import (
	"io/fs"
	"os"
	"syscall"
)

// openFolder opens a folder. It fails if a link or file has replaced it.
const openFolder = os.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW

// chownLike sets the owner and group of an open file to those of a folder.
func chownLike(fd uintptr, folder fs.FileInfo) error {
	like, ok := folder.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	var own syscall.Stat_t
	if err := syscall.Fstat(int(fd), &own); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if own.Uid == like.Uid && own.Gid == like.Gid {
		return nil
	}
	return os.NewSyscallError("fchown", syscall.Fchown(int(fd), int(like.Uid), int(like.Gid)))
}

package run_test

import "syscall"

// mount mounts a file system in memory, with a size such as 8m.
func mount(dir, size string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0777")
}

func unmount(dir string) { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }

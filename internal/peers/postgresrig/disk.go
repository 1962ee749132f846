package postgresrig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// mountDisk gives the data folder a file system of its own, in memory.
func (r *Rig) mountDisk(bytes int64) error {
	who, err := owner()
	if err != nil {
		return err
	}
	if who == nil {
		return fmt.Errorf("mount a disk for postgres: %w", os.ErrPermission)
	}
	if err := os.Mkdir(r.data(), 0o700); err != nil {
		return err
	}
	options := fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", bytes, who.Uid, who.Gid)
	if err := syscall.Mount("tmpfs", r.data(), "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mount a disk for postgres: %w", err)
	}
	return nil
}

// ballast is the file that fills a disk.
func (r *Rig) ballast() string { return filepath.Join(r.data(), "ballast") }

// FillDisk fills the disk of a server that was started with a size of it, so
// that the server can write nothing that needs space.
func (r *Rig) FillDisk() error {
	if r.diskBytes == 0 {
		return errors.New("fill the disk of postgres: it is shared with others")
	}
	f, err := os.Create(r.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err == nil {
			continue
		} else if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		size /= 16
	}
	return nil
}

// FreeDisk undoes FillDisk.
func (r *Rig) FreeDisk() error { return os.Remove(r.ballast()) }

// Running reports whether the server's process runs. It may be that of a server
// that is recovering.
func (r *Rig) Running() bool {
	if r.server == nil {
		return false
	}
	select {
	case <-r.server.ended:
		return false
	default:
		return true
	}
}

package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/wholefile"
)

// ReplaceOwned replaces a file of a data folder. The file gets the owner of the
// folder.
func ReplaceOwned(path string, data []byte) error {
	return wholefile.ReplaceOwnedPath(path, data, 0o666) // less the umask
}

// WriteNew writes a file of a data folder that must not exist.
func WriteNew(path, content string, mode os.FileMode) error {
	return wholefile.CreateOwnedPath(path, []byte(content), mode)
}

// MakeFolder makes a folder that only its owner can read. It must not exist, or
// must be empty.
func MakeFolder(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty, and init overwrites nothing: choose another folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := ownfolder.CheckFolder(dir); err != nil {
		return err
	}
	if err := owner.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) // it may have existed
}

// A File is a file to be written into a data folder.
type File struct {
	Name, Content string
	Mode          os.FileMode
}

// WriteFiles writes new files into a data folder, in the given order.
func WriteFiles(dir string, files []File) error {
	for _, f := range files {
		if err := WriteNew(filepath.Join(dir, f.Name), f.Content, f.Mode); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/wholefile"
)

// replaceOwned replaces a file of a data folder, whose owner keeps its files.
func replaceOwned(path string, data []byte) error {
	return wholefile.ReplaceOwnedPath(path, data, 0o666) // less the umask
}

// writeNew writes a file of a data folder that must not be there yet.
func writeNew(path, content string, mode os.FileMode) error {
	return wholefile.CreateOwnedPath(path, []byte(content), mode)
}

// makeDataFolder makes a folder that nobody else reads. It must not exist, or
// be empty.
func makeDataFolder(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty, and init overwrites nothing; choose another folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := owner.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) // it may have been there
}

// A newFile is one to be written into a data folder.
type newFile struct {
	name, content string
	mode          os.FileMode
}

func writeFiles(dir string, files []newFile) error {
	for _, f := range files {
		if err := writeNew(filepath.Join(dir, f.name), f.content, f.mode); err != nil {
			return err
		}
	}
	return nil
}
